"""How each operation reads its input: one rule for each kind of operation.

A rule takes a `Call` and returns the `Dependency` of the output. `RULES` finds it by
the module's class, the function, or the tensor method's name; `register` adds to it.

Channels are taken together: a unit is one position, all channels. A slice of the
channels after a concatenation of different branches therefore gets the field of all of
them, with `exact` False.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_helpers.receptive_field.dependency import Dependency, contains

NOTHING = -1  # a tap that reads no position: padding


@dataclass
class Call:
    """One operation of the traced model, as its rule sees it."""

    operation: object  # the module's class, the function, or the method's name
    module: nn.Module | None  # None for a function
    arguments: tuple  # as the operation got them, a Dependency in place of each value
    options: dict  # its keyword arguments
    inputs: tuple[Dependency, ...]  # all values among them that depend on the image
    output: object  # what the operation gave: a tensor, or a tuple of tensors
    gates: bool  # False: leave out the path through a gate
    source: Dependency | None = None  # set by `read`
    tables: tuple[Tensor, Tensor] | None = None

    def argument(self, position: int, name: str, default=None):
        """An argument of the operation, given by position or by name."""
        if len(self.arguments) > position:
            return self.arguments[position]
        return self.options.get(name, default)

    @property
    def input(self) -> Dependency:
        """The first of the inputs."""
        return self.inputs[0]

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the output map."""
        output = self.output[0] if isinstance(self.output, tuple) else self.output
        return tuple(output.shape[-2:])

    def read(self, rows: Tensor, columns: Tensor, step=(1, 1)) -> Dependency:
        """Let the outputs read the input map through two tables of positions.

        `rows` (output height, taps) and `columns` (output width, taps) hold the input
        positions that each output reads, -1 for padding; `step` is the input positions
        from one output to the next. See `window` for the table of a kernel.
        """
        self.source, self.tables = self.input.as_map(), (rows, columns)
        return self.source.through(rows, columns, step)


Rule = Callable[[Call], Dependency]
RULES: dict[object, Rule] = {}


def register(*operations) -> Callable[[Rule], Rule]:
    """Register the rule of operations that `receptive_field` does not know.

    Args:
        operations: module classes, functions, or names of tensor methods.

    The rule takes a `Call` and returns the `Dependency` of the output. A module of a
    registered class is not looked into, so a block with unusual tensor arithmetic
    inside can be described from outside:

        @register(MyBlock)  # works like a 3 x 3 convolution with padding 1
        def my_block(call):
            height, width = call.input.size
            rows = window(height, outputs=height, kernel=3, before=1)
            columns = window(width, outputs=width, kernel=3, before=1)
            return call.read(rows, columns)
    """

    def decorate(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(operations, rule))
        return rule

    return decorate


def window(
    size: int, outputs: int, kernel: int, stride=1, before=0, dilation=1, mode="zeros"
) -> Tensor:
    """The positions that a sliding window reads on one axis, (outputs, kernel).

    Args:
        size: length of the input.
        before: padding before its first position.
        mode: "zeros" or another padding mode of `nn.Conv2d`.

    Returns:
        Output o reads with tap t the position o * stride + t * dilation - before
        (Dumoulin and Visin 2016, section 4); -1 where that is padding.
    """
    taps = torch.arange(kernel) * dilation - before
    positions = torch.arange(outputs)[:, None] * stride + taps  # (outputs, kernel)
    if mode != "zeros":
        after = max(0, int(positions.max()) - size + 1)
        return _padded(size, before, after, mode)[positions + before]
    return positions.where((positions >= 0) & (positions < size), NOTHING)


def transposed_window(
    size: int, outputs: int, kernel: int, stride=1, before=0, dilation=1
) -> Tensor:
    """The positions that a transposed convolution reads on one axis, (outputs, kernel).

    It runs a convolution backwards: input i reaches output o = i * stride + t *
    dilation - before with tap t. So output o reads the i that solve this, and which
    taps do depends on the phase o mod stride (Dumoulin and Visin 2016, section 4.6).
    """
    taps = torch.arange(kernel) * dilation - before
    scaled = torch.arange(outputs)[:, None] - taps  # i * stride, (outputs, kernel)
    inside = (scaled % stride == 0) & (scaled >= 0) & (scaled < size * stride)
    return scaled.div(stride, rounding_mode="floor").where(inside, NOTHING)


