"""What a unit of a network can see of the image: traced exactly, and by gradient.

`receptive_field` answers what a unit *can* see. It follows the model with `torch.fx`
and carries, for every feature map, which rows and which columns of the image each
output position depends on.

`effective_receptive_field` answers what a unit *does* see: how strongly its value
reacts to each pixel of real images.

How the tracing works. A convolution, a pooling or an upsampling treats rows and columns
independently. So the pixels that output (i, j) depends on are a product: some rows
times some columns. Two boolean matrices hold this for a whole map: `rows` (h, H) and
`columns` (w, W). The next layer combines the rows of those matrices that its window
reads (a boolean matrix product). Where branches meet, a product is not enough: the
union of two boxes need not be a box. So a map keeps a short list of such pairs, its
*paths*, and the union over the paths is the exact set of pixels.

What this cannot express, and what it does instead:

* One pair of matrices for the whole map would be a bound only. After a merge the mask
  is smaller than all rows times all columns, and even the bounding box is smaller
  where one branch sees nothing but padding on one axis. The list of paths is exact in
  both cases. Past `MAX_PATHS` different paths it falls back to one pair; the field is
  then an upper bound and its `exact` is False.
* Channels are taken together. A slice of the channels after a concatenation of
  different branches gets the field of all of them, with `exact` False.
* The field is structural: it holds for weights in general. A weight of zero, a dead
  ReLU or two paths that cancel can only make the true field smaller.
* The model is followed in evaluation mode, where batch norm uses its running
  statistics. In training mode every unit sees every image of the batch.
"""

import copy
import difflib
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_map

from cifar_helpers.model import evaluation_mode

MAX_PATHS = 64  # more different paths than this are merged into one upper bound
NOTHING = -1  # a tap that reads no position: padding

