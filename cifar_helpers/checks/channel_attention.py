"""Self-checks of notebook 05: weights by hand, a fair difference, fixed weights."""

import torch

from cifar_helpers.checks.framework import (
    Wrong,
    as_items,
    as_number,
    as_percents,
    exercise,
    is_nan,
    named,
    question,
    require,
    require_close,
)


@question
def weights_by_hand(weights) -> str:
    """The two channel weights of the exercise, as a pair of numbers."""
    maps = torch.tensor([[[2.0, 4.0], [6.0, 0.0]], [[0.0, 2.0], [1.0, 1.0]]])
    first = torch.tensor([[1.0, -1.0], [-1.0, 0.0]])
    second = torch.tensor([[1.0, 0.0], [-0.5, 2.0]])
    first_bias, second_bias = torch.tensor([0.0, 1.0]), torch.tensor([-1.0, 1.0])

    def logits(means, relu=True, bias=1.0):
        hidden = first @ means + bias * first_bias
        return second @ (hidden.clamp(min=0) if relu else hidden) + bias * second_bias

    means = maps.mean(dim=(1, 2))  # (2,)
    mistakes = {
        "The sigmoid is missing: weights lie between 0 and 1.": logits(means),
        "Channels compete in a softmax: use the sigmoid for each.": (
            logits(means).softmax(0)
        ),
        "The ReLU between the layers is missing: no hidden unit is negative.": (
            logits(means, relu=False).sigmoid()
        ),
        "The biases are missing.": logits(means, bias=0.0).sigmoid(),
        "You squeezed with the sum of each map: take its mean.": (
            logits(maps.sum(dim=(1, 2))).sigmoid()
        ),
        "You squeezed with the maximum of each map: take its mean.": (
            logits(maps.amax(dim=(1, 2))).sigmoid()
        ),
    }
    pair = as_items(weights, 2, "Give two numbers, such as (0.1, 0.9)")
    got = [as_number(item, "Each of the two weights") for item in pair]
    wanted = logits(means).sigmoid()
    what, otherwise = "The weights", "The means are 3 and 1; go on from there."
    require_close(got, wanted, what, mistakes, otherwise, 1e-3, secret=True)
    return (
        "Right: the means 3 and 1 give the hidden units 2 and 0, and these the weights "
        "0.731 and 0.500. The second hidden unit is silent here."
    )


