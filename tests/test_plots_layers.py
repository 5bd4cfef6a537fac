"""Drawings of layers hold the numbers of the layers, computed again by torch."""

import numpy as np
import pytest
import torch
from drawn import IMAGES, pictures, texts
from torch.nn import functional as F

from cifar_helpers import plots

KERNEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
GREY = IMAGES[0].float().mean(0) / 255  # (8, 8)


def test_patch_channels_writes_the_numbers_of_the_patch():
    figure = plots.patch_channels(IMAGES[0], top=2, left=3, size=4)
    picture, *panels = figure.axes
    assert (pictures(picture)[0] == IMAGES[0].permute(1, 2, 0).numpy()).all()
    (square,) = picture.patches
    assert square.get_xy() == (2.5, 1.5)
    assert (square.get_width(), square.get_height()) == (4, 4)
    for channel, axes in enumerate(panels):
        patch = IMAGES[0, channel, 2:6, 3:7]
        assert (pictures(axes)[0] == patch.numpy()).all()
        written = [text.get_text() for text in axes.texts]
        assert written == [str(value) for value in patch.flatten().tolist()]


def test_product_of_patch_adds_up_to_the_convolution():
    figure = plots.product_of_patch(GREY, KERNEL, top=1, left=4)
    expected = F.conv2d(GREY[None, None], KERNEL[None, None])[0, 0, 1, 4].item()
    product = pictures(figure.axes[3])[0]
    assert product.sum() == pytest.approx(expected, abs=1e-5)
    assert f"sum = {expected:.2f}".replace("-", "−") in texts(figure)


@pytest.mark.parametrize(("top", "left"), [(6, 0), (0, 6), (-1, 0)])
def test_a_patch_that_reaches_out_is_refused(top, left):
    with pytest.raises(ValueError, match="reaches out of an image of 8 × 8"):
        plots.product_of_patch(GREY, KERNEL, top, left)
    with pytest.raises(ValueError, match="reaches out of an image of 8 × 8"):
        plots.patch_channels(IMAGES[0], top, left, size=3)


def test_kernel_responses_share_one_scale():
    kernels = torch.stack([KERNEL, torch.full((3, 3), 1 / 9)])
    responses = F.conv2d(GREY[None, None], kernels[:, None])[0]
    figure = plots.kernel_responses(["edges", "blur"], kernels, responses)
    above, below = figure.axes[:2], figure.axes[2:]
    for index in range(2):
        np.testing.assert_allclose(pictures(above[index])[0], kernels[index])
        np.testing.assert_allclose(pictures(below[index])[0], responses[index])
    assert {axes.images[0].get_clim() for axes in above} == {(-2, 2)}
    low, high = below[0].images[0].get_clim()
    assert low == -high == pytest.approx(-float(responses[0].abs().max()))
    assert below[1].images[0].get_clim() == (0, 1)  # a blur keeps brightness
    assert {"edges", "blur", "0.11", "−2"} <= set(texts(figure))
    with pytest.raises(ValueError, match="got 1 names for 2 kernels"):
        plots.kernel_responses(["edges"], kernels, responses)


def test_matrices_leave_out_what_is_zero():
    parts = {"full": np.full((4, 6), -2.0), "sparse": np.eye(4, 3)}
    figure = plots.matrices(parts, ["in", "in"], ["out", ""])
    for axes, (name, part) in zip(figure.axes, parts.items(), strict=True):
        drawn = axes.images[0].get_array()
        assert (drawn.mask == (part == 0)).all()
        assert (drawn.filled(0) == part).all()
        assert axes.images[0].get_clim() == (-abs(part).max(), abs(part).max())
        assert name in texts(figure)
    with pytest.raises(ValueError, match="got 1 labels of x axes for 2 matrices"):
        plots.matrices(parts, ["in"], ["out", ""])


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding"),
    [(7, 3, 2, 1), (5, 5, 1, 0), (8, 2, 4, 2)],
)
def test_kernel_places_are_those_of_the_library(size, kernel_size, stride, padding):
    figure = plots.kernel_places(size, kernel_size, stride, padding)
    (axes,) = figure.axes
    ones = torch.ones(1, 1, size, size)
    kernel = torch.ones(1, 1, kernel_size, kernel_size)
    side = F.conv2d(ones, kernel, stride=stride, padding=padding).shape[-1]
    assert len(axes.lines) == side  # one row of dots each
    assert all(len(line.get_xdata()) == side for line in axes.lines)
    assert f"{size} × {size} → {side} × {side}" in " ".join(texts(figure))
    boxes = [patch for patch in axes.patches if not patch.get_clip_on()]
    assert len(boxes) == min(side, 2)
    assert all(box.get_width() == kernel_size for box in boxes)


def test_a_kernel_without_a_place_is_refused():
    with pytest.raises(ValueError, match="no place for a kernel of 5"):
        plots.kernel_places(size=3, kernel_size=5, padding=0)


def test_kernel_stands_where_a_convolution_reads():
    (axes,) = plots.kernel_places(size=7, kernel_size=3, stride=2, padding=1).axes
    for row, line in zip((1.5, 3.5, 5.5, 7.5), axes.lines, strict=True):
        assert line.get_xdata().tolist() == [1.5, 3.5, 5.5, 7.5]
        assert set(line.get_ydata()) == {row}
    assert [box.get_xy() for box in axes.patches] == [(0, 0), (2, 0)]
    inside = np.asarray(axes.collections[0].get_array()).reshape(9, 9) > 0.5
    assert (inside == np.pad(np.ones((7, 7), bool), 1)).all()
