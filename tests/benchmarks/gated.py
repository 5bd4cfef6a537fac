"""Narrower networks of gated units, as candidates for the ten minutes of `cpu`.

    python -m tests.benchmarks.gated --speeds
    python -m tests.benchmarks.gated --seeds 0                     (twice, side by side)
    python -m tests.benchmarks.gated --seeds 0 1 2 --candidates cpu "48 channels" --fit

Each candidate is the network of `champion` with fewer channels or units, below 200,000
parameters, and is trained by the recipe of `cpu`: 40,000 images, the other 10,000
training images judge it, the test set is not touched. At nine epochs all see as many
images as `cpu` does. With `--fit` a candidate gets as many epochs as fit into the time
of nine epochs of `cpu` (or of `--epochs`), by the speeds of this machine, measured in
turns before.
`--speeds` only measures, in float32 as well, into results/gated_speeds.csv; with
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 in the environment a newer processor
computes as one does that has no more than AVX2.

A run takes one thread; seconds are the processor's time for the process. Rows go to
results/gated.csv. Several processes may work on the same file and folder: each run is
claimed by a lock, a run that the file has is not repeated, and one that was cut off
goes on from its checkpoint (without images_per_second, which would be too high). One
seed of all at nine epochs costs about 45 minutes of a core with bfloat16.
"""

import argparse
import statistics
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch

from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10, split
from cifar_helpers.recipes import CHAMPION_NETWORK, PRESETS, make_model
from cifar_helpers.speed import measure_speed
from tests.benchmarks import ablation
from tests.benchmarks.ablation_designs import Run
from tests.benchmarks.claims import run_once
from tests.benchmarks.rows import (
    check_rehearsal,
    command_line,
    file_name,
    key_of,
    read_rows,
    replace_rows,
)
from tests.benchmarks.running import one_thread

NETWORK, RECIPE = PRESETS["cpu"]
FEWER = {"near_pairs": 1, "far_pairs": 1}  # units at 16 x 16: four instead of eight
CANDIDATES = {  # name: (network, what it changes of it)
    "cpu": (NETWORK, {}),
    "72 channels": (CHAMPION_NETWORK, FEWER),
    "64 channels": (
        CHAMPION_NETWORK,
        {**FEWER, "channels": 64, "deep_channels": 64, "hidden_channels": 96},
    ),
    "48 channels": (
        CHAMPION_NETWORK,
        {**FEWER, "channels": 48, "deep_channels": 48, "hidden_channels": 96},
    ),
    "48 channels, three units at 8 x 8": (
        CHAMPION_NETWORK,
        {
            **FEWER,
            "channels": 48,
            "deep_channels": 48,
            "hidden_channels": 96,
            "refining_units": 3,
        },
    ),
    "48 channels, eight units": (
        CHAMPION_NETWORK,
        {"channels": 48, "deep_channels": 48},
    ),
}
COLUMNS = (
    "candidate",
    "seed",
    "epochs",
    "training_images",
    "validation_images",
    "parameters",
    "multiply_adds",
    "images_per_second",
    "train_seconds",
    "validation_accuracy_percent",
    "validation_loss",
    "threads",
    "hardware",
    "torch",
    "command",
)
SPEED_COLUMNS = (
    "candidate",
    "precision",
    "images_per_second",
    "threads",
    "hardware",
    "torch",
    "command",
)
KEY = ("candidate", "seed", "epochs", "training_images", "hardware")
key = key_of(KEY)


def network_of(name: str):
    """The configuration of a candidate."""
    network, changes = CANDIDATES[name]
    return replace(network, **changes)


def speeds_of(names, data, precision: str = "auto", seconds=1.0, turns=3) -> dict:
    """Images per second of whole runs, median of a few turns."""
    recipe, rates = replace(RECIPE, precision=precision), {name: [] for name in names}
    for _, name in product(range(turns), names):
        model = make_model(network_of(name), recipe, data.images)
        rates[name].append(measure_speed(model, data, recipe, seconds))
    return {name: statistics.median(rate) for name, rate in rates.items()}


def fitting_epochs(speeds: dict[str, float], name: str, of_cpu=RECIPE.epochs) -> int:
    """Epochs in the time that `of_cpu` epochs of `cpu` take; at least one."""
    return max(1, int(of_cpu * speeds[name] / speeds["cpu"]))


