"""The self-checks of notebook 11 say "not yet" to stubs and name typical mistakes."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_score, recall_score
from verdicts import empty, wrong

from cifar_helpers.checks import evaluate as checks

MATRIX = np.array([[80, 15, 5], [2, 50, 48], [9, 1, 90]])  # false alarms 11, 16, 53


@pytest.mark.parametrize(
    "verdict",
    [
        checks.precision_and_recall(empty),
        checks.precision_and_recall(lambda counts: (..., ...)),
        checks.calibration_error(empty),
        checks.most_false_alarms((MATRIX, ...)),
    ],
)
def test_stub_is_not_yet_solved(verdict):
    assert verdict.status == "not yet"


def scikit_learn(counts):
    """Precision and recall by scikit-learn, from one pair of labels per image."""
    classes = range(len(counts))
    pairs = [(t, p) for t in classes for p in classes for _ in range(counts[t, p])]
    true, predicted = zip(*pairs, strict=True)
    return tuple(
        torch.tensor(score(true, predicted, average=None))
        for score in (precision_score, recall_score)
    )


def test_precision_and_recall_agree_with_scikit_learn():
    assert checks.precision_and_recall(scikit_learn).status == "solved"


@pytest.mark.parametrize(
    "measure, words",
    [
        (lambda m: (m.diagonal() / m.sum(1), m.diagonal() / m.sum(0)), "swapped"),
        (lambda m: (m.diagonal() / m.sum(), m.diagonal() / m.sum(1)), "all images"),
        (lambda m: (100 * m.diagonal() / m.sum(0), m.sum(1)), "between 0 and 1"),
        (lambda m: (m / m.sum(0), m / m.sum(1)), "one number per class"),
        (lambda m: (m.diagonal() / m.sum(1),) * 2, "The precision at (0,)"),
        (lambda m: m.diagonal() / m.sum(0), "two tensors"),
    ],
)
def test_mistakes_in_precision_and_recall_are_named(measure, words):
    wrong(checks.precision_and_recall(measure), words)


def by_the_image(confidence, accuracy, count):
    """The calibration error from a list with one gap per image."""
    gaps = (accuracy - confidence).repeat_interleave(count.long())
    return 100 * gaps.abs().mean()


@pytest.mark.parametrize(
    "formula, words",
    [
        (lambda c, a, n: 100 * ((a - c) * n).sum() / n.sum(), "cancel"),
        (lambda c, a, n: 100 * ((a - c) * n).sum().abs() / n.sum(), "cancel"),
        (lambda c, a, n: 100 * (a - c).abs().mean(), "weight each gap"),
        (lambda c, a, n: 100 * ((a - c).abs() * n).sum(), "number of images"),
        (lambda c, a, n: ((a - c).abs() * n).sum() / n.sum(), "give percent"),
        (lambda c, a, n: 100 * (a - c).abs().max(), "the largest gap"),
        (lambda c, a, n: 100 * ((a - c) ** 2 * n).sum() / n.sum(), "square"),
        (lambda c, a, n: 42.0, "mean gap, weighted by images"),
    ],
)
def test_mistakes_in_the_calibration_error_are_named(formula, words):
    assert checks.calibration_error(by_the_image).status == "solved"
    wrong(checks.calibration_error(formula), words)


def test_false_alarms_are_column_sums_without_the_diagonal():
    assert checks.most_false_alarms((MATRIX, 2)).status == "solved"
    assert checks.most_false_alarms((MATRIX, np.int64(2))).status == "solved"
    wrong(checks.most_false_alarms((MATRIX, 1)), "you summed rows")
    wrong(checks.most_false_alarms((MATRIX, 0)), "11 false alarms are not the most")
    wrong(checks.most_false_alarms((MATRIX, 10)), "0 to 2")


def test_the_class_called_most_often_need_not_have_the_most_false_alarms():
    matrix = np.array([[99, 1, 0], [9, 60, 31], [0, 21, 79]])
    assert checks.most_false_alarms((matrix, 2)).status == "solved"
    often = np.array([[95, 5, 0], [20, 40, 40], [0, 50, 50]])
    wrong(checks.most_false_alarms((often, 0)), "leave out the diagonal")
