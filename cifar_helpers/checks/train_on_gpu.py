"""TODO."""

import torch

from cifar_helpers.checks.framework import (
    Wrong,
    answer,
    exercise,
    require,
    require_close,
)


@exercise
def learning_rate_schedule(schedule) -> str:
    """Check `schedule(step, steps, warmup_steps)`: linear rise, then half a cosine."""
    import math

    def wanted(step, steps, warmup):
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2

    for steps, warmup in ((100, 20), (60, 0), (7, 3)):
        for step in range(steps):
            got = float(answer(schedule(step, steps, warmup)))
            want = wanted(step, steps, warmup)
            if abs(got - want) > 1e-6:
                hint = _why_schedule_fails(got, want, step, steps, warmup)
                raise Wrong(
                    f"With {steps} steps, {warmup} of them warm-up, the factor of step "
                    f"{step} should be {want:.4f}, yours is {got:.4f}. {hint}"
                )
    return (
        "Right. The line would reach 1 at step W, just where the cosine begins: no "
        "jump. Line and cosine both average to one half, so over a run the mean rate "
        "is half of the highest, however long the warm-up."
    )


def _why_schedule_fails(got, want, step, steps, warmup) -> str:
    """What probably went wrong at this step of the schedule."""
    import math

    def close(value):
        return abs(got - value) < 1e-6

    if step < warmup:
        if close(step / max(warmup, 1)) or close(step / (warmup + 1)):
            return "Step 0 would learn nothing: count from 1, so step + 1."
        if close((step + 1) / warmup):
            return "Divide by W + 1: then the factor 1 comes at step W, not before."
        if close((1 + math.cos(math.pi * step / steps)) / 2):
            return "This step is warm-up: use the line, not the cosine."
        return "In the warm-up the factor is (step + 1) / (W + 1)."
    if warmup and close((1 + math.cos(math.pi * step / steps)) / 2):
        return "The cosine starts after the warm-up: subtract W above and below."
    if warmup and close((1 + math.cos(math.pi * (step - warmup) / steps)) / 2):
        return "The decay has S - W steps, not S, so yours does not end at zero."
    progress = (step - warmup) / (steps - warmup)
    if close(math.cos(math.pi * progress)):
        return "A cosine runs from 1 to -1: lift it by 1 and halve it."
    if close(1 + math.cos(math.pi * progress)):
        return "A cosine lifted by 1 runs from 2 to 0: halve it."
    if close((1 + math.cos(math.radians(math.pi * progress))) / 2) or close(
        (1 + math.cos(progress)) / 2
    ):
        return "The angle goes from 0 to pi (in radians): multiply the progress by pi."
    if close((1 + math.cos(2 * math.pi * progress)) / 2):
        return "Half a cosine wave goes from 0 to pi, not to 2 pi."
    return "After the warm-up the progress is (step - W) / (S - W)."


@exercise
def label_smoothing(smoothed_target) -> str:
    """Check `smoothed_target(label, classes, smoothing)` -> probabilities."""
    for label, classes, smoothing in ((3, 10, 0.1), (0, 10, 0.0), (4, 5, 0.5)):
        got = answer(smoothed_target(label, classes, smoothing))
        case = f"For label {label} of {classes} classes and smoothing {smoothing}"
        require(
            isinstance(got, torch.Tensor) and got.shape == (classes,),
            f"{case}, return a tensor of shape ({classes},), not {got!r}.",
        )
        got = got.double()
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
    """Check `update_average(averaged, weights, decay)` against torch's own average."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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
        mine = answer(update_average([m.clone() for m in mine], weights, decay))
        require(
            isinstance(mine, (list, tuple)) and len(mine) == len(before),
            f"Return a list of {len(before)} tensors, one per weight tensor.",
        )
        mine = [answer(value) for value in mine]
        wanted = [value.detach() for value in average.module.parameters()]
        for got, old, new, want in zip(mine, before, weights, wanted, strict=True):
            hint = _why_average_fails(got, old, new, decay)
            require(not hint, f"Step {step}: {hint}")
            require_close(got, want, f"Step {step}: the average", tolerance=1e-6)
    return (
        "Right, and equal to torch's AveragedModel after three steps. Its first call "
        "copies the weights: an average that started at zero would be too small for a "
        "long time."
    )


def _why_average_fails(got, old, new, decay) -> str:
    """The typical mistakes in one update of a moving average, or an empty text."""
    if not isinstance(got, torch.Tensor) or got.shape != old.shape:
        return f"an average should be a tensor of shape {tuple(old.shape)}."
    mistakes = (
        ((1 - decay) * old + decay * new, "decay belongs to the old average, not to "
         "the new weights: yours forgets nearly everything in each step."),
        (decay * old + new, "the two shares must add up to 1: multiply the new "
         "weights by 1 - decay."),
        ((old + new) / 2, "old and new do not count the same: use decay."),
        (new, "these are the new weights; nothing is averaged."),
        (old, "the average has not changed."),
    )  # fmt: skip
    for value, hint in mistakes:
        if torch.allclose(got.double(), value, atol=1e-9):
            return hint
    return ""
