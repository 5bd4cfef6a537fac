"""Attempts at the exercises of notebook 11."""

import numpy as np
import torch
from sklearn.metrics import precision_score, recall_score

from cifar_helpers.checks import evaluate as checks

MATRIX = np.array([[80, 15, 5], [2, 50, 48], [9, 1, 90]])  # false alarms 11, 16, 53
OTHER = np.array([[99, 1, 0], [9, 60, 31], [0, 21, 79]])
OFTEN = np.array([[95, 5, 0], [20, 40, 40], [0, 50, 50]])  # class 0 is called most


def scikit_learn(counts):
    """Precision and recall by scikit-learn, from one pair of labels per image."""
    classes = range(len(counts))
    pairs = [(t, p) for t in classes for p in classes for _ in range(counts[t, p])]
    true, predicted = zip(*pairs, strict=True)
    return tuple(
        torch.tensor(score(true, predicted, average=None))
        for score in (precision_score, recall_score)
    )


def by_the_image(confidence, accuracy, count):
    """The calibration error from a list with one gap per image."""
    gaps = (accuracy - confidence).repeat_interleave(count.long())
    return 100 * gaps.abs().mean()


BOTH, ECE = checks.precision_and_recall, checks.calibration_error
ALARMS = checks.most_false_alarms
RIGHT = [
    (BOTH, scikit_learn),
    (ECE, by_the_image),
    (ALARMS, (MATRIX, 2)),
    (ALARMS, (MATRIX, np.int64(2))),
    (ALARMS, (OTHER, 2)),
]
WRONG = [
    (BOTH, lambda m: (m.diagonal() / m.sum(1), m.diagonal() / m.sum(0)), "swapped"),
    (BOTH, lambda m: (m.diagonal() / m.sum(), m.diagonal() / m.sum(1)), "all images"),
    (BOTH, lambda m: (100 * m.diagonal() / m.sum(0), m.sum(1)), "between 0 and 1"),
    (BOTH, lambda m: (m / m.sum(0), m / m.sum(1)), "One number per class"),
    (BOTH, lambda m: (m.diagonal() / m.sum(1),) * 2, "The precision at (0,)"),
    (BOTH, lambda m: m.diagonal() / m.sum(0), "two tensors"),
    (ECE, lambda c, a, n: 100 * ((a - c) * n).sum() / n.sum(), "cancel"),
    (ECE, lambda c, a, n: 100 * ((a - c) * n).sum().abs() / n.sum(), "cancel"),
    (ECE, lambda c, a, n: 100 * (a - c).abs().mean(), "counts by its images"),
    (ECE, lambda c, a, n: 100 * ((a - c).abs() * n).sum(), "number of images"),
    (ECE, lambda c, a, n: ((a - c).abs() * n).sum() / n.sum(), "give percent"),
    (ECE, lambda c, a, n: 100 * (a - c).abs().max(), "the largest gap"),
    (ECE, lambda c, a, n: 100 * ((a - c) ** 2 * n).sum() / n.sum(), "square"),
    (ECE, lambda c, a, n: 42.0, "mean gap, weighted by images"),
    (ALARMS, (MATRIX, 1), "you summed rows"),
    (ALARMS, (MATRIX, 0), "11 false alarms are not the most"),
    (ALARMS, (MATRIX, 10), "0 to 2"),
    (ALARMS, (MATRIX, "cat"), "a whole number", "'cat'"),
    (ALARMS, (MATRIX, 1.5), "a whole number, yours is 1.5"),
    (ALARMS, (MATRIX, [0, 1]), "a whole number", "a list of length 2"),
    (ALARMS, (MATRIX[0], 2), "one row and one column"),
    (ALARMS, (7, 2), "one row and one column"),
    (ALARMS, (OFTEN, 0), "leave out the diagonal"),
]