def _padded(size: int, before: int, after: int, mode: str) -> Tensor:
    """The position behind each place of a padded axis, (before + size + after,)."""
    ramp = torch.arange(size, dtype=torch.float64).view(1, 1, size, 1)
    value = NOTHING if mode == "constant" else None
    return F.pad(ramp, (0, 0, before, after), mode, value).long().flatten()


# Kernels and windows: each output reads a few positions of the input map.


def _table(reads: Tensor) -> Tensor:
    """The positions table (outputs, taps) of a boolean matrix (outputs, size)."""
    taps = max(1, int(reads.sum(dim=1).max()))
    order = reads.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :taps]
    return order.where(reads.gather(1, order), NOTHING)


def _pair(value) -> tuple:
    """(a, b) from a number for both axes or from one number per axis."""
    if isinstance(value, (tuple, list)):
        return tuple(value) if len(value) == 2 else (value[0], value[0])
    return value, value


def _slide(call: Call, kernel, stride, padding, dilation=1, mode="zeros") -> Dependency:
    """A window that slides over the input map: convolution and pooling."""
    sizes, outputs = call.input.as_map().size, call.output_size
    kernel, stride, dilation = _pair(kernel), _pair(stride), _pair(dilation)
    if padding == "same":  # the odd pixel of an even kernel goes behind
        padding = [(k - 1) * d // 2 for k, d in zip(kernel, dilation, strict=True)]
    before = _pair(0 if padding == "valid" else padding)
    axes = zip(sizes, outputs, kernel, stride, before, dilation, strict=True)
    return call.read(*(window(*axis, mode) for axis in axes), stride)


@register(nn.Conv2d)
def _conv_module(call: Call) -> Dependency:
    m = call.module
    mode = m.padding_mode
    geometry = (m.kernel_size, m.stride, m.padding, m.dilation, mode)
    return replace(_slide(call, *geometry), uniform=m.groups == 1 or call.input.uniform)


@register(F.conv2d, torch.conv2d)
def _conv_function(call: Call) -> Dependency:
    kernel = call.argument(1, "weight").shape[2:]
    stride, padding = call.argument(3, "stride", 1), call.argument(4, "padding", 0)
    result = _slide(call, kernel, stride, padding, call.argument(5, "dilation", 1))
    dense = call.argument(6, "groups", 1) == 1
    return replace(result, uniform=dense or call.input.uniform)


def _slide_back(call, kernel, stride, padding, dilation, groups) -> Dependency:
    """A transposed convolution; the output's size tells the output padding."""
    sizes = call.input.as_map().size
    stride = _pair(stride)
    geometry = (_pair(kernel), stride, _pair(padding), _pair(dilation))
    axes = zip(sizes, call.output_size, *geometry, strict=True)
    step = [Fraction(1, s) for s in stride]
    result = call.read(*(transposed_window(*axis) for axis in axes), step)
    return replace(result, uniform=groups == 1 or call.input.uniform)


@register(nn.ConvTranspose2d)
def _transposed_module(call: Call) -> Dependency:
    m = call.module
    geometry = (m.kernel_size, m.stride, m.padding, m.dilation, m.groups)
    return _slide_back(call, *geometry)


@register(F.conv_transpose2d, torch.conv_transpose2d)
def _transposed_function(call: Call) -> Dependency:
    kernel = call.argument(1, "weight").shape[2:]
    stride, padding = call.argument(3, "stride", 1), call.argument(4, "padding", 0)
    dilation, groups = call.argument(7, "dilation", 1), call.argument(6, "groups", 1)
    return _slide_back(call, kernel, stride, padding, dilation, groups)


@register(nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)
def _pool_module(call: Call) -> Dependency:
    m = call.module
    padding, dilation = getattr(m, "padding", 0), getattr(m, "dilation", 1)
    return _slide(call, m.kernel_size, m.stride or m.kernel_size, padding, dilation)


@register(F.max_pool2d, torch.max_pool2d)
def _max_pool_function(call: Call) -> Dependency:
    kernel, stride = call.argument(1, "kernel_size"), call.argument(2, "stride")
    padding, dilation = call.argument(3, "padding", 0), call.argument(4, "dilation", 1)
    return _slide(call, kernel, stride or kernel, padding, dilation)


@register(F.avg_pool2d)
def _average_pool_function(call: Call) -> Dependency:
    kernel, stride = call.argument(1, "kernel_size"), call.argument(2, "stride")
    return _slide(call, kernel, stride or kernel, call.argument(3, "padding", 0))


@register(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
@register(F.adaptive_avg_pool2d, F.adaptive_max_pool2d)
def _adaptive_pool(call: Call) -> Dependency:
    """Output o of n pools positions floor(o size / n) to ceil((o + 1) size / n) - 1."""
    sizes, outputs = call.input.as_map().size, call.output_size
    tables = []
    for size, n in zip(sizes, outputs, strict=True):
        o, position = torch.arange(n)[:, None], torch.arange(size)
        first, end = o * size // n, ((o + 1) * size + n - 1) // n
        tables.append(_table((position >= first) & (position < end)))
    step = [Fraction(size, n) for size, n in zip(sizes, outputs, strict=True)]
    return call.read(*tables, step)


@register(nn.Upsample, F.interpolate)
def _interpolate(call: Call) -> Dependency:
    names = "size scale_factor mode align_corners recompute_scale_factor antialias"
    if call.module is None:
        found = {n: call.argument(k, n) for k, n in enumerate(names.split(), 1)}
        options = {n: value for n, value in found.items() if value is not None}
    else:
        options = {n: getattr(call.module, n, None) for n in names.split()}
        options["antialias"] = False
    sizes, outputs = call.input.as_map().size, call.output_size
    factor = options.pop("scale_factor", None)
    options.pop("size", None)
    tables, step = [], []
    for axis, (size, n) in enumerate(zip(sizes, outputs, strict=True)):
        target = {"size": (n, 1)}
        if factor is not None:
            target = {"scale_factor": (float(_pair(factor)[axis]), 1.0)}
        tables.append(_table(_interpolation_reads(size, **target, **options)))
        corners = options.get("align_corners") and n > 1
        step.append(Fraction(size - 1, n - 1) if corners else Fraction(size, n))
    return call.read(*tables, step)


def _interpolation_reads(length: int, **options) -> Tensor:
    """Which positions each output of `F.interpolate` weighs, boolean (outputs, length).

    Asks the library: an axis that is 1 at one position shows where it is read.
    """
    probe = torch.eye(length, dtype=torch.float64).view(1, length, length, 1)
    weights = F.interpolate(probe, **options)[0, :, :, 0].T  # (outputs, length)
    return weights.abs() > 1e-9  # less is the rounding of a zero


@register(nn.PixelShuffle, torch.pixel_shuffle, F.pixel_shuffle)
def _pixel_shuffle(call: Call) -> Dependency:
    """Channels become space: r x r outputs come from one position (Shi et al. 2016)."""
    sizes, outputs = call.input.as_map().size, call.output_size
    tables = [
        torch.arange(n)[:, None] * s // n for s, n in zip(sizes, outputs, strict=True)
    ]
    step = [Fraction(s, n) for s, n in zip(sizes, outputs, strict=True)]
    return _part_of_channels(call.read(*tables, step))


@register(nn.PixelUnshuffle, torch.pixel_unshuffle, F.pixel_unshuffle)
def _pixel_unshuffle(call: Call) -> Dependency:
    """Space becomes channels: each position holds an r x r patch of the input."""
    factor = call.input.as_map().size[0] // call.output_size[0]
    tables = [torch.arange(n * factor).view(n, factor) for n in call.output_size]
    return replace(call.read(*tables, (factor, factor)), uniform=False)


@register(nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d)
@register(nn.CircularPad2d)
def _pad_module(call: Call) -> Dependency:
    name = type(call.module).__name__
    modes = {"Refl": "reflect", "Repl": "replicate", "Circ": "circular"}
    return _pad(call, call.module.padding, modes.get(name[:4], "constant"))


@register(F.pad)
def _pad_function(call: Call) -> Dependency:
    return _pad(call, call.argument(1, "pad"), call.argument(2, "mode", "constant"))


def _pad(call: Call, amounts, mode: str) -> Dependency:
    """Padding as an operation of its own; negative amounts cut off."""
    amounts = (*amounts, 0, 0)  # left, right, top, bottom, channels ...
    height, width = call.input.as_map().size
    rows = _padded(height, amounts[2], amounts[3], mode)[:, None]  # (outputs, 1)
    columns = _padded(width, amounts[0], amounts[1], mode)[:, None]
    return replace(
        call.read(rows, columns), uniform=call.input.uniform and not any(amounts[4:])
    )


# Values of the same place are combined: activations, arithmetic, batch norm.

_ELEMENTWISE_MODULES = """
    Identity ReLU ReLU6 LeakyReLU PReLU ELU SELU CELU GELU SiLU Mish Hardswish Sigmoid
    Hardsigmoid LogSigmoid Tanh Hardtanh Softplus Softsign Softshrink Hardshrink
    Tanhshrink Threshold Dropout Dropout1d Dropout2d AlphaDropout FeatureAlphaDropout
    BatchNorm1d BatchNorm2d SyncBatchNorm LocalResponseNorm ChannelShuffle
"""
_ELEMENTWISE_FUNCTIONS = """
    relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish sigmoid
    hardsigmoid logsigmoid tanh hardtanh softplus softsign softshrink hardshrink
    tanhshrink threshold dropout dropout1d dropout2d alpha_dropout feature_alpha_dropout
    batch_norm local_response_norm channel_shuffle
    add iadd sub isub div divide truediv itruediv pow neg abs exp log sqrt rsqrt square
    reciprocal sin cos erf clamp clip maximum minimum where lerp addcmul addcdiv
    contiguous clone detach float double half bfloat16 to type_as
"""
_PRODUCTS = "mul imul multiply"


def _functions(names: str) -> list:
    """The functions of these names in torch, and the methods, in-place ones as well."""
    places = (F, torch, operator)
    found = [getattr(p, n, None) for n in names.split() for p in places]
    return [f for f in found if callable(f)] + [
        name + end for name in names.split() for end in ("", "_")
    ]


@register(*(getattr(nn, name) for name in _ELEMENTWISE_MODULES.split()))
@register(*_functions(_ELEMENTWISE_FUNCTIONS))
def _elementwise(call: Call) -> Dependency:
    return _union(call.inputs, call.output.ndim)


@register(*_functions(_PRODUCTS))
def _product(call: Call) -> Dependency:
    """A factor that is constant in space is a gate; `gates=False` leaves it out."""
    maps = [value for value in call.inputs if not value.is_constant]
    return _union(call.inputs if call.gates or not maps else maps, call.output.ndim)


def _union(values, ndim: int) -> Dependency:
    """Values of the same place combined; those of size 1 are repeated (broadcast).

    The stride is the smallest: a value that is constant in space has the largest.
    """
    aligned = [
        [None if a is None else a + ndim - v.ndim for a in v.axes] for v in values
    ]
    size, axes = [], []
    for axis in (0, 1):
        length = max(v.size[axis] for v in values)
        places = {
            a[axis]
            for a, v in zip(aligned, values, strict=True)
            if v.size[axis] == length
        }
        places = places if length == 1 else places - {None}
        if len(places - {None}) > 1:
            raise NotImplementedError(
                "the values have their rows or columns in "
                f"different dimensions: {aligned}"
            )
        size.append(length)
        axes.append(next(iter(places - {None}), None))
    values = [v.expanded(tuple(size)) for v in values]
    first = values[0]
    stride = tuple(min(v.stride[axis] for v in values) for axis in (0, 1))
    uniform, exact = all(v.uniform for v in values), all(v.exact for v in values)
    result = replace(
        first, axes=tuple(axes), stride=stride, uniform=uniform, exact=exact
    )
    return result.with_paths([path for v in values for path in v.paths])


# Values of different places are combined: everything along some dimensions is seen.


@register(nn.Linear, F.linear)
def _linear(call: Call) -> Dependency:
    return replace(call.input.pooled([-1]), uniform=True)


@register(torch.matmul, operator.matmul, torch.bmm, "matmul", "bmm")
@register(F.scaled_dot_product_attention, nn.MultiheadAttention)
def _attention(call: Call) -> Dependency:
    """A product of two values that depend on the image (attention) sees everything."""
    if len(call.inputs) == 1:
        if isinstance(call.arguments[0], Dependency):
            return _linear(call)
        raise NotImplementedError("a constant matrix times a map")
    values = [v.pooled(range(1, v.ndim)) for v in call.inputs]
    return _union(values, max(v.ndim for v in values))


@register(nn.Conv1d)
def _conv1d(call: Call) -> Dependency:
    """A convolution across the channels of a gate (ECA): space is gone already."""
    if not call.input.is_constant:
        raise NotImplementedError("it slides over a dimension that holds a map")
    return call.input


_REDUCTIONS = "mean sum amax amin max min std var logsumexp prod"


@register(*_functions(_REDUCTIONS))
def _reduce(call: Call) -> Dependency:
    """Mean, sum, maximum ... along some dimensions, all of them if none is given."""
    source, output = call.input, call.output
    if len(call.inputs) > 1:  # torch.max(a, b)
        return _elementwise(call)
    output = output[0] if isinstance(output, tuple) else output
    given = call.argument(1, "dim")
    given = range(source.ndim) if given is None else given
    given = [given] if isinstance(given, int) else given
    gone = {d % source.ndim for d in given}
    result = source.pooled(gone)
    if output.ndim == source.ndim:  # keepdim
        return result
    axes = [a if a is None else a - sum(g < a for g in gone) for a in result.axes]
    return replace(result, axes=tuple(axes))


@register(nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)
@register(*_functions("softmax log_softmax softmin normalize"))
def _normalize_along(call: Call) -> Dependency:
    """Softmax or length normalization along one dimension."""
    if call.module is not None:
        return call.input.spread([getattr(call.module, "dim", 1)])
    position, default = (2, 1) if call.operation is F.normalize else (1, None)
    return call.input.spread([call.argument(position, "dim", default)])


@register(nn.LayerNorm, F.layer_norm)
def _layer_norm(call: Call) -> Dependency:
    """Mean and variance over the last dimensions."""
    shape = call.argument(1, "normalized_shape")
    shape = shape if call.module is None else call.module.normalized_shape
    return call.input.spread(range(-len(shape), 0))


@register(nn.GroupNorm, nn.InstanceNorm2d, F.group_norm, F.instance_norm)
def _map_norm(call: Call) -> Dependency:
    """Mean and variance over the whole map, of some channels."""
    if getattr(call.module, "track_running_stats", False):
        return call.input  # instance norm that evaluates with its running statistics
    return call.input.spread(range(1, call.input.ndim))


# Values are moved: concatenation, slices, other shapes.


@register(torch.cat, torch.concat, torch.concatenate)
def _concatenate(call: Call) -> Dependency:
    values = call.inputs
    ndim = call.output.ndim
    dimension = call.argument(1, "dim", 0) % ndim
    axes = {v.axes.index(dimension) for v in values if dimension in v.axes}
    if not axes:
        result = _union(values, ndim)
        same = all(
            any(contains(path, other) for path in v.paths)
            for v in values
            for other in result.paths
        )
        return replace(result, uniform=result.uniform and same)
    if any(v.axes[0] == v.axes[1] for v in values):  # flattened maps: a bound
        values = [v.pooled([dimension]) for v in values]
        return replace(_union(values, ndim), uniform=False, exact=False)
    return _concatenate_in_space(values, axes.pop(), ndim)


def _concatenate_in_space(values, axis: int, ndim: int) -> Dependency:
    """Maps side by side: each is placed into the whole, then they are united."""
    values = [v.as_map() for v in values]
    total, before, placed = sum(v.size[axis] for v in values), 0, []
    for value in values:
        tables = [torch.arange(n)[:, None] for n in value.size]
        tables[axis] = window(value.size[axis], total, kernel=1, before=before)
        before += value.size[axis]
        placed.append(value.through(*tables))
    return _union(placed, ndim)


@register(nn.Flatten, nn.Unflatten)
@register(*_functions("reshape view flatten unflatten squeeze unsqueeze view_as"))
def _reshape(call: Call) -> Dependency:
    """Finds the dimensions that hold rows and columns, from the last one backwards.

    Everything behind the columns must stay behind them. Rows and columns either keep
    dimensions of their own or share one (flatten), there with channels or without.
    """
    value, shape = call.input, tuple(call.output.shape)
    if value.is_constant:
        return replace(value, axes=(None, None))
    held = [axis for axis in value.axes if axis is not None]
    lengths = [n for n, a in zip(value.size, value.axes, strict=True) if a is not None]
    end, behind = len(shape), prod(value.shape[held[-1] + 1 :])
    while end and prod(shape[end:]) < behind:
        end -= 1
    while end and shape[end - 1] == 1 and list(shape[:end][-len(lengths) :]) != lengths:
        end -= 1
    in_order = len(held) == 1 or held[1] - held[0] in (0, 1)
    start = end - len(lengths)
    if not in_order or not end or prod(shape[end:]) != behind:
        places = None
    elif list(shape[start:end]) == lengths:
        places = iter(range(start, end))
    else:
        shares = len(held) == 2 and shape[end - 1] % prod(lengths) == 0
        places = iter([end - 1] * 2) if shares else None
    if places is None:
        raise NotImplementedError(
            f"shape {tuple(value.shape)} to {shape} tears "
            "rows and columns of the map apart"
        )
    return replace(
        value, axes=tuple(a if a is None else next(places) for a in value.axes)
    )


@register(*_functions("permute transpose swapaxes"))
def _permute(call: Call) -> Dependency:
    axes = call.input.axes
    ndim = call.input.ndim
    rest = call.arguments[1:] or tuple(call.options.values())
    rest = rest[0] if isinstance(rest[0], (tuple, list)) else rest
    order = [d % ndim for d in rest]
    if call.operation not in ("permute", torch.permute):  # two dimensions are swapped
        one, other = order
        order = list(range(ndim))
        order[one], order[other] = other, one
    return replace(
        call.input, axes=tuple(a if a is None else order.index(a) for a in axes)
    )


@register("expand", "expand_as", "repeat", torch.broadcast_to, "broadcast_to")
def _expand(call: Call) -> Dependency:
    """A map repeated along the axes on which it has size 1: it is constant there."""
    value, shift = call.input, call.output.ndim - call.input.ndim
    axes = [
        None if a is None or n == 1 else a + shift
        for a, n in zip(value.axes, value.size, strict=True)
    ]
    if any(
        a is not None and call.output.shape[a] != value.shape[a - shift] for a in axes
    ):
        raise NotImplementedError("it repeats a map side by side")
    return replace(value, axes=tuple(axes))


@register(operator.getitem)
def _index(call: Call) -> Dependency:
    index = call.arguments[1]
    return _sliced(call.input, index if isinstance(index, tuple) else (index,))


@register(*_functions("chunk split tensor_split"))
def _split(call: Call) -> tuple[Dependency, ...]:
    value, start, parts = call.input, 0, []
    dimension = call.argument(2, "dim", 0) % value.ndim
    for part in call.output:
        stop = start + part.shape[dimension]
        index = (slice(None),) * dimension + (slice(start, stop),)
        parts.append(_sliced(value, index))
        start = stop
    return tuple(parts)


def _sliced(value: Dependency, index: tuple) -> Dependency:
    """The value `x[index]`, for whole numbers, slices, None and `...`."""
    ndim = value.ndim
    used = sum(item is not None and item is not Ellipsis for item in index)
    filling = (slice(None),) * (ndim - used)
    at = index.index(Ellipsis) if Ellipsis in index else len(index)
    index = index[:at] + filling + index[at + 1 :]
    tables = [torch.arange(n)[:, None] for n in value.size]
    axes, step, dimension, place = [None, None], [1, 1], 0, 0
    for item in index:
        if item is None:
            place += 1
            continue
        length = value.shape[dimension]
        picked = torch.arange(length)[item]  # (length of the slice,) or ()
        whole = picked.shape == (length,)
        if dimension in value.axes:
            if value.axes[0] == value.axes[1] and not whole:
                raise NotImplementedError("it takes a part of a flattened map")
            for axis in (k for k in (0, 1) if value.axes[k] == dimension):
                axes[axis] = place if picked.ndim else None
                if not whole:
                    tables[axis] = picked.reshape(-1, 1)
                    step[axis] = getattr(item, "step", None) or 1
        elif dimension > 0 and not whole:
            value = _part_of_channels(value)
        dimension, place = dimension + 1, place + picked.ndim
    return replace(value.through(*tables, step), axes=tuple(axes))


def _part_of_channels(value: Dependency) -> Dependency:
    """Some channels of a value: an upper bound if the channels see different pixels."""
    return replace(value, exact=value.exact and value.uniform)