@exercise
def fair_difference(attempt) -> str:
    """`attempt(weights, labels)`: the largest difference of means, without selection.

    Takes (N, C) and (N,) of 0 and 1; returns the difference, group 1 minus group 0, of
    the channel that group 1 opens most.
    """
    what = "The difference"
    advice = "Return one number, the difference of one channel."

    def mean_of(effect, draws, seed):
        """The mean over draws of 240 images, 64 channels, effect in channel 7."""
        generator = torch.Generator().manual_seed(seed)
        values = []
        for _ in range(draws):
            weights = torch.randn(240, 64, generator=generator)
            labels = torch.randint(0, 2, (240,), generator=generator)
            weights[:, 7] += effect * labels
            weights[:, 9] -= 1.5 * effect * labels  # opened less
            values.append(as_number(attempt(weights, labels), what, advice))
        return sum(values) / draws

    of_noise, of_effect = mean_of(0.0, 100, seed=7), mean_of(2.0, 20, seed=8)
    lead = f"On pure noise your mean over 100 draws is {of_noise:+.2f}, it should be 0."
    require(
        of_noise < 0.18,
        f"{lead} You still measure on images that helped to choose the channel: choose "
        "on one half, measure on the other.",
    )
    require(
        abs(of_noise) < 0.1,
        f"{lead} Return the difference with its sign, as noise is negative half the "
        "time, and measure on no image that helped to choose.",
    )
    require(
        abs(of_effect - 2) < 0.2,
        f"Where one channel differs by 2, yours is {of_effect:+.2f} on average; it "
        "should be 2. Choose the channel with the largest difference, group 1 minus "
        "group 0, and measure that one.",
    )
    draw = torch.Generator().manual_seed(9)
    for order, labels in (
        ("all zeros before all ones", torch.arange(240) // 120),
        ("zeros and ones taking turns", torch.arange(240) % 2),
    ):
        in_order = attempt(torch.randn(240, 64, generator=draw), labels)
        require(
            not is_nan(in_order),
            f"With {order} your difference is no number: half of the images has one "
            "group only. Shuffle the images before you halve them.",
        )
        as_number(in_order, what, advice)
    return (
        f"Right: {of_noise:+.2f} on noise, and {of_effect:+.2f} where the difference "
        "is 2. Half of the images choose, the other half measures."
    )


@question
def attention_strength(accuracies) -> str:
    """`{t: accuracy in %}` for t = 0, 0.5, 1, 1.5, 2 times the attention's changes."""
    strengths = (0, 0.5, 1, 1.5, 2)
    wanted = "Give a dict from each of 0, 0.5, 1, 1.5 and 2 to an accuracy in %"
    if not isinstance(accuracies, dict) or set(accuracies) != set(strengths):
        raise Wrong(f"{wanted}, not {named(accuracies)}.")
    values = as_percents([accuracies[t] for t in strengths], "The accuracies")
    require(
        len(set(values)) > 1,
        "All accuracies are the same: the weights should depend on t.",
    )
    require(
        values[2] > 50,
        f"With t = 1 the network is as trained, so its accuracy should be that of "
        f"section 6, yours is {values[2]:.1f} %.",
    )
    require(
        values[2] > values[0],
        f"Without looking at the image (t = 0) the accuracy should be lower than as "
        f"trained (t = 1), yours is {values[0]:.1f} % against {values[2]:.1f} %. Is t "
        "in front of the image's own change, (s - mean)?",
    )
    require(
        values[0] > values[2] - 10,
        f"With t = 0 every channel keeps its mean weight, and little is lost; yours is "
        f"{values[0]:.1f} %. Only the change, s - mean, is to be multiplied by t.",
    )
    best = strengths[values.index(max(values))]
    return (
        f"Right: {values[0]:.2f} % without looking, {values[2]:.2f} % as trained, "
        f"{values[4]:.2f} % with twice the change; your best is t = {best}. The layers "
        "behind the attention have only ever seen t = 1."
    )


@exercise
def fold_weights(attempt) -> str:
    """`attempt(conv_weight, channel_weights)`: a convolution that weights channels.

    Takes (O, C, k, k) and (C,), returns (O, C, k, k).
    """
    generator = torch.Generator().manual_seed(6)
    conv2d = torch.nn.functional.conv2d
    for outputs, channels in ((3, 3), (5, 4)):
        x = torch.rand(2, channels, 7, 6, generator=generator)
        weight = torch.randn(outputs, channels, 3, 3, generator=generator)
        scale = torch.rand(channels, generator=generator) + 0.2  # (C,)
        mistakes = {}
        if outputs == channels:  # otherwise some of these shapes do not fit
            mistakes = {
                "You scaled the output channels: the weights belong to the input "
                "channels, dimension 1.": weight * scale[:, None, None, None],
                "You scaled the kernel's columns: broadcasting lines shapes up from "
                "the right, so give the scale the shape (1, C, 1, 1).": weight * scale,
                "Multiply, do not divide.": weight / scale[:, None, None],
            }
        got = attempt(weight.clone(), scale.clone())
        wanted = weight * scale[:, None, None]  # (O, C, k, k)
        got = require_close(got, wanted, "The folded weight", mistakes)
        expected = conv2d(x * scale[:, None, None], weight, stride=2, padding=1)
        folded = conv2d(x.double(), got, stride=2, padding=1)
        require_close(folded, expected, "The folded convolution's output")
    return (
        "Right. So fixed weights add nothing that the next convolution could not learn "
        "by itself: the block earns its place by looking at the image."
    )
