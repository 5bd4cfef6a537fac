"""Which pixels of the image each position of a feature map depends on.

A convolution, a pooling or an upsampling treats rows and columns independently. So the
pixels that output (i, j) depends on are a product: some rows times some columns. Two
boolean matrices hold this for a whole map: `rows` (h, H) and `columns` (w, W). The next
layer combines the rows of those matrices that its window reads (a boolean matrix
product). Where branches meet, a product is not enough: the union of two boxes need not
be a box. So a map keeps a short list of such pairs, its *paths*, and the union over the
paths is the exact set of pixels. A third entry of each path says which channels have
it, so that a slice after a concatenation gets the paths of its own channels.

One pair for the whole map would be a bound only. After a merge the mask is smaller than
all rows times all columns, and even the bounding box is smaller where one branch sees
nothing but padding on one axis. Past `MAX_PATHS` different paths the list falls back
to one pair: an upper bound, and `exact` is False.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import prod

import torch
from torch import Tensor

MAX_PATHS = 64  # more different paths than this are merged into one upper bound
Path = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Dependency:
    """Which pixels of the image each position of one feature map depends on.

    Channel c of output position (i, j) depends on pixel (y, x) if `rows[i, y] and
    columns[j, x] and channels[c]` holds for at least one of the paths. A map that is
    constant in space has h = w = 1; one whose channels are all alike has c = 1.
    """

    paths: tuple[Path, ...]  # rows (h, H), columns (w, W), channels (c, 1); boolean
    shape: tuple[int, ...]  # of the tensor that holds the map
    axes: tuple[int | None, ...]  # its dimensions that hold rows, columns, channels:
    # None if it is constant along this axis; rows and columns twice the same if they
    # are flattened into one dimension (in this order, behind channels or alone)
    stride: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))  # pixels
    uniform: bool = True  # False: parts along other dimensions than `axes` may differ
    exact: bool = True  # False: the paths are an upper bound
    others: tuple["Dependency", ...] = ()  # it depends on these, too; their rows or
    # columns lie in other dimensions, as the keys' do in a table of attention scores

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Height, width and number of different channels of the map."""
        return tuple(matrix.shape[0] for matrix in self.paths[0])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the map."""
        return self.lengths[:2]

    @property
    def ndim(self) -> int:
        """Number of dimensions of the tensor."""
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        """True if the map has one value for all of space, as a gate's factor has."""
        return self.size == (1, 1)

    @property
    def is_blind(self) -> bool:
        """True if no position depends on any pixel."""
        return not any(all(bool(m.any()) for m in path) for path in self.paths)

    @property
    def terms(self) -> tuple["Dependency", ...]:
        """This dependency and its `others`, each alone."""
        return (replace(self, others=()), *self.others) if self.others else (self,)

    def mask(self, i: int, j: int) -> Tensor:
        """The pixels that position (i, j) depends on, boolean (H, W)."""
        boxes = [rows[i][:, None] & columns[j] for rows, columns, _ in self.paths]
        return torch.stack(boxes).any(dim=0)

    @cached_property
    def boxes(self) -> Tensor:
        """Top, bottom, left, right of all positions, (4, h, w); top > bottom if blind.

        "Blind" is a position that depends on padding only.
        """
        (height, width), (rows, columns, _) = self.size, self.paths[0]
        lowest = torch.tensor([rows.shape[1], -1, columns.shape[1], -1])
        boxes = lowest[:, None, None].repeat(1, height, width)
        for rows, columns, _ in self.paths:
            sees = rows.any(dim=1)[:, None] & columns.any(dim=1)  # (h, w)
            (top, bottom), (left, right) = _ends(rows), _ends(columns)
            edges = (top[:, None], bottom[:, None], left[None], right[None])
            better = (torch.minimum, torch.maximum, torch.minimum, torch.maximum)
            for box, edge, choose in zip(boxes, edges, better, strict=True):
                box.copy_(torch.where(sees, choose(box, edge), box))
        return boxes

    def through(
        self, rows=None, columns=None, channels=None, step=(1, 1)
    ) -> "Dependency":
        """The dependency of a layer whose outputs read this map through tables.

        Args:
            rows: integers (output height, taps): the rows of this map that each output
                row reads, -1 for a tap that falls on padding; None leaves them as they
                are.
            columns: the same for columns, (output width, taps).
            channels: the same for channels, (output channels, taps).
            step: rows and columns of this map from one output to the next.
        """
        tables = (rows, columns, channels)
        paths = [
            tuple(
                m if t is None else _gather(m, t)
                for m, t in zip(path, tables, strict=True)
            )
            for path in self.paths
        ]
        stride = tuple(s * Fraction(t) for s, t in zip(self.stride, step, strict=True))
        return replace(self, stride=stride).with_paths(paths)

    def with_paths(self, paths) -> "Dependency":
        """The same map with other paths, those left out that another path contains."""
        kept = _without_contained(paths)
        if len(kept) > MAX_PATHS and kept[0][2].shape[0] > 1:  # all channels together
            kept = _without_contained((*path[:2], path[2][:1] | True) for path in kept)
            return replace(self, uniform=False, axes=(*self.axes[:2], None)).with_paths(
                kept
            )
        if len(kept) > MAX_PATHS:
            kept = [tuple(torch.stack(m).any(dim=0) for m in zip(*kept, strict=True))]
            return replace(self, paths=tuple(kept), exact=False)
        if all(bool(path[2].all()) for path in kept):
            kept = [(*path[:2], path[2][:1]) for path in kept]
            return replace(self, paths=tuple(kept), axes=(*self.axes[:2], None))
        return replace(self, paths=tuple(kept))

    def blind(self, shape) -> "Dependency":
        """A value of this shape that depends on no pixel of the same image."""
        path = tuple(matrix[:1] & False for matrix in self.paths[0])
        return Dependency(((*path[:2], path[2] | True),), tuple(shape), (None,) * 3)

    def together(self) -> "Dependency":
        """All channels taken together: parts of them are a bound from now on."""
        if self.axes[2] is None:
            return self
        paths = [(*path[:2], path[2].any(dim=0)[None]) for path in self.paths]
        return replace(self, uniform=False, axes=(*self.axes[:2], None)).with_paths(
            paths
        )

    def expanded(self, size: tuple[int, int]) -> "Dependency":
        """This map repeated along the axes on which it has size 1."""
        tables = []
        for have, want in zip(self.size, size, strict=True):
            if have not in (1, want):
                raise ValueError(f"a map of size {self.size} does not fit into {size}")
            index = torch.arange(want) if have == want else torch.zeros(want).long()
            tables.append(index[:, None])  # (want, 1)
        step = [Fraction(h, w) for h, w in zip(self.size, size, strict=True)]
        return self if size == self.size else self.through(*tables, step=step)

    def along(self, axis: int, dimension: int) -> "Dependency":
        """With axis 0, 1 or 2 (rows, columns, channels) spelled out in this dimension.

        The paths are left as they are then, even if all channels are alike.
        """
        if self.axes[axis] is not None:
            return self
        length, axes = self.shape[dimension], list(self.axes)
        axes[axis] = dimension
        paths = [list(path) for path in self.paths]
        for path in paths:
            path[axis] = path[axis].expand(length, -1)
        return replace(self, paths=tuple(map(tuple, paths)), axes=tuple(axes))

    def pooled(self, dimensions) -> "Dependency":
        """Everything along these dimensions of the tensor taken together, one value."""
        dimensions = {d % self.ndim for d in dimensions}
        taken = [axis in dimensions for axis in self.axes]
        tables = [
            torch.arange(n)[None] if take else None
            for take, n in zip(taken, self.lengths, strict=True)
        ]
        step = [n if take else 1 for take, n in zip(taken, self.size, strict=False)]
        axes = [None if t else a for t, a in zip(taken, self.axes, strict=True)]
        return replace(self, axes=tuple(axes)).through(*tables, step=step)

    def spread(self, dimensions) -> "Dependency":
        """Everything along these dimensions taken together, at every position."""
        result = self.pooled(dimensions).expanded(self.size)
        return replace(
            result, axes=(*self.axes[:2], result.axes[2]), stride=self.stride
        )

    def as_map(self) -> "Dependency":
        """This value as a map (N, C, h, w), or an error if rows or columns moved."""
        axes = (self.ndim - 2, self.ndim - 1)
        if any(a not in (None, b) for a, b in zip(self.axes, axes, strict=False)):
            raise NotImplementedError(
                "it needs rows and columns in the last two dimensions, but they are in "
                f"dimensions {self.axes[:2]} of shape {tuple(self.shape)}"
            )
        size = tuple(
            n if a is None else m
            for a, n, m in zip(self.axes, self.shape[-2:], self.size, strict=False)
        )
        value = self if self.axes[2] in (None, self.ndim - 3) else self.together()
        return replace(value.expanded(size), axes=(*axes, value.axes[2]))

    def places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row, column and channel of each element of the tensor, of its shape."""
        height, width, channels = self.lengths
        steps = [width, 1, 1] if self.axes[0] == self.axes[1] else [1, 1, 1]
        places = []
        for n, axis, step in zip(self.lengths, self.axes, steps, strict=True):
            place = torch.zeros((1,) * self.ndim, dtype=torch.float64)
            if axis is not None:
                place = torch.arange(self.shape[axis]) // step % n
                place = place.double().view(-1, *[1] * (self.ndim - axis - 1))
            places.append(place.expand(self.shape).contiguous())
        return tuple(places)


def _gather(matrix: Tensor, table: Tensor) -> Tensor:
    """Row o of the result is the union of the matrix rows `table[o]`, (outputs, H)."""
    blank = matrix.new_zeros(1, matrix.shape[1])
    return torch.cat([matrix, blank])[table].any(dim=1)  # index -1 is the blank row


def _without_contained(paths) -> list[Path]:
    """The paths without those that are empty or contained in another one."""
    kept = []
    for path in paths:
        if not all(bool(matrix.any()) for matrix in path):
            empty = path
            continue
        for k, other in enumerate(kept):  # the same pixels for more channels
            if all(map(torch.equal, path[:2], other[:2])):
                path = (*path[:2], path[2] | other[2])
                del kept[k]
                break
        if not any(contains(other, path) for other in kept):
            kept = [other for other in kept if not contains(path, other)] + [path]
    return kept or [(*(matrix & False for matrix in empty[:2]), empty[2] | True)]


def contains(path: Path, other: Path) -> bool:
    """True if the first path covers everything that the second covers."""
    return path is other or all(
        bool((b <= a).all()) for a, b in zip(path, other, strict=True)
    )


def _ends(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true entry of each row."""
    matrix = matrix.to(torch.uint8)
    last = matrix.shape[1] - 1 - matrix.flip(1).argmax(dim=1)
    return matrix.argmax(dim=1), last


