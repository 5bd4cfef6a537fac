"""Attempts at the exercises of notebook 08."""

import math

import torch

from cifar_helpers.checks import assemble_the_network as checks
from cifar_helpers.model import NetConfig

BASE = NetConfig()
DEEP = BASE.deep_channels * 3 // 2
HIDDEN = BASE.hidden_channels
COUNT, LOSS = checks.separable_parameters, checks.first_loss


def unsafe(logits):
    return logits - logits.exp().sum(dim=1, keepdim=True).log()


def over_everything(logits):
    shifted = logits - logits.max()
    return shifted - shifted.exp().sum().log()


RIGHT = [
    (COUNT, lambda i, o: (9 + o) * i + 2 * o),
    (LOSS, math.log),
    (checks.log_softmax, lambda z: torch.log_softmax(z, dim=1)),
    (checks.redesign, NetConfig(deep_channels=DEEP, hidden_channels=HIDDEN // 2)),
]
WRONG = [
    (COUNT, lambda i, o: 9 * i + i * o, "normalization is missing"),
    (COUNT, lambda i, o: 9 * i * o + 2 * o, "dense"),
    (COUNT, lambda i, o: 9 * i * o, "dense"),
    (COUNT, lambda i, o: 9 * i + i * o + o, "two numbers per channel"),
    (COUNT, lambda i, o: 9 * i + i * o + 4 * o, "not learned"),
    (COUNT, lambda i, o: 10 * i + i * o + 3 * o, "have no bias"),
    (COUNT, lambda i, o: 9 * o + i * o + 2 * o, "works on the input channels"),
    (COUNT, lambda i, o: i + o, "(32, 64) should be 2,464, yours is 96."),
    (LOSS, math.log10, "natural logarithm"),
    (LOSS, math.log2, "natural logarithm"),
    (LOSS, lambda classes: -math.log(classes), "sign"),
    (LOSS, lambda classes: 1 / classes, "minus its logarithm"),
    (LOSS, lambda classes: 1 - 1 / classes, "share of errors"),
    (LOSS, lambda classes: 2.302585, "first_loss(2)"),
    (checks.log_softmax, lambda z: z.softmax(dim=1), "take the logarithm"),
    (checks.log_softmax, lambda z: z.log_softmax(dim=0), "over the batch"),
    (checks.log_softmax, lambda z: -z.log_softmax(dim=1), "sign is turned"),
    (checks.log_softmax, unsafe, "nan or inf", "Subtract each row's maximum"),
    (checks.log_softmax, over_everything, "Every image has its own sum"),
    (checks.redesign, BASE, "deep_channels should be at least"),
    (
        checks.redesign,
        NetConfig(deep_channels=DEEP, hidden_channels=2 * HIDDEN),
        "too many",
    ),
    (checks.redesign, NetConfig(deep_channels=10**5), "too many"),
    (
        checks.redesign,
        NetConfig(deep_channels=DEEP, without=("deconvolution",)),
        "You switched off deconvolution",
    ),
    (checks.redesign, NetConfig(classes=100), "ten classes"),
    (checks.redesign, {"deep_channels": DEEP}, "a NetConfig(...), not a dict"),
]
