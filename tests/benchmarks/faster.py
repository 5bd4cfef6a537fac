"""Seconds to 86.48 %: from a textbook's loop to the preset `cpu`, one change at a time.

    python -m tests.benchmarks.faster                    (twice, side by side)
    python -m tests.benchmarks.faster --seeds 0 --runs "short format" "harder images"

All train the network of the preset `cpu` on the same 45,000 images, on one thread; the
other 5,000 judge. **Seconds** are the processor's time for the process, data loading
included (it has no workers), judging left out: a neighbour on another core lengthens
them by what it takes of the caches and the memory, not by its share of the processor.

- *One rate*: the textbook is Adam at 0.001, float32, `nn.Conv2d` for every convolution,
  a DataLoader with torchvision's transforms. A run stops after the first epoch that
  ends at 86.48 % or above, at the latest after `--patience` epochs. "whole batches" and
  "quick depthwise" change the speed and nothing else, so they are timed, in turns of a
  few steps, and take as many epochs as "short format", which is trained for each seed.
  So is the textbook, but for the seeds `--textbook-seeds`, where it is trained itself.
- *With a schedule* the length is part of the recipe. A run of a length that should get
  there, judged at its end, misses the target by a little; from there, the length is
  shifted by the slope of accuracy over the logarithm of the length, pooled over all
  runs. A run that is off by more than `NEAR` points is followed by one of a better
  length, at most three in all. The two rows of "SGD with a schedule" and "average" are
  one training's, judged by its last weights and by their average. (The first was
  called "schedule" when results/faster.csv was made.)

All keep freed memory (`runtime.keep_freed_memory`), the textbook's loop as well. Rows
go to results/faster.csv, and columns that follow from other rows are filled again each
time: `epochs_to_86_48`, `seconds_to_86_48`, and `ratio_to_textbook`, the seconds of the
textbook's loop of the same seed and hardware divided by the run's own. Where the
textbook did not get there, the ratio is "at least" that, which `ratio_is` says.

Several processes may work on the same file and folder: each training is claimed by a
lock, what the file has is not repeated, and what was cut off goes on from its last
epoch. Seeds 0, 1, 2 cost about 16,000 seconds of a core with bfloat16 (two processes:
2 h 15 min), and about twice that without.
"""

import argparse
import math
import statistics
import time
from dataclasses import replace
from functools import partial
from itertools import chain, count, islice, product
from pathlib import Path

import torch
from filelock import FileLock
from torch.nn import functional as F
from torch.utils.data import DataLoader

from cifar_helpers import checkpoints, runtime
from cifar_helpers.data import Batches, load_cifar10, split
from cifar_helpers.evaluation import evaluate
from cifar_helpers.recipes import PRESETS, Recipe, make_model
from cifar_helpers.trainer import Trainer
from cifar_helpers.training import train_one_epoch
from tests.benchmarks.claims import claimed
from tests.benchmarks.rows import (
    check_rehearsal,
    command_line,
    file_name,
    read_rows,
    replace_rows,
)
from tests.benchmarks.running import one_thread
from tests.benchmarks.training import PerImage, textbook

TARGET = 86.48  # per cent of the validation images
NEAR, FAR = 0.75, 1.5  # points: good enough; too far to shift the length from there
SLOPE = 4.0  # points that e times as many epochs are worth, until rows tell
NETWORK, CPU_RECIPE = PRESETS["cpu"]
PLAIN = Recipe(  # Adam at one rate, in float32, on the last weights
    batch_size=128,
    optimizer="adamw",  # without decay: Adam
    learning_rate=1e-3,
    weight_decay=0.0,
    warmup_fraction=0.0,
    label_smoothing=0.0,
    ema_decay=0.0,
    precision="float32",
)
SGD = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}
CHANGES = {  # name: what it changes of the recipe, on top of the run before
    "textbook": {},
    "whole batches": {},  # in memory, channels last
    "quick depthwise": {},  # cifar_helpers.depthwise in place of nn.Conv2d
    "short format": {"precision": "auto"},  # bfloat16 where the processor has it
    "SGD with a schedule": {"warmup_fraction": 0.15, **SGD},
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
RUNS = tuple(CHANGES)
TIMED = ("textbook", "whole batches", "quick depthwise")
TOGETHER = ("SGD with a schedule", "average")  # what one training gives
START = {  # epochs of the first run with a schedule
    "SGD with a schedule": 16,
    "average": 15,
    "label smoothing": 15,
    "batches of 256": 15,
    "Muon": 10,
    "whitened filters": 9,
    "zero-init residual": 7,
    "crops by 2 pixels": 6,
    "small images first": 6,
    "harder images": 6,
}
SAME = ("seed", "hardware", "training_images")  # of rows that are compared
COLUMNS = (
    "run",
    "seed",
    "measured",  # "training", or "speed" alone
    "epochs",
    "training_images",
    "images_per_second",
    "train_seconds",
    "validation_accuracy_percent",
    "epochs_to_86_48",
    "seconds_to_86_48",
    "ratio_to_textbook",
    "ratio_is",
    "threads",
    "hardware",
    "torch",
    "command",
)


class OneRate(Trainer):
    """A Trainer without a schedule."""

    def __init__(self, model, recipe: Recipe, steps: int):
        super().__init__(model, recipe, steps)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda _: 1.0
        )


