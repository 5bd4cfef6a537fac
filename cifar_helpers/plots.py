"""Arrays in, a matplotlib figure out.

Every function returns its `Figure` closed, so that a notebook shows it once: leave
the call as the last line of a cell, without a semicolon, or pass it to `display`.
Arrays may be NumPy arrays or torch tensors; bad input raises `ValueError`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator

from cifar_helpers.evaluation import Calibration, Predictions, wilson_interval

WIDTH = 9.0  # inches: the width of a notebook's page
INK = "#262626"
SOFT = "#8a8a8a"  # for what stands behind
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, YELLOW = "#56B4E9", "#D55E00", "#F0E442"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)  # Okabe & Ito 2008
SEQUENTIAL = "cividis"  # from little to much
DIVERGING = "RdBu_r"  # from negative over zero to positive
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",
}


def apply_style() -> None:
    """Use the look of this series for everything that matplotlib draws from now on."""
    plt.rcParams.update(STYLE)


@contextmanager
def new_figure(height: float, width: float = WIDTH, **options) -> Iterator[Figure]:
    """A figure of `width` × `height` inches in the look of this series.

    Draw inside the `with`; behind it the figure is closed, so that a notebook shows
    it only where it is the value of a cell. `options` go to `plt.figure`.
    """
    options.setdefault("layout", "constrained")
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height), **options)
        try:
            yield figure
        finally:
            plt.close(figure)


# Input


def to_array(values, name: str, dimensions: int | tuple[int, ...]) -> np.ndarray:
    """`values` as a NumPy array with as many dimensions as asked for, not empty."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    array = np.asarray(values)
    allowed = (dimensions,) if isinstance(dimensions, int) else dimensions
    if array.ndim not in allowed or array.size == 0:
        wanted = " or ".join(str(number) for number in allowed)
        raise ValueError(
            f"{name} must be a filled array with {wanted} dimensions, got shape "
            f"{array.shape}"
        )
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} must hold numbers, got {array.dtype}")
    return array


def to_pictures(images, name: str = "images") -> np.ndarray:
    """Images (N, 3, H, W) or (N, H, W) as `imshow` wants them, colour last."""
    array = to_array(images, name, (3, 4))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold values that are not finite")
    if array.ndim == 3:
        return array  # (N, H, W)
    if array.shape[1] != 3:
        raise ValueError(f"{name} must have shape (N, 3, H, W), got {array.shape}")
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise ValueError(
                f"colour {name} must be uint8 or lie between 0 and 1, got "
                f"{low:.3g} to {high:.3g}: undo the normalization first"
            )
        array = array.astype(np.float64).clip(0, 1)
    return array.transpose(0, 2, 3, 1)  # (N, H, W, 3)


def to_labels(labels, classes: Sequence[str], count: int | None = None) -> np.ndarray:
    """Labels as an integer array (N,), checked against classes and images."""
    array = to_array(labels, "labels", 1)
    if array.dtype.kind not in "ui":
        raise ValueError(f"labels must be whole numbers, got {array.dtype}")
    if array.min() < 0 or array.max() >= len(classes):
        raise ValueError(
            f"labels must lie between 0 and {len(classes) - 1}, got {array.min()} "
            f"to {array.max()}"
        )
    if count is not None and len(array) != count:
        raise ValueError(f"got {len(array)} labels for {count} images")
    return array


def require_length(values, count: int, name: str, of: str) -> None:
    """`ValueError` unless there are `count` values, one per `of`."""
    if len(values) != count:
        raise ValueError(f"got {len(values)} {name} for {count} {of}: pass one each")


# Images


def tile(axes: Axes, picture: np.ndarray, column: float, top: float, **options):
    """Draw one picture into the unit square at (column, top), y growing downwards."""
    gap = 0.03
    extent = (column + gap, column + 1 - gap, top + 1 - gap, top + gap)
    options.setdefault("interpolation", "nearest")
    return axes.imshow(picture, extent=extent, aspect="auto", **options)


