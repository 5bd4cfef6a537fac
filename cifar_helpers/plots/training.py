"""Loss and accuracy of a training run, epoch by epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cifar_helpers.plots.inputs import colours_for, to_array
from cifar_helpers.plots.style import BLUE, ORANGE, PALETTE, SOFT, new_figure


def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss and accuracy of a training run, epoch by epoch.

    `history` holds one dict per epoch with `epoch` and any of `train_loss`,
    `validation_loss`, `train_accuracy_percent` and `validation_accuracy_percent`.
    """
    rows = list(history)
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError("history must be a filled list with one dict per epoch")
    if any(row.get("epoch") in (None, "") for row in rows):
        raise ValueError("a row of the history has no 'epoch'")
    panels = (("loss", "cross-entropy (nats)"), ("accuracy_percent", "accuracy (%)"))
    with new_figure(3.6) as figure:
        for axes, (quantity, unit) in zip(figure.subplots(1, 2), panels, strict=True):
            _draw_run(axes, rows, quantity)
            axes.set(ylabel=unit, xlabel="epoch")
            axes.set_title(quantity.replace("_percent", ""))
            ticks = MaxNLocator(8, integer=True, steps=(1, 2, 5, 10))
            axes.xaxis.set_major_locator(ticks)
            if axes.lines:
                axes.legend()
    return figure


def _draw_run(axes: Axes, rows: list[Mapping[str, float]], quantity: str) -> None:
    """Draw the training and the validation curve, where the rows have values."""
    for part, name, colour in (
        ("train", "training", ORANGE),
        ("validation", "validation", BLUE),
    ):
        key = f"{part}_{quantity}"
        filled = [row for row in rows if row.get(key) not in (None, "")]
        x, y = (np.array([float(row[k]) for row in filled]) for k in ("epoch", key))
        known = ~np.isnan(y)  # a run may be judged only every few epochs
        if known.any():
            marker = "o" if known.sum() < 3 else None
            axes.plot(x[known], y[known], color=colour, marker=marker, label=name)


def line_panels(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    x: Sequence[float] | None = None,
    x_label: str = "step",
    logarithmic_x: bool = False,
    levels: Mapping[str, tuple[float, str]] | None = None,
) -> Figure:
    """Lines over one axis in panels side by side, for quantities of different units.

    `panels` maps a quantity with its unit, such as "loss (nats)", to lines by name; a
    single line needs no name (""). All lines have a value for each of `x`, which counts
    from 0 if it is not given. `levels` draws a dashed line at a value of a panel, with
    a text. Few points, up to 12, get markers. A panel holds up to seven lines.
    """
    lengths = {len(values) for lines in panels.values() for values in lines.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"all lines must have as many values, not {sorted(lengths)}")
    (count,) = lengths
    x = range(count) if x is None else x
    if len(x) != count:
        raise ValueError(f"x has {len(x)} values, the lines have {count}")
    with new_figure(3.0) as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (quantity, lines) in zip(row, panels.items(), strict=True):
            colours = colours_for(len(lines), PALETTE, "lines")
            for colour, (name, values) in zip(colours, lines.items(), strict=True):
                marker = "o" if count <= 12 else None
                values = to_array(values, name or quantity, 1).astype(float)
                look = {"marker": marker, "ms": 4, "lw": 2 if count < 200 else 1.3}
                axes.plot(x, values, color=colour, label=name, **look)
            axes.set_title(quantity)
            axes.set_xlabel(x_label)
            if logarithmic_x:
                axes.set_xscale("log", base=2)
                axes.xaxis.set_major_formatter("{x:,.0f}")
            if quantity in (levels or {}):
                level, text = levels[quantity]
                axes.axhline(level, color=SOFT, linestyle="--", linewidth=1)
                axes.text(x[-1], level, text, va="bottom", ha="right", size=9)
            if any(lines):
                _legend(axes, len(lines))
    return figure


def _legend(axes: Axes, lines: int) -> None:
    """Where there is room; above the lines if there are more than three of them."""
    look = {"frameon": True, "framealpha": 0.9, "edgecolor": "none"}
    if lines > 3:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.35 * (high - low))
        look |= {"ncols": 2, "loc": "upper right"}
    axes.legend(**look)
