"""Figures of feature maps show the numbers that were given, or that are counted."""

import numpy as np
import pytest
import torch
from drawn import IMAGES, texts
from matplotlib.colors import to_rgba
from torch.nn import functional as F

from cifar_helpers import plots


def shown(axes):
    """The values of the picture in these axes."""
    (image,) = axes.images
    return np.asarray(image.get_array())


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(3, 3, 2), (2, 4, 4), (4, 1, 3)]
)
def test_stamps_are_counted_as_a_transposed_convolution_of_ones(size, kernel, stride):
    figure = plots.stamps(size, kernel, stride)
    ones, stamp = torch.ones(1, 1, size, size), torch.ones(1, 1, kernel, kernel)
    wanted = F.conv_transpose2d(ones, stamp, stride=stride)[0, 0]
    assert np.array_equal(shown(figure.axes[1]), wanted)
    assert len(figure.axes[0].patches) == size**2
    for index, patch in enumerate(figure.axes[0].patches):
        row, column = divmod(index, size)
        left, top = patch.get_xy()
        assert column * stride < left < left + patch.get_width()
        assert left + patch.get_width() < column * stride + kernel
        assert row * stride < top < row * stride + kernel
    with pytest.raises(ValueError, match="at least 1"):
        plots.stamps(kernel=0)


def test_matrix_and_transpose():
    matrix = torch.arange(12.0).view(3, 4) - 8
    figure = plots.matrix_and_transpose(matrix)
    left, right = figure.axes[:2]
    assert np.array_equal(shown(left), matrix)
    assert np.array_equal(shown(right), matrix.T)
    assert left.images[0].get_clim() == right.images[0].get_clim() == (-8, 8)
    assert left.get_title(loc="left") == "convolution: 4 pixels → 3"
    assert right.get_title(loc="left") == "transposed: 3 → 4"


def test_map_row_has_one_scale():
    maps = [np.full((2, 3), 2.0), np.array([[np.nan, -5.0]])]
    figure = plots.map_row(maps, ("a", "b"), "value", image=IMAGES[0])
    image, *drawn = figure.axes[:3]
    assert np.array_equal(shown(image), IMAGES[0].permute(1, 2, 0))
    assert [axes.get_title() for axes in drawn] == ["a", "b"]
    for axes, values in zip(drawn, maps, strict=True):
        assert axes.images[0].get_clim() == (0, 5)
        found = np.ma.filled(shown(axes).astype(float), np.nan)
        assert np.array_equal(found, values, equal_nan=True)
    both = plots.map_row(maps, ("a", "b"), "value", plots.DIVERGING)
    assert both.axes[0].images[0].get_clim() == (-5, 5)
    with pytest.raises(ValueError, match="got 1 titles for 2 maps"):
        plots.map_row(maps, ("a",), "value")


def test_number_grids_share_a_scale():
    figure = plots.number_grids({"a": [[1, 2]], "b": [[30], [4]]}, "share (%)")
    assert {"1", "2", "30", "4"} <= set(texts(figure))
    assert [axes.images[0].get_clim() for axes in figure.axes[:2]] == [(0, 30)] * 2
    assert [a.get_title(loc="left") for a in figure.axes[:2]] == ["a", "b"]


def test_along_depth_draws_every_run_and_labels_look_alike():
    runs = {"plain": [[1, 10, 100], [2, 20, 200]], "shortcut": [[3, 3, 3]]}
    figure = plots.along_depth({"left": runs, "right": runs}, "norm")
    for axes in figure.axes:
        lines = [line for line in axes.lines if len(line.get_ydata())]
        assert [list(line.get_ydata()) for line in lines] == sum(runs.values(), [])
        assert axes.get_yscale() == "log"
        assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(runs)
    assert legend.get_lines()[1].get_color() == lines[2].get_color()
    with pytest.raises(ValueError, match="1 to 5 labels, got 6"):
        plots.along_depth({"x": {str(n): [[1, 2]] for n in range(6)}}, "norm")


def test_lost_points_draws_values_with_the_ends_of_their_intervals():
    groups = {"mean": [(2, 1, 4), (-1, -2, 0)], "swap": [(5, 4.5, 5.5), (0, 0, 0)]}
    figure = plots.lost_points(("a", "b"), groups, "points")
    (axes,) = figure.axes
    containers = [c for c in axes.containers if hasattr(c, "patches")]
    assert len(containers) == 2
    for bars, rows in zip(containers, groups.values(), strict=True):
        assert [bar.get_width() for bar in bars] == [value for value, *_ in rows]
    drawn = [c.get_segments() for c in axes.collections]
    ends = [[sorted(x for x, _ in segment) for segment in group] for group in drawn]
    assert ends == [[[low, high] for _, low, high in rows] for rows in groups.values()]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    with pytest.raises(ValueError, match="swap: a value lies outside"):
        plots.lost_points(("a",), {"swap": [(3, 1, 2)]}, "points")
    with pytest.raises(ValueError, match="got 2 rows for 1 names"):
        plots.lost_points(("a",), groups, "points")


def test_taps_and_shares():
    shares = [torch.full((3, 3), 0.25), torch.eye(3)]
    figure = plots.taps_and_shares(IMAGES[0], (1, 4), shares, (4, 4))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["rate 1", "rate 4", "", ""]
    for axes, rate, live in zip(figure.axes[:2], (1, 4), (9, 4), strict=True):
        inside, outside = axes.collections
        assert len(inside.get_offsets()) == live  # of 8 x 8 pixels, from (4, 4)
        assert len(outside.get_offsets()) == 9 - live
        steps = np.abs(np.asarray(inside.get_offsets()) - 4)
        assert set(steps.ravel()) == {0, rate}
        assert axes.get_xlim() == (-2.5, 9.5)  # row 8 is read, one beyond the image
    assert figure.axes[2].get_xlabel() == "mean 25%"
    assert {text.get_text() for text in figure.axes[3].texts} == {"0%", "100%"}


def test_valid_weights():
    by_rate = {1: {9: 0.75, 4: 0.25}, 2: {9: 0.5, 4: 0.5}}
    figure = plots.valid_weights({"a": by_rate, "b": by_rate}, {"a": (2,), "b": ()})
    first, second = figure.axes
    lines = [line for line in first.lines if line.get_label().endswith("valid")]
    assert [list(line.get_xdata()) for line in lines] == [[1, 2]] * 2
    assert [list(line.get_ydata()) for line in lines] == [[75, 50], [25, 50]]
    assert len(first.lines) == 3 and len(second.lines) == 2
    assert to_rgba(first.lines[-1].get_color()) == to_rgba(plots.SOFT)
    assert [text.get_text() for text in first.texts] == ["2"]
    for weights in (0, 6):
        by_rate = {1: dict.fromkeys(range(weights), 0.1)}
        with pytest.raises(ValueError, match=f"1 to 5 numbers.*got {weights}"):
            plots.valid_weights({"a": by_rate}, {"a": ()})
    with pytest.raises(ValueError, match="a is empty"):
        plots.valid_weights({"a": {}}, {"a": ()})