def blank_canvas(figure: Figure, width: float, height: float) -> Axes:
    """Axes without frame over the whole figure, `width` × `height` units, y down."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes


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


# Judgement


def confusion_matrix(
    matrix, classes: Sequence[str], normalized: bool = False
) -> Figure:
    """A heat map of true class (row) against predicted class (column).

    Mistakes (orange) and right answers (blue) have a colour scale of their own, so that
    a few mistakes stand out beside many right answers. `normalized=True`: the values
    are fractions of the true class and are written in percent.
    """
    import seaborn as sns  # slow to import, and only needed here

    values = to_array(matrix, "matrix", 2).astype(float)
    if values.shape != (len(classes), len(classes)) or not (values >= 0).all():
        raise ValueError(
            f"matrix must be {len(classes)} × {len(classes)}, one row per class, "
            f"without negative values, got shape {values.shape}"
        )
    if normalized and values.max() > 1:
        raise ValueError("normalized=True takes fractions, got values above 1")
    if not normalized and (values != values.round()).any():
        raise ValueError("counts must be whole: pass normalized=True for fractions")
    shown = 100 * values if normalized else values
    right = np.eye(len(classes), dtype=bool)
    highest = (shown[~right].max(initial=1.0), shown[right].max(initial=1.0))
    layers = zip(("Oranges", "Blues"), (right, ~right), highest, strict=True)
    options = {"annot": True, "fmt": ".1f" if normalized else ".0f", "cbar": False}
    options |= {"square": True, "linewidths": 1, "annot_kws": {"size": 9}}
    options |= {"xticklabels": list(classes), "yticklabels": list(classes)}
    unit = "% of the true class" if normalized else "images"
    with new_figure(7.2, 7.6) as figure:
        axes = figure.subplots()
        for colours, hidden, top in layers:
            scale = {"cmap": colours, "vmin": 0, "vmax": 1.15 * top}
            sns.heatmap(shown, mask=hidden, ax=axes, **scale, **options)
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=40)
        axes.tick_params(axis="y", rotation=0)
        plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
        axes.set(xlabel=f"predicted class ({unit})", ylabel="true class")
    return figure


def reliability_diagram(calibration: Calibration) -> Figure:
    """Accuracy against confidence in bins, above the number of images in each bin.

    On the diagonal the network is as often right as it says; below, it is too sure.
    """
    if not isinstance(calibration, Calibration):
        kind = type(calibration).__name__
        raise ValueError(f"pass the result of evaluation.calibration, got {kind}")
    edges = 100 * calibration.bin_edges
    middles, width = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    filled = calibration.count > 0
    accuracy = 100 * calibration.accuracy[filled]
    confidence = 100 * calibration.confidence[filled]
    error = calibration.expected_calibration_error_percent
    with new_figure(5.6, 5.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        place, wide = middles[filled], 0.92 * width[filled]
        upper.bar(place, accuracy, wide, color=SKY, label="accuracy")
        upper.bar(
            place, confidence - accuracy, wide, bottom=accuracy, facecolor="none",
            edgecolor=VERMILION, hatch="////", linewidth=1, label="gap to confidence",
        )  # fmt: skip
        upper.plot((0, 100), (0, 100), "--", color=INK, lw=1.2, label="calibrated")
        upper.set(ylabel="accuracy in the bin (%)", xlim=(0, 100), ylim=(0, 100))
        upper.set_title(f"expected calibration error {error:.2f} %")
        upper.legend(loc="upper left")
        lower.bar(middles, calibration.count, 0.92 * width, color=SOFT)
        lower.yaxis.set_major_formatter("{x:,.0f}")
        lower.set(ylabel="images", xlabel="confidence (%)")
    return figure


def per_class_bars(
    report: Mapping[str, Mapping[str, float]], metric: str = "recall_percent"
) -> Figure:
    """One measure of each class as sorted horizontal bars, the best on top.

    `report` comes from `evaluation.per_class_report`. Recall, a share of the class's
    own images, carries its 95 % Wilson interval.
    """
    known = {"precision_percent": "precision (%)", "recall_percent": "recall (%)"}
    known["f1_percent"] = "F1 (%)"
    if metric not in known:
        raise ValueError(f"metric must be one of {list(known)}, got {metric!r}")
    rows = {name: row[metric] for name, row in report.items() if metric in row}
    finite = {name: value for name, value in rows.items() if np.isfinite(value)}
    if not finite:
        raise ValueError(f"the report holds no {metric}: pass a per_class_report")
    names = sorted(finite, key=finite.get)
    values = np.array([finite[name] for name in names])
    with new_figure(0.32 * len(names) + 0.8, 7.5) as figure:
        axes = figure.subplots()
        axes.barh(names, values, color=BLUE, height=0.68)
        ends = values
        if metric == "recall_percent":
            support = [report[name]["support"] for name in names]
            pairs = zip(values, support, strict=True)
            limits = [wilson_interval(round(v * n / 100), n) for v, n in pairs]
            low, high = np.array(limits).T
            axes.hlines(names, low, high, color=INK, linewidth=1.3)
            ends = high
        for row, (value, end) in enumerate(zip(values, ends, strict=True)):
            axes.text(end + 1, row, f"{value:.1f}", va="center", size=9)
        axes.set(xlim=(0, 106), xlabel=known[metric])
        axes.set_xticks(range(0, 101, 20))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    return figure


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


# Training


def history_columns(
    history: Sequence[Mapping[str, float]], x: str
) -> dict[str, np.ndarray]:
    """The rows of a history as one float array per key, NaN where a row has none.

    The `seconds` of the epochs are summed up: time since the start of the run.
    """
    if x not in ("epoch", "seconds"):
        raise ValueError(f'x must be "epoch" or "seconds", got {x!r}')
    rows = list(history)
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError("history must be a filled list with one dict per epoch")
    if any(row.get(x) in (None, "") for row in rows):
        raise ValueError(f"a row of the history has no {x!r}")
    parts, quantities = ("train", "validation"), ("loss", "accuracy_percent")
    keys = [x, *(f"{part}_{quantity}" for part in parts for quantity in quantities)]
    filled = [{k: v for k, v in row.items() if v not in (None, "")} for row in rows]
    columns = {
        key: np.array([float(row.get(key, "nan")) for row in filled]) for key in keys
    }
    if x == "seconds":  # each row has those of its own epoch
        columns[x] = columns[x].cumsum()
    return columns


def training_curves(
    history: Sequence[Mapping[str, float]],
    reference: Sequence[Mapping[str, float]] | None = None,
    x: str = "epoch",
    label: str = "this run",
    reference_label: str = "stored run",
) -> Figure:
    """Loss and accuracy of a training run, epoch by epoch.

    `history` holds one dict per epoch with `epoch`, `seconds` (of that epoch; the axis
    sums them up) and any of `train_loss`, `validation_loss`, `train_accuracy_percent`
    and `validation_accuracy_percent`. `reference` is another history, drawn paler and
    dashed behind it.
    """
    runs = [(history_columns(history, x), label, {"linestyle": "-", "zorder": 3})]
    if reference is not None:
        paler = {"linestyle": (0, (4, 2)), "alpha": 0.45}
        runs.append((history_columns(reference, x), reference_label, paler))
    panels = (("loss", "cross-entropy (nats)"), ("accuracy_percent", "accuracy (%)"))
    with new_figure(3.6) as figure:
        for axes, (quantity, unit) in zip(figure.subplots(1, 2), panels, strict=True):
            for columns, name, look in runs:
                suffix = f", {name}" if len(runs) > 1 else ""
                draw_run(axes, columns, x, quantity, suffix, look)
            axes.set(ylabel=unit, xlabel="epoch" if x == "epoch" else "time (s)")
            axes.set_title(quantity.replace("_percent", ""))
            if x == "epoch":
                ticks = MaxNLocator(8, integer=True, steps=(1, 2, 5, 10))
                axes.xaxis.set_major_locator(ticks)
            if axes.lines:
                axes.legend()
    return figure


def draw_run(
    axes: Axes, columns: dict, x: str, quantity: str, suffix: str, look: dict
) -> None:
    """Draw the training and validation curve of one run, where it has values."""
    parts = (("train", "training", ORANGE), ("validation", "validation", BLUE))
    for part, name, colour in parts:
        y = columns[f"{part}_{quantity}"]
        known = ~np.isnan(y)  # a run may be judged only every few epochs
        if known.any():
            marker = "o" if known.sum() < 3 else None
            options = {"color": colour, "marker": marker, **look}
            axes.plot(columns[x][known], y[known], label=name + suffix, **options)


class LiveCurves:
    """Redraws the training curves in place after each epoch: `on_epoch=LiveCurves()`.

    Shows one picture, below the cell that made it, in JupyterLab, Colab and any other
    Jupyter kernel; does nothing in a terminal. `every` says after how many epochs it
    redraws; the other arguments are those of `training_curves`.
    """

    def __init__(self, reference=None, x: str = "epoch", every: int = 1, **labels):
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.options = {"reference": reference, "x": x, **labels}
        self.every = every
        self.display = None  # handle of the picture, once it is shown

    def __call__(self, history: Sequence[Mapping[str, float]]) -> None:
        """Redraw, given all rows so far, the last that of the epoch just ended."""
        if not in_kernel() or (len(history) - 1) % self.every:
            return
        from IPython.display import display

        figure = training_curves(history, **self.options)
        if self.display is None:
            self.display = display(figure, display_id=True)
        else:
            self.display.update(figure)


def in_kernel() -> bool:
    """Whether this code runs in a Jupyter kernel, which can redraw a picture."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None


