"""Attempts at the exercises of notebook 06."""

import torch
from torch import nn

from cifar_helpers.checks import deconvolution_and_residual as checks


def writing(change):
    """An attempt that writes `change(weight)` into the layer."""

    @torch.no_grad()
    def attempt(layer):
        layer.weight.copy_(change(layer.weight))

    return attempt


def mean_of_taps(weight):
    return weight.mean(dim=(2, 3), keepdim=True)


def smaller(layer):
    layer.weight = nn.Parameter(mean_of_taps(layer.weight))


def a_copy(layer):
    return mean_of_taps(layer.weight).expand_as(layer.weight)


def frozen_weight(layer):
    weight = a_copy(layer).detach().clone()
    layer.weight = nn.Parameter(weight, requires_grad=False)


def deleted(layer):
    del layer.weight


def zeroing(*names):
    """An attempt that zeroes the named parameters of each block."""

    def attempt(stack):
        for block in stack:
            for name in names:
                nn.init.zeros_(block.get_parameter(name))

    return attempt


def frozen(stack):
    zeroing("norm.weight")(stack)
    stack.requires_grad_(False)


def removed(stack):
    for index in range(len(stack)):
        stack[index] = nn.Identity()


def last_only(stack):
    nn.init.zeros_(stack[-1].norm.weight)


def small(stack):
    for block in stack:
        nn.init.constant_(block.norm.weight, 0.01)


PADDING = checks.doubling_padding
TILES, IDENTITY = checks.start_without_blocks, checks.start_as_identity
RIGHT = [
    (PADDING, lambda k: ((k - 1) // 2, k % 2)),
    (TILES, writing(mean_of_taps)),
    (TILES, writing(lambda weight: weight[:, :, :1, :1])),
    (IDENTITY, zeroing("norm.weight")),
    (IDENTITY, zeroing("norm.weight", "norm.bias")),
]
WRONG = [
    (PADDING, lambda k: ((k - 2) // 2, 0), "odd kernel"),
    (PADDING, lambda k: (k // 2, 0), "5 pixels become 8"),
    (PADDING, lambda k: (0, 2 - k), "from 0 on, not (0, -1)"),
    (PADDING, lambda k: ((k - 1) // 2, 2), "smaller than the stride"),
    (PADDING, lambda k: ((k - 2) / 2, k % 2), "0.5", "Divide with //"),
    (PADDING, lambda k: k // 2, "Return two whole numbers"),
    (TILES, writing(lambda w: w.mean()), "same weight"),
    (TILES, writing(lambda w: w.mean((0, 2, 3), True)), "averaged over channels"),
    (TILES, writing(lambda w: w.mean((1, 2, 3), True)), "averaged over channels"),
    (TILES, writing(lambda w: w.mean(2, True)), "still differ"),
    (TILES, writing(lambda w: 0.5 * w), "still differ"),
    (TILES, smaller, "keep its shape"),
    (TILES, deleted, "keep its shape"),
    (TILES, a_copy, "unchanged"),
    (TILES, frozen_weight, "learns no more"),
    (IDENTITY, zeroing("pointwise.weight"), "Do not zero the pointwise"),
    (IDENTITY, zeroing("depthwise.weight"), "Do not zero the depthwise"),
    (IDENTITY, zeroing("norm.weight", "pointwise.weight"), "Do not zero the pointwise"),
    (IDENTITY, frozen, "frozen parameter"),
    (IDENTITY, removed, "Keep all blocks"),
    (IDENTITY, lambda stack: stack.double(), "Keep all blocks"),
    (IDENTITY, last_only, "should be the identity", "norm.weight"),
    (IDENTITY, small, "should be the identity"),
]