# --------------------------------------------------------------------------------------
# What a feature map depends on
# --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Dependency:
    """Which pixels of the image each position of one feature map depends on.

    Output position (i, j) depends on pixel (y, x) if `rows[i, y] and columns[j, x]`
    holds for at least one of the paths. A map that is constant in space has h = w = 1.
    """

    paths: tuple[tuple[Tensor, Tensor], ...]  # (rows (h, H), columns (w, W)), boolean
    shape: tuple[int, ...]  # of the tensor that holds the map
    axes: tuple[int | None, int | None]  # its dimensions that hold rows and columns:
    # None if it is constant along this axis, twice the same if flattened together
    stride: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))  # pixels
    uniform: bool = True  # all channels depend on the same pixels
    exact: bool = True  # False: the paths are an upper bound

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the map."""
        rows, columns = self.paths[0]
        return rows.shape[0], columns.shape[0]

    @property
    def ndim(self) -> int:
        """Number of dimensions of the tensor."""
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        """True if the map has one value for all of space, as a gate's factor has."""
        return self.size == (1, 1)

    def mask(self, i: int, j: int) -> Tensor:
        """The pixels that position (i, j) depends on, boolean (H, W)."""
        boxes = [rows[i][:, None] & columns[j] for rows, columns in self.paths]
        return torch.stack(boxes).any(dim=0)

    @cached_property
    def boxes(self) -> Tensor:
        """Top, bottom, left, right of all positions, (4, h, w); top > bottom if blind.

        "Blind" is a position that depends on padding only.
        """
        (height, width), (rows, columns) = self.size, self.paths[0]
        lowest = torch.tensor([rows.shape[1], -1, columns.shape[1], -1])
        boxes = lowest[:, None, None].repeat(1, height, width)
        for rows, columns in self.paths:
            sees = rows.any(dim=1)[:, None] & columns.any(dim=1)  # (h, w)
            (top, bottom), (left, right) = _ends(rows), _ends(columns)
            edges = (top[:, None], bottom[:, None], left[None], right[None])
            better = (torch.minimum, torch.maximum, torch.minimum, torch.maximum)
            for box, edge, choose in zip(boxes, edges, better, strict=True):
                box.copy_(torch.where(sees, choose(box, edge), box))
        return boxes

    def through(self, rows: Tensor, columns: Tensor, step=(1, 1)) -> "Dependency":
        """The dependency of a layer whose outputs read this map through two tables.

        Args:
            rows: integers (output height, taps): the rows of this map that each output
                row reads, `NOTHING` (-1) for a tap that falls on padding.
            columns: the same for columns, (output width, taps).
            step: rows and columns of this map from one output to the next.
        """
        paths = [(_gather(r, rows), _gather(c, columns)) for r, c in self.paths]
        stride = tuple(s * Fraction(t) for s, t in zip(self.stride, step, strict=True))
        return replace(self, stride=stride).with_paths(paths)

    def with_paths(self, paths) -> "Dependency":
        """The same map with other paths, those left out that another path contains."""
        kept = []
        for path in paths:
            if not any(_contains(other, path) for other in kept):
                kept = [other for other in kept if not _contains(path, other)] + [path]
        if len(kept) <= MAX_PATHS:
            return replace(self, paths=tuple(kept))
        rows, columns = (torch.stack(m).any(dim=0) for m in zip(*kept, strict=True))
        return replace(self, paths=((rows, columns),), exact=False)

    def expanded(self, size: tuple[int, int]) -> "Dependency":
        """This map repeated along the axes on which it has size 1."""
        tables = []
        for have, want in zip(self.size, size, strict=True):
            if have not in (1, want):
                raise ValueError(f"a map of size {self.size} does not fit into {size}")
            index = torch.arange(want) if have == want else torch.zeros(want).long()
            tables.append(index[:, None])  # (want, 1)
        step = [Fraction(h, w) for h, w in zip(self.size, size, strict=True)]
        return self if size == self.size else self.through(*tables, step)

    def pooled(self, dimensions) -> "Dependency":
        """Everything along these dimensions of the tensor taken together, one value."""
        dimensions = {d % self.ndim for d in dimensions}
        taken = [axis in dimensions for axis in self.axes]
        tables = [
            torch.arange(n)[None] if take else torch.arange(n)[:, None]
            for take, n in zip(taken, self.size, strict=True)
        ]
        step = [n if take else 1 for take, n in zip(taken, self.size, strict=True)]
        axes = [None if t else a for t, a in zip(taken, self.axes, strict=True)]
        return replace(self.through(*tables, step), axes=tuple(axes))

    def spread(self, dimensions) -> "Dependency":
        """Everything along these dimensions taken together, at every position."""
        result = self.pooled(dimensions).expanded(self.size)
        return replace(result, axes=self.axes, stride=self.stride)

    def as_map(self) -> "Dependency":
        """This value as a map (N, C, h, w), or an error if rows or columns moved."""
        axes = (self.ndim - 2, self.ndim - 1)
        if any(a not in (None, b) for a, b in zip(self.axes, axes, strict=True)):
            raise NotImplementedError(
                "it needs rows and columns in the last two dimensions, but they are in "
                f"dimensions {self.axes} of shape {tuple(self.shape)}"
            )
        size = tuple(
            n if a is None else m
            for a, n, m in zip(self.axes, self.shape[-2:], self.size, strict=True)
        )
        return replace(self.expanded(size), axes=axes)


def _gather(matrix: Tensor, table: Tensor) -> Tensor:
    """Row o of the result is the union of the matrix rows `table[o]`, (outputs, H)."""
    blank = matrix.new_zeros(1, matrix.shape[1])
    return torch.cat([matrix, blank])[table].any(dim=1)  # index -1 is the blank row


def _contains(path, other) -> bool:
    """True if the first pair of matrices covers everything that the second covers."""
    return path is other or all(
        bool((b <= a).all()) for a, b in zip(path, other, strict=True)
    )


