"""TODO."""

import torch

from cifar_helpers.checks.framework import answer, exercise, require, require_close


def _same(got, value) -> bool:
    """Whether a tensor or number is this wrong value, shape included."""
    got, value = torch.as_tensor(got).double(), torch.as_tensor(value).double()
    return got.shape == value.shape and torch.allclose(got, value, atol=1e-4)


@exercise
def conv_output_size(output_size) -> str:
    """Check `output_size(size, kernel, stride, padding)` against places counted."""
    cases = ((32, 3, 1, 0), (32, 3, 1, 1), (32, 3, 2, 1), (7, 3, 2, 0), (33, 5, 3, 2))
    for size, kernel, stride, padding in cases:
        got = answer(output_size(size, kernel, stride, padding))
        wanted = len(range(0, size + 2 * padding - kernel + 1, stride))
        mistakes = {
            "Padding is added on both sides: use twice the padding.": (
                size + padding - kernel
            )
            // stride
            + 1,
            "You counted the steps: the place at the start is missing, add 1.": (
                wanted - 1
            ),
            "Without padding? Its 2 p rows belong to what the kernel can slide over.": (
                size - kernel
            )
            // stride
            + 1,
        }
        call = f"output_size({size}, {kernel}, {stride}, {padding})"
        for hint, wrong in mistakes.items():
            require(
                got == wanted or got != wrong,
                f"{call} should be {wanted}, yours is {got:g}. {hint}",
            )
        rounded_up = got == -(-(size + 2 * padding - kernel) // stride) + 1
        require(
            got == wanted or not rounded_up,
            f"{call} should be {wanted}, yours is {got:g}. "
            "You rounded up: a place that hangs over the edge does not count.",
        )
        require(
            isinstance(got, int),
            f"{call} should be a whole number, yours is {got!r}. "
            "Half a step is no step: divide with //, which rounds down.",
        )
        require(got == wanted, f"{call} should be {wanted}, yours is {got}.")
    return (
        "Right. With stride 1, a padding of (kernel - 1) / 2 keeps the size, which is "
        "why odd kernels are so popular."
    )


@exercise
def convolution(convolve) -> str:
    """Check `convolve(image, weight, stride, padding)` against torch's own."""
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(2, 8, 7, generator=generator)
    weight = torch.randn(4, 2, 3, 3, generator=generator)
    conv2d = torch.nn.functional.conv2d
    for stride, padding in ((1, 0), (2, 0), (1, 1), (2, 1)):
        got = answer(convolve(image.clone(), weight.clone(), stride, padding))
        wanted = conv2d(image, weight, stride=stride, padding=padding)
        setting = f"With stride {stride} and padding {padding}"
        mistakes = {
            "your kernel is turned by 180°: nn.Conv2d does not turn it.": conv2d(
                image, weight.flip(2, 3), stride=stride, padding=padding
            ),
            "rows and columns of the kernel are swapped.": conv2d(
                image, weight.transpose(2, 3), stride=stride, padding=padding
            ),
            "only the first input channel counts: add up all of them.": conv2d(
                image[:1], weight[:, :1], stride=stride, padding=padding
            ),
            "you averaged over the input channels: add them up.": wanted / 2,
        }
        for hint, wrong in mistakes.items():
            require(not _same(got, wrong), f"{setting}, {hint}")
        if stride > 1:
            ignored = conv2d(image, weight, padding=padding)
            require(got.shape != ignored.shape, f"{setting}, the stride has no effect.")
        if padding:
            ignored = conv2d(image, weight, stride=stride)
            require(
                got.shape != ignored.shape, f"{setting}, the padding has no effect."
            )
        require_close(got, wanted, f"{setting}, the output")
    larger = torch.randn(3, 2, 5, 5, generator=generator)
    wanted = conv2d(image, larger, stride=3, padding=2)
    got = answer(convolve(image, larger, 3, 2))
    setting = "With a 5 x 5 kernel, stride 3 and padding 2"
    require_close(got, wanted, f"{setting}, the output")
    return (
        "Right. You have written the heart of every network of this series; the "
        "library does the same, only faster."
    )


@exercise
def spatial_dropout(drop_maps) -> str:
    """Check `drop_maps(x, p, training)`: whole maps dropped, the mean preserved."""
    x = torch.rand(64, 32, 4, 4, generator=torch.Generator().manual_seed(3)) + 1
    p = 0.25
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        got = answer(drop_maps(x.clone(), p, True))
        unchanged = answer(drop_maps(x.clone(), p, False))
    require_close(got.shape, x.shape, "The shape of the output")
    dropped = got == 0  # (64, 32, 4, 4)
    require(
        bool((dropped.all(3).all(2) == dropped.any(3).any(2)).all()),
        "Some maps are dropped in part: draw one number for each map, with a mask of "
        "shape (N, C, 1, 1), not one for each pixel.",
    )
    maps = dropped[:, :, 0, 0]  # (64, 32)
    share = maps.float().mean().item()
    require(
        share > 0, "Nothing was dropped in training. Is the mask multiplied with x?"
    )
    require(
        not bool((maps == maps[:1]).all()),
        "Every image lost the same maps: draw anew for each image, with a mask of "
        "shape (N, C, 1, 1).",
    )
    require(
        not bool((maps == maps[:, :1]).all()),
        "An image loses all of its maps or none: draw for each map, with a mask of "
        "shape (N, C, 1, 1).",
    )
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
        bool((unchanged == x).all()),
        "At test time (training is false) the output must be x itself: nothing is "
        "dropped and nothing is scaled.",
    )
    return (
        "Right. A mask of shape (N, C, 1, 1), stretched over the maps by broadcasting, "
        "is all that sets nn.Dropout2d apart from nn.Dropout."
    )


