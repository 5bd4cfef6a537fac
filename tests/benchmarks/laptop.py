"""From nothing to a trained network on this CPU, beside a network of reference.

    python -m tests.benchmarks.laptop --seeds 0 1 2 --reference-epochs 7

Trains the preset `cpu`, and ResNet-8 widened to as many parameters by the same loop,
turn by turn, and writes a row for each finished run into results/laptop.csv. A run that
is already in the file (same network, seed and epochs) is not repeated. Training time
leaves evaluation out; the test set is looked at once per finished run.
"""

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path

from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10
from cifar_helpers.evaluation import evaluate
from cifar_helpers.model import count_parameters
from cifar_helpers.recipes import PRESETS, initialize
from cifar_helpers.training import fit, train_preset
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config
from tests.benchmarks.rows import add_row, command_line, read_rows

COLUMNS = (
    "network",
    "seed",
    "epochs",
    "train_seconds",
    "test_accuracy_percent",
    "parameters",
    "cores",
    "cpu",
    "torch",
    "command",
)

REFERENCE_RECIPE = replace(  # `cpu`'s, but for two changes tried only together here
    PRESETS["cpu"][1],
    batch_size=128,
    learning_rate=0.1,
    sgd_learning_rate=0.1,
    ema_decay=0.99,
    zero_init_residual=False,
)


def train_cpu(seed: int, out: Path, source: str) -> dict:
    """One run of the preset; weights, card and history lie in `out` afterwards."""
    card = train_preset("cpu", out, seed=seed, device="cpu", source=source)
    names = ("seed", "train_seconds", "test_accuracy_percent", "parameters")
    row = {name: card[name] for name in names}
    return row | {"network": "cpu", "epochs": card["recipe"]["epochs"]}


def train_reference(seed: int, out: Path, source: str, epochs: int) -> dict:
    """One run of ResNet-8, width 24."""
    recipe = replace(REFERENCE_RECIPE, seed=seed, epochs=epochs)
    data = load_cifar10(source=source)
    runtime.seed_everything(seed)
    model = ResNet8(ResNet8Config(width=24))
    initialize(model, recipe, data.train.images)
    model, history = fit(model, data.train, recipe, checkpoint=out / "resnet8.part")
    return {
        "network": "resnet8-24",
        "seed": seed,
        "epochs": epochs,
        "train_seconds": round(sum(row["seconds"] for row in history), 1),
        "test_accuracy_percent": evaluate(model, data.test)["accuracy_percent"],
        "parameters": count_parameters(model),
    }


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.laptop")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--reference-epochs", type=int, default=0, help="0: none")
    parser.add_argument("--source", default="full", help="sample: for a quick look")
    parser.add_argument("--runs", default="runs/laptop", help="folder for weights")
    parser.add_argument("--out", default=str(runtime.RESULTS / "laptop.csv"))
    options = parser.parse_args(arguments)
    path, lengths = Path(options.out), {"cpu": PRESETS["cpu"][1].epochs}
    if options.reference_epochs:
        lengths["resnet8-24"] = options.reference_epochs
    done = {
        (row["network"], int(row["seed"]), int(row["epochs"]))
        for row in read_rows(path)
    }
    machine = runtime.describe_machine()
    constants = {"cores": machine["cores"], "torch": machine["torch"]}
    constants |= {"cpu": machine["hardware"]}
    constants["command"] = command_line("laptop", arguments)
    for seed, (name, length) in product(options.seeds, lengths.items()):
        if (name, seed, length) in done:
            continue
        folder = Path(options.runs) / f"{name}-{length}-{seed}"
        if name == "cpu":
            row = train_cpu(seed, folder, options.source)
        else:
            row = train_reference(seed, folder, options.source, length)
        add_row(path, row | constants, COLUMNS)
        print(row, flush=True)


if __name__ == "__main__":
    main()
