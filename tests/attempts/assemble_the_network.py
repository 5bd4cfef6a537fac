"""Attempts at the exercises of notebook 08."""

import math

import torch
from torch.nn import functional as F

from cifar_helpers.checks import assemble_the_network as checks
from cifar_helpers.model import CIFAR10Net, NetConfig, count_multiply_adds

BASE = NetConfig()
DEEP = BASE.deep_channels * 3 // 2
HIDDEN = BASE.hidden_channels
LOSS, FORWARD = checks.best_wrong_loss, checks.repaired_forward
WIDER = NetConfig(deep_channels=DEEP, hidden_channels=HIDDEN // 2)
MILLIONS = count_multiply_adds(CIFAR10Net(WIDER)) / 1e6


def unsafe(logits):
    return logits - logits.exp().sum(dim=1, keepdim=True).log()


def maximum_once(logits):
    most = logits.max(dim=1, keepdim=True).values
    return logits - (logits - most).exp().sum(dim=1, keepdim=True).log()


def maximum_of_all(z):
    z = z - z.max()
    return z - z.exp().sum(dim=1, keepdim=True).log()


def log_of_softmax(z):
    powers = (z - z.amax(dim=1, keepdim=True)).exp()
    return (powers / powers.sum(dim=1, keepdim=True)).log()


def over_everything(logits):
    shifted = logits - logits.max()
    return shifted - shifted.exp().sum().log()


def forward(attend=True, end="log_softmax", shortcut="dilated_near"):
    """The network's forward, with the notebook's mistakes where asked for."""

    def attempt(net, images):
        first = net.initial(images)
        detail = net.dilated_near(first)
        x = net.dilated_far(detail)
        x = net.attention(x) if attend else x
        x = net.deconvolution(x, detail if shortcut == "dilated_near" else first)
        logits = net.head.linear(net.aspp(x).mean((2, 3)))
        return {
            "log_softmax": logits.log_softmax(1),
            "softmax": logits.softmax(1),
            "logits": logits,
            "over the batch": logits.log_softmax(0),
        }[end]

    return attempt


RIGHT = [
    (LOSS, math.log(math.e + 9) - 1),
    (LOSS, F.cross_entropy(F.one_hot(torch.tensor([3]), 10) * 1.0, torch.tensor([3]))),
    (LOSS, 1.46),
    (FORWARD, forward()),
    (FORWARD, lambda net, images: net(images)),
    (checks.log_softmax, lambda z: torch.log_softmax(z, dim=1)),
    (checks.redesign, (WIDER, 10.0, MILLIONS)),
]
WRONG = [
    (LOSS, 0, "loss of a right pair"),
    (LOSS, 2.303, "knows nothing"),
    (LOSS, math.log(math.e + 9), "sure of the true class"),
    (LOSS, math.log(9), "nine times"),
    (LOSS, math.log(1 + 9 / math.e) - 1, "subtracted twice"),
    (LOSS, -1, "NLLLoss"),
    (LOSS, math.e / (math.e + 9), "minus the logarithm"),
    (LOSS, 5, "minus log_softmax"),
    (FORWARD, forward(attend=False, end="logits"), "Both mistakes"),
    (FORWARD, forward(end="logits"), "These are logits"),
    (FORWARD, forward(attend=False), "Check 3 still fails"),
    (FORWARD, forward(end="softmax"), "their logarithms"),
    (FORWARD, forward(shortcut="initial"), "starts at `dilated_near`"),
    (FORWARD, forward(end="over the batch"), "dim=1"),
    (FORWARD, lambda net, images: net.aspp(images), "Your code raised"),
    (FORWARD, lambda net, images: net(images)[:1], "(3, 10)"),
    (FORWARD, lambda net, images: 2 * net(images), "one by one"),
    (checks.log_softmax, lambda z: z.softmax(dim=1), "take the logarithm"),
    (checks.log_softmax, lambda z: z.log_softmax(dim=0), "over the batch"),
    (checks.log_softmax, lambda z: -z.log_softmax(dim=1), "sign is turned"),
    (checks.log_softmax, maximum_once, "in one place only"),
    (checks.log_softmax, unsafe, "nan or inf", "Subtract each row's maximum"),
    (checks.log_softmax, over_everything, "Every image has its own sum"),
    (checks.log_softmax, maximum_of_all, "in one batch", "each row's own maximum"),
    (checks.log_softmax, log_of_softmax, "in one batch", "logarithm of the sum"),
    (checks.redesign, (BASE, 10, 15), "deep_channels should be at least"),
    (
        checks.redesign,
        (NetConfig(deep_channels=DEEP, hidden_channels=2 * HIDDEN), 10, 10),
        "too many",
    ),
    (checks.redesign, (NetConfig(deep_channels=10**5), 10, 10), "too many"),
    (
        checks.redesign,
        (NetConfig(deep_channels=DEEP, without=("deconvolution",)), 10, 10),
        "You switched off deconvolution",
    ),
    (checks.redesign, (NetConfig(classes=100), 10, 10), "ten classes"),
    (checks.redesign, ({"deep_channels": DEEP}, 10, 10), "a NetConfig(...) first"),
    (checks.redesign, WIDER, "three things"),
    (checks.redesign, (WIDER, -3, MILLIONS), "more than zero"),
    (checks.redesign, (WIDER, 10, 1e6 * MILLIONS), "divide by 1e6"),
    (checks.redesign, (WIDER, 10, 2 * MILLIONS), "counts once"),
    (checks.redesign, (WIDER, 10, 15.624768), "measure your own"),
    (checks.redesign, (WIDER, 10, 0.9 * MILLIONS), "count_multiply_adds"),
]
