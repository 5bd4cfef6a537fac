"""Self-checks of notebook 07: rates that fit, parameters, a branch taken away."""

import torch

from cifar_helpers.blocks import ASPP
from cifar_helpers.checks.framework import (
    as_tensor,
    as_whole_number,
    exercise,
    require,
    require_close,
)
from cifar_helpers.model import count_parameters


@exercise
def largest_rate(attempt) -> str:
    """`attempt(size, share)`: the largest rate whose taps see the map often enough.

    Every tap, corners included, must see a map of size × size at `share` of positions.
    """
    cases = [(32, 0.25), (32, 0.5), (33, 0.25), (8, 0.5), (65, 0.3), (16, 0.1)]
    for size, share in cases:
        what = f"On a {size} × {size} map with share {share}, the largest rate"
        advice = "A rate is a whole number: round, but in which direction?"
        got = as_whole_number(attempt(size, share), what, advice)
        wanted = max(
            rate for rate in range(size) if (size - rate) ** 2 >= share * size**2
        )
        exact = size * (1 - share**0.5)
        mistakes = {
            "One less would do: round down, not up.": wanted + 1,
            "The corner taps must be inside along both axes.": int(size * (1 - share)),
            "A tap leaves the map on one side only: no factor of two.": exact // 2,
        }
        otherwise = (
            "The corner taps then see the map too rarely."
            if got > wanted
            else "A larger rate would do as well."
        )
        require_close(got, wanted, what, mistakes, otherwise)
    return (
        "Right: rate ≤ size · (1 − √share). It scales with the map, so rates made for "
        "one size of map say nothing about another."
    )


@exercise
def aspp_parameters(attempt) -> str:
    """`attempt(C, B, out, rates, stride)`: parameters of that `ASPP`."""
    cases = [(32, 48, 96, (6, 12, 18), 4), (5, 3, 7, (2,), 1), (8, 4, 6, (1, 2), 2)]
    for c, b, out, rates, stride in cases:
        wanted = count_parameters(ASPP(c, b, out, rates, stride))
        n = len(rates)
        mistakes = {
            "Batch normalization is missing.": wanted - 2 * (b * (n + 1) + out),
            "The projection has batch normalization too.": wanted - 2 * out,
            "The whole-image convolution has a bias: B more parameters.": wanted - b,
            "The whole-image branch has no batch normalization.": wanted + 2 * b,
            "The dilated branches are separable.": wanted + n * (8 * c * b - 9 * c),
            "The local kernel is stride × stride.": wanted - b * c * (stride**2 - 1),
            f"The projection reads len(rates) + 2 = {n + 2} branches.": (
                wanted - b * out,
                wanted - 2 * b * out,
            ),
            "The depthwise filters are missing: nine per channel.": wanted - n * 9 * c,
        }
        call = f"The parameters of ASPP({c}, {b}, {out}, {rates}, {stride})"
        otherwise = "Count branch by branch, as in section 5."
        got = attempt(c, b, out, rates, stride)
        require_close(got, wanted, call, mistakes, otherwise)
    return (
        "Right. The rates themselves do not appear, only how many there are: a rate "
        "costs nothing."
    )


@exercise
def without_branch(attempt) -> str:
    """`attempt(joined, branch, width)`: the channels of one branch set to zero.

    Takes and returns (N, branches * width, H, W); `joined` itself stays as it was.
    """
    generator = torch.Generator().manual_seed(0)
    branches, width = 4, 3
    joined = torch.rand(2, branches * width, 5, 5, generator=generator) + 0.1
    for branch in range(branches):
        given = joined.clone()
        got = attempt(given, branch, width)
        require(
            torch.equal(given, joined),
            "Your function changes `joined` itself. Work on a copy: joined.clone().",
        )
        advice = "Set channels to zero, do not cut them out."
        got = as_tensor(got, "The result", joined.shape, advice)
        zeroed = set((got == 0).flatten(2).all(2).all(0).nonzero().flatten().tolist())
        wanted = set(range(branch * width, (branch + 1) * width))
        require(
            zeroed == wanted,
            f"For branch {branch} of width {width}, the channels {sorted(wanted)} must "
            f"be zero; yours are {sorted(zeroed)}. Branches are counted from 0, and "
            "branch b starts at channel b * width.",
        )
        kept = [channel for channel in range(branches * width) if channel not in wanted]
        require_close(got[:, kept], joined[:, kept], "The channels that stay")
    return (
        "Right. A change in place would have spoilt the next experiment: such bugs "
        "show up as results that depend on the order of the cells."
    )
