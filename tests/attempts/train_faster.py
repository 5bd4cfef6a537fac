"""Attempts at the exercises of notebook 13."""

import math
from itertools import accumulate

from cifar_helpers.checks import train_faster as checks


def crossing(history, target):
    """By running sums."""
    sums = accumulate(row["seconds"] for row in history)
    for row, total in zip(history, sums, strict=True):
        if row["validation_accuracy_percent"] >= target:
            return total
    return -1


def crossing_backwards(history, target):
    """By cutting the history at its first good row."""
    good = [
        i for i, r in enumerate(history) if r["validation_accuracy_percent"] >= target
    ]
    return sum(r["seconds"] for r in history[: good[0] + 1]) if good else -1


def one_epoch_only(history, target):
    return next((r["seconds"] for r in history if _good(r, target)), -1)


def above_only(history, target):
    total = 0
    for row in history:
        total += row["seconds"]
        if row["validation_accuracy_percent"] > target:
            return total
    return -1


def whole_run(history, target):
    good = any(_good(row, target) for row in history)
    return sum(row["seconds"] for row in history) if good else -1


def before_it(history, target):
    total = 0
    for row in history:
        if _good(row, target):
            return total
        total += row["seconds"]
    return -1


def always_some(history, target):
    found = crossing(history, target)
    return found if found > 0 else 140.0


def _good(row, target):
    return row["validation_accuracy_percent"] >= target


def plan(epochs=None, steps=None):
    """A plan with a part of one's own."""

    def both(images, batch_size, rate, seconds):
        many = seconds * rate / images
        count = epochs(many) if epochs else max(1, int(many))
        each = -(-images // batch_size)
        return count, steps(count, images, batch_size) if steps else count * each

    return both


MIXED, TARGET = checks.mixed_run, checks.seconds_to_target
PLAN, SIZES = checks.plan_of_a_run, checks.size_experiment
RATE = 3800 * 2600 / (0.7 * 2600 + 0.3 * 3800)
RIGHT = [
    (MIXED, (RATE, 405_000 / RATE / 60)),
    (TARGET, crossing),
    (TARGET, crossing_backwards),
    (PLAN, plan()),
    (PLAN, plan(lambda many: max(1, math.floor(many)))),
    (SIZES, (4.0, 4100.0, 1500.0)),
    (SIZES, (2.5, 4000.0, 1600.0)),
    (SIZES, (4.0, 950.0, 1000.0)),  # where the start of operations takes the time
    (SIZES, (4.0, 5000.0, 1000.0)),
    (MIXED, (3340.0, 2.02)),
]
WRONG = [
    (MIXED, (0.7 * 3800 + 0.3 * 2600, 2.0), "weighted by images"),
    (MIXED, (3200.0, 2.1), "times add up"),
    (MIXED, (3800.0, 1.8), "small images alone"),
    (MIXED, (1 / (0.3 / 3800 + 0.7 / 2600), 2.3), "exchanged the shares"),
    (MIXED, (RATE, 405_000 / RATE), "divide by 60"),
    (MIXED, (RATE, 405_000 / RATE / 3600), "multiply by 60"),
    (MIXED, (RATE, 3.0), "The minutes: 3 is not right"),
    (MIXED, (2 / (1 / 3800 + 1 / 2600), 2.0), "by the shares"),
    (TARGET, one_epoch_only, "of all epochs so far"),
    (TARGET, above_only, "use >="),
    (TARGET, whole_run, "stop at the first epoch"),
    (TARGET, before_it, "takes its time, too"),
    (TARGET, lambda history, target: 3.0, "epoch's number"),
    (TARGET, always_some, "-1 if no epoch"),
    (PLAN, plan(math.ceil), "round down"),
    (PLAN, plan(round), "the number of epochs"),
    (PLAN, plan(lambda many: max(1, round(many))), "Rounded up"),
    (PLAN, plan(int), "At least one epoch"),
    (PLAN, plan(steps=lambda e, n, b: e * (n // b)), "is a step, too"),
    (PLAN, plan(steps=lambda e, n, b: e * (n // b + 1)), "do not add one"),
    (PLAN, plan(steps=lambda e, n, b: -(-e * n // b)), "do not reach across"),
    (PLAN, plan(steps=lambda e, n, b: -(-n // b)), "of one epoch"),
    (PLAN, lambda *arguments: 3, "return the two whole numbers"),
    (SIZES, (4.0, 1500.0, 4100.0), "exchange the two"),
    (SIZES, (4.0, 9000.0, 1000.0), "four times"),
    (SIZES, (0.0, 4000.0, 1500.0), "above zero"),
]
