"""What the figures take: arrays of numbers, images and labels, checked before drawing.

Every function returns NumPy arrays, or raises `ValueError` that says what is wrong.
"""

from collections.abc import Sequence

import numpy as np
import torch


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


def require_filled(values, name: str) -> None:
    """`ValueError` for a dict or list without entries."""
    if not values:
        raise ValueError(f"{name} is empty: pass at least one entry")


def colours_for(count: int, colours: Sequence, what: str) -> Sequence:
    """The first `count` of the colours; `ValueError` unless there are as many."""
    if not 1 <= count <= len(colours):
        raise ValueError(f"draw 1 to {len(colours)} {what}, got {count}")
    return colours[:count]


def require_length(values, count: int, name: str, of: str) -> None:
    """`ValueError` unless there are `count` values, one per `of`."""
    if len(values) != count:
        raise ValueError(f"got {len(values)} {name} for {count} {of}: pass one each")
