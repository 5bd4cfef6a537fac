"""Attempts at the exercises of notebook 03."""

import torch
from torch import nn

from cifar_helpers.blocks import DepthwiseSeparableConv
from cifar_helpers.checks import depthwise_separable as checks
from cifar_helpers.model import count_parameters


def cost(parameters, places=None):
    """A cost function from a formula for the parameters (and for multiply-adds)."""

    def attempt(i, o, k, height, width):
        work = places(i, o, k, height * width) if places else 0
        return parameters(i, o, k), work

    return attempt


def right(i, o, k):
    return k * k * i + i * o


def counted(c_in, c_out, kernel, height, width):
    layers = nn.Sequential(
        nn.Conv2d(c_in, c_in, kernel, groups=c_in, bias=False),
        nn.Conv2d(c_in, c_out, 1, bias=False),
    )
    return count_parameters(layers), count_parameters(layers) * height * width


def count_up(price):
    """The most channels whose price is within the budget."""

    def widest(budget):
        channels = 0
        while price(channels + 1) <= budget:
            channels += 1
        return channels

    return widest


def price_of_the_block(channels):
    with torch.device("meta"):
        return count_parameters(DepthwiseSeparableConv(channels, channels))


by_formula = count_up(lambda c: c * c + 11 * c)


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


COST, WIDTH = checks.separable_cost, checks.widest_separable
NEAREST = checks.nearest_separable
RIGHT = [
    (COST, counted),
    (WIDTH, count_up(price_of_the_block)),
    (NEAREST, factorized(1.0, 0.0)),
    (NEAREST, factorized(0.0, 1.0)),
    (NEAREST, factorized(0.5, 0.5)),
]
WRONG = [
    (COST, cost(lambda i, o, k: k * k * i * o), "That is a standard convolution"),
    (COST, cost(lambda i, o, k: k * k * i), "the pointwise half is missing"),
    (COST, cost(lambda i, o, k: i * o), "the depthwise half is missing"),
    (COST, cost(lambda i, o, k: k * k * o + i * o), "not for each output channel"),
    (COST, cost(lambda i, o, k: k * k * (i + i * o)), "are 1 x 1: no k"),
    (COST, cost(lambda i, o, k: k * k * i * i * o), "add them up"),
    (COST, cost(lambda i, o, k: k * i + i * o), "k rows and k columns"),
    (COST, cost(lambda i, o, k: right(i, o, k) + i + o), "You added biases"),
    (COST, cost(right, lambda i, o, k, hw: right(i, o, k)), "used at every place"),
    (COST, cost(right, lambda i, o, k, hw: k * k * i + i * o * hw), "depthwise half t"),
    (COST, cost(right, lambda i, o, k, hw: k * k * i * hw + i * o), "pointwise half t"),
    (COST, cost(right, lambda i, o, k, hw: 2 * hw * right(i, o, k)), "as one"),
    (COST, cost(right), "Multiply-adds for (32, 64, 3, 32, 32)", "yours is 0"),
    (COST, lambda i, o, k, h, w: right(i, o, k), "Return two whole numbers", "2336"),
    (WIDTH, count_up(lambda c: c * c + 9 * c), "normalization is missing"),
    (WIDTH, count_up(lambda c: c * c + 2 * c), "left out the depthwise half"),
    (WIDTH, count_up(lambda c: 9 * c * c + 2 * c), "how wide a standard layer"),
    (WIDTH, lambda b: by_formula(b) + 1, "costs more than the budget"),
    (WIDTH, lambda b: by_formula(b - 1), "exactly"),
    (WIDTH, lambda b: 64, "should be 4, yours is 64"),
    (NEAREST, factorized(left=0.0), "singular value is missing"),
    (NEAREST, factorized(right=1.0), "in both factors"),
    (NEAREST, factorized(order=1), "is possible"),
    (NEAREST, mean_kernel, "mean kernel is not the nearest"),
    (NEAREST, lambda w: (w[0][:, None], w[:, :, :1, :1]), "is possible"),
    (NEAREST, lambda w: (w[0], w[:, :, :1, :1]), "depthwise_weight", "(4, 1, 3, 3)"),
    (NEAREST, lambda w: (w[0][:, None], w[:, :, 0, 0]), "pointwise_weight should be"),
    (NEAREST, lambda w: w, "Return two tensors"),
]
