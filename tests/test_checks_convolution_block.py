"""The self-checks of notebook 02 say "not yet" to stubs and name typical mistakes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from verdicts import empty, wrong

from cifar_helpers.checks import convolution_block as checks


@pytest.mark.parametrize(
    "check",
    [
        checks.conv_output_size,
        checks.convolution,
        checks.spatial_dropout,
        checks.fold_batch_norm,
    ],
)
def test_stub_is_not_yet_solved(check):
    assert check(empty).status == "not yet"


def test_output_size_is_solved_by_the_library():
    def measured(size, kernel, stride, padding):
        return nn.Conv1d(1, 1, kernel, stride, padding)(torch.ones(1, size)).shape[1]

    assert checks.conv_output_size(measured).status == "solved"


@pytest.mark.parametrize(
    "formula, words",
    [
        (lambda n, k, s, p: (n + p - k) // s + 1, "on both sides"),
        (lambda n, k, s, p: (n + 2 * p - k) // s, "add 1"),
        (lambda n, k, s, p: (n - k) // s + 1, "Without padding?"),
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "rounds down"),
        (lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1, "rounded up"),
        (lambda n, k, s, p: float((n + 2 * p - k) // s + 1), "whole number"),
        (lambda n, k, s, p: n, "should be 30, yours is 32"),
        (lambda n, k, s, p: n // 0, "ZeroDivisionError"),
    ],
)
def test_output_size(formula, words):
    wrong(checks.conv_output_size(formula), words)


def library(image, weight, stride, padding):
    return F.conv2d(image, weight, stride=stride, padding=padding)


@pytest.mark.parametrize(
    "convolve, words",
    [
        (lambda x, w, s, p: library(x, w.flip(2, 3), s, p), "turned by 180°"),
        (lambda x, w, s, p: library(x, w.mT, s, p), "swapped"),
        (lambda x, w, s, p: library(x[:1], w[:, :1], s, p), "first input channel"),
        (lambda x, w, s, p: library(x, w, s, p) / 2, "averaged"),
        (lambda x, w, s, p: library(x, w, 1, p), "stride has no effect"),
        (lambda x, w, s, p: library(x, w, s, 0), "padding has no effect"),
        (lambda x, w, s, p: library(x, w[:1], s, p), "shape (4, 6, 5), got (1, 6, 5)"),
        (lambda x, w, s, p: library(x, w, s, 1 if p else 0), "5 x 5 kernel"),
    ],
)
def test_convolution(convolve, words):
    wrong(checks.convolution(convolve), words)


def test_convolution_is_solved_by_the_library():
    assert checks.convolution(library).status == "solved"


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


@pytest.mark.parametrize(
    "drop, words",
    [
        (dropped(lambda x: x.shape), "dropped in part"),
        (dropped(lambda x: (1, x.shape[1], 1, 1)), "Every image lost the same maps"),
        (dropped(lambda x: (len(x), 1, 1, 1)), "all of its maps or none"),
        (dropped(each_map, keeps=lambda p: p), "not of being kept"),
        (dropped(each_map, scale=lambda p: 1), "not scaled"),
        (dropped(each_map, scale=lambda p: 1 - p), "multiplied by 0.75"),
        (dropped(each_map, always=True), "At test time"),
        (lambda x, p, training: x, "Nothing was dropped"),
        (lambda x, p, training: x[0], "shape of the output"),
    ],
)
def test_spatial_dropout(drop, words):
    wrong(checks.spatial_dropout(drop), words)


def test_spatial_dropout_is_solved_by_the_library():
    assert checks.spatial_dropout(F.dropout2d).status == "solved"


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


@pytest.mark.parametrize(
    "fold, words",
    [
        (folded(eps=False), "forgot the eps"),
        (folded(root=False), "the root of the variance is missing"),
        (folded(gamma=False), "forgot gamma"),
        (folded(column=False), "scaled the input channels"),
        (folded(mean=0), "forgot the running mean"),
        (folded(mean=-1), "subtracted, not added"),
        (folded(scaled=False), "must be scaled like the weights"),
        (folded(beta=False), "forgot beta"),
        (lambda conv, norm: conv.weight, "Return two tensors"),
    ],
)
def test_fold_batch_norm(fold, words):
    wrong(checks.fold_batch_norm(fold), words)


def test_fold_batch_norm_is_solved_by_the_library():
    def fold(conv, norm):
        fused = nn.utils.fuse_conv_bn_eval(conv.eval(), norm)
        return fused.weight, fused.bias

    assert checks.fold_batch_norm(fold).status == "solved"
