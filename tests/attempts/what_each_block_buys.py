"""Attempts at the exercises of notebook 14."""

import numpy as np
import torch
from scipy import stats

from cifar_helpers.checks import what_each_block_buys as checks


def enough_runs(critical=lambda n: stats.t.ppf(0.975, 2 * n - 2), means=2):
    """The least n whose 95 % interval has a half-width of 0.3, by SciPy."""
    runs = range(2, 500)
    return next(n for n in runs if critical(n) * 0.6 * (means / n) ** 0.5 <= 0.3)


def by_regression(a, b, values):
    """The coefficient of the product of two 0/1 columns, by least squares."""
    columns = [np.ones(len(a)), a.numpy(), b.numpy(), (a * b).numpy()]
    design = np.stack(columns, 1).astype(float)
    return np.linalg.lstsq(design, values.double().numpy(), rcond=None)[0][3]


def cell(a, b, values, i, j):
    return values[(a == i) & (b == j)].mean()


def where(state):
    return lambda a, b, v: cell(a, b, v, 1, state) - cell(a, b, v, 0, state)


def by_steps(p):
    """Holm's rule as a maximum over all that are at most as large, one by one."""
    p = np.asarray(p)
    sizes = [(len(p) - (p < q).sum()) * q for q in p]
    least = [max(s for s, r in zip(sizes, p, strict=True) if r <= q) for q in p]
    return torch.tensor(np.minimum(least, 1.0))


def broken(p):
    result = torch.empty_like(p)
    for rank, index in enumerate(p.argsort()):
        result[index] = (len(p) - rank) * p[index]
    return result


def not_cut(p):
    order = p.argsort()
    result = torch.empty_like(p)
    result[order] = broken(p)[order].cummax(0).values
    return result


NEEDED, INTERACTION = checks.runs_needed, checks.interaction
HOLM, OWN = checks.corrected, checks.own_variant
RUNS = ([50.0, 51.0, 52.0], [55.0, 56.5, 57.0])
RIGHT = [
    (NEEDED, enough_runs()),
    (INTERACTION, by_regression),
    (HOLM, by_steps),
    (OWN, ("better", *RUNS)),
    (OWN, ("the same", torch.tensor(RUNS[0]), RUNS[1])),
    (OWN, ("worse", [50.0, 51.0, 52.0], [50.5, 51.0, 52.0])),
]
WRONG = [
    (NEEDED, 18, "variances add up"),  # of one mean, with n - 1 degrees of freedom
    (NEEDED, 1, "nothing about its spread"),
    (NEEDED, enough_runs(means=1), "variances add up"),
    (NEEDED, enough_runs(lambda n: 1.96), "1.96 in place of Student's t"),
    (NEEDED, 2 * enough_runs(), "for each network"),
    (NEEDED, 200, "the least number"),
    (NEEDED, 25, "half-width should be 0.3"),
    (INTERACTION, lambda *x: -by_regression(*x), "The sign"),
    (INTERACTION, lambda *x: by_regression(*x) / 2, "the whole"),
    (INTERACTION, where(1), "subtract what it buys"),
    (INTERACTION, where(0), "where b is off"),
    (INTERACTION, lambda a, b, v: v[a == 1].mean() - v[a == 0].mean(), "main effect"),
    (
        INTERACTION,
        lambda a, b, v: cell(a, b, v, 1, 1) - cell(a, b, v, 0, 0),
        "both main effects",
    ),
    (HOLM, broken, "carry the largest"),
    (HOLM, not_cut, "at most 1"),
    (HOLM, lambda p: (p * len(p)).clamp(max=1), "Bonferroni"),
    (HOLM, lambda p: p, "as they were"),
    (HOLM, lambda p: by_steps(p).sort().values, "in which they were given"),
    (HOLM, lambda p: p[:2], "of shape (3,)"),
    (OWN, ("maybe", *RUNS), "one of ('better'"),
    (OWN, ("better", RUNS[0][:2], RUNS[1][:2]), "three accuracies of whole"),
    (OWN, ("better", [0.5, 0.51, 0.52], [0.5, 0.6, 0.7]), "not shares"),
    (OWN, ("better", [50.0, 51.0, 520.0], RUNS[1]), "in percent, from 0 to 100"),
    (OWN, ("better", RUNS[0], RUNS[0]), "exactly the same"),
    (OWN, ("better", RUNS[0], [*RUNS[1], 56.0]), "as many runs"),
]
