"""Random changes to a whole batch of images at once, on any device.

Every function takes images (N, C, H, W) of 1 or 3 channels, uint8 or floating point,
draws what it needs from `generator` (a torch.Generator on the images' device) and
returns a new batch, or the given one where nothing is to be done. Each image gets its
own draw. Raises TypeError for anything but a tensor, ValueError for another shape,
channels at the end included.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from cifar_helpers.data import MEAN


def random_crop(
    images: Tensor, padding: int = 4, generator: torch.Generator | None = None
) -> Tensor:
    """Shift each image by up to `padding` pixels; what enters is the image mirrored.

    The same as reflection padding on all sides, then a random crop of the old size (He
    et al. 2016, section 4.2, with reflection for zeros). Raises ValueError unless
    0 <= padding < H and W.
    """
    _check(images)
    n, _, height, width = images.shape
    if not 0 <= padding < min(height, width):
        raise ValueError(
            f"padding must be in 0 … {min(height, width) - 1}, not {padding}"
        )
    shifts = torch.randint(
        low=-padding,
        high=padding + 1,
        size=(2, n, 1),
        generator=generator,
        device=images.device,
    )
    rows = _reflect(torch.arange(height, device=images.device) + shifts[0], height)
    columns = _reflect(torch.arange(width, device=images.device) + shifts[1], width)
    rows = rows[:, None, :, None].expand(images.shape)  # (N, C, H, W)
    columns = columns[:, None, None, :].expand(images.shape)  # (N, C, H, W)
    return images.gather(2, rows).gather(3, columns)


def _reflect(positions: Tensor, size: int) -> Tensor:
    """Positions beyond an edge, mirrored back inside: -1 -> 1, size -> size - 2."""
    positions = positions.abs()
    return torch.minimum(positions, 2 * (size - 1) - positions)


def random_flip(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    _check(images)
    draw = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
    return torch.where(draw < 0.5, images.flip(3), images)


def random_rotation(
    images: Tensor, degrees: float = 15.0, generator: torch.Generator | None = None
) -> Tensor:
    """Turn each image, with probability 1/2, about its middle by up to `degrees`.

    The angle is drawn evenly from -degrees to degrees. Values between pixels are
    interpolated (bilinear), and what enters is the image mirrored. Raises ValueError
    unless degrees is finite and at least 0.
    """
    _check(images)
    if not 0 <= degrees < math.inf:
        raise ValueError(f"degrees must be finite and at least 0, not {degrees}")
    if len(images) == 0:
        return images  # `affine_grid` takes no empty batch
    height, width = images.shape[2:]
    draw = torch.rand(2, len(images), generator=generator, device=images.device)
    angle = (draw[0] < 0.5) * (2 * draw[1] - 1) * math.radians(degrees)  # (N,)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    to_columns = torch.stack([cosine, -sine * (height / width), zero], dim=1)  # (N, 3)
    to_rows = torch.stack([sine * (width / height), cosine, zero], dim=1)  # (N, 3)
    where_from = torch.stack([to_columns, to_rows], dim=1)  # (N, 2, 3), from -1 to 1
    grid = F.affine_grid(where_from, images.shape, align_corners=False)  # (N, H, W, 2)
    turned = F.grid_sample(
        images.float(), grid, padding_mode="reflection", align_corners=False
    )
    return _as_before(turned, images)


def random_colour(
    images: Tensor, strength: float = 0.2, generator: torch.Generator | None = None
) -> Tensor:
    """Change brightness, contrast and saturation of each image, with probability 1/2.

    Three factors are drawn evenly from 1 - strength to 1 + strength: of the values, of
    their distance from the image's mean, and of each pixel's distance from its grey,
    the mean of its channels. 0 must be black, as it is in uint8 (cut off at 0 and 255).
    Raises ValueError unless strength is 0 to 1.
    """
    _check(images)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be 0 to 1, not {strength}")
    shape = (4, len(images), 1, 1, 1)
    draw = torch.rand(shape, generator=generator, device=images.device)
    spread = (draw[0] < 0.5) * strength  # (N, 1, 1, 1), 0 for about half
    brightness, contrast, saturation = 1 + spread * (2 * draw[1:] - 1)
    x = images.float()
    mean = x.mean(dim=(1, 2, 3), keepdim=True)  # (N, 1, 1, 1)
    x = brightness * (mean + contrast * (x - mean))
    grey = x.mean(dim=1, keepdim=True)  # (N, 1, H, W)
    return _as_before(grey + saturation * (x - grey), images)


def _as_before(values: Tensor, images: Tensor) -> Tensor:
    """Floats in the type that the images had; bytes are rounded and cut off."""
    if images.is_floating_point():
        return values.to(images.dtype)
    return values.round().clamp(0, 255).to(images.dtype)


def cutout(
    images: Tensor, size: int = 8, generator: torch.Generator | None = None
) -> Tensor:
    """Cover a square of size x size pixels, its centre drawn anywhere in the image.

    DeVries & Taylor 2017, section 3: the square may stick out of the image. It takes
    the mean colour of CIFAR-10 (uint8; 128 unless there are three channels) or 0, its
    normalized value (floats). Raises ValueError for a negative size.
    """
    _check(images)
    if size < 0:
        raise ValueError(f"size must be at least 0, not {size}")
    n, channels, height, width = images.shape
    draw = torch.rand(2, n, 1, generator=generator, device=images.device)
    top = (draw[0] * height).long() - size // 2  # (N, 1)
    left = (draw[1] * width).long() - size // 2  # (N, 1)
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    in_rows = (rows >= top) & (rows < top + size)  # (N, H)
    in_columns = (columns >= left) & (columns < left + size)  # (N, W)
    covered = in_rows[:, None, :, None] & in_columns[:, None, None, :]  # (N, 1, H, W)
    return torch.where(covered, _grey(images), images)


def _grey(images: Tensor) -> Tensor:
    """The value that says nothing, shaped to broadcast over the batch."""
    if images.is_floating_point():
        return images.new_zeros(1, 1, 1, 1)
    if images.shape[1] != len(MEAN):
        return images.new_full((1, 1, 1, 1), 128)
    colours = [images.new_full((1, 1, 1, 1), round(255 * mean)) for mean in MEAN]
    return torch.cat(colours, dim=1)  # a tensor of a list would make a GPU wait


def mixup(
    images: Tensor,
    targets: Tensor,
    alpha: float = 0.2,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Blend each image and its target with those of another image of the batch.

    Zhang et al. 2018, section 2: x = a x_i + (1 - a) x_j, y = a y_i + (1 - a) y_j with
    a ~ Beta(alpha, alpha) per image. `images` are floats (N, C, H, W), `targets`
    probabilities (N, classes). Raises TypeError for integers, ValueError if alpha is
    negative or not finite.
    """
    _check(images)
    if not (images.is_floating_point() and targets.is_floating_point()):
        raise TypeError("mixup blends float images and float targets: normalize first")
    if not 0 <= alpha < math.inf:
        raise ValueError(f"mixup needs a finite alpha >= 0, not {alpha}")
    if targets.ndim != 2 or len(targets) != len(images):
        raise ValueError(
            f"mixup needs targets ({len(images)}, classes), not {tuple(targets.shape)}"
        )
    if alpha == 0:
        return images, targets
    share = _beta(len(images), alpha, generator, images.device)  # (N,)
    partner = torch.randperm(len(images), generator=generator, device=images.device)
    image_weight = share.to(images.dtype).view(-1, 1, 1, 1)
    target_weight = share.to(targets.dtype).view(-1, 1)
    mixed = torch.lerp(images[partner], images, image_weight)
    return mixed, torch.lerp(targets[partner], targets, target_weight)


