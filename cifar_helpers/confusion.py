"""What a confusion matrix tells: measures, similar classes, asymmetry, differences.

A matrix counts images, (K, K): row = true class, column = predicted class. It comes
from `cifar_helpers.evaluation.confusion_matrix`; nothing here needs the images.
"""

from dataclasses import dataclass

import numpy as np

from cifar_helpers.intervals import holm, toss


def to_counts(matrix, stacked: bool = False) -> np.ndarray:
    """A matrix of counts, (K, K) int64, checked; ValueError if it is none.

    With `stacked`, several may lie behind each other: (..., K, K).
    """
    counts = np.asarray(matrix)
    fits = counts.ndim >= 2 if stacked else counts.ndim == 2
    if not fits or counts.shape[-1] != counts.shape[-2] or counts.size == 0:
        raise ValueError(f"the matrix must be (K, K), got shape {counts.shape}")
    if not (np.isfinite(counts) & (counts == np.round(counts))).all():
        raise ValueError("the matrix must hold counts: whole numbers of images")
    if (counts < 0).any():
        raise ValueError("the matrix must hold counts, none below 0")
    return counts.astype(np.int64)


def measures(matrix) -> dict[str, np.ndarray]:
    """Averages over the classes, and two measures that take off what chance would give.

    `matrix` is (..., K, K); each value has the shape (...). `accuracy_percent` counts
    images; `balanced_accuracy_percent` is the plain mean of the classes' recalls (macro
    recall); `macro_precision_percent` and `macro_f1_percent` average alike;
    `weighted_f1_percent` weighs each class by its images. `kappa` (Cohen 1960) and
    `mcc` (Matthews 1975; for K classes Gorodkin 2004) are 1 for no mistake and 0 for
    answers that do not depend on the image. 0 / 0 is NaN: a mean of recalls if a class
    has no images, of precisions if it is never called, of F1 if both; `kappa` if all
    images and answers are of one class, `mcc` if all images or all answers are. Classes
    without images have no weight in `weighted_f1_percent`.
    """
    counts = to_counts(matrix, stacked=True).astype(float)  # (..., K, K)
    right = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., K)
    there, called = counts.sum(-1), counts.sum(-2)  # (..., K)
    total = there.sum(-1)  # (...)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, precision = right / there, right / called
        f1 = 2 * right / (there + called)
        hits = right.sum(-1) / total
        chance = (there * called).sum(-1) / total**2
        spread = (1 - (there**2).sum(-1) / total**2) * (
            1 - (called**2).sum(-1) / total**2
        )
        return {
            "accuracy_percent": 100 * hits,
            "balanced_accuracy_percent": 100 * recall.mean(-1),
            "macro_precision_percent": 100 * precision.mean(-1),
            "macro_f1_percent": 100 * f1.mean(-1),
            "weighted_f1_percent": 100 * np.nansum(f1 * there, -1) / total,
            "kappa": (hits - chance) / (1 - chance),
            "mcc": (hits - chance) / np.sqrt(spread),
        }