def train(name: str, seed: int, epochs: int, parts, checkpoint: Path) -> dict:
    """One run, or what is left of it; what it gave."""
    recipe = replace(RECIPE, seed=seed, epochs=epochs)
    run = Run("gated", name, network_of(name), recipe, off=None)
    found = ablation.train(run, *parts, checkpoint)
    speed = found["images_per_second"]
    seconds = round(epochs * len(parts[0]) / speed, 1) if speed else ""
    found = {column: found[column] for column in COLUMNS if column in found}
    return found | {"train_seconds": seconds}


def run_one(name, seed, epochs, parts, path: Path, folder: Path, constants) -> None:
    """Train, unless the file has the run or another process is at it."""
    row = {"candidate": name, "seed": seed, "epochs": epochs, **constants}
    row |= {"training_images": len(parts[0]), "validation_images": len(parts[1])}
    title = file_name(key(row))
    work = partial(train, name, seed, epochs, parts, folder / title)
    run_once(row, key, COLUMNS, path, folder / title, title, work)


def measured(names, data, seconds, of_cpu: int, precision: str) -> tuple[dict, dict]:
    """Images per second, and how many epochs fit, of each candidate; also printed."""
    speeds = speeds_of(names, data, precision, seconds)
    fits = {name: fitting_epochs(speeds, name, of_cpu) for name in speeds}
    for name, speed in speeds.items():
        print(f"{precision}, {name}: {speed:,.0f} images/s, {fits[name]} epochs fit")
    return speeds, fits


def keep_speeds(path: Path, precision: str, speeds: dict, constants: dict) -> None:
    """A row for each, in place of older ones of the same candidate and machine."""
    same, new = key_of(("candidate", "precision", "hardware")), []
    for name, speed in speeds.items():
        row = {"candidate": name, "precision": precision, **constants}
        new.append(row | {"images_per_second": f"{speed:.4g}"})
    replaced = {same(row) for row in new}
    others = [old for old in read_rows(path) if same(old) not in replaced]
    replace_rows(path, [*others, *new], SPEED_COLUMNS)


def run_all(options, command: str) -> None:
    """Measure, then train what the command asks for and the file lacks."""
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = load_cifar10(source=options.source).train
    training, validation = split(data, validation=len(data) // 5)
    training = training.subset(slice(options.images))
    of_cpu = options.epochs or RECIPE.epochs
    epochs = dict.fromkeys(options.candidates, of_cpu)
    names = list(dict.fromkeys(["cpu", *options.candidates]))
    machine = runtime.describe_machine()
    constants = {name: machine[name] for name in ("hardware", "torch")}
    constants |= {"threads": torch.get_num_threads(), "command": command}
    measure = partial(measured, names, training, options.seconds, of_cpu)
    if options.speeds:
        for precision in ("float32", "auto"):
            speeds, _ = measure(precision)
            keep_speeds(Path(options.speeds_out), precision, speeds, constants)
        return
    if options.fit:
        _, fits = measure("auto")
        epochs = {name: fits[name] for name in epochs}
    for seed, name in product(options.seeds, options.candidates):
        rest = ((training, validation), Path(options.out), folder, constants)
        run_one(name, seed, epochs[name], *rest)


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gated")
    names = list(CANDIDATES)
    parser.add_argument("--candidates", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="default: those of `cpu`")
    parser.add_argument("--fit", action="store_true", help="equal time, not epochs")
    parser.add_argument("--speeds", action="store_true", help="measure, don't train")
    parser.add_argument("--seconds", type=float, default=1.0, help="a turn of speeds")
    parser.add_argument("--images", type=int, help="train on fewer, for a rehearsal")
    parser.add_argument("--source", default="full", help="sample: for a rehearsal")
    parser.add_argument("--folder", default="runs/gated", help="checkpoints, locks")
    parser.add_argument("--out", default=str(runtime.RESULTS / "gated.csv"))
    speeds = runtime.RESULTS / "gated_speeds.csv"
    parser.add_argument("--speeds-out", default=str(speeds))
    options = parser.parse_args(arguments)
    path = Path(options.speeds_out if options.speeds else options.out)
    check_rehearsal(parser, options, path)
    with one_thread():
        run_all(options, command_line("gated", arguments))


if __name__ == "__main__":
    main()
