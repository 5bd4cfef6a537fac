"""Grids of numbers and taps say what a convolution reads."""

import numpy as np
import pytest
import torch
from drawn import IMAGES, contrast, texts
from torch.nn import functional as F

from cifar_helpers import plots


def test_number_grid():
    values = torch.tensor([[-1.0, 0.25, 2.0], [0.0, 1.0, -0.5]])
    with plots.new_figure(2) as figure:
        axes = figure.subplots()
        drawn = plots.number_grid(axes, values, "{:.1f}", (-2, 2), plots.DIVERGING)
    assert drawn.get_clim() == (-2, 2)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    for (row, column), value in np.ndenumerate(values.numpy()):
        assert written[(column, row)] == f"{value:.1f}".replace("-", "−")
    assert len(texts(figure)) == 6


def test_number_grid_writes_readable_numbers():
    for cmap in ("gray", plots.SEQUENTIAL, plots.DIVERGING):
        with plots.new_figure(2) as figure:
            axes = figure.subplots()
            drawn = plots.number_grid(axes, [range(60)], "{:.0f}", cmap=cmap, size=9)
        for text in axes.texts:
            paper = drawn.to_rgba(float(text.get_text()))
            assert contrast(text.get_color(), paper) >= 4.5
        assert {text.get_size() for text in axes.texts} == {9}
    with pytest.raises(ValueError, match="values must be .* 2 dimensions"):
        plots.number_grid(axes, [1, 2])


def places(collection):
    return {tuple(int(x) for x in place) for place in collection.get_offsets()}


@pytest.mark.parametrize("dilation", [1, 3, 6])
def test_taps_are_those_that_a_convolution_reads(dilation):
    outputs = [(4, 4), (1, 6)]
    with plots.new_figure(2) as figure:
        axes = figure.subplots()
        plots.taps_on_image(axes, IMAGES[0], dilation, outputs)
    for (row, column), inside, outside in zip(
        outputs, axes.collections[::2], axes.collections[1::2], strict=True
    ):
        image = torch.zeros(1, 1, 8, 8, requires_grad=True)
        output = F.conv2d(
            image, torch.ones(1, 1, 3, 3), padding=dilation, dilation=dilation
        )
        output[0, 0, row, column].backward()
        read = {(x, y) for y, x in image.grad[0, 0].nonzero().tolist()}
        assert places(inside) == read
        assert len(places(outside)) == 9 - len(read)
    assert axes.get_xlim() == (-0.5 - dilation, 7.5 + dilation)
    assert axes.get_ylim() == (7.5 + dilation, -0.5 - dilation)


