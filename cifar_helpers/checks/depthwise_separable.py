"""Self-checks of notebook 03: width for a budget, the nearest layer, a folded norm."""

import copy

import torch

from cifar_helpers.checks.framework import (
    Wrong,
    as_items,
    as_percents,
    as_tensor,
    exercise,
    named,
    question,
    reject_mistakes,
    require,
    require_close,
)


@exercise
def widest_separable(widest) -> str:
    """`widest(budget)`: the most channels C with 9 C + C C + 2 C <= budget."""
    for budget in (60, 19, 9216, 12, 26, 1000, 20_000, 200_000):
        wanted = _largest(1, 11, budget)
        mistakes = {
            "The normalization is missing, 2 per channel.": _largest(1, 9, budget),
            "You left out the depthwise half, 9 per channel.": _largest(1, 2, budget),
            "One channel less: this costs more than the budget.": wanted + 1,
            "One channel more fits: the budget may be used up exactly.": wanted - 1,
            "That is how wide a standard layer can be.": _largest(9, 2, budget),
        }
        what = f"With a budget of {budget:,} the number of channels"
        require_close(widest(budget), wanted, what, mistakes)
    return (
        "Right. For the price of 32 standard channels you get 90 separable ones. Width "
        "is what the parameters are saved for."
    )


def _largest(square: int, linear: int, budget: int) -> int:
    """The most channels C with square · C² + linear · C <= budget."""
    return max(c for c in range(500) if square * c * c + linear * c <= budget)


@exercise
def nearest_separable(factorize) -> str:
    """`factorize(weight)`: the separable layer nearest to a standard kernel.

    Takes (C_out, C_in, 3, 3), returns (depthwise_weight, pointwise_weight) of shapes
    (C_in, 1, 3, 3) and (C_out, C_in, 1, 1).
    """
    for c_out, c_in in ((6, 4), (12, 5)):
        generator = torch.Generator().manual_seed(c_out)
        weight = torch.randn(c_out, c_in, 3, 3, generator=generator).double()
        pair = "Return two tensors, (depthwise_weight, pointwise_weight)"
        depthwise, pointwise = as_items(factorize(weight.float()), 2, pair)
        depthwise = as_tensor(depthwise, "depthwise_weight", (c_in, 1, 3, 3))
        pointwise = as_tensor(pointwise, "pointwise_weight", (c_out, c_in, 1, 1))
        matrices = weight.permute(1, 0, 2, 3).flatten(2)  # (c_in, c_out, 9)
        u, s, v = torch.linalg.svd(matrices, full_matrices=False)

        def first(factor, u=u, v=v):
            """The kernel of the first singular vectors times a factor."""
            product = factor * u[:, :, :1] * v[:, :1]  # (c_in, c_out, 9)
            return product.unflatten(2, (3, 3)).transpose(0, 1)

        dense = pointwise * depthwise[:, 0]  # (c_out, c_in, 3, 3)
        mistakes = {
            "The singular value is missing: multiply one factor by it.": first(1),
            "The singular value is in both factors: give it to one of them, or its "
            "root to each.": first(s[:, :1, None] ** 2),
        }
        reject_mistakes(dense, mistakes)
        hint = (
            "The mean kernel is not the nearest: kernels of opposite sign cancel in "
            "it. Use the first right singular vector."
        )
        reject_mistakes(depthwise, {hint: weight.mean(0).unsqueeze(1)})
        error, least = (dense - weight).norm(), s[:, 1:].norm()
        require(
            bool(error <= least + 1e-3),
            f"The relative error of your layer is {error / weight.norm():.3f}; "
            f"{least / weight.norm():.3f} is possible. Take the first singular "
            "vectors: a column of u, but a row of v.",
        )
    return (
        "Right. Stack the second singular vectors on top and you have a depth "
        "multiplier of 2; this is how trained networks are taken apart after the fact."
    )


