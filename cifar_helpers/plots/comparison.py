"""Designs, runs, vectors and groups beside each other: bars, heat maps, histograms."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_helpers.plots.inputs import (
    colours_for,
    require_filled,
    require_length,
    to_array,
)
from cifar_helpers.plots.style import (
    BLUE,
    DIVERGING,
    INK,
    ORANGE,
    PALETTE,
    PURPLE,
    SKY,
    SOFT,
    VERMILION,
    YELLOW,
    new_figure,
)


def bars_with_error(
    names: Sequence[str], values, errors, xlabel: str, axis_start: float | None = None
) -> Figure:
    """Values with error bars, one row per name, the first on top.

    `errors` is one number per value, None where there is none, or None. Bars start at
    zero; `axis_start` cuts the axis there instead and draws dots, for the length of a
    cut bar means nothing.
    """
    values = to_array(values, "values", 1).astype(float)
    require_length(names, len(values), "names", "values")
    errors = [None] * len(values) if errors is None else errors
    known = np.array([error is not None for error in errors])
    spread = [0 if error is None else error for error in errors]
    spread = to_array(spread, "errors", 1)
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
        if known.any():
            look = {"ecolor": INK, "elinewidth": 1.4, "capsize": 3}
            some = values[known], places[known]
            axes.errorbar(*some, xerr=spread[known], fmt="none", **look)
        for place, value, error, has in zip(places, values, spread, known, strict=True):
            text = f"{value:.2f}" + (f" ± {error:.2f}" if has else "")
            _write_beside(axes, value, error, place, text)
        _name_rows(axes, names)
        axes.margins(x=0.2)
        axes.set_xlim(left=axis_start)
        axes.set_xlabel(xlabel)
    return figure


def bar_columns(
    names: Sequence[str], columns: Mapping[str, object], template: str = "{:,.1f}"
) -> Figure:
    """Several quantities of the same things: a column of bars for each, side by side.

    `columns` maps a label with its unit, such as "parameters (thousands)", to one value
    per name, none below zero; `template` formats the number beside a bar. The first
    name stands on top.
    """
    require_filled(columns, "columns")
    with new_figure(0.36 * len(names) + 0.8) as figure:
        panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for axes, (label, values) in zip(panels, columns.items(), strict=True):
            values = to_array(values, label, 1)
            require_length(values, len(names), "values", "names")
            if not np.isfinite(values).all() or values.min() < 0:
                raise ValueError(f"{label}: values must be finite and not negative")
            bars = axes.barh(range(len(values)), values, color=BLUE, height=0.66)
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.bar_label(bars, fmt=template, padding=4, size=9, bbox=paper)
            axes.margins(x=0.2)
            axes.set_xlabel(label)
            _name_rows(axes, names)
    return figure


def grouped_bars(
    panels: Mapping[str, Mapping[str, object]],
    ticks: Sequence,
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Bars of several rivals at each tick, in a panel for each title.

    `panels` maps a title to the rivals' names, each with one value per tick. All panels
    share the vertical axis.
    """
    require_filled(panels, "panels")
    with new_figure(3.4) as figure:
        row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, (title, rivals) in zip(row, panels.items(), strict=True):
            require_filled(rivals, title)
            width = 0.8 / len(rivals)
            for number, (name, values) in enumerate(rivals.items()):
                values = to_array(values, name, 1)
                require_length(values, len(ticks), "values", "ticks")
                places = np.arange(len(ticks)) + width * (
                    number - (len(rivals) - 1) / 2
                )
                axes.bar(places, values, 0.92 * width, label=name)
            axes.set(title=title, xlabel=xlabel)
            axes.set_xticks(range(len(ticks)), ticks)
            axes.grid(False, axis="x")
        row[0].set_ylabel(ylabel)
        row[0].legend()
    return figure


def stacked_shares(
    names: Sequence[str], parts: Mapping[str, object], xlabel: str
) -> Figure:
    """What each total is made of, in per cent: one row per name, of equal length.

    `parts` maps up to five labels to one value per name, none below zero, in any unit.
    Shares below 4 % get no number.
    """
    require_filled(parts, "parts")
    table = np.stack(
        [to_array(v, label, 1).astype(float) for label, v in parts.items()]
    )
    require_length(names, table.shape[1], "names", "values")
    if not (table >= 0).all() or not (table.sum(axis=0) > 0).all():
        raise ValueError("values must not be negative, and no sum zero")
    shares = 100 * table / table.sum(axis=0)
    starts = np.cumsum(shares, axis=0) - shares
    colours = colours_for(len(parts), (SKY, ORANGE, SOFT, PURPLE, YELLOW), "parts")
    with new_figure(0.36 * len(names) + 1.1) as figure:
        axes = figure.subplots()
        for label, start, row, colour in zip(
            parts, starts, shares, colours, strict=True
        ):
            look = {"height": 0.66, "color": colour, "label": label}
            bars = axes.barh(range(len(row)), row, left=start, **look)
            written = [f"{share:.0f}" if share >= 4 else "" for share in row]
            axes.bar_label(bars, written, label_type="center", size=9)
        _name_rows(axes, names)
        axes.set(xlabel=xlabel, xlim=(0, 100))
        figure.legend(loc="outside upper left", ncols=len(parts))
    return figure


