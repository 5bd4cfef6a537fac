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
def dilated_convolution(attempt) -> str:
    """Check `attempt(x, weight, dilation)` against `F.conv2d`, a filter per channel."""
    generator = torch.Generator().manual_seed(0)
    for size, dilation in [((9, 9), 1), ((9, 8), 2), ((11, 12), 3), ((4, 5), 4)]:
        x = torch.randn(2, 3, *size, generator=generator)
        weight = torch.randn(3, 1, 3, 3, generator=generator)
        wanted = _depthwise(x, weight, dilation)
        given = x.clone()
        got = answer(attempt(given, weight, dilation))
        require(torch.equal(given, x), "Your function changes its input x in place.")
        require(isinstance(got, torch.Tensor), f"Return a tensor, not {type(got)}.")
        where = f"With dilation {dilation} on a {size[0]} × {size[1]} map, "
        if got.shape != wanted.shape:
            raise Wrong(
                f"{where}the output should have shape {tuple(wanted.shape)}, got "
                f"{tuple(got.shape)}. The padding must be as wide as the dilation."
            )
        mistakes = {
            "the taps are mirrored: weight[..., 0, 0] takes the pixel above left.": (
                _depthwise(x, weight.flip(2, 3), dilation)
            ),
            "rows and columns of the weight are swapped.": (
                _depthwise(x, weight.mT, dilation)
            ),
            "the dilation is ignored: shift by `dilation` pixels, not by one.": (
                _depthwise(x, weight, 1)
            ),
        }
        if not torch.allclose(got, wanted, atol=1e-4):
            for hint, mistake in mistakes.items():
                alike = torch.allclose(got, mistake, atol=1e-4)
                require(not alike, f"{where}{hint}")
        require_close(got, wanted, f"{where}the output")
    return (
        "Right: nine multiplications per pixel and channel, whatever the dilation. "
        "Where a tap only ever reads padding, you could skip it: see section 6."
    )


def _depthwise(x, weight, dilation):
    return torch.nn.functional.conv2d(
        x, weight, padding=dilation, dilation=dilation, groups=len(weight)
    )


@exercise
def solid_dilations(dilations) -> str:
    """Check that four dilations reach the largest field that has no hole."""
    values = list(answer(dilations))
    require(
        len(values) == 4 and all(isinstance(d, int) and d >= 1 for d in values),
        f"Give four whole numbers of at least 1, such as (1, 2, 4, 8), not {values}.",
    )
    reached = {0}
    for d in values:
        reached = {place + step for place in reached for step in (-d, 0, d)}
    farthest = sum(values)
    holes = [place for place in range(farthest + 1) if place not in reached]
    if holes:
        raise Wrong(
            f"The field is {2 * farthest + 1} wide, but it has holes: nothing is read "
            f"{holes[0]} pixels from the middle, for example. Sorted from small to "
            "large, a dilation may be at most as large as the field before it."
        )
    require(
        farthest == 40,
        f"No hole, and the field is {2 * farthest + 1} wide. It can be wider: if no "
        "pixel is reached twice, each layer makes the field three times as wide.",
    )
    return (
        "Right: powers of three give a field of 81 × 81, with exactly one path from "
        "every pixel, like the numbers of a base-three system. Doubling spends its "
        "paths differently: many of them lead to the pixels near the middle."
    )


@exercise
def live_fraction(attempt) -> str:
    """Check `attempt(size, dilation)` against a count over taps and positions."""
    for size, d in [(32, 1), (32, 4), (8, 4), (32, 16), (32, 18), (16, 16), (8, 12)]:
        axis = sum(0 <= i + u < size for i in range(size) for u in (-d, 0, d))
        wanted = (axis / (3 * size)) ** 2
        got = float(answer(attempt(size, d)))
        if abs(got - wanted) < 1e-6:
            continue
        share = max(0, 1 - d / size)
        reason = "count, for one axis, at how many positions each of 3 taps is inside."
        if abs(got - axis / (3 * size)) < 1e-6:
            reason = "that is one axis only: rows and columns are independent."
        elif d > size:
            reason = "a tap cannot be live at fewer than zero positions: use max(0, …)."
        elif abs(got - share**2) < 1e-6 or abs(got - share) < 1e-6:
            reason = "that is an outer tap alone: average over all nine."
        elif abs(got - max(0, 1 - 2 * d / size) ** 2) < 1e-6:
            reason = "that is the share of positions at which all nine taps are live."
        elif abs(got - 9 * wanted) < 1e-5:
            reason = "that is the number of live taps: divide by nine."
        raise Wrong(
            f"With dilation {d} on a {size} × {size} map, {wanted:.4f} of taps × "
            f"positions are live, you say {got:.4f}. The reason may be: {reason}"
        )
    return (
        "Right. Since both axes multiply, the loss is quick: half the map's width as "
        "dilation already leaves only (2/3)² = 4/9 of the filter alive."
    )