@exercise
def fold_norm(attempt) -> str:
    """`attempt(pointwise_weight, norm)`: (weight, bias) that need no normalization.

    Takes (C_out, C_in, 1, 1) and an `nn.BatchNorm2d(C_in)` in evaluation mode, returns
    (C_out, C_in, 1, 1) and (C_out,).
    """
    for c_out, c_in in ((5, 3), (4, 6)):
        generator = torch.Generator().manual_seed(c_in)
        pointwise = torch.randn(c_out, c_in, 1, 1, generator=generator)
        norm = torch.nn.BatchNorm2d(c_in, eps=0.1).eval()
        for values in (norm.running_mean, norm.weight.data, norm.bias.data):
            values.copy_(torch.randn(c_in, generator=generator))
        norm.running_var.copy_(torch.rand(c_in, generator=generator) + 0.5)
        pair = "Return two tensors, (weight, bias)"
        weight, bias = as_items(
            attempt(pointwise.clone(), copy.deepcopy(norm)), 2, pair
        )
        weight = as_tensor(weight, "weight", (c_out, c_in, 1, 1))
        bias = as_tensor(bias, "bias", (c_out,))

        matrix = pointwise[:, :, 0, 0]  # (c_out, c_in)
        with torch.no_grad():
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # (c_in,)
            shift = norm.bias - scale * norm.running_mean  # (c_in,)
            mistakes = {
                "You forgot the eps under the root.": (
                    pointwise * (norm.weight / norm.running_var.sqrt())[:, None, None]
                ),
                "The root is missing: divide by the standard deviation.": (
                    pointwise * (norm.weight / norm.running_var)[:, None, None],
                    pointwise
                    * (norm.weight / (norm.running_var + norm.eps))[:, None, None],
                ),
                "gamma is missing: it multiplies what was divided by the standard "
                "deviation.": pointwise * (scale / norm.weight)[:, None, None],
                "The weights are still those of the pointwise half.": pointwise,
            }
            wanted = pointwise * scale[:, None, None]
            require_close(weight, wanted, "weight", mistakes)
            mistakes = {
                "The running mean is scaled, too: norm(x) = scale * x + (beta - scale "
                "* mean).": matrix @ (norm.bias - norm.running_mean),
                "The running mean is missing.": matrix @ norm.bias,
                "beta is missing.": matrix @ (-scale * norm.running_mean),
                "What is left of beta has already been multiplied by the scale.": (
                    matrix * scale
                )
                @ shift,
            }
            require_close(bias, matrix @ shift, "bias", mistakes)
    return (
        "Right. After training, a normalization in front of a convolution without "
        "padding costs nothing: it disappears in weights and a bias."
    )


@question
def separable_by_layer(accuracies) -> str:
    """`{name: accuracy in %}`: the baseline with one layer made separable at a time."""
    names = (
        "initial.conv",
        "dilated_far.merge.0",
        "deconvolution.down.0",
        "deconvolution.refine.0",
    )
    wanted = f"Give a dict from each of the layers {', '.join(names)} to an accuracy"
    if not isinstance(accuracies, dict) or set(accuracies) != set(names):
        raise Wrong(f"{wanted}, not {named(accuracies)}.")
    first, second, *others = as_percents(
        [accuracies[n] for n in names], "The accuracies"
    )
    require(
        first < 40,
        "With one filter for each colour the initial convolution should lose most of "
        f"what it does, yours still gives {first:.1f} %. Is the kernel replaced?",
    )
    require(
        second > first + 10,
        f"{names[1]} should lose much less than the initial convolution, yours gives "
        f"{second:.1f} %. Give each layer its own kernel back before the next.",
    )
    require(
        first < min(others),
        f"The initial convolution ({first:.1f} %) should lose most, yet one of the "
        f"dense layers has {min(others):.1f} %. Give each layer its own kernel back "
        "before the next.",
    )
    return (
        f"Right: the smallest layer bears it worst ({first:.1f} %). Its three colours "
        "are seen by many outputs, each in its own way, and one filter a colour leaves "
        "none of that."
    )
