"""Self-checks of notebook 10: a repaired loop, parts of a batch, scales, batches."""

import torch
from torch import nn
from torch.nn import functional as F

from cifar_helpers.checks.framework import (
    NotYet,
    as_items,
    as_number,
    as_whole_number,
    as_whole_numbers,
    exercise,
    exercise_in_place,
    question,
    reject_mistakes,
    require,
    require_close,
)

RATE = 0.5  # of the small network that the checks train


def _batches() -> list:
    """Ten rows of three numbers in batches of 4, 4 and 2, with two classes."""
    inputs = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(10) % 2
    return list(zip(inputs.split(4), labels.split(4), strict=True))


def _network() -> nn.Module:
    """A linear layer and LogSoftmax, with weights of 0.1, 0.2, …"""
    model = nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(dim=1)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            count = torch.arange(1.0, parameter.numel() + 1).view_as(parameter)
            parameter.copy_(0.1 * count)
    return model


def _weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def _epoch(clear: bool) -> tuple[torch.Tensor, list[float]]:
    """Weights after an epoch of SGD by hand, and the mean loss of each batch."""
    model, losses = _network(), []
    sums = [torch.zeros_like(p) for p in model.parameters()]
    for inputs, labels in _batches():
        loss = -model(inputs).gather(1, labels[:, None]).mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        losses.append(loss.item())
        with torch.no_grad():
            for p, total, g in zip(model.parameters(), sums, gradients, strict=True):
                total.copy_(g if clear else total + g)
                p -= RATE * total
    return _weights(model), losses


@exercise
def training_epoch(epoch) -> str:
    """`epoch(model, optimizer, batches)`: trains once, returns an image's mean loss.

    `batches` is a list of pairs (inputs, labels); the last one is shorter.
    """
    model, batches = _network(), _batches()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    result = epoch(model, optimizer, batches)
    mean_loss = as_number(result, "What you return")
    weights, losses = _weights(model), _epoch(clear=True)[1]
    require(
        not torch.equal(weights, _weights(_network())),
        "The weights have not moved: each batch must end in optimizer.step(), with the "
        "gradients still there.",
    )
    mistakes = {
        "The gradients are not cleared between batches: each batch's are added to "
        "those of all batches before. Call optimizer.zero_grad() once a batch, before "
        "backward().": _epoch(clear=False)[0]
    }
    wanted, _ = _epoch(clear=True)
    require_close(
        weights,
        wanted,
        "The weight",
        mistakes,
        "One step a batch, in the order given, from the gradient of that batch's mean "
        "loss alone.",
        tolerance=1e-6,
    )
    sizes = [len(labels) for _, labels in batches]
    total = sum(n * loss for n, loss in zip(sizes, losses, strict=True))
    mistakes = {
        "That is the mean of the batches' means: the two images of the last batch "
        "count twice as much as the others. Sum over images, divide once.": (
            sum(losses) / len(losses)
        ),
        "That is the sum over all images: divide by their number.": total,
        "That is a sum over batches.": sum(losses),
        "That is the last batch's loss alone.": losses[-1],
    }
    require_close(mean_loss, total / sum(sizes), "The loss", mistakes, tolerance=1e-6)
    return (
        "Right: the gradients are cleared once a batch, and every image counts once in "
        "the loss that you report, whichever batch it was in."
    )


@exercise_in_place
def accumulated_gradient(accumulate) -> str:
    """`accumulate(model, batches)`: fills `.grad` as one large batch would.

    The model's `.grad` are empty at first; `batches` as in `training_epoch`.
    """
    model, batches = _network(), _batches()
    sizes, backwards = [], []  # of each pass through the model

    def count(_, given, named):
        sizes.append(len([*given, *named.values()][0]))

    model.register_forward_pre_hook(count, with_kwargs=True)
    next(model.parameters()).register_hook(backwards.append)
    accumulate(model, batches)
    gradients = [p.grad for p in model.parameters()]
    if all(gradient is None for gradient in gradients):
        raise NotYet
    require(
        torch.equal(_weights(model), _weights(_network())),
        "The weights have moved: gradients only, no step.",
    )
    require(
        all(gradient is not None for gradient in gradients),
        "Every parameter must get its gradient: call backward() on the loss.",
    )
    images = sum(len(labels) for _, labels in batches)
    require_close(
        torch.cat([gradient.flatten() for gradient in gradients]),
        _gradient_of(batches, lambda n: 1 / images),
        "The gradient",
        _wrong_gradients(batches, images),
        "The sum over the parts of (their share of all images) x (their mean loss).",
        tolerance=1e-6,
    )
    largest = max(len(labels) for _, labels in batches)
    require(
        max(sizes, default=0) <= largest and len(backwards) >= len(batches),
        "The gradient is right, but all images were in memory at once: let each part "
        "go through the model by itself, and call backward() for each.",
    )
    return (
        "Right: the same gradient as that of all images at once, in the memory of the "
        "largest part."
    )


