"""Self-checks of notebook 02: output size, convolution, dropout, folded batch norm."""

import copy

import torch
from torch import nn

from cifar_helpers.checks.framework import (
    as_items,
    as_tensor,
    as_whole_number,
    exercise,
    require,
    require_close,
)


@exercise
def conv_output_size(output_size) -> str:
    """`output_size(size, kernel, stride, padding)`: places that a kernel can take."""
    cases = ((32, 3, 1, 0), (32, 3, 1, 1), (32, 3, 2, 1), (7, 3, 2, 0), (33, 5, 3, 2))
    for size, kernel, stride, padding in cases:
        call = f"output_size({size}, {kernel}, {stride}, {padding})"
        advice = "Half a step is no step: divide with //, which rounds down."
        got = as_whole_number(output_size(size, kernel, stride, padding), call, advice)
        wanted = len(range(0, size + 2 * padding - kernel + 1, stride))

        def places(rows, size=size, kernel=kernel, stride=stride):
            return (size + rows - kernel) // stride + 1

        mistakes = {
            "Padding is added on both sides: use twice the padding.": places(padding),
            "You counted the steps: the place at the start is missing.": wanted - 1,
            "Without padding? The kernel slides over its 2 p rows, too.": places(0),
            "You rounded up: a place that hangs over the edge does not count.": (
                wanted + bool((size + 2 * padding - kernel) % stride)
            ),
        }
        require_close(got, wanted, call, mistakes)
    return (
        "Right. With stride 1, a padding of (kernel - 1) / 2 keeps the size, which is "
        "why odd kernels are so popular."
    )


@exercise
def convolution(convolve) -> str:
    """`convolve(image, weight, stride, padding)`, as `nn.Conv2d` computes it.

    Takes (C_in, H, W) and (C_out, C_in, k, k), returns (C_out, H', W').
    """
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(2, 8, 7, generator=generator)
    weight = torch.randn(4, 2, 3, 3, generator=generator)
    conv2d = nn.functional.conv2d
    for s, p in ((1, 0), (2, 0), (1, 1), (2, 1)):  # stride, padding
        wanted = conv2d(image, weight, None, s, p)
        mistakes = {
            "Your kernel is turned by 180°: nn.Conv2d does not turn it.": (
                conv2d(image, weight.flip(2, 3), None, s, p)
            ),
            "Its rows and columns are swapped.": conv2d(image, weight.mT, None, s, p),
            "Only the first input channel counts: add up all of them.": (
                conv2d(image[:1], weight[:, :1], None, s, p)
            ),
            "You averaged over the input channels: add them up.": wanted / 2,
            "The stride has no effect.": conv2d(image, weight, None, 1, p),
            "The padding has no effect.": conv2d(image, weight, None, s, 0),
        }
        got = convolve(image.clone(), weight.clone(), s, p)
        what = f"With stride {s} and padding {p}, the output"
        require_close(got, wanted, what, mistakes)
    larger = torch.randn(3, 2, 5, 5, generator=generator)
    wanted = conv2d(image, larger, stride=3, padding=2)
    what = "With a 5 x 5 kernel, stride 3 and padding 2, the output"
    require_close(convolve(image, larger, 3, 2), wanted, what)
    return (
        "Right. You have written the heart of every network of this series; the "
        "library does the same, only faster."
    )