@exercise
def fold_batch_norm(fold) -> str:
    """Check `fold(conv, norm)`: one convolution that does the work of both."""
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        conv = nn.Conv2d(5, 5, 3, padding=1, bias=False).requires_grad_(False)
        norm = nn.BatchNorm2d(5, eps=0.1).requires_grad_(False).eval()
        for values in (norm.weight, norm.running_var):
            nn.init.uniform_(values, 0.3, 2.0)
        for values in (norm.bias, norm.running_mean):
            nn.init.uniform_(values, 0.5, 1.5)
    result = answer(fold(conv, norm))
    require(
        isinstance(result, tuple) and len(result) == 2,
        "Return two tensors: the weight and the bias of the new convolution.",
    )
    weight, bias = result[0].detach(), result[1].detach()

    def scale(eps=norm.eps, power=-0.5):
        return norm.weight * (norm.running_var + eps) ** power

    column = (slice(None), None, None, None)  # one factor for each output channel
    wanted = conv.weight * scale()[column]
    mistakes = {
        "You forgot the eps under the root.": conv.weight * scale(eps=0)[column],
        "Divide by the standard deviation: the root of the variance is missing.": (
            conv.weight * scale(power=-1.0)[column]
        ),
        "You forgot gamma, norm.weight.": conv.weight * (scale() / norm.weight)[column],
        "You scaled the input channels: the factor belongs to the output channels, "
        "dimension 0 of the weight; give it the shape (C, 1, 1, 1).": conv.weight
        * scale()[:, None, None],
    }
    for hint, wrong in mistakes.items():
        require(not _same(weight, wrong), f"The weight is not right yet. {hint}")
    require_close(weight, wanted, "The weight")
    shift = norm.running_mean * scale()
    mistakes = {
        "You forgot the running mean: it is scaled too, and subtracted.": norm.bias,
        "The running mean must be scaled like the weights.": norm.bias
        - norm.running_mean,
        "The mean is subtracted, not added.": norm.bias + shift,
        "You forgot beta, norm.bias.": -shift,
    }
    for hint, wrong in mistakes.items():
        require(not _same(bias, wrong), f"The bias is not right yet. {hint}")
    require_close(bias, norm.bias - shift, "The bias")
    x = torch.rand(2, 5, 6, 6, generator=torch.Generator().manual_seed(5))
    folded = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    require_close(folded, norm(conv(x)), "The output of the folded convolution")
    return (
        "Right. This is what a compiler does before a network is deployed: batch "
        "normalization costs nothing at test time."
    )
