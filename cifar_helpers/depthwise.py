"""Dilated depthwise convolution that is quick on a CPU, and `nn.Conv2d` elsewhere.

The two exact ways around the slow kernels are told in their docstrings; notebook 04
measures them.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # torch >= 2.7


class DepthwiseConv2d(nn.Conv2d):
    """A 3 x 3 filter per channel: `nn.Conv2d` with its values, but quick on a CPU.

    The libraries behind `nn.Conv2d` run a dilated depthwise convolution many times
    slower than an undilated one on a CPU, above all backwards (notebook 04 measures
    it). Two exact ways around that are taken by themselves on a CPU: with stride 1 and
    near taps, `convolve_on_subgrids`, otherwise `ConvolveByTaps`. On any other device,
    with dilation 1 (unless in bfloat16 with a stride, which is as slow), or traced for
    export, this is `nn.Conv2d`; so it is for any other input, which `nn.Conv2d` takes
    or refuses. `ConvolveByTaps` has first derivatives only, and none in `torch.func`:
    for second ones take `nn.Conv2d`. Padding equals the dilation.
    Maps (N, channels, H, W) to (N, channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, channels: int, dilation: int = 1, stride: int = 1):
        super().__init__(
            channels,
            channels,
            kernel_size=3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            groups=channels,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        dilation, stride = self.dilation[0], self.stride[0]
        strided = stride > 1 and x.dtype is torch.bfloat16  # no quick kernel either
        if (dilation == 1 and not strided) or not self._is_quick_on(x):
            return super().forward(x)
        if stride == 1 and 4 * dilation <= min(x.shape[2:]):
            return convolve_on_subgrids(x, self.weight, dilation)
        return ConvolveByTaps.apply(x, self.weight.to(x.dtype), dilation, stride)

    def _is_quick_on(self, x: Tensor) -> bool:
        """Whether the ways around apply: to (N, channels, H, W) on a CPU, not exported.

        Exporters lose `ConvolveByTaps`, or write down many steps for one convolution.
        """
        if x.device.type != "cpu" or torch.jit.is_tracing() or _is_exporting():
            return False
        if x.ndim != 4 or x.shape[1] != self.in_channels or not x.is_floating_point():
            return False
        return x.dtype == self.weight.dtype or torch.is_autocast_enabled("cpu")


def convolve_on_subgrids(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Dilated depthwise convolution as an ordinary one on d x d interleaved sub-grids.

    Pixels of one sub-grid never meet those of another (Wang & Ji 2018, section 3.1),
    so the sub-grids can become images of the batch. `x` is (N, C, H, W),
    `weight` (C, 1, 3, 3); stride 1, padding d. Returns (N, C, H, W).
    """
    n, c, height, width = x.shape
    d = dilation
    rows, columns = -(-height // d), -(-width // d)
    if (rows * d, columns * d) != (height, width):
        x = F.pad(x, (0, columns * d - width, 0, rows * d - height))
    x = x.permute(0, 2, 3, 1)  # (N, H, W, C): channels last, as the CPU likes them
    x = x.reshape(n, rows, d, columns, d, c).permute(0, 2, 4, 1, 3, 5)
    x = x.reshape(n * d * d, rows, columns, c)
    x = x.permute(0, 3, 1, 2)  # (N d d, C, H / d, W / d)
    x = F.conv2d(x, weight, padding=1, groups=c)
    x = x.permute(0, 2, 3, 1).reshape(n, d, d, rows, columns, c)
    x = x.permute(0, 3, 1, 4, 2, 5).reshape(n, rows * d, columns * d, c)
    return x[:, :height, :width].permute(0, 3, 1, 2)  # (N, C, H, W)


class ConvolveByTaps(torch.autograd.Function):
    """Dilated depthwise convolution as a sum of nine shifted, weighted maps.

    Each tap is applied only where it sees the image: with dilation 16 on a 32 x 32 map
    the nine taps cost as much as four. With a stride s, the map is first dealt into
    s x s phases, so that what a tap reads lies side by side. `x` is (N, C, H, W),
    `weight` (C, 1, 3, 3); padding equals the dilation.
    Returns (N, C, ceil(H / stride), ceil(W / stride)).
    """

    @staticmethod
    def forward(ctx, x, weight, dilation, stride):
        phases = _deal_into_phases(x, stride)  # (s, s, N, H / s, W / s, C)
        n, height, width, c = phases.shape[2:]
        rows = phases.flatten(4)  # (s, s, N, H / s, W / s C)
        ctx.taps = list(live_taps(height, width, c, dilation, stride))
        ctx.shape, ctx.size = phases.shape, x.shape[2:]
        ctx.save_for_backward(rows, weight)
        out = torch.empty(  # no view is returned: what follows may work in place
            (n, c, height, width), dtype=x.dtype, memory_format=torch.channels_last
        ).zero_()
        out_rows = out.permute(0, 2, 3, 1).view(n, height, width * c)
        for i, j, phase, seen, reached in ctx.taps:
            part = out_rows[reached]
            part.addcmul_(rows[phase][seen], _repeated(weight[:, 0, i, j], part))
        return out  # (N, C, H / s, W / s)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensors
        n, height, width, c = ctx.shape[2:]
        gradient = gradient.permute(0, 2, 3, 1).reshape(n, height, width * c)
        x_gradient, weight_gradient = torch.zeros_like(rows), torch.zeros_like(weight)
        for i, j, phase, seen, reached in ctx.taps:
            part = gradient[reached]
            values = _repeated(weight[:, 0, i, j], part)
            x_gradient[phase][seen].addcmul_(part, values)
            products = (rows[phase][seen] * part).sum((0, 1))  # one per column, channel
            weight_gradient[:, 0, i, j] = products.view(-1, c).sum(0)
        x_gradient = _put_phases_back(x_gradient.view(ctx.shape), *ctx.size)
        return x_gradient, weight_gradient, None, None


def _deal_into_phases(x: Tensor, s: int) -> Tensor:
    """(N, C, H, W) to (s, s, N, H / s, W / s, C), padded with zeros."""
    n, c, height, width = x.shape
    rows, columns = -(-height // s), -(-width // s)
    if (rows * s, columns * s) != (height, width):
        x = F.pad(x, (0, columns * s - width, 0, rows * s - height))
    x = x.permute(0, 2, 3, 1).reshape(n, rows, s, columns, s, c)
    return x.permute(2, 4, 0, 1, 3, 5).contiguous()


def _put_phases_back(phases: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `_deal_into_phases`: (N, C, height, width)."""
    s, _, n, rows, columns, c = phases.shape
    x = phases.permute(2, 3, 0, 4, 1, 5).reshape(n, rows * s, columns * s, c)
    return x[:, :height, :width].permute(0, 3, 1, 2)


def _repeated(weights: Tensor, part: Tensor) -> Tensor:
    """The weights of C channels, once for each column of `part`."""
    return weights.repeat(part.shape[-1] // len(weights))


def live_taps(height: int, width: int, channels: int, dilation: int, stride: int):
    """Yield (i, j, phase, input region, output region) of each tap that sees the image.

    Height and width are those of a phase; regions cut (N, height, width * channels).
    """

    def regions(size, unit):
        for tap in range(3):
            shift, phase = divmod((tap - 1) * dilation, stride)
            first, last = max(0, -shift), min(size, size - shift)
            if first < last:
                seen = slice((first + shift) * unit, (last + shift) * unit)
                yield tap, phase, seen, slice(first * unit, last * unit)

    every = slice(None)
    for i, row_phase, seen_rows, rows in regions(height, 1):
        for j, phase, seen_columns, columns in regions(width, channels):
            seen, reached = (every, seen_rows, seen_columns), (every, rows, columns)
            yield i, j, (row_phase, phase), seen, reached
