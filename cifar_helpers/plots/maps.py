"""Feature maps: painted, read, compared on one scale, followed through a deep stack."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifar_helpers.plots.convolution import number_grid, taps_on_image
from cifar_helpers.plots.inputs import (
    colours_for,
    require_filled,
    require_length,
    to_array,
    to_pictures,
)
from cifar_helpers.plots.style import (
    BLUE,
    DIVERGING,
    GREEN,
    INK,
    ORANGE,
    PALETTE,
    PURPLE,
    SEQUENTIAL,
    SOFT,
    VERMILION,
    WIDTH,
    new_figure,
)

COLOURS = BLUE, ORANGE, GREEN, PURPLE, VERMILION
LINES = "-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1))
LOOKS = tuple(zip(COLOURS, LINES, strict=True))


def stamps(size: int = 3, kernel: int = 3, stride: int = 2) -> Figure:
    """What a transposed convolution writes: outlines of its stamps, and their counts.

    `size` × `size` input pixels stamp a square of `kernel` pixels each, `stride` pixels
    apart. ValueError unless all three are at least 1.
    """
    if min(size, kernel, stride) < 1:
        raise ValueError(f"all must be at least 1, got {size}, {kernel}, {stride}")
    length = (size - 1) * stride + kernel
    counts = np.zeros((length, length), dtype=int)
    with new_figure(3.6) as figure:
        outlines, overlaps = figure.subplots(1, 2)
        for index, (i, j) in enumerate(np.ndindex(size, size)):
            top, left, gap = i * stride, j * stride, 0.1 + 0.05 * ((i + j) % 3)
            counts[top : top + kernel, left : left + kernel] += 1
            colour, side = PALETTE[index % len(PALETTE)], kernel - 2 * gap
            corner = (left + gap, top + gap)
            look = {"fill": False, "edgecolor": colour, "linewidth": 2.5}
            outlines.add_patch(Rectangle(corner, side, side, **look))
            middle = (left + kernel / 2, top + kernel / 2)
            outlines.plot(*middle, "o", color=colour, markersize=7)
        drawn = overlaps.imshow(counts, extent=(0, length, length, 0), vmin=0)
        ticks = range(counts.max() + 1)
        figure.colorbar(drawn, ax=overlaps, label="stamps", ticks=ticks)
        outlines.set_title(f"stamps: kernel {kernel}, stride {stride}")
        overlaps.set_title("stamps on each pixel")
        step = -(-length // 12)
        for axes in (outlines, overlaps):
            axes.set(xlim=(0, length), ylim=(length, 0), aspect="equal")
            axes.set(xlabel="output column", ylabel="output row")
            axes.set_xticks(range(0, length + 1, step))
            axes.set_yticks(range(0, length + 1, step))
    return figure


def matrix_and_transpose(matrix) -> Figure:
    """A convolution's matrix (outputs, inputs) beside its transpose, on one scale."""
    array = to_array(matrix, "matrix", 2)
    outputs, inputs = array.shape
    top = float(np.abs(array).max())
    look = {"cmap": DIVERGING, "vmin": -top, "vmax": top, "aspect": "auto"}
    with new_figure(3.6) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(2.6, 1))
        drawn = left.imshow(array, **look)
        right.imshow(array.T, **look)
        left.set(title=f"convolution: {inputs} pixels → {outputs}")
        right.set(title=f"transposed: {outputs} → {inputs}")
        for axes, (rows, columns) in ((left, array.shape), (right, array.T.shape)):
            axes.set(xlabel="input pixel", ylabel="output pixel")
            axes.set_xticks(range(0, columns, 1 + columns // 8))
            axes.set_yticks(range(0, rows, 1 + rows // 8))
            axes.grid(False)
        figure.colorbar(drawn, ax=left, label="weight", location="bottom", aspect=40)
    return figure


def map_row(
    maps,
    titles: Sequence[str],
    label: str,
    cmap: str = SEQUENTIAL,
    image=None,
) -> Figure:
    """Maps (h, w) in a row, on one colour scale named by `label`.

    The scale reaches from zero to the largest value, or, in `DIVERGING` colours, as far
    below zero as above; values that are NaN stay white. An `image` (3, H, W) stands
    before the maps, if given.
    """
    arrays = [to_array(values, "maps", 2) for values in maps]
    require_length(titles, len(arrays), "titles", "maps")
    top = max(float(np.nanmax(np.abs(array))) for array in arrays)
    low = -top if cmap == DIVERGING else 0
    panels = len(arrays) + (image is not None)
    with new_figure((WIDTH - 0.8) / panels + 0.45) as figure:
        places = figure.subplots(1, panels, squeeze=False)[0]
        if image is not None:
            places[0].imshow(to_pictures(to_array(image, "image", 3)[None])[0])
            places[0].set_title("image", size=10, loc="center", weight="normal")
        drawn_into = places[panels - len(arrays) :]
        for axes, array, title in zip(drawn_into, arrays, titles, strict=True):
            drawn = axes.imshow(array, cmap=cmap, vmin=low, vmax=top)
            axes.set_title(title, size=10, loc="center", weight="normal")
        for axes in places:
            axes.set(xticks=(), yticks=())
            axes.grid(False)
        figure.colorbar(drawn, ax=places, label=label, pad=0.01, shrink=0.8)
    return figure


def number_grids(
    grids: Mapping[str, object], label: str, template: str = "{:.0f}"
) -> Figure:
    """Grids of numbers (h, w) side by side, each under its title, on one scale."""
    arrays = {title: to_array(values, title, 2) for title, values in grids.items()}
    top = max(float(array.max()) for array in arrays.values())
    with new_figure(3.2) as figure:
        panels = figure.subplots(1, len(arrays), squeeze=False)[0]
        for axes, (title, array) in zip(panels, arrays.items(), strict=True):
            drawn = number_grid(axes, array, template, (0, top), size=11)
            axes.set(title=title, xlabel="column", ylabel="row")
            axes.set_xticks(range(array.shape[1]))
            axes.set_yticks(range(array.shape[0]))
        figure.colorbar(drawn, ax=panels, label=label)
    return figure


def along_depth(
    panels: Mapping[str, Mapping[str, Sequence]], ylabel: str, xlabel: str = "block"
) -> Figure:
    """Positive values at each depth of a stack, on one logarithmic axis.

    `panels` maps a title to its lines: label → runs, each run one value per depth. All
    runs of a label share colour and line style; labels look alike in every panel.
    """
    labels = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    looks = colours_for(len(labels), LOOKS, "labels")
    looks = dict(zip(labels, looks, strict=True))
    with new_figure(4.0) as figure:
        places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, lines) in zip(places, panels.items(), strict=True):
            for name, runs in lines.items():
                colour, style = looks[name]
                for run in to_array(runs, name, 2):
                    axes.semilogy(run, linestyle=style, color=colour, linewidth=1.6)
            axes.set(title=title, xlabel=xlabel)
        places[0].set_ylabel(ylabel)
        handles = [
            places[0].plot([], [], linestyle=style, color=colour)[0]
            for colour, style in looks.values()
        ]
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def lost_points(
    names: Sequence[str], groups: Mapping[str, Sequence[tuple]], xlabel: str
) -> Figure:
    """Grouped horizontal bars with intervals; the first name stands on top.

    `groups` maps a label to one (value, low, high) per name, low and high the ends of
    its interval; ValueError for a value outside of its interval.
    """
    colours = colours_for(len(groups), COLOURS, "groups")
    thick = 0.8 / len(groups)
    with new_figure(0.3 * len(names) * len(groups) + 1.2) as figure:
        axes = figure.subplots()
        for index, (label, rows) in enumerate(groups.items()):
            require_length(rows, len(names), "rows", "names")
            value, low, high = to_array(rows, label, 2).T
            if not ((low <= value) & (value <= high)).all():
                raise ValueError(f"{label}: a value lies outside of its interval")
            places = np.arange(len(names)) + (index + 0.5) * thick - 0.4
            axes.barh(places, value, thick, color=colours[index], label=label)
            look = {"ecolor": INK, "elinewidth": 1.3, "capsize": 2, "fmt": "none"}
            axes.errorbar(value, places, xerr=(value - low, high - value), **look)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(xlabel)
        axes.grid(False, axis="y")
        figure.legend(loc="outside lower center", ncols=len(groups))
    return figure


def taps_and_shares(
    image, rates: Sequence[int], shares: Sequence, place: tuple[int, int]
) -> Figure:
    """Above the nine taps of one output for each rate; below how often each tap reads.

    `image` is (3, H, W), `place` the output's (row, column). `shares` holds for each
    rate (3, 3) values from 0 to 1. Crosses are taps that read padding.
    """
    require_length(shares, len(rates), "shares", "rates")
    sides = to_array(image, "image", 3).shape[1:]
    reach = max(max(rates) - min(place), max(np.add(place, max(rates) + 1) - sides))
    with new_figure(5.6, 2.8 * len(rates)) as figure:
        upper, lower = figure.subplots(
            2, len(rates), height_ratios=(1.25, 1), squeeze=False
        )
        for above, below, rate, share in zip(upper, lower, rates, shares, strict=True):
            taps_on_image(above, image, rate, [place], margin=1 + max(reach, 0))
            above.set_title(f"rate {rate}")
            number_grid(below, share, "{:.0%}", (0, 1))
            below.set_xlabel(f"mean {to_array(share, 'shares', 2).mean():.0%}")
        upper[0].set_ylabel("row")
        lower[0].set_ylabel("share of positions\nwhere a tap reads the map")
    return figure


def valid_weights(
    counts: Mapping[str, Mapping[int, Mapping[int, float]]],
    marked: Mapping[str, Sequence[int]],
) -> Figure:
    """How many weights of a dilated 3 × 3 filter are applied to the map, by rate.

    `counts` maps a panel's title to rate → number of valid weights, up to five → share
    of positions (0 to 1); `marked` maps the same titles to the rates that get a line.
    """
    with new_figure(3.9) as figure:
        panels = figure.subplots(1, len(counts), squeeze=False, sharey=True)[0]
        for axes, (title, by_rate) in zip(panels, counts.items(), strict=True):
            require_filled(by_rate, title)
            _draw_counts(axes, by_rate)
            for rate in marked[title]:
                axes.axvline(rate, color=SOFT, linewidth=1, zorder=0)
                axes.text(rate, 111, rate, ha="center", size=9)
            axes.set(xlabel="rate", ylim=(0, 108))
            axes.set_title(title, pad=20)
        panels[0].set_ylabel("share of positions (%)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw_counts(axes: Axes, by_rate: Mapping[int, Mapping[int, float]]) -> None:
    """One line per number of valid weights."""
    numbers = next(iter(by_rate.values()))
    looks = colours_for(len(numbers), LOOKS, "numbers of valid weights")
    for number, (colour, style) in zip(numbers, looks, strict=True):
        shares = [100 * by_rate[rate][number] for rate in by_rate]
        look = {"linestyle": style, "color": colour}
        axes.plot(list(by_rate), shares, label=f"{number} valid", **look)
