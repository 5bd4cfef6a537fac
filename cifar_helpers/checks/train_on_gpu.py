"""Self-checks of notebook 10: schedule, label smoothing, average of the weights."""

import math

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cifar_helpers.checks.framework import (
    as_items,
    as_tensor,
    exercise,
    require,
    require_close,
)


@exercise
def learning_rate_schedule(schedule) -> str:
    """`schedule(step, steps, warmup_steps)`: linear rise to 1, then half a cosine."""
    for steps, warmup in ((100, 20), (60, 0), (7, 3)):
        for step in range(steps):
            if step < warmup:
                wanted = (step + 1) / (warmup + 1)
                mistakes = _warmup_mistakes(step, steps, warmup)
                otherwise = "In the warm-up the factor is (step + 1) / (W + 1)."
            else:
                wanted = _cosine((step - warmup) / (steps - warmup))
                mistakes = _decay_mistakes(step, steps, warmup)
                otherwise = "After the warm-up the progress is (step - W) / (S - W)."
            what = (
                f"With {steps} steps and {warmup} of warm-up, the factor of step {step}"
            )
            got = schedule(step, steps, warmup)
            require_close(got, wanted, what, mistakes, otherwise, tolerance=1e-6)
    return (
        "Right. The line would reach 1 at step W, just where the cosine begins: no "
        "jump. Line and cosine both average to one half, so over a run the mean rate "
        "is half of the highest, however long the warm-up."
    )


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _warmup_mistakes(step: int, steps: int, warmup: int) -> dict:
    return {
        "Step 0 would learn nothing: count from 1, so step + 1.": (
            step / warmup,
            step / (warmup + 1),
        ),
        "Divide by W + 1: the factor is 1 at step W, not before.": (step + 1) / warmup,
        "This step is warm-up: use the line, not the cosine.": _cosine(step / steps),
    }


def _decay_mistakes(step: int, steps: int, warmup: int) -> dict:
    progress = (step - warmup) / (steps - warmup)
    return {
        "The cosine starts after the warm-up: subtract W above and below.": (
            _cosine(step / steps)
        ),
        "The decay has S - W steps, not S, so yours does not end at zero.": (
            _cosine((step - warmup) / steps)
        ),
        "A cosine runs from 1 to -1: lift and halve it.": math.cos(math.pi * progress),
        "A cosine lifted by 1 runs from 2 to 0: halve it.": 2 * _cosine(progress),
        "The angle goes from 0 to pi (in radians): multiply the progress by pi.": (
            _cosine(progress / math.pi),
            _cosine(progress / 180 * math.pi),
        ),
        "Half a cosine wave goes from 0 to pi, not to 2 pi.": _cosine(2 * progress),
    }


@exercise
def label_smoothing(smoothed_target) -> str:
    """`smoothed_target(label, classes, smoothing)`: probabilities (classes,)."""
    for label, classes, smoothing in ((3, 10, 0.1), (0, 10, 0.0), (4, 5, 0.5)):
        case = f"For label {label} of {classes} classes and smoothing {smoothing}"
        got = smoothed_target(label, classes, smoothing)
        got = as_tensor(got, f"{case} the result", (classes,))
        true, other = got[label].item(), got[(label + 1) % classes].item()
        require(
            abs(other - smoothing / (classes - 1)) > 1e-6 or smoothing == 0,
            f"{case}: you spread the share over the other {classes - 1} classes only. "
            "The formula spreads it over all K, the true one included.",
        )
        require(
            abs(true - (1 - smoothing)) > 1e-6 or smoothing == 0,
            f"{case}: the true class gets its part of the spread share, too: "
            "(1 - smoothing) + smoothing / classes.",
        )
        require(
            abs(got.sum().item() - 1) < 1e-6,
            f"{case}, your probabilities sum to {got.sum().item():.4g}, not to 1: what "
            "is added to all classes must be taken away from the true one.",
        )
        wanted = torch.full((classes,), smoothing / classes, dtype=torch.float64)
        wanted[label] += 1 - smoothing
        require_close(got, wanted, f"{case}, the probability", tolerance=1e-6)
    return (
        "Right. However you choose the share below 1, the true class stays the most "
        "probable, so smoothing never changes what the right answer is."
    )


@exercise
def weight_average(update_average) -> str:
    """`update_average(averaged, weights, decay)`: the list of new averages.

    `averaged` and `weights` are lists of tensors of the same shapes.
    """
    decay, generator = 0.9, torch.Generator().manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    average.update_parameters(model)  # the first call only copies the weights
    mine = [weight.detach().clone() for weight in model.parameters()]
    for step in range(1, 4):
        with torch.no_grad():
            for weight in model.parameters():
                shape = weight.shape
                weight.copy_(torch.randn(shape, generator=generator).double())
        average.update_parameters(model)
        before, weights = mine, [w.detach().clone() for w in model.parameters()]
        result = update_average(
            [m.clone() for m in before], [w.clone() for w in weights], decay
        )
        wanted = f"Return a list of {len(before)} tensors, one per weight tensor"
        mine = as_items(result, len(before), wanted)
        for i, want in enumerate(average.module.parameters()):
            old, new = before[i], weights[i]
            mistakes = {
                "decay belongs to the old average, not to the new weights: yours "
                "forgets nearly all in each step.": (1 - decay) * old + decay * new,
                "The two shares must add up to 1: multiply the new weights by "
                "1 - decay.": decay * old + new,
                "Old and new do not count the same: use decay.": (old + new) / 2,
                "These are the new weights; nothing is averaged.": new,
                "The average has not changed.": old,
            }
            what = f"Step {step}: the average of tensor {i}"
            mine[i] = require_close(mine[i], want, what, mistakes, tolerance=1e-6)
    return (
        "Right, and equal to torch's AveragedModel after three steps. Its first call "
        "copies the weights: an average that started at zero would be too small for a "
        "long time."
    )
