"""What is derived from a confusion matrix, against scikit-learn, SciPy and loops."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from cifar_helpers import confusion

CHANCE = np.random.default_rng(0)
MATRIX = np.array([[50, 12, 3, 0], [5, 70, 1, 2], [0, 9, 20, 0], [1, 0, 0, 33]])


def labels_of(matrix):
    """One pair of labels per image: true (N,), predicted (N,)."""
    matrix = np.asarray(matrix)
    true, predicted = np.indices(matrix.shape)
    return tuple(a.ravel().repeat(matrix.ravel()) for a in (true, predicted))


def by_scikit_learn(matrix):
    true, predicted = labels_of(matrix)
    macro = {"average": "macro", "zero_division": np.nan}
    weighted = {"average": "weighted", "zero_division": np.nan}
    return {
        "accuracy_percent": 100 * metrics.accuracy_score(true, predicted),
        "balanced_accuracy_percent": 100
        * metrics.balanced_accuracy_score(true, predicted),
        "macro_precision_percent": 100
        * metrics.precision_score(true, predicted, **macro),
        "macro_f1_percent": 100 * metrics.f1_score(true, predicted, **macro),
        "weighted_f1_percent": 100 * metrics.f1_score(true, predicted, **weighted),
        "kappa": metrics.cohen_kappa_score(true, predicted),
        "mcc": metrics.matthews_corrcoef(true, predicted),
    }


@pytest.mark.parametrize(
    "matrix", [MATRIX, MATRIX.T, CHANCE.integers(0, 40, (7, 7)), [[3, 1], [0, 5]]]
)
def test_measures_are_scikit_learns(matrix):
    found = confusion.measures(matrix)
    expected = by_scikit_learn(matrix)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_measures_of_many_matrices_are_those_of_each():
    several = np.stack([MATRIX, MATRIX.T, 3 * MATRIX])
    together = confusion.measures(several)
    for index, matrix in enumerate(several):
        for name, value in confusion.measures(matrix).items():
            assert together[name].shape == (3,)
            assert together[name][index] == pytest.approx(float(value))


def test_measures_at_the_ends():
    perfect = confusion.measures(np.diag([3, 4, 5]))
    assert set(map(float, perfect.values())) == {1.0, 100.0}
    blind = confusion.measures(np.outer([2, 3, 5], [1, 4, 5]))
    assert blind["kappa"] == pytest.approx(0) and blind["mcc"] == pytest.approx(0)
    never_called = confusion.measures([[5, 0], [5, 0]])
    assert math.isnan(never_called["macro_precision_percent"])
    assert never_called["balanced_accuracy_percent"] == 50


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 3), int), r"must be \(K, K\), got shape \(2, 3\)"),
        (np.ones(4, int), "got shape"),
        (np.ones((0, 0), int), "got shape"),
        (np.eye(2) / 2, "whole numbers of images"),
        (-np.eye(2, dtype=int), "none below 0"),
        ([[np.inf, 0], [0, 1]], "whole numbers of images"),
        ([[np.nan, 0], [0, 1]], "whole numbers of images"),
    ],
)
def test_what_is_no_matrix_of_counts_is_refused(matrix, message):
    for function in (confusion.measures, confusion.asymmetries, confusion.bowker):
        with pytest.raises(ValueError, match=message):
            function(matrix)


def test_similar_classes_are_joined_first():
    """Steps and heights worked out by hand for four classes of 100 images."""
    matrix = [[70, 20, 10, 0], [10, 80, 10, 0], [0, 10, 90, 0], [0, 0, 4, 96]]
    steps, order = confusion.similar_classes(matrix)
    likeness = 1 - steps[:, 2]
    first = (0.20 + 0.10) / 2  # classes 0 and 1
    second = ((0.10 + 0) / 2 + (0.10 + 0.10) / 2) / 2  # class 2 with these
    third = (0 + 0 + 0.04 / 2) / 3  # class 3 with the three
    assert likeness == pytest.approx([first, second, third])
    assert set(steps[0, :2]) == {0, 1}
    assert sorted(order) == [0, 1, 2, 3] and 3 in (order[0], order[-1])
    with pytest.raises(ValueError, match="at least one image"):
        confusion.similar_classes([[5, 1], [0, 0]])
    with pytest.raises(ValueError, match="at least two classes"):
        confusion.similar_classes([[5]])


@pytest.mark.parametrize("count", [1, 2, 7, 45])
def test_holm_step_by_step(count):
    p_values = CHANCE.random(count) ** 3
    expected = {}
    rest, floor = sorted(p_values), 0.0
    while rest:
        floor = max(floor, min(1.0, rest[0] * len(rest)))
        expected[rest.pop(0)] = floor
    assert confusion.holm(p_values) == pytest.approx([expected[p] for p in p_values])


def test_holm_keeps_false_alarms_rare():
    """Twenty true hypotheses: at least one alarm in at most 5 % of 4,000 rounds."""
    p_values = np.random.default_rng(4).random((4000, 20))
    alarms = [(confusion.holm(row) < 0.05).any() for row in p_values]
    assert 0.035 < np.mean(alarms) < 0.06
    assert (p_values < 0.05).any(1).mean() > 0.6  # without correction
    assert confusion.holm([]).shape == (0,)
    for wrong in ([1.5], [-0.1], [math.nan], 0.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            confusion.holm(wrong)


def test_toss_adds_up_the_binomial():
    def at_least_as_rare(heads, tails):
        tosses = heads + tails
        share = [math.comb(tosses, k) / 2**tosses for k in range(tosses + 1)]
        return sum(s for s in share if s <= share[heads] * (1 + 1e-9))

    for heads, tails in itertools.product(range(8), repeat=2):
        assert confusion.toss(heads, tails) == pytest.approx(
            at_least_as_rare(heads, tails)
        )
    assert confusion.toss(0, 0) == 1


def test_asymmetries_by_scipy():
    rows = confusion.asymmetries(MATRIX)
    assert len(rows) == 5  # (1, 3), (0, 3) and three more; never (2, 3)
    assert [row[4] for row in rows] == sorted(row[4] for row in rows)
    for i, j, one, other, p, corrected in rows:
        assert i < j and (one, other) == (MATRIX[i, j], MATRIX[j, i])
        assert p == stats.binomtest(one, one + other).pvalue
        assert p <= corrected <= 1
    assert rows[0][5] == pytest.approx(5 * rows[0][4])
    assert confusion.asymmetries(np.eye(3, dtype=int)) == []


def test_bowker_with_two_classes_is_mcnemars_chi_square():
    statistic, degrees, p = confusion.bowker([[50, 15], [5, 30]])
    assert (statistic, degrees) == (pytest.approx(10**2 / 20), 1)
    normal = stats.norm.sf(math.sqrt(statistic)) * 2
    assert p == pytest.approx(normal)
    assert confusion.bowker(np.eye(3, dtype=int)) == (0.0, 0, 1.0)


def test_bowker_agrees_with_tossing_every_mistake():
    """Its p against 20,000 matrices in which each mistake went either way by chance."""
    matrix = np.array([[90, 14, 22], [26, 80, 18], [15, 31, 70]])
    statistic, degrees, p = confusion.bowker(matrix)
    both = [matrix[i, j] + matrix[j, i] for i, j in ((0, 1), (0, 2), (1, 2))]
    heads = np.random.default_rng(5).binomial(both, 0.5, (20_000, 3))
    tossed = ((2 * heads - both) ** 2 / np.array(both)).sum(1)
    assert degrees == 3
    assert p == pytest.approx((tossed >= statistic - 1e-9).mean(), abs=0.02)


def test_leanings_count_columns_and_rows():
    rows = confusion.leanings(MATRIX)
    assert {row[:3] for row in rows} == {(0, 6, 15), (1, 21, 8), (2, 4, 9), (3, 2, 1)}
    assert [row[3] for row in rows] == sorted(row[3] for row in rows)
    k, alarms, missed, p, corrected = rows[0]
    assert p == stats.binomtest(alarms, alarms + missed).pvalue
    assert corrected == pytest.approx(4 * p)


def test_difference_of_two_networks_cell_by_cell():
    labels = CHANCE.integers(0, 4, 500)
    first = np.where(CHANCE.random(500) < 0.7, labels, CHANCE.integers(0, 4, 500))
    second = np.where(CHANCE.random(500) < 0.6, labels, CHANCE.integers(0, 4, 500))
    found = confusion.difference(labels, first, second, 4)
    one, other = (
        metrics.confusion_matrix(labels, p, normalize="true") for p in (first, second)
    )
    np.testing.assert_allclose(found.points, 100 * (one - other))
    for i, j in itertools.product(range(4), repeat=2):
        only_first = ((labels == i) & (first == j) & (second != j)).sum()
        only_second = ((labels == i) & (second == j) & (first != j)).sum()
        expected = stats.binomtest(only_first, only_first + only_second).pvalue
        assert found.p[i, j] == pytest.approx(expected)
        assert found.compared[i, j] == (only_first + only_second > 0)
    np.testing.assert_allclose(
        found.corrected_p.ravel(), confusion.holm(found.p.ravel())
    )


def test_equal_networks_do_not_differ():
    same = confusion.difference([0, 1, 1], [0, 1, 0], [0, 1, 0], 3)
    assert (same.points == 0).all() and (same.p == 1).all()
    assert (same.corrected_p == 1).all()
    with pytest.raises(ValueError, match="the same images"):
        confusion.difference([0, 1], [0, 1], [0], 2)
    with pytest.raises(ValueError, match="the same images"):
        confusion.difference([], [], [], 2)


def test_only_measures_take_a_stack_of_matrices():
    stack = np.ones((3, 3, 3), int)
    assert confusion.measures(stack)["accuracy_percent"].shape == (3,)
    for name in ("bowker", "leanings", "asymmetries", "similar_classes"):
        with pytest.raises(
            ValueError, match=r"must be \(K, K\), got shape \(3, 3, 3\)"
        ):
            getattr(confusion, name)(stack)


def test_a_class_without_images_has_no_weight():
    found = confusion.measures([[5, 0, 0], [1, 4, 0], [0, 0, 0]])
    labels, answers = [0] * 5 + [1] * 5, [0] * 6 + [1] * 4
    expected = metrics.f1_score(
        labels, answers, labels=range(3), average="weighted", zero_division=0
    )
    assert found["weighted_f1_percent"] == pytest.approx(100 * expected)
    assert math.isnan(found["macro_f1_percent"])


@pytest.mark.parametrize("answers", [[-1, 1], [3, 1], [0.5, 1], [[0], [1]]])
def test_answers_that_are_no_classes_are_refused(answers):
    with pytest.raises(ValueError, match="whole numbers from 0 to 2|same images"):
        confusion.difference([0, 1], answers, [0, 1], 3)
    with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
        confusion.difference(answers, answers, answers, 3)


def test_cells_without_a_disagreement_are_no_comparison():
    """Eight images of class 0 and three of class 1 are answered otherwise."""
    labels = np.repeat([0, 1, 2], 20)
    first, second = labels.copy(), labels.copy()
    second[:8], first[20:23] = 1, 2
    found = confusion.difference(labels, first, second, 3)
    told = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]], bool)
    assert (found.compared == told).all()
    assert found.corrected_p[0, 1] == pytest.approx(4 * 2 / 2**8)  # of 4 cells, not 9
    assert (found.corrected_p[~told] == 1).all() and (found.p[~told] == 1).all()
