"""Self-checks of notebook 07: rates that fit, smaller maps, a branch taken away."""

import math

import torch

from cifar_helpers.checks.framework import (
    as_items,
    as_percents,
    as_tensor,
    as_whole_number,
    as_whole_numbers,
    exercise,
    question,
    require,
    require_close,
)


@exercise
def largest_rate(attempt) -> str:
    """`attempt(size, share)`: the largest rate whose taps see the map often enough.

    Every tap, corners included, must see a map of size × size at `share` of positions.
    """
    cases = [(32, 0.25), (32, 0.5), (33, 0.25), (8, 0.5), (65, 0.3), (16, 0.1)]
    for size, share in cases:
        what = f"On a {size} × {size} map with share {share}, the largest rate"
        advice = "A rate is a whole number: round, but in which direction?"
        got = as_whole_number(attempt(size, share), what, advice)
        wanted = max(
            rate for rate in range(size) if (size - rate) ** 2 >= share * size**2
        )
        exact = size * (1 - share**0.5)
        mistakes = {
            "One less would do: round down, not up.": wanted + 1,
            "The corner taps must be inside along both axes.": int(size * (1 - share)),
            "A tap leaves the map on one side only: no factor of two.": exact // 2,
        }
        otherwise = (
            "The corner taps then see the map too rarely."
            if got > wanted
            else "A larger rate would do as well."
        )
        require_close(got, wanted, what, mistakes, otherwise)
    return (
        "Right: rate ≤ size · (1 − √share). It scales with the map, so rates made for "
        "one size of map say nothing about another."
    )


@exercise
def smallest_map(attempt) -> str:
    """`attempt(rates, stride)`: (step, rates, stride) of the same filters there.

    `step` is the largest whose every step-th rows and columns hold all pixels read.
    """
    cases = [((6, 12, 18), 4), ((12, 24), 8), ((3, 6), 3), ((4, 8), 2), ((5, 10), 4)]
    cases += [((4, 6), 12), ((4, 8, 6), 8)]
    for rates, stride in cases:
        call = f"smallest_map({rates}, {stride})"
        form = f"{call}: return three things, (step, rates, stride)"
        step, small, there = as_items(attempt(rates, stride), 3, form)
        wanted = math.gcd(*rates, stride)
        mistakes = {
            "Outputs stand `stride` apart, so the stride counts as well.": (
                math.gcd(*rates)
            ),
            "The rates decide as well, not the stride alone.": stride,
            "All rates must be multiples of the step, not the first alone.": (
                math.gcd(rates[0], stride)
            ),
        }
        require_close(step, wanted, f"{call}: the step", mistakes, "Common divisors?")
        advice = "Divide with //."
        small = as_whole_numbers(small, len(rates), f"{call}: give all rates", advice)
        there = as_whole_number(there, f"{call}: the stride there", advice)
        right = [rate // wanted for rate in rates]
        require(
            small == right and there == stride // wanted,
            f"{call}: rates and stride should be divided by the step, "
            f"{tuple(right)} and {stride // wanted}, yours are {tuple(small)} and "
            f"{there}.",
        )
    return (
        "Right: the greatest common divisor of rates and stride. If it is 1, no "
        "smaller map holds all that is read."
    )


@exercise
def without_branch(attempt) -> str:
    """`attempt(joined, branch, width)`: the channels of one branch set to zero.

    Takes and returns (N, branches * width, H, W); `joined` itself stays as it was.
    """
    generator = torch.Generator().manual_seed(0)
    branches, width = 4, 3
    joined = torch.rand(2, branches * width, 5, 5, generator=generator) + 0.1
    for branch in range(branches):
        given = joined.clone()
        got = attempt(given, branch, width)
        require(
            torch.equal(given, joined),
            "Your function changes `joined` itself. Work on a copy: joined.clone().",
        )
        advice = "Set channels to zero, do not cut them out."
        got = as_tensor(got, "The result", joined.shape, advice)
        zeroed = set((got == 0).flatten(2).all(2).all(0).nonzero().flatten().tolist())
        wanted = set(range(branch * width, (branch + 1) * width))
        require(
            zeroed == wanted,
            f"For branch {branch} of width {width}, the channels {sorted(wanted)} must "
            f"be zero; yours are {sorted(zeroed)}. Branches are counted from 0, and "
            "branch b starts at channel b * width.",
        )
        kept = [channel for channel in range(branches * width) if channel not in wanted]
        require_close(got[:, kept], joined[:, kept], "The channels that stay")
    return (
        "Right. A change in place would have spoilt the next experiment: such bugs "
        "show up as results that depend on the order of the cells."
    )


@question
def rates_beyond_the_map(attempt) -> str:
    """`attempt`: accuracies (%) with rates (3, 6, 9) and with (16, 17, 18), 16 x 16."""
    wanted = "Give two accuracies in percent, (with 3, 6, 9; with 16, 17, 18)"
    fitting, beyond = as_percents(as_items(attempt, 2, wanted), "The accuracies")
    require(
        min(fitting, beyond) > 60,
        f"Both should be above 60 %, yours are {fitting:g} and {beyond:g}: are maps "
        "and stride those of 16 × 16?",
    )
    require(
        fitting - beyond < 15,
        f"The difference should be a few points, yours is {fitting - beyond:.1f}: is "
        "anything else changed?",
    )
    require(
        fitting > beyond,
        "The order should be (3, 6, 9) first. With rates that fit, the accuracy should "
        f"be higher, yours are {fitting:g} and {beyond:g}.",
    )
    return (
        f"Right: {fitting - beyond:.1f} points less. From rate 16 on, eight of nine "
        "weights meet padding only: three branches that look at one pixel."
    )
