"""How fast a recipe trains on this machine, measured with real steps."""

import copy
import csv
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from cifar_helpers import runtime
from cifar_helpers.data import Batches, LabelledImages
from cifar_helpers.recipes import Recipe, with_batches_of
from cifar_helpers.training import Trainer

LADDER = (  # the runs of results/faster.csv, each with all changes before it
    "textbook",
    "whole batches",
    "quick depthwise",
    "short format",
    "SGD with a schedule",
    "average",
    "label smoothing",
    "batches of 256",
    "Muon",
    "whitened filters",
    "zero-init residual",
    "crops by 2 pixels",
    "small images first",
    "harder images",
)


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
    events = [e for e in profile.key_averages() if getattr(e, spent) > 0]
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


def runs_to_target(path: Path) -> list[dict]:
    """The rows of results/faster.csv, put together for each change; [] without a file.

    In the order in which the changes are made, one dict a run: `run`, `seeds`,
    `trained` (how many were not only timed), `reached` (how many got there), `minutes`
    (a list, of these), `gave_up_after` (minutes, mean of those that were trained, else
    of the timed; None unless nobody got there),
    `epochs` (mean of those that got there, or None), `images_per_second`, `hardware`,
    `torch`; `ratio`, the textbook's mean time divided by that of those that got there
    (or None), `ratio_is` ("exact", or "at least" if no textbook got there).
    Of several rows of a seed counts the one that was trained, and got there. Rows of
    other hardware than the first row's are left out.
    """
    if not path.exists():
        return []
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if row["hardware"] == rows[0]["hardware"]]
    rows.sort(key=lambda r: (r["measured"] == "training", r["seconds_to_86_48"] != ""))
    best = {(row["run"], row["seed"]): row for row in rows}  # the last one counts
    found = []
    for run in LADDER:
        mine = [row for (name, _), row in best.items() if name == run and row["epochs"]]
        got = [row for row in mine if row["seconds_to_86_48"]]
        if mine:
            found.append(_of_seeds(run, mine, got))
    for row in found:
        _compare(row, found[0])
    return found


def _of_seeds(run: str, rows: list[dict], got: list[dict]) -> dict:
    """One row of `runs_to_target`; `got`: the seeds that reached the target."""

    def mean(name, some):
        values = [float(row[name]) for row in some if row[name]]
        return statistics.fmean(values) if values else None

    trained = [row for row in rows if row["measured"] == "training"]
    spent = [
        int(row["epochs"])
        * int(row["training_images"])
        / float(row["images_per_second"])
        for row in trained or rows
    ]
    return {
        "run": run,
        "seeds": len(rows),
        "trained": len(trained),
        "reached": len(got),
        "minutes": [float(row["seconds_to_86_48"]) / 60 for row in got],
        "gave_up_after": None if got else statistics.fmean(spent) / 60,
        "epochs": mean("epochs_to_86_48", got),
        "images_per_second": mean("images_per_second", rows),
        "hardware": rows[0]["hardware"],
        "torch": rows[0]["torch"],
    }


def _compare(row: dict, textbook: dict) -> None:
    """Add the ratio to a row of `runs_to_target`: means of all seeds of either."""
    row["ratio"], row["ratio_is"] = None, "exact"
    if textbook["run"] != LADDER[0] or not row["minutes"]:
        return
    if not textbook["minutes"]:
        row["ratio_is"] = "at least"
    loop = statistics.fmean(textbook["minutes"] or [textbook["gave_up_after"]])
    row["ratio"] = loop / statistics.fmean(row["minutes"])
