"""Attempts at the exercises of notebook 05."""

import torch
from torch.nn import functional as F

from cifar_helpers.blocks import ChannelAttention
from cifar_helpers.checks import channel_attention as checks
from cifar_helpers.model import count_parameters


def efficient(squeeze=None, gate=torch.sigmoid, scale=True, flip=False):
    """Efficient channel attention, with one wrong step where it is given."""

    def attempt(x, kernel):
        taps = kernel.flip(0) if flip else kernel
        squeezed = squeeze(x) if squeeze else x.mean(dim=(2, 3))
        sums = F.conv1d(squeezed[:, None], taps[None, None], padding=len(taps) // 2)
        weights = gate(sums[:, 0])[:, :, None, None]
        return x * weights if scale else weights

    return attempt


def three_taps_only(x, kernel):
    squeezed = F.pad(x.mean(dim=(2, 3)), (1, 1))
    sums = sum(kernel[tap] * squeezed[:, tap : tap + x.shape[1]] for tap in range(3))
    return x * torch.sigmoid(sums)[:, :, None, None]


COUNT, FOLD = checks.attention_parameters, checks.fold_weights
ECA = checks.efficient_channel_attention
RIGHT = [
    (COUNT, lambda c, r: count_parameters(ChannelAttention(c, r))),
    (ECA, efficient()),
    (FOLD, lambda weight, scale: torch.einsum("ochw,c->ochw", weight, scale)),
]
WRONG = [
    (COUNT, lambda c, r: 2 * c * (c // r), "forgot the biases"),
    (COUNT, lambda c, r: 2 * c * (c // r) + c, "Both layers have biases"),
    (COUNT, lambda c, r: 2 * c * (c // r) + c // r, "Both layers have biases"),
    (COUNT, lambda c, r: 2 * c * (c / r) + c / r + c, "681.25", "rounded down"),
    (COUNT, lambda c, r: 2 * c * (c // r) + c // r + c, "at least one"),
    (COUNT, lambda c, r: 2 * c * c, "should be 2,128, yours is 8,192"),
    (ECA, efficient(gate=lambda sums: sums), "sigmoid is missing"),
    (ECA, efficient(gate=lambda sums: sums.softmax(dim=1)), "compete"),
    (ECA, efficient(squeeze=lambda x: x.amax(dim=(2, 3))), "take its mean"),
    (ECA, efficient(scale=False), "You returned the weights"),
    (ECA, lambda *a: efficient(scale=False)(*a).flatten(1), "You returned the weights"),
    (ECA, efficient(squeeze=lambda x: x.sum(dim=(2, 3))), "The scaled map at"),
    (ECA, efficient(flip=True), "Do not flip"),
    (ECA, three_taps_only, "kernel of 5 taps"),
    (FOLD, lambda weight, scale: weight * scale[:, None, None, None], "output channel"),
    (FOLD, lambda weight, scale: weight * scale, "lines shapes up from"),
    (FOLD, lambda weight, scale: weight / scale[:, None, None], "do not divide"),
    (FOLD, lambda weight, scale: weight[:, 0] * scale[0], "of shape (3, 3, 3, 3)"),
    (FOLD, lambda weight, scale: weight * scale.mean(), "The folded weight at"),
]