def _ends(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true entry of each row."""
    matrix = matrix.to(torch.uint8)
    last = matrix.shape[1] - 1 - matrix.flip(1).argmax(dim=1)
    return matrix.argmax(dim=1), last


# --------------------------------------------------------------------------------------
# The result: one LayerField per operation
# --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LayerField:
    """What the units of one layer see of the image, in pixels; pairs are (h, w).

    A unit is one output position, all channels together.
    """

    name: str  # as in `named_modules`, or the operation's own name in the graph
    kind: str  # the module's class or the function's name
    output_size: tuple[int, int]  # (1, 1) for a value without space, as after a Linear
    size: tuple[int, int]  # largest height, largest width of the box over all outputs
    size_min: tuple[int, int]  # smallest; 0 if an output sees nothing but padding
    stride: tuple[float, float]  # pixels from what one output sees to the next's; the
    # mean where steps differ, as in the phases of a transposed convolution (1/2 of the
    # input's); where branches of different stride meet, the smallest
    touched: float  # share of the largest box that is read; nearest the centre of ties
    taps: int  # positions of its input that one unit reads: kernel height * width
    live_taps: int  # of those, how many see the image (not padding) for any output
    exact: bool  # False: an upper bound, see the module's docstring
    _dependency: Dependency = field(repr=False)
    _source: Dependency | None = field(repr=False)  # the input that its kernel reads
    _tables: tuple[Tensor, Tensor] | None = field(repr=False)  # (h, taps), (w, taps)

    def span(self, i: int, j: int) -> tuple[int, int, int, int] | None:
        """The box of pixels that output (i, j) sees, clipped to the image.

        Returns:
            (top, bottom, left, right), all inclusive; None if it sees padding only.

        Raises:
            IndexError: if there is no output (i, j).
        """
        self._check(i, j)
        top, bottom, left, right = self._dependency.boxes[:, i, j].tolist()
        return None if top > bottom else (top, bottom, left, right)

    def mask(self, i: int, j: int) -> Tensor:
        """The pixels that output (i, j) sees, boolean (H, W): gaps included."""
        self._check(i, j)
        return self._dependency.mask(i, j)

    def live_taps_at(self, i: int, j: int) -> int:
        """How many taps of output (i, j) see the image, not padding only."""
        self._check(i, j)
        if self._tables is None:
            return int(self.span(i, j) is not None)
        return _count_live(
            self._source, *(t[[n]] for t, n in zip(self._tables, (i, j), strict=True))
        )

    def _check(self, i: int, j: int) -> None:
        height, width = self.output_size
        if not (0 <= i < height and 0 <= j < width):
            raise IndexError(
                f"layer {self.name!r} has {height} x {width} outputs: there is no "
                f"output ({i}, {j})"
            )


def _count_live(source: Dependency, rows: Tensor, columns: Tensor) -> int:
    """Taps that read, at some output, a position which depends on the image.

    The rows and columns of a kernel are independent, so for each path the live taps
    are a product; over the paths they are the union.
    """
    live = torch.zeros(rows.shape[1], columns.shape[1], dtype=torch.bool)
    for row_matrix, column_matrix in source.paths:
        sees_row = torch.cat([row_matrix.any(dim=1), torch.tensor([False])])
        sees_column = torch.cat([column_matrix.any(dim=1), torch.tensor([False])])
        live |= sees_row[rows].any(dim=0)[:, None] & sees_column[columns].any(dim=0)
    return int(live.sum())


def _layer_field(name: str, kind: str, call: "Call", result: Dependency) -> LayerField:
    """Sum up the dependency of one operation."""
    if result.ndim == 4 and None in result.axes:
        result = result.as_map()
    top, bottom, left, right = result.boxes
    heights, widths = (bottom - top + 1).clamp(min=0), (right - left + 1).clamp(min=0)
    tables = call.tables
    if tables is None:
        taps, live = 1, int(heights.amax() > 0)
    else:
        taps = tables[0].shape[1] * tables[1].shape[1]
        live = _count_live(call.source, *tables)
    return LayerField(
        name=name,
        kind=kind,
        output_size=result.size,
        size=(int(heights.max()), int(widths.max())),
        size_min=(int(heights.min()), int(widths.min())),
        stride=tuple(int(s) if s.denominator == 1 else float(s) for s in result.stride),
        touched=_touched(result, heights * widths),
        taps=taps,
        live_taps=live,
        exact=result.exact,
        _dependency=result,
        _source=call.source,
        _tables=tables,
    )


def _touched(result: Dependency, areas: Tensor) -> float:
    """Share of the largest box that is read; of several, the one nearest the centre."""
    height, width = areas.shape
    if areas.max() == 0:
        return 0.0
    i, j = (areas == areas.max()).nonzero(as_tuple=True)
    distance = (2 * i - height + 1) ** 2 + (2 * j - width + 1) ** 2
    best = distance.argmin()
    return int(result.mask(i[best], j[best]).sum()) / int(areas.max())


# --------------------------------------------------------------------------------------
# The rules: how each operation reads its input
# --------------------------------------------------------------------------------------


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
_RULES: dict[object, Rule] = {}


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
        _RULES.update(dict.fromkeys(operations, rule))
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
            any(_contains(path, other) for path in v.paths)
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


# --------------------------------------------------------------------------------------
# Following the model
# --------------------------------------------------------------------------------------


def receptive_field(
    model: nn.Module, input_shape=(3, 32, 32), gates: bool = True
) -> list[LayerField]:
    """What each layer of the model can see of the image, exactly.

    Args:
        model: maps a batch of images to anything; left as it is.
        input_shape: channels, height and width of the image.
        gates: False leaves out the path through an attention gate, a factor that is
            1 x 1 in space (Hu et al. 2018, equation 4), and follows the map that it
            multiplies. With it, everything after a gate sees the whole image.

    Returns:
        One `LayerField` per layer, merge and other operation, in order of execution.

    Raises:
        NotImplementedError: for an unknown operation, see `register`.
        ValueError: if `torch.fx` cannot trace the model, or for a wrong input shape.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"input_shape is (C, H, W), got {tuple(input_shape)}")
    model = _shallow_copy(model).eval()
    if _rule_of(model) is not None:  # a single layer
        model = nn.Sequential(model)
    try:
        graph = _Tracer().trace(model)
    except Exception as error:
        raise ValueError(
            f"torch.fx cannot trace {type(model).__name__}: {error}. Give the module "
            "whose forward depends on values or shapes a rule with @register(...)."
        ) from error
    parameter = next(model.parameters(), torch.zeros(0))
    image = torch.zeros(1, *input_shape).to(parameter)
    pixels = tuple(torch.eye(n, dtype=torch.bool) for n in input_shape[1:])
    start = Dependency(paths=(pixels,), shape=tuple(image.shape), axes=(2, 3))
    follower = _Follower(model, graph, gates)
    with torch.no_grad():
        follower.run(_Value(image, start))
    return follower.fields


