"""How good and how sure: values with intervals, curves over thresholds."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from cifar_helpers.intervals import wilson_limits
from cifar_helpers.plots.inputs import require_filled, require_length, to_array
from cifar_helpers.plots.style import (
    INK,
    PALETTE,
    SOFT,
    new_figure,
)
from cifar_helpers.scores import ThresholdCurve


def dots_with_intervals(
    names: Sequence[str], series: Mapping[str, Sequence], xlabel: str
) -> Figure:
    """Values with their intervals, one row per name, the first on top.

    `series` maps a label to one (value, low, high) per name; each label gets a colour
    and a mark of its own.
    """
    require_filled(series, "series")
    places, marks = np.arange(len(names)), ("o", "s", "D", "^", "v")
    shifts = 0.24 * (np.arange(len(series)) - (len(series) - 1) / 2)
    with new_figure(0.36 * len(names) + 1.1) as figure:
        axes = figure.subplots()
        for index, (label, rows) in enumerate(series.items()):
            values = to_array(rows, label, 2).astype(float)
            require_length(values, len(names), "values", "names")
            value, low, high = values.T
            colour, at = PALETTE[index % len(PALETTE)], places + shifts[index]
            axes.hlines(at, low, high, color=colour, linewidth=2)
            axes.plot(value, at, marks[index % 5], color=colour, label=label)
        axes.set_yticks(places, names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(xlabel)
        figure.legend(loc="outside upper right", ncols=len(series))
    return figure


def threshold_curves(curves: Mapping[str, ThresholdCurve]) -> Figure:
    """ROC curves on the left, precision against recall on the right.

    `curves` maps a label to what `scores.one_against_rest` returns. Dashed: what
    answers without a look at the image give, at the share of the last class.
    """
    if not curves or not all(isinstance(c, ThresholdCurve) for c in curves.values()):
        raise ValueError("pass labels with results of scores.one_against_rest")
    with new_figure(4.2) as figure:
        left, right = figure.subplots(1, 2)
        for index, (label, curve) in enumerate(curves.items()):
            look = {"color": PALETTE[index % len(PALETTE)], "label": label}
            look["linestyle"] = ("-", "--", "-.", ":")[index % 4]
            left.plot(100 * curve.false_alarms, 100 * curve.found, **look)
            right.plot(100 * curve.found, 100 * curve.precision, **look)
        blind = {"color": SOFT, "linestyle": (0, (1, 2)), "linewidth": 1.2}
        left.plot((0, 100), (0, 100), **blind, label="without looking")
        right.axhline(100 * curve.share, **blind)
        left.set(
            xlabel="false alarms (% of the others)", ylabel="found (% of the class)"
        )
        right.set(xlabel="recall (%)", ylabel="precision (%)", ylim=(0, 102))
        left.set_title("ROC")
        right.set_title("precision and recall")
        left.legend(loc="lower right")
    return figure


def selective_curves(curves: Mapping[str, tuple]) -> Figure:
    """Error among the answered images against the share that is answered.

    `curves` maps a label to (coverage, error), fractions, as `scores.answered_first`
    returns them. Shaded: the 95 % Wilson interval at each coverage.
    """
    require_filled(curves, "curves")
    with new_figure(3.4) as figure:
        axes, highest = figure.subplots(), 1.0
        for index, (label, (coverage, error)) in enumerate(curves.items()):
            coverage, error = to_array(coverage, label, 1), to_array(error, label, 1)
            require_length(error, len(coverage), "errors", "coverages")
            colour = PALETTE[index % len(PALETTE)]
            style = ("-", "--", "-.", ":")[index % 4]
            answered = np.arange(1, len(error) + 1)
            look = {"color": colour, "alpha": 0.18, "linewidth": 0}
            limits = wilson_limits(100 * error, answered)
            axes.fill_between(100 * coverage, *limits, **look)
            axes.plot(100 * coverage, 100 * error, style, color=colour, label=label)
            highest = max(highest, 100 * error[-1])
        axes.set(xlabel="images answered (%)", ylabel="wrong among these (%)")
        axes.set(xlim=(0, 100), ylim=(0, 1.15 * highest))
        axes.legend(loc="upper left")
    return figure


def claim_sizes(sizes: Mapping[str, tuple], have: int) -> Figure:
    """Images needed against the difference that they are to show, both axes log.

    `sizes` maps a label to (differences in points, images); `have`, the size of the
    test set at hand, is drawn as a dashed line.
    """
    if not sizes or have < 1:
        raise ValueError("pass at least one curve, and the number of images at hand")
    with new_figure(3.4) as figure:
        axes = figure.subplots()
        for index, (label, (points, images)) in enumerate(sizes.items()):
            points, images = to_array(points, label, 1), to_array(images, label, 1)
            require_length(images, len(points), "numbers of images", "differences")
            style = ("-", "--", "-.", ":")[index % 4]
            axes.plot(points, images, style, color=PALETTE[index % 7], label=label)
        axes.axhline(have, color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
        axes.text(points[0], have, f"{have:,} images", va="bottom", size=9)
        axes.set(xscale="log", yscale="log")
        axes.set(xlabel="true difference of the accuracies (points)", ylabel="images")
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5) if points[0] <= t <= points[-1]]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.legend(loc="upper right")
    return figure
