"""What `cifar_helpers.evaluation` finds: confusion, calibration, measures per class."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from cifar_helpers.evaluation import Calibration
from cifar_helpers.intervals import wilson_interval
from cifar_helpers.plots.inputs import to_array
from cifar_helpers.plots.style import BLUE, INK, SKY, SOFT, VERMILION, new_figure


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
    unit = "% of the true class" if normalized else "images"
    with new_figure(7.2, 7.6) as figure:
        axes = figure.subplots()
        for colours, hidden, top in layers:
            sns.heatmap(
                shown,
                mask=hidden,
                ax=axes,
                cmap=colours,
                vmin=0,
                vmax=1.15 * top,
                annot=True,
                fmt=".1f" if normalized else ".0f",
                annot_kws={"size": 9},
                cbar=False,
                square=True,
                linewidths=1,
                xticklabels=classes,
                yticklabels=classes,
            )
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
    known = {
        "precision_percent": "precision (%)",
        "recall_percent": "recall (%)",
        "f1_percent": "F1 (%)",
    }
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
