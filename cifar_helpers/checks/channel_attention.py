"""TODO."""

import torch

from cifar_helpers.checks.framework import answer, exercise, require, require_close


@exercise
def attention_parameters(attempt):
    """Parameters of `ChannelAttention(channels, reduction)`, any whole numbers."""
    from cifar_helpers.blocks import ChannelAttention
    from cifar_helpers.model import count_parameters

    for channels, reduction in ((64, 4), (32, 8), (50, 8), (6, 16)):
        got = answer(attempt(channels, reduction))
        hidden = max(channels // reduction, 1)
        wanted = count_parameters(ChannelAttention(channels, reduction))
        call = f"attention_parameters({channels}, {reduction})"
        weights = 2 * channels * hidden
        require(
            got != weights,
            f"{call}: you counted the weights and forgot the biases, one for each "
            "hidden unit and one for each channel.",
        )
        require(
            got != weights + hidden and got != weights + channels,
            f"{call}: both layers have biases, you counted those of one.",
        )
        if channels % reduction:
            require(
                got == wanted,
                f"{call} should be {wanted}, yours is {got:g}: the hidden layer has a "
                "whole number of units (rounded down), and at least one.",
            )
        require(got == wanted, f"{call} should be {wanted}, yours is {got:g}.")
    return (
        "Right. The parameters grow with the square of the channels; a reduction r "
        "divides them by r."
    )


@exercise
def efficient_channel_attention(attempt):
    """Weights from a small convolution across channels (Wang et al. 2020)."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(2, 6, 4, 5, generator=generator)
    kernel = torch.tensor([2.0, -1.0, 0.5])
    got = answer(attempt(x.clone(), kernel.clone()))

    def weights(means, taps):
        sums = torch.nn.functional.conv1d(means[:, None], taps[None, None], padding=1)
        return sums[:, 0, :, None, None]  # (N, C, 1, 1)

    means = x.mean(dim=(2, 3))  # (N, C)
    right = torch.sigmoid(weights(means, kernel))
    mistakes = {
        "You returned the weights: multiply x by them.": right,
        "The sigmoid is missing: weights must lie between 0 and 1.": x
        * weights(means, kernel),
        "Your kernel is flipped: F.conv1d and the exercise do not flip it.": x
        * torch.sigmoid(weights(means, kernel.flip(0))),
        "You squeezed with the maximum of each map: take its mean.": x
        * torch.sigmoid(weights(x.amax(dim=(2, 3)), kernel)),
        "The channels compete in your softmax: use a sigmoid.": x
        * weights(means, kernel).softmax(dim=1),
    }
    for hint, wrong in mistakes.items():
        if got.numel() == wrong.numel():
            require(not torch.allclose(got, wrong.reshape(got.shape), atol=1e-5), hint)
    require_close(got, x * right, "The scaled map")
    longer = torch.tensor([0.3, -0.2, 1.0, 0.7, -0.5])
    logits = torch.nn.functional.conv1d(means[:, None], longer[None, None], padding=2)
    wanted = x * torch.sigmoid(logits)[:, 0, :, None, None]
    require_close(
        answer(attempt(x, longer)), wanted, "With a kernel of 5 taps, the scaled map"
    )
    return (
        f"Right. It has {len(kernel)} parameters, whatever the number of channels, but "
        "channels that are neighbours by accident now depend on each other."
    )


@exercise
def fold_weights(attempt):
    """A convolution that does the channel weights' work by itself."""
    generator = torch.Generator().manual_seed(6)
    for outputs, channels in ((3, 3), (5, 4)):
        x = torch.rand(2, channels, 7, 6, generator=generator)
        conv_weight = torch.randn(outputs, channels, 3, 3, generator=generator)
        scale = torch.rand(channels, generator=generator) + 0.2  # (C,)
        got = answer(attempt(conv_weight.clone(), scale.clone()))
        wanted = conv_weight * scale[:, None, None]  # (O, C, k, k)
        if outputs == channels:
            mistakes = {
                "You scaled the output channels: the weights belong to the input "
                "channels, dimension 1 of (O, C, k, k).": conv_weight
                * scale[:, None, None, None],
                "You scaled the kernel's columns: broadcasting lines shapes up from "
                "the right, so give the scale the shape (1, C, 1, 1).": conv_weight
                * scale,
                "Multiply by the channel weights, do not divide.": conv_weight
                / scale[:, None, None],
            }
            for hint, wrong in mistakes.items():
                same = got.shape == wrong.shape and torch.allclose(got, wrong)
                require(not same, hint)
        require_close(got, wanted, "The folded weight")
        conv2d = torch.nn.functional.conv2d
        expected = conv2d(x * scale[:, None, None], conv_weight, stride=2, padding=1)
        folded = conv2d(x, got, stride=2, padding=1)
        require_close(folded, expected, "The folded convolution's output")
    return (
        "Right. So fixed weights add nothing that the next convolution could not learn "
        "by itself: the block earns its place by looking at the image."
    )
