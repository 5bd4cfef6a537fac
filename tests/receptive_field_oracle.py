"""An independent answer to "which pixels does this unit see?": by gradient.

The network is made increasing in every pixel: weights and input are positive, double
precision, an activation does nothing, a maximum becomes a mean. Then nothing cancels
and nothing is cut off, and a unit depends on a pixel exactly where the gradient of the
unit with respect to the pixel is above zero.
"""

import copy
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

NARROW = {  # our network with few channels: their number changes no field
    "channels": 4,
    "deep_channels": 4,
    "hidden_channels": 4,
    "branch_channels": 4,
    "out_channels": 4,
}


def last(fields, name: str):
    """The last row of this name."""
    return [field for field in fields if field.name == name][-1]


def _same(x, *arguments, **options):
    return x


def _mean_pool(x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, **_):
    """Maximum becomes mean. A dilated one is a convolution with ones."""
    kernel, dilation = [(n, n) if isinstance(n, int) else n for n in (kernel, dilation)]
    if max(dilation) == 1:
        return F.avg_pool2d(x, kernel, stride, padding, ceil_mode)
    channels = x.shape[1]
    ones = torch.ones(channels, 1, *kernel, dtype=x.dtype)
    return F.conv2d(x, ones, None, stride or kernel, padding, dilation, channels)


def _mean_adaptive_pool(x, size, *arguments, **options):
    return F.adaptive_avg_pool2d(x, size)


def _sum_along(x, dim=1, *arguments, **options):
    return x + x.sum(dim, keepdim=True)


def _sum_map(x, *arguments, **options):
    return x + x.sum((1, 2, 3), keepdim=True)


def _sum_last(x, normalized_shape, *arguments, **options):
    return x + x.sum(tuple(range(-len(normalized_shape), 0)), keepdim=True)


def _batch_norm(x, mean, variance, weight, bias, *arguments, **options):
    shape = (-1, 1, 1) if x.ndim == 4 else (-1,)
    return x * weight.view(shape) + bias.view(shape)


def _exact_interpolate(x, size=None, scale_factor=None, mode="nearest", **options):
    """Bilinear interpolation with weights in exact fractions, so that a zero is one."""
    if mode != "bilinear":
        return F.interpolate(x, size, scale_factor, mode)
    outputs = F.interpolate(x[:1, :1], size, scale_factor, mode="nearest").shape[2:]
    matrices = []
    for axis, (n, out) in enumerate(zip(x.shape[2:], outputs, strict=True)):
        step = Fraction(n, out)
        if scale_factor is not None:
            factor = scale_factor
            factor = factor if isinstance(factor, (int, float)) else factor[axis]
            step = 1 / Fraction(factor).limit_denominator(100)
        if options.get("align_corners"):
            step = Fraction(n - 1, out - 1) if out > 1 else Fraction(0)
            places = [o * step for o in range(out)]
        else:
            places = [
                max(Fraction(0), (o + Fraction(1, 2)) * step - Fraction(1, 2))
                for o in range(out)
            ]
        places = [min(p, Fraction(n - 1)) for p in places]
        weights = [[max(0, 1 - abs(p - i)) for i in range(n)] for p in places]
        matrices.append(
            torch.tensor([[float(w) for w in row] for row in weights], dtype=x.dtype)
        )
    rows, columns = matrices
    return torch.einsum("oh,nchw,pw->ncop", rows, x, columns)


_ACTIVATIONS = (
    *(F.relu, F.relu6, F.hardtanh, F.silu, F.hardswish, F.hardsigmoid, F.gelu),
    *(F.leaky_relu, F.elu, F.sigmoid, torch.relu, torch.relu_, torch.sigmoid),
    *(torch.sigmoid_, Tensor.relu, Tensor.sigmoid, F.dropout, F.dropout2d),
)
_REPLACED = {
    **dict.fromkeys(_ACTIVATIONS, _same),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _mean_pool),
    F.adaptive_max_pool2d: _mean_adaptive_pool,
    **dict.fromkeys((F.softmax, F.log_softmax, torch.softmax), _sum_along),
    **dict.fromkeys((F.group_norm, F.instance_norm), _sum_map),
    F.layer_norm: _sum_last,
    F.batch_norm: _batch_norm,
    F.interpolate: _exact_interpolate,
    torch.maximum: torch.add,
    Tensor.__iadd__: torch.add,  # not in place: values are looked at afterwards
    Tensor.add_: torch.add,
}


class Increasing(TorchFunctionMode):
    """Inside this context every operation is increasing in all of its inputs."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        function = _REPLACED.get(function, function)
        return function(*arguments, **(options or {}))


def positive(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy in double precision with positive weights that neither grow nor vanish."""
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                fan_in = max(1, tensor[0].numel()) if tensor.ndim else 1
                random = torch.rand(tensor.shape, generator=generator).double()
                tensor.copy_((0.5 + random) / fan_in)
    return model


class _OneChannel(nn.Module):
    """A convolution or linear layer on the sum of its channels, one channel out."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.is_linear = isinstance(layer, nn.Linear)
        if not self.is_linear:
            geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            self.conv = nn.Conv2d(1, 1, *geometry[:3], dilation=geometry[3])

    def forward(self, x: Tensor) -> Tensor:
        x = x.sum(dim=1, keepdim=True)
        return x if self.is_linear else self.conv(x)


def one_channel(model: nn.Module) -> nn.Module:
    """A copy with one channel everywhere: it sees the same pixels and runs quickly."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.Conv2d, nn.Linear)):
                setattr(parent, name, _OneChannel(child))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return model


def positions(height: int, width: int, phases: int = 4) -> list[tuple[int, int]]:
    """Corners, and as many places around the centre as there may be phases."""
    chosen = []
    for length in (height, width):
        middle = range(length // 2, length // 2 + phases)
        chosen.append(sorted({0, length - 1} | {n for n in middle if n < length}))
    return [(i, j) for i in chosen[0] for j in chosen[1]]


def masks(image: Tensor, value: Tensor, places) -> Tensor:
    """The pixels that each place of a value depends on, boolean (places, H, W).

    Copy p of the image in the batch is used for place p, so that one backward pass
    answers for all places. `value` is (batch, C, h, w) or (batch, features).
    """
    value = value[:, :, None, None] if value.ndim == 2 else value
    copies = torch.arange(len(places))
    i, j = torch.tensor(places).T
    chosen = value[copies, :, i, j].sum()
    gradient = None
    if chosen.requires_grad:
        (gradient,) = torch.autograd.grad(
            chosen, image, retain_graph=True, allow_unused=True
        )
    gradient = torch.zeros_like(image) if gradient is None else gradient
    assert (gradient >= 0).all()  # nothing cancels
    return (gradient[: len(places)] > 0).any(dim=1)


def box(mask: Tensor) -> tuple[int, int, int, int] | None:
    """Top, bottom, left, right of the true pixels; None if there are none."""
    rows = mask.any(dim=1).nonzero().flatten().tolist()
    columns = mask.any(dim=0).nonzero().flatten().tolist()
    return (rows[0], rows[-1], columns[0], columns[-1]) if rows else None
