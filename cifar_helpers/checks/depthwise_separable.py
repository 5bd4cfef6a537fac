"""Self-checks of notebook 03: costs of a separable layer, and the nearest one."""

import torch

from cifar_helpers.checks.framework import (
    as_items,
    as_tensor,
    exercise,
    reject_mistakes,
    require,
    require_close,
)


@exercise
def separable_cost(cost) -> str:
    """`cost(c_in, c_out, kernel, height, width)`: (parameters, multiply_adds)."""
    for c_in, c_out, k, height, width in ((32, 64, 3, 32, 32), (5, 7, 5, 8, 6)):
        result = cost(c_in, c_out, k, height, width)
        pair = "Return two whole numbers, (parameters, multiply_adds)"
        parameters, multiply_adds = as_items(result, 2, pair)
        depthwise, pointwise, hw = k * k * c_in, c_in * c_out, height * width
        wanted = depthwise + pointwise
        mistakes = {
            "That is a standard convolution. The depthwise half has one kernel for "
            "each input channel.": k * k * c_in * c_out,
            "The depthwise half is right, the pointwise half is missing.": depthwise,
            "The pointwise half is right, the depthwise half is missing.": pointwise,
            "The depthwise half has one kernel for each input channel, not for each "
            "output channel.": k * k * c_out + pointwise,
            "The pointwise kernels are 1 x 1: no k.": depthwise + k * k * pointwise,
            "The halves follow each other: add them up.": depthwise * pointwise,
            "A kernel has k rows and k columns: k * k weights.": k * c_in + pointwise,
            "You added biases: there are none.": wanted + c_in + c_out,
        }
        call = f"for ({c_in}, {c_out}, {k}, {height}, {width})"
        require_close(parameters, wanted, f"Parameters {call}", mistakes)
        mistakes = {
            "Every weight is used at every place: multiply by height * width.": wanted,
            "The depthwise half too is applied everywhere.": depthwise + pointwise * hw,
            "The pointwise half too is applied everywhere.": depthwise * hw + pointwise,
            "Count a multiply-add as one.": 2 * wanted * hw,
        }
        require_close(multiply_adds, wanted * hw, f"Multiply-adds {call}", mistakes)
    return (
        "Right. With many channels nearly all of it is the pointwise half: a larger "
        "depthwise kernel is almost free, which is why 5 x 5 and 7 x 7 are popular "
        "there."
    )


@exercise
def widest_separable(widest) -> str:
    """`widest(budget)`: the most channels C with 9 C + C C + 2 C <= budget."""
    for budget in (60, 9216, 12, 26, 1000, 20_000, 200_000):
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