# Comparison


def bars_with_error(
    names: Sequence[str], values, errors, xlabel: str, axis_start: float | None = None
) -> Figure:
    """Values with error bars, one row per name, the first on top.

    `errors` is one number per value, or None. Bars start at zero; `axis_start` cuts the
    axis there instead and draws dots, for the length of a cut bar means nothing.
    """
    values = to_array(values, "values", 1).astype(float)
    require_length(names, len(values), "names", "values")
    spread = np.zeros_like(values) if errors is None else to_array(errors, "errors", 1)
    require_length(spread, len(values), "errors", "values")
    if not np.isfinite(values).all() or not (spread >= 0).all():
        raise ValueError("values must be finite and errors not negative")
    places = np.arange(len(values))
    with new_figure(0.36 * len(values) + 0.8) as figure:
        axes = figure.subplots()
        if axis_start is None:
            colours = [BLUE if value >= 0 else VERMILION for value in values]
            axes.barh(places, values, color=colours, height=0.66)
            axes.axvline(0, color=INK, linewidth=1)
        else:
            axes.plot(values, places, "o", color=BLUE, markersize=8)
        if errors is not None:
            options = {"fmt": "none", "ecolor": INK, "elinewidth": 1.4, "capsize": 3}
            axes.errorbar(values, places, xerr=spread, **options)
        for place, value, error in zip(places, values, spread, strict=True):
            text = f"{value:.2f}" + (f" ± {error:.2f}" if errors is not None else "")
            write_beside(axes, value, error, place, text)
        axes.set_yticks(places, names)
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.2)
        axes.set_xlim(left=axis_start)
        axes.set_xlabel(xlabel)
    return figure


