"""How fast a recipe trains on this machine, measured with real steps."""

import copy
import itertools
import math
import time

from torch import nn

from cifar_helpers.data import Batches, LabelledImages
from cifar_helpers.recipes import Recipe
from cifar_helpers.training import Trainer


def measure_speed(
    model: nn.Module, data: LabelledImages, recipe: Recipe, seconds: float = 1.0
) -> float:
    """Images per second that a whole run of `recipe` will train on this machine.

    A copy of `model` takes real steps for about `seconds`, after two that only set
    things up; if the recipe has small images, for as long again on those. Raises
    ValueError for an empty data set.
    """
    if len(data) == 0:
        raise ValueError("there are no images to measure with")
    data = data.to(next(model.parameters()).device)
    seconds_per_image = 0.0
    for share, low_resolution_steps in (
        (recipe.low_resolution_fraction, math.inf),
        (1 - recipe.low_resolution_fraction, 0),
    ):
        if share:
            trainer = Trainer(copy.deepcopy(model), recipe, steps=10**6)
            trainer.low_resolution_steps = low_resolution_steps
            seconds_per_image += share / _speed(trainer, data, seconds)
    return 1 / seconds_per_image


def _speed(trainer: Trainer, data: LabelledImages, seconds: float) -> float:
    """Images per second of a trainer's steps, after two that only set things up."""
    size = trainer.recipe.batch_size
    passes = (Batches(data, size, shuffle=True) for _ in itertools.count())
    batches = itertools.chain.from_iterable(passes)
    trainer.model.train()
    for images, labels in itertools.islice(batches, 2):
        trainer.train_step(images, labels)[1].item()  # .item() waits for a GPU
    started, images_seen, steps = time.perf_counter(), 0, 0
    while steps < 2 or time.perf_counter() - started < seconds:
        images, labels = next(batches)
        trainer.train_step(images, labels)[1].item()
        images_seen += len(labels)
        steps += 1
    return images_seen / (time.perf_counter() - started)
