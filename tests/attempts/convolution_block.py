"""Attempts at the exercises of notebook 02."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cifar_helpers.checks import convolution_block as checks


def counted_by_torch():
    """Side, parameters and multiply-adds of the two layers, counted by torch."""
    layers = [nn.Conv2d(3, 24, 4, 2, 1, bias=False), nn.BatchNorm2d(24)]
    layers += [nn.Conv2d(24, 48, 3, bias=False), nn.BatchNorm2d(48)]
    network = nn.Sequential(*layers)
    with FlopCounterMode(display=False) as counter:
        side = network(torch.zeros(1, 3, 32, 32)).shape[-1]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return side, parameters, counter.get_total_flops() // 2


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
    both = nn.utils.fuse_conv_bn_eval(conv, norm)
    return both.weight, both.bias


def in_place(conv, norm):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias -= norm.running_mean * scale
    conv.weight *= scale.view(-1, 1, 1, 1)
    return conv.weight, norm.bias


LAYERS, STEPS = checks.image_through_layers, checks.larger_steps
DROP, FOLD = checks.spatial_dropout, checks.fold_batch_norm
RIGHT = [
    (LAYERS, (14, 11_664, 2_327_040)),
    (LAYERS, counted_by_torch()),
    (STEPS, ("normalized", 22.4, 10.0, 38.1, 31.5)),
    (STEPS, ("both", 22.4, 10.0, 38.1, 31.5)),
    (DROP, F.dropout2d),
    (FOLD, fused),
    (FOLD, in_place),
]
WRONG = [
    (LAYERS, (13, 11_664, 2_327_040), "use twice the padding"),
    (LAYERS, (12, 11_664, 2_327_040), "counted the steps"),
    (LAYERS, (12, 11_664, 2_327_040), "place at the start"),
    (LAYERS, (16, 11_664, 2_327_040), "loses a pixel on each side"),
    (LAYERS, (15, 11_664, 2_327_040), "each side, two in all"),
    (LAYERS, (0, 0, 0), "The side: 0 is not right"),
    (LAYERS, (14, 11_520, 2_327_040), "normalizations are missing"),
    (LAYERS, (14, 11_592, 2_327_040), "two parameters for each channel"),
    (LAYERS, (14, 11_736, 2_327_040), "have no bias"),
    (LAYERS, (14, 11_160, 2_327_040), "first kernel is 4 x 4"),
    (LAYERS, (14, 960, 2_327_040), "for every input channel"),
    (LAYERS, (14, 11_664, 4_654_080), "Count a multiply-add once"),
    (LAYERS, (14, 11_664, 3_833_856), "the input's places"),
    (LAYERS, (14, 11_664, 2_949_120), "14 x 14"),
    (LAYERS, (14, 11_664, 11_520), "every place"),
    (LAYERS, (14, 11_664), "Give three numbers"),
    (STEPS, ("normal", 22.4, 10.0, 38.1, 31.5), "one of", "not 'normal'"),
    (STEPS, ("both", 0.224, 0.1, 0.38, 0.31), "not a fraction"),
    (STEPS, ("both", 38.1, 31.5, 22.4, 10.0), "swap the two"),
    (STEPS, ("both", 22.4, 21.0, 38.1, 31.5), "should not learn"),
    (STEPS, ("both", 22.4, 10.0, 38.1, 10.0), "should still learn"),
    (STEPS, ("both", 22.4, 10.0), "Give five things"),
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
    (FOLD, lambda conv, norm: conv, "not a module, Conv2d"),
]
