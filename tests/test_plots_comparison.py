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
