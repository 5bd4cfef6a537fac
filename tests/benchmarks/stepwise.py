"""From the baseline to the champion, one change at a time; and what did not help.

    python -m tests.benchmarks.stepwise --epochs 2 --seeds 0 1
    python -m tests.benchmarks.stepwise --epochs 100 --device cuda --seeds 0 1 2
    python -m tests.benchmarks.stepwise --epochs 8 --steps cpu "cpu, every image"
    python -m tests.benchmarks.stepwise --cards runs/champion/champion.json

Every run is as long as the others: as many passes over 45,000 training images. The
other 5,000 judge; the test set is not touched. On a CPU a run takes one core, so that
several processes, with other seeds, can share a machine. `--cards` adds the finished
runs of `python -m cifar_helpers.training`, with their accuracy on the test set. Rows
go to results/champion.csv; a run that the file has already is not repeated.
"""

import argparse
import json
import re
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch

from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10, split
from cifar_helpers.evaluation import evaluate
from cifar_helpers.model import (
    NetConfig,
    count_multiply_adds,
    count_parameters,
)
from cifar_helpers.pretrained import read_history
from cifar_helpers.recipes import PRESETS, Recipe, make_model
from tests.benchmarks.rows import (
    add_row,
    check_rehearsal,
    command_line,
    key_of,
    read_rows,
)
from tests.benchmarks.running import fit_whole, one_thread


def differences(config, start) -> dict:
    """The entries in which one configuration differs from another."""
    before = asdict(start)
    return {k: v for k, v in asdict(config).items() if v != before[k]}


CPU = PRESETS["cpu"][0]
MUON = {
    "optimizer": "muon",
    "batch_size": 128,
    "weight_decay": 0.02,
}
WIDE = {  # the preset "separable"
    "channels": 64,
    "deep_channels": 64,
    "near_pairs": 2,
    "far_pairs": 2,
    "hidden_channels": 72,
    "out_channels": 160,
}
STEPS = {  # name: (changes of the network, of the recipe), on top of the step before
    "baseline": ({}, {}),
    "maps of 16 x 16": (differences(CPU, NetConfig()), {}),
    "Muon": ({}, MUON),
    "whitened filters": ({}, {"whitened": True}),
    "small images first": ({}, {"low_resolution_fraction": 0.5}),
    "wider network": (WIDE, {}),
}
VARIANTS = {  # name: the same, on top of the last step
    "zero-init residual": ({}, {"zero_init_residual": True}),
    "crops by 2 pixels": ({}, {"crop_padding": 2}),
    "cutout": ({}, {"cutout_size": 8}),
    "mixup": ({}, {"mixup_alpha": 0.2}),
    "no label smoothing": ({}, {"label_smoothing": 0.0}),
    "batches of 64": ({}, {"batch_size": 64, "learning_rate": 0.07}),
    "no attention": ({"without": ("attention",)}, {}),
    "ASPP at every place": ({"aspp_stride": 1}, {}),
}
DEEP = {
    "channels": 88,
    "deep_channels": 88,
    "near_pairs": 3,
    "far_pairs": 3,
    "hidden_channels": 32,
    "branch_channels": 24,
    "out_channels": 128,
}
FINE = {
    "initial_stride": 1,
    "near_dilations": (2, 4),
    "far_dilations": (8, 16),
    "rates": (6, 12, 18),
}
FOR_A_GPU = {  # more arithmetic for as many parameters; hours a run on a CPU
    "more pairs": (DEEP, {}),
    "maps of 32 x 32": (FINE, {}),
    "more pairs on 32 x 32": (DEEP | FINE, {}),
}
OF_CPU = {  # name: the same, on top of the preset `cpu`
    "cpu": ({}, {}),
    "cpu, every image": ({}, {"selective_drop_fraction": 0.0}),
    "cpu, random branches": ({}, {"zero_init_residual": False}),
    "cpu, pairs twice": ({"near_pairs": 2, "far_pairs": 2}, {}),
    "cpu, 48 channels": ({"channels": 48, "deep_channels": 48}, {}),
}
COLUMNS = (
    "run",
    "seed",
    "epochs",
    "training_images",
    "parameters",
    "multiply_adds",
    "train_accuracy_percent",
    "validation_accuracy_percent",
    "test_accuracy_percent",
    "seconds",
    "threads",
    "hardware",
    "torch",
    "network",
    "recipe",
    "command",
)
KEY = ("run", "seed", "epochs", "training_images", "network", "recipe", "hardware")
key = key_of(KEY)


def configurations(name: str) -> tuple[NetConfig, Recipe]:
    """The network and the recipe of a step, a variant or a variant of `cpu`."""
    (network, recipe), steps = (NetConfig(), Recipe()), list(STEPS.values())
    if name in STEPS:
        steps = steps[: list(STEPS).index(name) + 1]
    elif name in OF_CPU:
        (network, recipe), steps = PRESETS["cpu"], [OF_CPU[name]]
    else:
        steps.append((VARIANTS | FOR_A_GPU)[name])
    for network_changes, recipe_changes in steps:
        network = replace(network, **network_changes)
        recipe = replace(recipe, **recipe_changes)
    return network, recipe


