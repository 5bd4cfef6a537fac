"""Grids of numbers and taps say what a convolution reads."""

import numpy as np
import pytest
import torch
from drawn import IMAGES, texts
from matplotlib.colors import to_rgb
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
    with plots.new_figure(2) as figure:
        axes = figure.subplots()
        plots.number_grid(axes, [range(12)], "{:.0f}", cmap="gray", size=9)
    inks = [np.mean(to_rgb(text.get_color())) for text in axes.texts]
    paper = np.arange(12) / 11
    assert (np.abs(inks - paper) > 0.4).all()  # black on light, white on dark
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
    for wrong in ({"dilation": 0}, {"outputs": []}, {"outputs": [(0, 0)] * 3}):
        with pytest.raises(ValueError, match="dilation must be at least 1"):
            plots.taps_on_image(
                axes, IMAGES[0], **{"dilation": 1, "outputs": [(0, 0)], **wrong}
            )