def unite(values, ndim: int) -> Dependency:
    """Values of the same place combined; those of size 1 are repeated (broadcast).

    Values whose rows or columns lie in different dimensions stay apart, as `others`.
    The stride is the smallest: a value that is constant in space has the largest.
    """
    groups: list[list[Dependency]] = []
    for value in (term for v in values for term in v.terms):
        shift = ndim - value.ndim
        axes = tuple(a if a is None else a + shift for a in value.axes)
        value = replace(value, axes=axes, shape=(1,) * shift + tuple(value.shape))
        for group in groups:
            if all(_fits(value, other) for other in group):
                group.append(value)
                break
        else:
            groups.append([value])
    first, *rest = [_united(group) for group in groups]
    for value in rest:
        for other in (v for v in (first, *rest) if v is not value):
            crossed = {value.axes[0], other.axes[0]} & {value.axes[1], other.axes[1]}
            flat = value.axes[0] == value.axes[1] or other.axes[0] == other.axes[1]
            shared = set(value.axes[:2]) & set(other.axes[:2])
            if (shared if flat else crossed) - {None}:
                raise NotImplementedError(
                    "the values have their rows or columns in different dimensions: "
                    f"{value.axes[:2]} and {other.axes[:2]}"
                )
    return replace(first, others=tuple(rest))


