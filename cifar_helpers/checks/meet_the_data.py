"""TODO."""

import torch

from cifar_helpers.checks.framework import answer, exercise, require, require_close


@exercise
def channel_statistics(attempt):
    """Mean and standard deviation of each channel, over a whole set of images."""
    generator = torch.Generator().manual_seed(1)
    offsets = torch.randint(0, 200, (40, 3, 1, 1), generator=generator)
    images = offsets + torch.randint(0, 56, (40, 3, 8, 6), generator=generator)
    images = images.to(torch.uint8)  # (40, 3, 8, 6), each with a brightness of its own
    mean, std = answer(attempt(images.clone()))
    mean, std = torch.as_tensor(mean).double(), torch.as_tensor(std).double()
    for name, value in (("mean", mean), ("standard deviation", std)):
        require(
            value.shape == (3,),
            f"The {name} should have shape (3,), one number per channel, got "
            f"{tuple(value.shape)}: reduce over images, rows and columns, "
            "dim=(0, 2, 3).",
        )
    require(
        float(mean.max()) <= 1,
        "The mean lies above 1: divide the bytes by 255.",
    )
    pixels = images.double() / 255  # (N, 3, H, W)
    require_close(mean, pixels.mean(dim=(0, 2, 3)), "The mean")
    mistakes = {
        "You averaged the standard deviations of single images: that leaves out how "
        "much the images differ from each other. Pool all pixels.": pixels.std(
            dim=(2, 3)
        ).mean(0),
        "This is how much the means of the images vary: pool all pixels "
        "instead.": pixels.mean(dim=(2, 3)).std(0),
        "This is the variance: take its square root.": pixels.var(dim=(0, 2, 3)),
        "The standard deviation is still in bytes: divide it by 255 too.": 255
        * pixels.std(dim=(0, 2, 3)),
    }
    for hint, wrong in mistakes.items():
        require(not torch.allclose(std, wrong, rtol=1e-3), hint)
    require_close(std, pixels.std(dim=(0, 2, 3)), "The standard deviation", 1e-3)
    return (
        "Right. Six numbers describe 150 million bytes, and they come from the "
        "training images alone."
    )


@exercise
def images_needed(attempt):
    """How many images an accuracy needs for a given error bar; percentages in."""
    for accuracy, half_width in ((90.0, 0.25), (90.0, 0.5), (50.0, 1.0), (86.5, 0.67)):
        got = float(answer(attempt(accuracy, half_width)))
        share, half = accuracy / 100, half_width / 100
        wanted = 1.96**2 * share * (1 - share) / half**2
        call = f"images_needed({accuracy}, {half_width})"
        mistakes = {
            "the 1.96 is missing, or not squared.": (
                wanted / 1.96**2,
                wanted / 1.96,
            ),
            "half_width_percent is in percent, p in fractions: divide both by 100.": (
                wanted / 100**2,
                wanted / 100,
                wanted * 100,
            ),
            "half_width_percent must be squared: solve the formula for n.": (
                wanted * half,
            ),
            "p (1 - p) is the variance: it stands under the root already.": (
                wanted / (share * (1 - share)) ** 0.5,
            ),
        }
        for hint, values in mistakes.items():
            for value in values:
                require(abs(got - value) > 1e-3 * value + 1, f"{call}: {hint}")
        require(
            abs(got - wanted) <= 1e-3 * wanted + 1,
            f"{call} should be about {wanted:,.0f}, yours is {got:,.0f}.",
        )
    return (
        "Right. Half the error bar costs four times the images: CIFAR-10's 10,000 test "
        "images cannot settle a quarter of a percentage point."
    )


@exercise
def random_brightness(attempt):
    """One random factor per image of a uint8 batch, clipped to a byte."""

    def run(images, strength, seed=0):
        return answer(attempt(images, strength, torch.Generator().manual_seed(seed)))

    images = torch.full((64, 3, 4, 4), 100, dtype=torch.uint8)
    images[:, 1] = 50
    before = images.clone()
    got = run(images, 0.4)
    require(torch.equal(images, before), "You changed the input: return a new batch.")
    _require_one_factor_per_image(got)
    _require_range(got[:, 0, 0, 0].double() / 100, 0.4)
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


def _require_one_factor_per_image(got) -> None:
    """`got` came from red 100, green 50 and blue 100, as uint8 (64, 3, 4, 4)."""
    require(
        got.dtype == torch.uint8,
        f"The batch should stay uint8, yours is {got.dtype}: round, clamp to 0 … 255, "
        "then `.to(torch.uint8)`.",
    )
    require(
        got.shape == (64, 3, 4, 4),
        f"The shape should stay (64, 3, 4, 4), got {tuple(got.shape)}.",
    )
    factors = got[:, 0].double() / 100  # (64, 4, 4)
    require(
        bool((factors == factors[:, :1, :1]).all()),
        "The pixels of one image got different factors: draw numbers of shape "
        "(N, 1, 1, 1).",
    )
    require(
        bool((factors != factors[:1]).any()),
        "All images got the same factor: draw one for each image, shape (N, 1, 1, 1).",
    )
    colours = (got[:, 1].double() - got[:, 0].double() / 2).abs()
    require(
        float(colours.max()) <= 1,
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
