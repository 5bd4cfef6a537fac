"""Self-checks of notebook 09: the field's recurrence, gaps, live taps."""

import torch

from cifar_helpers.checks.framework import (
    as_items,
    as_whole_number,
    as_whole_numbers,
    exercise,
    question,
    reject_mistakes,
    require,
    require_close,
)
from cifar_helpers.receptive_field import receptive_field


def _pixels_behind(layers, unit: int) -> range:
    """The pixels behind one unit of an endless chain, traced back tap by tap."""
    places = {unit}
    for kernel, stride, dilation, padding in reversed(layers):
        places = {
            place * stride + tap * dilation - padding
            for place in places
            for tap in range(kernel)
        }
    return range(min(places), max(places) + 1)


def _recurrence_mistakes(layers) -> tuple[dict, dict]:
    """Sizes and starts that common mistakes give, by hint."""
    late = (
        "A kernel reaches over units of the layer below: use the jump from before this "
        "layer's stride is multiplied in."
    )
    flat = "The jump is missing: one step in a deep layer is several pixels."
    plain = "The dilation is missing: the outermost taps lie (k - 1) d apart."
    wide = "A kernel of k taps makes k - 1 steps, not k."
    spread = (
        "Padding is counted in units of the layer below, whatever the dilation: the "
        "dilation does not belong there."
    )
    both = f"Two mistakes: {late} {spread}"
    same = (
        "Take the padding as it is given: (k - 1) d / 2 is only the one that keeps the "
        "size."
    )
    sizes = dict.fromkeys((late, flat, plain, wide), 1)
    starts = dict.fromkeys((late, flat, spread, both, same), 0)
    jump = 1
    for kernel, stride, dilation, padding in layers:
        sizes[late] += (kernel - 1) * dilation * jump * stride
        sizes[flat] += (kernel - 1) * dilation
        sizes[plain] += (kernel - 1) * jump
        sizes[wide] += kernel * dilation * jump
        starts[late] -= padding * jump * stride
        starts[flat] -= padding
        starts[spread] -= padding * dilation * jump
        starts[same] -= (kernel - 1) * dilation // 2 * jump
        starts[both] -= padding * dilation * jump * stride
        jump *= stride
    return sizes, starts


@exercise
def field_recurrence(recurrence) -> str:
    """`recurrence(layers)`: (size, jump, start) of the last layer.

    `layers` is a list of (kernel, stride, dilation, padding), from image to output.
    """
    stacks = (
        [(3, 1, 1, 1)],
        [(3, 1, 1, 1), (3, 1, 1, 1)],
        [(3, 1, 2, 2), (5, 1, 3, 6)],
        [(3, 1, 1, 0), (5, 1, 2, 1)],
        [(3, 2, 1, 1), (3, 1, 1, 1)],
        [(3, 1, 1, 1), (3, 2, 2, 2), (3, 1, 1, 1)],
        [(7, 2, 1, 3), (3, 2, 1, 1), (2, 2, 1, 0), (3, 1, 4, 4)],
    )
    for layers in stacks:
        triple = "Return three whole numbers, (size, jump, start)"
        size, jump, start = as_whole_numbers(recurrence(list(layers)), 3, triple)
        first, second = _pixels_behind(layers, 0), _pixels_behind(layers, 1)
        sizes, starts = _recurrence_mistakes(layers)
        starts["Padding moves the start to the left: subtract it."] = -first[0]
        product = "The jump is the product of all strides."
        order = "Update size and start of each layer first, then the jump."
        case = f"For {layers} the"
        require_close(size, len(first), f"{case} size", sizes, order)
        require_close(jump, second[0] - first[0], f"{case} jump", otherwise=product)
        require_close(start, first[0], f"{case} start", starts, order)
    return (
        "Right. The order is what matters: size and start use the jump of the layer "
        "below, so a stride only shows in the layers after it."
    )


@question
def field_of_a_stack(size_and_jump) -> str:
    """(size, jump) of the field of VGG-16's first seven convolutions."""
    size, jump = as_whole_numbers(size_and_jump, 2, "Give two numbers, (size, jump)")
    mistakes = {
        "you counted the convolutions as if nothing were pooled: behind a stride of 2 "
        "each step is twice as long. And the pooling windows look, too.": 15,
        "you forgot the strides: behind a pooling of stride 2 each step is twice as "
        "long.": 17,
        "you forgot that a pooling window looks at two units: it adds one step.": 37,
        "the pooling doubles the jump for the layers after it, not for itself.": 43,
        "after the last convolution no pooling follows: leave the third one out.": 44,
        "there are three convolutions after the second pooling, not two.": 32,
    }
    reject_mistakes(size, mistakes, f"Size {size} is not right:")
    hint = "go layer by layer, each adds (k - 1) times the jump."
    require(size == 40, f"Size {size} is not right: {hint}")
    require(jump == 4, f"Size 40 is right, jump {jump} is not: multiply all strides.")
    return (
        "Right: 40 pixels. Seven 3 × 3 convolutions alone would see 15; the two "
        "poolings add 3 themselves and make the steps behind them longer."
    )