def _shallow_copy(model: nn.Module) -> nn.Module:
    """A copy of all modules that shares their tensors and has none of their hooks."""
    memo = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        for name, value in vars(module).items():
            if name.endswith("_hooks"):
                memo[id(value)] = type(value)()
    return copy.deepcopy(model, memo)


def _rule_of(module: nn.Module) -> Rule | None:
    """The rule of a module's class, or of a base class that computes the same.

    A subclass with a `forward` of its own is looked into instead, except a convolution:
    a faster way to compute it does not change what it reads.
    """
    for base in type(module).__mro__:
        if base in _RULES:
            convolution = issubclass(base, (nn.Conv2d, nn.ConvTranspose2d))
            same = convolution or type(module).forward is base.forward
            return _RULES[base] if same else None
    return None


class _Tracer(fx.Tracer):
    """Looks into every module but those that have a rule and those of `torch.nn`."""

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        known = _rule_of(module) is not None
        return known or super().is_leaf_module(module, module_qualified_name)


@dataclass
class _Value:
    """A tensor on its way through the model, and what it depends on."""

    tensor: Tensor  # only its shape matters
    dependency: Dependency


class _Follower(fx.Interpreter):
    """Runs the traced model on one image and follows what each value depends on."""

    def __init__(self, model: nn.Module, graph: fx.Graph, gates: bool):
        super().__init__(model, graph=graph)
        self.extra_traceback = False
        self.gates = gates
        self.fields: list[LayerField] = []

    def run_node(self, node: fx.Node):
        if not node.op.startswith("call_"):
            return super().run_node(node)
        arguments, options = self.fetch_args_kwargs_from_env(node)
        if node.target is operator.getitem and isinstance(arguments[0], tuple):
            return arguments[0][arguments[1]]  # one of several outputs
        given = (arguments, options)
        found = [v for v in tree_flatten(given)[0] if isinstance(v, _Value)]
        output = getattr(self, node.op)(node.target, *tree_map(_tensor, given))
        outputs = output if isinstance(output, (tuple, list)) else (output,)
        if not found or not all(isinstance(tensor, Tensor) for tensor in outputs):
            return output  # a constant, a shape, a check
        module = self.submodules[node.target] if node.op == "call_module" else None
        call = Call(
            operation=node.target if module is None else type(module),
            module=module,
            arguments=tree_map(_dependency, arguments),
            options=tree_map(_dependency, options),
            inputs=tuple(value.dependency for value in found),
            output=output,
            gates=self.gates,
        )
        results = self._follow(node, call, [tuple(tensor.shape) for tensor in outputs])
        values = tuple(map(_Value, outputs, results))
        return values[0] if output is outputs[0] else values

    def _follow(self, node: fx.Node, call: Call, shapes: list) -> list[Dependency]:
        """Apply the rule of one operation and note the fields of its outputs."""
        module, name = call.module, node.name
        if module is None:
            rule, kind = _RULES.get(node.target), _function_name(node.target)
        else:
            rule, kind, name = _rule_of(module), type(module).__name__, node.target
        hint = "Give it, or the module that contains it, a rule with @register(...)."
        if rule is None:
            raise NotImplementedError(
                f"receptive_field does not know the operation {kind} (node {name!r}, "
                f"target {_qualified_name(call.operation)}). {hint}"
            )
        try:
            results = rule(call)
        except NotImplementedError as error:
            raise NotImplementedError(
                f"receptive_field cannot follow {kind} (node {name!r}): {error}. {hint}"
            ) from None
        several = isinstance(results, tuple)
        results = results if several else [results] * len(shapes)
        results = [
            replace(result, shape=shape)
            for result, shape in zip(results, shapes, strict=True)
        ]
        for k, result in enumerate(results if several else results[:1]):
            _check_size(result, kind, name)
            label = f"{name}[{k}]" if several else name
            self.fields.append(_layer_field(label, kind, call, result))
        return results


