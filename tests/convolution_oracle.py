"""A convolution by its definition, which other tests compare with."""

import numpy as np
import torch


def convolution(x, weight, stride=1, padding=0, dilation=1, bias=None):
    """Output by output, by definition; a weight of (C, 1, k, k) is depthwise."""
    x = np.pad(x.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    weight = weight.detach().numpy()
    reach = dilation * (weight.shape[2] - 1) + 1
    rows = range(0, x.shape[2] - reach + 1, stride)
    columns = range(0, x.shape[3] - reach + 1, stride)
    out = np.zeros((len(x), len(weight), len(rows), len(columns)))
    depthwise = weight.shape[1] == 1 and x.shape[1] == len(weight)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            patch = x[
                ..., row : row + reach : dilation, column : column + reach : dilation
            ]
            pattern = "nckl,ckl->nc" if depthwise else "nckl,ockl->no"
            taps = weight[:, 0] if depthwise else weight
            out[:, :, i, j] = np.einsum(pattern, patch, taps)
    if bias is not None:
        out += bias.detach().numpy()[:, None, None]
    return torch.from_numpy(out)
