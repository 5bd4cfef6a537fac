"""Receptive fields drawn: paths, dependency matrices, views of an image, heat maps."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifar_helpers.plots.inputs import require_filled, to_array, to_pictures
from cifar_helpers.plots.style import (
    BLUE,
    ORANGE,
    SKY,
    SOFT,
    VERMILION,
    new_figure,
)
from cifar_helpers.receptive_field import EffectiveField, LayerField

PALE = "#cccccc"


def paths_to_pixels(
    layers: Sequence[tuple[int, int, int, int]], unit: int, pixels: int = 32
) -> Figure:
    """Side view of a chain of layers: every path from one unit down to the image.

    `layers` holds (kernel, stride, dilation, padding), from the image upwards; `unit`
    is one of the last layer, far enough from the border to see no padding.
    """
    places = [np.arange(float(pixels))]  # the x of each unit: pixels, for the image
    for _, stride, _, _ in layers:
        places.append(places[-1][::stride])
    units = len(places[-1])
    if not 0 <= unit < units:
        raise ValueError(f"the last layer has {units} units, counted from 0: no {unit}")
    with new_figure(0.8 * len(layers) + 0.8) as figure:
        axes = figure.subplots()
        seen = {unit}
        for level in range(len(layers), 0, -1):
            kernel, stride, dilation, padding = layers[level - 1]
            reads = [tap * dilation - padding for tap in range(kernel)]
            _dots(axes, places[level], level, seen, "o", BLUE)
            below = {one * stride + offset for one in seen for offset in reads}
            if min(below) < 0 or max(below) >= len(places[level - 1]):
                raise ValueError(f"unit {unit} sees padding: choose one further inside")
            for one in seen:
                for offset in reads:
                    x = places[level][one], places[level - 1][one * stride + offset]
                    axes.plot(x, (level, level - 1), color=SKY, lw=1.2, zorder=1)
            seen = below
        _dots(axes, places[0], 0, seen, "s", VERMILION)
        names = ["image", *(f"layer {level}" for level in range(len(layers)))]
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="column of the image (pixels)", xlim=(-1, pixels))
        axes.grid(False)
    figure.set_label(
        f"Paths from unit {unit} of the last of {len(layers)} layers down to "
        f"{len(seen)} pixels, {min(seen)} to {max(seen)}."
    )
    return figure


def _plain(title: str) -> str:
    """A title of several lines as one, for the alternative text."""
    return title.replace("\n", " ")


def _dots(axes, places, level, seen, marker, colour) -> None:
    """One row of units, those on a path coloured."""
    axes.plot(places, 0 * places + level, marker, color=PALE, ms=5)
    axes.plot(places[list(seen)], [level] * len(seen), marker, color=colour, ms=6)


def dependency_matrices(
    steps: Mapping[str, tuple[object, str]], columns: int = 3
) -> Figure:
    """Boolean matrices (outputs, inputs): a mark where an output reads an input.

    `steps` maps a title to a matrix and the name of its columns. A title that holds a
    dot, for a product of several, gets another colour.
    """
    matrices = {t: to_array(m, t, 2).astype(bool) for t, (m, _) in steps.items()}
    most = max(max(matrix.shape) for matrix in matrices.values())
    rows = -(-len(steps) // columns)
    with new_figure(3.2 * rows) as figure:
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, (title, matrix) in zip(panels, matrices.items(), strict=False):
            height, width = matrix.shape
            axes.add_patch(Rectangle((-0.5, -0.5), width, height, color="#f0f0f0"))
            y, x = matrix.nonzero()
            axes.scatter(x, y, s=52, marker="s", color=BLUE if "·" in title else SKY)
            axes.set(xlim=(-0.7, most - 0.3), ylim=(most - 0.3, -0.7), aspect="equal")
            axes.set(title=title, xlabel=steps[title][1], ylabel="output unit")
            axes.set(xticks=range(0, width, 4), yticks=range(0, height, 4))
            axes.grid(False)
        for axes in panels[len(steps) :]:
            axes.set_axis_off()
    figure.set_label(f"Dependency matrices of {', '.join(steps)}.")
    return figure


def views(
    picture,
    rows: Sequence[Sequence[tuple[str, LayerField, tuple[int, int]]]],
    title: str = "",
) -> Figure:
    """An image, faded where a unit does not see it; one panel for each unit.

    `picture` (3, H, W) is uint8 or float between 0 and 1. Each row holds (title, field,
    (i, j)); the size of the box that the unit sees is written behind the title.
    """
    require_filled(any(rows), "rows")
    picture = to_pictures(to_array(picture, "picture", 3)[None])[0]  # (H, W, 3)
    columns = max(len(row) for row in rows)
    side = min(2.0, 8.6 / columns)
    with new_figure((side + 0.35) * len(rows) + 0.3 * bool(title)) as figure:
        panels = figure.subplots(len(rows), columns, squeeze=False)
        for axes_row, row in zip(panels, rows, strict=True):
            for axes in axes_row:
                axes.set_axis_off()
            for axes, (name, field, (i, j)) in zip(axes_row, row, strict=False):
                size = _draw_view(axes, picture, field, i, j)
                axes.set_title(f"{name}\n{size}".strip(), loc="center", size=10)
        if title:
            figure.suptitle(title)
    names = ", ".join(_plain(name) for row in rows for name, *_ in row if name)
    figure.set_label(f"What single units see of an image: {names}.")
    return figure


def _draw_view(axes: Axes, picture, field: LayerField, i: int, j: int) -> str:
    """Draw the picture with the box that unit (i, j) sees; returns the box's size."""
    colours = picture / np.float32(255 if picture.dtype == np.uint8 else 1)
    seen = field.mask(i, j).numpy()[..., None]  # (H, W, 1)
    axes.imshow(np.where(seen, colours, 0.2 * colours + 0.8))
    span = field.span(i, j)
    if span is None:
        return "padding only"
    top, bottom, left, right = span
    width, height = right - left + 1, bottom - top + 1
    box = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, lw=2.5)
    box.set(edgecolor=VERMILION, clip_on=False)
    axes.add_patch(box)
    return f"{height} × {width}"


