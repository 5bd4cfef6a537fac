"""TODO."""

import torch

from cifar_helpers.checks.framework import Wrong, answer, exercise, require


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


def _recurrence_mistakes(layers) -> list[tuple[str, int, int | None]]:
    """Hint, size and start of each common mistake (None: the start shows nothing)."""
    size, start, jump = {}, {}, 1
    for kernel, stride, dilation, padding in layers:
        reach = (kernel - 1) * dilation
        terms = {
            "late": reach * jump * stride,
            "flat": reach,
            "plain": (kernel - 1) * jump,
            "wide": kernel * dilation * jump,
        }
        size = {name: size.get(name, 1) + term for name, term in terms.items()}
        steps = {"late": padding * jump * stride, "flat": padding}
        start = {name: start.get(name, 0) - step for name, step in steps.items()}
        jump *= stride
    hints = {
        "late": "A kernel reaches over units of the layer below: use the jump from "
        "before this layer's stride is multiplied in.",
        "flat": "The jump is missing: one step in a deep layer is several pixels.",
        "plain": "The dilation is missing: the outermost taps lie (k - 1) d apart.",
        "wide": "A kernel of k taps makes k - 1 steps, not k.",
    }
    return [(hint, size[name], start.get(name)) for name, hint in hints.items()]


def _why_recurrence_fails(layers, what: str, got, wanted) -> str:
    if what == "jump":
        return "The jump is the product of all strides."
    if what == "start" and got == -wanted:
        return "Padding moves the start to the left: subtract it."
    for hint, size, start in _recurrence_mistakes(layers):
        if got == (size if what == "size" else start):
            return hint
    return "Update size and start of each layer first, then the jump."


@exercise
def field_recurrence(recurrence) -> str:
    """Check `recurrence(layers)` -> (size, jump, start) against traced taps."""
    stacks = (
        [(3, 1, 1, 1)],
        [(3, 1, 1, 1), (3, 1, 1, 1)],
        [(3, 1, 2, 2), (5, 1, 3, 6)],
        [(3, 2, 1, 1), (3, 1, 1, 1)],
        [(3, 1, 1, 1), (3, 2, 2, 2), (3, 1, 1, 1)],
        [(7, 2, 1, 3), (3, 2, 1, 1), (2, 2, 1, 0), (3, 1, 4, 4)],
    )
    for layers in stacks:
        got = answer(recurrence(list(layers)))
        require(
            isinstance(got, (tuple, list)) and len(got) == 3,
            f"Return three numbers, (size, jump, start), not {got!r}.",
        )
        first, second = _pixels_behind(layers, 0), _pixels_behind(layers, 1)
        all_wanted = (len(first), second[0] - first[0], first[0])
        names = ("size", "jump", "start")
        for what, value, wanted in zip(names, got, all_wanted, strict=True):
            require(
                value == wanted,
                f"For {layers} the {what} should be {wanted}, yours is {value}. "
                + _why_recurrence_fails(layers, what, value, wanted),
            )
    return (
        "Right. The order is what matters: size and start use the jump of the layer "
        "below, so a stride only shows in the layers after it."
    )


@exercise
def field_of_a_stack(size_and_jump) -> str:
    """Check the field of VGG-16's first seven convolutions: size 40, jump 4."""
    got = answer(size_and_jump)
    require(
        isinstance(got, (tuple, list)) and len(got) == 2,
        f"Give two numbers, (size, jump), not {got!r}.",
    )
    size, jump = answer(got[0]), answer(got[1])
    hints = {
        15: "you counted the convolutions as if nothing were pooled: behind a stride "
        "of 2 each step is twice as long. And the pooling windows look, too.",
        17: "you forgot the strides: behind a pooling of stride 2 each step is twice "
        "as long.",
        37: "you forgot that a pooling window looks at two units: it adds one step.",
        43: "the pooling doubles the jump for the layers after it, not for itself.",
        44: "after the last convolution no pooling follows: leave the third one out.",
        32: "there are three convolutions after the second pooling, not two.",
    }
    hint = hints.get(size, "go layer by layer: each adds (k - 1) times the jump.")
    require(size == 40, f"Size {size}: {hint}")
    require(jump == 4, f"Size 40 is right, jump {jump} is not: multiply all strides.")
    return (
        "Right: 40 pixels. Seven 3 × 3 convolutions alone would see 15; the two "
        "poolings add 3 themselves and make the steps behind them longer."
    )


