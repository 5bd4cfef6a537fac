"""TODO."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_helpers.plots.style import (
    BLUE,
    INK,
    VERMILION,
    new_figure,
    require_length,
    to_array,
)


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
