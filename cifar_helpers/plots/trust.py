"""When to believe an answer: calibration, corruptions, evidence maps, features."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional as F

from cifar_helpers.calibration import Calibration
from cifar_helpers.intervals import wilson_limits
from cifar_helpers.plots.images import PAGE, _canvas, _draw, _fit, _write_title
from cifar_helpers.plots.inputs import (
    colours_for,
    require_length,
    to_array,
    to_labels,
    to_pictures,
)
from cifar_helpers.plots.style import (
    BLUE,
    DIVERGING,
    GREEN,
    INK,
    ORANGE,
    PALETTE,
    SKY,
    SOFT,
    VERMILION,
    WIDTH,
    new_figure,
)

HEAD = 40  # pixels of the screen for one line of text above a picture


def reliability_diagram(
    calibration: Calibration | Mapping[str, Calibration],
) -> Figure:
    """Accuracy against confidence in bins, above the number of images in each bin.

    On the diagonal the network is as often right as it says; below, it is too sure. A
    vertical line is the 95 % Wilson interval of a bin's accuracy. Several calibrations
    under their names are drawn side by side.
    """
    several = calibration if isinstance(calibration, Mapping) else {"": calibration}
    if not several or len(several) > 4:
        raise ValueError(f"one figure shows 1 to 4 calibrations, got {len(several)}")
    for one in several.values():
        if not isinstance(one, Calibration):
            kind = type(one).__name__
            raise ValueError(f"pass results of calibration.calibration, got {kind}")
    columns = len(several)
    width = 5.6 if columns == 1 else WIDTH
    with new_figure(5.4 if columns < 3 else 4.4, width) as figure:
        grid = figure.subplots(
            2, columns, sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False
        )
        for (name, one), (upper, lower) in zip(several.items(), grid.T, strict=True):
            _draw_bins(upper, one)
            error = one.expected_calibration_error_percent
            title = f"{name}\nECE" if name else "expected calibration error"
            upper.set_title(f"{title} {error:.2f} %")
            edges = 100 * one.bin_edges
            middles, wide = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
            lower.bar(middles, one.count, 0.92 * wide, color=SOFT)
            lower.yaxis.set_major_formatter("{x:,.0f}")
            lower.set(xlabel="confidence (%)")
        grid[0, 0].set(ylabel="accuracy in the bin (%)")
        grid[1, 0].set(ylabel="images")
        if columns == 1:
            grid[0, 0].legend(loc="upper left")
        else:
            handles = grid[0, 0].get_legend_handles_labels()
            figure.legend(*handles, loc="outside upper left", ncols=3)
    return figure


def _draw_bins(axes: Axes, calibration: Calibration) -> None:
    """Bars of accuracy with intervals, and the gap to the mean confidence."""
    edges = 100 * calibration.bin_edges
    filled = calibration.count > 0
    place = ((edges[:-1] + edges[1:]) / 2)[filled]
    wide = 0.92 * np.diff(edges)[filled]
    accuracy = 100 * calibration.accuracy[filled]
    confidence = 100 * calibration.confidence[filled]
    axes.bar(place, accuracy, wide, color=SKY, label="accuracy")
    axes.bar(
        place,
        confidence - accuracy,
        wide,
        bottom=accuracy,
        facecolor="none",
        edgecolor=VERMILION,
        hatch="////",
        linewidth=1,
        label="gap to confidence",
    )
    limits = wilson_limits(accuracy, calibration.count[filled])
    axes.vlines(place, *limits, color=INK, linewidth=1.2)
    axes.plot((0, 100), (0, 100), "--", color=INK, lw=1.2, label="calibrated")
    axes.set(xlim=(0, 100), ylim=(0, 100))


def severity_curves(
    panels: Mapping[str, Mapping[str, Sequence]], ylabel: str = "accuracy (%)"
) -> Figure:
    """One panel a corruption: a curve with its 95 % band for each network.

    `panels[corruption][network]` is (S, 4), rows of severity, value, low, high.
    """
    with new_figure(3.0) as figure:
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (name, curves) in zip(row, panels.items(), strict=True):
            colours = colours_for(len(curves), (BLUE, ORANGE, GREEN), "networks")
            for colour, (network, values) in zip(colours, curves.items(), strict=True):
                values = to_array(values, "values", 2).astype(float)
                if values.shape[1] != 4:
                    raise ValueError("give rows of severity, value, low and high")
                severity, middle, low, high = values.T
                axes.fill_between(severity, low, high, color=colour, alpha=0.3)
                axes.plot(severity, middle, "o-", ms=4, color=colour, lw=1.5)
                axes.lines[-1].set_label(network)
            axes.set(title=name, xlabel="severity", xticks=range(6))
        row[0].set(ylabel=ylabel)
        handles = row[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper left", ncols=3)
    return figure


def before_and_after(
    rows: Mapping[str, tuple[float, float]],
    names: tuple[str, str] = ("before", "after"),
    xlabel: str = "value",
) -> Figure:
    """Two values a row, joined by a line: what one change did to each of them."""
    values = to_array(list(rows.values()), "rows", 2).astype(float)
    if values.shape[1] != 2 or not np.isfinite(values).all():
        raise ValueError("give two finite values, before and after, for each row")
    height = np.arange(len(rows))[::-1]
    with new_figure(0.42 * len(rows) + 1.0) as figure:
        axes = figure.subplots()
        axes.hlines(height, *values.T, color=SOFT, linewidth=2, zorder=1)
        axes.axvline(0, color=INK, linewidth=1)
        looks = ((BLUE, "o"), (VERMILION, "D"))
        for column, (colour, marker) in enumerate(looks):
            points = values[:, column]
            axes.scatter(points, height, 46, colour, marker=marker, label=names[column])
        axes.set(yticks=height, yticklabels=list(rows), xlabel=xlabel)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.14), ncols=2)
    return figure


def confidence_rows(
    groups: Mapping[str, Sequence], xlabel: str = "confidence (%)"
) -> Figure:
    """A histogram a row, all on one scale: how sure a network is of each kind of image.

    `groups[name]` holds confidences as fractions; the first row is drawn in blue.
    """
    edges = np.linspace(0, 100, 41)
    with new_figure(0.62 * len(groups) + 0.7) as figure:
        column = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
        for index, (axes, (name, values)) in enumerate(
            zip(column, groups.items(), strict=True)
        ):
            values = 100 * to_array(values, name, 1).astype(float)
            counts, _ = np.histogram(values, edges)
            share = 100 * counts / max(1, len(values))
            colour = SKY if index == 0 else ORANGE
            axes.stairs(share, edges, fill=True, color=colour)
            axes.axvline(values.mean(), color=INK, linewidth=1.5)
            axes.set_ylabel(name, rotation=0, ha="right", va="center")
            axes.set(yticks=(), xlim=(0, 100))
            axes.grid(False, axis="y")
        column[-1].set(xlabel=xlabel)
    return figure


def evidence_grid(
    images, maps: Mapping[str, Sequence], names: Sequence[str], digits: int = 2
) -> Figure:
    """One row an image: the picture, then the same in grey under each map.

    `images` (N, 3, H, W), at most six; `maps[method]` is (N, h, w) of any size, spread
    over the picture by bilinear interpolation. Each panel has a scale of its own, whose
    end is written above it: red above zero, blue below; the black line is half of the
    panel's maximum. `names` stand above the pictures.
    """
    pictures = to_pictures(to_array(images, "images", 4))
    require_length(names, len(pictures), "names", "images")
    if not 1 <= len(pictures) <= 6 or not 1 <= len(maps) <= 5:
        raise ValueError("one figure shows at most 6 images and 5 methods")
    factor, step = _fit(pictures, min(PAGE / (1 + len(maps)), 380))
    columns, rows, line = 1 + len(maps), len(pictures), step + HEAD
    with _canvas(columns * step, HEAD + rows * line) as (figure, axes):
        for column, method in enumerate(maps, start=1):
            values = to_array(maps[method], method, 3).astype(float)
            require_length(values, rows, f"maps of {method}", "images")
            place = (column * step + factor * pictures[0].shape[1] / 2, HEAD / 2)
            axes.text(*place, method, ha="center", va="center")
            for row, (picture, one) in enumerate(zip(pictures, values, strict=True)):
                corner = (column * step, HEAD + row * line + HEAD)
                _draw_evidence(axes, picture, one, corner, factor, digits)
        for row, picture in enumerate(pictures):
            top = HEAD + row * line + HEAD
            _draw(axes, picture, 0, top, factor)
            _write_title(axes, names[row], factor * picture.shape[1] / 2, top)
    return figure


def _draw_evidence(axes, picture, values, corner, factor, digits) -> None:
    """A pale grey picture under its map, with the line of half the maximum."""
    if not np.isfinite(values).all():
        raise ValueError("a map holds values that are not finite")
    height, width = picture.shape[:2]
    spread = torch.as_tensor(values)[None, None]  # (1, 1, h, w)
    values = F.interpolate(spread, (height, width), mode="bilinear")[0, 0].numpy()
    highest = max(float(np.abs(values).max()), 1e-12)
    grey = picture @ np.array((0.299, 0.587, 0.114))  # (H, W)
    grey = 0.2 + 0.8 * grey / (255 if picture.dtype == np.uint8 else 1)  # paler
    left, top = corner
    _draw(axes, grey, left, top, factor, cmap="gray", vmin=0, vmax=1)
    strength = 0.75 * np.abs(values) / highest
    limits = {"vmin": -highest, "vmax": highest, "cmap": DIVERGING}
    _draw(axes, values, left, top, factor, alpha=strength, **limits)
    if values.max() > 0:
        x = left + factor * (np.arange(width) + 0.5)
        y = top + factor * (np.arange(height) + 0.5)
        level = [values.max() / 2]
        axes.contour(x, y, values, levels=level, colors=INK, linewidths=1.6)
    text = f"max {values.max():.{digits}f}"
    _write_title(axes, text, left + factor * width / 2, top)


def feature_points(
    panels: Mapping[str, Sequence], labels, classes: Sequence[str], unnamed: str = ""
) -> Figure:
    """Points in the plane, coloured by class, the class's name at its median.

    `panels[title]` is (N, 2), one point for each of `labels`; axes carry no unit. The
    panel with the title `unnamed` gets no names, where classes lie on one heap.
    """
    labels = to_labels(labels, classes)
    colours = (*PALETTE, INK, SOFT, "#882255")
    colours = colours_for(len(classes), colours, "classes")
    with new_figure(4.6) as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, points) in zip(row, panels.items(), strict=True):
            points = to_array(points, title, 2)
            require_length(points, len(labels), "points", "labels")
            for index, name in enumerate(classes):
                own = points[labels == index]
                if not len(own):
                    continue
                axes.scatter(*own.T, 5, colours[index], linewidths=0)
                if title == unnamed:
                    continue
                axes.text(
                    *np.median(own, axis=0),
                    name,
                    size=9,
                    weight="bold",
                    ha="center",
                    va="center",
                    bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1},
                )
            axes.set(title=title, xticks=(), yticks=())
            axes.grid(False)
    return figure


def reader_beside_network(network: Calibration, reader: Calibration | None) -> Figure:
    """Accuracy against confidence: a network's bins, and a reader's with intervals."""
    with new_figure(4.6, 5.6) as figure:
        axes = figure.subplots()
        axes.plot((0, 100), (0, 100), "--", color=INK, lw=1.2, label="calibrated")
        several = ((network, BLUE, "o", "the network"), (reader, VERMILION, "D", "you"))
        for one, colour, marker, name in several:
            if one is None:
                continue
            filled = one.count > 0
            sure, right = 100 * one.confidence[filled], 100 * one.accuracy[filled]
            limits = wilson_limits(right, one.count[filled])
            axes.vlines(sure, *limits, color=colour, lw=1.3)
            axes.plot(sure, right, marker, color=colour, label=name)
        axes.set(xlim=(0, 100), ylim=(0, 100))
        axes.set(xlabel="how sure (%)", ylabel="how often right (%)")
        axes.legend(loc="upper left")
    return figure
