"""The effective receptive field: what a unit does see of real images, by gradient.

Inside the box of pixels that a unit can see, most pixels near the edge hardly change
its value: the effective receptive field is smaller (Luo et al. 2016).
"""

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cifar_helpers.hooks import captured
from cifar_helpers.model import evaluation_mode, whole_number


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

    @property
    def middle(self) -> tuple[float, float]:
        """The middle of its squares: the centre, rounded to half a pixel."""
        return tuple(round(2 * centre) / 2 for centre in self.centre)

    def share(self, side: int) -> float:
        """Share of the map, 0 to 1, within the square of this side around `middle`."""
        rows, columns = (
            (torch.arange(length) - middle).abs()
            for length, middle in zip(self.map.shape, self.middle, strict=True)
        )
        distance = torch.maximum(rows[:, None], columns)  # (H, W), from the middle
        return float(self.map[distance <= (side - 1) / 2].sum())


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
        batch_size: images at a time, for the memory's sake.
        seed: of the random signs.

    Raises:
        TypeError: if images are no floating point tensor, the layer's output no tensor,
            or batch size or seed no whole number.
        ValueError: for an unknown layer, a position outside the map, a batch size below
            1, or no reaction.
    """
    _check_measurement(images, mass)
    batch_size = whole_number("batch_size", batch_size)
    generator = torch.Generator().manual_seed(whole_number("seed", seed, least=None))
    total = torch.zeros(images.shape[-2:], dtype=torch.float64)
    with evaluation_mode(model), captured(model, layer) as kept:
        for batch in images.split(batch_size):
            kept[layer].clear()
            gradient = _gradient(model, batch, kept, position, layer, generator)
            total += gradient.abs().mean(dim=1).sum(dim=0).cpu().double()  # (H, W)
    if not total.sum() > 0:
        raise ValueError(f"layer {layer!r} does not react to these images: no gradient")
    return _summarize(layer, total / total.sum(), mass, len(images))


def _check_measurement(images: Tensor, mass: float) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = getattr(images, "dtype", type(images).__name__)
        raise TypeError(
            f"images must be normalized floats as the model takes them, not {kind}: "
            "use data.normalize(images) first"
        )
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images must be (N, 3, H, W), not {tuple(images.shape)}")
    if not images.isfinite().all():
        raise ValueError(
            "images hold values that are not finite: no gradient means much"
        )
    if not 0 < mass <= 1:
        raise ValueError(f"mass is a share above 0 and at most 1, not {mass}")


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


def _gradient(model, images, kept, position, layer, generator) -> Tensor:
    """The gradient of one unit's channels, with random signs, (N, 3, H, W)."""
    device = next((p.device for p in model.parameters()), images.device)
    images = images.detach().to(device).clone().requires_grad_()
    with torch.enable_grad():
        model(images)
        if not kept[layer]:
            raise ValueError(f"layer {layer!r} does not run in the model's forward")
        unit = _unit(kept[layer][0], position, layer)  # (N, C)
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
    field = EffectiveField(
        layer=layer,
        map=density,
        centre=(float(row), float(column)),
        sigma=tuple(float(variance.sqrt()) for variance in variances),
        effective_size=1,
        mass=mass,
        images=images,
    )
    sides = itertools.count(1)
    large = next(side for side in sides if field.share(side) >= mass - 1e-12)
    return replace(field, effective_size=large)
