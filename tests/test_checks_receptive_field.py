"""The self-checks of notebook 09 say "not yet" to stubs and name typical mistakes."""

import pytest
from torch import nn
from verdicts import empty, wrong

from cifar_helpers.checks import receptive_field as checks
from cifar_helpers.receptive_field import receptive_field


@pytest.mark.parametrize(
    "verdict",
    [
        checks.field_recurrence(empty),
        checks.field_of_a_stack(...),
        checks.field_of_a_stack((..., 4)),
        checks.gapless_dilations(...),
        checks.gapless_dilations((2, 4, ...)),
        checks.taps_that_see(empty),
    ],
)
def test_stub_is_not_yet_solved(verdict):
    assert verdict.status == "not yet"


def recurrence(layers, step=None, shift=None, late=False):
    """The recurrence, with a wrong term where one is given."""
    size, jump, start = 1, 1, 0
    for kernel, stride, dilation, padding in layers:
        jump *= stride if late else 1
        size += (step or (lambda k, d, j: (k - 1) * d * j))(kernel, dilation, jump)
        start += (shift or (lambda p, j: -p * j))(padding, jump)
        jump *= 1 if late else stride
    return size, jump, start


@pytest.mark.parametrize(
    "mistake, words",
    [
        ({"late": True}, ("size", "before this layer's stride")),
        ({"step": lambda k, d, j: (k - 1) * d}, ("jump is missing",)),
        ({"step": lambda k, d, j: (k - 1) * j}, ("dilation is missing",)),
        ({"step": lambda k, d, j: k * d * j}, ("k - 1 steps",)),
        ({"shift": lambda p, j: p * j}, ("start", "subtract")),
        ({"shift": lambda p, j: -p}, ("start", "jump is missing")),
    ],
)
def test_recurrence_mistakes_are_named(mistake, words):
    assert checks.field_recurrence(recurrence).status == "solved"
    wrong(checks.field_recurrence(lambda layers: recurrence(layers, **mistake)), *words)


def test_recurrence_must_return_three_numbers_and_the_product_of_strides():
    wrong(checks.field_recurrence(lambda layers: 3), "three numbers")

    def last_stride(layers):
        size, _, start = recurrence(layers)
        return size, layers[-1][1], start

    wrong(checks.field_recurrence(last_stride), "jump", "product of all strides")


def vgg_stack(blocks):
    """Convolutions in blocks, a 2 x 2 pooling between them."""
    layers = []
    for number, block in enumerate(blocks):
        layers += [nn.MaxPool2d(2)] if number else []
        layers += [nn.Conv2d(1, 1, 3, padding=1) for _ in range(block)]
    return nn.Sequential(*layers)


def test_field_of_a_stack_is_that_of_the_traced_stack():
    field = receptive_field(vgg_stack((2, 2, 3)), (1, 96, 96))[-1]
    answer = (field.size[0], field.stride[0])
    assert checks.field_of_a_stack(answer).status == "solved"


@pytest.mark.parametrize(
    "given, word",
    [
        ((17, 4), "forgot the strides"),
        ((37, 4), "pooling window looks"),
        ((43, 4), "not for itself"),
        ((32, 4), "three convolutions"),
        ((99, 4), "layer by layer"),
        ((40, 2), "multiply all strides"),
        (40, "two numbers"),
    ],
)
def test_wrong_field_of_a_stack_gets_a_hint(given, word):
    wrong(checks.field_of_a_stack(given), word)


def rows_seen(dilations):
    """Rows behind unit 16, traced back tap by tap; padding ends a path."""
    rows = {16}
    for dilation in (*reversed(dilations), 1):
        steps = (-dilation, 0, dilation)
        rows = {row + step for row in rows for step in steps if 0 <= row + step < 32}
    return rows


@pytest.mark.parametrize("dilations", [(2, 4, 9), (9, 9, 3), [9, 4, 2], (1, 5, 15)])
def test_gapless_dilations_are_accepted(dilations):
    assert rows_seen(dilations) == set(range(32))
    assert checks.gapless_dilations(dilations).status == "solved"


@pytest.mark.parametrize(
    "dilations, words",
    [
        ((2, 4, 8), ("rows 1 to 31", "at least 15")),
        ((1, 1, 1), ("rows 12 to 20",)),
        ((3, 9, 9), ("rows 3 to 29", "padding")),
        ((2, 8, 16), ("gaps", "never")),
        ((4, 8, 12), ("gaps",)),
        ((2, 4), ("three dilations",)),
        ((2.0, 4, 9), ("whole numbers",)),
        ((0, 4, 9), ("whole numbers",)),
    ],
)
def test_wrong_dilations_get_a_hint(dilations, words):
    wrong(checks.gapless_dilations(dilations), *words)


def live_on_axis(size, dilation, position):
    return sum(0 <= position + step < size for step in (-dilation, 0, dilation))


def taps_at(size, dilation, i, j):
    return live_on_axis(size, dilation, i) * live_on_axis(size, dilation, j)


def test_taps_that_see_agrees_with_the_traced_layer():
    assert checks.taps_that_see(taps_at).status == "solved"
    for size, dilation in ((9, 4), (8, 5), (6, 7)):
        layer = nn.Conv2d(1, 1, 3, padding=dilation, dilation=dilation)
        (field,) = receptive_field(layer, (1, size, size))
        for i in range(size):
            for j in range(size):
                assert field.live_taps_at(i, j) == taps_at(size, dilation, i, j)


@pytest.mark.parametrize(
    "attempt, word",
    [
        (lambda size, dilation, i, j: 9, "padding"),
        (lambda *a: live_on_axis(*a[:3]) + live_on_axis(*a[:2], a[3]), "multiply"),
        (lambda *a: taps_at(*a) - 1, "middle"),
        (lambda size, *rest: taps_at(size + 1, *rest), "size - 1"),
        (lambda *a: live_on_axis(*a[:3]), "one axis only"),
    ],
)
def test_wrong_tap_counts_get_a_hint(attempt, word):
    wrong(checks.taps_that_see(attempt), word)
