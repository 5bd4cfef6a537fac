"""What a traced model's units see, summed up: one `LayerField` for each operation."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cifar_helpers.receptive_field.dependency import Dependency, unite
from cifar_helpers.receptive_field.rules import Call


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
    exact: bool  # False: an upper bound, see `dependency` and `rules`
    dependency: Dependency = field(repr=False)
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
        top, bottom, left, right = self.dependency.boxes[:, i, j].tolist()
        return None if top > bottom else (top, bottom, left, right)

    def mask(self, i: int, j: int) -> Tensor:
        """The pixels that output (i, j) sees, boolean (H, W): gaps included."""
        self._check(i, j)
        return self.dependency.mask(i, j)

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
    for row_matrix, column_matrix, _ in source.paths:
        sees_row = torch.cat([row_matrix.any(dim=1), torch.tensor([False])])
        sees_column = torch.cat([column_matrix.any(dim=1), torch.tensor([False])])
        live |= sees_row[rows].any(dim=0)[:, None] & sees_column[columns].any(dim=0)
    return int(live.sum())


def layer_field(name: str, kind: str, call: Call, result: Dependency) -> LayerField:
    """Sum up the dependency of one operation."""
    if result.others:  # scores: the keys are taken together, as channels are
        own = {axis for axis in result.axes if axis is not None}
        others = [v.pooled(set(range(v.ndim)) - own) for v in result.others]
        result = unite([result.terms[0], *others], result.ndim)
    spread = [a in (None, b) for a, b in zip(result.axes, (2, 3), strict=False)]
    if result.ndim == 4 and None in result.axes[:2] and all(spread):
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
        dependency=result,
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


def as_rows(fields: list[LayerField]) -> list[dict]:
    """One dict per layer, ready for `pandas.DataFrame(as_rows(fields))`."""
    names = "name kind output_size size size_min stride touched taps live_taps exact"
    return [{name: getattr(f, name) for name in names.split()} for f in fields]
