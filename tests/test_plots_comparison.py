"""Bars are as long as the values that they were given."""

import numpy as np
import pytest
import torch
from drawn import texts

from cifar_helpers import plots


def test_bars_with_error():
    names, values, errors = ["a", "b"], torch.tensor([-1.5, 2.0]), [0.25, 0.5]
    figure = plots.bars_with_error(names, values, errors, "change (points)")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [-1.5, 2.0]
    segments = [segment.tolist() for segment in axes.collections[0].get_segments()]
    assert segments == [[[-1.75, 0], [-1.25, 0]], [[1.5, 1], [2.5, 1]]]
    assert {"−1.50 ± 0.25", "2.00 ± 0.50", "change (points)"} <= set(texts(figure))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first one is on top


def test_a_cut_axis_has_dots_instead_of_bars():
    figure = plots.bars_with_error(["a", "b"], [90, 91.5], None, "%", axis_start=80)
    (axes,) = figure.axes
    assert len(axes.patches) == 0
    assert axes.lines[0].get_xdata().tolist() == [90, 91.5]
    assert axes.get_xlim()[0] == 80
    assert "91.50" in texts(figure)


def test_a_value_without_an_error_has_no_bar_of_it():
    figure = plots.bars_with_error(["a", "b"], [3, 5], [None, 0.5], "minutes")
    (axes,) = figure.axes
    (bar,) = [segment.tolist() for segment in axes.collections[0].get_segments()]
    assert bar == [[4.5, 1], [5.5, 1]]
    assert {"3.00", "5.00 ± 0.50"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("names", "values", "errors", "message"),
    [
        (["a"], [1, 2], None, "got 1 names for 2 values"),
        (["a", "b"], [1, 2], [1], "got 1 errors for 2 values"),
        (["a"], [np.nan], None, "values must be finite"),
        (["a"], [1], [-1], "errors not negative"),
        (["a"], [1], [np.nan], "errors not negative"),
        ([], [], None, "filled array"),
    ],
)
def test_bars_with_error_refuse(names, values, errors, message):
    with pytest.raises(ValueError, match=message):
        plots.bars_with_error(names, values, errors, "x")


def test_bar_columns():
    columns = {"parameters (thousands)": torch.tensor([1200.0, 3]), "time (s)": [0, 2]}
    figure = plots.bar_columns(["a", "b"], columns)
    widths = [[bar.get_width() for bar in axes.patches] for axes in figure.axes]
    assert widths == [[1200, 3], [0, 2]]
    assert {*columns, "1,200.0", "3.0", "0.0", "2.0", "a", "b"} <= set(texts(figure))
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]
    percent = plots.bar_columns(["a"], {"share (%)": [12.4]}, "{:.0f} %")
    assert "12 %" in texts(percent)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "columns is empty"),
        ({"s": [1, 2, 3]}, "got 3 values for 2 names"),
        ({"s": [1, -2]}, "s: values must be finite and not negative"),
        ({"s": [1, np.inf]}, "s: values must be finite and not negative"),
        ({"s": [[1, 2]]}, "s must be a filled array with 1 dimensions"),
    ],
)
def test_bar_columns_refuse(columns, message):
    with pytest.raises(ValueError, match=message):
        plots.bar_columns(["a", "b"], columns)


def test_vector_bars():
    vectors = {"means": torch.tensor([1.0, 2, 3]), "hidden, by unit": [0.5, 0]}
    figure = plots.vector_bars(vectors)
    first, second = figure.axes
    assert [bar.get_height() for bar in first.patches] == [1, 2, 3]
    assert [bar.get_height() for bar in second.patches] == [0.5, 0]
    assert (first.get_xlabel(), second.get_xlabel()) == ("channel", "unit")
    assert second.get_title(loc="left") == "hidden"
    figure.draw_without_rendering()
    left = [axes.yaxis.label.get_window_extent().x0 for axes in figure.axes]
    assert left[0] == pytest.approx(left[1], abs=1)  # labels below each other
    with pytest.raises(ValueError, match="vectors is empty"):
        plots.vector_bars({})


