"""What each idea of the network `cpu` buys: one row for each training.

    python -m tests.benchmarks.ablation factorial --seeds 0
    python -m tests.benchmarks.ablation factorial --seeds 0 --half 1
    python -m tests.benchmarks.ablation small-factorial --seeds 0 1 2
    python -m tests.benchmarks.ablation noise --seeds {0..29}
    python -m tests.benchmarks.ablation confirmation --seeds 0 1 2 3 4
    python -m tests.benchmarks.ablation sweep --seeds 0 1 2
    python -m tests.benchmarks.ablation equal-epochs --seeds 0 1 2
    python -m tests.benchmarks.ablation equal-seconds --seeds 0 1 2

`factorial`: all 64 combinations of six switches, four epochs of 40,000 images.
`noise`: one small recipe, many seeds. `small-factorial`: all combinations by that
recipe. `confirmation`: the whole network, each single removal, the same with the freed
parameters spent on width, the best that `factorial` predicts, and other changes, nine
epochs. The same 10,000 training images are held out in every run and judge it; the test
set is not touched. `sweep`: batch, optimizer and decay one at a time, each at six
rates. `equal-epochs` and `equal-seconds`: the presets baseline, cpu and champion, each
with its own recipe.

A run takes one thread. Several processes may work on the same file and folder: each run
is claimed by a lock, a run that the file has is not repeated, and one that was
interrupted goes on from its checkpoint. Rows go to results/ablation.csv, those of
`noise` to results/noise.csv, those of the last three to results/budget.csv. `seconds`
are wall-clock time, pauses included; `images_per_second` is counted in the processor's
time for this process. `command` makes the row alone again.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from cifar_helpers import runtime
from cifar_helpers.ablation import SWITCHES
from cifar_helpers.data import load_cifar10, split
from cifar_helpers.evaluation import evaluate
from cifar_helpers.model import NetConfig, count_multiply_adds, count_parameters
from cifar_helpers.recipes import PRESETS
from tests.benchmarks.ablation_designs import DESIGNS, FILES, Run
from tests.benchmarks.claims import run_once
from tests.benchmarks.rows import check_rehearsal, key_of
from tests.benchmarks.running import fit_whole, one_thread
from tests.benchmarks.stepwise import differences

COLUMNS = (
    "design",
    "variant",
    *SWITCHES,
    "seed",
    "epochs",
    "training_images",
    "validation_images",
    "parameters",
    "multiply_adds",
    "train_accuracy_percent",
    "validation_accuracy_percent",
    "validation_loss",
    "images_per_second",
    "seconds",
    "threads",
    "hardware",
    "torch",
    "network",
    "recipe",
    "command",
)
KEY = ("design", "variant", "seed", "epochs", "training_images", "validation_images")
key = key_of(KEY)


def changes_of(run: Run) -> dict:
    """How network and recipe differ from the preset `cpu`, as JSON."""
    network, recipe = PRESETS["cpu"]
    start = network if isinstance(run.network, NetConfig) else type(run.network)()
    pairs = {"network": (run.network, start), "recipe": (run.recipe, recipe)}
    found = {}
    for column, (mine, theirs) in pairs.items():
        found[column] = json.dumps(differences(mine, theirs))
    return found


def row_of(run: Run, training, validation) -> dict:
    """What is known of a run before it starts."""
    return {
        "design": run.design,
        "variant": run.variant,
        **run.switches(),
        "seed": run.recipe.seed,
        "epochs": run.recipe.epochs,
        "training_images": len(training),
        "validation_images": len(validation),
        **changes_of(run),
    }


def train(run: Run, training, validation, checkpoint: Path) -> dict:
    """One run, or what is left of it; what it gave."""
    resumed = checkpoint.exists()
    runtime.seed_everything(run.recipe.seed)
    model = run.model(training.images)
    started = time.process_time()
    model, history = fit_whole(model, training, run.recipe, checkpoint=checkpoint)
    processor_seconds = time.process_time() - started
    judged = evaluate(model, validation)
    seen = run.recipe.epochs * len(training)
    return {
        "parameters": count_parameters(model),
        "multiply_adds": count_multiply_adds(model),
        "train_accuracy_percent": round(history[-1]["train_accuracy_percent"], 2),
        "validation_accuracy_percent": round(judged["accuracy_percent"], 2),
        "validation_loss": round(judged["loss"], 5),
        "images_per_second": "" if resumed else round(seen / processor_seconds, 1),
        "seconds": round(sum(row["seconds"] for row in history), 1),
    }


def run_one(run: Run, parts, path: Path, folder: Path, constants: dict) -> None:
    """Train, unless the file has the run or another process is at it."""
    training, validation = parts
    training = training.subset(slice(run.images))
    row = row_of(run, training, validation) | constants
    title = f"{run.design}, {run.variant}, seed {run.recipe.seed}"
    checkpoint = folder / "-".join(key(row)).replace(" ", "_")
    work = partial(train, run, training, validation, checkpoint)
    run_once(row, key, COLUMNS, path, checkpoint, title, work)


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ablation")
    parser.add_argument("design", choices=sorted(DESIGNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--half", type=int, choices=(1, 2), help="of the design's runs")
    parser.add_argument("--variants", nargs="+", help="only these, by name")
    parser.add_argument("--source", default="full", help="sample: for a quick look")
    parser.add_argument("--images", type=int, help="train on fewer, for a quick look")
    parser.add_argument("--epochs", type=int, help="not the design's, for a quick look")
    parser.add_argument("--runs", default="runs/ablation", help="checkpoints, locks")
    parser.add_argument("--out", help="the csv; default: the one in results/")
    options = parser.parse_args(arguments)
    name = FILES.get(options.design, "ablation.csv")
    path = Path(options.out or runtime.RESULTS / name)
    check_rehearsal(parser, options, path, rehearsal=options.epochs is not None)
    check_choice(parser, options)
    with one_thread():
        run_all(options, path)


def check_choice(parser: argparse.ArgumentParser, options) -> None:
    """End with an error for variants or a half that the design has not."""
    if options.variants or options.half:
        runs = DESIGNS[options.design](0)
        names = [run.variant for run in runs]
        if unknown := set(options.variants or ()) - set(names):
            parser.error(f"{options.design} has no {sorted(unknown)}, but {names}")
        if options.half and DESIGNS[options.design](0, options.half) == runs:
            parser.error(f"{options.design} has no halves")


def command_of(run: Run, options) -> str:
    """The command that makes this row alone again."""
    words = [run.design, "--seeds", str(run.recipe.seed)]
    words += ["--variants", json.dumps(run.variant)]
    for name in ("images", "epochs"):
        if getattr(options, name):
            words += [f"--{name}", str(getattr(options, name))]
    if options.source != "full":
        words += ["--source", options.source]
    return " ".join(["python -m tests.benchmarks.ablation", *words])


def run_all(options, path: Path) -> None:
    """Train what the command asks for and the file lacks."""
    folder = Path(options.runs)
    folder.mkdir(parents=True, exist_ok=True)
    data = load_cifar10(source=options.source).train
    parts = split(data, validation=len(data) // 5)
    machine = runtime.describe_machine()
    constants = {name: machine[name] for name in ("hardware", "torch")}
    constants |= {"threads": torch.get_num_threads()}
    for seed in options.seeds:
        for run in DESIGNS[options.design](seed, options.half):
            if options.variants and run.variant not in options.variants:
                continue
            constants["command"] = command_of(run, options)
            if options.images:
                run = replace(run, images=options.images)
            if options.epochs:
                recipe = replace(run.recipe, epochs=options.epochs)
                run = replace(run, recipe=recipe)
            run_one(run, parts, path, folder, constants)


if __name__ == "__main__":
    main()
