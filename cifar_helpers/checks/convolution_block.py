"""Self-checks of notebook 02: sizes, learning rates, dropout, folded batch norm."""

import copy

import torch
from torch import nn

from cifar_helpers.checks.framework import (
    as_accuracy,
    as_choice,
    as_items,
    as_tensor,
    exercise,
    question,
    require,
    require_close,
)


@question
def image_through_layers(answers) -> str:
    """(side, parameters, multiply-adds) of two convolutions, each with batch norm."""
    wanted = "Give three numbers, (side, parameters, multiply-adds)"
    side, parameters, multiply_adds = as_items(answers, 3, wanted)
    mistakes = {
        "One too few: use twice the padding, and in both layers count the place at the "
        "start, too.": 13,
        "You counted the steps: the place at the start is missing.": 12,
        "Without padding a 3 x 3 kernel loses a pixel on each side.": 16,
        "Without padding a 3 x 3 kernel loses a pixel on each side, two in all.": 15,
    }
    require_close(side, 14, "The side", mistakes, secret=True)
    first, second = 4 * 4 * 3 * 24, 3 * 3 * 24 * 48
    norms = 2 * 24 + 2 * 48
    mistakes = {
        "The batch normalizations are missing: two for each channel.": first + second,
        "A batch normalization has two parameters for each channel.": (
            first + second + norms // 2
        ),
        "The convolutions have no bias.": first + second + norms + 24 + 48,
        "The first kernel is 4 x 4.": 9 * 3 * 24 + second + norms,
        "Each output channel has a kernel for every input channel.": (
            16 * 24 + 9 * 48 + norms
        ),
    }
    wanted = first + second + norms
    require_close(parameters, wanted, "The parameters", mistakes, secret=True)
    right = 16**2 * first + 14**2 * second
    mistakes = {
        "Count a multiply-add once: this is twice as many.": 2 * right,
        "A weight is used once at every place of the OUTPUT, here you took the input's "
        "places.": 32**2 * first + 16**2 * second,
        "The second map has 14 x 14 places.": 16**2 * (first + second),
        "A weight is used at every place: times the side squared.": (
            first + second,
            16 * first + 14 * second,
        ),
    }
    require_close(multiply_adds, right, "The multiply-adds", mistakes, secret=True)
    return (
        "Right. The second layer has nine times the weights of the first and does "
        "seven times its work: places count as well as channels."
    )


EXPECTATIONS = ("plain", "normalized", "both", "neither")


@question
def larger_steps(result) -> str:
    """Accuracies in percent at two learning rates, without and with normalization.

    Takes (expected, plain at 0.05, plain at 1.0, normalized at 0.05, at 1.0).
    """
    wanted = "Give five things, (expected, *plain, *normalized)"
    expected, *accuracies = as_items(result, 5, wanted)
    as_choice(expected, EXPECTATIONS, "What you expected")
    plain, plain_fast, normalized, normalized_fast = map(as_accuracy, accuracies)
    require(
        normalized > plain,
        "At the small rate the normalized stack should be ahead. Did you swap the two?",
    )
    require(
        plain_fast < 15,
        f"At the rate 1.0 the plain stack should not learn, yours reached "
        f"{plain_fast:.1f} %. Did you make a new stack and pass rate=1.0?",
    )
    require(
        normalized_fast > plain_fast + 3,
        f"At the rate 1.0 the normalized stack should still learn, yours reached "
        f"{normalized_fast:.1f} %. Did you make a new one for each rate?",
    )
    held = "as you expected" if expected == "normalized" else f'not "{expected}"'
    return (
        f"Right, {held}: at twenty times the rate only the normalized stack learns. "
        "Behind a normalization the scale of the weights does not matter, so that too "
        "large a step does less harm."
    )


@exercise
def spatial_dropout(drop_maps) -> str:
    """`drop_maps(x, p, training)`: whole maps dropped, the mean preserved.

    Takes and returns (N, C, H, W).
    """
    x = torch.rand(64, 32, 4, 4, generator=torch.Generator().manual_seed(3)) + 1
    p = 0.25
    torch.default_generator.manual_seed(0)
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
    torch.default_generator.manual_seed(4)
    conv = nn.Conv2d(5, 5, 3, padding=1, bias=False).requires_grad_(False).eval()
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