def test_deviations():
    rows = torch.tensor([[0.5, -0.25, 0], [-1, 0.25, 0]])
    labels = {"xlabel": "channel", "label": "deviation"}
    figure = plots.deviations(rows, [0.2, 0.4, 0.9], ["a", "b"], **labels, groups=1)
    upper, lower, _ = figure.axes
    assert [bar.get_height() for bar in upper.patches] == [0.2, 0.4, 0.9]
    (drawn,) = lower.images
    assert np.array_equal(drawn.get_array(), rows)
    assert drawn.get_clim() == (-1, 1)  # zero is white
    assert list(lower.lines[0].get_ydata()) == [0.5, 0.5]  # between the rows
    assert {"a", "b", "channel", "deviation"} <= set(texts(figure))
    with pytest.raises(ValueError, match="got 2 means for 3 columns"):
        plots.deviations(rows, [1, 2], ["a", "b"], **labels)
    with pytest.raises(ValueError, match="got 1 names for 2 rows"):
        plots.deviations(rows, [1, 2, 3], ["a"], **labels)


def test_histogram_panels_share_their_bins_and_count_every_value():
    values = {"a": torch.tensor([0.0, 1, 1, 3]), "b": [6.0, 6, 5]}
    figure = plots.histogram_panels({"one": values, "two": values}, "weight", "images")
    for axes in figure.axes:
        heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
        for counted, group in zip(heights, values.values(), strict=True):
            wanted, _ = np.histogram(group, np.linspace(0, 6, 25))
            assert counted == wanted.tolist()
    assert {"one", "two", "weight", "images", "a", "b"} <= set(texts(figure))
    with pytest.raises(ValueError, match="panels is empty"):
        plots.histogram_panels({}, "x", "y")
    for groups in ({}, {str(n): [1, 2] for n in range(8)}):
        with pytest.raises(ValueError, match=f"1 to 7 groups, got {len(groups)}"):
            plots.histogram_panels({"one": groups}, "x", "y")


def test_grouped_bars():
    rivals = {"one": [1.0, 2], "two": torch.tensor([3.0, 4])}
    figure = plots.grouped_bars({"a": rivals, "b": rivals}, (1, 16), "dilation", "ms")
    for axes in figure.axes:
        heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
        assert heights == [[1, 2], [3, 4]]
        places = [[bar.get_center()[0] for bar in bars] for bars in axes.containers]
        assert np.allclose(places, [[-0.2, 0.8], [0.2, 1.2]])
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "16"]
    assert {"a", "b", "one", "two", "dilation", "ms"} <= set(texts(figure))
    with pytest.raises(ValueError, match="got 2 values for 3 ticks"):
        plots.grouped_bars({"a": rivals}, (1, 2, 3), "x", "y")
    for nothing, name in (({}, "panels"), ({"a": {}}, "a")):
        with pytest.raises(ValueError, match=f"{name} is empty"):
            plots.grouped_bars(nothing, (1,), "x", "y")


def test_stacked_shares():
    parts = {"call": [1.0, 2], "bytes": torch.tensor([3.0, 2]), "rest": [0, 0]}
    figure = plots.stacked_shares(["8 channels", "16 channels"], parts, "µs")
    (axes,) = figure.axes
    first, second, _ = axes.containers
    assert [bar.get_width() for bar in first] == [25, 50]
    assert [bar.get_x() for bar in second] == [25, 50]  # behind the first part
    found = set(texts(figure))
    assert {"25", "75", "50", "8 channels", "call", "rest", "µs"} <= found
    for names, wrong, message in (
        ([], {}, "parts is empty"),
        (["a"], parts, "got 1 names for 2 values"),
        (["a"], {"x": [-1]}, "must not be negative"),
        (["a"], {"x": [0]}, "no sum zero"),
        (["a"], {str(n): [1] for n in range(6)}, "1 to 5 parts, got 6"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.stacked_shares(names, wrong, "x")
