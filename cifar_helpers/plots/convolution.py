"""What a convolution reads and computes: grids of numbers, taps on an image, maps.

Functions that take axes draw into those of a `new_figure`, several side by side.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cifar_helpers.plots.inputs import (
    colours_for,
    require_filled,
    require_length,
    to_array,
    to_pictures,
)
from cifar_helpers.plots.style import (
    DIVERGING,
    INK,
    SEQUENTIAL,
    SKY,
    VERMILION,
    YELLOW,
    new_figure,
    readable_ink,
)


def number_grid(
    axes: Axes,
    values,
    template: str = "{:.2f}",
    limits: tuple[float, float] | None = None,
    cmap: str = SEQUENTIAL,
    size: float = 10,
) -> AxesImage:
    """A grid of numbers (H, W), each written into a cell of its colour.

    Colours run over `limits`, by default from the smallest to the largest value;
    `template` formats a number, `size` is its height in points. Returns what a colour
    bar needs.
    """
    array = to_array(values, "values", 2)
    low, high = limits or (array.min(), array.max())
    drawn = axes.imshow(array, vmin=low, vmax=high, cmap=cmap)
    paper = drawn.to_rgba(array)  # (H, W, 4)
    for (row, column), value in np.ndenumerate(array):
        text = template.format(value).replace("-", "−")
        look = {"color": readable_ink(paper[row, column]), "size": size}
        axes.text(column, row, text, ha="center", va="center", **look)
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return drawn


def taps_on_image(
    axes: Axes,
    image,
    dilation: int,
    outputs: Sequence[tuple[int, int]],
    margin: int | None = None,
) -> None:
    """The nine taps of a dilated 3 × 3 kernel on an image (3, H, W), for some outputs.

    `outputs` are (row, column), one or two, told apart by colour. Squares are taps on
    pixels of the image, crosses are taps on the padding, which is grey; `margin` pixels
    of it are shown, by default as many as the convolution needs: `dilation`.
    """
    picture = to_pictures(to_array(image, "image", 3)[None])[0]
    if dilation < 1:
        raise ValueError(f"dilation must be at least 1, got {dilation}")
    colours = colours_for(len(outputs), (YELLOW, SKY), "outputs")
    height, width = picture.shape[:2]
    axes.imshow(picture, alpha=0.7)
    beyond = 0.5 + (dilation if margin is None else margin)
    axes.set(xlim=(-beyond, width - 1 + beyond), ylim=(height - 1 + beyond, -beyond))
    area = _marker_area(axes, width - 1 + 2 * beyond, dilation)
    steps = dilation * np.array((-1, 0, 1))
    for (row, column), colour in zip(outputs, colours, strict=True):
        rows, columns = np.repeat(row + steps, 3), np.tile(column + steps, 3)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        look = {"marker": "s", "edgecolors": "black", "linewidths": area**0.5 / 5}
        axes.scatter(columns[inside], rows[inside], area, colour, **look)
        axes.scatter(columns[~inside], rows[~inside], area, VERMILION, marker="x")
    axes.set(xticks=(0, width - 1), yticks=(0, height - 1), facecolor="#ececec")
    axes.grid(False)


def _marker_area(axes: Axes, pixels: float, dilation: int) -> float:
    """Square points of a marker: no wider than two taps lie apart, at most 22."""
    inches = min(axes.bbox.width, axes.bbox.height) / axes.figure.dpi
    apart = dilation * 72 * inches / pixels  # points
    return min(22.0, (0.9 * apart) ** 2)


def image_with_maps(image, maps, rows: int = 2, columns: int = 8) -> Figure:
    """An image (3, H, W) beside the first of its feature maps (C, h, w), numbered.

    The maps share one colour scale, which is cut off above their top half per cent.
    """
    picture = to_pictures(to_array(image, "image", 3)[None])[0]
    maps = to_array(maps, "maps", 3)
    if len(maps) < rows * columns:
        raise ValueError(f"got {len(maps)} maps for {rows} rows of {columns}")
    top = float(np.quantile(maps, 0.995))
    with new_figure(2.1) as figure:
        left, right = figure.subfigures(1, 2, width_ratios=(1, 3.9))
        axes = left.subplots()
        axes.imshow(picture)
        axes.set_axis_off()
        for channel, axes in enumerate(right.subplots(rows, columns).flat):
            drawn = axes.imshow(maps[channel], vmin=0, vmax=top, cmap=SEQUENTIAL)
            axes.set_title(f"{channel}", size=9, loc="center", weight="normal")
            axes.set_axis_off()
        right.colorbar(drawn, ax=right.axes, label="activation", pad=0.01, extend="max")
    return figure


def pixels_read(panels: Mapping[str, object]) -> Figure:
    """Which pixels one output reads, in a panel for each title; white is never read.

    `panels` maps a title to counts (n, n), n odd, of the paths from each pixel to the
    output in the middle. A panel shows the square from the first to the last pixel that
    is read, and counts the pixels in its title.
    """
    require_filled(panels, "panels")
    with new_figure(2.9) as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, counts) in zip(row, panels.items(), strict=True):
            counts = to_array(counts, title, 2).astype(float)
            if counts.shape[0] != counts.shape[1] or counts.shape[0] % 2 == 0:
                raise ValueError(
                    f"{title}: counts must be (n, n), n odd: {counts.shape}"
                )
            middle = len(counts) // 2
            places = np.argwhere(counts) - middle
            far = int(np.abs(places).max()) if len(places) else 0
            seen = slice(middle - far, middle + far + 1)
            shown = np.where(counts > 0, counts, np.nan)[seen, seen]
            edges = [-far - 0.5, far + 0.5, far + 0.5, -far - 0.5]  # rows go down
            axes.imshow(shown, extent=edges, vmin=0, cmap=SEQUENTIAL)
            axes.set_title(f"{title}\n{len(places):,} of {shown.size:,} pixels")
            axes.set(xlabel="column offset (pixels)", facecolor="white")
            axes.set(xticks=(-far, 0, far), yticks=(-far, 0, far))
            axes.grid(False)
        row[0].set_ylabel("row offset (pixels)")
    return figure


def taps_alive(shares, counts, title: str) -> Figure:
    """Where the taps of a 3 × 3 filter read pixels: by tap (3, 3), by place (H, W).

    `shares` are the shares of places at which each tap does, `counts` how many of the
    nine do at each place.
    """
    shares, counts = to_array(shares, "shares", 2), to_array(counts, "counts", 2)
    with new_figure(3.1, 7.5) as figure:
        left, right = figure.subplots(1, 2)
        number_grid(left, shares, "{:.0%}", (0, 1))
        left.set(xlabel="tap column", ylabel="tap row")
        left.set_title(f"{title}: {shares.mean():.0%} live")
        shown = right.imshow(counts, vmin=1, vmax=9, cmap=SEQUENTIAL)
        size = " × ".join(str(side) for side in counts.shape)
        right.set(title=f"{size} map", xlabel="column", ylabel="row")
        figure.colorbar(shown, ax=right, label="live taps", ticks=(1, 2, 3, 4, 6, 9))
        right.grid(False)
    return figure


def live_shares(
    shares,
    dead,
    sizes: Sequence[int],
    dilations: Sequence[int],
    marks: Iterable[tuple[int, int]] = (),
) -> Figure:
    """The live share of a filter (sizes, dilations), grey where taps are `dead`.

    `sizes` and `dilations` are whole numbers without gaps; `marks` are pairs (dilation,
    size), drawn as circles.
    """
    shares, dead = to_array(shares, "shares", 2), to_array(dead, "dead", 2)
    require_length(sizes, len(shares), "sizes", "rows")
    require_length(dilations, shares.shape[1], "dilations", "columns")
    with new_figure(4.6, 7.5) as figure:
        axes = figure.subplots()
        edges = (dilations[0], dilations[-1], sizes[0], sizes[-1])
        extent = [
            edge + half for edge, half in zip(edges, (-0.5, 0.5) * 2, strict=True)
        ]
        area = {"origin": "lower", "extent": extent, "aspect": "auto"}
        percent = 100 * shares.astype(float)
        shown = axes.imshow(percent, vmin=0, vmax=100, cmap=SEQUENTIAL, **area)
        grey = np.where(dead, 1.0, np.nan)
        axes.imshow(grey, cmap="Greys", vmin=0, vmax=3, **area)
        look = {"color": "white", "markeredgecolor": "black", "linestyle": "none"}
        places = np.array(sorted(marks), dtype=float).reshape(-1, 2)
        axes.plot(*places.T, "o", clip_on=False, zorder=3, **look)
        axes.set(xlabel="dilation", ylabel="size of the map (pixels)")
        axes.set_xticks(range(dilations[0] + dilations[0] % 2, dilations[-1] + 1, 2))
        figure.colorbar(shown, label="taps × places that read a pixel (%)")
        axes.grid(False)
    return figure


def kernel_tables(layers: Mapping[str, object]) -> Figure:
    """All kernels of each layer as one table: rows are outputs, columns are inputs.

    `layers` maps a title to the kernels (outputs, inputs, 3, 3); a title gets the
    number of weights that are not zero. Red is positive, blue negative, white zero,
    on a scale of its own for each layer.
    """
    require_filled(layers, "layers")
    with new_figure(3.2) as figure:
        panels = figure.subplots(1, len(layers), squeeze=False)[0]
        for axes, (title, kernels) in zip(panels, layers.items(), strict=True):
            kernels = to_array(kernels, title, 4)
            outputs, inputs, height, width = kernels.shape
            table = kernels.transpose(0, 2, 1, 3).reshape(outputs * height, -1)
            most = float(np.abs(table).max()) or 1.0
            axes.imshow(table, cmap=DIVERGING, vmin=-most, vmax=most)
            for edge in range(0, outputs * height + 1, height):
                axes.axhline(edge - 0.5, color=INK, linewidth=1.2)
            for edge in range(0, inputs * width + 1, width):
                axes.axvline(edge - 0.5, color=INK, linewidth=1.2)
            axes.set_xticks(np.arange(inputs) * width + width // 2, range(inputs))
            axes.set_yticks(np.arange(outputs) * height + height // 2, range(outputs))
            axes.grid(False)
            axes.set_title(f"{title}: {np.count_nonzero(table):,} weights", size=10)
            axes.set(xlabel="input channel", ylabel="output channel")
    return figure
