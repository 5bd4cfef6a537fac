"""The self-checks of notebook 03 say "not yet" to stubs and name typical mistakes."""

import pytest
import torch
from torch import nn
from verdicts import empty, wrong

from cifar_helpers.blocks import DepthwiseSeparableConv
from cifar_helpers.checks import depthwise_separable as checks
from cifar_helpers.model import count_parameters


@pytest.mark.parametrize(
    "check",
    [checks.separable_cost, checks.widest_separable, checks.nearest_separable],
)
def test_stub_is_not_yet_solved(check):
    assert check(empty).status == "not yet"


def cost(parameters, places=None):
    """A cost function from a formula for the parameters (and for multiply-adds)."""

    def attempt(i, o, k, height, width):
        work = places(i, o, k, height * width) if places else 0
        return parameters(i, o, k), work

    return attempt


def right(i, o, k):
    return k * k * i + i * o


@pytest.mark.parametrize(
    "attempt, words",
    [
        (cost(lambda i, o, k: k * k * i * o), "That is a standard convolution"),
        (cost(lambda i, o, k: k * k * i), "the pointwise half is missing"),
        (cost(lambda i, o, k: i * o), "the depthwise half is missing"),
        (cost(lambda i, o, k: k * k * o + i * o), "not for each output channel"),
        (cost(lambda i, o, k: k * k * (i + i * o)), "no k there"),
        (cost(lambda i, o, k: k * k * i * i * o), "add their parameters"),
        (cost(lambda i, o, k: k * i + i * o), "k rows and k columns"),
        (cost(lambda i, o, k: right(i, o, k) + i + o), "You added biases"),
        (cost(right, lambda i, o, k, hw: right(i, o, k)), "used at every place"),
        (cost(right, lambda i, o, k, hw: k * k * i + i * o * hw), "depthwise half too"),
        (cost(right, lambda i, o, k, hw: k * k * i * hw + i * o), "pointwise half too"),
        (cost(right, lambda i, o, k, hw: 2 * hw * right(i, o, k)), "as one"),
        (cost(right), "yours are 0"),
        (lambda i, o, k, h, w: right(i, o, k), "Return a pair"),
    ],
)
def test_separable_cost(attempt, words):
    wrong(checks.separable_cost(attempt), words)


def test_separable_cost_is_solved_by_counting():
    def counted(c_in, c_out, kernel, height, width):
        layers = nn.Sequential(
            nn.Conv2d(c_in, c_in, kernel, groups=c_in, bias=False),
            nn.Conv2d(c_in, c_out, 1, bias=False),
        )
        return count_parameters(layers), count_parameters(layers) * height * width

    assert checks.separable_cost(counted).status == "solved"


def count_up(price):
    """The most channels whose price is within the budget."""

    def widest(budget):
        channels = 0
        while price(channels + 1) <= budget:
            channels += 1
        return channels

    return widest


@pytest.mark.parametrize(
    "widest, words",
    [
        (count_up(lambda c: c * c + 9 * c), "of the normalization"),
        (count_up(lambda c: c * c + 2 * c), "left out the depthwise half"),
        (count_up(lambda c: 9 * c * c + 2 * c), "how wide a standard layer"),
        (lambda b: count_up(lambda c: c * c + 11 * c)(b) + 1, "one channel too many"),
        (lambda b: count_up(lambda c: c * c + 11 * c)(b - 1), "exactly"),
        (lambda b: 64, "should be 4, yours is 64"),
    ],
)
def test_widest_separable(widest, words):
    wrong(checks.widest_separable(widest), words)


def test_widest_separable_is_solved_by_building_the_block():
    def price(channels):
        with torch.device("meta"):
            return count_parameters(DepthwiseSeparableConv(channels, channels))

    assert checks.widest_separable(count_up(price)).status == "solved"


def factorized(left=1.0, right=0.0, order=0):
    """The solution, with one wrong step where it is given."""

    def attempt(weight):
        matrices = weight.permute(1, 0, 2, 3).flatten(2)  # (C_in, C_out, 9)
        u, s, v = torch.linalg.svd(matrices, full_matrices=False)
        filters = v[:, order] * s[:, order, None] ** right  # (C_in, 9)
        mixing = u[:, :, order] * s[:, order, None] ** left  # (C_in, C_out)
        return filters.unflatten(1, (3, 3))[:, None], mixing.T[:, :, None, None]

    return attempt


def mean_kernel(weight):
    filters = weight.mean(0)[:, None]  # (C_in, 1, 3, 3)
    mixing = (weight * filters[:, 0]).sum((2, 3)) / filters.square().sum((1, 2, 3))
    return filters, mixing[:, :, None, None]


@pytest.mark.parametrize(
    "attempt, words",
    [
        (factorized(left=0.0), "singular value is missing"),
        (factorized(right=1.0), "in both factors"),
        (factorized(order=1), "is possible"),
        (mean_kernel, "mean kernel is not the nearest"),
        (lambda w: (w[0][:, None], w[:, :, :1, :1]), "is possible"),
        (lambda w: (w[0], w[:, :, :1, :1]), "depthwise_weight should have shape"),
        (lambda w: (w[0][:, None], w[:, :, 0, 0]), "pointwise_weight should have"),
        (lambda w: w, "Return two tensors"),
    ],
)
def test_nearest_separable(attempt, words):
    wrong(checks.nearest_separable(attempt), words)


@pytest.mark.parametrize("left, right", [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_nearest_separable_is_solved_wherever_the_singular_value_goes(left, right):
    assert checks.nearest_separable(factorized(left, right)).status == "solved"
