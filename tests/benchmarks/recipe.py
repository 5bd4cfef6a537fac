"""What each choice of the preset `cpu` is worth: change one, do as much arithmetic.

    python -m tests.benchmarks.recipe
    python -m tests.benchmarks.recipe --variants cpu SGD --share 0.25 --out quick.csv

Every variant does as much work as the preset, or a share of it, counted in pixels of
images: the outcome does not depend on how busy the machine is. 45,000 images train,
the other 5,000 judge; the test set is not touched. Rows that the results file has
already (same variant, share and seed) are kept and not repeated. A run takes one core;
several processes with different variants can share a machine.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from cifar_helpers import runtime
from cifar_helpers.data import Batches, LabelledImages, load_cifar10, split
from cifar_helpers.model import CIFAR10Net, count_parameters
from cifar_helpers.training import (
    PRESETS,
    TrainConfig,
    Trainer,
    evaluate,
    whiten_filters,
)
from tests.benchmarks.rows import add_row, read_rows

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
    *("variant", "seed", "share_of_work", "epochs", "seconds", "parameters"),
    *("train_accuracy_percent", "validation_accuracy_percent"),
    *("threads", "hardware", "torch", "command"),
)


def build(name: str) -> tuple[CIFAR10Net, TrainConfig]:
    """The network and the recipe of a variant."""
    network, recipe = PRESETS["cpu"]
    network_changes, recipe_changes = VARIANTS[name]
    network = replace(network, **network_changes)
    return CIFAR10Net(network), replace(recipe, **recipe_changes)


def pixels_per_image(recipe: TrainConfig) -> float:
    """Mean over a run."""
    small = recipe.small_share * recipe.small_size**2
    return small + (1 - recipe.small_share) * 32**2


def run(name: str, seed: int, share: float, training, validation) -> dict:
    """Train a variant with `share` of the preset's work; return its row."""
    runtime.seed_everything(seed)
    model, recipe = build(name)
    recipe, preset = replace(recipe, seed=seed), PRESETS["cpu"][1]
    if recipe.whitened:
        whiten_filters(model.initial.conv, training.images[:5000])
    pixels = share * preset.epochs * len(training) * pixels_per_image(preset)
    steps = max(1, round(pixels / pixels_per_image(recipe) / recipe.batch_size))
    trainer = Trainer(model, recipe, steps)
    model.train()
    started, right, seen = time.perf_counter(), 0, 0
    for step, (images, labels) in enumerate(endless(training, trainer), start=1):
        correct = trainer.train_step(images, labels)[1].item()
        if step > 0.9 * steps:
            right, seen = right + correct, seen + len(labels)
        if step == steps:
            break
    judged = evaluate(trainer.averaged.module, validation, batch_size=100)
    return {
        "variant": name,
        "seed": seed,
        "share_of_work": share,
        "epochs": round(steps * recipe.batch_size / len(training), 2),
        "seconds": round(time.perf_counter() - started, 1),
        "parameters": count_parameters(model),
        "train_accuracy_percent": round(100 * right / seen, 2),
        "validation_accuracy_percent": round(judged["accuracy_percent"], 2),
    }


def endless(data: LabelledImages, trainer: Trainer):
    """Batches without end, in a new order at each pass."""
    size, draw = trainer.config.batch_size, trainer.generator
    while True:
        yield from Batches(data, size, shuffle=True, generator=draw)


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    names = list(VARIANTS)
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.recipe")
    parser.add_argument("--variants", nargs="+", choices=names, default=names)
    parser.add_argument("--share", type=float, default=1.0, help="of the work")
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
    command = f"python -m tests.benchmarks.recipe --share {options.share:g}"
    constants["command"] = command
    for name in options.variants:
        done = {
            (row["variant"], int(row["seed"]), float(row["share_of_work"]))
            for row in read_rows(path)
        }
        if (name, options.seed, options.share) in done:
            continue
        row = run(name, options.seed, options.share, training, validation)
        add_row(path, row | constants, COLUMNS)
        print(row, flush=True)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
