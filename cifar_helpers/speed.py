"""How fast a recipe trains on this machine, measured with real steps."""

import copy
import itertools
import math
import time
from dataclasses import replace

from torch import nn

from cifar_helpers import runtime
from cifar_helpers.data import Batches, LabelledImages
from cifar_helpers.recipes import Recipe, with_batches_of
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
    """Images per second of a trainer's steps, after two that only set things up.

    A GPU is waited for before the clock starts and before it is read, and not in
    between: in a run it is not waited for either.
    """
    size = trainer.recipe.batch_size
    passes = (Batches(data, size, shuffle=True) for _ in itertools.count())
    batches = itertools.chain.from_iterable(passes)
    trainer.model.train()
    for images, labels in itertools.islice(batches, 2):
        trainer.train_step(images, labels)
    runtime.synchronize(trainer.device)
    started, images_seen, steps = time.perf_counter(), 0, 0
    while steps < 2 or time.perf_counter() - started < seconds:
        images, labels = next(batches)
        trainer.train_step(images, labels)
        images_seen += len(labels)
        steps += 1
    runtime.synchronize(trainer.device)
    return images_seen / (time.perf_counter() - started)


def fill_device(
    model: nn.Module,
    data: LabelledImages,
    recipe: Recipe,
    largest_batch: int = 1024,
    least_gain: float = 1.1,
    seconds: float = 1.0,
) -> tuple[Recipe, list[dict]]:
    """The recipe in a form that keeps this device busy, and what was measured for it.

    Batches are doubled, with the rates that go with them (`with_batches_of`), as long
    as that gives `least_gain` times the speed. On a CUDA GPU the network is compiled if
    that saves more time, in a run over `data`, than compiling took. Each measured form
    is a dict with `batch_size`, `compile`, `images_per_second` and `seconds` (spent on
    measuring it).
    """
    measured = []

    def measure(tried: Recipe) -> float:
        started = time.perf_counter()
        rate = measure_speed(model, data, tried, seconds)
        form = {"batch_size": tried.batch_size, "compile": tried.compile}
        spent = time.perf_counter() - started
        measured.append({**form, "images_per_second": rate, "seconds": spent})
        return rate

    rate = measure(recipe)
    while 2 * recipe.batch_size <= min(largest_batch, len(data)):
        larger = with_batches_of(recipe, 2 * recipe.batch_size)
        if (faster := measure(larger)) < least_gain * rate:
            break
        recipe, rate = larger, faster
    device = next(model.parameters()).device
    if device.type == "cuda" and runtime.can_compile(device) and not recipe.compile:
        images, compiled = recipe.epochs * len(data), replace(recipe, compile=True)
        eager_seconds = images / rate
        compiled_seconds = images / measure(compiled) + measured[-1]["seconds"]
        recipe = compiled if compiled_seconds < eager_seconds else recipe
    return recipe, measured