def _tensor(argument):
    return argument.tensor if isinstance(argument, _Value) else argument


def _dependency(argument):
    return argument.dependency if isinstance(argument, _Value) else argument


def _function_name(target) -> str:
    """The name of a function or method, in-place variants without their mark."""
    name = target if isinstance(target, str) else target.__name__
    name = name.strip("_")
    in_place = target is getattr(operator, name, None) and name[0] == "i"
    return name[1:] if in_place else name


def _qualified_name(operation) -> str:
    """Where a function or class comes from; a method's name as it is."""
    if isinstance(operation, str):
        return f"method {operation}"
    return f"{operation.__module__}.{operation.__qualname__}"


def _check_size(result: Dependency, kind: str, name: str) -> None:
    """The rule and the operation itself must agree on the size of the output."""
    shape = result.shape
    if 0 in shape:
        raise ValueError(
            f"{kind} ({name!r}) gives an empty output {tuple(shape)}: the image is too "
            "small for this model"
        )
    separate = result.axes[0] != result.axes[1]
    for n, axis in zip(result.size, result.axes, strict=True):
        if separate and n != (1 if axis is None else shape[axis]):
            raise RuntimeError(
                f"the rule of {kind} ({name!r}) gives {result.size} positions in the "
                f"dimensions {result.axes}, but the output has shape {tuple(shape)}"
            )