@exercise
def gapless_dilations(dilations) -> str:
    """Check three dilations after a plain 3 x 3: unit (16, 16) must see all pixels."""
    from cifar_helpers.receptive_field import receptive_field

    values = answer(dilations)
    require(
        isinstance(values, (tuple, list)) and len(values) == 3,
        f"Give three dilations, such as (2, 4, 8), not {values!r}.",
    )
    values = [answer(value) for value in values]
    require(
        all(type(value) is int and value >= 1 for value in values),
        f"Dilations are whole numbers of at least 1, got {tuple(values)}.",
    )
    convolutions = [
        torch.nn.Conv2d(1, 1, 3, padding=d, dilation=d) for d in (1, *values)
    ]
    field = receptive_field(torch.nn.Sequential(*convolutions), (1, 32, 32))[-1]
    top, bottom, _, _ = field.span(16, 16)
    rows = field.mask(16, 16).any(dim=1)[top : bottom + 1]  # columns are the same
    missing = int((~rows).sum())
    gaps = (
        f"rows {top} to {bottom} are in reach, but {missing} of these rows are never "
        "looked at. A dilation may be at most as large as the field in front of it is "
        "wide; otherwise its taps leave a gap."
    )
    require(missing == 0, f"There are gaps: {gaps}")
    require(
        (top, bottom) == (0, 31),
        f"No gaps, but the unit sees only the rows {top} to {bottom}. "
        + (
            "Make the dilations add up to at least 15."
            if sum(values) < 15
            else "The sum is large enough, but paths end where a tap lands in the "
            "padding of a map in between: try smaller steps or another order."
        ),
    )
    return (
        f"Right: dilations {tuple(values)} reach all 1024 pixels without a gap. "
        "Three layers without the plain one in front could not, whatever their "
        "dilations: three taps three times over make 27 places per axis, fewer than 32."
    )


@exercise
def taps_that_see(taps_at) -> str:
    """Check `taps_at(size, dilation, i, j)` against a count over all nine taps."""
    cases = [(32, 2, 16, 16), (32, 2, 0, 16), (32, 2, 0, 0), (32, 16, 16, 16)]
    cases += [(32, 16, 15, 15), (32, 8, 8, 8), (32, 8, 23, 24), (16, 16, 8, 3)]
    cases += [(32, 12, 16, 4), (17, 18, 16, 0), (20, 10, 10, 9), (9, 4, 4, 4)]
    for size, dilation, i, j in cases:
        got = answer(taps_at(size, dilation, i, j))
        steps = (-dilation, 0, dilation)
        rows = sum(0 <= i + step < size for step in steps)
        columns = sum(0 <= j + step < size for step in steps)
        if got == rows * columns:
            continue
        reason = "a tap is live if 0 <= position < size, on both axes."
        edges = [sum(0 <= p + step <= size for step in steps) for p in (i, j)]
        if got == rows + columns:
            reason = "rows and columns are independent: multiply, do not add."
        elif got == rows * columns - 1:
            reason = "you forgot the tap in the middle: it always sees the map."
        elif got == edges[0] * edges[1]:
            reason = "the last position is size - 1: position `size` is padding."
        elif got == 9:
            reason = "near the border some taps land in the padding."
        elif got in (rows, columns):
            reason = "that is one axis only: a 3 × 3 kernel has rows and columns."
        raise Wrong(
            f"On a {size} × {size} map with dilation {dilation}, output ({i}, {j}) has "
            f"{rows * columns} live taps, you say {got}. The reason may be: {reason}"
        )
    return (
        "Right. On one axis three taps live while both neighbours are inside, else "
        "two, or one when the dilation leads out on both sides: so there are only "
        "1, 2, 4, 6 or 9 live taps."
    )
