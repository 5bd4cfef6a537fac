"""TODO."""

import torch

from cifar_helpers.checks.framework import answer, exercise, require, require_close


@exercise
def separable_parameters(attempt):
    """Parameters of a depthwise separable convolution with its batch norm."""
    from cifar_helpers.blocks import DepthwiseSeparableConv
    from cifar_helpers.model import count_parameters

    for i, o in ((32, 64), (48, 48), (5, 7)):
        got = answer(attempt(i, o))
        wanted = count_parameters(DepthwiseSeparableConv(i, o))
        mistakes = {
            9 * i + i * o: "batch normalization is missing: a scale and a shift for "
            "each output channel.",
            9 * i * o: "this is a dense 3 × 3 convolution: the depthwise part has one "
            "filter per input channel.",
            9 * i * o + 2 * o: "this is a dense 3 × 3 convolution: the depthwise part "
            "has one filter per input channel.",
            9 * i + i * o + o: "batch normalization learns two numbers per channel, a "
            "scale and a shift.",
            9 * i + i * o + 4 * o: "the running mean and variance are measured, not "
            "learned: they are no parameters.",
            9 * i + i * o + i + 3 * o: "these convolutions have no bias: the shift of "
            "the batch normalization does its work.",
            9 * o + i * o + 2 * o: "the depthwise convolution comes first: it works on "
            "the input channels.",
        }
        call = f"separable_parameters({i}, {o})"
        if got != wanted and got in mistakes:
            require(False, f"{call}: {mistakes[got]}")
        require(got == wanted, f"{call} should be {wanted}, yours is {got}.")
    return "Right. The 9 no longer multiplies with the output channels: that saves."


@exercise
def log_softmax(attempt):
    """Log-probabilities from logits (N, classes), safe for large logits."""
    generator = torch.Generator().manual_seed(8)
    logits = 3 * torch.randn(6, 4, generator=generator)  # (6, 4)
    wanted = logits.double().log_softmax(dim=1)
    got = answer(attempt(logits.clone()))
    mistakes = {
        "These are probabilities: take the logarithm.": wanted.exp(),
        "The sum runs over the batch: sum over the classes, dim=1.": (
            logits.double().log_softmax(dim=0)
        ),
        "The sum runs over the whole tensor: every image has its own, dim=1.": (
            logits.double() - logits.double().logsumexp((0, 1))
        ),
        "The sign is turned: log-probabilities are never above zero.": -wanted,
    }
    for hint, wrong in mistakes.items():
        same = got.shape == wrong.shape and torch.allclose(got.double(), wrong, 1e-4)
        require(not same, hint)
    require_close(got, wanted, "The log-probability")
    for shift in (1000.0, -1000.0):
        shifted = attempt(logits + shift)
        require(
            bool(torch.isfinite(shifted).all()),
            f"With logits around {shift:g} yours is not finite: e to the 1000 is too "
            "large for a float, and log(0) is minus infinity. Subtract each row's "
            "maximum first; the result stays the same.",
        )
        require_close(shifted, wanted, f"With {shift:g} added, the result", 1e-3)
    return (
        "Right. LogSoftmax keeps the logarithm inside, so no confidence is too large "
        "or too small for it."
    )


@exercise
def first_loss(attempt):
    """The cross-entropy, in nats, of a network that knows nothing."""
    import math

    for classes in (10, 2, 1000):
        got = float(answer(attempt(classes)))
        wanted = math.log(classes)
        call = f"first_loss({classes})"
        mistakes = {
            math.log10(classes): "use the natural logarithm: losses are in nats.",
            math.log2(classes): "use the natural logarithm: losses are in nats.",
            -wanted: "the sign is turned: the loss is minus the log-probability.",
            1 / classes: "this is the probability: the loss is minus its logarithm.",
            1 - 1 / classes: "this is the share of wrong answers: the loss is minus a "
            "logarithm.",
        }
        for value, hint in mistakes.items():
            require(abs(got - value) > 1e-6 or value == wanted, f"{call}: {hint}")
        require_close(got, wanted, call)
    return (
        "Right. A first loss far above it means that the network starts out sure of "
        "wrong answers: look at the last layer's initial weights."
    )


@exercise
def redesign(attempt):
    """A NetConfig with half as many deep channels again, within the budget."""
    from cifar_helpers.model import (
        PARAMETER_BUDGET,
        CIFAR10Net,
        NetConfig,
        count_multiply_adds,
        count_parameters,
    )

    config = answer(attempt)
    require(
        isinstance(config, NetConfig),
        f"Give a NetConfig(...), yours is a {type(config).__name__}.",
    )
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
    model = CIFAR10Net(config)
    parameters, multiply_adds = count_parameters(model), count_multiply_adds(model)
    over = parameters - (PARAMETER_BUDGET - 1)
    require(
        over <= 0,
        f"Your network has {parameters:,} parameters, {over:,} too many. Most "
        "lie in the dense convolutions with hidden_channels: make those fewer.",
    )
    most = 40_000_000
    require(
        multiply_adds <= most,
        f"Your network takes {multiply_adds / 1e6:.1f} million multiply-adds per "
        f"image, above {most / 1e6:.0f} million: too slow to train on a CPU.",
    )
    return (
        f"Right: {parameters:,} parameters, {multiply_adds / 1e6:.1f} million "
        "multiply-adds. Whether it is also more accurate, only training can tell."
    )
