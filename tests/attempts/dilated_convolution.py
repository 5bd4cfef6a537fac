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


def rolled(x, weight, dilation):
    """What leaves the map on one side comes in on the other."""
    steps = [(i, j) for i in range(3) for j in range(3)]
    return sum(
        weight[:, 0, i, j].view(-1, 1, 1)
        * x.roll((dilation - i * dilation, dilation - j * dilation), (2, 3))
        for i, j in steps
    )


def on_subgrids(split_last=True, join_last=True, dilation=None):
    """A dilated convolution on sub-grids, with room for mistakes."""

    def attempt(x, weight, d):
        d = dilation or d
        n, c, h, w = x.shape
        if split_last:
            x = x.reshape(n, c, h // d, d, w // d, d).permute(0, 3, 5, 1, 2, 4)
        else:
            x = x.reshape(n, c, d, h // d, d, w // d).permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(n * d * d, c, h // d, w // d)
        x = F.conv2d(x, weight, padding=1, groups=c)
        x = x.reshape(n, d, d, c, h // d, w // d)
        order = (0, 3, 4, 1, 5, 2) if join_last else (0, 3, 1, 4, 2, 5)
        return x.permute(order).reshape(n, c, h, w)

    return attempt


def loop(x, weight, d):
    out = torch.empty_like(x)
    for r in range(d):
        for c in range(d):
            part = x[..., r::d, c::d]
            out[..., r::d, c::d] = F.conv2d(part, weight, padding=1, groups=x.shape[1])
    return out


def measured(*accuracies):
    return dict(zip((1, 2, 4, 8, 16), accuracies, strict=True))


CONV, SOLID = checks.dilated_convolution, checks.solid_dilations
GRIDS, OTHER = checks.on_subgrids, checks.other_dilations
RIGHT = [
    (CONV, from_shifts),
    (CONV, by_unfold),
    (SOLID, (1, 3, 9, 27)),
    (SOLID, (27, 1, 9, 3.0)),
    (GRIDS, on_subgrids()),
    (GRIDS, loop),
    (OTHER, measured(84.0, 87.4, 87.9, 87.3, 85.9)),
]
WRONG = [
    (CONV, lambda x, w, d: F.conv2d(x, w, padding=1, dilation=d, groups=3), "padding"),
    (CONV, no_padding, "padding should equal the dilation"),
    (CONV, lambda x, w, d: from_shifts(x, w.flip(2, 3), d), "Mirrored"),
    (CONV, lambda x, w, d: from_shifts(x, w.mT, d), "swapped"),
    (CONV, lambda x, w, d: from_shifts(x, w, 1), "dilation is ignored"),
    (CONV, lambda x, w, d: 2 * from_shifts(x, w, d), "the output at"),
    (CONV, rolled, "as with roll"),
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
    (GRIDS, on_subgrids(False, False), "square blocks of neighbouring pixels"),
    (GRIDS, on_subgrids(True, False), "put back as blocks"),
    (GRIDS, on_subgrids(dilation=1), "without dilation"),
    (GRIDS, lambda x, weight, d: loop(x, weight.mT, d), "the output at"),
    (GRIDS, lambda x, weight, d: x[:, :, ::2, ::2], "of shape (2, 3, 8, 8)"),
    (OTHER, measured(0.84, 0.87, 0.88, 0.87, 0.86), "multiply by 100"),
    (OTHER, measured(87.9, 87.9, 87.9, 87.9, 87.9), "not a copy"),
    (OTHER, measured(88.0, 87.4, 87.0, 87.3, 85.9), "higher than with 1"),
    (OTHER, measured(84.0, 87.4, 87.0, 87.3, 87.9), "higher than with 16"),
    (OTHER, measured(10.0, 87.4, 87.9, 87.3, 85.9), "fall to 10.0 %"),
    (OTHER, measured(84.0, 87.4, 187.9, 87.3, 85.9), "from 0 to 100"),
    (OTHER, {1: 84.0, 4: 87.9}, "Give a dict", "a dict of length 2"),
]
