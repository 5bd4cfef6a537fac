"""Self-checks of notebook 01: statistics of the images, error bars, brightness."""

import torch

from cifar_helpers.checks.framework import (
    as_items,
    as_tensor,
    exercise,
    named,
    require,
    require_close,
)


@exercise
def channel_statistics(attempt) -> str:
    """`attempt(images)`: mean and standard deviation of each channel, 0 to 1.

    Takes uint8 images (N, 3, H, W), returns two tensors (3,).
    """
    generator = torch.Generator().manual_seed(1)
    offsets = torch.randint(0, 200, (40, 3, 1, 1), generator=generator)
    images = offsets + torch.randint(0, 56, (40, 3, 8, 6), generator=generator)
    images = images.to(torch.uint8)  # (40, 3, 8, 6), each with a brightness of its own
    wanted = "Return two tensors of shape (3,), (mean, standard deviation)"
    mean, std = as_items(attempt(images.clone()), 2, wanted)
    advice = "Reduce over images, rows and columns, dim=(0, 2, 3)."
    mean = as_tensor(mean, "The mean", (3,), advice)
    std = as_tensor(std, "The standard deviation", (3,), advice)
    require(float(mean.max()) <= 1, "The mean lies above 1: divide the bytes by 255.")
    pixels = images.double() / 255  # (N, 3, H, W)
    require_close(mean, pixels.mean(dim=(0, 2, 3)), "The mean")
    wanted, of_images = pixels.std(dim=(0, 2, 3)), pixels.std(dim=(2, 3))
    mistakes = {
        "You averaged the standard deviations of single images: that leaves out how "
        "much the images differ from each other. Pool all pixels.": of_images.mean(0),
        "This is how much the means of the images vary.": pixels.mean((2, 3)).std(0),
        "This is the variance: take its square root.": pixels.var(dim=(0, 2, 3)),
        "The standard deviation is still in bytes: divide by 255.": 255 * wanted,
    }
    require_close(std, wanted, "The standard deviation", mistakes, tolerance=1e-3)
    return (
        "Right. Six numbers describe 150 million bytes, and they come from the "
        "training images alone."
    )


@exercise
def images_needed(attempt) -> str:
    """`attempt(accuracy_percent, half_width_percent)`: images for a 95 % error bar."""
    for accuracy, half_width in ((90.0, 0.25), (90.0, 0.5), (50.0, 1.0), (86.5, 0.67)):
        p, half = accuracy / 100, half_width / 100
        wanted = 1.96**2 * p * (1 - p) / half**2
        mistakes = {
            "The 1.96 is missing, or not squared.": (wanted / 1.96**2, wanted / 1.96),
            "half_width_percent is in percent, p in fractions: divide both by 100.": (
                wanted / 100**2,
                wanted / 100,
                wanted * 100,
            ),
            "half_width_percent must be squared.": wanted * half,
            "p (1 - p) stands under the root already.": wanted / (p * (1 - p)) ** 0.5,
        }
        call = f"images_needed({accuracy}, {half_width})"
        got = attempt(accuracy, half_width)
        require_close(got, wanted, call, mistakes, tolerance=1e-3 * wanted)
    return (
        "Right. Half the error bar costs four times the images: CIFAR-10's 10,000 test "
        "images cannot settle a quarter of a percentage point."
    )


@exercise
def random_brightness(attempt) -> str:
    """`attempt(images, strength, generator)`: one random factor for each image.

    Takes and returns a uint8 batch (N, 3, H, W), clipped to a byte.
    """

    def run(images, strength, seed=0):
        return _batch(attempt(images, strength, torch.Generator().manual_seed(seed)))

    images = torch.full((64, 3, 4, 4), 100, dtype=torch.uint8)
    images[:, 1] = 50
    before = images.clone()
    got = run(images, 0.4)
    require(torch.equal(images, before), "You changed the input: return a new batch.")
    _require_one_factor_per_image(got)
    _require_range(got[:, 0, 0, 0] / 100, 0.4)
    require(
        torch.equal(run(images, 0.4), got)
        and not torch.equal(run(images, 0.4, seed=1), got),
        "The same generator state should give the same batch, and another one another: "
        "pass generator=generator to torch.rand.",
    )
    bright = run(torch.full((64, 3, 4, 4), 200, dtype=torch.uint8), 0.5)
    require(
        int(bright.min()) >= 98,
        "Bright pixels wrapped around and became dark: clamp to 255 before you turn "
        "them into bytes.",
    )
    return (
        "Right. Every image keeps its content and its label; the network learns that "
        "the light does not matter."
    )


def _batch(got) -> torch.Tensor:
    """The reader's batch as a double tensor (64, 3, 4, 4), if it holds bytes."""
    require(
        str(getattr(got, "dtype", None)) in ("torch.uint8", "uint8"),
        f"The batch should stay a uint8 tensor, yours is {named(got)}: round, clamp to "
        "0 … 255, then `.to(torch.uint8)`.",
    )
    return as_tensor(got, "The batch", (64, 3, 4, 4))


def _require_one_factor_per_image(got) -> None:
    """`got` (64, 3, 4, 4) came from red 100, green 50 and blue 100."""
    factors = got[:, 0] / 100  # (64, 4, 4)
    require(
        bool((factors == factors[:, :1, :1]).all()),
        "The pixels of one image got different factors: draw numbers of shape "
        "(N, 1, 1, 1).",
    )
    require(
        bool((factors != factors[:1]).any()),
        "All images got the same factor: draw one for each image, shape (N, 1, 1, 1).",
    )
    require(
        float((got[:, 1] - got[:, 0] / 2).abs().max()) <= 1,
        "The channels of one image got different factors: that changes its colour. "
        "Draw numbers of shape (N, 1, 1, 1).",
    )


def _require_range(factors, strength: float) -> None:
    low, high = float(factors.min()), float(factors.max())
    require(
        1 - strength - 0.011 <= low and high <= 1 + strength + 0.011,
        f"With strength {strength} the factors should lie between {1 - strength:.1f} "
        f"and {1 + strength:.1f}, yours go from {low:.2f} to {high:.2f}.",
    )
    require(
        low < 1 - strength / 2 and high > 1 + strength / 2,
        f"The factors should fill {1 - strength:.1f} to {1 + strength:.1f} evenly, "
        f"yours go only from {low:.2f} to {high:.2f}: torch.rand gives 0 to 1, stretch "
        "and shift it.",
    )
