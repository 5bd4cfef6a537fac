"""Pictures made worse in ways that no training image was, by severity.

Every function takes uint8 images (N, 3, H, W) and a strength, and returns new ones;
`corrupted` calls one by its name. They raise TypeError for another dtype, ValueError
for another shape, no image, or a strength out of range. `SEVERITIES` has five strengths
for each, those of CIFAR-10-C (Hendrycks & Dietterich 2019, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations", arXiv:1903.12261; constants of its
script for CIFAR-10). Its brightness shifts the value of HSV, so results with
`brightness` are not comparable with published ones.
"""

import io

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_noise(
    images: Tensor, std: float, generator: torch.Generator | None = None
) -> Tensor:
    """Add to every value a normal draw; `std` in units of the full range, 0 to 1."""
    _check(images, "std", std, 0, 1)
    draw = torch.randn(images.shape, generator=generator, device=images.device)
    return _to_bytes(images + 255 * std * draw)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur with a normal kernel of standard deviation `sigma` pixels, cut off at 3.

    Beyond the border the image goes on as its mirror image, which must be as large:
    `sigma` is at most a third of H and W, less one pixel.
    """
    _check_images(images)
    _check(images, "sigma", sigma, 0, (min(images.shape[-2:]) - 1) / 3)
    if sigma == 0:
        return images.clone()
    reach = max(1, round(3 * sigma))  # pixels to each side
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)  # (2 reach + 1,)
    weights /= weights.sum()
    values = F.pad(images.float(), (reach,) * 4, mode="reflect")
    for axis in (2, 3):  # the kernel is a product: down first, then across
        windows = values.unfold(axis, len(weights), 1)  # (N, 3, H, W', 2 reach + 1)
        values = windows @ weights
    return _to_bytes(values)


def low_contrast(images: Tensor, factor: float) -> Tensor:
    """Pull each image towards its mean, channel by channel: 1 keeps it, 0 is flat."""
    _check(images, "factor", factor, 0, 1)
    mean = images.float().mean(dim=(2, 3), keepdim=True)  # (N, 3, 1, 1)
    return _to_bytes(mean + factor * (images - mean))


def brightness(images: Tensor, shift: float) -> Tensor:
    """Add `shift`, in units of the full range, -1 to 1, to every value."""
    _check(images, "shift", shift, -1, 1)
    return _to_bytes(images.float() + 255 * shift)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Store each image as a JPEG of `quality` 1 to 100 and read it again."""
    from PIL import Image

    _check(images, "quality", quality, 1, 100)
    stored = []
    for image in images.permute(0, 2, 3, 1).cpu().numpy():  # (H, W, 3)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        stored.append(np.array(Image.open(file)))
    return torch.from_numpy(np.stack(stored)).permute(0, 3, 1, 2).to(images.device)


SEVERITIES = {  # corruption: the strengths of severity 1 to 5
    gaussian_noise: (0.04, 0.06, 0.08, 0.09, 0.10),
    gaussian_blur: (0.4, 0.6, 0.7, 0.8, 1.0),
    low_contrast: (0.75, 0.5, 0.4, 0.3, 0.15),
    brightness: (0.05, 0.1, 0.15, 0.2, 0.3),
    jpeg: (80, 65, 58, 50, 40),
}
NAMES = {  # as a figure or a table calls them
    "noise": gaussian_noise,
    "blur": gaussian_blur,
    "low contrast": low_contrast,
    "brightness": brightness,
    "JPEG": jpeg,
}


def corrupted(images: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """The images under the corruption `name` (of `NAMES`) at `severity` 1 to 5.

    `seed` is that of the noise: the same call gives the same images. Raises ValueError
    for another name or severity, and as the corruption itself does.
    """
    if name not in NAMES:
        raise ValueError(f"corruption must be one of {list(NAMES)}, got {name!r}")
    whole = isinstance(severity, (int, np.integer)) and not isinstance(severity, bool)
    if not whole or not 1 <= severity <= 5:
        raise ValueError(f"severity must be a whole number 1 to 5, got {severity!r}")
    _check_images(images)
    corruption = NAMES[name]
    strength = SEVERITIES[corruption][severity - 1]
    if corruption is gaussian_noise:
        draw = torch.Generator(images.device).manual_seed(seed)
        return corruption(images, strength, draw)
    return corruption(images, strength)


def _to_bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _check(images: Tensor, name: str, strength: float, least, most) -> None:
    _check_images(images)
    if not least <= strength <= most:
        raise ValueError(f"{name} must be in {least:g} … {most:g}, not {strength}")


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        raise TypeError("a corruption takes uint8 images: spoil before normalizing")
    if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
        raise ValueError(
            f"images must be (N, 3, H, W), at least one, not {tuple(images.shape)}"
        )
