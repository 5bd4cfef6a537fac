"""Pictures of a data set: images side by side, and what is counted over their pixels.

Images are enlarged by whole numbers of the screen's pixels, without interpolation: each
of their pixels is an even square, and stored figures stay small.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import TextWrapper

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cifar_helpers.evaluation import Predictions
from cifar_helpers.plots.inputs import (
    require_length,
    to_array,
    to_labels,
    to_pictures,
)
from cifar_helpers.plots.style import (
    BLUE,
    DENSITY,
    DPI,
    GREEN,
    INK,
    SOFT,
    VERMILION,
    WIDTH,
    blank_canvas,
    new_figure,
)

INCH = DPI * DENSITY  # pixels of the screen: the unit of all lengths below
PAGE = round(WIDTH * INCH)


def image_grid(
    images,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    scale: float = 1.0,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A grid of images, `columns` across the page, with a title above each.

    `images` are (N, 3, H, W), uint8 or float between 0 and 1, or maps (N, H, W), drawn
    in `SEQUENTIAL` colours between `limits`, by default the smallest and largest value
    of all, so that maps can be compared. `scale` widens the room for the whole grid.
    """
    pictures = to_pictures(images)
    if columns < 1 or not scale > 0:
        raise ValueError(f"columns and scale must be above 0, got {columns}, {scale}")
    if titles is not None:
        require_length(titles, len(pictures), "titles", "images")
    low, high = limits or (pictures.min(), pictures.max())
    width = pictures.shape[2]
    used = min(columns, len(pictures))
    rows = -(-len(pictures) // used)
    factor, step = _fit(pictures, scale * PAGE / columns)
    titles, head = _fit_titles(titles, step)
    with _canvas(used * step, rows * (step + head)) as (figure, axes):
        for index, picture in enumerate(pictures):
            row, column = divmod(index, used)
            left, top = column * step, row * (step + head) + head
            _draw(axes, picture, left, top, factor, vmin=low, vmax=high)
            if titles:
                _write_title(axes, titles[index], left + factor * width / 2, top)
    return figure


def class_examples(
    images, labels, classes: Sequence[str], per_class: int = 8
) -> Figure:
    """The first `per_class` images of each class, one row per class."""
    pictures = to_pictures(images)
    labels = to_labels(labels, classes, len(pictures))
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    name_width = INCH
    factor, step = _fit(pictures, (PAGE - name_width) / per_class)
    size = (name_width + per_class * step, len(classes) * step)
    with _canvas(*size) as (figure, axes):
        for row, name in enumerate(classes):
            place = (name_width - 16, (row + 0.5) * step)
            axes.text(*place, name, ha="right", va="center")
            for column, index in enumerate(np.flatnonzero(labels == row)[:per_class]):
                left, top = name_width + column * step, row * step
                _draw(axes, pictures[index], left, top, factor)
    return figure


def mean_images(images, labels, classes: Sequence[str]) -> Figure:
    """The mean image of each class, with the class's name above."""
    array = to_array(images, "images", 4)
    labels = to_labels(labels, classes, len(array))
    present = [index for index in range(len(classes)) if (labels == index).any()]
    means = np.stack([array[labels == index].mean(axis=0) for index in present])
    if array.dtype == np.uint8:
        means = means / 255  # (classes, 3, H, W)
    return image_grid(means, [classes[index] for index in present], columns=5)


def mistakes(images, predictions: Predictions, indices, columns: int = 6) -> Figure:
    """The images at `indices`, titled with true class, predicted class, confidence."""
    count = len(predictions)
    require_length(images, count, "images", "predictions")
    chosen = to_array(indices, "indices", 1)
    if chosen.dtype.kind not in "ui" or chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(f"indices must be whole, from 0 to {count - 1}")
    names = predictions.classes
    labels, predicted = predictions.labels, predictions.predicted
    confidence = predictions.confidence
    titles = [
        f"{names[labels[i]]} → {names[predicted[i]]}\n{100 * confidence[i]:.0f} %"
        for i in chosen
    ]
    return image_grid(images[chosen], titles, columns=columns)


def pixel_histogram(images) -> Figure:
    """How the pixel values of each channel are spread, with mean and deviation.

    `images` are uint8 (N, 3, H, W). Mean and standard deviation, over all pixels of all
    images, are given in units of 0 … 1, as the normalization takes them.
    """
    array = to_array(images, "images", 4)
    if array.dtype != np.uint8 or array.shape[1] != 3:
        raise ValueError(
            f"images must be uint8 of shape (N, 3, H, W), got {array.dtype} "
            f"{array.shape}"
        )
    values = np.arange(256)
    channels = {"red": VERMILION, "green": GREEN, "blue": BLUE}
    with new_figure(2.9) as figure:
        panels = figure.subplots(1, 3, sharey=True)
        for channel, (name, colour) in enumerate(channels.items()):
            counts = np.bincount(array[:, channel].ravel(), minlength=256)
            share = counts / counts.sum()  # (256,)
            mean = float((share * values).sum())
            deviation = float((share * (values - mean) ** 2).sum() ** 0.5)
            axes = panels[channel]
            axes.bar(values, 100 * share, width=1.0, color=colour, alpha=0.55)
            axes.axvspan(mean - deviation, mean + deviation, color=SOFT, alpha=0.15)
            axes.axvline(mean, color=INK, linewidth=1.2)
            title = f"{name}: {mean / 255:.3f} ± {deviation / 255:.3f}"
            axes.set(title=title, xlabel="pixel value (0 … 255)", xlim=(-1, 256))
            axes.set_xticks((0, 64, 128, 192, 255))
        panels[0].set_ylabel("share of pixels (%)")
    return figure


@contextmanager
def _canvas(width: int, height: int) -> Iterator[tuple[Figure, Axes]]:
    """A figure of `width` × `height` pixels of the screen, and axes in that unit."""
    with new_figure(height / INCH, width / INCH, layout="none") as figure:
        yield figure, blank_canvas(figure, width, height)


def _fit(pictures: np.ndarray, room: float) -> tuple[float, int]:
    """By how much pictures are enlarged to fit into `room`, and their distance.

    The factor is whole unless the pictures are larger than their room; the gap between
    two pictures is 3 to 8 % of one.
    """
    size = max(pictures.shape[1:3])
    factor = room / (1.03 * size)
    factor = int(factor) if factor >= 1 else factor
    step = min(room, 1.08 * factor * size)
    return factor, int(step / DENSITY) * DENSITY  # whole pixels of the page


def _draw(
    axes: Axes, picture: np.ndarray, left: int, top: int, factor: float, **options
) -> AxesImage:
    """Draw a picture enlarged by `factor`, its corner at (left, top) of a canvas."""
    height, width = picture.shape[:2]
    edge = 0.01  # matplotlib rounds outwards: a float's error must not add a pixel
    right, bottom = left + factor * width, top + factor * height
    extent = (left + edge, right - edge, bottom - edge, top + edge)
    return axes.imshow(picture, extent=extent, aspect="auto", **options)


def _fit_titles(titles: Sequence[str] | None, room: int) -> tuple[list[str], int]:
    """Titles in lines that fit into `room` where words allow it, and their height."""
    if not titles:
        return [], 0
    letters = max(1, int(room / 13))  # of 9 points
    wrap = TextWrapper(letters, break_long_words=False, break_on_hyphens=False).fill
    titles = ["\n".join(map(wrap, str(title).split("\n"))) for title in titles]
    return titles, 12 + 32 * max(title.count("\n") + 1 for title in titles)


def _write_title(axes: Axes, title: str, middle: float, top: float) -> None:
    """Write a title above a picture that begins at `top`."""
    axes.text(middle, top - 4, str(title), ha="center", va="bottom", size=9)
