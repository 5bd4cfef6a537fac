"""Seconds to 86.48 %: from a textbook's loop to the preset `cpu`, one change at a time.

    python -m tests.benchmarks.faster --seeds 0 1 2
    python -m tests.benchmarks.faster --runs "textbook, SGD" "harder images" --seeds 0

All runs train the network of the preset `cpu` on 45,000 images on this CPU; the other
5,000 are judged after each epoch, and the time that takes is left out. `seconds_to`
counts the training until an epoch first ends at or above 86.48 %. At a constant rate a
run goes on until it gets there, at most for the longest of `--lengths`. With a schedule
the length is part of the recipe: lengths are tried, shortest first, until one gets
there. The textbook's loop is a DataLoader with torchvision's transforms, `nn.Conv2d`
for every convolution, and one learning rate.

Rows go to results/faster.csv; a run that it has (same hardware) is not repeated, and
one that was cut off goes on from its last epoch. `ratio_to_textbook` divides the
seconds of the quicker textbook loop of the same seed by those of the run.
"""

import argparse
import csv
import os
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from cifar_helpers import checkpoints, runtime
from cifar_helpers.data import LabelledImages, load_cifar10, split
from cifar_helpers.evaluation import evaluate
from cifar_helpers.recipes import PRESETS, Recipe, make_model
from cifar_helpers.training import Trainer, fit
from tests.benchmarks.rows import command_line, read_rows
from tests.benchmarks.training import PerImage, textbook

TARGET = 86.48  # per cent of the validation images
LENGTHS = (6, 9, 13, 19, 28, 40)  # epochs
NETWORK, CPU_RECIPE = PRESETS["cpu"]
TEXTBOOK = ("textbook, SGD", "textbook, Adam")
PLAIN = Recipe(  # SGD at one rate, in float32, on the last weights
    batch_size=128,
    learning_rate=0.05,
    warmup_fraction=0.0,
    label_smoothing=0.0,
    ema_decay=0.0,
    precision="float32",
)
CHANGES = {  # name: what it changes of the recipe, on top of the run before
    "whole batches": {},  # in memory, channels last; the recipe is the textbook's
    "quick depthwise": {},  # cifar_helpers.depthwise in place of nn.Conv2d
    "short format": {"precision": "auto"},  # bfloat16 where the processor has it
    "schedule": {"warmup_fraction": 0.15, "learning_rate": 0.1},
    "average": {"ema_decay": 0.98},
    "label smoothing": {"label_smoothing": 0.1},
    "batches of 256": {"batch_size": 256, "learning_rate": 0.2},
    "Muon": {"optimizer": "muon", "weight_decay": 0.02, "sgd_learning_rate": 0.2},
    "whitened filters": {"whitened": True},
    "zero-init residual": {"zero_init_residual": True},
    "crops by 2 pixels": {"crop_padding": 2},
    "small images first": {"low_resolution_fraction": 0.7},
    "harder images": {
        "selective_drop_fraction": 0.33,
        "selective_start_fraction": 0.25,
    },
}
RUNS = (*TEXTBOOK, *CHANGES)
COLUMNS = (
    "run",
    "seed",
    "epochs",
    "training_images",
    "train_seconds",
    "validation_accuracy_percent",
    "seconds_to_86_48",
    "ratio_to_textbook",
    "threads",
    "hardware",
    "torch",
    "command",
)


class Reached(Exception):
    """The target is reached: the rest of a run at one rate would show nothing."""


class OneRate(Trainer):
    """A Trainer without a schedule."""

    def __init__(self, model, recipe: Recipe, steps: int):
        super().__init__(model, recipe, steps)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda _: 1.0
        )


def recipe_of(run: str) -> Recipe:
    """The recipe of a run of our loop: all changes up to its own."""
    recipe = PLAIN
    for name, changes in CHANGES.items():
        recipe = replace(recipe, **changes)
        if name == run:
            return recipe
    raise ValueError(f"{run!r} is none of {list(CHANGES)}")


def has_schedule(run: str) -> bool:
    """Whether a run's length is part of its recipe."""
    return run in CHANGES and recipe_of(run).warmup_fraction > 0


def seconds_to(history: list[dict], target: float) -> float | None:
    """Training time until an epoch ended at or above `target` per cent, or None."""
    seconds = 0.0
    for row in history:
        seconds += row["seconds"]
        if row["validation_accuracy_percent"] >= target:
            return seconds
    return None


def run_ours(run, recipe: Recipe, training, validation, target, path) -> list[dict]:
    """One run of our loop; its history, up to the target if there is no schedule."""
    model = make_model(NETWORK, recipe, training.images)
    if run == "whole batches":
        model = textbook(model)
    history, one_rate = [], not has_schedule(run)

    def look(rows):
        history[:] = rows
        print(f"  {run}, epoch {len(rows)}: {rows[-1]}", flush=True)
        if one_rate and rows[-1]["validation_accuracy_percent"] >= target:
            raise Reached

    trainer = OneRate if one_rate else Trainer
    try:
        _, rows = fit(model, training, recipe, validation, look, path, trainer)
    except Reached:
        return history
    if rows.interrupted:
        raise KeyboardInterrupt
    return list(rows)


