"""The checks of notebook 08 accept right answers, catch wrong ones, and say why."""

import math

import pytest
import torch

from cifar_helpers.checks import assemble_the_network as checks
from cifar_helpers.model import NetConfig

BASE = NetConfig()
DEEP = BASE.deep_channels * 3 // 2
THRIFTY = NetConfig(deep_channels=DEEP, hidden_channels=BASE.hidden_channels // 2)

RIGHT = [
    (checks.separable_parameters, lambda i, o: (9 + o) * i + 2 * o),
    (checks.first_loss, math.log),
    (checks.log_softmax, lambda z: torch.log_softmax(z, dim=1)),
    (checks.redesign, THRIFTY),
]
WRONG = [
    (checks.separable_parameters, lambda i, o: 9 * i + i * o, "normalization is miss"),
    (checks.separable_parameters, lambda i, o: 9 * i * o + 2 * o, "dense"),
    (checks.separable_parameters, lambda i, o: 9 * i + i * o + 4 * o, "not learned"),
    (checks.separable_parameters, lambda i, o: 9 * o + i * o + 2 * o, "comes first"),
    (checks.separable_parameters, lambda i, o: i + o, "should be"),
    (checks.first_loss, math.log10, "natural logarithm"),
    (checks.first_loss, lambda classes: -math.log(classes), "sign"),
    (checks.first_loss, lambda classes: 1 / classes, "minus its logarithm"),
    (checks.first_loss, lambda classes: 2.3026, "first_loss(2)"),
    (checks.log_softmax, lambda z: z.softmax(dim=1), "take the logarithm"),
    (checks.log_softmax, lambda z: z.log_softmax(dim=0), "over the batch"),
    (
        checks.log_softmax,
        lambda z: z - z.exp().sum(dim=1, keepdim=True).log(),
        "Subtract each row's maximum",
    ),
    (
        checks.log_softmax,
        lambda z: (z - z.max()) - (z - z.max()).exp().sum().log(),
        "every image has its own",
    ),
    (checks.redesign, NetConfig(), "deep_channels should be at least"),
    (
        checks.redesign,
        NetConfig(deep_channels=DEEP, hidden_channels=2 * BASE.hidden_channels),
        "too many",
    ),
    (
        checks.redesign,
        NetConfig(deep_channels=DEEP, without=("deconvolution",)),
        "You switched off deconvolution",
    ),
    (checks.redesign, {"deep_channels": DEEP}, "yours is a dict"),
]


@pytest.mark.parametrize(("check", "attempt"), RIGHT)
def test_right_answers_are_accepted(check, attempt):
    assert check(attempt).status == "solved"


@pytest.mark.parametrize("check", [check for check, _ in RIGHT])
def test_the_empty_stub_is_not_yet_solved(check):
    stub = ... if check is checks.redesign else lambda *arguments: None
    assert check(stub).status == "not yet"


@pytest.mark.parametrize(("check", "attempt", "words"), WRONG)
def test_wrong_answers_get_the_right_hint(check, attempt, words):
    verdict = check(attempt)
    assert verdict.status == "wrong"
    assert words in verdict.message
