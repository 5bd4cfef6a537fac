"""What a convolution reads and computes: grids of numbers, taps on an image.

These functions draw into axes of a `new_figure`, several side by side.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from cifar_helpers.plots.inputs import to_array, to_pictures
from cifar_helpers.plots.style import SEQUENTIAL, SKY, VERMILION, YELLOW


def number_grid(
    axes: Axes,
    values,
    template: str = "{:.2f}",
    limits: tuple[float, float] | None = None,
    cmap: str = SEQUENTIAL,
    size: float = 10,
) -> AxesImage:
    """A grid of numbers (H, W), each written into a cell of its colour.

    Colours run over `limits`, by default from the smallest to the largest value;
    `template` formats a number, `size` is its height in points. Returns what a colour
    bar needs.
    """
    array = to_array(values, "values", 2)
    low, high = limits or (array.min(), array.max())
    drawn = axes.imshow(array, vmin=low, vmax=high, cmap=cmap)
    light = drawn.to_rgba(array)[..., :3] @ (0.299, 0.587, 0.114)  # (H, W), 0 to 1
    for (row, column), value in np.ndenumerate(array):
        ink = "black" if light[row, column] > 0.5 else "white"
        text = template.format(value).replace("-", "−")
        axes.text(column, row, text, ha="center", va="center", color=ink, size=size)
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return drawn


def taps_on_image(
    axes: Axes,
    image,
    dilation: int,
    outputs: Sequence[tuple[int, int]],
    margin: int | None = None,
) -> None:
    """The nine taps of a dilated 3 × 3 kernel on an image (3, H, W), for some outputs.

    `outputs` are (row, column), one or two, told apart by colour. Squares are taps on
    pixels of the image, crosses are taps on the padding, which is grey; `margin` pixels
    of it are shown, by default as many as the convolution needs: `dilation`.
    """
    picture = to_pictures(to_array(image, "image", 3)[None])[0]
    if dilation < 1 or not 1 <= len(outputs) <= 2:
        raise ValueError(
            f"dilation must be at least 1 and outputs one or two, got {dilation} and "
            f"{outputs}"
        )
    height, width = picture.shape[:2]
    axes.imshow(picture, alpha=0.7)
    steps = dilation * np.array((-1, 0, 1))
    for (row, column), colour in zip(outputs, (YELLOW, SKY), strict=False):
        rows, columns = np.repeat(row + steps, 3), np.tile(column + steps, 3)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        look = {"marker": "s", "edgecolors": "black"}
        axes.scatter(columns[inside], rows[inside], 22, colour, **look)
        axes.scatter(columns[~inside], rows[~inside], 22, VERMILION, marker="x")
    beyond = 0.5 + (dilation if margin is None else margin)
    axes.set(xlim=(-beyond, width - 1 + beyond), ylim=(height - 1 + beyond, -beyond))
    axes.set(xticks=(0, width - 1), yticks=(0, height - 1), facecolor="#ececec")
    axes.grid(False)
