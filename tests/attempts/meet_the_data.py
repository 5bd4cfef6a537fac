"""Attempts at the exercises of notebook 01."""

import torch

from cifar_helpers.checks import meet_the_data as checks


def statistics(std, mean=lambda pixels: pixels.mean((0, 2, 3))):
    """Mean and standard deviation by two functions of the pixels, 0 to 1."""
    return lambda images: (mean(images.double() / 255), std(images.double() / 255))


def right_brightness(images, strength, generator):
    draw = torch.rand(len(images), 1, 1, 1, generator=generator)
    factors = 1 - strength + 2 * strength * draw
    return (images.float() * factors).round().clamp(0, 255).to(torch.uint8)


def brightness(shape, seeded=True, clamp=True, dtype=torch.uint8, spread=2.0):
    """A `random_brightness` with one thing wrong."""

    def attempt(images, strength, generator):
        sizes = [len(images) if size == "N" else size for size in shape]
        draw = torch.rand(sizes, generator=generator if seeded else None)
        product = (images * (1 + strength * spread * (draw - 0.5))).round()
        product = product.clamp(0, 255) if clamp else product % 256
        return product.to(dtype)

    return attempt


def in_place(images, strength, generator):
    images.copy_(right_brightness(images, strength, generator))
    return images


EACH = ("N", 1, 1, 1)
STATISTICS, NEEDED = checks.channel_statistics, checks.images_needed
BRIGHTNESS = checks.random_brightness
RIGHT = [
    (STATISTICS, statistics(lambda pixels: pixels.std((0, 2, 3)))),
    (NEEDED, lambda a, h: (1.96 / h) ** 2 * a * (100 - a)),
    (BRIGHTNESS, right_brightness),
]
WRONG = [
    (
        STATISTICS,
        lambda images: (images.float().mean((0, 2, 3)), images.float().std((0, 2, 3))),
        "divide the bytes by 255",
    ),
    (
        STATISTICS,
        statistics(lambda pixels: pixels.std(0), lambda pixels: pixels.mean(0)),
        "of shape (3,)",
        "dim=(0, 2, 3)",
    ),
    (STATISTICS, statistics(lambda p: p.std((2, 3)).mean(0)), "Pool all pixels"),
    (STATISTICS, statistics(lambda p: p.mean((2, 3)).std(0)), "the means of the image"),
    (STATISTICS, statistics(lambda p: p.var((0, 2, 3))), "square root"),
    (STATISTICS, statistics(lambda p: 255 * p.std((0, 2, 3))), "still in bytes"),
    (NEEDED, lambda a, h: a * (100 - a) / h**2, "1.96 is missing"),
    (NEEDED, lambda a, h: 1.96**2 * a * (1 - a / 100) / h**2 / 100, "both by 100"),
    (NEEDED, lambda a, h: 1.96**2 * a * (1 - a / 100) / h, "must be squared"),
    (
        NEEDED,
        lambda a, h: 1.96**2 * (a / 100 * (1 - a / 100)) ** 0.5 / (h / 100) ** 2,
        "p (1 - p) stands under the root",
    ),
    (NEEDED, lambda a, h: 10_000, "should be 55,319, yours is 10,000"),
    (BRIGHTNESS, brightness((1, 1, 1, 1)), "All images"),
    (BRIGHTNESS, brightness(("N", 3, 1, 1)), "its colour"),
    (BRIGHTNESS, brightness(("N", 3, 4, 4)), "pixels of one image"),
    (BRIGHTNESS, brightness(EACH, clamp=False), "wrapped around"),
    (BRIGHTNESS, brightness(EACH, dtype=torch.float32), "stay a uint8 tensor"),
    (BRIGHTNESS, brightness(EACH, seeded=False), "generator=generator"),
    (BRIGHTNESS, brightness(EACH, spread=0.8), "evenly"),
    (BRIGHTNESS, brightness(EACH, spread=3), "should lie between 0.6 and 1.4"),
    (BRIGHTNESS, in_place, "return a new batch"),
]
