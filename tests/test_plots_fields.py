"""Drawings of receptive fields show the numbers that they were given."""

import numpy as np
import pytest
import torch
from drawn import texts
from torch import nn

from cifar_helpers import plots
from cifar_helpers.receptive_field import EffectiveField, receptive_field

CHAIN = [(3, 1, 1, 1), (3, 2, 2, 2), (3, 1, 1, 1)]


def measured(map, centre=(3.5, 3.5), side=4):
    map = torch.as_tensor(map, dtype=torch.float64)
    return EffectiveField("layer", map / map.sum(), centre, (1.0, 1.0), side, 0.95, 1)


def test_paths_end_at_the_pixels_that_the_tracer_finds():
    layers = [nn.Conv2d(1, 1, k, s, p, d) for k, s, d, p in CHAIN]
    _, _, left, right = receptive_field(nn.Sequential(*layers), (1, 32, 32))[-1].span(
        8, 8
    )
    figure = plots.paths_to_pixels(CHAIN, unit=8)
    pixels = [line for line in figure.axes[0].lines if line.get_marker() == "s"][-1]
    assert sorted(pixels.get_xdata()) == list(range(left, right + 1))
    assert f"{left} to {right}" in figure.get_label()
    with pytest.raises(ValueError, match="further inside"):
        plots.paths_to_pixels(CHAIN, unit=0)
    for unit in (-1, 99):
        with pytest.raises(ValueError, match=f"no {unit}"):
            plots.paths_to_pixels(CHAIN, unit=unit)


def test_every_mark_of_a_matrix_is_drawn():
    matrix = np.tri(5, 4, dtype=bool)
    figure = plots.dependency_matrices(
        {"a · b": (matrix, "pixel"), "c": (~matrix, "unit")}
    )
    panels = figure.axes[:2]
    for axes, wanted in zip(panels, (matrix, ~matrix), strict=True):
        marks = axes.collections[0].get_offsets().astype(int)
        assert {(y, x) for x, y in marks} == set(zip(*wanted.nonzero(), strict=True))
    assert not figure.axes[2].axison  # nothing to show there


def test_a_view_keeps_the_colours_that_are_seen_and_tells_the_size():
    (field,) = receptive_field(nn.Conv2d(3, 1, 3, padding=1), (3, 8, 8))
    picture = torch.full((3, 8, 8), 51, dtype=torch.uint8)
    figure = plots.views(
        picture, [[("corner", field, (0, 0)), ("", field, (4, 4))]], "T"
    )
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert np.allclose(shown[:2, :2], 0.2) and np.allclose(shown[2:], 0.84)
    assert {"corner\n2 × 2", "3 × 3", "T"} <= set(texts(figure))
    (box,) = figure.axes[1].patches
    assert box.get_bbox().bounds == (2.5, 2.5, 3, 3)
    of_floats = plots.views(picture / 255, [[("", field, (4, 4))]])
    floats, bytes = (f.axes[-1].images[0].get_array() for f in (of_floats, figure))
    assert np.allclose(floats, bytes)
    for wrong, message in ((picture.float(), "between 0 and 1"), (picture[0], "3 dim")):
        with pytest.raises(ValueError, match=message):
            plots.views(wrong, [[("", field, (4, 4))]])
    for nothing in ([], [[]]):
        with pytest.raises(ValueError, match="rows is empty"):
            plots.views(picture, nothing)


def test_a_view_of_padding_only_has_no_box():
    (field,) = receptive_field(nn.Conv2d(3, 1, 1, padding=1), (3, 8, 8))
    assert field.span(0, 0) is None
    picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
    figure = plots.views(picture, [[("corner", field, (0, 0))]])
    (axes,) = figure.axes
    assert np.allclose(axes.images[0].get_array(), 0.8)  # faded everywhere
    assert not axes.patches
    assert axes.get_title() == "corner\npadding only"


def test_share_within_counts_the_pixels_of_the_square():
    field = measured(np.ones((8, 8)))
    shares = plots.share_within(field, [2, 4, 8])
    assert shares == pytest.approx([100 * n / 64 for n in (4, 16, 64)])
    off = measured(np.eye(8), centre=(3.0, 3.0))
    assert plots.share_within(off, [1, 3]) == pytest.approx([12.5, 37.5])


def test_curves_of_shares_are_those_of_the_fields():
    narrow, wide = measured(np.eye(8)), measured(np.ones((8, 8)))
    figure = plots.shares_within_squares({"part": ([narrow, narrow], wide)})
    *before, after, level = figure.axes[0].lines
    assert len(before) == 2 and level.get_ydata()[0] == 95
    wanted = plots.share_within(wide, np.arange(1, 33))
    assert after.get_ydata() == pytest.approx(wanted)


def test_heat_maps_are_relative_to_their_largest_value_and_have_the_square():
    field = measured(np.arange(64.0).reshape(8, 8), centre=(3.6, 4.0))
    figure = plots.heat_maps({"row": {"mask": np.eye(8), "field": field}})
    mask, map = figure.axes
    assert np.asarray(map.images[0].get_array()).max() == 1
    assert not mask.patches
    (square,) = map.patches
    assert square.get_bbox().bounds == (2.0, 1.5, 4, 4)  # around (3.5, 4), side 4


@pytest.mark.filterwarnings("error")
def test_a_heat_map_of_zeros_is_dark():
    (axes,) = plots.heat_maps({"row": {"nothing": np.zeros((2, 2))}}).axes
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "rows is empty"),
        ({"row": {}}, "columns is empty"),
        ({"row": {"a": np.eye(2)}, "other": {"b": np.eye(2)}}, "the same columns"),
    ],
)
def test_heat_maps_refuse(rows, message):
    with pytest.raises(ValueError, match=message):
        plots.heat_maps(rows)


def test_profiles_are_shown_in_percent():
    figure = plots.field_growth(
        {"2": np.array([0.25, 0.5, 0.25])}, [1, 2], [3, 5], [3, 3]
    )
    left, right = figure.axes
    assert left.lines[0].get_xydata().tolist() == [[-1, 25], [0, 50], [1, 25]]
    assert [line.get_ydata().tolist() for line in right.lines] == [[3, 5], [3, 3]]


def test_live_taps_are_shown_unit_by_unit():
    counts = np.array([[4, 6], [6, 9]])
    figure = plots.live_taps({"a\nb": counts})
    assert np.asarray(figure.axes[0].images[0].get_array()).tolist() == counts.tolist()
    assert "2 × 2 units" in texts(figure) and "a b" in figure.get_label()