def field_growth(
    profiles: Mapping[str, object], depths, can_see, holds, mass: str = "95 %"
) -> Figure:
    """How pixels count after several layers, and how two widths grow with depth.

    `profiles` maps a label to weights that sum to 1, centred; `depths`, `can_see` and
    `holds` are the numbers of layers, the theoretical width and that of the window that
    holds `mass` of the weight, as long as each other.
    """
    with new_figure(3.0) as figure:
        left, right = figure.subplots(1, 2)
        dashes = ("-", "--", ":", "-.")
        for number, (label, weights) in enumerate(profiles.items()):
            weights = to_array(weights, label, 1)
            offsets = np.arange(len(weights)) - len(weights) // 2
            left.plot(offsets, 100 * weights, dashes[number % 4], label=label)
        left.set(xlabel="distance from the middle (pixels)", xlim=(-33, 33))
        left.set(ylabel="weight of the pixel (%)")
        left.legend()
        right.plot(depths, can_see, label="can see")
        right.plot(depths, holds, "--", label=f"holds {mass} of the weight")
        right.set(xlabel="layers", ylabel="width (pixels)", ylim=(0, None))
        right.legend()
    figure.set_label(
        "Left, bell curves of the weight of pixels that flatten with depth. Right, the "
        f"theoretical width grows to {max(can_see)}, the other to {max(holds)} pixels."
    )
    return figure


