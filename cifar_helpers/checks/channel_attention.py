"""Self-checks of notebook 05: parameters, a cheaper attention, fixed weights."""

import torch

from cifar_helpers.blocks import ChannelAttention
from cifar_helpers.checks.framework import as_whole_number, exercise, require_close
from cifar_helpers.model import count_parameters


@exercise
def attention_parameters(attempt) -> str:
    """`attempt(channels, reduction)`: parameters of a `ChannelAttention`."""
    for channels, reduction in ((64, 4), (32, 8), (50, 8), (6, 16)):
        call = f"attention_parameters({channels}, {reduction})"
        rounding = "The hidden units are a whole number (rounded down), at least one."
        got = as_whole_number(attempt(channels, reduction), call, rounding)
        hidden = max(channels // reduction, 1)
        weights = 2 * channels * hidden
        mistakes = {
            "You counted the weights and forgot the biases, one for each hidden unit "
            "and one for each channel.": weights,
            "Both layers have biases.": (weights + hidden, weights + channels),
        }
        wanted = count_parameters(ChannelAttention(channels, reduction))
        otherwise = rounding if channels % reduction else ""
        require_close(got, wanted, call, mistakes, otherwise)
    return (
        "Right. The parameters grow with the square of the channels; a reduction r "
        "divides them by r."
    )


@exercise
def efficient_channel_attention(attempt) -> str:
    """`attempt(x, kernel)`: channel weights from a small convolution across channels.

    Takes (N, C, H, W) and (k,), k odd, returns (N, C, H, W) (Wang et al. 2020).
    """
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(2, 6, 4, 5, generator=generator)
    kernel = torch.tensor([2.0, -1.0, 0.5])
    means = x.mean(dim=(2, 3))  # (N, C)

    def logits(taps, squeezed=means):
        signal, padding = squeezed[:, None], len(taps) // 2  # (N, 1, C)
        sums = torch.nn.functional.conv1d(signal, taps[None, None], padding=padding)
        return sums[:, 0, :, None, None]  # (N, C, 1, 1)

    weights = logits(kernel).sigmoid()
    mistakes = {
        "You returned the weights: multiply x by them.": (weights, weights[..., 0, 0]),
        "The sigmoid is missing: weights must lie between 0 and 1.": x * logits(kernel),
        "Do not flip the kernel.": x * logits(kernel.flip(0)).sigmoid(),
        "You squeezed with the maximum of each map: take its mean.": (
            x * logits(kernel, x.amax(dim=(2, 3))).sigmoid()
        ),
        "Channels compete in a softmax: use sigmoid.": x * logits(kernel).softmax(1),
    }
    got = attempt(x.clone(), kernel.clone())
    require_close(got, x * weights, "The scaled map", mistakes)
    longer = torch.tensor([0.3, -0.2, 1.0, 0.7, -0.5])
    what = "With a kernel of 5 taps, the scaled map"
    got = attempt(x.clone(), longer.clone())
    require_close(got, x * logits(longer).sigmoid(), what)
    return (
        f"Right. It has {len(kernel)} parameters, whatever the number of channels, but "
        "channels that are neighbours by accident now depend on each other."
    )


@exercise
def fold_weights(attempt) -> str:
    """`attempt(conv_weight, channel_weights)`: a convolution that weights channels.

    Takes (O, C, k, k) and (C,), returns (O, C, k, k).
    """
    generator = torch.Generator().manual_seed(6)
    conv2d = torch.nn.functional.conv2d
    for outputs, channels in ((3, 3), (5, 4)):
        x = torch.rand(2, channels, 7, 6, generator=generator)
        weight = torch.randn(outputs, channels, 3, 3, generator=generator)
        scale = torch.rand(channels, generator=generator) + 0.2  # (C,)
        mistakes = {}
        if outputs == channels:  # otherwise some of these shapes do not fit
            mistakes = {
                "You scaled the output channels: the weights belong to the input "
                "channels, dimension 1.": weight * scale[:, None, None, None],
                "You scaled the kernel's columns: broadcasting lines shapes up from "
                "the right, so give the scale the shape (1, C, 1, 1).": weight * scale,
                "Multiply, do not divide.": weight / scale[:, None, None],
            }
        got = attempt(weight.clone(), scale.clone())
        wanted = weight * scale[:, None, None]  # (O, C, k, k)
        got = require_close(got, wanted, "The folded weight", mistakes)
        expected = conv2d(x * scale[:, None, None], weight, stride=2, padding=1)
        folded = conv2d(x.double(), got, stride=2, padding=1)
        require_close(folded, expected, "The folded convolution's output")
    return (
        "Right. So fixed weights add nothing that the next convolution could not learn "
        "by itself: the block earns its place by looking at the image."
    )
