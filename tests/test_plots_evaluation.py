"""Figures of an evaluation hold the numbers that they were given."""

import numpy as np
import pytest
from drawn import NAMES, random_predictions, texts

from cifar_helpers import intervals, plots, scores


def lines_of(axes):
    """Label to points, of the curves that have one."""
    return {
        line.get_label(): line.get_xydata()
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_dots_with_intervals():
    series = {"a": [(5, 4, 7), (6, 5, 8)], "b": [(1, 0, 2), (2, 1, 3)]}
    figure = plots.dots_with_intervals(["cat", "dog"], series, "recall (%)")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog"]
    low, high = axes.get_ylim()
    assert low > high  # the first name on top
    for (label, rows), bars in zip(series.items(), axes.collections, strict=True):
        values = lines_of(axes)[label]
        assert values[:, 0].tolist() == [row[0] for row in rows]
        ends = [segment[:, 0].tolist() for segment in bars.get_segments()]
        assert ends == [list(row[1:]) for row in rows]
    assert {"a", "b", "recall (%)"} <= set(texts(figure))
    with pytest.raises(ValueError, match="got 1 values for 2 names"):
        plots.dots_with_intervals(["cat", "dog"], {"a": [(1, 0, 2)]}, "")
    with pytest.raises(ValueError, match="series is empty"):
        plots.dots_with_intervals(["cat"], {}, "")


def test_threshold_curves():
    predictions = random_predictions()
    curves = {
        name: scores.one_against_rest(predictions, k) for k, name in enumerate(NAMES)
    }
    figure = plots.threshold_curves(curves)
    left, right = figure.axes
    for name, curve in curves.items():
        expected = np.column_stack([curve.false_alarms, curve.found])
        np.testing.assert_allclose(lines_of(left)[name], 100 * expected)
        expected = np.column_stack([curve.found, curve.precision])
        np.testing.assert_allclose(lines_of(right)[name], 100 * expected)
    for wrong in ({}, {"cat": (1, 2)}):
        with pytest.raises(ValueError, match="scores.one_against_rest"):
            plots.threshold_curves(wrong)


def test_selective_curves():
    coverage, error = scores.answered_first(random_predictions())
    (axes,) = plots.selective_curves({"net": (coverage, error)}).axes
    expected = 100 * np.column_stack([coverage, error])
    np.testing.assert_allclose(lines_of(axes)["net"], expected)
    low, high = intervals.wilson_interval(round(12 * error[-1]), 12)
    (band,) = axes.collections
    ends = [y for x, y in band.get_paths()[0].vertices if x == 100]
    assert (min(ends), max(ends)) == pytest.approx((low, high))
    with pytest.raises(ValueError, match="curves is empty"):
        plots.selective_curves({})
    with pytest.raises(ValueError, match="got 2 errors for 3 coverages"):
        plots.selective_curves({"net": ([0.1, 0.2, 0.3], [0, 0])})


def test_claim_sizes():
    figure = plots.claim_sizes({"paired": ([0.5, 1, 2], [4000, 1000, 250])}, 10_000)
    (axes,) = figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert lines_of(axes)["paired"].tolist() == [[0.5, 4000], [1, 1000], [2, 250]]
    assert "10,000 images" in texts(figure)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.5", "1", "2"]
    with pytest.raises(ValueError, match="at least one curve"):
        plots.claim_sizes({}, 100)


def test_dots_lie_on_their_intervals():
    series = {"a": [(5, 4, 7), (6, 5, 8)], "b": [(1, 0, 2), (2, 1, 3)]}
    (axes,) = plots.dots_with_intervals(["cat", "dog"], series, "").axes
    for dots, bars in zip(axes.lines, axes.collections, strict=True):
        rows = [segment[0, 1] for segment in bars.get_segments()]
        assert dots.get_ydata().tolist() == rows
        assert [round(row) for row in rows] == [0, 1]
