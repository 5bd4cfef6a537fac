"""TODO."""

import torch

from cifar_helpers.checks.framework import answer, exercise, require


@exercise
def separable_cost(cost) -> str:
    """Check `cost(c_in, c_out, kernel, height, width)`: parameters, multiply-adds."""
    for c_in, c_out, k, height, width in ((32, 64, 3, 32, 32), (5, 7, 5, 8, 6)):
        result = answer(cost(c_in, c_out, k, height, width))
        require(
            isinstance(result, tuple) and len(result) == 2,
            "Return a pair: parameters, multiply_adds.",
        )
        depthwise, pointwise, places = k * k * c_in, c_in * c_out, height * width
        wanted = depthwise + pointwise
        mistakes = {
            "That is a standard convolution. The depthwise half has one kernel for "
            "each input channel.": k * k * c_in * c_out,
            "The depthwise half is right, the pointwise half is missing.": depthwise,
            "The pointwise half is right, the depthwise half is missing.": pointwise,
            "The depthwise half has one kernel for each input channel, not for each "
            "output channel.": k * k * c_out + pointwise,
            "The pointwise half has 1 x 1 kernels: no k there.": depthwise
            + k * k * pointwise,
            "The two halves follow each other: add their parameters.": depthwise
            * pointwise,
            "A kernel has k rows and k columns: k * k weights.": k * c_in + pointwise,
            "You added biases: there are none.": wanted + c_in + c_out,
        }
        call = f"({c_in}, {c_out}, {k}, {height}, {width})"
        parameters, multiply_adds = result
        for hint, wrong in mistakes.items():
            require(
                parameters != wrong,
                f"Parameters for {call} should be {wanted}, not {wrong}. {hint}",
            )
        require(
            parameters == wanted,
            f"Parameters for {call} should be {wanted}, yours are {parameters}.",
        )
        mistakes = {
            "Every weight is used at every place: multiply by height * width.": wanted,
            "The depthwise half too is applied at every place.": depthwise
            + pointwise * places,
            "The pointwise half too is applied at every place.": depthwise * places
            + pointwise,
            "Count a multiply-add as one.": 2 * wanted * places,
        }
        for hint, wrong in mistakes.items():
            require(
                multiply_adds != wrong,
                f"Multiply-adds for {call} should be {wanted * places}, not {wrong}. "
                f"{hint}",
            )
        require(
            multiply_adds == wanted * places,
            f"Multiply-adds for {call} should be {wanted * places}, yours are "
            f"{multiply_adds}.",
        )
    return (
        "Right. With many channels nearly all of it is the pointwise half: a larger "
        "depthwise kernel is almost free, which is why 5 x 5 and 7 x 7 are popular "
        "there."
    )


@exercise
def widest_separable(widest) -> str:
    """Check `widest(budget)`: the most channels C with 9 C + C C + 2 C <= budget."""
    for budget in (60, 9216, 12, 26, 1000, 20_000, 200_000):
        got = answer(widest(budget))

        def largest(cost, budget=budget):
            channels = 0
            while cost(channels + 1) <= budget:
                channels += 1
            return channels

        wanted = largest(lambda c: c * c + 11 * c)
        mistakes = {
            "You left out the two parameters per channel of the normalization.": (
                largest(lambda c: c * c + 9 * c)
            ),
            "You left out the depthwise half, 9 per channel.": (
                largest(lambda c: c * c + 2 * c)
            ),
            "That is one channel too many: it costs more than the budget. Round "
            "down.": wanted + 1,
            "One channel more would still fit: a layer may use up the budget "
            "exactly.": wanted - 1,
            "That is how wide a standard layer can be.": (
                largest(lambda c: 9 * c * c + 2 * c)
            ),
        }
        for hint, wrong in mistakes.items():
            require(
                got == wanted or got != wrong,
                f"With a budget of {budget:,} it should be {wanted}, yours is {got}. "
                f"{hint}",
            )
        require(
            got == wanted,
            f"With a budget of {budget:,} it should be {wanted}, yours is {got:g}.",
        )
    return (
        "Right. For the price of 32 standard channels you get 90 separable ones. Width "
        "is what the parameters are saved for."
    )


@exercise
def nearest_separable(factorize) -> str:
    """Check `factorize(weight)`: the separable layer nearest to a standard kernel."""
    for c_out, c_in in ((6, 4), (12, 5)):
        generator = torch.Generator().manual_seed(c_out)
        weight = torch.randn(c_out, c_in, 3, 3, generator=generator)
        result = answer(factorize(weight.clone()))
        require(
            isinstance(result, tuple) and len(result) == 2,
            "Return two tensors: depthwise_weight, pointwise_weight.",
        )
        depthwise, pointwise = result[0].detach(), result[1].detach()
        for name, got, shape in (
            ("depthwise_weight", depthwise, (c_in, 1, 3, 3)),
            ("pointwise_weight", pointwise, (c_out, c_in, 1, 1)),
        ):
            require(
                got.shape == shape,
                f"{name} should have shape {shape}, got {tuple(got.shape)}.",
            )
        dense = pointwise * depthwise[:, 0]  # (c_out, c_in, 3, 3)
        matrices = weight.permute(1, 0, 2, 3).flatten(2)  # (c_in, c_out, 9)
        u, s, v = torch.linalg.svd(matrices, full_matrices=False)
        mistakes = {
            "The singular value is missing: multiply one of the two factors by it.": (
                torch.ones_like(s[:, :1, None])
            ),
            "The singular value is in both factors: give it to one of them, or its "
            "root to each.": s[:, :1, None] ** 2,
        }
        for hint, factor in mistakes.items():
            wrong = factor * u[:, :, :1] * v[:, :1]  # (c_in, c_out, 9)
            wrong = wrong.unflatten(2, (3, 3)).permute(1, 0, 2, 3)
            require(not torch.allclose(dense, wrong, atol=1e-4), hint)
        error, least = (dense - weight).norm(), s[:, 1:].norm()
        means = weight.mean(0, keepdim=True).transpose(0, 1)  # (c_in, 1, 3, 3)
        require(
            not torch.allclose(depthwise, means, atol=1e-4),
            "The mean kernel is not the nearest: kernels of opposite sign cancel in "
            "it. Use the first right singular vector.",
        )
        require(
            error <= least + 1e-3,
            f"The relative error of your layer is {error / weight.norm():.3f}; "
            f"{least / weight.norm():.3f} is possible. Take the first singular "
            "vectors: a column of u, but a row of v.",
        )
    return (
        "Right. Stack the second singular vectors on top and you have a depth "
        "multiplier of 2; this is how trained networks are taken apart after the fact."
    )