@question
def gapless_dilations(experiment) -> str:
    """(dilations, expected, measured): rows of the image that unit (16, 16) sees.

    A plain 3 x 3 convolution and three with these dilations must see the whole image.
    """
    things = "Give three things, (dilations, expected, measured)"
    dilations, expected, measured = as_items(experiment, 3, things)
    wanted = "Give three whole numbers of at least 1, such as (2, 4, 8)"
    values = as_whole_numbers(dilations, 3, wanted)
    require(all(1 <= d < 32 for d in values), f"{wanted}, below 32, not {values}.")
    expected = as_whole_number(expected, "The number of rows that you expect")
    require(1 <= expected <= 32, "Expect 1 to 32 rows: the image has no more.")
    measured = as_whole_number(measured, "The number of rows that you measured")
    layers = [torch.nn.Conv2d(1, 1, 3, padding=d, dilation=d) for d in (1, *values)]
    field = receptive_field(torch.nn.Sequential(*layers), (1, 32, 32))[-1]
    mask = field.mask(16, 16)
    top, bottom, _, _ = field.span(16, 16)
    rows = mask.any(dim=1)  # (32,), columns are the same
    mistakes = {
        "this is the box, gaps included: count the rows in which the mask has a "
        "pixel.": bottom - top + 1,
        "these are pixels: count the rows.": int(mask.sum()),
    }
    seen = int(rows.sum())
    if measured != seen:
        reject_mistakes(measured, mistakes, f"Measured {measured} is not right:")
    hint = (
        f"For {tuple(values)} measured {measured} is not right: did you measure anew?"
    )
    require(measured == seen, hint)
    missing = int((~rows[top : bottom + 1]).sum())
    widths = [3 + 2 * sum(sorted(values)[:k]) for k in range(3)]  # before each is added
    in_steps = all(d <= w for d, w in zip(sorted(values), widths, strict=True))
    padding = (
        "paths end where a tap lands in the padding of a map in between: try smaller "
        "steps or another order."
    )
    require(
        missing == 0,
        f"There are gaps: rows {top} to {bottom} are in reach, but {missing} of these "
        "rows are never looked at. "
        + (
            f"The steps are small enough, but {padding}"
            if in_steps
            else "To be safe: sorted from small to large, no dilation larger than the "
            "field of the smaller ones and the plain layer is wide."
        ),
    )
    require(
        (top, bottom) == (0, 31),
        f"No gaps, but the unit sees only the rows {top} to {bottom}. "
        + (
            "Make the dilations add up to at least 15."
            if sum(values) < 15
            else f"The sum is large enough, but {padding}"
        ),
    )
    return (
        f"Right: dilations {tuple(values)} reach all 1024 pixels without a gap; you "
        f"expected {expected} of 32 rows. "
        "Three layers without the plain one in front could not, whatever their "
        "dilations: three taps three times over make 27 places per axis, fewer than 32."
    )


@exercise
def taps_that_see(taps_at) -> str:
    """`taps_at(size, dilation, i, j)`: live taps of a 3 x 3 kernel at output (i, j)."""
    cases = [(32, 2, 16, 16), (32, 2, 0, 16), (32, 2, 0, 0), (32, 16, 16, 16)]
    cases += [(32, 16, 15, 15), (32, 8, 8, 8), (32, 8, 23, 24), (16, 16, 8, 3)]
    cases += [(32, 12, 16, 4), (17, 18, 16, 0), (20, 10, 10, 9), (9, 4, 4, 4)]
    for size, dilation, i, j in cases:
        steps = (-dilation, 0, dilation)
        rows = sum(0 <= i + step < size for step in steps)
        columns = sum(0 <= j + step < size for step in steps)
        edges = [sum(0 <= p + step <= size for step in steps) for p in (i, j)]
        mistakes = {
            "Rows and columns are independent: multiply, do not add.": rows + columns,
            "The tap in the middle always sees the map, too.": rows * columns - 1,
            "The first position is 0.": (
                sum(0 < i + step < size for step in steps)
                * sum(0 < j + step < size for step in steps)
            ),
            "The last position is size - 1.": edges[0] * edges[1],
            "Near the border some taps land in the padding.": 9,
            "A 3 × 3 kernel has two axes, rows and columns.": (rows, columns),
        }
        what = f"With map size {size} and dilation {dilation}, the live taps at {i, j}"
        otherwise = "A tap is live if 0 <= position < size, on both axes."
        got = taps_at(size, dilation, i, j)
        require_close(got, rows * columns, what, mistakes, otherwise)
    return (
        "Right. On one axis three taps live while both neighbours are inside, else "
        "two, or one when the dilation leads out on both sides: so there are only "
        "1, 2, 4, 6 or 9 live taps."
    )
