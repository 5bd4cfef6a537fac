"""The self-checks of notebook 06 say "not yet" to stubs and name typical mistakes."""

import pytest
import torch
from torch import nn
from verdicts import empty, wrong

from cifar_helpers.checks import deconvolution_and_residual as checks


@pytest.mark.parametrize(
    "check",
    [
        checks.doubling_padding,
        checks.start_without_blocks,
        checks.start_as_identity,
    ],
)
def test_stub_is_not_yet_solved(check):
    assert check(empty).status == "not yet"


@pytest.mark.parametrize(
    "padding, word",
    [
        (lambda k: ((k - 2) // 2, 0), "odd kernel"),
        (lambda k: (k // 2, 0), "5 pixels become 8"),
        (lambda k: (0, 2 - k), "whole numbers"),
        (lambda k: ((k - 1) // 2, 2), "smaller than the stride"),
        (lambda k: ((k - 2 + k % 2) / 2, k % 2), "divide with //"),
        (lambda k: k // 2, "pair"),
    ],
)
def test_doubling_padding(padding, word):
    wrong(checks.doubling_padding(padding), word)


def writing(change):
    """An attempt that writes `change(weight)` into the layer."""

    @torch.no_grad()
    def attempt(layer):
        layer.weight.copy_(change(layer.weight))

    return attempt


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda w: w.mean(), "same weight"),
        (lambda w: w.mean(dim=(0, 2, 3), keepdim=True), "averaged over channels"),
        (lambda w: w.mean(dim=(1, 2, 3), keepdim=True), "averaged over channels"),
        (lambda w: w.mean(dim=2, keepdim=True), "still differ"),
        (lambda w: 0.5 * w, "still differ"),
    ],
)
def test_start_without_blocks(change, word):
    wrong(checks.start_without_blocks(writing(change)), word)


def test_start_without_blocks_beside_the_layer():
    def smaller(layer):
        layer.weight = nn.Parameter(layer.weight.mean(dim=(2, 3), keepdim=True))

    def a_copy(layer):
        return layer.weight.mean(dim=(2, 3), keepdim=True).expand_as(layer.weight)

    def frozen(layer):
        weight = a_copy(layer).detach().clone()
        layer.weight = nn.Parameter(weight, requires_grad=False)

    wrong(checks.start_without_blocks(smaller), "keep its shape")
    wrong(checks.start_without_blocks(a_copy), "unchanged")
    wrong(checks.start_without_blocks(frozen), "learns no more")


def zeroing(*names):
    """An attempt that zeroes the named parameters of each block."""

    def attempt(stack):
        for block in stack:
            for name in names:
                nn.init.zeros_(block.get_parameter(name))

    return attempt


@pytest.mark.parametrize(
    "names, word",
    [
        (["pointwise.weight"], "Do not zero the pointwise"),
        (["depthwise.weight"], "Do not zero the depthwise"),
        (["norm.weight", "pointwise.weight"], "Do not zero the pointwise"),
    ],
)
def test_start_as_identity(names, word):
    wrong(checks.start_as_identity(zeroing(*names)), word)


def test_start_as_identity_must_still_learn():
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

    wrong(checks.start_as_identity(frozen), "frozen parameter")
    wrong(checks.start_as_identity(removed), "Keep all blocks")
    wrong(checks.start_as_identity(last_only), "not the identity yet", "norm.weight")
    wrong(checks.start_as_identity(small), "not the identity yet")


def test_right_answers_are_praised():
    def first_tap(weight):
        return weight[:, :, :1, :1]

    verdicts = [
        checks.doubling_padding(lambda k: [(k - 1) // 2, k % 2]),
        checks.start_without_blocks(writing(first_tap)),
        checks.start_as_identity(zeroing("norm.weight", "norm.bias")),
    ]
    assert [verdict.status for verdict in verdicts] == ["solved"] * 3
