"""Self-checks of notebook 01: statistics, intervals, scrambled pixels, brightness."""

import math

import torch

from cifar_helpers.checks.framework import (
    as_accuracy,
    as_choice,
    as_items,
    as_tensor,
    exercise,
    named,
    question,
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
        "Right. The copied numbers are the mean of the images' own standard "
        "deviations: they leave out that some images are brighter than others."
    )


@question
def paired_half_widths(widths) -> str:
    """Half widths of a difference's interval: (same images, different images)."""
    wanted = "Give two numbers of points, (same images, different images)"
    paired, unpaired = as_items(widths, 2, wanted)
    images, only_a, only_b = 10_000, 0.036, 0.029  # shares of the images
    difference = only_a - only_b
    spread = only_a + only_b
    right = 196 * math.sqrt((spread - difference**2) / images)  # points
    errors = [196 * math.sqrt(p * (1 - p) / images) for p in (0.916, 0.909)]
    mistakes = {
        "The 1.96 is missing.": _also_rounded(right / 1.96),
        "Add the shares of the images on which only one is right, a + b, before you "
        "subtract (a - b)².": 196 * math.sqrt((difference - difference**2) / images),
        "Give points, not a fraction: times 100.": right / 100,
        "The root is missing.": 196 * (spread - difference**2) / images,
        "This is the value for different images.": math.hypot(*errors),
    }
    what = "The half width for the same images"
    require_close(paired, right, what, mistakes, tolerance=0.0035, secret=True)
    mistakes = {
        "The two half widths add like the sides of a right angle: square them, add, "
        "take the root.": sum(errors),
        "This is the half width of one accuracy.": _also_rounded(*errors),
        "Add the squares of the half widths; you subtracted them.": math.sqrt(
            abs(errors[0] ** 2 - errors[1] ** 2)
        ),
        "The 1.96 is missing.": math.hypot(*errors) / 1.96,
        "Give points, not a fraction: times 100.": math.hypot(*errors) / 100,
    }
    what = "The half width for different images"
    require_close(
        unpaired, math.hypot(*errors), what, mistakes, tolerance=0.0035, secret=True
    )
    return (
        "Right. The difference is 0.7 points. On the same images its interval, ±0.5, "
        "excludes zero; with different images it would be ±0.8, and say nothing."
    )


def _also_rounded(*values: float) -> tuple:
    """The values, and each with the two decimals that the text asks for."""
    return values + tuple(round(value, 2) for value in values)


EXPECTATIONS = ("linear", "network", "both", "neither")


@question
def scrambled_pixels(result) -> str:
    """Accuracies in percent, before and after the pixels were scrambled.

    Takes (expected, linear before, linear after, network before, network after).
    """
    wanted = "Give five things, (expected, *linear, *network)"
    expected, *accuracies = as_items(result, 5, wanted)
    as_choice(expected, EXPECTATIONS, "What you expected")
    before, linear, network_before, network = map(as_accuracy, accuracies)
    linear, network = linear - before, network - network_before  # points
    require(
        abs(linear) < 5,
        f"The linear classifier changed by {linear:+.1f} points. It should hardly "
        "change: a weight moves with its pixel. Did you scramble training and "
        "validation images in the same order, and train on as many as before?",
    )
    require(
        network < 0,
        f"The network changed by {network:+.1f} points; it should have lost. Did you "
        "train a new one on scrambled images, and count after minus before?",
    )
    require(
        network < linear - 1,
        "The network should have lost more than the linear classifier. Did you swap "
        "the two, or judge the old networks?",
    )
    held = "as you expected" if expected == "network" else f'not "{expected}"'
    return (
        f"Right, {held}: the linear classifier cannot know which pixels are "
        "neighbours, so it misses nothing; the network's small filters live on it."
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
    many = torch.cat([run(images, 0.4, seed)[:, 0, 0, 0] for seed in range(40)]) / 100
    quarters = torch.histc(many, 4, 0.595, 1.405) / len(many)  # of 2,560 factors
    require(
        bool((quarters > 0.2).all()),
        "Not all factors from 0.6 to 1.4 are drawn equally often: take torch.rand, "
        "which is even, and nothing that gathers in the middle or at the ends.",
    )
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
