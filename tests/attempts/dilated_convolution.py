"""Attempts at the exercises of notebook 04."""

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


def by_unfold(x, weight, dilation):
    taps = F.unfold(x, 3, dilation, dilation).view(*x.shape[:2], 9, -1)
    return torch.einsum("ncts,ct->ncs", taps, weight.flatten(1)).view_as(x)


def in_place(x, weight, dilation):
    result = from_shifts(x, weight, dilation)
    x += 1
    return result


def no_padding(x, weight, dilation):
    return from_shifts(F.pad(x, (-1,) * 4), weight, dilation, pad=1, step=1)


def by_counting(size, dilation):
    ones = torch.ones(1, 1, size, size, dtype=torch.float64)
    return F.unfold(ones, 3, dilation, dilation).mean()


def outer(size, dilation):
    """The share of positions at which an outer tap of one axis sees the map."""
    return max(0, 1 - dilation / size)


CONV, SOLID, LIVE = (
    checks.dilated_convolution,
    checks.solid_dilations,
    checks.live_fraction,
)
RIGHT = [
    (CONV, from_shifts),
    (CONV, by_unfold),
    (SOLID, (1, 3, 9, 27)),
    (SOLID, (27, 1, 9, 3.0)),
    (LIVE, by_counting),
]
WRONG = [
    (CONV, lambda x, w, d: F.conv2d(x, w, padding=1, dilation=d, groups=3), "padding"),
    (CONV, no_padding, "padding should equal the dilation"),
    (CONV, lambda x, w, d: from_shifts(x, w.flip(2, 3), d), "Mirrored"),
    (CONV, lambda x, w, d: from_shifts(x, w.mT, d), "swapped"),
    (CONV, lambda x, w, d: from_shifts(x, w, 1), "dilation is ignored"),
    (CONV, lambda x, w, d: 2 * from_shifts(x, w, d), "the output at"),
    (CONV, in_place, "in place"),
    (CONV, lambda x, w, d: 7, "should be a tensor of shape (2, 3, 9, 9), yours is 7"),
    (SOLID, (1, 2, 4, 8), "field is 31 wide. It can be wider"),
    (SOLID, (2, 4, 8, 16), "nothing is read 1 pixels from the middle"),
    (SOLID, (1, 3, 9, 28), "holes"),
    (SOLID, (1, 3, 9, 10**12), "holes"),
    (SOLID, (1, 3, 9), "four whole numbers", "a tuple of length 3"),
    (SOLID, (1, 3, 9, 0), "four whole numbers of at least 1"),
    (SOLID, (1, 3, 9, 26.5), "whole number, yours is 26.5"),
    (SOLID, 5, "four whole numbers", "not 5"),
    (LIVE, lambda size, d: (1 + 2 * outer(size, d)) / 3, "one axis"),
    (LIVE, lambda size, d: ((3 - 2 * d / size) / 3) ** 2, "Use max(0"),
    (LIVE, lambda size, d: outer(size, d) ** 2, "outer tap alone"),
    (LIVE, lambda size, d: max(0, 1 - 2 * d / size) ** 2, "all nine are live"),
    (LIVE, lambda size, d: (1 + 2 * outer(size, d)) ** 2, "divide by nine"),
    (LIVE, lambda size, d: 0.5, "Count, for one axis"),
]
