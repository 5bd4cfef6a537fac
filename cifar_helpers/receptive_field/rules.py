"""How each operation reads its input: one rule for each kind of operation.

A rule takes a `Call` and returns the `Dependency` of the output, a tuple of them for
several outputs. `RULES` finds it by the module's class, the function, its full name in
a library that is not imported here, or the tensor method's name; `register` adds to it.
A rule reads options through `Call.argument`, or says that it may ignore them; an option
that was neither is an error, so that none is passed over.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from cifar_helpers.depthwise import DepthwiseConv2d
from cifar_helpers.receptive_field.dependency import Dependency, unite

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
    known: set[str] = field(default_factory=set)  # options that the rule has read

    def argument(self, position: int, name: str, default=None):
        """An argument of the operation, given by position or by name."""
        if len(self.arguments) > position:
            return self.arguments[position]
        if name == "dim" and "axis" in self.options:  # NumPy's word for it
            name = "axis"
        self.known.add(name)
        return self.options.get(name, default)

    def ignore(self, *names: str) -> None:
        """Note that these options do not change which positions are read."""
        self.known.update(names)

    def repeat(self, tensor: Tensor):
        """The output of the operation for another tensor as its first input."""

        def swap(value):
            if not isinstance(value, Dependency):  # an index on a GPU, say
                return value.cpu() if isinstance(value, Tensor) else value
            return tensor if value is self.inputs[0] else torch.empty(value.shape)

        arguments, options = tree_map(swap, (self.arguments, self.options))
        if self.module is not None:
            return self.module(*arguments, **options)
        if isinstance(self.operation, str):
            return getattr(arguments[0], self.operation)(*arguments[1:], **options)
        return self.operation(*arguments, **options)

    @property
    def input(self) -> Dependency:
        """The only input; an error if other arguments depend on the image, too."""
        first = self.arguments[0] if self.arguments else self.options.get("input")
        if len(self.inputs) > 1 or first not in (self.inputs[0], None):
            raise NotImplementedError(
                "another than its first input depends on the image"
            )
        return self.inputs[0]

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the output map."""
        output = self.output[0] if isinstance(self.output, tuple) else self.output
        return tuple(output.shape[-2:])

    def read(
        self, rows: Tensor, columns: Tensor, step=(1, 1), groups: int | None = None
    ) -> Dependency:
        """Let the outputs read the input map through two tables of positions.

        `rows` (output height, taps) and `columns` (output width, taps) hold the input
        positions that each output reads, -1 for padding; `step` is the input positions
        from one output to the next. See `window` for the table of a kernel. `groups` is
        that of a convolution: 0 if each channel reads itself only, None if unknown.
        """
        source = self.source = self.input.as_map()
        self.tables = (rows, columns)
        if groups is None:
            return source.together().through(rows, columns, step=step)
        table = None
        if source.axes[2] is not None:
            outputs = self.output[0] if isinstance(self.output, tuple) else self.output
            table = grouped(source.lengths[2], outputs.shape[-3], groups)
        result = source.through(rows, columns, table, step)
        return replace(result, uniform=source.uniform or groups == 1)


Rule = Callable[[Call], Dependency | tuple[Dependency, ...]]
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


def grouped(inputs: int, outputs: int, groups: int) -> Tensor:
    """The channels that each output channel reads, (outputs, inputs / groups)."""
    groups = groups or inputs
    group = torch.arange(outputs) * groups // outputs
    return torch.arange(inputs).view(groups, -1)[group]


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
        (Dumoulin and Visin 2016, sections 2.4 and 5.1); -1 where that is padding.
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


def _slide(call: Call, kernel, stride, padding, dilation=1, mode="zeros", groups=0):
    """A window that slides over the input map: convolution and pooling."""
    sizes, outputs = call.input.as_map().size, call.output_size
    kernel, stride, dilation = _pair(kernel), _pair(stride), _pair(dilation)
    if padding == "same":  # the odd pixel of an even kernel goes behind
        padding = [(k - 1) * d // 2 for k, d in zip(kernel, dilation, strict=True)]
    before = _pair(0 if padding == "valid" else padding)
    axes = zip(sizes, outputs, kernel, stride, before, dilation, strict=True)
    return call.read(*(window(*axis, mode) for axis in axes), stride, groups)


@register(nn.Conv2d, DepthwiseConv2d)
def _conv_module(call: Call) -> Dependency:
    m = call.module
    geometry = (m.kernel_size, m.stride, m.padding, m.dilation, m.padding_mode)
    return _slide(call, *geometry, m.groups)


@register(F.conv2d, torch.conv2d)
def _conv_function(call: Call) -> Dependency:
    kernel = _constant_weight(call).shape[2:]
    stride, padding = call.argument(3, "stride", 1), call.argument(4, "padding", 0)
    dilation, groups = call.argument(5, "dilation", 1), call.argument(6, "groups", 1)
    return _slide(call, kernel, stride, padding, dilation, groups=groups)


def _constant_weight(call: Call) -> Tensor:
    """The weight of a functional layer, which must not depend on the image."""
    call.ignore("input", "bias")
    weight = call.argument(1, "weight")
    if isinstance(weight, Dependency) or len(call.inputs) > 1:
        raise NotImplementedError("its weights depend on the image")
    return weight


def _slide_back(call, kernel, stride, padding, dilation, groups) -> Dependency:
    """A transposed convolution; the output's size tells the output padding."""
    sizes = call.input.as_map().size
    stride = _pair(stride)
    geometry = (_pair(kernel), stride, _pair(padding), _pair(dilation))
    axes = zip(sizes, call.output_size, *geometry, strict=True)
    step = [Fraction(1, s) for s in stride]
    return call.read(*(transposed_window(*axis) for axis in axes), step, groups)


@register(nn.ConvTranspose2d)
def _transposed_module(call: Call) -> Dependency:
    m = call.module
    call.ignore("output_size")
    geometry = (m.kernel_size, m.stride, m.padding, m.dilation, m.groups)
    return _slide_back(call, *geometry)


@register(F.conv_transpose2d, torch.conv_transpose2d)
def _transposed_function(call: Call) -> Dependency:
    kernel = _constant_weight(call).shape[2:]
    call.ignore("output_padding")
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
    call.ignore("input", "ceil_mode", "return_indices")
    kernel, stride = call.argument(1, "kernel_size"), call.argument(2, "stride")
    padding, dilation = call.argument(3, "padding", 0), call.argument(4, "dilation", 1)
    return _slide(call, kernel, stride or kernel, padding, dilation)


@register(F.avg_pool2d)
def _average_pool_function(call: Call) -> Dependency:
    call.ignore("input", "ceil_mode", "count_include_pad", "divisor_override")
    kernel, stride = call.argument(1, "kernel_size"), call.argument(2, "stride")
    return _slide(call, kernel, stride or kernel, call.argument(3, "padding", 0))


@register(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
@register(F.adaptive_avg_pool2d, F.adaptive_max_pool2d)
def _adaptive_pool(call: Call) -> Dependency:
    """Output o of n pools positions floor(o size / n) to ceil((o + 1) size / n) - 1."""
    call.ignore("input", "output_size", "return_indices")
    sizes, outputs = call.input.as_map().size, call.output_size
    tables = []
    for size, n in zip(sizes, outputs, strict=True):
        o, position = torch.arange(n)[:, None], torch.arange(size)
        first, end = o * size // n, ((o + 1) * size + n - 1) // n
        tables.append(_table((position >= first) & (position < end)))
    step = [Fraction(size, n) for size, n in zip(sizes, outputs, strict=True)]
    return call.read(*tables, step, groups=0)


@register(nn.Upsample, F.interpolate)
def _interpolate(call: Call) -> Dependency:
    names = "size scale_factor mode align_corners recompute_scale_factor antialias"
    call.ignore("input")
    if call.module is None:
        found = {n: call.argument(k, n) for k, n in enumerate(names.split(), 1)}
        options = {n: value for n, value in found.items() if value is not None}
    else:
        options = {n: getattr(call.module, n, None) for n in names.split()}
        options["antialias"] = False  # a module has no such option
    sizes, outputs = call.input.as_map().size, call.output_size
    factor = options.pop("scale_factor", None)
    options.pop("size", None)
    tables, step = [], []
    for axis, (size, n) in enumerate(zip(sizes, outputs, strict=True)):
        target = {"size": (n, 4)}
        if factor is not None:
            target = {"scale_factor": (float(_pair(factor)[axis]), 1.0)}
        tables.append(_table(_interpolation_reads(size, **target, **options)))
        corners = options.get("align_corners") and n > 1
        step.append(Fraction(size - 1, n - 1) if corners else Fraction(size, n))
    return call.read(*tables, step, groups=0)


def _interpolation_reads(length: int, **options) -> Tensor:
    """Which positions each output of `F.interpolate` weighs, boolean (outputs, length).

    Asks the library: an axis that is 1 at one position shows where it is read. The
    other axis is 4 wide, since at width 1 antialiased weights are wrong (torch 2.15).
    """
    probe = torch.eye(length, dtype=torch.float64).view(1, length, length, 1)
    probe = probe.repeat(1, 1, 1, 4)
    weights = F.interpolate(probe, **options)[0, :, :, 0].T  # (outputs, length)
    return weights.abs() > 1e-9  # less is the rounding of a zero


@register(nn.PixelUnshuffle, torch.pixel_unshuffle, F.pixel_unshuffle)
def _pixel_unshuffle(call: Call) -> Dependency:
    """Space becomes channels: each position holds an r x r patch of the input."""
    call.ignore("input", "downscale_factor")
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
    call.ignore("input", "value")
    return _pad(call, call.argument(1, "pad"), call.argument(2, "mode", "constant"))


def _pad(call: Call, amounts, mode: str) -> Dependency:
    """Padding as an operation of its own; negative amounts cut off."""
    amounts = (*amounts, 0, 0, 0, 0)  # left, right, top, bottom, channels ...
    if any(amounts[6:]):
        raise NotImplementedError("it pads more than rows, columns and channels")
    source = call.source = call.input.as_map()
    height, width = source.size
    rows = _padded(height, amounts[2], amounts[3], mode)[:, None]  # (outputs, 1)
    columns = _padded(width, amounts[0], amounts[1], mode)[:, None]
    call.tables, channels = (rows, columns), None
    if any(amounts[4:]):
        source = source.along(2, source.ndim - 3)
        channels = _padded(source.lengths[2], *amounts[4:6], mode)[:, None]
        if min(amounts[4:6]) < 0 and not source.uniform:  # a part of the channels
            source = replace(source, exact=False)
    return source.through(rows, columns, channels)


# Values of the same place are combined: activations, arithmetic, batch norm.

_ELEMENTWISE_MODULES = """
    Identity ReLU ReLU6 LeakyReLU PReLU ELU SELU CELU GELU SiLU Mish Hardswish Sigmoid
    Hardsigmoid LogSigmoid Tanh Hardtanh Softplus Softsign Softshrink Hardshrink
    Tanhshrink Threshold Dropout Dropout1d Dropout2d AlphaDropout FeatureAlphaDropout
"""
_ELEMENTWISE_FUNCTIONS = """
    relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish sigmoid
    hardsigmoid logsigmoid tanh hardtanh softplus softsign softshrink hardshrink
    tanhshrink threshold dropout dropout1d dropout2d alpha_dropout feature_alpha_dropout
    add iadd sub isub div divide truediv itruediv pow ipow neg abs exp log sqrt rsqrt
    square reciprocal sin cos erf sign floor ceil round clamp clip clamp_min clamp_max
    maximum minimum where lerp addcmul addcdiv masked_fill nan_to_num
    gt ge lt le eq ne logical_and logical_or logical_not
    contiguous clone detach float double half bfloat16
"""
_PRODUCTS = "mul imul multiply"


def _functions(names: str, in_place: bool = True) -> list:
    """The functions of these names in torch, and the methods, in-place ones as well."""
    names = [name + end for name in names.split() for end in ("", "_")[: 1 + in_place]]
    found = [getattr(p, n, None) for n in names for p in (F, torch, operator)]
    return [f for f in found if callable(f)] + [n for n in names if hasattr(Tensor, n)]


@register(*(getattr(nn, name) for name in _ELEMENTWISE_MODULES.split()))
@register(*_functions(_ELEMENTWISE_FUNCTIONS))
@register("torchvision.ops.stochastic_depth.stochastic_depth")
@register("torchvision.ops.stochastic_depth.StochasticDepth")
def _elementwise(call: Call) -> Dependency:
    call.ignore(*(name for name in call.options if name != "out"))
    return unite(call.inputs, call.output.ndim)


# Methods that take only a type or a shape from a second value.
SHAPED_LIKE = ("to", "type_as", "view_as", "reshape_as", "expand_as")


@register("to", "type_as")
def _convert(call: Call) -> Dependency:
    """Another type; a second value only tells which."""
    call.ignore(*call.options)
    return call.arguments[0]


@register(*_functions(_PRODUCTS))
def _product(call: Call) -> Dependency:
    """A factor that is constant in space is a gate; `gates=False` leaves it out."""
    call.ignore("input", "other")
    maps = [value for value in call.inputs if not value.is_constant]
    return unite(call.inputs if call.gates or not maps else maps, call.output.ndim)


@register(nn.LocalResponseNorm, F.local_response_norm)
def _across_channels(call: Call) -> Dependency:
    call.ignore("input", "size", "alpha", "beta", "k")
    return call.input.together()


@register(nn.GLU, F.glu)
def _gated_unit(call: Call) -> Dependency:
    """The first half of the channels times a sigmoid of the second."""
    call.ignore("input")
    value = call.input
    dim = call.module.dim if call.module else call.argument(1, "dim", -1)
    if dim % value.ndim in value.axes[:2]:
        raise NotImplementedError("it folds rows or columns of the map")
    if value.axes[2] != dim % value.ndim:
        return value if value.uniform else value.together()
    halves = torch.arange(value.lengths[2]).view(2, -1).T
    return value.through(channels=halves)


@register(*_functions("copy fill zero"), operator.setitem)
def _overwrite(call: Call) -> Dependency:
    """What was written, where it was written; nothing is left of the old values."""
    call.ignore("value", "src", "other", "non_blocking")
    given = call.arguments[1 + (call.operation is operator.setitem) :]
    written = [v for v in (*given, *call.options.values()) if isinstance(v, Dependency)]
    return unite(written or [call.inputs[0].blind(call.output.shape)], call.output.ndim)


# Values of different places are combined: everything along some dimensions is seen.


@register(nn.Linear, F.linear)
def _linear(call: Call) -> Dependency:
    if call.module is None:
        _constant_weight(call)
    return call.input.pooled([-1])


@register(*_functions("matmul bmm mm"))
def _matrix_product(call: Call) -> Dependency:
    """Output (.., i, j) reads row i of the first and column j of the second matrix."""
    call.ignore("input", "other", "mat2", "tensor")
    given = (*call.arguments, *call.options.values())
    if any(v.ndim < 2 for v in given):
        raise NotImplementedError("it multiplies by a vector")
    read = [
        value.pooled([dim])
        for value, dim in zip(given, (-1, -2), strict=True)
        if isinstance(value, Dependency)
    ]
    return unite(read, call.output.ndim)


@register(torch.einsum)
def _einsum(call: Call) -> Dependency:
    """Sums over the letters that the output lacks; the others keep their places."""
    equation, *values = call.arguments
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        values = values[0]
    terms, arrow, target = equation.replace(" ", "").partition("->")
    terms = terms.split(",")
    if not arrow or "." in equation or any(len(set(t)) < len(t) for t in terms):
        raise NotImplementedError(f"its equation {equation!r}")
    read = []
    for term, value in zip(terms, values, strict=True):
        if isinstance(value, Dependency):
            value = value.pooled(k for k, x in enumerate(term) if x not in target)
            axes = [None if a is None else target.index(term[a]) for a in value.axes]
            read.append(replace(value, axes=tuple(axes), shape=call.output.shape))
    return unite(read, len(target))


def _no_mask(*masks) -> None:
    """Refuse a mask that may hide some of the keys."""
    for mask in masks:
        if isinstance(mask, Dependency):
            raise NotImplementedError("its mask depends on the image")
        if mask is not None and (mask.dtype == torch.bool or not mask.isfinite().all()):
            raise NotImplementedError("its mask hides some of the keys")


@register(F.scaled_dot_product_attention)
def _attention(call: Call) -> Dependency:
    """Each query reads itself and all keys and values (Vaswani et al. 2017, eq. 1)."""
    call.ignore("dropout_p", "scale")
    query, key = call.argument(0, "query"), call.argument(1, "key")
    value = call.argument(2, "value")
    _no_mask(call.argument(3, "attn_mask"))
    if call.argument(5, "is_causal", False):
        raise NotImplementedError("its mask hides some of the keys")
    pairs = ((query, [-1]), (key, [-1, -2]), (value, [-2]))
    read = [v.pooled(dims) for v, dims in pairs if isinstance(v, Dependency)]
    return unite(read, call.output.ndim)


@register(nn.MultiheadAttention)
def _multihead_attention(call: Call) -> tuple[Dependency, ...]:
    """Attention between tokens; the second output holds its weights, (N, L, S)."""
    call.ignore("need_weights", "average_attn_weights")
    names = ("query", "key", "value")
    query, *others = (call.argument(k, name) for k, name in enumerate(names))
    _no_mask(call.argument(3, "key_padding_mask"), call.argument(5, "attn_mask"))
    if call.argument(7, "is_causal", False):
        raise NotImplementedError("its mask hides some of the keys")
    output, weights = call.output
    tokens = 1 if call.module.batch_first and output.ndim == 3 else 0
    read = [query.pooled([-1])] if isinstance(query, Dependency) else []
    read += [v.pooled([-1, tokens]) for v in others if isinstance(v, Dependency)]
    result = unite(read, output.ndim)
    if weights is None:
        return (result,)
    places = {tokens: weights.ndim - 2, 1 - tokens: 0}
    axes = [None if a is None else places[a] for a in result.axes]
    return result, replace(result, axes=tuple(axes), shape=tuple(weights.shape))


@register(nn.Conv1d)
def _conv1d(call: Call) -> Dependency:
    """A convolution across the channels of a gate (ECA): space is gone already."""
    if not call.input.is_constant:
        raise NotImplementedError("it slides over a dimension that holds a map")
    return call.input.together()


_REDUCTIONS = "mean sum amax amin max min std var logsumexp prod"


@register(*_functions(_REDUCTIONS))
def _reduce(call: Call) -> Dependency:
    """Mean, sum, maximum ... along some dimensions, all of them if none is given."""
    call.ignore("input", "keepdim", "keepdims", "dtype", "unbiased", "correction")
    if isinstance(call.argument(1, "other"), Dependency) or len(call.inputs) > 1:
        return _elementwise(call)  # torch.max(a, b)
    source, output = call.input, call.output
    output = output[0] if isinstance(output, tuple) else output
    given = call.argument(1, "dim")
    if isinstance(given, Tensor):
        return _elementwise(call)
    if given in (None, (), []) or isinstance(given, bool):
        given = range(source.ndim)  # `x.var(True)` gives no dimension, either
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
    call.ignore("input", "p", "eps", "dtype", "_stacklevel")
    if call.module is not None:
        dim = getattr(call.module, "dim", -3)
    elif call.operation is F.normalize:
        dim = call.argument(2, "dim", 1)
    else:
        dim = call.argument(1, "dim")
    if dim is None:
        raise NotImplementedError("it is not told along which dimension")
    return call.input.spread([dim] if isinstance(dim, int) else dim)


@register(nn.LayerNorm, nn.RMSNorm, F.layer_norm, F.rms_norm)
def _layer_norm(call: Call) -> Dependency:
    """Mean and variance over the last dimensions."""
    call.ignore("input", "weight", "bias", "eps")
    shape = call.argument(1, "normalized_shape")
    shape = shape if call.module is None else call.module.normalized_shape
    return call.input.spread(range(-len(shape), 0))


@register(nn.GroupNorm, F.group_norm)
def _group_norm(call: Call) -> Dependency:
    """Mean and variance over the whole map, of some channels."""
    call.ignore("input", "weight", "bias", "eps")
    value = call.input.spread(range(2, call.input.ndim))
    groups = call.module.num_groups if call.module else call.argument(1, "num_groups")
    if value.axes[2] != 1:
        return value.together()
    count = value.lengths[2]
    members = grouped(count, count, groups)  # (channels, channels / groups)
    return value.through(channels=members)


@register(nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d)
def _batch_norm_module(call: Call) -> Dependency:
    m = call.module
    return _channel_norm(call, m.training or m.running_mean is None)


@register(F.batch_norm)
def _batch_norm_function(call: Call) -> Dependency:
    training = (
        call.argument(5, "training", False) or call.argument(1, "running_mean") is None
    )
    return _channel_norm(call, training)


@register(F.instance_norm)
def _instance_norm_function(call: Call) -> Dependency:
    return _channel_norm(call, call.argument(5, "use_input_stats", True))


def _channel_norm(call: Call, own_statistics: bool) -> Dependency:
    """Whole channels if the mean is that of the image, else only its own place."""
    call.ignore("input", "weight", "bias", "running_mean", "running_var")
    call.ignore("momentum", "eps", "cudnn_enabled")
    value = call.input
    dims = [d for d in range(value.ndim) if d != 1]
    return value.spread(dims) if own_statistics else value


# Values are moved: concatenation, slices, other shapes.


@register(torch.cat, torch.concat, torch.concatenate)
def _concatenate(call: Call) -> Dependency:
    """Values side by side: each is placed into the whole, then they are united."""
    parts, ndim = call.argument(0, "tensors"), call.output.ndim
    return _joined(parts, call.argument(1, "dim", 0) % ndim, call)


@register(torch.stack)
def _stack(call: Call) -> Dependency:
    """As concatenation, along a new dimension."""
    dim = call.argument(1, "dim", 0) % call.output.ndim
    parts = []
    for value in call.argument(0, "tensors"):
        if isinstance(value, Dependency):
            axes = [a if a is None or a < dim else a + 1 for a in value.axes]
            shape = (*value.shape[:dim], 1, *value.shape[dim:])
            value = replace(value, axes=tuple(axes), shape=shape)
        else:
            value = value.unsqueeze(dim)
        parts.append(value)
    return _joined(parts, dim, call)


def _joined(parts, dim: int, call: Call) -> Dependency:
    values = [v for v in parts if isinstance(v, Dependency)]
    ndim, total = call.output.ndim, call.output.shape[dim]
    held = {k for v in values for k in (0, 1) if v.axes[k] == dim}
    if len(held) > 1:  # flattened maps: a bound
        values = [v.pooled([dim]) for v in values]
        return replace(unite(values, ndim), uniform=False, exact=False)
    in_space = ndim == 4 and dim >= 2
    axis = held.pop() if held else dim - 2 if in_space else 2
    before, placed = 0, []
    for part in parts:
        if isinstance(part, Dependency):
            if axis == 2 and part.axes[2] not in (None, dim):
                part = part.together()
            part = part.as_map() if in_space and not held else part.along(axis, dim)
            part = part.along(axis, dim)
            tables = [None] * 3
            tables[axis] = window(part.lengths[axis], total, kernel=1, before=before)
            placed.append(part.through(*tables))
        before += part.shape[dim]
    return unite(placed, ndim)


_MOVES = """
    reshape view flatten unflatten squeeze unsqueeze view_as reshape_as permute
    transpose swapaxes swapdims movedim moveaxis expand expand_as broadcast_to repeat
    tile repeat_interleave flip chunk split tensor_split unbind narrow select
    index_select pixel_shuffle channel_shuffle t
"""


@register(nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.ChannelShuffle)
@register(operator.getitem, getattr, *_functions(_MOVES, in_place=False))
def _move(call: Call):
    """An operation that only moves values: it is asked where each comes from.

    It is applied to the row, the column and the channel of each element of its input.
    """
    value = call.arguments[0] if call.operation in SHAPED_LIKE else call.input
    call.ignore(*call.options)
    if call.operation is getattr and call.arguments[1] not in _PROPERTIES:
        raise NotImplementedError(f"the property {call.arguments[1]!r}")
    everything = torch.arange(prod(value.shape), dtype=torch.float64).view(value.shape)
    places = [call.repeat(place) for place in (*value.places(), everything)]
    if isinstance(call.output, Tensor):
        return moved(value, *places)
    return tuple(moved(value, *part) for part in zip(*places, strict=True))


_PROPERTIES = ("T", "mT", "H", "mH", "data", "real")


def moved(value: Dependency, *places: Tensor) -> Dependency:
    """The dependency of elements of a value that lie elsewhere now.

    Args:
        places: for each element of the output the row, column and channel of `value`
            that it holds, and its number there; -1 where it holds nothing.
    """
    *places, number = places
    flat = _flattened(value, *places[:2])
    rows, columns = [(flat, None) if flat is not None else _line(p) for p in places[:2]]
    torn = rows is None or columns is None
    if torn or flat is None and rows[0] == columns[0] is not None:
        raise NotImplementedError(
            f"shape {tuple(value.shape)} to {tuple(number.shape)} tears rows and "
            "columns of the map apart, or takes a part of a flattened map"
        )
    channels = _line(places[2])
    if channels is None or channels[0] in {rows[0], columns[0]} - {None}:
        value, channels = value.together(), (None, None)  # scattered
    axes, lines = zip(rows, columns, channels, strict=True)
    tables = [None if line is None else line[:, None].long() for line in lines]
    result = value.through(*tables, step=[_step(line) for line in lines[:2]])
    if result.axes[2] is None:  # its channels are all alike
        axes = (*axes[:2], None)
    result = replace(result, axes=axes, shape=tuple(number.shape))
    return _checked_parts(value, result, number)


def _step(line: Tensor | None) -> int:
    """Positions of the input from one output to the next."""
    if line is None or len(line) < 2:
        return 1
    return max(1, int(line.diff().abs().median()))


def _line(place: Tensor) -> tuple[int | None, Tensor] | None:
    """The dimension along which the entries change, and the entries along it.

    (None, one entry) if they are all the same, None if they change along several.
    """
    held = place[place >= 0]
    if held.numel() == 0 or bool((held == held[0]).all()):
        return None, (held if held.numel() else place.flatten())[:1]
    for dim in range(place.ndim):
        line = place.movedim(dim, 0).flatten(1).amax(dim=1)
        along = line.view(-1, *[1] * (place.ndim - dim - 1))
        if bool(((place == along) | (place < 0)).all()):
            return dim, line
    return None


def _flattened(value: Dependency, rows: Tensor, columns: Tensor) -> int | None:
    """The dimension in which all rows and columns lie in order, if there is one."""
    height, width = value.size
    count, line = height * width, min(height, width) == 1
    if count == 1 or line and rows.ndim >= value.ndim:
        return None
    for dim, n in enumerate(rows.shape):
        if n % count == 0 and not (line and n == count):  # a line has its own dimension
            view = (-1, *[1] * (rows.ndim - dim - 1))
            row = (torch.arange(n) // width % height).view(view)
            column = (torch.arange(n) % width).view(view)
            if bool(((rows == row) & (columns == column)).all()):
                return dim
    return None


def _checked_parts(value, result: Dependency, number: Tensor) -> Dependency:
    """A bound, if some of the elements at a place are taken and they may differ."""
    if value.uniform:
        return result
    before = prod(value.shape) / prod(value.size)  # elements at each place
    after = number.numel() / prod(result.size)
    repeated = prod(result.size) > prod(value.size)
    covered = number.unique().numel() >= before * prod(result.size)
    whole = after >= before and (covered or repeated) and bool((number >= 0).all())
    return result if whole else replace(result, exact=False)


def overwritten(old: Dependency, new: Dependency, kept: Tensor, written: Tensor):
    """The dependency of a tensor after something was written into its memory.

    Args:
        old: the dependency of this tensor before.
        new: that of the tensor through which it was written, a view of the same memory.
        kept: the place in memory of each element of this tensor.
        written: the same of the tensor that was written.
    """
    if kept.shape == written.shape and torch.equal(kept, written):
        return new
    table = torch.full((1 + max(int(kept.max()), int(written.max())),), -1.0).double()
    places = []
    for place in (*new.places(), torch.arange(written.numel()).view(written.shape)):
        table[written.flatten()] = place.flatten().double()
        places.append(table[kept])
    inside = places[3] >= 0
    if not inside.any():
        return old
    if new.others or old.others:
        raise NotImplementedError("it writes into a part of attention scores")
    result, outside, product = moved(new, *places), [], torch.ones(())
    for dim in range(kept.ndim):
        along = inside.movedim(dim, 0).flatten(1).any(dim=1)
        product = product * along.view(-1, *[1] * (kept.ndim - dim - 1))
        if not along.all():
            axis = _role(dim, old, result)
            result = _only(result, axis, dim, along)
            outside.append(_only(old, axis, dim, ~along))
            if axis == 2 and not old.uniform:  # some of channels that may differ
                outside[-1] = replace(outside[-1], exact=False)
    if not torch.equal(product.bool().expand(inside.shape), inside):
        raise NotImplementedError("it writes into scattered places of a map")
    return unite([result, *outside], kept.ndim)


def _role(dim: int, *values: Dependency) -> int:
    """Which axis (rows, columns, channels) a dimension holds, or may hold."""
    axes = {k for v in values for k, a in enumerate(v.axes) if a == dim}
    if not axes:
        axes = {dim - 2 if values[0].ndim == 4 and dim >= 2 else 2}
    axis = axes.pop()
    if axes or any(v.axes[axis] not in (None, dim) for v in values):
        raise NotImplementedError("it writes into a part of other than rows or columns")
    return axis


def _only(value: Dependency, axis: int, dim: int, along: Tensor) -> Dependency:
    """The value where `along` is true in this dimension, nothing elsewhere."""
    tables = [None] * 3
    value = value.along(axis, dim)
    tables[axis] = torch.arange(len(along)).where(along, NOTHING)[:, None]
    return value.through(*tables)
