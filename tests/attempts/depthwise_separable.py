"""Attempts at the exercises of notebook 03."""

import torch

from cifar_helpers.blocks import DepthwiseSeparableConv
from cifar_helpers.checks import depthwise_separable as checks
from cifar_helpers.model import count_parameters


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


def folded(scale=None, shift=None, twice=False):
    """A normalization folded into the pointwise half, with room for mistakes."""

    def attempt(weight, norm):
        with torch.no_grad():
            right = norm.weight / (norm.running_var + norm.eps).sqrt()
            moved = shift or (lambda n, factor: n.bias - factor * n.running_mean)
            matrix = weight * (scale(norm) if scale else right)[:, None, None]
            mixing = matrix if twice else weight
            return matrix, mixing[:, :, 0, 0] @ moved(norm, right)

    return attempt


def in_place(weight, norm):
    with torch.no_grad():
        norm.weight /= (norm.running_var + norm.eps).sqrt()
        norm.bias -= norm.weight * norm.running_mean
        return weight * norm.weight[:, None, None], weight[:, :, 0, 0] @ norm.bias


def measured(*accuracies):
    names = ("initial.conv", "dilated_far.merge.0")
    names += ("deconvolution.down.0", "deconvolution.refine.0")
    return dict(zip(names, accuracies, strict=True))


WIDTH, NEAREST = checks.widest_separable, checks.nearest_separable
FOLD, LAYERS = checks.fold_norm, checks.separable_by_layer
RIGHT = [
    (WIDTH, count_up(price_of_the_block)),
    (NEAREST, factorized(1.0, 0.0)),
    (NEAREST, factorized(0.0, 1.0)),
    (NEAREST, factorized(0.5, 0.5)),
    (FOLD, folded()),
    (FOLD, in_place),
    (LAYERS, measured(13.5, 50.8, 70.0, 30.0)),
]
WRONG = [
    (
        FOLD,
        folded(lambda norm: norm.weight / norm.running_var.sqrt()),
        "forgot the eps",
    ),
    (WIDTH, lambda b: round(((121 + 4 * b) ** 0.5 - 11) / 2), "One channel less"),
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
    (FOLD, folded(shift=lambda n, scale: n.bias - n.running_mean), "scaled, too"),
    (FOLD, folded(shift=lambda n, scale: n.bias), "running mean is missing"),
    (FOLD, folded(shift=lambda n, s: -s * n.running_mean), "beta is missing"),
    (FOLD, folded(scale=lambda n: n.weight / n.running_var), "root is missing"),
    (FOLD, folded(scale=lambda n: (n.running_var + n.eps) ** -0.5), "gamma is missing"),
    (FOLD, folded(scale=lambda n: torch.ones(len(n.bias))), "still those"),
    (FOLD, folded(twice=True), "already been multiplied"),
    (FOLD, lambda weight, norm: weight, "Return two tensors"),
    (FOLD, lambda weight, norm: (weight[:, :, 0, 0], norm.bias), "weight should be"),
    (LAYERS, measured(0.135, 0.508, 0.7, 0.3), "multiply by 100"),
    (LAYERS, measured(88.0, 88.0, 88.0, 88.0), "Is the kernel replaced"),
    (LAYERS, measured(13.5, 13.0, 12.0, 11.0), "own kernel back"),
    (LAYERS, measured(13.5, 50.8, 12.0, 11.0), "dense layers has 11.0 %"),
    (LAYERS, measured(13.5, 50.8, 170.0, 30.0), "from 0 to 100"),
    (LAYERS, {"initial.conv": 13.5}, "Give a dict", "a dict of length 1"),
]
