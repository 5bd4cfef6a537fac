"""The self-checks of notebook 05 say "not yet" to stubs and name typical mistakes."""

import pytest
import torch
from torch.nn import functional as F
from verdicts import empty, wrong

from cifar_helpers.checks import channel_attention as checks


@pytest.mark.parametrize(
    "check",
    [
        checks.attention_parameters,
        checks.efficient_channel_attention,
        checks.fold_weights,
    ],
)
def test_stub_is_not_yet_solved(check):
    assert check(empty).status == "not yet"


@pytest.mark.parametrize(
    "formula, word",
    [
        (lambda c, r: 2 * c * (c // r), "forgot the biases"),
        (lambda c, r: 2 * c * (c // r) + c, "both layers have biases"),
        (lambda c, r: 2 * c * (c // r) + c // r, "both layers have biases"),
        (lambda c, r: 2 * c * (c / r) + c / r + c, "whole number of units"),
        (lambda c, r: 2 * c * (c // r) + c // r + c, "at least one"),
        (lambda c, r: 2 * c * c, "should be 2128, yours is 8192"),
    ],
)
def test_attention_parameters(formula, word):
    wrong(checks.attention_parameters(formula), word)


def channel_attention(x, kernel, squeeze=None, gate=torch.sigmoid, scale=True):
    """Efficient channel attention, with one wrong step where it is given."""
    squeezed = squeeze(x) if squeeze else x.mean(dim=(2, 3))
    sums = F.conv1d(squeezed[:, None], kernel[None, None], padding=len(kernel) // 2)
    weights = gate(sums[:, 0])[:, :, None, None]
    return x * weights if scale else weights


@pytest.mark.parametrize(
    "change, word",
    [
        ({"gate": lambda sums: sums}, "sigmoid is missing"),
        ({"gate": lambda sums: sums.softmax(dim=1)}, "compete"),
        ({"squeeze": lambda x: x.amax(dim=(2, 3))}, "take its mean"),
        ({"scale": False}, "You returned the weights"),
        ({"squeeze": lambda x: x.sum(dim=(2, 3))}, "The scaled map at"),
    ],
)
def test_efficient_channel_attention(change, word):
    def attempt(x, kernel):
        return channel_attention(x, kernel, **change)

    wrong(checks.efficient_channel_attention(attempt), word)


def test_efficient_channel_attention_kernel():
    def flipped(x, kernel):
        return channel_attention(x, kernel.flip(0))

    def three_taps_only(x, kernel):
        squeezed = F.pad(x.mean(dim=(2, 3)), (1, 1))
        sums = sum(
            kernel[tap] * squeezed[:, tap : tap + x.shape[1]] for tap in range(3)
        )
        return x * torch.sigmoid(sums)[:, :, None, None]

    wrong(checks.efficient_channel_attention(flipped), "flipped")
    wrong(checks.efficient_channel_attention(three_taps_only), "kernel of 5 taps")


@pytest.mark.parametrize(
    "fold, word",
    [
        (lambda weight, scale: weight * scale[:, None, None, None], "output channels"),
        (lambda weight, scale: weight * scale, "lines shapes up from"),
        (lambda weight, scale: weight / scale[:, None, None], "do not divide"),
        (lambda weight, scale: weight[:, 0] * scale[0], "should have shape"),
        (lambda weight, scale: weight * scale.mean(), "The folded weight at"),
    ],
)
def test_fold_weights(fold, word):
    wrong(checks.fold_weights(fold), word)


def test_right_answers_are_praised():
    def fold(weight, scale):
        return torch.einsum("ochw,c->ochw", weight, scale)

    verdicts = [
        checks.efficient_channel_attention(channel_attention),
        checks.fold_weights(fold),
    ]
    assert [verdict.status for verdict in verdicts] == ["solved", "solved"]
