"""Exercises of notebook 04: right answers pass, typical mistakes get their hint."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from cifar_helpers.checks import dilated_convolution as checks


def from_shifts(x, weight, dilation, step=None, pad=None):
    """A dilated convolution from nine slices, with room for mistakes."""
    step, pad = step or dilation, pad or dilation
    padded = F.pad(x, (pad,) * 4)
    height = x.shape[2] + 2 * pad - 2 * step
    width = x.shape[3] + 2 * pad - 2 * step
    rows, columns = ([i * step for i in range(3)] for _ in range(2))
    return sum(
        weight[:, 0, i, j].view(1, -1, 1, 1)
        * padded[:, :, top : top + height, left : left + width]
        for i, top in enumerate(rows)
        for j, left in enumerate(columns)
    )


def in_place(x, weight, dilation):
    result = from_shifts(x, weight, dilation)
    x += 1
    return result


def no_padding(x, weight, dilation):
    return from_shifts(F.pad(x, (-1,) * 4), weight, dilation, pad=1, step=1)


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (lambda x, w, d: F.conv2d(x, w, padding=1, dilation=d, groups=3), "padding"),
        (no_padding, "padding must be as wide as the dilation"),
        (lambda x, w, d: from_shifts(x, w.flip(2, 3), d), "mirrored"),
        (lambda x, w, d: from_shifts(x, w.transpose(2, 3), d), "swapped"),
        (lambda x, w, d: from_shifts(x, w, 1), "dilation is ignored"),
        (lambda x, w, d: 2 * from_shifts(x, w, d), "the output at"),
        (in_place, "in place"),
        (lambda x, w, d: 7, "Return a tensor"),
    ],
)
def test_dilated_convolution_mistakes(attempt, hint):
    verdict = checks.dilated_convolution(attempt)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def test_dilated_convolution_solved_by_slices_and_by_matrix():
    def by_unfold(x, weight, dilation):
        taps = F.unfold(x, 3, dilation, dilation).view(*x.shape[:2], 9, -1)
        return torch.einsum("ncts,ct->ncs", taps, weight.flatten(1)).view_as(x)

    assert checks.dilated_convolution(from_shifts).status == "solved"
    assert checks.dilated_convolution(by_unfold).status == "solved"


@pytest.mark.parametrize(
    ("dilations", "hint"),
    [
        ((1, 2, 4, 8), "field is 31 wide. It can be wider"),
        ((2, 4, 8, 16), "nothing is read 1 pixels from the middle"),
        ((1, 3, 9, 28), "holes"),
        ((1, 3, 9), "four whole numbers"),
        ((1, 3, 9, 0), "four whole numbers"),
        ((1, 3, 9, 27.0), "four whole numbers"),
        (5, "TypeError"),
    ],
)
def test_solid_dilations_mistakes(dilations, hint):
    verdict = checks.solid_dilations(dilations)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def test_four_layers_reach_at_most_81_places():
    steps = itertools.product((-1, 0, 1), repeat=4)  # one tap per layer: a path
    places = {a * 1 + b * 3 + c * 9 + d * 27 for a, b, c, d in steps}
    assert len(places) == 3**4  # no two paths meet, so no choice can reach more
    assert places == set(range(-40, 41))
    assert checks.solid_dilations([27, 1, 9, 3]).status == "solved"


def share(size, dilation):
    return max(0, 1 - dilation / size)


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (lambda size, d: (1 + 2 * share(size, d)) / 3, "one axis only"),
        (lambda size, d: ((3 - 2 * d / size) / 3) ** 2, "use max(0"),
        (lambda size, d: share(size, d) ** 2, "outer tap alone"),
        (lambda size, d: max(0, 1 - 2 * d / size) ** 2, "all nine taps are live"),
        (lambda size, d: (1 + 2 * share(size, d)) ** 2, "divide by nine"),
        (lambda size, d: 0.5, "count, for one axis"),
    ],
)
def test_live_fraction_mistakes(attempt, hint):
    verdict = checks.live_fraction(attempt)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def test_live_fraction_solved_by_counting():
    def count(size, dilation):
        ones = torch.ones(1, 1, size, size, dtype=torch.float64)
        return F.unfold(ones, 3, dilation, dilation).mean()

    assert checks.live_fraction(count).status == "solved"


@pytest.mark.parametrize(
    "verdict",
    [
        checks.dilated_convolution(lambda x, weight, dilation: ...),
        checks.dilated_convolution(lambda x, weight, dilation: None),
        checks.solid_dilations(...),
        checks.live_fraction(lambda size, dilation: None),
    ],
)
def test_unsolved_stub_is_not_yet(verdict):
    assert verdict.status == "not yet"
