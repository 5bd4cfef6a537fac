"""Self-checks of notebook 04: dilation from shifts, without holes, with live taps."""

import torch

from cifar_helpers.checks.framework import (
    as_tensor,
    as_whole_numbers,
    exercise,
    question,
    require,
    require_close,
)


@exercise
def dilated_convolution(attempt) -> str:
    """`attempt(x, weight, dilation)`: a 3 × 3 convolution, one filter per channel.

    Takes (N, C, H, W) and (C, 1, 3, 3), returns (N, C, H, W).
    """
    generator = torch.Generator().manual_seed(0)
    for size, dilation in [((9, 9), 1), ((9, 8), 2), ((11, 12), 3), ((4, 5), 4)]:
        x = torch.randn(2, 3, *size, generator=generator)
        weight = torch.randn(3, 1, 3, 3, generator=generator)
        given = x.clone()
        got = attempt(given, weight.clone(), dilation)
        require(torch.equal(given, x), "Your function changes its input x in place.")
        what = f"With dilation {dilation} on a {size[0]} × {size[1]} map, the output"
        got = as_tensor(got, what, x.shape, "The padding should equal the dilation.")

        def run(weight=weight, dilation=dilation, x=x):
            conv2d = torch.nn.functional.conv2d
            return conv2d(x, weight, padding=dilation, dilation=dilation, groups=3)

        mistakes = {
            "Mirrored: weight[..., 0, 0] is the tap above left.": run(
                weight.flip(2, 3)
            ),
            "Rows and columns of the weight are swapped.": run(weight.mT),
            "The dilation is ignored: shift by `dilation` pixels.": run(dilation=1),
        }
        require_close(got, run(), what, mistakes)
    return (
        "Right: nine multiplications per pixel and channel, whatever the dilation. "
        "Where a tap only ever reads padding, you could skip it: see section 6."
    )


@question
def solid_dilations(dilations) -> str:
    """Four dilations that reach the largest field that has no hole."""
    wanted = "Give four whole numbers of at least 1, such as (1, 2, 4, 8)"
    values = as_whole_numbers(dilations, 4, wanted)
    require(min(values) >= 1, f"{wanted}, not {tuple(values)}.")
    reached = {0}
    for d in values:
        reached = {place + step for place in reached for step in (-d, 0, d)}
    farthest = sum(values)
    hole = next(place for place in range(farthest + 2) if place not in reached)
    require(
        hole > farthest,
        f"The field is {2 * farthest + 1} wide, but it has holes: nothing is read "
        f"{hole} pixels from the middle, for example. Sorted from small to large, a "
        "dilation may be at most as large as the field before it.",
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
    """`attempt(size, dilation)`: the fraction of taps × positions that see the map."""
    for size, d in [(32, 1), (32, 4), (8, 4), (32, 16), (32, 18), (16, 16), (8, 12)]:
        axis = sum(0 <= i + u < size for i in range(size) for u in (-d, 0, d))
        wanted = (axis / (3 * size)) ** 2
        free = 1 - d / size  # of an outer tap, if it ever sees the map
        outer = max(0, free)
        mistakes = {
            "Fewer than zero live positions? Use max(0, …).": ((1 + 2 * free) / 3) ** 2,
            "That is one axis: rows and columns are independent.": axis / (3 * size),
            "That is an outer tap alone: average over all nine.": (outer**2, outer),
            "At this share of positions all nine are live.": max(0, 2 * free - 1) ** 2,
            "That is the number of live taps: divide by nine.": 9 * wanted,
        }
        otherwise = "Count, for one axis, at how many positions each tap is inside."
        what = f"With dilation {d} on a {size} × {size} map, the live fraction"
        require_close(attempt(size, d), wanted, what, mistakes, otherwise, 1e-6)
    return (
        "Right. Since both axes multiply, the loss is quick: half the map's width as "
        "dilation already leaves only (2/3)² = 4/9 of the filter alive."
    )
