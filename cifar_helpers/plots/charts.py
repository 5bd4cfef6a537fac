"""Plain charts of measured numbers: lines, histograms, columns of dots."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_helpers.plots.inputs import colours_for, require_length, to_array
from cifar_helpers.plots.style import BLUE, INK, ORANGE, PALETTE, SOFT, new_figure

MARKERS = "os^Dv"  # a second sign beside the colour
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
LOOKS = tuple(zip(MARKERS, DASHES, PALETTE, strict=False))


def line_chart(
    x,
    curves: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    levels: Mapping[str, float] | None = None,
    log: str = "",
    limits: tuple[float | None, float | None] = (None, None),
) -> Figure:
    """Curves over the same `x` (N,), each with a colour, a marker and a dash.

    `levels` are named horizontal lines, such as what guessing gives. `log` names the
    axes with a logarithmic scale: "x", "y" or "xy"; a logarithmic x axis has its ticks
    at `x`. `limits` are those of the y axis, None for its own.
    """
    x = to_array(x, "x", 1)
    looks = colours_for(len(curves), LOOKS, "curves")
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f'log must be "x", "y" or "xy", got {log!r}')
    with new_figure(3.0) as figure:
        axes = figure.subplots()
        for (name, values), (marker, dash, colour) in zip(
            curves.items(), looks, strict=True
        ):
            values = to_array(values, name, 1)
            require_length(values, len(x), "values", "places on the x axis")
            look = {"marker": marker, "linestyle": dash, "color": colour}
            axes.plot(x, values, markersize=5, label=name, **look)
        for number, (name, value) in enumerate((levels or {}).items()):
            look = {
                "color": (INK, SOFT)[number % 2],
                "linestyle": ("-", ":")[number % 2],
            }
            axes.axhline(value, linewidth=1.3, label=name, **look)
        if "x" in log:
            axes.set_xscale("log")
            axes.set_xticks(x, [f"{value:g}" for value in x])
            axes.minorticks_off()
        if "y" in log:
            axes.set_yscale("log")
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=limits)
        if len(curves) + len(levels or {}) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def histograms(
    groups: Mapping[str, Sequence[float]], bins, xlabel: str, ylabel: str
) -> Figure:
    """How one or two groups of numbers are spread, counted in the same `bins`."""
    colours = colours_for(len(groups), (ORANGE, BLUE), "groups")
    with new_figure(2.8) as figure:
        axes = figure.subplots()
        for (name, values), colour in zip(groups.items(), colours, strict=True):
            values = to_array(values, name, 1)
            axes.hist(values, bins, color=colour, alpha=0.8, label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def dot_columns(
    names: Sequence[str],
    values,
    ylabel: str,
    marks=None,
    labels: tuple[str, str] = ("", ""),
) -> Figure:
    """One column of dots per name: `values` (names, N) spread out beside each other.

    `marks` (names,) adds one diamond to each column; `labels` name dots and diamonds in
    the legend.
    """
    values = to_array(values, "values", 2)
    require_length(names, len(values), "names", "columns of values")
    aside = np.linspace(-0.3, 0.3, values.shape[1])
    with new_figure(3.0) as figure:
        axes = figure.subplots()
        for place, column in enumerate(values):
            label = labels[0] if place == 0 else None
            look = {"color": ORANGE, "alpha": 0.6, "markersize": 5}
            axes.plot(place + aside, column, ".", label=label, **look)
        if marks is not None:
            marks = to_array(marks, "marks", 1)
            require_length(marks, len(values), "marks", "columns of values")
            axes.plot(marks, "D", color=BLUE, markersize=6, label=labels[1])
        _name_columns(axes, names)
        axes.set_ylabel(ylabel)
        if any(labels):
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _name_columns(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