def _beta(count: int, alpha: float, generator, device) -> Tensor:
    """Draws from Beta(alpha, alpha), (count,), out of two uniform numbers each.

    Bailey 1994, "Polar generation of random variates with the t-distribution":
    t = sqrt(2 alpha (u ** (-1 / alpha) - 1)) cos(2 pi v) has Student's distribution
    with 2 alpha degrees of freedom, and (1 + t / sqrt(2 alpha + t * t)) / 2 is
    Beta(alpha, alpha). Rearranged, so that a small alpha gives no infinity.
    """
    u, v = torch.rand(2, count, generator=generator, device=device)
    power = u ** (1 / alpha)
    cosine = torch.cos(2 * math.pi * v)
    spread = (1 - power) * cosine**2  # t * t / (2 alpha) = spread / power
    size = torch.sqrt(spread / (power + spread))  # |t| / sqrt(2 alpha + t * t)
    return (1 + torch.where(cosine < 0, -size, size)) / 2


def one_hot(labels: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Target probabilities (N, classes) from labels (N,).

    Label smoothing (Szegedy et al. 2016, section 7) gives the true class 1 - smoothing
    and spreads the rest evenly over all classes, the true one included. Raises
    ValueError unless 0 <= smoothing < 1.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be in [0, 1), not {smoothing}")
    hot = F.one_hot(labels, classes).float()  # (N, classes)
    return hot * (1 - smoothing) + smoothing / classes


def _check(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a torch.Tensor, not {type(images).__name__}")
    if images.ndim != 4:
        raise ValueError(
            f"images must be a batch (N, C, H, W), not {tuple(images.shape)}; "
            "a single image needs a batch dimension: image[None]"
        )
    if images.shape[1] not in (1, 3):
        raise ValueError(
            "images must be (N, C, H, W) with 1 or 3 channels, not "
            f"{tuple(images.shape)}; channels at the end go to their place with "
            "images.permute(0, 3, 1, 2)"
        )
