"""Self-checks of notebook 15: small gains, Muon's idea, fair and own comparisons."""

import torch

from cifar_helpers.checks.framework import (
    as_choice,
    as_items,
    as_percents,
    as_tensor,
    exercise,
    named,
    question,
    require,
    require_close,
)
from cifar_helpers.intervals import welch_interval


@question
def smallest_gain(points) -> str:
    """The smallest difference of two means of three runs that is clear of zero."""
    spread, t, share = 0.85, 2.447, (1 / 3 + 1 / 3) ** 0.5
    what = "The smallest gain"
    mistakes = {
        "This is the interval of one mean. Both means are uncertain.": (
            t * spread / 3**0.5
        ),
        "This is t · s, which would be right for two runs of each; here are three, and "
        "both means are uncertain.": t * spread,
        "This is for one run of each; here are three.": t * spread * 2**0.5,
        "Too wide: the errors of the two means do not add up; their squares do.": 2
        * t
        * spread
        / 3**0.5,
        "1.96 is for a spread that is known exactly; take Student's t.": 1.96
        * spread
        * share,
        "This is one standard error; the interval reaches t of them.": spread * share,
    }
    require_close(
        points, t * spread * share, what, mistakes, tolerance=0.02, secret=True
    )
    return (
        "Right: t · s · √(1/3 + 1/3) is 1.70 points. Steps of half a point need eight "
        "times as many runs, 24 of each, though t falls to nearly two."
    )


@exercise
def nearest_orthogonal(nearest) -> str:
    """`nearest(matrix)`: U V^T of the singular value decomposition U S V^T.

    Takes a wide or tall matrix and returns one of the same shape.
    """
    for shape in ((4, 4), (3, 6), (7, 2)):
        generator = torch.Generator().manual_seed(shape[0])
        matrix = torch.randn(shape, generator=generator)
        got = nearest(matrix.clone())
        got = as_tensor(got, "The matrix", shape, "Is full_matrices=False set?")
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        mistakes = {
            "This is the matrix itself; leave the singular values out.": matrix,
            "The whole was scaled; each direction has to be.": (
                matrix / matrix.norm(),
                matrix / s[0],
            ),
        }
        if v.shape[0] == v.shape[1]:
            hint = "torch gives V transposed already: no further .T."
            mistakes[hint] = u @ v.T
        values = torch.linalg.svdvals(got)
        otherwise = (
            f"Its singular values should all be 1; yours lie between "
            f"{values.min():.3g} and {values.max():.3g}."
        )
        if (values - 1).abs().max() < 0.01:
            otherwise = (
                "Its singular values are 1, but it is not the nearest such matrix: "
                "that is U times V transposed."
            )
        require_close(got, u @ v, "The matrix", mistakes, otherwise)
    return (
        "Right, and slow: a decomposition at every step and for every layer. Muon's "
        "polynomial does nearly the same with a few matrix products."
    )


@question
def unfair_entries(names) -> str:
    """The names of the entries that differ and do not belong to the optimizer."""
    unfair = {"epochs", "crop_padding"}
    require(
        isinstance(names, (list, tuple, set, frozenset))
        and all(isinstance(name, str) for name in names),
        f"Give a list of names in quotes, not {named(names)}.",
    )
    got = {name.strip() for name in names}
    belonging = got & {"optimizer", "learning_rate", "weight_decay"}
    require(
        not belonging,
        f"{', '.join(sorted(belonging))}: the comparison is about the optimizer with "
        "its own rate and decay, so that may differ.",
    )
    alike = ", ".join(sorted(map(repr, got - unfair)))
    require(not alike, f"{alike} should not be there: no entry of that name differs.")
    missing = len(unfair - got)
    require(not missing, f"There should be {missing} more.")
    return (
        "Right. One epoch more and milder crops: each may be worth as much as what "
        "was to be measured, and nobody can take them apart afterwards."
    )


@question
def own_change(result) -> str:
    """(expected, before, after): a word and two lists of three accuracies."""
    expected, *lists = as_items(result, 3, "Give (expected, before, after)")
    as_choice(expected, ("higher", "lower", "the same"), "expected")
    before, after = (
        _accuracies(values, name)
        for values, name in zip(lists, ("before", "after"), strict=True)
    )
    require(
        before != after,
        "before and after are the same numbers: change one entry of the recipe.",
    )
    gain, half = welch_interval(after, before)
    found = "the same" if abs(gain) <= half else "higher" if gain > 0 else "lower"
    shown = f"{gain:+.1f} points, {gain - half:+.1f} to {gain + half:+.1f}"
    if found == "the same":
        verdict = "these runs do not tell the two apart; that is not yet 'equal'"
    else:
        verdict = f"it is {found}, as you expected"
        if found != expected:
            verdict = f"it is {found}, and you expected {expected}"
    return f"Measured: {shown} (95 %, Welch): {verdict}."


def _accuracies(values, name: str) -> list[float]:
    """Three per cents, not all the same, as floats."""
    many = isinstance(values, (list, tuple)) or getattr(values, "ndim", 0) == 1
    require(
        many and len(values) == 3,
        f"{name} should be a list, the accuracies of three runs, not {named(values)}.",
    )
    numbers = as_percents(values, name)
    require(
        len(set(numbers)) > 1,
        f"{name} has the same number for every seed: did the seed change?",
    )
    return numbers
