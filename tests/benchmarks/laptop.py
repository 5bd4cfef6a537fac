"""From nothing to a trained network on this CPU, beside a network of reference.

    python -m tests.benchmarks.laptop --seeds 0 1 2 --reference-epochs 7
    python -m tests.benchmarks.laptop --seeds 0 1 2 --epochs 6     (a shorter preset)

Trains the preset `cpu`, and ResNet-8 widened to as many parameters by the same loop,
turn by turn, and writes a row for each finished run into results/laptop.csv. A run that
is already in the file (same network, seed, epochs and processor) is not repeated. With
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 in the environment a newer processor
computes as one does that has no more than AVX2, and is a processor of its own here.
Training time leaves evaluation out; the test set is looked at once per finished run.

`seconds_to_86_48` is the time of a whole run that ended at 86.48 % of the test images
or above, as the schedule belongs to it; a shorter run might get there as well. Before
each run of `cpu`, the textbook's loop of `tests.benchmarks.faster` is timed for
`--textbook-seconds` on the same threads, its worker processes warm. `ratio_to_textbook`
is the time that loop would take for as many images as it needs until 86.48 % of the
validation images (results/faster.csv, the mean of its seeds; they don't depend on the
processor), divided by `seconds_to_86_48`: both speeds are of one process and hour. It
is empty as long as faster.csv does not say, and "at least" that (`ratio_is`) if a
textbook stopped before it got there.
"""

import argparse
import statistics
from dataclasses import replace
from itertools import chain, count, product
from pathlib import Path

from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10
from cifar_helpers.evaluation import evaluate
from cifar_helpers.model import count_parameters
from cifar_helpers.recipes import PRESETS, initialize
from cifar_helpers.training import train_preset
from tests.benchmarks import faster
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config
from tests.benchmarks.rows import (
    check_rehearsal,
    command_line,
    file_name,
    key_of,
    read_rows,
    replace_rows,
)
from tests.benchmarks.running import fit_whole
from tests.benchmarks.training import images_per_second

COLUMNS = (
    "network",
    "seed",
    "epochs",
    "train_seconds",
    "test_accuracy_percent",
    "seconds_to_86_48",
    "textbook_images_per_second",
    "ratio_to_textbook",
    "ratio_is",
    "parameters",
    "cores",
    "cpu",
    "torch",
    "command",
)
key = key_of(("network", "seed", "epochs", "cpu"))
WORKERS = 2  # of the textbook's DataLoader

REFERENCE_RECIPE = replace(  # `cpu`'s, but for two changes tried only together here
    PRESETS["cpu"][1],
    batch_size=128,
    learning_rate=0.1,
    sgd_learning_rate=0.1,
    ema_decay=0.99,
    zero_init_residual=False,
)


def textbook_speed(data, seconds: float) -> float:
    """Images per second of the textbook's loop, its workers running."""
    runtime.keep_freed_memory()  # as in our loop
    loop = faster.TextbookLoop(faster.PLAIN, data, WORKERS)
    steps = chain.from_iterable(loop.steps() for _ in count())
    return images_per_second(steps, seconds, 6)  # more than the workers hold ready


def train_cpu(seed: int, out: Path, source: str, epochs: int) -> dict:
    """One run of the preset; weights, card and history lie in `out` afterwards."""
    changes = {"seed": seed, "epochs": epochs}
    card = train_preset("cpu", out, device="cpu", source=source, **changes)
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
    checkpoint = out / "resnet8.part"
    model, history = fit_whole(model, data.train, recipe, checkpoint=checkpoint)
    return {
        "network": "resnet8-24",
        "seed": seed,
        "epochs": epochs,
        "train_seconds": round(sum(row["seconds"] for row in history), 1),
        "test_accuracy_percent": evaluate(model, data.test)["accuracy_percent"],
        "parameters": count_parameters(model),
    }


def textbook_images(rows: list[dict]) -> tuple[float, bool] | None:
    """How many images the textbook needs, mean over seeds; whether all got there.

    `rows` are those of results/faster.csv; a loop that was trained itself counts before
    one that was timed. None if there is no such row yet.
    """
    by_seed, reached = {}, []
    rows = [row for row in rows if row["run"] == "textbook" and row["epochs"]]
    for row in sorted(rows, key=lambda row: row["measured"]):  # "training" is last
        by_seed[row["hardware"], row["seed"]] = row
    for row in by_seed.values():
        reached.append(bool(row["epochs_to_86_48"]))
    images = [
        float(row["epochs_to_86_48"] or row["epochs"]) * int(row["training_images"])
        for row in by_seed.values()
    ]
    return (statistics.fmean(images), all(reached)) if images else None


def with_ratios(rows: list[dict], needed: tuple[float, bool] | None) -> list[dict]:
    """Rows with the columns that follow from others; `needed`: `textbook_images`."""
    filled = []
    for row in rows:
        reached = float(row["test_accuracy_percent"]) >= faster.TARGET
        seconds = float(row["train_seconds"]) if reached else ""
        rate, ratio, kind = row.get("textbook_images_per_second"), "", ""
        if rate and seconds and needed:
            ratio = round(needed[0] / float(rate) / seconds, 2)
            kind = "exact" if needed[1] else "at least"
        row = row | {"seconds_to_86_48": seconds, "ratio_to_textbook": ratio}
        filled.append(row | {"ratio_is": kind})
    return filled


def write_rows(path: Path, rows: list[dict]) -> None:
    """The whole file anew, with what follows from results/faster.csv by now."""
    needed = textbook_images(read_rows(runtime.RESULTS / "faster.csv"))
    replace_rows(path, with_ratios(rows, needed), COLUMNS)


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.laptop")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=PRESETS["cpu"][1].epochs)
    parser.add_argument("--reference-epochs", type=int, default=0, help="0: none")
    parser.add_argument("--textbook-seconds", type=float, default=20, help="0: none")
    parser.add_argument("--source", default="full", help="sample: for a quick look")
    parser.add_argument("--runs", default="runs/laptop", help="folder for weights")
    parser.add_argument("--out", default=str(runtime.RESULTS / "laptop.csv"))
    options = parser.parse_args(arguments)
    path, lengths = Path(options.out), {"cpu": options.epochs}
    check_rehearsal(parser, options, path)
    if options.reference_epochs:
        lengths["resnet8-24"] = options.reference_epochs
    machine = runtime.describe_machine()
    constants = {"cores": machine["cores"], "torch": machine["torch"]}
    constants |= {"cpu": machine["hardware"]}
    constants["command"] = command_line("laptop", arguments)
    for seed, (name, length) in product(options.seeds, lengths.items()):
        wanted = {"network": name, "seed": seed, "epochs": length} | constants
        if key(wanted) in map(key, read_rows(path)):
            continue
        folder = Path(options.runs) / file_name(key(wanted))
        if name == "cpu":
            rate = ""
            if options.textbook_seconds:
                data = load_cifar10(source=options.source).train
                rate = round(textbook_speed(data, options.textbook_seconds), 1)
            row = train_cpu(seed, folder, options.source, length)
            row["textbook_images_per_second"] = rate
        else:
            row = train_reference(seed, folder, options.source, length)
        write_rows(path, [*read_rows(path), row | constants])
        print(row, flush=True)
    write_rows(path, read_rows(path))


if __name__ == "__main__":
    main()