def plan(name: str, seed: int, epochs: int) -> tuple[NetConfig, Recipe]:
    """The network of a run and its recipe, cut to length."""
    network, recipe = configurations(name)
    recipe = replace(recipe, seed=seed, epochs=epochs)
    if epochs < 20:  # the average may remember only a small part of a run
        recipe = replace(recipe, ema_decay=min(recipe.ema_decay, 0.99))
    return network, recipe


def train(network, recipe: Recipe, training, validation, device) -> dict:
    """One run; what it gave."""
    runtime.seed_everything(recipe.seed)
    model = make_model(network, recipe, training.images).to(device)
    model, history = fit_whole(model, training, recipe)
    judged = evaluate(model, validation)
    return {
        "parameters": count_parameters(model),
        "multiply_adds": count_multiply_adds(model),
        "train_accuracy_percent": round(history[-1]["train_accuracy_percent"], 2),
        "validation_accuracy_percent": round(judged["accuracy_percent"], 2),
        "seconds": round(sum(row["seconds"] for row in history), 1),
    }


def row_of(name, network: NetConfig, recipe: Recipe, images: int) -> dict:
    """What is known of a run before it starts."""
    return {
        "run": name,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "training_images": images,
        "network": json.dumps(differences(network, NetConfig())),
        "recipe": json.dumps(differences(recipe, Recipe())),
    }


def row_of_card(path: str) -> dict:
    """The row of a finished run, from its card: of a preset, or "preset-more"."""
    card = json.loads(Path(path).read_text(encoding="utf-8"))
    network, recipe = NetConfig(**card["config"]), Recipe(**card["recipe"])
    row = row_of(card["name"], network, recipe, card["training_images"])
    same = ("parameters", "multiply_adds", "hardware", "torch")
    row |= {name: card[name] for name in same}
    for name in ("validation_accuracy_percent", "test_accuracy_percent"):
        row[name] = card.get(name)
    threads = re.search(r"(\d+) thread", card["hardware"])  # a GPU's name says none
    row |= {"seconds": card["train_seconds"], "threads": threads and threads[1]}
    history = read_history(Path(path).with_suffix(".csv"))
    row["train_accuracy_percent"] = round(history[-1]["train_accuracy_percent"], 2)
    preset = card["name"].partition("-")[0]
    changes = differences(recipe, PRESETS[preset][1])
    options = [option(name, value) for name, value in changes.items()]
    if row["test_accuracy_percent"] is None:  # some of the 50,000 judged instead
        options.append(f"--validation {50_000 - card['training_images']}")
    command = f"python -m cifar_helpers.training --preset {preset}"
    return row | {"command": " ".join([command, *options])}


def option(name: str, value) -> str:
    """An entry of a recipe for the command line: --flip, --no-flip, --seed 1."""
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {value}"


def short_rows(path: Path) -> list[dict]:
    """Two passes over 45,000 images, on the file's first processor: a seed once."""
    rows = [
        row
        for row in read_rows(path)
        if (row["epochs"], row["training_images"]) == ("2", "45000")
    ]
    return [row for row in rows if row["hardware"] == rows[0]["hardware"]]


def short_runs(path: Path) -> dict[str, list[float]]:
    """Validation accuracies of the `short_rows` by run, one per seed."""
    accuracies = {}
    for row in short_rows(path):
        reached = float(row["validation_accuracy_percent"])
        accuracies.setdefault(row["run"], []).append(reached)
    return accuracies


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    names, default = [*STEPS, *VARIANTS, *FOR_A_GPU, *OF_CPU], [*STEPS, *VARIANTS]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stepwise")
    parser.add_argument("--steps", nargs="+", choices=names, default=default)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, help="train on fewer, for a quick look")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--source", default="full", help="sample: for a quick look")
    parser.add_argument("--cards", nargs="+", default=[], help="of finished runs")
    parser.add_argument("--out", default=str(runtime.RESULTS / "champion.csv"))
    options = parser.parse_args(arguments)
    path = Path(options.out)
    check_rehearsal(parser, options, path)
    for card in options.cards:
        row = row_of_card(card)
        if key(row) not in map(key, read_rows(path)):
            add_row(path, row, COLUMNS)
    if not options.cards:
        with one_thread():
            run_all(options, path, command_line("stepwise", arguments))


def run_all(options, path: Path, command: str) -> None:
    """Train what the command asks for and the file lacks."""
    data = load_cifar10(source=options.source).train
    training, validation = split(data, validation=len(data) // 10)
    if options.images:
        training = training.subset(slice(options.images))
    device = runtime.pick_device(options.device)
    machine = runtime.describe_machine(device)
    constants = {name: machine[name] for name in ("hardware", "torch")}
    constants |= {"threads": torch.get_num_threads(), "command": command}
    for seed, name in product(options.seeds, options.steps):
        network, recipe = plan(name, seed, options.epochs)
        row = row_of(name, network, recipe, len(training)) | constants
        if key(row) in map(key, read_rows(path)):
            print(f"{name}, seed {seed}: in {path.name} already", flush=True)
            continue
        row |= train(network, recipe, training, validation, device)
        add_row(path, row, COLUMNS)
        print(row, flush=True)


if __name__ == "__main__":
    main()