def as_rows(fields: list[LayerField]) -> list[dict]:
    """One dict per layer, ready for `pandas.DataFrame(as_rows(fields))`."""
    names = "name kind output_size size size_min stride touched taps live_taps exact"
    return [{name: getattr(f, name) for name in names.split()} for f in fields]


def as_table(fields: list[LayerField]) -> str:
    """The fields as aligned text; sizes are height x width in pixels.

    "touched" is the share of the largest box that is really read; "live taps" are
    those that see the image for any output, of all taps; "~" marks an upper bound.
    """

    def pair(values) -> str:
        return " x ".join(f"{value:g}" for value in values)

    lines = [
        ["layer", "kind", "output", "field", "smallest", "stride", "touched"]
        + ["live taps"]
    ]
    for f in fields:
        largest = pair(f.size) + ("" if f.exact else " ~")
        sizes = [pair(f.output_size), largest, pair(f.size_min), pair(f.stride)]
        taps = f"{f.live_taps} of {f.taps}" if f.taps > 1 else ""
        lines.append([f.name, f.kind, *sizes, f"{f.touched:.0%}", taps])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = []
    for line in lines:
        cells = [c.ljust(w) for c, w in zip(line[:2], widths[:2], strict=True)]
        cells += [c.rjust(w) for c, w in zip(line[2:], widths[2:], strict=True)]
        texts.append("  ".join(cells).rstrip())
    return "\n".join([texts[0], "-" * (sum(widths) + 2 * len(widths) - 2), *texts[1:]])


# --------------------------------------------------------------------------------------
# Measuring: the effective receptive field
# --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """How strongly the central unit of a layer reacts to each pixel, on average."""

    layer: str
    map: Tensor  # (H, W), sums to 1
    centre: tuple[float, float]  # row and column of the map's centre of mass
    sigma: tuple[float, float]  # standard deviation of the map along rows, columns
    effective_size: int  # side of the smallest centred square with `mass` of the map
    mass: float  # 0.95 unless asked otherwise
    images: int  # number of images averaged


def effective_receptive_field(
    model: nn.Module,
    images: Tensor,
    layer: str,
    position: tuple[int, int] | None = None,
    mass: float = 0.95,
    batch_size: int = 50,
    seed: int = 0,
) -> EffectiveField:
    """The effective receptive field of one layer by gradient (Luo et al. 2016).

    The absolute gradient of the unit's value with respect to every pixel, averaged over
    images and colours. A unit's channels could cancel, so they are added with random
    signs, new for each image: the expected square is the sum of all channels' squares.

    Args:
        model: runs in evaluation mode; modes, hooks and gradients stay as they were.
        images: normalized float images (N, 3, H, W), as the model takes them.
        layer: a name of `model.named_modules()`; of several runs the first counts.
        position: output (i, j), or the centre; not for outputs (N, features).
        mass: share of the map in `effective_size`, the side of a square around the
            map's centre of mass, rounded to half a pixel, and clipped to the image.

    Raises:
        TypeError: if images are not floating point, or the layer's output no tensor.
        ValueError: for an unknown layer, a position outside the map, or no reaction.
    """
    _check_measurement(model, images, layer, mass)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(images.shape[-2:], dtype=torch.float64)
    with _captured_output(model, layer) as outputs:
        for batch in images.split(batch_size):
            gradient = _gradient(model, batch, outputs, position, layer, generator)
            total += gradient.abs().mean(dim=1).sum(dim=0).cpu().double()  # (H, W)
    if not total.sum() > 0:
        raise ValueError(f"layer {layer!r} does not react to these images: no gradient")
    return _summarize(layer, total / total.sum(), mass, len(images))


