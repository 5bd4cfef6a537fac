"""Attempts at the exercises of notebook 10."""

import torch
from torch.nn import functional as F

from cifar_helpers.checks import train_on_gpu as checks


def epoch(clear=True, step=True, report=None):
    """An epoch as the text has it, or with one mistake."""

    def run(model, optimizer, batches):
        losses, sizes = [], []
        for inputs, labels in batches:
            if clear:
                optimizer.zero_grad()
            loss = F.nll_loss(model(inputs), labels)
            loss.backward()
            if step:
                optimizer.step()
            losses.append(loss.detach())
            sizes.append(len(labels))
        total = sum(n * loss for n, loss in zip(sizes, losses, strict=True))
        return report(losses, total) if report else total / sum(sizes)

    return run


def epoch_in_functions(model, optimizer, batches):
    """The same by another way: sums over images, gradients set and dropped."""
    total = 0.0
    for inputs, labels in batches:
        losses = -model(inputs)[torch.arange(len(labels)), labels]
        gradients = torch.autograd.grad(losses.mean(), list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        total += losses.sum().item()
    return total / sum(len(labels) for _, labels in batches)


def epoch_of_sums(model, optimizer, batches):
    """The batch's sum steers; what is reported is right."""
    total = 0.0
    for inputs, labels in batches:
        optimizer.zero_grad()
        loss = F.nll_loss(model(inputs), labels, reduction="sum")
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / sum(len(labels) for _, labels in batches)


def epoch_of_cleared_gradients(model, optimizer, batches):
    for inputs, labels in batches:
        F.nll_loss(model(inputs), labels).backward()
        optimizer.zero_grad()
        optimizer.step()
    return 0.5


def parts(share, move=0.0):
    """Accumulate losses summed over a part, times a share of its size."""

    def accumulate(model, batches):
        images = sum(len(labels) for _, labels in batches)
        for inputs, labels in batches:
            loss = F.nll_loss(model(inputs), labels, reduction="sum")
            (loss * share(len(labels), images, len(batches))).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= move

    return accumulate


def at_once(model, batches):
    """All images in one batch: what the parts must add up to."""
    inputs, labels = (torch.cat(list(both)) for both in zip(*batches, strict=True))
    F.cross_entropy(model(inputs), labels).backward()


def backward_at_once(model, batches):
    """Part by part, but each part's graph is kept until the end."""
    losses = [F.nll_loss(model(x), y, reduction="sum") for x, y in batches]
    (sum(losses) / sum(len(labels) for _, labels in batches)).backward()


def last_part(model, batches):
    F.nll_loss(model(batches[-1][0]), batches[-1][1]).backward()


def cleared_in_between(model, batches):
    for inputs, labels in batches:
        model.zero_grad()
        F.nll_loss(model(inputs), labels).backward()


def weights_only(model, batches):
    last_part(model, batches)
    model[0].bias.grad = None


EPOCH, PARTS = checks.training_epoch, checks.accumulated_gradient
SCALES, BATCHES = checks.loss_scales, checks.batch_experiment
RIGHT = [
    (EPOCH, epoch()),
    (EPOCH, epoch_in_functions),
    (PARTS, parts(lambda n, images, count: 1 / images)),
    (SCALES, (1024, 65536)),
    (BATCHES, (16, 1.25, 1.75)),
    (BATCHES, (256, 1.25, 1.75)),
]
WRONG = [
    (EPOCH, epoch(clear=False), "added to those of all batches"),
    (EPOCH, epoch(step=False), "have not moved"),
    (EPOCH, epoch_of_cleared_gradients, "have not moved"),
    (EPOCH, epoch_of_sums, "of that batch's mean loss"),
    (EPOCH, epoch(report=lambda losses, _: sum(losses) / 3), "count twice as much"),
    (EPOCH, epoch(report=lambda losses, _: sum(losses)), "sum over batches"),
    (EPOCH, epoch(report=lambda losses, total: total), "divide by their number"),
    (EPOCH, epoch(report=lambda losses, _: losses[-1]), "last batch's loss alone"),
    (EPOCH, epoch(report=lambda losses, _: losses), "What you return should be"),
    (PARTS, parts(lambda n, images, count: 1 / n), "as many times too long"),
    (PARTS, parts(lambda n, images, count: 1 / n / count), "by its share of all"),
    (PARTS, parts(lambda n, images, count: 1), "divide by their number"),
    (PARTS, parts(lambda n, images, count: 1 / images, 0.1), "have moved"),
    (PARTS, last_part, "last part's gradient alone"),
    (PARTS, cleared_in_between, "clear nothing in between"),
    (PARTS, weights_only, "Every parameter must get"),
    (PARTS, at_once, "all images were in memory at once"),
    (PARTS, backward_at_once, "all images were in memory at once"),
    (SCALES, (1000, 65536), "powers of two"),
    (SCALES, (512, 65536), "bring 1e-7 up to"),
    (SCALES, (2048, 65536), "halve it"),
    (SCALES, (1024, 131072), "leave 0.5 below"),
    (SCALES, (1024, 32768), "double it"),
    (SCALES, (65536, 1024), "come first"),
    (BATCHES, (64, 1.25, 1.75), "16 or 256"),
    (BATCHES, (16, 1.75, 1.25), "sixteen times as many steps"),
    (BATCHES, (16, 1.25, 1.25), "the same run's"),
    (BATCHES, (16, 125.0, 175.0), "a few nats"),
]