def vector_bars(vectors: Mapping[str, object], xlabel: str = "channel") -> Figure:
    """One bar chart for each named vector, below each other, the first on top.

    `vectors` maps a title to the values (n,); a title may end with ", by " and what its
    bars stand for, which then replaces `xlabel`.
    """
    require_filled(vectors, "vectors")
    with new_figure(1.5 * len(vectors)) as figure:
        panels = figure.subplots(len(vectors), 1, squeeze=False)[:, 0]
        for number, (axes, (title, values)) in enumerate(
            zip(panels, vectors.items(), strict=True)
        ):
            values = to_array(values, title, 1)
            name, _, unit = title.partition(", by ")
            axes.bar(range(len(values)), values, color=PALETTE[number % len(PALETTE)])
            axes.set(title=name, ylabel="value", xlim=(-1, len(values)))
            axes.set_xlabel(unit or xlabel)
            axes.grid(False, axis="x")
        figure.align_ylabels(panels)
    return figure


def deviations(
    rows, means, names: Sequence[str], xlabel: str, label: str, groups: int = 0
) -> Figure:
    """How far groups lie from the mean: a heat map (groups, n) below the means (n,).

    Red is above the mean and blue below it, on one scale for all; `names` are those of
    the rows, `label` says what the colours mean. A line is drawn below the first
    `groups` rows.
    """
    rows, means = to_array(rows, "rows", 2), to_array(means, "means", 1)
    require_length(names, len(rows), "names", "rows")
    require_length(means, rows.shape[1], "means", "columns")
    top = float(np.abs(rows).max()) or 1.0
    with new_figure(0.24 * len(rows) + 2.0) as figure:
        upper, lower = figure.subplots(2, 1, height_ratios=(1, 2.6), sharex=True)
        upper.bar(range(len(means)), means, color=SOFT, width=0.8)
        upper.set(ylabel="mean", ylim=(0, None))
        look = {"cmap": DIVERGING, "vmin": -top, "vmax": top, "aspect": "auto"}
        drawn = lower.imshow(rows, **look)
        lower.set_yticks(range(len(names)), names)
        if groups:
            lower.axhline(groups - 0.5, color=INK, linewidth=1)
        lower.set_xlabel(xlabel)
        lower.grid(False)
        figure.colorbar(drawn, ax=lower, label=label, pad=0.01)
    return figure


def histogram_panels(
    panels: Mapping[str, Mapping[str, object]], xlabel: str, ylabel: str
) -> Figure:
    """One panel for each title: how the values of up to seven groups are spread.

    `panels` maps a title to its groups, each a name with its values (n,); the groups of
    a panel share 24 bins from the smallest value to the largest.
    """
    require_filled(panels, "panels")
    with new_figure(2.6) as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, groups) in zip(row, panels.items(), strict=True):
            colours = colours_for(len(groups), PALETTE, "groups")
            values = {name: to_array(v, name, 1) for name, v in groups.items()}
            bins = np.histogram_bin_edges(np.concatenate([*values.values()]), 24)
            for (name, v), colour in zip(values.items(), colours, strict=True):
                axes.hist(v, bins, color=colour, alpha=0.6, label=name)
            axes.set(title=title, xlabel=xlabel)
            axes.locator_params(axis="x", nbins=4)
        row[0].set_ylabel(ylabel)
        row[0].legend()
    return figure


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """One name per row of bars, from the top down, without lines between them."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _write_beside(
    axes: Axes, value: float, error: float, place: float, text: str
) -> None:
    """Write `text` beyond the end of a bar and of its error bar."""
    sign = -1 if value < 0 else 1
    axes.annotate(
        text.replace("-", "−"),
        (value + sign * error, place),
        xytext=(8 * sign, 0),
        textcoords="offset points",
        ha="left" if sign > 0 else "right",
        va="center",
        size=9,
    )