def write_beside(
    axes: Axes, value: float, error: float, place: float, text: str
) -> None:
    """Write `text` beyond the end of a bar and of its error bar."""
    sign = -1 if value < 0 else 1
    options = {"ha": "left" if sign > 0 else "right", "va": "center", "size": 9}
    options |= {"textcoords": "offset points", "xytext": (8 * sign, 0)}
    axes.annotate(text.replace("-", "−"), (value + sign * error, place), **options)


# The network


def block_diagram(stages: Sequence[Mapping[str, object]]) -> Figure:
    """Draw a network from left to right, one block per stage.

    Each stage is a dict with `name`, `output` (channels, height, width) or (channels,),
    `parameters` and, if wanted, `multiply_adds` per image and `shortcut_from`, the name
    of an earlier stage that it reads too. A block's height grows with the root of its
    resolution, its width with the root of its channels. The strips below share out
    parameters and multiply-adds in the colours of the blocks.
    """
    rows = [check_stage(stage) for stage in stages]
    if len({row["name"] for row in rows}) < len(rows):
        raise ValueError("two stages have the same name: give each its own")
    if not 1 <= len(rows) <= 10:
        raise ValueError(f"a drawing holds 1 to 10 stages, got {len(rows)}: merge some")
    costs = {"parameters": "parameters"}
    if all("multiply_adds" in row for row in rows):
        costs["multiply_adds"] = "multiply-adds"
    coloured = iter(PALETTE + PALETTE)
    colours = [next(coloured) if row["parameters"] else "#b3b3b3" for row in rows]
    width, margin = WIDTH + 1, 1.0  # inches, as all coordinates of this drawing
    height = 2.95 + 0.4 * len(costs)
    head = 0.2 if any("shortcut_from" in row for row in rows) else 0.0
    slot = min((width - margin) / len(rows), 1.8)
    with new_figure(height + head, width, layout="none") as figure:
        axes = blank_canvas(figure, width, height)
        axes.set_ylim(height, -head)
        spots = {}
        for index, (row, colour) in enumerate(zip(rows, colours, strict=True)):
            middle = margin + (index + 0.5) * slot
            spots[row["name"]] = draw_block(axes, row, rows, colour, middle, slot)
            describe_stage(axes, row, middle, slot)
        draw_arrows(axes, rows, spots)
        for y, caption in ((2.56, "output"), (2.76, "parameters")):
            axes.text(0.05, y, caption, size=8.5, color=SOFT)
        for number, (key, name) in enumerate(costs.items()):
            amounts = [row[key] for row in rows]
            ends = (margin, margin + slot * len(rows))
            draw_share(axes, amounts, name, colours, ends, 3.1 + 0.4 * number)
    return figure


