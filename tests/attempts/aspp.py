"""Attempts at the exercises of notebook 07."""

import math

import torch

from cifar_helpers.checks import aspp as checks


def by_counting(size, share):
    def corner_tap_sees(rate):
        places = [(i, j) for i in range(size) for j in range(size)]
        return sum(i >= rate and j >= rate for i, j in places) / len(places)

    return max(rate for rate in range(size) if corner_tap_sees(rate) >= share)


def parameters(c, b, out, rates, stride, **changes):
    """The parameters of ASPP, with room for mistakes."""
    parts = {
        "local": stride**2 * c * b + 2 * b,
        "dilated": len(rates) * (9 * c + c * b + 2 * b),
        "whole_image": c * b + b,
        "project": (len(rates) + 2) * b * out + 2 * out,
    }
    return sum((parts | changes).values())


def changed(change):
    """`parameters` with the parts that `change(c, b, out, n, stride)` gives."""

    def attempt(c, b, out, rates, stride):
        changes = change(c, b, out, len(rates), stride)
        return parameters(c, b, out, rates, stride, **changes)

    return attempt


def without_norm(c, b, o, n, s):
    return {
        "local": s**2 * c * b,
        "dilated": n * (9 * c + c * b),
        "project": (n + 2) * b * o,
    }


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


def by_mask(joined, branch, width):
    number = torch.arange(joined.shape[1]) // width
    return joined * (number != branch).view(1, -1, 1, 1)


RATE, COUNT, BRANCH = checks.largest_rate, checks.aspp_parameters, checks.without_branch
RIGHT = [(RATE, by_counting), (COUNT, parameters), (BRANCH, by_mask)]
WRONG = [
    (RATE, lambda size, share: size * (1 - share**0.5), "whole number", "direction"),
    (RATE, lambda size, share: math.ceil(size * (1 - share**0.5)), "round down"),
    (RATE, lambda size, share: int(size * (1 - share)), "along both axes"),
    (RATE, lambda size, share: int(size * (1 - share**0.5) / 2), "no factor of two"),
    (RATE, lambda size, share: size, "too rarely"),
    (RATE, lambda size, share: 1, "A larger rate would do"),
    (COUNT, changed(without_norm), "Batch normalization is missing"),
    (COUNT, changed(lambda c, b, o, n, s: {"project": (n + 2) * b * o}), "too."),
    (
        COUNT,
        changed(lambda c, b, o, n, s: {"project": (n + 1) * b * o + 2 * o}),
        "5 branches",
    ),
    (COUNT, changed(lambda c, b, o, n, s: {"project": n * b * o + 2 * o}), "branches"),
    (COUNT, changed(lambda c, b, o, n, s: {"whole_image": c * b}), "has a bias"),
    (
        COUNT,
        changed(lambda c, b, o, n, s: {"whole_image": c * b + 3 * b}),
        "has no batch",
    ),
    (
        COUNT,
        changed(lambda c, b, o, n, s: {"dilated": n * (9 * c * b + 2 * b)}),
        "separable",
    ),
    (
        COUNT,
        changed(lambda c, b, o, n, s: {"dilated": n * (c * b + 2 * b)}),
        "nine per channel",
    ),
    (
        COUNT,
        changed(lambda c, b, o, n, s: {"local": c * b + 2 * b}),
        "stride × stride",
    ),
    (COUNT, changed(lambda c, b, o, n, s: {"local": 5}), "branch by branch"),
    (BRANCH, in_place, "changes `joined` itself"),
    (BRANCH, counted_from_one, "counted from 0"),
    (BRANCH, one_channel, "starts at channel b * width"),
    (BRANCH, cut_out, "do not cut them out"),
    (BRANCH, lambda joined, branch, width: torch.zeros_like(joined), "must be zero"),
    (BRANCH, lambda *given: 2 * in_place(given[0].clone(), *given[1:]), "that stay"),
    (BRANCH, lambda joined, branch, width: [joined], "tensor of shape (2, 12, 5, 5)"),
]