def _check_measurement(model, images: Tensor, layer: str, mass: float) -> None:
    if not images.is_floating_point():
        raise TypeError(
            f"images must be normalized floats as the model takes them, not "
            f"{images.dtype}: use data.normalize(images) first"
        )
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images must be (N, 3, H, W), not {tuple(images.shape)}")
    if not 0 < mass <= 1:
        raise ValueError(f"mass is a share above 0 and at most 1, not {mass}")
    names = [name for name, _ in model.named_modules()]
    if layer not in names:
        close = difflib.get_close_matches(layer, names) or names[1:]
        raise ValueError(f"the model has no layer {layer!r}; did you mean {close}?")


@contextmanager
def _captured_output(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Evaluation mode and a hook that collects a layer's outputs; undone at the end."""
    outputs = []

    def keep(module, inputs, output):
        if not isinstance(output, Tensor):
            raise TypeError(f"layer {layer!r} gives {type(output).__name__}, not a map")
        outputs.append(output.clone())  # before a ReLU in place writes over it

    hook = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with evaluation_mode(model):
            yield outputs
    finally:
        hook.remove()


def _unit(output: Tensor, position, layer: str) -> Tensor:
    """All channels of one output position, (N, C)."""
    if output.ndim == 2:
        return output
    if output.ndim != 4:
        raise ValueError(
            f"layer {layer!r} gives {tuple(output.shape)}, not a map (N, C, h, w)"
        )
    height, width = output.shape[2:]
    i, j = position or (height // 2, width // 2)
    if not (0 <= i < height and 0 <= j < width):
        raise ValueError(
            f"layer {layer!r} has {height} x {width} outputs: there is no ({i}, {j})"
        )
    return output[:, :, i, j]  # (N, C)


def _gradient(model, images, outputs, position, layer, generator) -> Tensor:
    """The gradient of one unit's channels, with random signs, (N, 3, H, W)."""
    device = next((p.device for p in model.parameters()), images.device)
    images = images.detach().to(device).clone().requires_grad_()
    outputs.clear()
    with torch.enable_grad():
        model(images)
        if not outputs:
            raise ValueError(f"layer {layer!r} does not run in the model's forward")
        unit = _unit(outputs[0], position, layer)  # (N, C)
        signs = torch.randint(0, 2, unit.shape, generator=generator) * 2 - 1
        value = (unit * signs.to(unit)).sum()
    if not value.requires_grad:
        return torch.zeros_like(images)
    (gradient,) = torch.autograd.grad(value, images, allow_unused=True)
    return torch.zeros_like(images) if gradient is None else gradient


def _summarize(layer: str, density: Tensor, mass: float, images: int) -> EffectiveField:
    """Centre, spread and effective size of a map that sums to 1."""
    height, width = density.shape
    rows, columns = torch.arange(height).double(), torch.arange(width).double()
    row, column = density.sum(dim=1) @ rows, density.sum(dim=0) @ columns
    variances = (
        density.sum(dim=1) @ (rows - row) ** 2,
        density.sum(dim=0) @ (columns - column) ** 2,
    )
    middle = [(2 * centre).round() / 2 for centre in (row, column)]
    distance = torch.maximum(
        (rows - middle[0]).abs()[:, None], (columns - middle[1]).abs()
    )  # (H, W): a square of side s holds the pixels with distance <= (s - 1) / 2
    side = 1
    while density[distance <= (side - 1) / 2].sum() < mass - 1e-12:
        side += 1
    return EffectiveField(
        layer=layer,
        map=density,
        centre=(float(row), float(column)),
        sigma=tuple(float(variance.sqrt()) for variance in variances),
        effective_size=side,
        mass=mass,
        images=images,
    )
