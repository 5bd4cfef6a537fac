"""95 % intervals: what ± means in the series.

One accuracy: `wilson_interval`. Two networks judged on the same images:
`paired_interval` for the difference, `mcnemar` for the test. Two accuracies of which
nothing else is known: `unpaired_interval`. Several tests at once: `holm`. Runs with
different seeds: `mean_interval`, `welch_interval`, `pooled_intervals`; these take the
runs' results as a sample from a normal distribution, and raise ValueError unless all
are finite numbers.
"""

import math
import operator
from collections.abc import Sequence
from statistics import mean, variance

import numpy as np
from scipy import stats


def wilson_interval(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The error bar of an accuracy: (low, high) in percent.

    `correct` of `total` images are right; `z` = 1.96 standard deviations gives 95 %.
    It covers the chance in drawing the test images, not that of training. Source:
    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical
    Inference". Raises TypeError for counts that are not whole, ValueError for
    impossible ones.
    """
    correct, total = operator.index(correct), operator.index(total)  # NumPy's overflow
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(
            f"need 0 <= correct <= total and total >= 1, got {correct} of {total}"
        )
    if not z > 0:
        raise ValueError(f"z must be above 0, got {z}")
    share = correct / total
    centre = share + z**2 / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 100.0 / (1 + z**2 / total)
    return max(0.0, scale * (centre - spread)), min(100.0, scale * (centre + spread))


def paired_interval(first, second) -> tuple[float, float, float]:
    """Accuracy of `first` minus that of `second`, and its interval, in points.

    Both say for the same N images which are right: (N,) of bool or of 0 and 1. Returns
    (difference, low, high), cut off at -100 and 100. Only images on which the two
    disagree tell them apart, so the interval is narrower than that of two independent
    accuracies. Source: Bonett & Price 2012, "Adjusted Wald Confidence Interval for a
    Difference of Binomial Proportions Based on Paired Data".
    """
    images, only_first, only_second = _disagreements(first, second)
    gained, lost = (only_first + 1) / (images + 2), (only_second + 1) / (images + 2)
    centre = gained - lost
    error = math.sqrt((gained + lost - centre**2) / (images + 2))
    half = 1.96 * error
    difference = (only_first - only_second) / images
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return 100 * difference, 100 * low, 100 * high


def unpaired_interval(first, second, total):
    """Accuracy `first` minus accuracy `second`, and half its 95 % interval's width.

    Both are in percent, of `total` images each; arrays give arrays. For two independent
    samples of images. Where both judged the same ones and the answers were kept,
    `paired_interval` uses that, and is narrower. Not for accuracies near 0 or 100 %: at
    those its width is 0. Source: Newcombe 1998, "Interval Estimation for the Difference
    between Independent Proportions: Comparison of Eleven Methods", method 1. Raises
    ValueError for accuracies outside 0 to 100, and for less than one image.
    """
    first, second = np.asarray(first, float) / 100, np.asarray(second, float) / 100
    for share in (first, second):
        if not ((share >= 0) & (share <= 1)).all():
            raise ValueError(f"accuracies must be 0 to 100 percent, got {100 * share}")
    if not np.all(np.asarray(total) >= 1):
        raise ValueError(f"need at least 1 image, got {total}")
    variance_of_both = (first * (1 - first) + second * (1 - second)) / total
    return 100 * (first - second), 196 * np.sqrt(variance_of_both)


def mcnemar(first, second) -> float:
    """The exact p-value of "both networks are right equally often".

    `first` and `second` as in `paired_interval`. If neither is better, each image on
    which one is right and the other wrong is a toss of a coin. Source: McNemar 1947,
    "Note on the Sampling Error of the Difference between Correlated Proportions or
    Percentages".
    """
    _, only_first, only_second = _disagreements(first, second)
    return toss(only_first, only_second)


def toss(heads, tails) -> float:
    """The exact two-sided p-value of `heads` against `tails` with a fair coin.

    1 without any toss.
    """
    if heads + tails == 0:
        return 1.0
    return float(stats.binomtest(int(heads), int(heads + tails)).pvalue)


def holm(p_values) -> np.ndarray:
    """p-values corrected for their number, (M,): still below 0.05 counts.

    The smallest is multiplied by M, the next by M - 1, and so on, none below the one
    before: the chance of even one false alarm among the M stays below the level (Holm
    1979, "A Simple Sequentially Rejective Multiple Test Procedure"). ValueError unless
    all lie between 0 and 1.
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p_values must be (M,) numbers between 0 and 1")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = steps.clip(max=1.0)
    return corrected


def _disagreements(first, second) -> tuple[int, int, int]:
    """Number of images, of those that only `first` gets right, and only `second`."""
    first, second = np.asarray(first), np.asarray(second)
    for right in (first, second):
        if right.ndim != 1 or not np.isin(right, (0, 1)).all():
            raise ValueError(
                "give for each network one True or False per image, such as "
                f"`predictions.correct`, got {right.dtype} of shape {right.shape}"
            )
    if len(first) != len(second) or not len(first):
        raise ValueError(
            "both networks must be judged on the same images, at least one: got "
            f"{len(first)} and {len(second)}"
        )
    first, second = first.astype(bool), second.astype(bool)
    return len(first), int((first & ~second).sum()), int((second & ~first).sum())


def t_quantile(freedom: float, level: float = 0.95) -> float:
    """How many standard errors to either side hold the share `level` of Student's t.

    ValueError for less than one degree of freedom.
    """
    if not freedom >= 1:
        raise ValueError(f"need at least 1 degree of freedom, got {freedom}")
    return float(stats.t.ppf((1 + level) / 2, freedom))


def _as_runs(values, least: int = 2) -> list[float]:
    """What runs reached, as floats: `statistics` cuts the mean of NumPy's integers."""
    runs = np.asarray(values, dtype=float)
    if runs.ndim != 1 or len(runs) < least or not np.isfinite(runs).all():
        raise ValueError(
            f"need a finite number for each of {least} runs or more, got {values}"
        )
    return runs.tolist()


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of two or more runs, and half the width of its 95 % interval."""
    values = _as_runs(values)
    error = math.sqrt(variance(values) / len(values))
    return mean(values), t_quantile(len(values) - 1) * error


def welch_interval(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, float]:
    """Mean of `first` minus mean of `second`, and half its 95 % interval's width.

    Both are two runs or more, and may differ in spread and in number (Welch 1947, "The
    Generalization of 'Student's' Problem when Several Different Population Variances
    are Involved").
    """
    first, second = _as_runs(first), _as_runs(second)
    parts = [variance(runs) / len(runs) for runs in (first, second)]
    if sum(parts) == 0:
        return mean(first) - mean(second), 0.0
    shares = [part / sum(parts) for part in parts]
    sizes = (len(first), len(second))
    freedom = 1 / sum(s**2 / (n - 1) for s, n in zip(shares, sizes, strict=True))
    half = t_quantile(freedom) * math.sqrt(sum(parts))
    return mean(first) - mean(second), half


def pooled_spread(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within groups of runs, all together; degrees of freedom.

    Raises ValueError unless every group has a run and one of them has two.
    """
    freedom = sum(len(runs) - 1 for runs in groups)
    if freedom < 1 or not all(map(len, groups)):
        raise ValueError("every group needs a run, and one of them needs two")
    groups = [_as_runs(runs, 1) for runs in groups]
    several = [runs for runs in groups if len(runs) > 1]
    squares = sum((len(runs) - 1) * variance(runs) for runs in several)
    return math.sqrt(squares / freedom), freedom


def pooled_intervals(
    groups: Sequence[Sequence[float]],
) -> tuple[list[tuple[float, float]], float]:
    """Mean and half-width for each of several small groups with one common spread.

    Two runs alone tell next to nothing about their spread; the groups together do, if
    it is the same in all of them. Also returns the common standard deviation.
    """
    groups = [_as_runs(runs) for runs in groups]
    spread, freedom = pooled_spread(groups)
    quantile = t_quantile(freedom)
    intervals = [(mean(g), quantile * spread / math.sqrt(len(g))) for g in groups]
    return intervals, spread


def wilson_limits(percents, counts) -> np.ndarray:
    """The ends of `wilson_interval` for many shares in percent, (2, N): lows, highs.

    `percents` (N,) are shares of `counts` (N,) images each; N may be 0.
    """
    correct = np.rint(np.multiply(percents, counts) / 100).astype(int)
    pairs = zip(correct, np.asarray(counts), strict=True)
    return np.array([wilson_interval(*pair) for pair in pairs]).reshape(-1, 2).T