def draw_arrows(axes: Axes, rows: list[dict], spots: dict[str, tuple]) -> None:
    """Join each block with the next, and the ends of each shortcut above them."""
    look = {"arrowstyle": "-|>", "color": INK, "lw": 1.2}
    for one, other in pairwise(rows):
        _, right, _ = spots[one["name"]]
        left, _, _ = spots[other["name"]]
        axes.annotate("", (left, 1.1), (right, 1.1), arrowprops=look)
    for place, row in enumerate(rows):
        source = row.get("shortcut_from")
        if source is None:
            continue
        if source not in [earlier["name"] for earlier in rows[:place]]:
            raise ValueError(
                f"shortcut_from {source!r}: no earlier stage has that name"
            )
        (*start, start_y), (*end, end_y) = spots[source], spots[row["name"]]
        x, end_x, y = sum(start) / 2, sum(end) / 2, 0.05
        axes.plot((x, x, end_x), (start_y, y, y), color=INK, lw=1.2)
        shown = {**look, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (end_x, end_y), (end_x, y), arrowprops=shown)


def check_stage(stage: Mapping[str, object]) -> dict[str, object]:
    """A stage with its size as (channels, height, width), or `ValueError`."""
    needed = {"name", "output", "parameters"}
    if not isinstance(stage, Mapping) or not needed <= set(stage):
        raise ValueError(f"a stage needs name, output and parameters, got {stage!r}")
    output = tuple(int(size) for size in stage["output"])
    if len(output) not in (1, 3) or min(output) < 1:
        raise ValueError(
            f"output of {stage['name']!r} must be (channels, height, width) or "
            f"(channels,), got {output}"
        )
    if stage["parameters"] < 0 or stage.get("multiply_adds", 0) < 0:
        raise ValueError(f"{stage['name']!r} has a negative cost: {stage!r}")
    return {**stage, "size": output if len(output) == 3 else (*output, 1, 1)}


