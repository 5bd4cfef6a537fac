"""Self-checks of notebook 08: output and loss, LogSoftmax, a repair, another design."""

import math

import torch
from torch.nn import functional as F

from cifar_helpers.checks.framework import (
    as_items,
    as_number,
    as_tensor,
    exercise,
    named,
    question,
    reject_mistakes,
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


@question
def best_wrong_loss(loss) -> str:
    """Cross-entropy of ten probabilities taken for logits, the true one being 1."""
    certain = torch.eye(10, dtype=torch.double)[:1]  # (1, 10), class 0 for sure
    right, wrong = torch.tensor([0]), torch.tensor([1])
    wanted = F.cross_entropy(certain, right).item()
    mistakes = {
        "This is the loss of a right pair. Here softmax is applied to the "
        "probabilities once more.": 0.0,
        "This is what the loss says of a network that knows nothing.": math.log(10),
        "The network is sure of the true class here, not of another one.": (
            F.cross_entropy(certain, wrong).item()
        ),
        "The sum runs over all ten classes: e to the 1 once, and e to the 0 nine "
        "times.": (math.log(9), math.log(9) - 1),
        "The 1 was subtracted twice: it is already in 9 / e.": (
            math.log(1 + 9 / math.e) - 1
        ),
        "The loss is minus the logarithm of the second softmax.": math.exp(-wanted),
        "This is what NLLLoss makes of probabilities. CrossEntropyLoss applies "
        "LogSoftmax first.": -1.0,
    }
    otherwise = "Put the ten numbers 1, 0, 0 … into minus log_softmax."
    value = as_number(loss, "The loss")
    require_close(
        value, wanted, "The loss", mistakes, otherwise, tolerance=6e-3, secret=True
    )
    return (
        f"Right, {wanted:.3f}: no training can bring this loss below it, and near it "
        "the gradients are small, because the second softmax flattens everything."
    )


@exercise
def repaired_forward(attempt) -> str:
    """`attempt(net, images)`: log-probabilities (N, 10), as the network's forward."""
    torch.default_generator.manual_seed(8)
    sizes = {"channels": 4, "deep_channels": 8, "hidden_channels": 8}
    net = CIFAR10Net(NetConfig(**sizes, branch_channels=4, out_channels=8)).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        wanted = net(images)  # (3, 10)
        mistakes = _forward_mistakes(net, images)
        got = attempt(net, images)
    what = "The output"
    advice = "The head gives one log-probability for each of the ten classes."
    value = as_tensor(got, what, wanted.shape, advice)
    otherwise = "Go through the seven lines of `SixParts.forward`, one by one."
    require_close(value, wanted.double(), what, mistakes, otherwise)
    return (
        "Right. Neither mistake raises an error: a part that nobody listens to shows "
        "in check 3, an output of another kind in check 1."
    )


def _forward_mistakes(net, images) -> dict:
    """What the forward gives with one mistake left, or with another one, by hint."""
    x = net.initial(images)
    detail = net.dilated_near(x)
    far = net.dilated_far(detail)

    def ending(x, shortcut=detail):
        """Logits and log-probabilities of what follows the attention."""
        maps = net.aspp(net.deconvolution(x, shortcut))
        head = net.head
        return head.linear(head.flatten(head.pool(maps))), head(maps)

    logits, log_probabilities = ending(net.attention(far))
    deaf_logits, deaf = ending(far)
    return {
        "Both mistakes are still there: look at what check 1 and check 3 "
        "say.": deaf_logits,
        "These are logits: check 1 still fails. The head ends with "
        "log_softmax.": logits,
        "Check 3 still fails: what a part gives must be used, x = net.…(x).": deaf,
        "These are probabilities: the head gives their logarithms.": (
            log_probabilities.exp()
        ),
        "The shortcut starts at `dilated_near`, not at the initial "
        "convolution.": ending(net.attention(far), x)[1],
        "The logarithm is taken over the batch: use the classes, dim=1.": (
            logits.log_softmax(0)
        ),
    }


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
        "The maximum was subtracted in one place only: put the difference into both.": (
            exact - (exact - exact.amax(1, keepdim=True)).logsumexp(1, keepdim=True)
        ),
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
    far = torch.tensor([[1000.0, 999.0], [0.0, 200.0], [-1000.0, -1001.0]])
    advice = (
        "Subtract each row's own maximum, and take the logarithm of the sum, not of "
        "the probabilities: those may be too small for a float."
    )
    what = "With rows around 1000, 100 and -1000 in one batch, the result"
    result = as_tensor(attempt(far.clone()), what, far.shape, advice)
    require_close(result, far.double().log_softmax(dim=1), what, tolerance=1e-3)
    return (
        "Right. LogSoftmax keeps the logarithm inside, so no confidence is too large "
        "or too small for it."
    )


@question
def redesign(experiment) -> str:
    """(config, expected, measured): a wider design, and its multiply-adds in millions.

    The design must have half as many deep channels again, within the budget.
    """
    wanted = "Give three things, (config, expected, measured)"
    config, expected, measured = as_items(experiment, 3, wanted)
    parameters = _check_design(config)
    expected = as_number(expected, "What you expect, in millions,")
    require(expected > 0, "Expect more than zero: every design multiplies.")
    measured = as_number(measured, "What you measured, in millions,")
    millions = count_multiply_adds(CIFAR10Net(config)) / 1e6
    most = MOST_MULTIPLY_ADDS / 1e6
    require(
        millions <= most,
        f"Your network takes {millions:.1f} million multiply-adds per image, above "
        f"{most:.0f} million: too slow to train on a CPU.",
    )
    mistakes = {
        "These are parameters, not multiply-adds.": (parameters, parameters / 1e6),
        "Give millions: divide by 1e6.": millions * 1e6,
        "A multiply-add counts once here, as in count_multiply_adds.": 2 * millions,
        "This is the default network: measure your own.": (
            count_multiply_adds(CIFAR10Net()) / 1e6
        ),
    }
    off = abs(measured - millions) > 0.01 * millions
    lead = f"Measured {measured:,.6g} is not right:"
    if off:
        reject_mistakes(measured, mistakes, lead, tolerance=0.01 * millions)
    hint = f"{lead} use count_multiply_adds(CIFAR10Net(config)) / 1e6."
    require(not off, hint)
    error = 100 * (expected - millions) / millions
    return (
        f"Right: {parameters:,} parameters, {millions:.1f} million multiply-adds. You "
        f"expected {expected:.1f}, which is {error:+.0f} %. Whether this network is "
        "also more accurate, only training can tell."
    )


def _check_design(config) -> int:
    """The parameters of a design that keeps the exercise's rules."""
    hint = f"Give a NetConfig(...) first, not {named(config)}."
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
    return parameters
