"""95 % intervals over runs with different seeds: what ± means in README.

Both take the runs' results as a sample from a normal distribution.
"""

import math
from collections.abc import Sequence
from statistics import mean, variance

from scipy import stats


def t_quantile(freedom: float, level: float = 0.95) -> float:
    """How many standard errors to either side hold the share `level` of Student's t.

    ValueError for less than one degree of freedom.
    """
    if not freedom >= 1:
        raise ValueError(f"need at least 1 degree of freedom, got {freedom}")
    return float(stats.t.ppf((1 + level) / 2, freedom))


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of two or more runs, and half the width of its 95 % interval."""
    error = math.sqrt(variance(values) / len(values))
    return mean(values), t_quantile(len(values) - 1) * error


def welch_interval(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, float]:
    """Mean of `first` minus mean of `second`, and half its 95 % interval's width.

    The two may differ in spread and in number of runs (Welch 1947, "The Generalization
    of 'Student's' Problem when Several Different Population Variances are Involved").
    """
    parts = [variance(runs) / len(runs) for runs in (first, second)]
    if sum(parts) == 0:
        return mean(first) - mean(second), 0.0
    shares = [part / sum(parts) for part in parts]
    sizes = (len(first), len(second))
    freedom = 1 / sum(s**2 / (n - 1) for s, n in zip(shares, sizes, strict=True))
    half = t_quantile(freedom) * math.sqrt(sum(parts))
    return mean(first) - mean(second), half


def pooled_intervals(
    groups: Sequence[Sequence[float]],
) -> tuple[list[tuple[float, float]], float]:
    """Mean and half-width for each of several small groups with one common spread.

    Two runs alone tell next to nothing about their spread; the groups together do, if
    it is the same in all of them. Also returns the common standard deviation.
    """
    freedom = sum(len(runs) - 1 for runs in groups)
    squares = sum((len(runs) - 1) * variance(runs) for runs in groups)
    spread = math.sqrt(squares / freedom)
    quantile = t_quantile(freedom)
    intervals = [(mean(g), quantile * spread / math.sqrt(len(g))) for g in groups]
    return intervals, spread
