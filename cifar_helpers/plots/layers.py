"""What a layer computes, drawn step by step: patches, kernels, weights as matrices."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifar_helpers.plots.convolution import number_grid
from cifar_helpers.plots.inputs import require_length, to_array, to_pictures
from cifar_helpers.plots.style import (
    DIVERGING,
    INK,
    ORANGE,
    VERMILION,
    new_figure,
)


def patch_channels(image, top: int, left: int, size: int = 6) -> Figure:
    """An image (3, H, W) of bytes, and the numbers of one patch in its channels.

    The patch is `size` × `size` pixels from row `top` and column `left` on.
    """
    array = to_array(image, "image", 3)
    picture = to_pictures(array[None])[0]
    patch = _cut(array, top, left, size)  # (3, size, size)
    with new_figure(2.5) as figure:
        first, *panels = figure.subplots(1, 4)
        _draw_marked(first, picture, top, left, size)
        for axes, channel, name in zip(
            panels, patch, ("red", "green", "blue"), strict=True
        ):
            number_grid(axes, channel, "{:.0f}", (0, 255), "gray", size=9)
            axes.set_title(name)
    return figure


def product_of_patch(image, kernel, top: int, left: int) -> Figure:
    """One output of a convolution: a patch of `image` (H, W) times a kernel (k, k)."""
    image, kernel = to_array(image, "image", 2), to_array(kernel, "kernel", 2)
    patch = _cut(image, top, left, len(kernel))
    product = patch * kernel
    most = np.abs(kernel).max()
    panels = (
        (patch, "{:.2f}", 1, "pixels"),
        (kernel, "{:.0f}", 1.5 * most, "× kernel"),
        (product, "{:.2f}", 1, f"sum = {product.sum():.2f}".replace("-", "−")),
    )
    with new_figure(2.5) as figure:
        first, *others = figure.subplots(1, 4, width_ratios=(1.15, 1, 1, 1))
        _draw_marked(first, image, top, left, len(kernel))
        for axes, (values, template, limit, title) in zip(others, panels, strict=True):
            number_grid(axes, values, template, (-limit, limit), DIVERGING)
            axes.set_title(title)
    return figure


def kernel_responses(names: Sequence[str], kernels, responses) -> Figure:
    """Kernels (N, k, k) with their numbers, below each what it makes of an image.

    All kernels share one scale of colours. A response (N, H, W) of a kernel whose
    weights add up to zero is drawn around white, any other in grey from 0 to 1.
    """
    kernels, responses = (
        to_array(kernels, "kernels", 3),
        to_array(responses, "responses", 3),
    )
    require_length(names, len(kernels), "names", "kernels")
    require_length(responses, len(kernels), "responses", "kernels")
    most = np.abs(kernels).max()
    with new_figure(3.2) as figure:
        panels = figure.subplots(2, len(kernels), height_ratios=(1, 1.5), squeeze=False)
        for name, weights, response, (above, below) in zip(
            names, kernels, responses, panels.T, strict=True
        ):
            whole = np.allclose(weights, np.round(weights))
            template = "{:.0f}" if whole else "{:.2f}"
            number_grid(above, weights, template, (-most, most), DIVERGING, size=9)
            above.set_title(name, loc="center", size=10)
            signed = abs(weights.sum()) < 1e-6  # answers of both signs, around zero
            high = np.abs(response).max() if signed else 1
            look = {"cmap": DIVERGING if signed else "gray", "vmax": high}
            below.imshow(response, vmin=-high if signed else 0, **look)
            below.set_axis_off()
    return figure


def matrices(
    parts: Mapping[str, object], xlabels: Sequence[str], ylabels: Sequence[str]
) -> Figure:
    """Matrices side by side, as wide as they have columns, each on its own scale.

    Red is above zero, blue below; what is exactly zero is white.
    """
    arrays = {
        name: to_array(part, name, 2).astype(float) for name, part in parts.items()
    }
    require_length(xlabels, len(arrays), "labels of x axes", "matrices")
    require_length(ylabels, len(arrays), "labels of y axes", "matrices")
    widths = [array.shape[1] for array in arrays.values()]
    with new_figure(3.0) as figure:
        panels = figure.subplots(1, len(arrays), width_ratios=widths, squeeze=False)[0]
        for axes, name, xlabel, ylabel in zip(
            panels, arrays, xlabels, ylabels, strict=True
        ):
            array = arrays[name]
            most = np.abs(array).max()
            axes.set_facecolor("white")
            shown = np.ma.masked_equal(array, 0)
            look = {"cmap": DIVERGING, "vmin": -most, "vmax": most, "aspect": "auto"}
            axes.imshow(shown, **look)
            axes.set_title(name, size=10)
            axes.set(xlabel=xlabel, ylabel=ylabel)
            axes.grid(False)
    return figure


def kernel_places(
    size: int = 7, kernel_size: int = 3, stride: int = 2, padding: int = 1
) -> Figure:
    """Where a kernel stands on an image of `size` × `size`, and where its centres fall.

    Raises ValueError where the kernel does not fit onto the padded image.
    """
    padded = size + 2 * padding
    starts = range(0, padded - kernel_size + 1, stride)
    if min(size, kernel_size, stride) < 1 or padding < 0 or not starts:
        raise ValueError(
            f"no place for a kernel of {kernel_size} with stride {stride} on {size} "
            f"pixels with padding {padding}"
        )
    with new_figure(3.4, width=4.4) as figure:
        axes = figure.subplots()
        cells = np.full((padded, padded), 0.25)
        cells[padding : padding + size, padding : padding + size] = 0.6
        axes.pcolormesh(cells, cmap="Blues", vmin=0, vmax=1, edgecolors="white")
        for start, colour in zip(starts, (VERMILION, ORANGE), strict=False):
            look = {"fill": False, "edgecolor": colour, "linewidth": 3}
            box = Rectangle((start, 0), kernel_size, kernel_size, clip_on=False, **look)
            axes.add_patch(box)
        centres = [start + kernel_size / 2 for start in starts]
        for row in centres:
            axes.plot(centres, [row] * len(centres), "o", color=INK)
        axes.set(
            aspect="equal", ylim=(padded, 0), xlim=(0, padded), xticks=[], yticks=[]
        )
        there = f"{size} × {size} → {len(centres)} × {len(centres)}"
        axes.set_title(f"stride {stride}, padding {padding}: {there}", size=10)
        axes.spines[:].set_visible(False)
    return figure


def _cut(array: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """The patch (..., size, size) at (top, left), wholly inside."""
    height, width = array.shape[-2:]
    if not (0 <= top <= height - size and 0 <= left <= width - size):
        raise ValueError(
            f"a patch of {size} × {size} at ({top}, {left}) reaches out of an image of "
            f"{height} × {width}"
        )
    return array[..., top : top + size, left : left + size]


def _draw_marked(
    axes: Axes, picture: np.ndarray, top: int, left: int, size: int
) -> None:
    """Draw an image with a square around one patch."""
    look = {} if picture.ndim == 3 else {"cmap": "gray", "vmin": 0, "vmax": 1}
    axes.imshow(picture, **look)
    square = {"fill": False, "edgecolor": VERMILION, "linewidth": 2.5}
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), size, size, **square))
    axes.set(title="image", xlabel="column (pixels)", ylabel="row (pixels)")
    axes.grid(False)
