"""Attempts at the exercises of notebook 02."""

import torch
from torch import nn
from torch.nn import functional as F

from cifar_helpers.checks import convolution_block as checks


def measured(size, kernel, stride, padding):
    return nn.Conv1d(1, 1, kernel, stride, padding)(torch.ones(1, size)).shape[1]


def library(image, weight, stride, padding):
    return F.conv2d(image, weight, stride=stride, padding=padding)


def dropped(shape, keeps=lambda p: 1 - p, scale=lambda p: 1 / (1 - p), always=False):
    """Dropout with a mask of another shape, probability or scale."""

    def drop(x, p, training):
        if not training and not always:
            return x
        keep = torch.rand(shape(x)) < keeps(p)
        return x * keep * scale(p)

    return drop


def each_map(x):
    return (*x.shape[:2], 1, 1)


def folded(gamma=True, eps=True, root=True, column=True, mean=1, beta=True, scaled=1):
    """The solution, with one wrong step where it is given."""

    def fold(conv, norm):
        deviation = norm.running_var + (norm.eps if eps else 0)
        deviation = deviation.sqrt() if root else deviation
        scale = (norm.weight if gamma else 1) / deviation
        shape = (-1, 1, 1, 1) if column else (1, -1, 1, 1)
        shift = norm.running_mean * (scale if scaled else 1)
        bias = (norm.bias if beta else 0) - mean * shift
        return conv.weight * scale.view(shape), bias

    return fold


def fused(conv, norm):
    both = nn.utils.fuse_conv_bn_eval(conv.eval(), norm)
    return both.weight, both.bias


def in_place(conv, norm):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias -= norm.running_mean * scale
    conv.weight *= scale.view(-1, 1, 1, 1)
    return conv.weight, norm.bias


SIZE, CONV = checks.conv_output_size, checks.convolution
DROP, FOLD = checks.spatial_dropout, checks.fold_batch_norm
RIGHT = [
    (SIZE, measured),
    (CONV, library),
    (DROP, F.dropout2d),
    (FOLD, fused),
    (FOLD, in_place),
]
WRONG = [
    (SIZE, lambda n, k, s, p: (n + p - k) // s + 1, "on both sides"),
    (SIZE, lambda n, k, s, p: (n + 2 * p - k) // s, "place at the start"),
    (SIZE, lambda n, k, s, p: (n - k) // s + 1, "Without padding?"),
    (SIZE, lambda n, k, s, p: (n + 2 * p - k) / s + 1, "16.5", "rounds down"),
    (SIZE, lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1, "rounded up"),
    (SIZE, lambda n, k, s, p: n, "should be 30, yours is 32"),
    (SIZE, lambda n, k, s, p: n // 0, "Your code raised ZeroDivisionError"),
    (CONV, lambda x, w, s, p: library(x, w.flip(2, 3), s, p), "turned by 180°"),
    (CONV, lambda x, w, s, p: library(x, w.mT, s, p), "swapped"),
    (CONV, lambda x, w, s, p: library(x[:1], w[:, :1], s, p), "first input channel"),
    (CONV, lambda x, w, s, p: library(x, w, s, p) / 2, "averaged"),
    (CONV, lambda x, w, s, p: library(x, w, 1, p), "stride has no effect"),
    (CONV, lambda x, w, s, p: library(x, w, s, 0), "padding has no effect"),
    (CONV, lambda x, w, s, p: library(x, w[:1], s, p), "(4, 6, 5)", "shape (1, 6, 5)"),
    (CONV, lambda x, w, s, p: library(x, w, s, 1 if p else 0), "5 x 5 kernel"),
    (DROP, dropped(lambda x: x.shape), "dropped in part"),
    (DROP, dropped(lambda x: (1, x.shape[1], 1, 1)), "Every image lost the same maps"),
    (DROP, dropped(lambda x: (len(x), 1, 1, 1)), "all of its maps or none"),
    (DROP, dropped(each_map, keeps=lambda p: p), "not of being kept"),
    (DROP, dropped(each_map, scale=lambda p: 1), "not scaled"),
    (DROP, dropped(each_map, scale=lambda p: 1 - p), "multiplied by 0.75"),
    (DROP, dropped(each_map, always=True), "At test time"),
    (DROP, lambda x, p, training: x, "Nothing was dropped"),
    (DROP, lambda x, p, training: x[0], "of shape (64, 32, 4, 4)"),
    (FOLD, folded(eps=False), "forgot the eps"),
    (FOLD, folded(root=False), "the root is missing"),
    (FOLD, folded(gamma=False), "forgot gamma"),
    (FOLD, folded(column=False), "scaled the input channels"),
    (FOLD, folded(mean=0), "forgot the running mean"),
    (FOLD, folded(mean=-1), "subtracted, not added"),
    (FOLD, folded(scaled=False), "must be scaled like the weights"),
    (FOLD, folded(beta=False), "forgot beta"),
    (FOLD, lambda conv, norm: conv.weight[:3], "Return two tensors"),
]
