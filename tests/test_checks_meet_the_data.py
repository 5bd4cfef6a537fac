"""The checks of notebook 01 accept right answers, catch wrong ones, and say why."""

import pytest
import torch

from cifar_helpers.checks import meet_the_data as checks


def right_statistics(images):
    pixels = images.double() / 255
    return pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3))


def right_brightness(images, strength, generator):
    draw = torch.rand(len(images), 1, 1, 1, generator=generator)
    factors = 1 - strength + 2 * strength * draw
    return (images.float() * factors).round().clamp(0, 255).to(torch.uint8)


def brightness_with(shape, seeded=True, clamp=True, dtype=torch.uint8, spread=2.0):
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


RIGHT = [
    (checks.channel_statistics, right_statistics),
    (checks.images_needed, lambda a, h: (1.96 / h) ** 2 * a * (100 - a)),
    (checks.random_brightness, right_brightness),
]
WRONG = [
    (
        checks.channel_statistics,
        lambda images: (images.float().mean((0, 2, 3)), images.float().std((0, 2, 3))),
        "divide the bytes by 255",
    ),
    (
        checks.channel_statistics,
        lambda images: ((images / 255).mean(0), (images / 255).std(0)),
        "dim=(0, 2, 3)",
    ),
    (
        checks.channel_statistics,
        lambda images: (
            (images / 255).mean((0, 2, 3)),
            (images / 255).std((2, 3)).mean(0),
        ),
        "Pool all pixels",
    ),
    (
        checks.channel_statistics,
        lambda images: ((images / 255).mean((0, 2, 3)), (images / 255).var((0, 2, 3))),
        "square root",
    ),
    (
        checks.images_needed,
        lambda a, h: a * (100 - a) / h**2,
        "1.96 is missing",
    ),
    (
        checks.images_needed,
        lambda a, h: 1.96**2 * a / 100 * (1 - a / 100) / h**2,
        "divide both by 100",
    ),
    (
        checks.images_needed,
        lambda a, h: 1.96**2 * (a / 100 * (1 - a / 100)) ** 0.5 / (h / 100) ** 2,
        "p (1 - p) is the variance",
    ),
    (checks.images_needed, lambda a, h: 10_000, "should be about"),
    (checks.random_brightness, brightness_with((1, 1, 1, 1)), "All images"),
    (checks.random_brightness, brightness_with(("N", 3, 1, 1)), "its colour"),
    (checks.random_brightness, brightness_with(("N", 3, 4, 4)), "pixels of one image"),
    (
        checks.random_brightness,
        brightness_with(("N", 1, 1, 1), clamp=False),
        "wrapped around",
    ),
    (
        checks.random_brightness,
        brightness_with(("N", 1, 1, 1), dtype=torch.float32),
        "stay uint8",
    ),
    (
        checks.random_brightness,
        brightness_with(("N", 1, 1, 1), seeded=False),
        "generator=generator",
    ),
    (checks.random_brightness, brightness_with(("N", 1, 1, 1), spread=0.8), "evenly"),
    (checks.random_brightness, in_place, "return a new batch"),
]


@pytest.mark.parametrize(("check", "attempt"), RIGHT)
def test_right_answers_are_accepted(check, attempt):
    assert check(attempt).status == "solved"


@pytest.mark.parametrize("check", [check for check, _ in RIGHT])
def test_the_empty_stub_is_not_yet_solved(check):
    assert check(lambda *arguments: None).status == "not yet"


@pytest.mark.parametrize(("check", "attempt", "words"), WRONG)
def test_wrong_answers_get_the_right_hint(check, attempt, words):
    verdict = check(attempt)
    assert verdict.status == "wrong"
    assert words in verdict.message