class TextbookLoop:
    """What a textbook writes, one epoch at a time."""

    def __init__(self, recipe: Recipe, data, workers: int = 0):
        self.recipe = recipe
        self.loader = DataLoader(
            PerImage(data),
            recipe.batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        self.model = textbook(make_model(NETWORK, recipe))
        self.optimizer = torch.optim.Adam(self.model.parameters(), recipe.learning_rate)

    def steps(self):
        """Train on all images once; yield how many after each step."""
        self.model.train()
        for images, labels in self.loader:
            loss = F.nll_loss(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield len(labels)

    def epoch(self, number: int) -> None:
        """One pass, in an order that follows from the seed and the epoch's number."""
        torch.manual_seed(1000 * self.recipe.seed + number)
        for _ in self.steps():
            pass

    def networks(self) -> dict:
        """What is to be judged."""
        return {"textbook": self.model}

    def state(self) -> dict:
        """All that a later process needs."""
        return {"model": self.model.state_dict(), "adam": self.optimizer.state_dict()}

    def load_state(self, state: dict) -> None:
        """The inverse of `state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["adam"])


class OurLoop:
    """The package's loop, one epoch at a time, by the recipe of a run."""

    def __init__(self, run: str, recipe: Recipe, data):
        model = make_model(NETWORK, recipe, data.images)
        if run == "whole batches":
            model = textbook(model)
        steps = recipe.epochs * math.ceil(len(data) / recipe.batch_size)
        kind = Trainer if has_schedule(run) else OneRate
        self.run, self.data, self.trainer = run, data, kind(model, recipe, steps)
        self.state, self.load_state = self.trainer.state, self.trainer.load_state

    def steps(self):
        """Train on all images once; yield how many after each step."""
        self.trainer.train_mode()
        size = self.trainer.recipe.batch_size
        for images, labels in Batches(self.data, size, shuffle=True):
            self.trainer.train_step(images, labels)
            yield len(labels)

    def epoch(self, number: int) -> None:
        """As many images as there are, as the trainer draws them."""
        train_one_epoch(self.trainer, self.data)

    def networks(self) -> dict:
        """What is to be judged, by the name of its row."""
        averaged = self.trainer.averaged.module
        if self.run in TOGETHER:
            return dict(zip(TOGETHER, (self.trainer.model, averaged), strict=True))
        return {self.run: averaged}


def recipe_of(run: str) -> Recipe:
    """The recipe of a run: all changes up to its own."""
    recipe = PLAIN
    for name, changes in CHANGES.items():
        recipe = replace(recipe, **changes)
        if name == run:
            return recipe
    raise ValueError(f"{run!r} is none of {list(CHANGES)}")


def has_schedule(run: str) -> bool:
    """Whether a run's length is part of its recipe."""
    return recipe_of(run).warmup_fraction > 0


def make_loop(run: str, seed: int, epochs: int, data):
    """The loop of a run, before its first step."""
    last = TOGETHER[-1] if run in TOGETHER else run  # averaging changes no weight
    recipe = replace(recipe_of(last), seed=seed, epochs=epochs)
    torch.manual_seed(seed)
    if run == "textbook":
        return TextbookLoop(recipe, data)
    return OurLoop(run, recipe, data)


def train(loop, epochs: int, validation, target: float | None, path: Path) -> dict:
    """Train a loop; its seconds for each epoch, and what its networks reached.

    With a `target`, each epoch is judged, and the first to get there is the last.
    Goes on from `path`, where the state lies after each epoch.
    """
    state = checkpoints.load(path) or {"seconds": [], "judged": {}}
    if state["seconds"]:
        loop.load_state(state["loop"])
    seconds, judged = state["seconds"], state["judged"]
    while len(seconds) < epochs:
        if judged and target is not None and max(judged.values()) >= target:
            break
        started = time.process_time()
        loop.epoch(len(seconds))
        seconds.append(time.process_time() - started)
        if target is not None or len(seconds) == epochs:
            judged = {
                name: evaluate(model, validation)["accuracy_percent"]
                for name, model in loop.networks().items()
            }
        state = {"seconds": seconds, "judged": judged, "loop": loop.state()}
        checkpoints.save(path, state)
        print(f"  epoch {len(seconds)}: {seconds[-1]:.1f} s, {judged}", flush=True)
    return {"seconds": seconds, "judged": judged}


def speeds(seed: int, data, steps: int = 20, turns: int = 3) -> dict[str, float]:
    """Images per second of the loops that differ in nothing else; they take turns."""
    rates = {run: [] for run in TIMED}
    for _, run in product(range(turns), TIMED):
        loop = make_loop(run, seed, 1, data)
        running = chain.from_iterable(loop.steps() for _ in count())
        for _ in islice(running, 3):  # the first steps only set things up
            pass
        started = time.process_time()
        images = sum(islice(running, steps))
        rates[run].append(images / (time.process_time() - started))
    return {run: statistics.median(rate) for run, rate in rates.items()}


def slope_of(rows: list[dict], target: float) -> float:
    """Points of accuracy that e times as many epochs are worth, near the target.

    Least squares within each run and hardware, over its lengths and seeds.
    """
    groups, products, squares = {}, 0.0, 0.0
    for row in rows:
        if has_schedule(row["run"]) and abs(apart(row, target)) < 2 * FAR:
            key = tuple(str(row[name]) for name in ("run", *SAME[1:]))
            point = math.log(int(row["epochs"])), apart(row, target)
            groups.setdefault(key, []).append(point)
    for points in groups.values():
        x, y = (statistics.fmean(values) for values in zip(*points, strict=True))
        products += sum((a - x) * (b - y) for a, b in points)
        squares += sum((a - x) ** 2 for a, _ in points)
    slope = products / squares if squares > 0.2 else SLOPE
    return slope if slope > 1 else SLOPE  # noise


def same_as(row: dict, rows: list[dict], *runs: str) -> list[dict]:
    """The rows of some runs with the seed, hardware and images of `row`."""
    key = [str(row[name]) for name in SAME]
    return [
        r for r in rows if r["run"] in runs and [str(r[name]) for name in SAME] == key
    ]


def shifted_length(row: dict, target: float, slope: float) -> float:
    """Epochs with which a run with a schedule would have ended at the target."""
    return int(row["epochs"]) * math.exp(-apart(row, target) / slope)


def apart(row: dict, target: float) -> float:
    """By how many points a run ended above the target."""
    return float(row["validation_accuracy_percent"]) - target


def with_epochs(rows: list[dict], target: float) -> list[dict]:
    """Rows with the epochs and seconds to the target, where they are known."""
    slope, filled = slope_of(rows, target), []
    for row in rows:
        epochs = ""
        if has_schedule(row["run"]):
            lengths = same_as(row, rows, row["run"])
            nearest = min(lengths, key=lambda each: abs(apart(each, target)))
            if row is nearest and abs(apart(row, target)) <= FAR:
                epochs = round(shifted_length(row, target, slope), 2)
        else:
            learned = [row]
            if row["measured"] == "speed":
                learned = same_as(row, rows, "short format")
                row = row | {"epochs": learned[0]["epochs"] if learned else ""}
            if learned and apart(learned[0], target) >= 0:
                epochs = int(learned[0]["epochs"])
        row = row | {"epochs_to_86_48": epochs}
        filled.append(row | {"seconds_to_86_48": seconds_of(row, epochs)})
    return filled


def seconds_of(row: dict, epochs) -> float | str:
    """What so many epochs of a run cost; "" if nobody knows how many."""
    if not epochs:
        return ""
    seconds = float(epochs) * int(row["training_images"])
    return round(seconds / float(row["images_per_second"]), 1)


def with_ratios(rows: list[dict], target: float = TARGET) -> list[dict]:
    """Rows with all columns that follow from other rows."""
    filled, rated = with_epochs(rows, target), []
    for row in filled:
        ratio, kind = "", ""
        loops = sorted(same_as(row, filled, "textbook"), key=lambda r: r["measured"])
        if row["seconds_to_86_48"] and loops:
            loop = loops[-1]  # "training" before "speed"
            kind = "exact" if loop["seconds_to_86_48"] else "at least"
            seconds = loop["seconds_to_86_48"] or seconds_of(loop, loop["epochs"])
            if seconds:
                ratio = round(float(seconds) / float(row["seconds_to_86_48"]), 2)
        rated.append(row | {"ratio_to_textbook": ratio, "ratio_is": ratio and kind})
    return rated


def add_rows(options, new: list[dict]) -> None:
    """Put rows into the file, and fill again what follows from others."""
    path = Path(options.out)
    with FileLock(Path(options.folder) / f"{path.name}.lock"):
        rows = with_ratios([*read_rows(path), *new], options.target)
        replace_rows(path, rows, COLUMNS)
    for row in new:
        print(row, flush=True)


def next_length(run: str, seed: int, constants: dict, options) -> int | None:
    """How many epochs to train next, or None: the target is near enough, or can't be.

    The first length is the one at which another seed got there, if there is one.
    """
    rows, target = read_rows(Path(options.out)), options.target
    asked, slope = {"seed": seed, **constants}, slope_of(rows, target)
    mine = same_as(asked, rows, run)
    if not has_schedule(run):
        trained = [row for row in mine if row["measured"] == "training"]
        return None if trained else options.patience
    if mine:
        nearest = min(mine, key=lambda row: abs(apart(row, target)))
        if abs(apart(nearest, target)) <= NEAR or len(mine) >= 3:
            return None
        length = shifted_length(nearest, target, slope)
    else:
        known = [
            float(row["epochs_to_86_48"])
            for row in rows
            if (row["run"], row["hardware"]) == (run, constants["hardware"])
            and row["training_images"] == str(constants["training_images"])
            and row["epochs_to_86_48"]
        ]
        length = statistics.fmean(known) if known else START[run]
    length = min(max(round(length), 1), options.longest)
    return None if str(length) in [row["epochs"] for row in mine] else length


def reach(run: str, seed: int, parts, constants: dict, options) -> None:
    """Train a run until its seconds to the target are known."""
    training, validation = parts
    name = TOGETHER[0] if run in TOGETHER else run
    title = file_name((name, seed, len(training), constants["hardware"]))
    while epochs := next_length(run, seed, constants, options):
        print(f"{run}, seed {seed}: {epochs} epochs at most", flush=True)
        loop, path = make_loop(run, seed, epochs, training), Path(options.folder)
        path = path / f"{title}-{epochs}.part"
        target = None if has_schedule(run) else options.target
        found = train(loop, epochs, validation, target, path)
        seconds, epochs = sum(found["seconds"]), len(found["seconds"])
        row = {"seed": seed, "measured": "training", "epochs": epochs, **constants}
        row["images_per_second"] = round(epochs * len(training) / seconds, 1)
        row["train_seconds"] = round(seconds, 1)
        judged = "validation_accuracy_percent"
        add_rows(
            options,
            [
                row | {"run": each, judged: round(accuracy, 2)}
                for each, accuracy in found["judged"].items()
            ],
        )
        checkpoints.remove(path)


def time_loops(seed: int, parts, constants: dict, options) -> None:
    """Rows for the loops that are timed only, unless the file has them."""
    rows = same_as({"seed": seed, **constants}, read_rows(Path(options.out)), *TIMED)
    known = [row["run"] for row in rows if row["measured"] == "speed"]
    missing = [run for run in TIMED if run not in known]
    if missing:
        rates = speeds(seed, parts[0])
        row = {"seed": seed, "measured": "speed", **constants}
        rows = [
            row | {"run": run, "images_per_second": round(rates[run], 1)}
            for run in missing
        ]
        add_rows(options, rows)


def run_all(options, command: str) -> None:
    """Train and time what the command asks for and the file lacks."""
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    runtime.keep_freed_memory()
    data = load_cifar10(source=options.source).train
    training, validation = parts = split(data, validation=len(data) // 10)
    if options.images:
        parts = training.subset(slice(options.images)), validation
    machine = runtime.describe_machine()
    constants = {name: machine[name] for name in ("hardware", "torch")}
    constants |= {"threads": torch.get_num_threads(), "command": command}
    constants["training_images"] = len(parts[0])

    def claim(name, work):
        lock = f"{name.replace(' ', '_')}.claim"
        claimed(Path(options.folder) / lock, name, work)

    for seed, run in product(options.seeds, options.runs):
        rest = (seed, parts, constants, options)
        if run in TIMED:
            claim(f"speeds-{seed}", partial(time_loops, *rest))
        if run not in TIMED or run == "textbook" and seed in options.textbook_seeds:
            name = TOGETHER[0] if run in TOGETHER else run
            claim(f"{name}-{seed}", partial(reach, run, *rest))


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.faster")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--textbook-seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--patience", type=int, default=30, help="epochs at one rate")
    parser.add_argument("--longest", type=int, default=40, help="epochs of a schedule")
    parser.add_argument("--target", type=float, default=TARGET, help="for a rehearsal")
    parser.add_argument("--images", type=int, help="train on fewer, for a rehearsal")
    parser.add_argument("--source", default="full", help="sample: for a rehearsal")
    parser.add_argument("--folder", default="runs/faster", help="checkpoints, locks")
    parser.add_argument("--out", default=str(runtime.RESULTS / "faster.csv"))
    options = parser.parse_args(arguments)
    check_rehearsal(parser, options, Path(options.out), options.target != TARGET)
    with one_thread():
        run_all(options, command_line("faster", arguments))


if __name__ == "__main__":
    main()