def heat_maps(rows: Mapping[str, Mapping[str, object]]) -> Figure:
    """Masks and measured fields over the image, one row each, all units in columns.

    `rows` maps a row's name to what each column shows: an `EffectiveField`, with the
    white square that holds its `mass`, or an array (H, W). Colours are relative to a
    panel's largest value, and grow with the square root.
    """
    require_filled(rows, "rows")
    columns = list(next(iter(rows.values())))
    require_filled(columns, "columns")
    if any(set(shown) != set(columns) for shown in rows.values()):
        raise ValueError("every row must have the same columns")
    side = min(1.55, 8.0 / len(columns))
    with new_figure((side + 0.1) * len(rows) + 0.35) as figure:
        panels = figure.subplots(len(rows), len(columns), squeeze=False)
        for axes_row, (name, shown) in zip(panels, rows.items(), strict=True):
            for axes, column in zip(axes_row, columns, strict=True):
                _draw_heat(axes, shown[column])
            axes_row[0].set_ylabel(name)
        for axes, column in zip(panels[0], columns, strict=True):
            axes.set_title(column.replace("_", "\n"), loc="center", size=10)
    names = ", ".join(map(_plain, rows))
    figure.set_label(f"Heat maps. Rows: {names}; columns: {', '.join(columns)}.")
    return figure


def _draw_heat(axes: Axes, shown) -> None:
    measured = isinstance(shown, EffectiveField)
    map = to_array(shown.map if measured else shown, "a heat map", 2).astype(float)
    axes.imshow(map / (map.max() or 1), norm=PowerNorm(0.5, 0, 1))
    if measured:
        side = shown.effective_size
        row, column = shown.middle
        corner = (column - side / 2, row - side / 2)
        axes.add_patch(Rectangle(corner, side, side, fill=False, ec="white", lw=1.5))
    height, width = map.shape
    axes.set(xticks=(), yticks=(), xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.grid(False)


def share_within(field: EffectiveField, sides) -> np.ndarray:
    """The share (%) of a measured field within centred squares of these sides."""
    return np.array([100 * field.share(side) for side in sides])


def shares_within_squares(
    panels: Mapping[str, tuple[Sequence[EffectiveField], EffectiveField]],
) -> Figure:
    """How much of a measured field lies within centred squares: before and after.

    `panels` maps a title to the fields of untrained networks and that of the trained.
    """
    with new_figure(3.2) as figure:
        sides = np.arange(1, 33)
        for axes, (title, (before, after)) in zip(
            figure.subplots(1, len(panels), sharey=True, squeeze=False)[0],
            panels.items(),
            strict=True,
        ):
            for number, field in enumerate(before):
                label = f"{len(before)} untrained" if number == 0 else None
                look = {"color": BLUE, "lw": 1.2, "ls": "--", "label": label}
                axes.plot(sides, share_within(field, sides), **look)
            axes.plot(sides, share_within(after, sides), color=ORANGE, label="trained")
            axes.axhline(95, color=SOFT, lw=1, zorder=1)
            axes.set(title=title, xlabel="side of the square (pixels)", ylim=(0, 102))
            axes.legend(loc="lower right")
        figure.axes[0].set_ylabel("share of the heat map (%)")
    figure.set_label(
        f"Share of the heat map within growing squares, for {', '.join(panels)}; grey "
        "line at 95 %."
    )
    return figure


def live_taps(counts: Mapping[str, object], most: int = 9) -> Figure:
    """How many taps see the image, for each unit of a map (h, w); one panel each."""
    with new_figure(2.6) as figure:
        panels = figure.subplots(1, len(counts), squeeze=False)[0]
        for axes, (title, values) in zip(panels, counts.items(), strict=True):
            values = to_array(values, title, 2)
            drawn = axes.imshow(values, vmin=1, vmax=most)
            axes.set_title(title, size=9, loc="center")
            axes.set(xticks=(), yticks=())
            axes.set_xlabel("{} × {} units".format(*values.shape))
            axes.grid(False)
        options = {"ticks": (1, 2, 4, 6, most), "shrink": 0.7}
        figure.colorbar(drawn, ax=list(panels), label="live taps", **options)
    figure.set_label(f"Live taps of each unit: {', '.join(map(_plain, counts))}.")
    return figure
