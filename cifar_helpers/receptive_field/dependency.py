"""Which pixels of the image each position of a feature map depends on.

A convolution, a pooling or an upsampling treats rows and columns independently. So the
pixels that output (i, j) depends on are a product: some rows times some columns. Two
boolean matrices hold this for a whole map: `rows` (h, H) and `columns` (w, W). The next
layer combines the rows of those matrices that its window reads (a boolean matrix
product). Where branches meet, a product is not enough: the union of two boxes need not
be a box. So a map keeps a short list of such pairs, its *paths*, and the union over the
paths is the exact set of pixels.

One pair for the whole map would be a bound only. After a merge the mask is smaller than
all rows times all columns, and even the bounding box is smaller where one branch sees
nothing but padding on one axis. Past `MAX_PATHS` different paths the list falls back
to one pair: an upper bound, and `exact` is False.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

MAX_PATHS = 64  # more different paths than this are merged into one upper bound


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
            if not any(contains(other, path) for other in kept):
                kept = [other for other in kept if not contains(path, other)] + [path]
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


def contains(path, other) -> bool:
    """True if the first pair of matrices covers everything that the second covers."""
    return path is other or all(
        bool((b <= a).all()) for a, b in zip(path, other, strict=True)
    )


def _ends(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true entry of each row."""
    matrix = matrix.to(torch.uint8)
    last = matrix.shape[1] - 1 - matrix.flip(1).argmax(dim=1)
    return matrix.argmax(dim=1), last
