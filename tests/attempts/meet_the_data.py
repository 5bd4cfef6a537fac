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


def normal_brightness(images, strength, generator):
    draw = torch.randn(len(images), 1, 1, 1, generator=generator).clamp(-1, 1)
    return (images * (1 + strength * draw)).round().clamp(0, 255).to(torch.uint8)


def in_place(images, strength, generator):
    images.copy_(right_brightness(images, strength, generator))
    return images


EACH = ("N", 1, 1, 1)
STATISTICS, PAIRED = checks.channel_statistics, checks.paired_half_widths
SCRAMBLED = checks.scrambled_pixels
BRIGHTNESS = checks.random_brightness
RIGHT = [
    (STATISTICS, statistics(lambda pixels: pixels.std((0, 2, 3)))),
    (PAIRED, (0.5, 0.78)),
    (PAIRED, (0.4997, 0.7832)),
    (SCRAMBLED, ("network", 38.0, 38.3, 50.4, 41.5)),
    (SCRAMBLED, ("both", 38.0, 35.9, 50, 36)),
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
    (PAIRED, (0.255, 0.783), "1.96 is missing"),
    (PAIRED, (0.1634, 0.783), "Add the shares"),
    (PAIRED, (0.005, 0.783), "Give points"),
    (PAIRED, (0.0013, 0.783), "root is missing"),
    (PAIRED, (0.783, 0.5), "value for different images"),
    (PAIRED, (0.5, 1.1074), "right angle"),
    (PAIRED, (0.25, 0.78), "1.96 is missing"),  # to two decimals, as the text asks
    (PAIRED, (0.5, 0.54), "half width of one accuracy"),
    (PAIRED, (0.5, 0.79), "0.79 is not right"),
    (PAIRED, (0.5, 0.5436), "half width of one accuracy"),
    (PAIRED, (0.5, 0.5635), "half width of one accuracy"),
    (PAIRED, (0.5, 0.149), "you subtracted them"),
    (PAIRED, (0.5, 0.4), "1.96 is missing"),
    (PAIRED, (0.5, 0.0078), "Give points"),
    (PAIRED, (0.5, 0.65), "0.65 is not right"),
    (SCRAMBLED, ("none", 38, 38.3, 50, 41), "one of", "not 'none'"),
    (SCRAMBLED, ("network", 0.38, 0.383, 0.5, 0.41), "not a fraction"),
    (SCRAMBLED, ("network", 38, 11.0, 50, 10.5), "in the same order"),
    (SCRAMBLED, ("network", 38, 38.4, 41, 50), "after minus before"),
    (SCRAMBLED, ("network", 38, 35.5, 50, 48.5), "Did you swap"),
    (SCRAMBLED, ("network", 38, 38.4, 50, 410), "should not occur"),
    (SCRAMBLED, ("network", 38, 41), "Give five things"),
    (BRIGHTNESS, brightness((1, 1, 1, 1)), "All images"),
    (BRIGHTNESS, brightness(("N", 3, 1, 1)), "its colour"),
    (BRIGHTNESS, brightness(("N", 3, 4, 4)), "pixels of one image"),
    (BRIGHTNESS, brightness(EACH, clamp=False), "wrapped around"),
    (BRIGHTNESS, brightness(EACH, dtype=torch.float32), "stay a uint8 tensor"),
    (BRIGHTNESS, brightness(EACH, seeded=False), "generator=generator"),
    (BRIGHTNESS, brightness(EACH, spread=0.8), "evenly"),
    (BRIGHTNESS, brightness(EACH, spread=3), "should lie between 0.6 and 1.4"),
    (BRIGHTNESS, normal_brightness, "equally often"),
    (BRIGHTNESS, in_place, "return a new batch"),
]
