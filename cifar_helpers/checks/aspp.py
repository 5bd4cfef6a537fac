"""TODO."""

import torch

from cifar_helpers.checks.framework import (
    Wrong,
    answer,
    exercise,
    require,
    require_close,
)


@exercise
def largest_rate(attempt) -> str:
    """Check `attempt(size, share)` against a count of where the corner taps land."""
    cases = [(32, 0.25), (32, 0.5), (33, 0.25), (8, 0.5), (65, 0.3), (16, 0.1)]
    for size, share in cases:
        wanted = max(
            rate for rate in range(size) if (size - rate) ** 2 >= share * size**2
        )
        got = answer(attempt(size, share))
        if got == wanted:
            continue
        exact = size * (1 - share**0.5)
        if got != int(got) and abs(got - exact) < 1e-6:
            reason = "a rate is a whole number: round, but in which direction?"
        elif got == wanted + 1:
            reason = "one less would do: round down, not up."
        elif int(got) == int(size * (1 - share)):
            reason = "the corner taps must be inside along both axes at once."
        elif int(got) == int(size * (1 - share**0.5) / 2):
            reason = "a tap leaves the map on one side only: no factor of two."
        elif got > wanted:
            reason = "the corner taps then see the map too rarely."
        else:
            reason = "a larger rate would do as well."
        raise Wrong(
            f"On a {size} × {size} map with share {share}, the largest rate is "
            f"{wanted}, you say {got}. The reason may be: {reason}"
        )
    return (
        "Right: rate ≤ size · (1 − √share). It scales with the map, so rates made for "
        "one size of map say nothing about another."
    )


@exercise
def aspp_parameters(attempt) -> str:
    """Check `attempt(C, B, out, rates, stride)` against the block itself."""
    from cifar_helpers.blocks import ASPP
    from cifar_helpers.model import count_parameters

    cases = [(32, 48, 96, (6, 12, 18), 4), (5, 3, 7, (2,), 1), (8, 4, 6, (1, 2), 2)]
    for c, b, out, rates, stride in cases:
        wanted = count_parameters(ASPP(c, b, out, rates, stride))
        got = answer(attempt(c, b, out, rates, stride))
        if got == wanted:
            continue
        n = len(rates)
        mistakes = {
            2 * (b * (n + 1) + out): "batch normalization is missing.",
            2 * out: "the projection has batch normalization too.",
            b: "the whole-image convolution has a bias: B more parameters.",
            -2 * b: "the whole-image branch has no batch normalization.",
            n * (9 * c + c * b - 9 * c * b): "the dilated branches are separable.",
            b * c * (stride**2 - 1): "the local kernel is stride × stride.",
            b * out: "the projection reads len(rates) + 2 branches.",
            2 * b * out: "the projection reads len(rates) + 2 branches.",
            n * 9 * c: "the depthwise filters are missing: nine weights per channel.",
        }
        reason = mistakes.get(wanted - got, "count branch by branch, as in section 5.")
        raise Wrong(
            f"ASPP({c}, {b}, {out}, {rates}, {stride}) has {wanted:,} parameters, you "
            f"say {got:,}. The reason may be: {reason}"
        )
    return (
        "Right. The rates themselves do not appear, only how many there are: a rate "
        "costs nothing."
    )


@exercise
def without_branch(attempt) -> str:
    """Check `attempt(joined, branch, width)` for every branch of a small stack."""
    generator = torch.Generator().manual_seed(0)
    branches, width = 4, 3
    joined = torch.rand(2, branches * width, 5, 5, generator=generator) + 0.1
    for branch in range(branches):
        given = joined.clone()
        got = answer(attempt(given, branch, width))
        require(
            torch.equal(given, joined),
            "Your function changes `joined` itself. Work on a copy: joined.clone().",
        )
        require(isinstance(got, torch.Tensor), f"Return a tensor, not {type(got)}.")
        require(
            got.shape == joined.shape,
            f"The result should keep the shape {tuple(joined.shape)}, got "
            f"{tuple(got.shape)}: set channels to zero, do not cut them out.",
        )
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
