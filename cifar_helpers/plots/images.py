"""TODO."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cifar_helpers.evaluation import Predictions
from cifar_helpers.plots.style import (
    BLUE,
    DIVERGING,
    GREEN,
    INK,
    SOFT,
    VERMILION,
    WIDTH,
    blank_canvas,
    new_figure,
    require_length,
    tile,
    to_array,
    to_labels,
    to_pictures,
)


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
    of all, so that maps can be compared.
    """
    pictures = to_pictures(images)
    if columns < 1 or not scale > 0:
        raise ValueError(f"columns and scale must be above 0, got {columns}, {scale}")
    if titles is not None:
        require_length(titles, len(pictures), "titles", "images")
    low, high = limits or (pictures.min(), pictures.max())
    used = min(columns, len(pictures))
    rows = -(-len(pictures) // used)
    inches = scale * WIDTH / columns
    lines = max((str(t).count("\n") + 1 for t in titles), default=0) if titles else 0
    head = (lines * 0.165 + 0.06) / inches if lines else 0.0
    height = rows * (1 + head)
    size = {"height": height * inches, "width": used * inches}
    with new_figure(**size, layout="none") as figure:
        axes = blank_canvas(figure, used, height)
        for index, picture in enumerate(pictures):
            row, column = divmod(index, used)
            top = row * (1 + head) + head
            tile(axes, picture, column, top, vmin=low, vmax=high)
            if titles:
                place = (column + 0.5, top)
                axes.text(*place, str(titles[index]), ha="center", va="bottom", size=8)
        axes.set(xlim=(0, used), ylim=(height, 0))
    return figure


def class_examples(
    images, labels, classes: Sequence[str], per_class: int = 8
) -> Figure:
    """The first `per_class` images of each class, one row per class."""
    pictures = to_pictures(images)
    labels = to_labels(labels, classes, len(pictures))
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    name_width = 1.3 * max(1.0, per_class / 8)  # in units of one image
    inches = WIDTH / (per_class + name_width)
    size = {"height": inches * len(classes), "width": WIDTH}
    with new_figure(**size, layout="none") as figure:
        width, height = per_class + name_width, len(classes)
        axes = blank_canvas(figure, width, height)
        for row, name in enumerate(classes):
            place = (name_width - 0.12, row + 0.5)
            axes.text(*place, name, ha="right", va="center", size=11)
            for column, index in enumerate(np.flatnonzero(labels == row)[:per_class]):
                tile(axes, pictures[index], name_width + column, row)
        axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def class_counts(labels, classes: Sequence[str]) -> Figure:
    """How many images each class has."""
    counts = np.bincount(to_labels(labels, classes), minlength=len(classes))
    with new_figure(2.8) as figure:
        axes = figure.subplots()
        bars = axes.bar(classes, counts, color=BLUE, width=0.7)
        axes.bar_label(bars, labels=[f"{n:,}" for n in counts], padding=2, size=9)
        axes.grid(False, axis="x")
        axes.tick_params(axis="x", length=0)
        axes.margins(x=0.01, y=0.12)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set(ylabel="images", xlabel="class")
    return figure


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
    with new_figure(2.9) as figure:
        panels = figure.subplots(1, 3, sharey=True)
        for channel, (name, colour) in enumerate(
            (("red", VERMILION), ("green", GREEN), ("blue", BLUE))
        ):
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


def overlay_map(image, map, title: str = "", label: str = "value") -> Figure:
    """An image beside the same image under a heat map; see `overlay_maps`."""
    image, map = to_array(image, "image", 3), to_array(map, "map", 2)
    pictures = [to_pictures(image[None])[0]]
    return draw_overlays(pictures, map[None], [title], label, across=True)


def overlay_maps(images, maps, titles: Sequence[str], label: str = "value") -> Figure:
    """Images in one row, below them the same in grey under their heat maps.

    `images` (N, 3, H, W), `maps` (N, h, w) of any size, spread over the image. All maps
    share one scale, named by `label`: red above zero, blue below.
    """
    pictures = to_pictures(to_array(images, "images", 4))
    maps = to_array(maps, "maps", 3)
    require_length(maps, len(pictures), "maps", "images")
    require_length(titles, len(pictures), "titles", "images")
    if len(pictures) > 8:
        raise ValueError(f"one figure shows at most 8 images, got {len(pictures)}")
    return draw_overlays(pictures, maps, titles, label, across=False)


def draw_overlays(pictures, maps, titles, label: str, across: bool) -> Figure:
    """Draw pairs of picture and overlay, side by side (`across`) or stacked."""
    if not np.isfinite(maps).all():
        raise ValueError("a map holds values that are not finite")
    top = max(float(np.abs(maps).max()), 1e-12)
    limits = {"vmin": -top, "vmax": top, "cmap": DIVERGING}
    count = len(pictures)
    inches = 2.6 if across else min(2.2, (WIDTH - 1) / count)
    rows, columns = (1, 2) if across else (2, count)
    size = {"height": rows * inches + 0.35, "width": columns * inches + 0.95}
    with new_figure(**size) as figure:
        panels = figure.subplots(rows, columns, squeeze=False)
        for index, (picture, values) in enumerate(zip(pictures, maps, strict=True)):
            plain, covered = panels[0] if across else panels[:, index]
            height, width = picture.shape[:2]
            extent = (0, width, height, 0)
            grey = picture @ np.array((0.299, 0.587, 0.114))
            plain.imshow(picture, extent=extent)
            plain.set_title(titles[index], size=9, loc="center", weight="normal")
            covered.imshow(grey, cmap="gray", extent=extent)
            drawn = covered.imshow(
                values, extent=extent, alpha=0.6, interpolation="bilinear", **limits
            )
        for axes in panels.flat:
            axes.set_axis_off()
        beside = panels if across else panels[1, :]
        figure.colorbar(drawn, ax=beside, label=label, shrink=0.9, pad=0.02)
    return figure
