"""Figures of an evaluation hold the numbers that they were given."""

import numpy as np
import pytest
from drawn import NAMES, random_predictions, texts

from cifar_helpers import evaluation, intervals, plots


@pytest.mark.parametrize("normalized", [False, True])
def test_confusion_matrix(normalized):
    counts = np.array([[900, 90, 10], [40, 800, 0], [3, 7, 990]])
    matrix = counts / counts.sum(1, keepdims=True) if normalized else counts
    figure = plots.confusion_matrix(matrix, NAMES, normalized=normalized)
    (axes,) = figure.axes
    mistakes, right = (mesh.get_array() for mesh in axes.collections)
    shown = 100 * matrix if normalized else matrix
    assert (mistakes.mask == np.eye(3, dtype=bool)).all()
    assert (right.mask == ~np.eye(3, dtype=bool)).all()
    drawn = np.where(mistakes.mask, right.data, mistakes.data)
    np.testing.assert_allclose(drawn, shown)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    for row, column in np.ndindex(3, 3):
        digits = 1 if normalized else 0
        expected = f"{shown[row, column]:.{digits}f}"
        assert written[(column + 0.5, row + 0.5)] == expected
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(NAMES)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(NAMES)
    assert axes.get_ylabel() == "true class"


@pytest.mark.parametrize(
    ("matrix", "normalized", "message"),
    [
        (np.eye(4), False, r"3 × 3.*got shape \(4, 4\)"),
        (-np.eye(3), False, "without negative values"),
        (np.full((3, 3), np.nan), False, "without negative values"),
        (np.eye(3) / 2, False, "pass normalized=True"),
        (np.eye(3) * 2, True, "got values above 1"),
    ],
)
def test_confusion_matrix_refuses(matrix, normalized, message):
    with pytest.raises(ValueError, match=message):
        plots.confusion_matrix(matrix, NAMES, normalized)


def test_reliability_diagram():
    calibration = evaluation.calibration(random_predictions(), bins=5)
    figure = plots.reliability_diagram(calibration)
    upper, lower = figure.axes
    accuracy, gap = upper.containers
    filled = [m for m in range(5) if calibration.count[m]]
    assert 0 < len(filled) < 5  # the lowest bin is empty with three classes
    for position, m in enumerate(filled):
        assert accuracy[position].get_height() == pytest.approx(
            100 * calibration.accuracy[m]
        )
        assert accuracy[position].get_center()[0] == pytest.approx(20 * m + 10)
        top = gap[position].get_y() + gap[position].get_height()
        assert top == pytest.approx(100 * calibration.confidence[m])
    assert [bar.get_height() for bar in lower.patches] == calibration.count.tolist()
    error = calibration.expected_calibration_error_percent
    assert f"{error:.2f} %" in upper.get_title("left")
    with pytest.raises(ValueError, match="evaluation.calibration, got dict"):
        plots.reliability_diagram({})


def report_of(**recalls):
    return {
        name: {"recall_percent": value, "f1_percent": value, "support": 200}
        for name, value in recalls.items()
    }


def test_per_class_bars_are_sorted_and_carry_error_bars():
    figure = plots.per_class_bars(report_of(cat=70.0, dog=90.0, ship=80.5))
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [70.0, 80.5, 90.0]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ["cat", "ship", "dog"]  # drawn from the bottom up
    (low, _), (high, _) = axes.collections[0].get_segments()[0]
    assert (low, high) == pytest.approx(intervals.wilson_interval(140, 200))
    assert {"70.0", "80.5", "90.0", "recall (%)"} <= set(texts(figure))


def test_per_class_bars_of_another_metric():
    report = report_of(cat=70.0, dog=float("nan"))
    (axes,) = plots.per_class_bars(report, "f1_percent").axes
    assert [bar.get_width() for bar in axes.patches] == [70.0]
    assert len(axes.collections) == 0
    with pytest.raises(ValueError, match="metric must be one of.*'recall'"):
        plots.per_class_bars(report, "recall")
    with pytest.raises(ValueError, match="holds no precision_percent"):
        plots.per_class_bars(report, "precision_percent")