def _fits(value: Dependency, other: Dependency) -> bool:
    """True if rows and columns of both lie in the same dimensions."""
    same = [
        None in (a, b) or a == b or 1 in (m, n)
        for a, b, m, n in zip(
            value.axes, other.axes, value.size, other.size, strict=False
        )
    ]
    axes = [v.axes[0] == v.axes[1] != None for v in (value, other)]  # noqa: E711
    return all(same) and (axes[0] == axes[1] or value.is_constant or other.is_constant)


def _united(values: list[Dependency]) -> Dependency:
    """The union of values with rows and columns in the same dimensions."""
    if len(values) == 1:
        return values[0]
    size, axes = [], []
    for axis in (0, 1):
        size.append(max(v.size[axis] for v in values))
        found = [v.axes[axis] for v in values if v.size[axis] == size[axis]]
        axes.append(next((a for a in found if a is not None), None))
    channel_axes = {v.axes[2] for v in values} - {None}
    if len(channel_axes) > 1 or channel_axes & set(axes):
        values, channel_axes = [v.together() for v in values], set()
    channel = channel_axes.pop() if channel_axes else None
    count = max(v.lengths[2] for v in values)
    values = [v.expanded(tuple(size)) for v in values]
    paths = [(*path[:2], path[2].expand(count, -1)) for v in values for path in v.paths]
    sighted = [v for v in values if not v.is_blind] or values
    stride = tuple(min(v.stride[axis] for v in sighted) for axis in (0, 1))
    result = replace(
        max(values, key=lambda v: prod(v.shape)),
        axes=(*axes, channel),
        stride=stride,
        uniform=all(v.uniform for v in values),
        exact=True,
    ).with_paths(paths)
    return replace(result, exact=result.exact and _is_exact(values, result))


def _is_exact(values, result: Dependency) -> bool:
    """True if whatever is a bound among the values lies within one that is exact."""
    sure = [path for v in values if v.exact for path in v.paths]
    return all(
        any(contains(path, bound) for path in sure)
        for v in values
        if not v.exact
        for bound in v.paths
    )
