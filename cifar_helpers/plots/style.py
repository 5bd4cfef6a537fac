"""TODO."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 9.0  # inches: the width of a notebook's page


INK = "#262626"


SOFT = "#8a8a8a"  # for what stands behind


BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"


SKY, VERMILION, YELLOW = "#56B4E9", "#D55E00", "#F0E442"


PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)  # Okabe & Ito 2008


SEQUENTIAL = "cividis"  # from little to much


DIVERGING = "RdBu_r"  # from negative over zero to positive


STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",
}


def apply_style() -> None:
    """Use the look of this series for everything that matplotlib draws from now on."""
    plt.rcParams.update(STYLE)


@contextmanager
def new_figure(height: float, width: float = WIDTH, **options) -> Iterator[Figure]:
    """A figure of `width` × `height` inches in the look of this series.

    Draw inside the `with`; behind it the figure is closed, so that a notebook shows
    it only where it is the value of a cell. `options` go to `plt.figure`.
    """
    options.setdefault("layout", "constrained")
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height), **options)
        try:
            yield figure
        finally:
            plt.close(figure)


def to_array(values, name: str, dimensions: int | tuple[int, ...]) -> np.ndarray:
    """`values` as a NumPy array with as many dimensions as asked for, not empty."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    array = np.asarray(values)
    allowed = (dimensions,) if isinstance(dimensions, int) else dimensions
    if array.ndim not in allowed or array.size == 0:
        wanted = " or ".join(str(number) for number in allowed)
        raise ValueError(
            f"{name} must be a filled array with {wanted} dimensions, got shape "
            f"{array.shape}"
        )
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} must hold numbers, got {array.dtype}")
    return array


def to_pictures(images, name: str = "images") -> np.ndarray:
    """Images (N, 3, H, W) or (N, H, W) as `imshow` wants them, colour last."""
    array = to_array(images, name, (3, 4))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold values that are not finite")
    if array.ndim == 3:
        return array  # (N, H, W)
    if array.shape[1] != 3:
        raise ValueError(f"{name} must have shape (N, 3, H, W), got {array.shape}")
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise ValueError(
                f"colour {name} must be uint8 or lie between 0 and 1, got "
                f"{low:.3g} to {high:.3g}: undo the normalization first"
            )
        array = array.astype(np.float64).clip(0, 1)
    return array.transpose(0, 2, 3, 1)  # (N, H, W, 3)


def to_labels(labels, classes: Sequence[str], count: int | None = None) -> np.ndarray:
    """Labels as an integer array (N,), checked against classes and images."""
    array = to_array(labels, "labels", 1)
    if array.dtype.kind not in "ui":
        raise ValueError(f"labels must be whole numbers, got {array.dtype}")
    if array.min() < 0 or array.max() >= len(classes):
        raise ValueError(
            f"labels must lie between 0 and {len(classes) - 1}, got {array.min()} "
            f"to {array.max()}"
        )
    if count is not None and len(array) != count:
        raise ValueError(f"got {len(array)} labels for {count} images")
    return array


def require_length(values, count: int, name: str, of: str) -> None:
    """`ValueError` unless there are `count` values, one per `of`."""
    if len(values) != count:
        raise ValueError(f"got {len(values)} {name} for {count} {of}: pass one each")


def tile(axes: Axes, picture: np.ndarray, column: float, top: float, **options):
    """Draw one picture into the unit square at (column, top), y growing downwards."""
    gap = 0.03
    extent = (column + gap, column + 1 - gap, top + 1 - gap, top + gap)
    options.setdefault("interpolation", "nearest")
    return axes.imshow(picture, extent=extent, aspect="auto", **options)


def blank_canvas(figure: Figure, width: float, height: float) -> Axes:
    """Axes without frame over the whole figure, `width` × `height` units, y down."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes
