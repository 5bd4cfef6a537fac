"""Attempts at the exercises of notebook 09."""

from torch import nn

from cifar_helpers.checks import receptive_field as checks
from cifar_helpers.receptive_field import receptive_field


def recurrence(step=None, shift=None, late=False):
    """The recurrence, with a wrong term where one is given."""

    def attempt(layers):
        size, jump, start = 1, 1, 0
        for kernel, stride, dilation, padding in layers:
            jump *= stride if late else 1
            size += (step or (lambda k, d, j: (k - 1) * d * j))(kernel, dilation, jump)
            start += (shift or (lambda p, j: -p * j))(padding, jump)
            jump *= 1 if late else stride
        return size, jump, start

    return attempt


def last_stride(layers):
    size, _, start = recurrence()(layers)
    return size, layers[-1][1], start


def spread_padding(layers):
    """As if the padding were dilated, too."""
    size, jump, _ = recurrence()(layers)
    dilated = [(k, s, d, d * p) for k, s, d, p in layers]
    return size, jump, recurrence()(dilated)[2]


def of_same_size(layers):
    """As if every padding kept the size."""
    return recurrence()([(k, s, d, (k - 1) * d // 2) for k, s, d, _ in layers])


def traced_stack(blocks=(2, 2, 3)):
    """(size, jump) of convolutions in blocks, a 2 x 2 pooling between them, traced."""
    layers = []
    for number, block in enumerate(blocks):
        layers += [nn.MaxPool2d(2)] if number else []
        layers += [nn.Conv2d(1, 1, 3, padding=1) for _ in range(block)]
    field = receptive_field(nn.Sequential(*layers), (1, 96, 96))[-1]
    return field.size[0], field.stride[0]


def traced_taps(size, dilation, i, j):
    layer = nn.Conv2d(1, 1, 3, padding=dilation, dilation=dilation)
    (field,) = receptive_field(layer, (1, size, size))
    return field.live_taps_at(i, j)


def on_axis(size, dilation, position):
    return sum(0 <= position + step < size for step in (-dilation, 0, dilation))


def taps_at(size, dilation, i, j):
    return on_axis(size, dilation, i) * on_axis(size, dilation, j)


def rows_seen(dilations):
    """Rows behind unit 16, traced back tap by tap; padding ends a path."""
    rows = {16}
    for dilation in (*reversed(dilations), 1):
        steps = (-dilation, 0, dilation)
        rows = {row + step for row in rows for step in steps if 0 <= row + step < 32}
    return rows


def tried(dilations, expected=32):
    """The experiment with these dilations, and what is seen."""
    return dilations, expected, len(rows_seen(dilations))


def box_height(dilations):
    rows = rows_seen(dilations)
    return max(rows) - min(rows) + 1


FIELD, STACK = checks.field_recurrence, checks.field_of_a_stack
GAPLESS, TAPS = checks.gapless_dilations, checks.taps_that_see
SOME_DILATIONS = [(2, 4, 9), (9, 9, 3), (9, 4, 2), (1, 5, 15), (2, 4, 10), (3, 9, 3)]
RIGHT = [
    (FIELD, recurrence()),
    (STACK, traced_stack()),
    (TAPS, taps_at),
    (TAPS, traced_taps),
    *((GAPLESS, tried(d)) for d in SOME_DILATIONS if len(rows_seen(d)) == 32),
]
WRONG = [
    (FIELD, recurrence(late=True), "size", "before this layer's stride"),
    (FIELD, recurrence(step=lambda k, d, j: (k - 1) * d), "jump is missing"),
    (FIELD, recurrence(step=lambda k, d, j: (k - 1) * j), "dilation is missing"),
    (FIELD, recurrence(step=lambda k, d, j: k * d * j), "k - 1 steps"),
    (FIELD, recurrence(shift=lambda p, j: p * j), "start", "subtract"),
    (FIELD, recurrence(shift=lambda p, j: -p), "start", "jump is missing"),
    (FIELD, spread_padding, "start", "whatever the dilation"),
    (FIELD, of_same_size, "start", "Take the padding as it is given"),
    (FIELD, lambda layers: 3, "three whole numbers, (size, jump, start), not 3"),
    (FIELD, last_stride, "jump", "product of all strides"),
    (STACK, (15, 4), "as if nothing were pooled"),
    (STACK, (17, 4), "forgot the strides"),
    (STACK, (37, 4), "pooling window looks"),
    (STACK, (43, 4), "not for itself"),
    (STACK, (44, 4), "leave the third one out"),
    (STACK, (32, 4), "three convolutions"),
    (STACK, (99, 4), "Size 99 is not right: go layer by layer"),
    (STACK, (40, 2), "multiply all strides"),
    (STACK, 40, "two numbers, (size, jump), not 40"),
    (STACK, (40.5, 4), "each should be a whole number, yours is 40.5"),
    (GAPLESS, tried((2, 4, 8)), "rows 1 to 31", "at least 15"),
    (GAPLESS, tried((1, 1, 1)), "rows 12 to 20"),
    (GAPLESS, tried((3, 9, 9)), "rows 3 to 29", "padding"),
    (GAPLESS, tried((2, 8, 16)), "gaps", "never"),
    (GAPLESS, tried((4, 8, 12)), "gaps", "To be safe"),
    (GAPLESS, tried((5, 15, 1)), "gaps", "small enough", "another order"),
    (GAPLESS, (2, 4), "three things", "a tuple of length 2"),
    (GAPLESS, ((2, 4), 32, 32), "three whole numbers", "a tuple of length 2"),
    (GAPLESS, ((2.5, 4, 9), 32, 32), "a whole number, yours is 2.5"),
    (GAPLESS, ((0, 4, 9), 32, 32), "at least 1"),
    (GAPLESS, ((2, 4, 10**30), 32, 32), "below 32"),
    (GAPLESS, tried((2, 4, 9), expected=40), "1 to 32 rows"),
    (GAPLESS, ((2, 8, 16), 32, box_height((2, 8, 16))), "gaps included"),
    (GAPLESS, ((2, 4, 9), 32, 1024), "count the rows"),
    (GAPLESS, ((2, 4, 9), 32, 30), "measure anew"),
    (TAPS, lambda size, dilation, i, j: 9, "padding"),
    (TAPS, lambda *a: on_axis(*a[:3]) + on_axis(*a[:2], a[3]), "multiply"),
    (TAPS, lambda *a: taps_at(*a) - 1, "middle"),
    (TAPS, lambda size, *rest: taps_at(size + 1, *rest), "size - 1"),
    (TAPS, lambda *a: on_axis(*a[:3]), "rows and columns"),
    (TAPS, lambda size, d, i, j: taps_at(size - 1, d, i - 1, j - 1), "position is 0"),
    (TAPS, lambda *a: -1, "A tap is live if"),
]
