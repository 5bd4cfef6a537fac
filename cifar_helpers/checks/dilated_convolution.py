"""Self-checks of notebook 04: dilation from shifts, without holes, on sub-grids."""

import torch

from cifar_helpers.checks.framework import (
    Wrong,
    as_percents,
    as_tensor,
    as_whole_numbers,
    exercise,
    named,
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

        rolled = sum(
            weight[:, 0, i, j, None, None]
            * x.roll(((1 - i) * dilation, (1 - j) * dilation), (2, 3))
            for i in range(3)
            for j in range(3)
        )
        mistakes = {
            "What leaves on one side must not come in on the other, as with roll: pad "
            "with zeros.": rolled,
            "Mirrored: weight[..., 0, 0] is the tap above left.": run(
                weight.flip(2, 3)
            ),
            "Rows and columns of the weight are swapped.": run(weight.mT),
            "The dilation is ignored: shift by `dilation` pixels.": run(dilation=1),
        }
        require_close(got, run(), what, mistakes)
    return (
        "Right: nine multiplications per pixel and channel, whatever the dilation. "
        "Where a tap only ever reads padding, you could skip it: see the appendix."
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
def on_subgrids(attempt) -> str:
    """`attempt(x, weight, d)`: a dilated convolution on interleaved sub-grids.

    Takes (N, C, H, W), H and W multiples of d, and (C, 1, 3, 3), returns (N, C, H, W).
    """
    generator = torch.Generator().manual_seed(1)
    conv2d = torch.nn.functional.conv2d
    for size, d in [((8, 8), 1), ((8, 8), 4), ((6, 10), 2), ((9, 6), 3)]:
        x = torch.randn(2, 3, *size, generator=generator)
        weight = torch.randn(3, 1, 3, 3, generator=generator)
        what = f"With dilation {d} on a {size[0]} × {size[1]} map, the output"
        got = as_tensor(attempt(x.clone(), weight.clone(), d), what, x.shape)
        blocks = _by_blocks(x, weight, d)
        split = _interleaved(x, d)
        mistakes = {
            "These are square blocks of neighbouring pixels, not interleaved "
            "sub-grids. Take the rows apart so that neighbours go to different grids: "
            "which factor of h must come last?": blocks,
            "The sub-grids are right, but they are put back as blocks side by side.": (
                conv2d(split, weight, padding=1, groups=3)
                .view(2, d, d, 3, size[0] // d, size[1] // d)
                .permute(0, 3, 1, 4, 2, 5)
                .reshape(x.shape)
            ),
            "That is the convolution without dilation.": conv2d(
                x, weight, padding=1, groups=3
            ),
        }
        wanted = conv2d(x, weight, padding=d, dilation=d, groups=3)
        require_close(got, wanted, what, mistakes)
    return (
        "Right: pixel (i, j) belongs to sub-grid (i % d, j % d), so the factor d of a "
        "row's number comes last when it is taken apart, and again when it is put "
        "together."
    )


def _interleaved(x, d):
    """(N, C, H, W) to its d x d interleaved sub-grids (N d d, C, H / d, W / d)."""
    n, c, height, width = x.shape
    x = x.reshape(n, c, height // d, d, width // d, d).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n * d * d, c, height // d, width // d)


def _by_blocks(x, weight, d):
    """The broken function of the exercise: blocks instead of sub-grids."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, d, h // d, d, w // d).permute(0, 2, 4, 1, 3, 5)
    x = x.reshape(n * d * d, c, h // d, w // d)
    x = torch.nn.functional.conv2d(x, weight, padding=1, groups=c)
    x = x.reshape(n, d, d, c, h // d, w // d)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)


@question
def other_dilations(accuracies) -> str:
    """`{d: accuracy in %}` of the baseline with the dilation of one layer set to d."""
    dilations = (1, 2, 4, 8, 16)
    wanted = "Give a dict from each of 1, 2, 4, 8 and 16 to an accuracy in %"
    if not isinstance(accuracies, dict) or set(accuracies) != set(dilations):
        raise Wrong(f"{wanted}, not {named(accuracies)}.")
    percents = as_percents([accuracies[d] for d in dilations], "The accuracies")
    values = dict(zip(dilations, percents, strict=True))
    require(
        len(set(values.values())) > 1,
        "All accuracies are the same. It should be the layer of the network that you "
        "change, not a copy.",
    )
    for d in (1, 16):
        require(
            values[4] > values[d],
            f"With its own dilation, 4, the accuracy should be higher than with {d}, "
            f"yours is {values[4]:.1f} % against {values[d]:.1f} %. Is it "
            "dilated_near.far, the padding equal to the dilation, and the model in "
            "evaluation mode?",
        )
    require(
        min(values.values()) > 50,
        f"The accuracy should not fall to {min(values.values()):.1f} %: with the wrong "
        "padding the map changes its size.",
    )
    return (
        f"Right: {values[4]:.1f} % with the trained dilation, {values[1]:.1f} % with "
        f"1 and {values[16]:.1f} % with 16. A shortcut leads around the layer, which "
        "may be why no dilation brings the accuracy down to chance; that was not "
        "tested here."
    )
