"""Designs and runs beside each other, as horizontal bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_helpers.plots.inputs import require_length, to_array
from cifar_helpers.plots.style import BLUE, INK, VERMILION, new_figure


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
            look = {"ecolor": INK, "elinewidth": 1.4, "capsize": 3}
            axes.errorbar(values, places, xerr=spread, fmt="none", **look)
        for place, value, error in zip(places, values, spread, strict=True):
            text = f"{value:.2f}" + (f" ± {error:.2f}" if errors is not None else "")
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
    if not columns:
        raise ValueError("columns is empty: pass at least one label with its values")
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
