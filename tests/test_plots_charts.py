"""Plain charts hold the numbers that they were given."""

import numpy as np
import pytest
from drawn import texts

from cifar_helpers import plots


def test_line_chart_draws_every_curve_with_its_own_look():
    curves = {"first": [1.0, 2.0, 4.0], "second": [3.0, 2.0, 0.5]}
    levels = {"guessing": 0.1, "eval()": 5.0}
    figure = plots.line_chart([1, 2, 10], curves, "size", "error", levels, log="xy")
    (axes,) = figure.axes
    drawn = {line.get_label(): line for line in axes.lines}
    for name, values in curves.items():
        np.testing.assert_allclose(drawn[name].get_xydata().T, [[1, 2, 10], values])
    for name, value in levels.items():
        assert set(drawn[name].get_ydata()) == {value}
    looks = {(line.get_linestyle(), line.get_color()) for line in axes.lines}
    assert len(looks) == 4
    assert drawn["first"].get_marker() != drawn["second"].get_marker()
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "10"]
    assert {"size", "error", "first", "second", "guessing"} <= set(texts(figure))


def test_line_chart_of_one_curve_needs_no_legend():
    figure = plots.line_chart(range(3), {"a": [1, 2, 3]}, "x", "y", limits=(0, None))
    (axes,) = figure.axes
    assert axes.get_legend() is None
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] >= 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curves": {}}, "1 to 5 curves, got 0"),
        ({"curves": {"a": [1, 2]}}, "got 2 values for 3 places"),
        ({"log": "z"}, 'must be "x", "y" or "xy"'),
        ({"x": []}, "x must be a filled array"),
    ],
)
def test_line_chart_refuses(change, message):
    right = {"x": [1, 2, 3], "curves": {"a": [1, 2, 3]}, "xlabel": "", "ylabel": ""}
    with pytest.raises(ValueError, match=message):
        plots.line_chart(**right | change)


def test_histograms_count_both_groups_in_the_same_bins():
    groups = {"one": [1.5, 1.6, 2.5], "two": [0.5, 2.5, 2.6, 2.7]}
    figure = plots.histograms(groups, [0, 1, 2, 3], "score", "how many")
    (axes,) = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[0, 2, 1], [1, 0, 3]]
    assert {"one", "two", "score", "how many"} <= set(texts(figure))
    with pytest.raises(ValueError, match="1 to 2 groups, got 3"):
        plots.histograms(groups | {"three": [1.0]}, [0, 1], "", "")


def test_dot_columns_keep_dots_in_their_column():
    values = np.arange(12.0).reshape(3, 4)
    marks = [1.0, 5.0, 9.0]
    figure = plots.dot_columns(["a", "b", "c"], values, "%", marks, ("dots", "marks"))
    (axes,) = figure.axes
    *columns, diamonds = axes.lines
    for place, (column, expected) in enumerate(zip(columns, values, strict=True)):
        assert (column.get_ydata() == expected).all()
        assert (np.abs(column.get_xdata() - place) < 0.5).all()
    np.testing.assert_allclose(diamonds.get_xydata().T, [[0, 1, 2], marks])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b", "c"]
    assert {"dots", "marks"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("names", "marks", "message"),
    [
        (["a"], None, "got 1 names for 2 columns"),
        (["a", "b"], [1.0], "got 1 marks for 2 columns"),
    ],
)
def test_dot_columns_refuse(names, marks, message):
    with pytest.raises(ValueError, match=message):
        plots.dot_columns(names, np.ones((2, 3)), "", marks)
