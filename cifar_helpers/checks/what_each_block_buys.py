"""Self-checks of notebook 14: enough runs, interactions, Holm, one's own variant."""

import torch

from cifar_helpers.checks.framework import (
    Wrong,
    as_choice,
    as_items,
    as_percents,
    as_tensor,
    as_whole_number,
    exercise,
    question,
    require,
    require_close,
)
from cifar_helpers.factorial import smallest_visible
from cifar_helpers.intervals import holm, welch_interval

SPREAD, DIFFERENCE = 0.6, 0.3  # points, of exercise 1
EXPECTATIONS = ("better", "worse", "the same")


@question
def runs_needed(runs) -> str:
    """The least number of runs of each network; see SPREAD and DIFFERENCE."""
    runs = as_whole_number(runs, "The number of runs")
    needed = next(n for n in range(2, 999) if smallest_visible(SPREAD, n) <= DIFFERENCE)
    half = smallest_visible(SPREAD, max(runs, 2))
    require(
        runs > 1, "One run of each says nothing about its spread: give two or more."
    )
    require(
        runs != 2 * needed, "This should be the number for each network, not for both."
    )
    if runs < needed:
        hint = "Both means are uncertain: their variances add up."
        forgotten = next(n for n in range(2, 999) if half_of_one_mean(n) <= DIFFERENCE)
        close = "Almost: did you take 1.96 in place of Student's t?"
        more = hint if runs <= forgotten + 1 else close if needed - runs < 3 else ""
        raise Wrong(
            f"With {runs} runs of each the half-width should be {DIFFERENCE} or less, "
            f"it is {half:.3f}. {more}".strip()
        )
    require(
        runs == needed,
        f"With {runs} runs of each the half-width is {half:.3f}: give the least number "
        "that is enough.",
    )
    return (
        f"Right, {needed} of each. To see half the difference takes about four times "
        "as many: the half-width falls with the root of the number."
    )


def half_of_one_mean(runs: int) -> float:
    """The half-width for one mean instead of a difference of two."""
    return smallest_visible(SPREAD, runs) / 2**0.5


@exercise
def interaction(attempt) -> str:
    """`interaction(a, b, values)`: how much more `a` buys where `b` is on.

    Takes 0 and 1 for both switches, (runs,), and what the runs reached.
    """
    generator = torch.Generator().manual_seed(0)
    designs = (
        ([0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1]),
        ([0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0, 1]),  # not balanced
    )
    for a, b in designs:
        a, b = torch.tensor(a), torch.tensor(b)
        values = 60 + 5 * torch.rand(len(a), generator=generator) + 4 * a * (1 - b)
        got = attempt(a.clone(), b.clone(), values.clone())
        mean = {
            (i, j): float(values[(a == i) & (b == j)].mean())
            for i in (0, 1)
            for j in (0, 1)
        }
        where_on, where_off = mean[1, 1] - mean[0, 1], mean[1, 0] - mean[0, 0]
        mistakes = {
            "The sign: what a buys where b is on, minus what it buys where b is off.": (
                where_off - where_on
            ),
            "Textbooks take half of the difference; here it should be the whole.": (
                (where_on - where_off) / 2
            ),
            "This is what a buys where b is on; subtract what it buys where b is "
            "off.": where_on,
            "This is what a buys where b is off.": where_off,
            "This is a's main effect, over all runs.": (
                float(values[a == 1].mean() - values[a == 0].mean())
            ),
            "Both on minus both off holds both main effects too.": (
                mean[1, 1] - mean[0, 0]
            ),
        }
        require_close(got, where_on - where_off, "The interaction", mistakes)
    return (
        "Right, and the same with a and b exchanged: if attention helps ASPP, ASPP "
        "helps attention by as much."
    )


@exercise
def corrected(attempt) -> str:
    """`corrected(p)`: Holm's correction of p-values (K,), in the given order."""
    for given in (
        [0.03, 0.001, 0.04],
        [0.010, 0.011, 0.9, 0.6],
        [0.02, 0.02, 0.5, 0.004, 0.3],
    ):
        p = torch.tensor(given, dtype=torch.double)
        got = as_tensor(attempt(p.clone()), "The corrected p-values", p.shape)
        order = p.argsort()
        ranks = order.argsort()
        naive = p * (len(p) - ranks)
        rising = torch.empty_like(p)
        rising[order] = naive[order].cummax(0).values
        mistakes = {
            "A larger p must not become smaller than a smaller one: carry the largest "
            "value so far along.": (naive.clamp(max=1), naive),
            "A probability is at most 1.": rising,
            "This is Bonferroni's correction, all times their number; Holm's is "
            "milder.": ((p * len(p)).clamp(max=1), p * len(p)),
            "These are the p-values as they were.": p,
            "They should be in the order in which they were given, not "
            "sorted.": rising.clamp(max=1).sort().values,
        }
        wanted = torch.tensor(holm(given), dtype=torch.double)
        require_close(got, wanted, "The corrected p-value", mistakes)
    return (
        "Right. What stays below 0.05 now may all be called real, and the chance of "
        "even one false alarm among them is at most 5 %."
    )


@question
def own_variant(answer) -> str:
    """(expected, whole, yours): one of EXPECTATIONS, and accuracies in percent.

    Three runs or more of each network; both with the same seeds.
    """
    expected, whole, yours = as_items(
        answer, 3, "Give three things, (expected, whole, yours)"
    )
    as_choice(expected, EXPECTATIONS, "expected")
    runs = []
    for name, values in (("whole", whole), ("yours", yours)):
        values = as_tensor(values, f"The accuracies of {name}")
        require(
            values.ndim == 1 and len(values) >= 3,
            f"Give three accuracies of {name} or more: fewer say too little about "
            "their spread.",
        )
        runs.append(as_percents(values, f"The accuracies of {name}"))
    require(
        len(runs[0]) == len(runs[1]),
        "Give as many runs of one network as of the other, with the same seeds.",
    )
    require(
        runs[0] != runs[1],
        "Both networks gave exactly the same: your network should differ from the "
        "whole one.",
    )
    return _told_apart(expected, *runs)


def _told_apart(expected: str, whole: list, yours: list) -> str:
    """What the runs say, and whether that is what was expected."""
    difference, half = welch_interval(yours, whole)
    lead = f"Yours minus whole: {difference:+.2f} ± {half:.2f} points."
    if abs(difference) <= half:
        return f"{lead} The interval holds zero: these runs cannot tell them apart."
    found = "better" if difference > 0 else "worse"
    if found == expected:
        return f"{lead} Yours is {found} at this length, as you expected."
    return f"{lead} Yours is {found} at this length; you expected {expected}."