def draw_block(
    axes: Axes, row: dict, rows: list[dict], colour: str, middle: float, slot: float
) -> tuple[float, float, float]:
    """Draw one stage as a cuboid around `middle`; returns its left, right and top."""
    channels, height, width = row["size"]
    most_channels = max(other["size"][0] for other in rows)
    most_pixels = max(max(other["size"][1:]) for other in rows)
    unit = min(1.35, 1.15 * slot)
    tall = unit * (height / most_pixels) ** 0.5
    deep = 0.3 * unit * (width / most_pixels) ** 0.5
    wide = max(0.08, 0.42 * min(slot, 1.3) * (channels / most_channels) ** 0.5)
    left, right = middle - (wide + deep) / 2, middle + (wide + deep) / 2
    top, bottom = 1.1 - (tall - deep) / 2, 1.1 + (tall + deep) / 2
    front, back, base = right - deep, top - deep, bottom - deep
    faces = (
        (0.0, (left, top), (front, top), (front, bottom), (left, bottom)),
        (0.45, (left, top), (front, top), (right, back), (left + deep, back)),
        (-0.25, (front, top), (right, back), (right, base), (front, bottom)),
    )
    for light, *corners in faces:
        plain, target = np.array(to_rgb(colour)), float(light > 0)
        shade = plain + abs(light) * (target - plain)  # towards white or black
        axes.add_patch(Polygon(corners, facecolor=shade, edgecolor="white", lw=0.8))
    return left, right, top - deep / 2


def describe_stage(axes: Axes, row: dict, middle: float, slot: float) -> None:
    """Write name, output size and parameters below a stage."""
    size = min(9.0, 2.8 + 5.4 * slot)
    letters = max(9, int(slot / (size * 0.0098)))
    words = str(row["name"]).replace("_", " ")
    name = "\n".join(wrap(words, letters, break_long_words=False))
    output = " × ".join(str(int(number)) for number in row["output"])
    parameters = f"{int(row['parameters']):,}" if row["parameters"] else "–"
    text = {"ha": "center", "size": size}
    axes.text(middle, 2.36, name, va="bottom", weight="bold", **text)
    axes.text(middle, 2.56, output, **text)
    axes.text(middle, 2.76, parameters, **text)


def draw_share(
    axes: Axes,
    amounts: list[float],
    name: str,
    colours: list[str],
    ends: tuple[float, float],
    y: float,
) -> None:
    """A strip between `ends` that shares out one cost among the stages."""
    total = sum(amounts)
    shown = f"{total / 1e6:.1f} M" if total >= 1e6 else f"{total:,.0f}"
    axes.text(0.05, y, shown, size=8.5, va="bottom", weight="bold")
    axes.text(0.05, y, name, size=8.5, va="top", color=SOFT)
    left = ends[0]
    for amount, colour in zip(amounts, colours, strict=True):
        length = (ends[1] - ends[0]) * amount / max(total, 1)
        options = {"left": left, "color": colour, "edgecolor": "white", "lw": 0.8}
        axes.barh(y, length, 0.22, **options)
        if length > 0.42:
            light = np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) > 0.5
            place = (left + length / 2, y + 0.005)
            text = {"size": 8, "color": INK if light else "white"}
            share = f"{100 * amount / total:.0f} %"
            axes.text(*place, share, ha="center", va="center", **text)
        left += length


# Interaction


def slider(draw: Callable[..., Figure], **options):
    """Sliders that redraw the figure `draw(...)`, where somebody is there to move them.

    `options` name arguments of `draw`: `(least, most)` or `(least, most, step)` makes a
    slider, a list makes a menu; they start at the argument's default. Leave the call as
    the last line of a cell. Where nobody watches (no Jupyter kernel, or a notebook that
    a script runs) it returns None, so that a static page holds no dead widget.
    """
    if not is_interactive():
        return None
    import ipywidgets  # slow to import, and only needed here
    from IPython.display import display

    @wraps(draw)
    def show(**values):
        display(draw(**values))

    return ipywidgets.interactive(show, **options)


def is_interactive() -> bool:
    """Whether a person runs this Jupyter kernel, and not a script.

    JupyterLab, Colab and others let a cell ask its reader for input, and say so in each
    request (`allow_stdin`); nbclient and nbconvert do not.
    """
    if not in_kernel():
        return False
    request = sys.modules["IPython"].get_ipython().kernel.get_parent()
    return bool(request.get("content", {}).get("allow_stdin"))