@exercise
def spatial_dropout(drop_maps) -> str:
    """`drop_maps(x, p, training)`: whole maps dropped, the mean preserved.

    Takes and returns (N, C, H, W).
    """
    x = torch.rand(64, 32, 4, 4, generator=torch.Generator().manual_seed(3)) + 1
    p = 0.25
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        got = as_tensor(drop_maps(x.clone(), p, True), "The output", x.shape)
        unchanged = drop_maps(x.clone(), p, False)
    unchanged = as_tensor(unchanged, "The output at test time", x.shape)
    dropped, mask = got == 0, "with a mask of shape (N, C, 1, 1)."
    maps = dropped[:, :, :1, :1]  # (64, 32, 1, 1)
    hint = f"Some maps are dropped in part: draw one number for each map, {mask}"
    require(torch.equal(dropped, maps.expand_as(dropped)), hint)
    share = maps.float().mean().item()
    hint = "Nothing was dropped in training. Is the mask multiplied with x?"
    require(share > 0, hint)
    hint = f"Every image lost the same maps: draw anew for each image, {mask}"
    require(bool((maps != maps[:1]).any()), hint)
    hint = f"An image loses all of its maps or none: draw for each map, {mask}"
    require(bool((maps != maps[:, :1]).any()), hint)
    require(
        abs(share - p) < 0.05,
        f"With p = {p} a share of {share:.2f} was dropped: p is the probability of "
        "being dropped, not of being kept.",
    )
    factor = (got / x)[~dropped].mean().item()
    require(
        abs(factor - 1) > 1e-3,
        "The surviving maps are not scaled: without a factor of 1 / (1 - p) the next "
        "layer gets less in training than at test time.",
    )
    require(
        abs(factor - 1 / (1 - p)) < 1e-3,
        f"The surviving maps are multiplied by {factor:.3g}; for p = {p} it should be "
        f"1 / (1 - p) = {1 / (1 - p):.3g}.",
    )
    require(
        torch.equal(unchanged, x.double()),
        "At test time (training is false) the output must be x itself: nothing is "
        "dropped and nothing is scaled.",
    )
    return (
        "Right. A mask of shape (N, C, 1, 1), stretched over the maps by broadcasting, "
        "is all that sets nn.Dropout2d apart from nn.Dropout."
    )


@exercise
def fold_batch_norm(fold) -> str:
    """`fold(conv, norm)`: weight and bias of one convolution in place of both.

    Takes an `nn.Conv2d` without bias and an `nn.BatchNorm2d` in evaluation mode,
    returns (C_out, C_in, k, k) and (C_out,).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        conv = nn.Conv2d(5, 5, 3, padding=1, bias=False).requires_grad_(False)
        norm = nn.BatchNorm2d(5, eps=0.1).requires_grad_(False).eval()
        for values in (norm.weight, norm.running_var):
            nn.init.uniform_(values, 0.3, 2.0)
        for values in (norm.bias, norm.running_mean):
            nn.init.uniform_(values, 0.5, 1.5)
    got = fold(copy.deepcopy(conv), copy.deepcopy(norm))
    weight, bias = as_items(got, 2, "Return two tensors, the new (weight, bias)")

    def scaled(eps=norm.eps, power=-0.5, gamma=norm.weight):
        scale = gamma * (norm.running_var + eps) ** power  # (C_out,)
        return conv.weight * scale[:, None, None, None]

    scale = norm.weight / (norm.running_var + norm.eps) ** 0.5  # (C_out,)
    mistakes = {
        "You forgot the eps under the root.": scaled(eps=0),
        "Divide by the standard deviation: the root is missing.": scaled(power=-1.0),
        "You forgot gamma, norm.weight.": scaled(gamma=1),
        "You scaled the input channels: the factor belongs to the output channels, "
        "dimension 0; give it shape (C, 1, 1, 1).": conv.weight * scale[:, None, None],
    }
    weight = require_close(weight, scaled(), "The weight", mistakes)
    mean = norm.running_mean
    shift = mean * scale
    mistakes = {
        "You forgot the running mean: it is scaled too, and subtracted.": norm.bias,
        "The running mean must be scaled like the weights.": norm.bias - mean,
        "The mean is subtracted, not added.": norm.bias + shift,
        "You forgot beta, norm.bias.": -shift,
    }
    bias = require_close(bias, norm.bias - shift, "The bias", mistakes)
    x = torch.rand(2, 5, 6, 6, generator=torch.Generator().manual_seed(5))
    folded = nn.functional.conv2d(x.double(), weight, bias, padding=1)
    require_close(folded, norm(conv(x)), "The output of the folded convolution")
    return (
        "Right. This is what a compiler does before a network is deployed: batch "
        "normalization costs nothing at test time."
    )