def run_textbook(
    run: str, seed: int, epochs: int, training, validation, target, path, workers: int
) -> list[dict]:
    """One run of the textbook's loop; goes on from `path` after a break."""
    torch.manual_seed(seed)
    model = textbook(make_model(NETWORK, replace(PLAIN, seed=seed)))
    if run == "textbook, SGD":
        optimizer = torch.optim.SGD(
            model.parameters(),
            PLAIN.learning_rate,
            PLAIN.momentum,
            weight_decay=PLAIN.weight_decay,
            nesterov=True,
        )
    else:
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loader = DataLoader(
        PerImage(training), 128, shuffle=True, num_workers=workers, drop_last=False
    )
    state = checkpoints.load(path) or {"history": []}
    history = state["history"]
    if history:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    while len(history) < epochs and seconds_to(history, target) is None:
        torch.manual_seed(1000 * seed + len(history))  # the order of this epoch
        started = time.perf_counter()
        model.train()
        for images, labels in loader:
            loss = F.nll_loss(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        row = {"epoch": len(history) + 1, "seconds": time.perf_counter() - started}
        judged = evaluate(model, validation)["accuracy_percent"]
        history.append(row | {"validation_accuracy_percent": judged})
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        checkpoints.save(path, state | {"history": history})
        print(f"  {run}, {history[-1]}", flush=True)
    return history


def with_ratios(rows: list[dict]) -> list[dict]:
    """Rows with `ratio_to_textbook`, where both loops of a seed got there."""
    textbooks = {}
    for row in rows:
        if row["run"] in TEXTBOOK and row["seconds_to_86_48"]:
            key = (str(row["seed"]), row["hardware"], str(row["training_images"]))
            seconds = float(row["seconds_to_86_48"])
            textbooks[key] = min(seconds, textbooks.get(key, seconds))
    rated = []
    for row in rows:
        key = (str(row["seed"]), row["hardware"], str(row["training_images"]))
        ratio = ""
        if row["seconds_to_86_48"] and key in textbooks:
            ratio = round(textbooks[key] / float(row["seconds_to_86_48"]), 3)
        rated.append(row | {"ratio_to_textbook": ratio})
    return rated


def write_rows(path: Path, rows: list[dict]) -> None:
    """All rows, in place of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(with_ratios(rows))
    os.replace(part, path)


def row_of(run, seed, epochs, history, images: int, target: float) -> dict:
    """What a finished run gave."""
    reached = seconds_to(history, target)
    last = history[-1]["validation_accuracy_percent"]
    return {
        "run": run,
        "seed": seed,
        "epochs": epochs,
        "training_images": images,
        "train_seconds": round(sum(row["seconds"] for row in history), 3),
        "validation_accuracy_percent": round(last, 2),
        "seconds_to_86_48": "" if reached is None else round(reached, 3),
    }


def one_run(run, seed, epochs, parts, options, folder: Path) -> list[dict]:
    """The history of a run, which goes on if it was cut off."""
    training, validation = parts
    path = folder / f"{run.replace(', ', '_').replace(' ', '_')}_{seed}_{epochs}.part"
    path.parent.mkdir(parents=True, exist_ok=True)
    rest = (training, validation, options.target, path)
    if run in TEXTBOOK:
        return run_textbook(run, seed, epochs, *rest, options.workers)
    return run_ours(run, replace(recipe_of(run), seed=seed, epochs=epochs), *rest)


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.faster")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--target", type=float, default=TARGET, help="for a rehearsal")
    parser.add_argument("--images", type=int, help="train on fewer, for a rehearsal")
    parser.add_argument("--workers", type=int, default=2, help="of the textbook's loop")
    parser.add_argument("--source", default="full", help="sample: for a rehearsal")
    parser.add_argument("--folder", default="runs/faster", help="for checkpoints")
    parser.add_argument("--out", default=str(runtime.RESULTS / "faster.csv"))
    options = parser.parse_args(arguments)
    if options.target != TARGET and Path(options.out).parent == runtime.RESULTS:
        parser.error("another target is a rehearsal: name another file with --out")
    data = load_cifar10(source=options.source).train
    training, validation = split(data, validation=len(data) // 10)
    if options.images:
        training = training.subset(slice(options.images))
    for seed, run in product(options.seeds, options.runs):
        reach(run, seed, (training, validation), options, arguments)


def reach(
    run, seed: int, parts: tuple[LabelledImages, ...], options, arguments
) -> None:
    """Runs of rising length until one gets there; what the file has is not repeated."""
    path, machine = Path(options.out), runtime.describe_machine()
    constants = {"threads": torch.get_num_threads(), "torch": machine["torch"]}
    constants |= {"hardware": machine["hardware"]}
    constants["command"] = command_line("faster", arguments)
    lengths = sorted(options.lengths)
    for epochs in lengths if has_schedule(run) else lengths[-1:]:
        rows = read_rows(path)
        key = (run, str(seed), str(epochs), str(len(parts[0])), machine["hardware"])
        names = ("run", "seed", "epochs", "training_images", "hardware")
        done = [row for row in rows if tuple(row[name] for name in names) == key]
        if not done:
            history = one_run(run, seed, epochs, parts, options, Path(options.folder))
            row = row_of(run, seed, epochs, history, len(parts[0]), options.target)
            done = [row | constants]
            write_rows(path, [*rows, *done])
            print(row, flush=True)
        if done[0]["seconds_to_86_48"]:
            return


if __name__ == "__main__":
    main()
