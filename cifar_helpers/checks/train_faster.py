"""Self-checks of notebook 13: time of a mixed run, time to a target, a plan, sizes."""

import math

from cifar_helpers.checks.framework import (
    as_items,
    as_number,
    as_whole_numbers,
    exercise,
    question,
    require,
    require_close,
)

SMALL, FULL, SHARE, IMAGES = 3800, 2600, 0.7, 405_000  # as the exercise has them


@question
def mixed_run(attempt) -> str:
    """(images per second of the whole run, its minutes)."""
    wanted = "Give the pair (images per second, minutes)"
    rate, minutes = as_items(attempt, 2, wanted)
    right = 1 / (SHARE / SMALL + (1 - SHARE) / FULL)
    mistakes = {
        "That is the mean of the rates, weighted by images: average the seconds of "
        "an image, not the images of a second.": (SHARE * SMALL + (1 - SHARE) * FULL),
        "That is the mean of the two rates; 70 % of the images are small, and times "
        "add up, not rates.": (SMALL + FULL) / 2,
        "That is the rate of the small images alone.": float(SMALL),
        "Weigh the times by the shares: 70 % of the images are small.": (
            2 / (1 / SMALL + 1 / FULL)
        ),
        "You exchanged the shares: 70 % of the images are small ones.": (
            1 / ((1 - SHARE) / SMALL + SHARE / FULL)
        ),
    }
    otherwise = "Add up times."
    require_close(rate, right, "The rate", mistakes, otherwise, 5, secret=True)
    mistakes = {
        "Those are seconds: divide by 60.": IMAGES / right,
        "Those are hours: multiply by 60.": IMAGES / right / 3600,
    }
    wanted = IMAGES / right / 60
    require_close(minutes, wanted, "The minutes", mistakes, "", 0.01, secret=True)
    return (
        "Right: times add up, so rates are averaged by their inverses. The slower part "
        "weighs more than its share of the images."
    )


@exercise
def seconds_to_target(seconds_to) -> str:
    """`seconds_to(history, target)`: training time until it is reached, or -1."""
    seconds, accuracies = (40.0, 35.0, 35.0, 30.0), (70.0, 86.0, 86.5, 86.2)
    history = [
        {"epoch": i + 1, "seconds": s, "validation_accuracy_percent": a}
        for i, (s, a) in enumerate(zip(seconds, accuracies, strict=True))
    ]
    cases = ((86.48, 110.0), (86.0, 75.0), (60.0, 40.0), (90.0, -1.0))
    for target, wanted in cases:
        what = f"With the target {target} %, the time"
        got = as_number(seconds_to([dict(row) for row in history], target), what)
        first = next((i for i, a in enumerate(accuracies) if a >= target), None)
        mistakes = {}
        if first is not None:
            above = [i for i, a in enumerate(accuracies) if a > target]
            mistakes = {
                "Add up those of all epochs so far: a row has those of its own.": (
                    seconds[first]
                ),
                "At the target is there: use >=.": (
                    sum(seconds[: above[0] + 1]) if above else -1.0
                ),
                "That is the time of the whole run: stop at the first epoch that gets "
                "there.": sum(seconds),
                "The epoch that gets there takes its time, too.": sum(seconds[:first]),
                "That is the epoch's number, not its time.": float(first + 1),
            }
            mistakes = {
                h: v for h, v in mistakes.items() if not math.isclose(v, wanted)
            }
        otherwise = "It is -1 if no epoch gets there." if first is None else ""
        require_close(got, wanted, what, mistakes, otherwise, tolerance=1e-6)
    return (
        "Right. The first crossing counts, so a lucky epoch flatters a run a little; "
        "that is one reason for several seeds."
    )


@exercise
def plan_of_a_run(plan) -> str:
    """`plan(images, batch_size, images_per_second, seconds)`: (epochs, steps)."""
    cases = ((45_000, 256, 3000.0, 60.0), (1000, 300, 500.0, 9.5), (640, 64, 64.0, 5.0))
    for images, batch_size, rate, seconds in cases:
        case = (
            f"For {images:,} images in batches of {batch_size} at {rate:g} images/s, "
            f"and {seconds:g} s"
        )
        wanted = f"{case}: return the two whole numbers (epochs, steps)"
        result = plan(images, batch_size, rate, seconds)
        epochs, steps = as_whole_numbers(result, 2, wanted)
        fits = max(1, int(seconds * rate / images))
        mistakes = {
            "At least one epoch must be trained.": 0,
            "Rounded up, the run takes longer than there is time: round down.": (
                math.ceil(seconds * rate / images),
                round(seconds * rate / images),
            ),
        }
        mistakes = {
            hint: tuple(v for v in _tuple(values) if v != fits)
            for hint, values in mistakes.items()
        }
        require_close(epochs, fits, f"{case} the number of epochs", mistakes)
        mistakes = {
            "The short last batch of each epoch is a step, too: round up.": (
                fits * (images // batch_size)
            ),
            "Where the batches come out even there is no short one: round up, do not "
            "add one.": fits * (images // batch_size + 1),
            "Batches do not reach across epochs: round up in each epoch.": (
                math.ceil(fits * images / batch_size)
            ),
            "That is the number of steps of one epoch.": math.ceil(images / batch_size),
        }
        right = fits * math.ceil(images / batch_size)
        mistakes = {hint: v for hint, v in mistakes.items() if v != right}
        require_close(steps, right, f"{case} the number of steps", mistakes)
    return (
        "Right: the run keeps to its time, and the schedule ends with its last step, "
        "neither before it nor never."
    )


def _tuple(values) -> tuple:
    return values if isinstance(values, tuple) else (values,)


@question
def size_experiment(attempt) -> str:
    """(expected ratio, images/s at 16 x 16, images/s at 32 x 32)."""
    wanted = "Give three numbers (expected ratio, rate at 16, rate at 32)"
    parts = as_items(attempt, 3, wanted)
    whats = (
        "The ratio that you expected",
        "The rate at 16 x 16",
        "The rate at 32 x 32",
    )
    expected, small, full = (
        as_number(part, what) for part, what in zip(parts, whats, strict=True)
    )
    require(min(expected, small, full) > 0, "All three should be above zero.")
    ratio = small / full
    require(
        ratio > 0.7,
        "Small images should not train at far fewer images per second: did you "
        "exchange the two, or measure while something else kept the machine busy?",
    )
    require(
        ratio < 6,
        "A quarter of the pixels should not give more than about four times the speed: "
        "measure both with the same batch size, after a step that sets things up.",
    )
    near = "near" if abs(expected / ratio - 1) < 0.25 else "not near"
    if ratio < 1.3:
        why = (
            "Here the pixels are hardly what the time goes to: the update and the "
            "start of each operation take as long for small images."
        )
    elif ratio < 4:
        why = (
            "The pixels alone would give 4; what does not shrink with them (the "
            "update, the start of each operation) keeps it below."
        )
    else:
        why = "The pixels alone would give 4; something else helps small images, too."
    return (
        f"Measured: {ratio:.1f} times as many images per second, {near} your "
        f"{expected:g}. {why}"
    )