def test_taps_show_as_much_padding_as_asked_for():
    with plots.new_figure(2) as figure:
        axes = figure.subplots()
        plots.taps_on_image(axes, IMAGES[0], 1, [(0, 0)], margin=5)
    assert axes.get_xlim() == (-5.5, 12.5)
    for dilation, outputs, message in (
        (0, [(0, 0)], "dilation must be at least 1"),
        (1, [], "1 to 2 outputs, got 0"),
        (1, [(0, 0)] * 3, "1 to 2 outputs, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.taps_on_image(axes, IMAGES[0], dilation, outputs)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_markers_of_neighbouring_taps_do_not_cover_each_other(dilation):
    with plots.new_figure(3, 3) as figure:
        axes = figure.subplots()
        plots.taps_on_image(axes, IMAGES[0], dilation, [(4, 4)])
    figure.draw_without_rendering()  # settles the layout
    edges = axes.transData.transform([(0, 0), (dilation, 0)])[:, 0]
    apart = (edges[1] - edges[0]) * 72 / figure.dpi  # points between two taps
    (area,) = axes.collections[0].get_sizes()
    assert area**0.5 <= apart * 1.05
    assert area <= 22


def test_image_with_maps():
    maps = torch.arange(6 * 4.0).view(6, 2, 2)
    figure = plots.image_with_maps(IMAGES[0], maps, rows=2, columns=3)
    photo, *drawn = [axes for axes in figure.axes if axes.images]
    assert np.array_equal(photo.images[0].get_array(), IMAGES[0].permute(1, 2, 0))
    for channel, axes in enumerate(drawn):
        assert np.array_equal(axes.images[0].get_array(), maps[channel])
        assert axes.get_title(loc="center") == f"{channel}"
        assert axes.images[0].get_clim() == (0, np.quantile(maps, 0.995))
    with pytest.raises(ValueError, match="got 6 maps for 2 rows of 4"):
        plots.image_with_maps(IMAGES[0], maps, rows=2, columns=4)


def test_pixels_read_shows_and_counts_what_is_read():
    paths = torch.zeros(7, 7)
    paths[1::2, 1::2] = torch.tensor([1.0, 2, 1]) * torch.tensor([[1.0], [2], [1]])
    figure = plots.pixels_read({"2": paths, "full": torch.ones(3, 3)})
    first, second = figure.axes
    assert first.get_title(loc="left") == "2\n9 of 25 pixels"
    assert second.get_title(loc="left") == "full\n9 of 9 pixels"
    shown = first.images[0].get_array().filled(np.nan)
    wanted = np.where(paths > 0, paths, np.nan)[1:6, 1:6]
    np.testing.assert_array_equal(shown, wanted)
    assert first.images[0].get_extent() == [-2.5, 2.5, 2.5, -2.5]
    for wrong, message in (
        ({}, "panels is empty"),
        ({"a": torch.ones(4, 4)}, "n odd"),
        ({"a": torch.ones(3, 5)}, "n odd"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.pixels_read(wrong)


def test_taps_alive():
    counts = F.unfold(torch.ones(1, 1, 4, 6), 3, 2, 2).sum(dim=1).view(4, 6)
    shares = torch.full((3, 3), 0.25)
    figure = plots.taps_alive(shares, counts, "dilation 2")
    left, right, _ = figure.axes
    assert left.get_title(loc="left") == "dilation 2: 25% live"
    assert [text.get_text() for text in left.texts] == ["25%"] * 9
    assert np.array_equal(right.images[0].get_array(), counts)
    assert right.get_title(loc="left") == "4 × 6 map"


def test_live_shares():
    shares = torch.tensor([[0.5, 0.2, 0.1], [0.75, 0.5, 0.25]])
    dead = torch.tensor([[False, True, True], [False, False, True]])
    figure = plots.live_shares(shares, dead, [4, 5], [1, 2, 3], {(2, 5), (1, 4)})
    axes = figure.axes[0]
    percent, grey = axes.images
    assert np.allclose(percent.get_array(), 100 * shares)
    assert np.array_equal(grey.get_array().mask, ~dead.numpy())
    assert percent.get_extent() == [0.5, 3.5, 3.5, 5.5]
    assert percent.origin == grey.origin == "lower"
    assert axes.lines[0].get_xydata().tolist() == [[1, 4], [2, 5]]
    with pytest.raises(ValueError, match="got 1 sizes for 2 rows"):
        plots.live_shares(shares, dead, [4], [1, 2, 3])


def test_kernel_tables():
    kernels = torch.arange(2 * 3 * 9.0).view(2, 3, 3, 3)
    figure = plots.kernel_tables({"a": kernels, "one": torch.ones(1, 1, 1, 1)})
    first, second = figure.axes
    table = first.images[0].get_array()
    assert table.shape == (6, 9)
    for output, i in np.ndindex(2, 3):
        box = table[3 * output : 3 * output + 3, 3 * i : 3 * i + 3]
        assert np.array_equal(box, kernels[output, i])
    assert first.get_title(loc="left") == "a: 53 weights"  # one of 54 is zero
    assert second.get_title(loc="left") == "one: 1 weights"
    assert first.images[0].get_clim() == (-53, 53)
    assert list(first.get_xticks()) == [1, 4, 7]
    with pytest.raises(ValueError, match="layers is empty"):
        plots.kernel_tables({})
