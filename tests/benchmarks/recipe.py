"""What each choice of the preset `cpu` is worth: change one, train for the same time.

    python -m tests.benchmarks.recipe --seconds 600
    python -m tests.benchmarks.recipe --variants cpu SGD --seconds 60 --out quick.csv

Every variant trains on one core for the same number of seconds: its speed is measured
first, and gives the number of steps, so that the schedule fits. 45,000 images are
trained on, the other 5,000 judge; the test set is not touched. Rows that the results
file already has (same variant, seconds and seed) are kept and not repeated.
"""

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from cifar_helpers import runtime
from cifar_helpers.data import Batches, LabelledImages, load_cifar10, split
from cifar_helpers.model import CIFAR10Net, count_parameters
from cifar_helpers.training import (
    PRESETS,
    TrainConfig,
    Trainer,
    evaluate,
    measure_speed,
    whiten_filters,
)
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config

SGD = {"optimizer": "sgd", "learning_rate": 0.2, "weight_decay": 5e-4}
COARSE = {"aspp_stride": 4, "branch_channels": 48, "hidden_channels": 84}
VARIANTS = {  # name: (changes of the network, changes of the recipe)
    "cpu": ({}, {}),
    "SGD": ({}, SGD),
    "random first filters": ({}, {"whitened": False}),
    "full-size images only": ({}, {"small_share": 0.0}),
    "crops by 4 pixels": ({}, {"crop_padding": 4}),
    "batches of 64": ({}, {"batch_size": 64, "learning_rate": 0.07}),
    "ASPP at every 4th place": (COARSE, {}),
}
COLUMNS = (
    *("variant", "seed", "seconds", "seconds_taken", "images_per_second", "epochs"),
    "parameters",
    *("train_accuracy_percent", "validation_accuracy_percent"),
    *("threads", "hardware", "torch", "command"),
)


def build(name: str) -> tuple[nn.Module, TrainConfig]:
    """The network and the recipe of a variant."""
    network, recipe = PRESETS["cpu"]
    if name == "ResNet-8":
        return ResNet8(ResNet8Config(width=24)), recipe
    network_changes, recipe_changes = VARIANTS[name]
    network = replace(network, **network_changes)
    return CIFAR10Net(network), replace(recipe, **recipe_changes)


def run(name: str, seed: int, seconds: float, training, validation) -> dict:
    """Train a variant for about `seconds`; return its row."""
    runtime.seed_everything(seed)
    model, recipe = build(name)
    recipe = replace(recipe, seed=seed)
    if recipe.whitened:
        whiten_filters(model.initial.conv, training.images[:5000])
    speed = measure_speed(model, training, recipe, seconds=min(10, seconds / 20))
    steps = max(1, round(seconds * speed / recipe.batch_size))
    trainer = Trainer(model, recipe, steps)
    model.train()
    started, right, seen = time.perf_counter(), 0, 0
    for step, (images, labels) in enumerate(endless(training, trainer), start=1):
        correct = trainer.train_step(images, labels)[1].item()
        if step > 0.9 * steps:
            right, seen = right + correct, seen + len(labels)
        if step == steps:
            break
    took = time.perf_counter() - started
    images = steps * recipe.batch_size
    judged = evaluate(trainer.averaged.module, validation, batch_size=100)
    return {
        "variant": name,
        "seed": seed,
        "seconds": seconds,
        "seconds_taken": round(took, 1),
        "images_per_second": round(images / took, 1),
        "epochs": round(images / len(training), 2),
        "parameters": count_parameters(model),
        "train_accuracy_percent": round(100 * right / seen, 2),
        "validation_accuracy_percent": round(judged["accuracy_percent"], 2),
    }


def endless(data: LabelledImages, trainer: Trainer):
    """Batches without end, in a new order at each pass."""
    size, draw = trainer.config.batch_size, trainer.generator
    while True:
        yield from Batches(data, size, shuffle=True, generator=draw)


def read_rows(path: Path) -> list[dict]:
    """What was measured before."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, row: dict) -> None:
    """Append to what is there: several processes may write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    names = [*VARIANTS, "ResNet-8"]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.recipe")
    parser.add_argument("--variants", nargs="+", choices=names, default=names)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--images", type=int, help="train on fewer, for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(runtime.RESULTS / "recipe.csv"))
    options = parser.parse_args(arguments)
    path = Path(options.out)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    training = load_cifar10().train
    training, validation = split(training, validation=len(training) // 10)
    if options.images:
        training = training.subset(slice(options.images))
    machine = runtime.describe_machine()
    constants = {"threads": 1, "hardware": machine["hardware"]}
    constants["torch"] = machine["torch"]
    for name in options.variants:
        done = {
            (row["variant"], int(row["seed"]), float(row["seconds"]))
            for row in read_rows(path)
        }
        if (name, options.seed, options.seconds) in done:
            continue
        row = run(name, options.seed, options.seconds, training, validation)
        command = f"python -m tests.benchmarks.recipe --seconds {options.seconds:g}"
        add_row(path, row | constants | {"command": command})
        print(row, flush=True)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
