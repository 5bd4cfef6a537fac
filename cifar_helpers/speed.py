"""How fast a recipe trains on this machine, measured with real steps."""

import copy
import itertools
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.autograd import DeviceType

from cifar_helpers import runtime
from cifar_helpers.data import Batches, LabelledImages
from cifar_helpers.recipes import Recipe, with_batches_of
from cifar_helpers.trainer import Trainer


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
    device = next(model.parameters()).device
    data, seconds_per_image = data.to(device), 0.0
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):  # how much is drawn depends on the time
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
    size = min(trainer.recipe.batch_size, len(data))
    passes = (Batches(data, size, shuffle=True) for _ in itertools.count())
    batches = itertools.chain.from_iterable(passes)
    batches = (b for b in batches if len(b[1]) == size)  # a shorter one: compiled anew
    trainer.train_mode()
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
    that saves more time, in a run over `data`, than compiling took; a warning says if
    compiling fails. Each measured form is a dict with `batch_size`, `compile`,
    `images_per_second` and `seconds` (spent on measuring it).
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
        try:
            faster = measure(larger)
        except torch.cuda.OutOfMemoryError:  # the last one fitted
            torch.cuda.empty_cache()
            break
        if faster < least_gain * rate:
            break
        recipe, rate = larger, faster
    device = next(model.parameters()).device
    if device.type == "cuda" and runtime.can_compile(device) and not recipe.compile:
        images, compiled = recipe.epochs * len(data), replace(recipe, compile=True)
        eager_seconds = images / rate
        try:
            compiled_seconds = images / measure(compiled) + measured[-1]["seconds"]
        except Exception as error:  # whatever it is, without compiling it works
            torch.cuda.empty_cache()
            warnings.warn(f"compiling fails here: {error}", stacklevel=2)
        else:
            recipe = compiled if compiled_seconds < eager_seconds else recipe
    return recipe, measured


def time_by_operation(
    step: Callable, device: torch.device, steps: int = 3
) -> tuple[list[dict], float]:
    """Where the time of `step()` goes, by torch's own operations; how many it starts.

    Profiles a few steps, after one to warm up. Each row is a dict with `operation`,
    `calls_a_step` and `share_percent` of the time (of the GPU's on CUDA), largest
    first. The number counts the operations that call no other, in one step.
    """
    step()
    runtime.synchronize(device)
    on_cuda, activity = device.type == "cuda", torch.profiler.ProfilerActivity
    watched = [activity.CPU, activity.CUDA] if on_cuda else [activity.CPU]
    with torch.profiler.profile(activities=watched) as profile:
        for _ in range(steps):
            step()
        runtime.synchronize(device)
    spent = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    own = (e for e in profile.key_averages() if e.device_type == DeviceType.CPU)
    events = [e for e in own if getattr(e, spent) > 0]  # not once more as kernels
    total = sum(getattr(event, spent) for event in events)
    rows = [
        {
            "operation": event.key,
            "calls_a_step": event.count / steps,
            "share_percent": 100 * getattr(event, spent) / total,
        }
        for event in events
    ]
    rows.sort(key=lambda row: -row["share_percent"])
    working = [event for event in profile.events() if _works(event)]
    leaves = [e for e in working if not any(map(_works, e.cpu_children))]
    return rows, len(leaves) / steps


def _works(event) -> bool:
    """Whether an event of the profiler is an operation of torch that does anything."""
    return event.name.startswith("aten::") and "aten::resolve_" not in event.name


def recorded(function: Callable) -> Callable:
    """What `function()` makes a CUDA GPU do, as one call that replays it (CUDA graph).

    Addresses, shapes and order are fixed: fill the same tensors with new values.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # a recording must not set things up
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay
