"""Self-checks of notebook 08: parameters, first loss, LogSoftmax, another design."""

import math

import torch

from cifar_helpers.blocks import DepthwiseSeparableConv
from cifar_helpers.checks.framework import (
    as_tensor,
    exercise,
    named,
    question,
    require,
    require_close,
)
from cifar_helpers.model import (
    PARAMETER_BUDGET,
    CIFAR10Net,
    NetConfig,
    count_multiply_adds,
    count_parameters,
)

MOST_MULTIPLY_ADDS = 40_000_000  # per image, for a design that trains on a CPU


@exercise
def separable_parameters(attempt) -> str:
    """`attempt(in_channels, out_channels)`: those of a `DepthwiseSeparableConv`."""
    for i, o in ((32, 64), (48, 48), (5, 7)):
        mistakes = {
            "Batch normalization is missing: a scale and a shift for each output "
            "channel.": 9 * i + i * o,
            "This is a dense 3 × 3 convolution: the depthwise part has one filter per "
            "input channel.": (9 * i * o, 9 * i * o + 2 * o),
            "Batch normalization learns two numbers per channel, a scale and a "
            "shift.": 9 * i + i * o + o,
            "The running mean and variance are measured, not learned: they are no "
            "parameters.": 9 * i + i * o + 4 * o,
            "These convolutions have no bias: the shift of the batch normalization "
            "does its work.": 9 * i + i * o + i + 3 * o,
            "The depthwise part works on the input channels.": 9 * o + i * o + 2 * o,
        }
        wanted = count_parameters(DepthwiseSeparableConv(i, o))
        call = f"separable_parameters({i}, {o})"
        require_close(attempt(i, o), wanted, call, mistakes)
    return "Right. The 9 no longer multiplies with the output channels: that saves."


@exercise
def log_softmax(attempt) -> str:
    """`attempt(logits)`: log-probabilities (N, classes), safe for large logits."""
    generator = torch.Generator().manual_seed(8)
    logits = 3 * torch.randn(6, 4, generator=generator)  # (6, 4)
    exact = logits.double()
    wanted = exact.log_softmax(dim=1)
    mistakes = {
        "These are probabilities: take the logarithm.": wanted.exp(),
        "The sum runs over the batch: use the classes, dim=1.": exact.log_softmax(0),
        "Every image has its own sum, dim=1.": exact - exact.logsumexp((0, 1)),
        "The sign is turned: log-probabilities are never above zero.": -wanted,
    }
    require_close(attempt(logits.clone()), wanted, "The log-probability", mistakes)
    for shift in (1000.0, -1000.0):
        what = f"With {shift:g} added to the logits, the result"
        advice = (
            "e to the 1000 is too large for a float, and log(0) is minus infinity. "
            "Subtract each row's maximum first; the result stays the same."
        )
        shifted = as_tensor(attempt(logits + shift), what, logits.shape, advice)
        require_close(shifted, wanted, what, tolerance=1e-3)
    return (
        "Right. LogSoftmax keeps the logarithm inside, so no confidence is too large "
        "or too small for it."
    )


@exercise
def first_loss(attempt) -> str:
    """`attempt(classes)`: cross-entropy, in nats, of a network that knows nothing."""
    for classes in (10, 2, 1000):
        wanted = math.log(classes)
        mistakes = {
            "Use the natural logarithm: losses are in nats.": (
                math.log10(classes),
                math.log2(classes),
            ),
            "The sign is turned: the loss is minus the log-probability.": -wanted,
            "This is the probability: the loss is minus its logarithm.": 1 / classes,
            "This is the share of errors: take minus a logarithm.": 1 - 1 / classes,
        }
        require_close(attempt(classes), wanted, f"first_loss({classes})", mistakes)
    return (
        "Right. A first loss far above it means that the network starts out sure of "
        "wrong answers: look at the last layer's initial weights."
    )


@question
def redesign(config) -> str:
    """A `NetConfig` with half as many deep channels again, within the budget."""
    hint = f"Give a NetConfig(...), not {named(config)}."
    require(isinstance(config, NetConfig), hint)
    base = NetConfig()
    require(
        not config.without,
        f"You switched off {', '.join(config.without)}: keep all six parts and make "
        "one narrower.",
    )
    require(config.classes == base.classes, "CIFAR-10 has ten classes: keep them.")
    deep = base.deep_channels * 3 // 2
    require(
        config.deep_channels >= deep,
        f"deep_channels should be at least {deep}, yours is {config.deep_channels}.",
    )
    with torch.device("meta"):  # counts without memory for the weights
        parameters = count_parameters(CIFAR10Net(config))
    over = parameters - (PARAMETER_BUDGET - 1)
    require(
        over <= 0,
        f"Your network has {parameters:,} parameters, {over:,} too many. Most "
        "lie in the dense convolutions with hidden_channels: make those fewer.",
    )
    millions = count_multiply_adds(CIFAR10Net(config)) / 1e6
    most = MOST_MULTIPLY_ADDS / 1e6
    require(
        millions <= most,
        f"Your network takes {millions:.1f} million multiply-adds per image, above "
        f"{most:.0f} million: too slow to train on a CPU.",
    )
    return (
        f"Right: {parameters:,} parameters, {millions:.1f} million multiply-adds. "
        "Whether it is also more accurate, only training can tell."
    )
