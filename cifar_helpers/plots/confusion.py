"""Confusion matrices: one, counts beside shares, in order of likeness, a difference."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from cifar_helpers.plots.inputs import require_length, to_array
from cifar_helpers.plots.style import (
    INK,
    ORANGE,
    SOFT,
    new_figure,
    readable_ink,
)

RIGHT, MISTAKES = "Blues", "Oranges"  # each on a colour scale of its own
BETTER = "RdBu"  # from worse, red, to better, blue


def confusion_matrix(matrix, classes: Sequence[str]) -> Figure:
    """A heat map of the counts of true class (row) against predicted class (column).

    Mistakes (orange) and right answers (blue) have a colour scale of their own, so that
    a few mistakes stand out beside many right answers.
    """
    counts = _checked(matrix, classes)
    if (counts != counts.round()).any():
        raise ValueError("matrix must hold counts, whole numbers")
    with new_figure(7.2, 7.6) as figure:
        axes = figure.subplots()
        _draw_both(axes, counts, "{:.0f}")
        _name_classes(axes, classes, classes)
        axes.set(xlabel="predicted class (images)", ylabel="true class")
    return figure


def counts_and_shares(matrix, classes: Sequence[str]) -> Figure:
    """A matrix of counts with its totals, beside the same in percent of each row.

    Below the right matrix: how often each class was called, in percent of all images.
    """
    counts = _checked(matrix, classes)
    if (counts != counts.round()).any() or (counts.sum(1) == 0).any():
        raise ValueError("matrix must hold counts, with an image of every class")
    shares = 100 * counts / counts.sum(1, keepdims=True)
    size = len(classes)
    with new_figure(5.5) as figure:
        grid = figure.add_gridspec(
            2,
            4,
            height_ratios=(1, 0.03),
            width_ratios=(size + 1.3, size + 1.3, *(2 * [size])),
        )
        panels = (figure.add_subplot(grid[0, :2]), figure.add_subplot(grid[0, 2:]))
        bars = [figure.add_subplot(grid[1, column]) for column in range(4)]
        left = _draw_both(panels[0], counts, "{:.0f}")
        right = _draw_both(panels[1], shares, "{:.1f}")
        _write_totals(panels[0], counts)
        called = 100 * counts.sum(0) / counts.sum()
        _write_below(panels[1], called, "{:.1f}")
        _name_classes(panels[0], (*classes, "all"), (*classes, "all"))
        _name_classes(panels[1], classes, [""] * (size + 1))
        panels[0].set(title="images", ylabel="true class", xlabel="predicted class")
        panels[1].set(title="per cent of the true class", xlabel="predicted class")
        labels = ("wrong (images)", "right (images)", "wrong (%)", "right (%)")
        for mesh, bar, label in zip((*left, *right), bars, labels, strict=True):
            figure.colorbar(mesh, cax=bar, orientation="horizontal", label=label)
            bar.xaxis.set_major_locator(plt.MaxNLocator(4))
    return figure


def ordered_confusion(
    matrix, classes: Sequence[str], steps, order: Sequence[int]
) -> Figure:
    """The tree of `confusion.similar_classes` beside the matrix in its order.

    `steps` and `order` as that function returns them; `matrix` holds counts. Two
    branches meet at the share, in percent, in which their classes are confused.
    """
    from scipy.cluster import hierarchy

    counts = _checked(matrix, classes)
    require_length(order, len(classes), "places", "classes")
    shares = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
    order, names = np.asarray(order), [classes[k] for k in order]
    with new_figure(4.9) as figure:
        tree, axes = figure.subplots(1, 2, width_ratios=(1, 1.35))
        hierarchy.dendrogram(
            np.asarray(steps),
            orientation="left",
            labels=names,
            no_labels=True,
            ax=tree,
            color_threshold=0,
            above_threshold_color=INK,
        )
        tree.invert_yaxis()  # the first class on top, as in the matrix
        most = 100 * (1 - np.asarray(steps)[:, 2].min())  # likeness, in percent
        most = most or 2.0  # without any confusion: an axis nevertheless
        tree.set_xlim(1.0, 1 - 1.08 * most / 100)
        ticks = np.arange(0, most + 1, 2)
        tree.set_xticks(1 - ticks / 100, [f"{tick:.0f}" for tick in ticks])
        tree.set_xlabel("confused with each other (%)")
        tree.grid(True, axis="x")
        tree.spines["left"].set_visible(False)
        tree.set_yticks([])
        _draw_both(axes, shares[np.ix_(order, order)], "{:.1f}")
        _name_classes(axes, names, names)
        axes.set(xlabel="predicted class (% of the true class)")
    return figure


def confusion_difference(points, classes: Sequence[str], marked) -> Figure:
    """One network's confusion matrix minus another's, in points of the true class.

    `points` (K, K) is written in the cells, 0.0 left out. Blue: better, that is more
    right answers (diagonal) or fewer mistakes. Cells in which `marked` (K, K) of bool
    is true get a frame. The colours end at the largest change of a mistake, times 1.5.
    """
    values = to_array(points, "points", 2).astype(float)
    frames = to_array(marked, "marked", 2).astype(bool)
    if values.shape != (len(classes),) * 2 or frames.shape != values.shape:
        raise ValueError(f"points and marked must be {len(classes)} × {len(classes)}")
    right = np.eye(len(classes), dtype=bool)
    highest = 1.5 * float(np.abs(values[~right]).max(initial=1e-9))
    with new_figure(6.0, 7.6) as figure:
        axes = figure.subplots()
        better = np.where(right, values, -values)
        (mesh,) = _draw(axes, [(better, BETTER, -highest, highest)], values, "{:+.1f}")
        for row, column in np.argwhere(frames):
            corner = (column + 0.06, row + 0.06)
            axes.add_patch(
                plt.Rectangle(
                    corner, 0.88, 0.88, fill=False, edgecolor=ORANGE, linewidth=2.5
                )
            )
        _name_classes(axes, classes, classes)
        axes.set(xlabel="predicted class", ylabel="true class")
        figure.colorbar(
            mesh, ax=axes, label="better (points)", shrink=0.8, extend="both"
        )
    return figure


def _checked(matrix, classes: Sequence[str]) -> np.ndarray:
    values = to_array(matrix, "matrix", 2).astype(float)
    if values.shape != (len(classes), len(classes)) or not (values >= 0).all():
        raise ValueError(
            f"matrix must be {len(classes)} × {len(classes)}, one row per class, "
            f"without negative values, got shape {values.shape}"
        )
    return values


def _draw_both(axes: Axes, values: np.ndarray, template: str) -> list[QuadMesh]:
    """Draw a matrix, and return its meshes: mistakes, right answers."""
    right = np.eye(len(values), dtype=bool)
    layers = [
        (np.ma.array(values, mask=hidden), colours, 0, values[~hidden].max(initial=1.0))
        for colours, hidden in ((MISTAKES, right), (RIGHT, ~right))
    ]
    return _draw(axes, layers, values, template)


def _draw(axes: Axes, layers, written: np.ndarray, template: str) -> list[QuadMesh]:
    """Draw layers (values, colours, low, high), rows down, a number in each cell."""
    meshes = []
    for values, colours, low, high in layers:
        mesh = axes.pcolormesh(
            values, cmap=colours, vmin=low, vmax=high, edgecolors="white", linewidth=1
        )
        meshes.append(mesh)
        for row, column in np.argwhere(~np.ma.getmaskarray(np.ma.asarray(values))):
            text = template.format(written[row, column]).replace("-", "−")
            ink = readable_ink(mesh.cmap(mesh.norm(float(values[row, column]))))
            place = (column + 0.5, row + 0.5)
            text = "" if text in ("+0.0", "−0.0") else text
            axes.text(*place, text, ha="center", va="center", size=9, color=ink)
    axes.set(aspect="equal", xlim=(0, len(written)), ylim=(len(written), 0))
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return meshes


def _name_classes(axes: Axes, below: Sequence[str], beside: Sequence[str]) -> None:
    """Names of the columns below, of the rows on the left."""
    axes.set_xticks(np.arange(len(below)) + 0.5, below)
    axes.set_yticks(np.arange(len(beside)) + 0.5, beside)
    axes.tick_params(length=0)
    axes.tick_params(axis="x", rotation=40)
    plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")


def _write_totals(axes: Axes, counts: np.ndarray) -> None:
    """Sums of rows and columns behind a line, and that of all in the corner."""
    size = len(counts)
    _write_below(axes, counts.sum(0), "{:.0f}")
    look = {"ha": "center", "va": "center", "size": 9}
    for index, total in enumerate(counts.sum(1)):
        axes.text(size + 0.65, index + 0.5, f"{total:.0f}", **look)
    axes.text(size + 0.65, size + 0.5, f"{counts.sum():.0f}", weight="bold", **look)
    axes.plot((size, size), (0, size), color=SOFT, linewidth=1)
    axes.set_xlim(0, size + 1.3)


def _write_below(axes: Axes, values: np.ndarray, template: str) -> None:
    """One number for each column, below a line under the matrix."""
    size = len(values)
    for index, value in enumerate(values):
        place, text = (index + 0.5, size + 0.5), template.format(value)
        axes.text(*place, text, ha="center", va="center", size=9)
    axes.plot((0, size), (size, size), color=SOFT, linewidth=1)
    axes.set_ylim(size + 1, 0)