def _wrong_gradients(batches: list, images: int) -> dict:
    """What goes wrong with parts of a batch, and the gradient that it leads to."""
    parts = len(batches)
    last = _gradient_of(batches[-1:], lambda n: 1 / n)
    return {
        "You added the parts' mean gradients: that is as many times too long as there "
        "are parts.": _gradient_of(batches, lambda n: 1 / n),
        "You weighted all parts alike, and the last has fewer images: a part counts by "
        "its share of all images.": _gradient_of(batches, lambda n: 1 / n / parts),
        "That is the gradient of the sum over all images: divide by their number.": (
            _gradient_of(batches, lambda n: 1.0)
        ),
        "That is the last part's gradient alone: call backward() for each part, and "
        "clear nothing in between.": (last, last * len(batches[-1][1]) / images),
    }


def _gradient_of(batches: list, share) -> torch.Tensor:
    """Of the sum of all images' losses, each times `share(images in its batch)`."""
    model, total = _network(), 0.0
    for inputs, labels in batches:
        losses = F.nll_loss(model(inputs), labels, reduction="sum")
        total = total + losses * share(len(labels))
    found = torch.autograd.grad(total, list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in found])


@question
def loss_scales(attempt) -> str:
    """(smallest, largest) power of two that keeps gradients 1e-7 … 0.5 in float16."""
    wanted = "Give the pair (smallest, largest) of whole numbers"
    smallest, largest = as_whole_numbers(attempt, 2, wanted)
    for scale in (smallest, largest):
        require(
            scale > 0 and scale & (scale - 1) == 0,
            "Both should be powers of two: multiplying by one loses no digit.",
        )
    require(smallest <= largest, "The smallest should come first.")
    limits = torch.finfo(torch.float16)
    hints = {
        "The smallest scale must bring 1e-7 up to the smallest normal number, "
        f"{limits.tiny:.2g}; with yours it is {1e-7 * smallest:.2g}.": (
            1e-7 * smallest >= limits.tiny
        ),
        "A smaller scale than your smallest does it too: halve it and look.": (
            1e-7 * smallest / 2 < limits.tiny
        ),
        "The largest scale must leave 0.5 below the largest number, "
        f"{limits.max:.0f}; with yours it is {0.5 * largest:.0f}.": (
            0.5 * largest <= limits.max
        ),
        "A larger scale than your largest still fits: double it and look.": (
            0.5 * largest * 2 > limits.max
        ),
    }
    for hint, holds in hints.items():
        require(holds, hint)
    return (
        "Right. Between the two lie several powers of two, so a scale that fits is "
        "easily found: GradScaler halves it after an overflow, and doubles it when "
        "there has been none for a while."
    )


@question
def batch_experiment(attempt) -> str:
    """(batch size expected to end lower: 16 or 256, loss with 16, loss with 256)."""
    wanted = "Give three numbers (expected batch size, loss with 16, loss with 256)"
    expected, *losses = as_items(attempt, 3, wanted)
    expected = as_whole_number(expected, "The batch size that you expected")
    require(expected in (16, 256), "The batch size should be 16 or 256.")
    small, large = (
        as_number(loss, f"The loss with batches of {size}")
        for loss, size in zip(losses, (16, 256), strict=True)
    )
    reject_mistakes(small, {"Both losses must not be the same run's.": large}, "", 1e-9)
    require(
        min(small, large) > 0 and max(small, large) < 20,
        "A cross-entropy should lie between 0 and a few nats: average over images.",
    )
    require(
        small < large,
        "At the same rate, batches of 16 should end lower: they make sixteen times as "
        "many steps. Start both from the same weights, show both the same images, and "
        "judge both on the same ones.",
    )
    verdict = "as you expected" if expected == 16 else "other than you expected"
    return (
        f"Measured: {small:.3f} with batches of 16, {large:.3f} with 256, {verdict}. "
        "Large batches are quick per image and slow per step: they need a larger rate, "
        "or more images."
    )
