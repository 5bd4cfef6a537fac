"""Loss and accuracy of a training run, epoch by epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cifar_helpers.plots.style import BLUE, ORANGE, new_figure


def _history_columns(
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
    runs = [(_history_columns(history, x), label, {"linestyle": "-", "zorder": 3})]
    if reference is not None:
        paler = {"linestyle": (0, (4, 2)), "alpha": 0.45}
        runs.append((_history_columns(reference, x), reference_label, paler))
    panels = (("loss", "cross-entropy (nats)"), ("accuracy_percent", "accuracy (%)"))
    with new_figure(3.6) as figure:
        for axes, (quantity, unit) in zip(figure.subplots(1, 2), panels, strict=True):
            for columns, name, look in runs:
                suffix = f", {name}" if len(runs) > 1 else ""
                _draw_run(axes, columns, x, quantity, suffix, look)
            axes.set(ylabel=unit, xlabel="epoch" if x == "epoch" else "time (s)")
            axes.set_title(quantity.replace("_percent", ""))
            if x == "epoch":
                ticks = MaxNLocator(8, integer=True, steps=(1, 2, 5, 10))
                axes.xaxis.set_major_locator(ticks)
            if axes.lines:
                axes.legend()
    return figure


def _draw_run(
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
