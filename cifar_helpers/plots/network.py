"""A network drawn from left to right, with what each stage costs."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import wrap

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from cifar_helpers.hooks import captured
from cifar_helpers.model import PARTS, CIFAR10Net, NetConfig, predict
from cifar_helpers.plots.style import (
    BLUE,
    INK,
    PALETTE,
    SOFT,
    WIDTH,
    blank_canvas,
    new_figure,
    readable_ink,
)


def block_diagram(stages: Sequence[Mapping[str, object]]) -> Figure:
    """Draw a network from left to right, one block per stage.

    Each stage is a dict with `name`, `output` (channels, height, width) or (channels,),
    `parameters` and, if wanted, `multiply_adds` per image and `shortcut_from`, the name
    of an earlier stage that it reads too. A block's height grows with the root of its
    resolution, its width with the root of its channels. The strips below share out
    parameters and multiply-adds in the colours of the blocks.
    """
    rows = [_check_stage(stage) for stage in stages]
    if len({row["name"] for row in rows}) < len(rows):
        raise ValueError("two stages have the same name: give each its own")
    if not 1 <= len(rows) <= 10:
        raise ValueError(f"a drawing holds 1 to 10 stages, got {len(rows)}: merge some")
    costs = {"parameters": "parameters"}
    if all("multiply_adds" in row for row in rows):
        costs["multiply_adds"] = "multiply-adds"
    coloured = iter(PALETTE + PALETTE)
    colours = [next(coloured) if row["parameters"] else "#b3b3b3" for row in rows]
    width, margin = WIDTH + 1, 1.0  # inches, as all coordinates of this drawing
    height = 2.95 + 0.4 * len(costs)
    head = 0.2 if any("shortcut_from" in row for row in rows) else 0.0
    slot = min((width - margin) / len(rows), 1.8)
    with new_figure(height + head, width, layout="none") as figure:
        axes = blank_canvas(figure, width, height)
        axes.set_ylim(height, -head)
        spots = {}
        for index, (row, colour) in enumerate(zip(rows, colours, strict=True)):
            middle = margin + (index + 0.5) * slot
            spots[row["name"]] = _draw_block(axes, row, rows, colour, middle, slot)
            _describe_stage(axes, row, middle, slot)
        _draw_arrows(axes, rows, spots)
        for y, caption in ((2.56, "output"), (2.76, "parameters")):
            axes.text(0.05, y, caption, size=9, color=SOFT)
        for number, (key, name) in enumerate(costs.items()):
            amounts = [row[key] for row in rows]
            ends = (margin, margin + slot * len(rows))
            _draw_share(axes, amounts, name, colours, ends, 3.1 + 0.4 * number)
    return figure


def network_map(here: str | None = None) -> Figure:
    """The way through the baseline, with the part `here` coloured: "you are here".

    `here` is one of `model.PARTS`; a ValueError names them. The maps at the bottom of
    the deconvolution part, the coarsest of the network, are drawn as a block of their
    own.
    """
    if here is not None and here not in PARTS:
        raise ValueError(f"here must be one of {list(PARTS)}, not {here!r}")
    with torch.random.fork_rng([]):  # only its sizes are used
        stages = _stages_with_bottleneck(CIFAR10Net(NetConfig()))
    rows = [_check_stage({"parameters": 1, **stage}) for stage in stages]
    width, slot = WIDTH + 1, (WIDTH + 0.8) / len(rows)
    with new_figure(2.75, width, layout="none") as figure:
        axes = blank_canvas(figure, width, 2.75)
        axes.set_ylim(2.75, 0)
        spots = {}
        for index, row in enumerate(rows):
            current = here in (row["part"], None)
            colour = BLUE if current and row["part"] else "#b3b3b3"
            middle = 0.1 + (index + 0.5) * slot
            spots[row["name"]] = _draw_block(axes, row, rows, colour, middle, slot)
            look = {"ha": "center", "size": 9, "color": INK if current else "#6e6e6e"}
            weight = "bold" if current else "normal"
            axes.text(middle, 2.36, row["name"], va="bottom", weight=weight, **look)
            output = " × ".join(str(size) for size in row["output"])
            axes.text(middle, 2.58, output, **look)
        _draw_arrows(axes, rows, spots)
    place = f"; you are here: {PART_TITLES[here]}".replace("\n", " ") if here else ""
    names = ", ".join(row["name"].replace("\n", " ") for row in rows)
    figure.set_label(f"The way through the network: {names}{place}.")
    return figure


PART_TITLES = {  # two lines each, as a drawing has them
    "initial": "Initial\nconvolution",
    "dilated_near": "Dilated\nblock 2, 4",
    "dilated_far": "Dilated\nblock 8, 16",
    "attention": "Channel\nattention",
    "deconvolution": "Deconvolution\n+ shortcut",
    "aspp": "ASPP",
    "head": "Classifi-\ncation head",
}


def _stages_with_bottleneck(model: CIFAR10Net) -> list[dict]:
    """Image and parts by name and output, the bottleneck before the part it is in."""
    with captured(model, *PARTS, "deconvolution.down") as kept:
        predict(model, torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    stages = [{"name": "Image", "part": "", "output": (3, 32, 32)}]
    for part in PARTS:
        output, coarsest = (
            tuple(kept[name][0].shape[1:]) for name in (part, "deconvolution.down")
        )
        stage = {"name": PART_TITLES[part], "part": part, "output": output}
        if part == "deconvolution":
            below = {"name": "down to the\ncoarsest", "output": coarsest}
            stages.append({**stage, **below})
            stage["shortcut_from"] = PART_TITLES[model.config.shortcut_from]
        stages.append(stage)
    return stages


def _draw_arrows(axes: Axes, rows: list[dict], spots: dict[str, tuple]) -> None:
    """Join each block with the next, and the ends of each shortcut above them."""
    look = {"arrowstyle": "-|>", "color": INK, "lw": 1.2}
    for one, other in pairwise(rows):
        _, right, _ = spots[one["name"]]
        left, _, _ = spots[other["name"]]
        axes.annotate("", (left, 1.1), (right, 1.1), arrowprops=look)
    for place, row in enumerate(rows):
        source = row.get("shortcut_from")
        if source is None:
            continue
        if source not in [earlier["name"] for earlier in rows[:place]]:
            raise ValueError(
                f"shortcut_from {source!r}: no earlier stage has that name"
            )
        (*start, start_y), (*end, end_y) = spots[source], spots[row["name"]]
        x, end_x, y = sum(start) / 2, sum(end) / 2, 0.05
        axes.plot((x, x, end_x), (start_y, y, y), color=INK, lw=1.2)
        shown = {**look, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (end_x, end_y), (end_x, y), arrowprops=shown)


def _check_stage(stage: Mapping[str, object]) -> dict[str, object]:
    """A stage with its size as (channels, height, width), or `ValueError`."""
    needed = {"name", "output", "parameters"}
    if not isinstance(stage, Mapping) or not needed <= set(stage):
        raise ValueError(f"a stage needs name, output and parameters, got {stage!r}")
    output = tuple(int(size) for size in stage["output"])
    if len(output) not in (1, 3) or min(output) < 1:
        raise ValueError(
            f"output of {stage['name']!r} must be (channels, height, width) or "
            f"(channels,), got {output}"
        )
    if stage["parameters"] < 0 or stage.get("multiply_adds", 0) < 0:
        raise ValueError(f"{stage['name']!r} has a negative cost: {stage!r}")
    return {**stage, "size": output if len(output) == 3 else (*output, 1, 1)}


def _draw_block(
    axes: Axes, row: dict, rows: list[dict], colour: str, middle: float, slot: float
) -> tuple[float, float, float]:
    """Draw one stage as a cuboid around `middle`; returns its left, right and top."""
    channels, height, width = row["size"]
    most_channels = max(other["size"][0] for other in rows)
    most_pixels = max(max(other["size"][1:]) for other in rows)
    unit = min(1.35, 1.15 * slot)
    tall = unit * (height / most_pixels) ** 0.5
    deep = 0.3 * unit * (width / most_pixels) ** 0.5
    wide = max(0.08, 0.42 * min(slot, 1.3) * (channels / most_channels) ** 0.5)
    left, right = middle - (wide + deep) / 2, middle + (wide + deep) / 2
    top, bottom = 1.1 - (tall - deep) / 2, 1.1 + (tall + deep) / 2
    front, back, base = right - deep, top - deep, bottom - deep
    faces = (
        (0.0, (left, top), (front, top), (front, bottom), (left, bottom)),
        (0.45, (left, top), (front, top), (right, back), (left + deep, back)),
        (-0.25, (front, top), (right, back), (right, base), (front, bottom)),
    )
    for light, *corners in faces:
        plain, target = np.array(to_rgb(colour)), float(light > 0)
        shade = plain + abs(light) * (target - plain)  # towards white or black
        axes.add_patch(Polygon(corners, facecolor=shade, edgecolor="white", lw=0.8))
    return left, right, top - deep / 2


def _describe_stage(axes: Axes, row: dict, middle: float, slot: float) -> None:
    """Write name, output size and parameters below a stage."""
    letters = max(9, int(slot / 0.088))  # of 9 points, in inches
    words = str(row["name"]).replace("_", " ")
    name = "\n".join(wrap(words, letters, break_long_words=False))
    output = " × ".join(str(int(number)) for number in row["output"])
    parameters = f"{int(row['parameters']):,}" if row["parameters"] else "–"
    text = {"ha": "center", "size": 9}
    axes.text(middle, 2.36, name, va="bottom", weight="bold", **text)
    axes.text(middle, 2.56, output, **text)
    axes.text(middle, 2.76, parameters, **text)


def _draw_share(
    axes: Axes,
    amounts: list[float],
    name: str,
    colours: list[str],
    ends: tuple[float, float],
    y: float,
) -> None:
    """A strip between `ends` that shares out one cost among the stages."""
    total = sum(amounts)
    shown = f"{total / 1e6:.1f} M" if total >= 1e6 else f"{total:,.0f}"
    axes.text(0.05, y, shown, size=9, va="bottom", weight="bold")
    axes.text(0.05, y, name, size=9, va="top", color=SOFT)
    left = ends[0]
    for amount, colour in zip(amounts, colours, strict=True):
        length = (ends[1] - ends[0]) * amount / max(total, 1)
        options = {"left": left, "color": colour, "edgecolor": "white", "lw": 0.8}
        axes.barh(y, length, 0.22, **options)
        if length > 0.42:
            place = (left + length / 2, y + 0.005)
            text = {"size": 9, "color": readable_ink(colour)}
            share = f"{100 * amount / total:.0f} %"
            axes.text(*place, share, ha="center", va="center", **text)
        left += length
