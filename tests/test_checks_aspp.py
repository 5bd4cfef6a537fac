"""Exercises of notebook 07: right answers pass, typical mistakes get their hint."""

import math

import pytest
import torch

from cifar_helpers.checks import aspp as checks


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (lambda size, share: size * (1 - share**0.5), "a rate is a whole number"),
        (lambda size, share: math.ceil(size * (1 - share**0.5)), "round down"),
        (lambda size, share: int(size * (1 - share)), "both axes at once"),
        (lambda size, share: int(size * (1 - share**0.5) / 2), "no factor of two"),
        (lambda size, share: size, "too rarely"),
        (lambda size, share: 1, "a larger rate would do"),
    ],
)
def test_largest_rate_mistakes(attempt, hint):
    verdict = checks.largest_rate(attempt)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def test_largest_rate_solved_by_counting():
    def count(size, share):
        def corner_tap_sees(rate):
            places = [(i, j) for i in range(size) for j in range(size)]
            return sum(i >= rate and j >= rate for i, j in places) / len(places)

        return max(rate for rate in range(size) if corner_tap_sees(rate) >= share)

    assert checks.largest_rate(count).status == "solved"


def parameters(c, b, out, rates, stride, **changes):
    """The parameters of ASPP, with room for mistakes."""
    parts = {
        "local": stride**2 * c * b + 2 * b,
        "dilated": len(rates) * (9 * c + c * b + 2 * b),
        "whole_image": c * b + b,
        "project": (len(rates) + 2) * b * out + 2 * out,
    }
    return sum((parts | changes).values())


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda c, b, o, n, s: {"project": (n + 2) * b * o}, "projection has batch"),
        (lambda c, b, o, n, s: {"project": (n + 1) * b * o + 2 * o}, "+ 2 branches"),
        (lambda c, b, o, n, s: {"project": n * b * o + 2 * o}, "+ 2 branches"),
        (lambda c, b, o, n, s: {"whole_image": c * b}, "has a bias"),
        (lambda c, b, o, n, s: {"whole_image": c * b + 3 * b}, "has no batch"),
        (lambda c, b, o, n, s: {"dilated": n * (9 * c * b + 2 * b)}, "separable"),
        (lambda c, b, o, n, s: {"dilated": n * (c * b + 2 * b)}, "nine weights"),
        (lambda c, b, o, n, s: {"local": c * b + 2 * b}, "stride × stride"),
        (lambda c, b, o, n, s: {"local": 5}, "branch by branch"),
        (
            lambda c, b, o, n, s: {
                "local": s**2 * c * b,
                "dilated": n * (9 * c + c * b),
                "project": (n + 2) * b * o,
            },
            "batch normalization is missing",
        ),
    ],
)
def test_aspp_parameters_mistakes(change, hint):
    def attempt(c, b, out, rates, stride):
        changes = change(c, b, out, len(rates), stride)
        return parameters(c, b, out, rates, stride, **changes)

    verdict = checks.aspp_parameters(attempt)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def test_aspp_parameters_solved():
    assert checks.aspp_parameters(parameters).status == "solved"


def in_place(joined, branch, width):
    joined[:, branch * width : (branch + 1) * width] = 0
    return joined


def counted_from_one(joined, branch, width):
    return in_place(joined.clone(), branch - 1, width)


def one_channel(joined, branch, width):
    joined = joined.clone()
    joined[:, branch] = 0
    return joined


def cut_out(joined, branch, width):
    before, after = joined[:, : branch * width], joined[:, (branch + 1) * width :]
    return torch.cat([before, after], dim=1)


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (in_place, "changes `joined` itself"),
        (counted_from_one, "counted from 0"),
        (one_channel, "starts at channel b * width"),
        (cut_out, "do not cut them out"),
        (lambda joined, branch, width: torch.zeros_like(joined), "must be zero"),
        (lambda *given: 2 * in_place(given[0].clone(), *given[1:]), "that stay"),
        (lambda joined, branch, width: [joined], "Return a tensor"),
    ],
)
def test_without_branch_mistakes(attempt, hint):
    verdict = checks.without_branch(attempt)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def test_without_branch_solved_by_a_mask():
    def by_mask(joined, branch, width):
        number = torch.arange(joined.shape[1]) // width
        return joined * (number != branch).view(1, -1, 1, 1)

    assert checks.without_branch(by_mask).status == "solved"


@pytest.mark.parametrize(
    "verdict",
    [
        checks.largest_rate(lambda size, share: ...),
        checks.aspp_parameters(lambda c, b, out, rates, stride: None),
        checks.without_branch(lambda joined, branch, width: None),
    ],
)
def test_unsolved_stub_is_not_yet(verdict):
    assert verdict.status == "not yet"