def similar_classes(matrix) -> tuple[np.ndarray, np.ndarray]:
    """Classes joined step by step, those most often confused first: (steps, order).

    Likeness of two classes is the mean of the two shares in which one is taken for the
    other; that of two groups is the mean over their pairs of classes. `steps` is
    SciPy's linkage, (K - 1, 4), with 1 - likeness as distance; `order` (K,) puts
    classes that are confused beside each other.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    counts = to_counts(matrix).astype(float)
    if len(counts) < 2 or (counts.sum(1) == 0).any():
        raise ValueError("need at least two classes, each with at least one image")
    shares = counts / counts.sum(1, keepdims=True)
    distance = 1 - (shares + shares.T) / 2  # (K, K)
    np.fill_diagonal(distance, 0)
    pairs = squareform(distance)  # (K (K - 1) / 2,)
    steps = hierarchy.linkage(pairs, "average", optimal_ordering=True)
    return steps, hierarchy.leaves_list(steps)


def asymmetries(matrix) -> list[tuple[int, int, int, int, float, float]]:
    """Pairs of classes as (i, j, i called j, j called i, p, corrected p).

    Ordered by p, the smallest first; pairs that were never confused are left out. `p`
    is that of a fair coin for each image of the pair; corrected by `holm` for the
    number of pairs.
    """
    counts = to_counts(matrix)
    pairs = [
        (i, j, int(counts[i, j]), int(counts[j, i]))
        for i in range(len(counts))
        for j in range(i + 1, len(counts))
        if counts[i, j] + counts[j, i]
    ]
    p_values = [toss(*pair[2:]) for pair in pairs]
    rows = zip(pairs, p_values, holm(p_values).tolist(), strict=True)
    return sorted(((*pair, p, q) for pair, p, q in rows), key=lambda row: row[4])


def bowker(matrix) -> tuple[float, int, float]:
    """Is the matrix as a whole symmetric? (statistic, degrees of freedom, p).

    The sum of (n_ij - n_ji)² / (n_ij + n_ji) over the pairs that were confused follows
    chi-square if each mistake is as likely as its reverse; with two classes it is
    McNemar's test (Bowker 1948, "A Test for Symmetry in Contingency Tables"). An
    approximation that wants about ten images a pair.
    """
    from scipy import stats

    counts = to_counts(matrix)
    upper = np.triu_indices(len(counts), 1)
    one, other = counts[upper], counts.T[upper]
    both = one + other
    one, other, both = one[both > 0], other[both > 0], both[both > 0]
    statistic = float(((one - other) ** 2 / both).sum())
    p = float(stats.chi2.sf(statistic, len(both))) if len(both) else 1.0
    return statistic, len(both), p


def leanings(matrix) -> list[tuple[int, int, int, float, float]]:
    """Per class (false alarms, misses): is it called too often or too seldom?

    Each row is (class, false alarms, misses, p, corrected p), ordered by p. If a class
    loses as many images as it gains, each of them is a toss of a fair coin; p is
    corrected by `holm` for the number of classes.
    """
    counts = to_counts(matrix)
    right = np.diagonal(counts)
    alarms, missed = counts.sum(0) - right, counts.sum(1) - right  # (K,) each
    p_values = [toss(a, m) for a, m in zip(alarms, missed, strict=True)]
    rows = zip(alarms.tolist(), missed.tolist(), p_values, holm(p_values), strict=True)
    table = [(k, a, m, p, float(q)) for k, (a, m, p, q) in enumerate(rows)]
    return sorted(table, key=lambda row: row[3])


@dataclass(frozen=True, eq=False)
class Difference:
    """Cell by cell: the first network's confusion matrix minus the second's."""

    points: np.ndarray  # (K, K) difference of the shares of the true class, in points
    p: np.ndarray  # (K, K) exact McNemar in each cell
    corrected_p: np.ndarray  # (K, K) by `holm`, over the cells that are compared
    compared: np.ndarray  # (K, K) whether any image says something about the cell


def difference(labels, first, second, classes: int) -> Difference:
    """Compare the answers of two networks on the same images, cell by cell.

    `labels`, `first`, `second` are (N,) whole numbers below `classes`: the truth and
    the two predictions. In cell (i, j) only images of class i count that one network
    called j and the other did not: a fair coin for each, if neither calls i more often
    j. Cells without such an image have p = 1 and are no comparison.
    """
    labels, first, second = (np.asarray(a) for a in (labels, first, second))
    if not labels.shape == first.shape == second.shape or not labels.size:
        raise ValueError("give labels and two predictions for the same images")
    for answers in (labels, first, second):
        below = answers.dtype.kind in "iu" and (answers < classes).all()
        if answers.ndim != 1 or not below or (answers < 0).any():
            raise ValueError(f"give (N,) whole numbers from 0 to {classes - 1}")
    shape = (classes, classes)
    gained, lost = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    differ = first != second
    np.add.at(gained, (labels[differ], first[differ]), 1)
    np.add.at(lost, (labels[differ], second[differ]), 1)
    there = np.bincount(labels, minlength=classes)[:, None].clip(min=1)
    p = np.vectorize(toss, otypes=[float])(gained, lost)  # (K, K)
    compared = gained + lost > 0
    corrected = np.ones(shape)
    corrected[compared] = holm(p[compared])
    return Difference(100 * (gained - lost) / there, p, corrected, compared)
