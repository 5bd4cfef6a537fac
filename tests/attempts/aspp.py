"""Attempts at the exercises of notebook 07."""

import math

import torch

from cifar_helpers.checks import aspp as checks


def by_counting(size, share):
    def corner_tap_sees(rate):
        places = [(i, j) for i in range(size) for j in range(size)]
        return sum(i >= rate and j >= rate for i, j in places) / len(places)

    return max(rate for rate in range(size) if corner_tap_sees(rate) >= share)


def by_gcd(rates, stride):
    step = math.gcd(*rates, stride)
    return step, tuple(rate // step for rate in rates), stride // step


def by_marking(rates, stride):
    """Mark the rows that outputs read, and find the largest step that holds them."""
    read = {(p * stride + t * r) for p in range(50) for r in rates for t in (-1, 0, 1)}
    step = max(s for s in range(1, 50) if all(row % s == 0 for row in read))
    return step, [rate // step for rate in rates], stride // step


def of_step(choose):
    """`by_gcd` with the step that `choose(rates, stride)` gives."""

    def attempt(rates, stride):
        step = choose(rates, stride)
        return step, tuple(rate // step for rate in rates), stride // step

    return attempt


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


RATE, SMALL = checks.largest_rate, checks.smallest_map
BRANCH, BEYOND = checks.without_branch, checks.rates_beyond_the_map
RIGHT = [
    (RATE, by_counting),
    (SMALL, by_gcd),
    (SMALL, by_marking),
    (BRANCH, by_mask),
    (BEYOND, (83.1, 80.4)),
]
WRONG = [
    (RATE, lambda size, share: size * (1 - share**0.5), "whole number", "direction"),
    (RATE, lambda size, share: math.ceil(size * (1 - share**0.5)), "round down"),
    (RATE, lambda size, share: int(size * (1 - share)), "along both axes"),
    (RATE, lambda size, share: int(size * (1 - share**0.5) / 2), "no factor of two"),
    (RATE, lambda size, share: size, "too rarely"),
    (RATE, lambda size, share: 1, "A larger rate would do"),
    (SMALL, of_step(lambda rates, stride: math.gcd(*rates)), "stride counts"),
    (SMALL, of_step(lambda rates, stride: stride), "not the stride alone"),
    (SMALL, of_step(lambda r, s: math.gcd(r[0], s)), "not the first alone"),
    (SMALL, of_step(lambda r, s: math.gcd(*r[:2], s)), "All rates must"),
    (SMALL, of_step(lambda rates, stride: 1), "Common divisors"),
    (SMALL, lambda rates, stride: math.gcd(*rates, stride), "return three things"),
    (SMALL, lambda r, s: (math.gcd(*r, s), r, s), "divided by the step"),
    (SMALL, lambda r, s: (math.gcd(*r, s), 3, s), "give all rates"),
    (SMALL, lambda r, s: (math.gcd(*r, s), [i / 4 for i in r], s), "Divide with //"),
    (BEYOND, (80.1, 83.0), "The order"),
    (BEYOND, (0.83, 0.80), "in percent"),
    (BEYOND, (83.0, 10.2), "above 60 %"),
    (BEYOND, (83.0, 61.0), "few points"),
    (BEYOND, [83.0], "Give two accuracies"),
    (BEYOND, ([83.0, 83.1], [80.0, 80.1]), "each should be a number"),
    (BRANCH, in_place, "changes `joined` itself"),
    (BRANCH, counted_from_one, "counted from 0"),
    (BRANCH, one_channel, "starts at channel b * width"),
    (BRANCH, cut_out, "do not cut them out"),
    (BRANCH, lambda joined, branch, width: torch.zeros_like(joined), "must be zero"),
    (BRANCH, lambda *given: 2 * in_place(given[0].clone(), *given[1:]), "that stay"),
    (BRANCH, lambda joined, branch, width: [joined], "tensor of shape (2, 12, 5, 5)"),
]
