"""The pieces of the GPU program, each finished or taken up again; see `gpu`.

    python -m tests.benchmarks.gpu_pieces measure OPTIONS
    python -m tests.benchmarks.gpu_pieces train OPTIONS

`OPTIONS` is the JSON that `gpu` hands over. A process that falls leaves files from
which the next one goes on: rows of measurements, finished runs, checkpoints.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from cifar_helpers import checkpoints, runtime
from cifar_helpers.data import CIFAR10, load_cifar10, split
from cifar_helpers.evaluation import evaluate
from cifar_helpers.model import CIFAR10Net, NetConfig
from cifar_helpers.pretrained import card_of, save_run
from cifar_helpers.recipes import PRESETS, Recipe, initialize, make_model
from tests.benchmarks import gpu_teacher, stepwise
from tests.benchmarks.gpu_files import SNAPSHOT_SECONDS, log, return_results
from tests.benchmarks.gpu_forms import (
    DESIGNS,
    Form,
    choose,
    forms_to_measure,
    measure,
    recipe_of,
    row_of,
    trainer_of,
    use,
)
from tests.benchmarks.gpu_teacher import load_teacher
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config
from tests.benchmarks.rows import add_row, read_rows
from tests.benchmarks.running import fit_whole

SHORT_RUNS = {"to-86.48": (86.48, 8)}  # target in %, epochs
TIMES = (
    "network",
    "target_percent",
    "reached_percent",
    "epoch",
    "epochs",
    "train_seconds",
    "seed",
    "training_images",
    "form",
    "hardware",
    "torch",
    "command",
)


class OutOfTime(Exception):
    """The minutes are over; what was done is saved."""


class Reached(Exception):
    """A short run has the accuracy it was started for."""


def measured(work: Path) -> list[dict]:
    """All rows so far, of any machine."""
    path = work / "measured.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def measure_all(options: dict) -> None:
    """Add a row for each form that lacks one on this machine, until time is over."""
    work, device = Path(options["work"]), runtime.pick_device(options["device"])
    path, begun = work / "measured.jsonl", work / "begun.json"
    path.touch()
    if begun.exists():  # by a process that did not live to tell
        add_measurement(path, json.loads(begun.read_text()) | {"error": "it fell"})
        begun.unlink()
    known = [key(row) for row in measured(work)]
    for design, form, size in forms_to_measure(device, options["design"]):
        row = row_of(design, form, size, device) | {"command": options["command"]}
        if key(row) in known:
            continue
        if time.time() > options["until"]:
            break
        begun.write_text(json.dumps(row))
        try:
            row |= measure(design, form, size, options["seconds"], device)
        except Exception as error:  # whatever it is, other forms may work
            row["error"] = f"{type(error).__name__}: {error}"[:500]
        add_measurement(path, row)
        begun.unlink()
        what = row.get("error") or f"{row['images_per_second']:,.0f} images/s"
        log(work, f"{design}, {form}, {form.precision}, batches of {size}: {what}")
        if "error" in row and device.type == "cuda":
            sys.exit(1)  # after some errors nothing works in a process any more


def key(row: dict) -> str:
    """Rows with the same key measure the same."""
    names = ("design", "form", "batch_size", "hardware")
    return json.dumps([row[name] for name in names])


def add_measurement(path: Path, row: dict) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


class Program:
    """The pieces of training, on one device, in one form, until the time is over."""

    def __init__(self, options: dict):
        self.options, self.work = options, Path(options["work"])
        self.device = runtime.pick_device(options["device"])
        self.machine = runtime.describe_machine(self.device)
        self.data = load_cifar10(source=options["source"])
        if options["images"]:
            few = (p.subset(slice(options["images"])) for p in self.parts())
            self.data = CIFAR10(*few, source=self.data.source)
        hardware = self.machine["hardware"]
        self.form, rate = choose(measured(self.work), options["design"], hardware)
        if options["safe"] or (rate is None and self.device.type != "cuda"):
            cuda = self.device.type == "cuda"
            self.form = Form(precision="bfloat16" if cuda else "float32")
        log(self.work, f"{hardware}: {self.form}, {self.form.precision}")
        self.returned, self.parent = time.time(), os.getppid()

    def parts(self):
        return self.data.train, self.data.test

    def run(self) -> None:
        """Every piece that is not finished yet, in the order wanted."""
        self.epochs = self.plan()
        try:
            for piece in self.options["pieces"]:
                (self.work / "piece").write_text(piece)
                if piece == "teacher":
                    self.teach()
                elif piece not in SHORT_RUNS:
                    self.train(piece)
                elif not self.options["finish"]:
                    self.time_to(piece)
        except OutOfTime:
            log(self.work, f"out of time in {piece}")
        (self.work / "piece").unlink(missing_ok=True)
        self.give_back()

    def plan(self) -> int:
        """How many epochs the long runs have: as many as fit, measured now; kept."""
        path, options = self.work / "plan.json", self.options
        if path.exists():
            plan = json.loads(path.read_text())
            if options["finish"]:
                self.machine = plan["machine"]  # there the runs were trained
            return plan["epochs"]
        started, size = time.time(), options["batch_size"]
        seconds = 2 * options["seconds"]
        found = measure(options["design"], self.form, size, seconds, self.device)
        rate, left = found["images_per_second"], options["until"] - time.time()
        most = int(0.95 * left * rate / len(self.data.train))  # 5 % is not training
        usual = min(most, PRESETS["champion"][1].epochs)
        epochs = max(2, usual, int(options["share"] * most))
        epochs = min(options["epochs"], epochs)
        plan = {"epochs": epochs, "images_per_second": rate, "machine": self.machine}
        path.write_text(json.dumps(plan))
        log(
            self.work,
            f"{rate:,.0f} images/s (measured in {time.time() - started:.0f} s), "
            f"{left:.0f} s left: {epochs} epochs",
        )
        return epochs

    def fits_still(self, piece: str, runs: float) -> bool:
        """Whether there is time for so many runs of the champion's length."""
        card = self.work / "runs" / f"{self.run_of('champion')[0]}.json"
        if not card.exists():
            log(self.work, f"{piece}: the champion comes first")
            return False
        needed = runs * json.loads(card.read_text())["train_seconds"]
        left = self.options["until"] - time.time()
        if needed > left:
            log(self.work, f"{piece}: {left:.0f} s are left of {needed:.0f} s")
        return needed <= left

    def recipe(self, network: str, epochs: int, seed: int, images: int) -> Recipe:
        size = self.options["batch_size"]
        return recipe_of(epochs, self.form, images, seed, size, network)

    def fit(self, network: str, recipe, training, teacher=None, **more) -> list[dict]:
        """Train, in the form that was chosen; the history."""
        runtime.seed_everything(recipe.seed)
        model = make_model(DESIGNS[network], recipe, training.images)
        model = use(model.to(self.device), self.form.depthwise)
        more["make_trainer"] = trainer_of(self.form, teacher)
        return fit_whole(model, training, recipe, **more)[1]

    def teach(self) -> None:
        """Train the teacher, a network of its own, on all images; judge it once."""
        name = f"teacher-{self.options['design']}"  # of the runs that it teaches
        if self.has_row(name) and load_teacher(self.work, "cpu") is not None:
            return log(self.work, "teacher: finished before")
        if self.options["finish"]:
            return None
        if not self.fits_still("teacher", 2.5):  # it, and one whom it teaches
            return None
        data, size = self.data.train, self.options["batch_size"]
        form = Form(graph=self.form.graph, precision=self.form.precision)
        epochs = min(gpu_teacher.EPOCHS, self.epochs)
        recipe = recipe_of(epochs, form, len(data), batch_size=size)
        recipe = replace(recipe, **gpu_teacher.CHANGES)
        runtime.seed_everything(recipe.seed)
        config = ResNet8Config(width=self.options["teacher_width"])
        model = initialize(ResNet8(config), recipe, data.images)

        def after_epoch(history):
            if self.is_over():
                raise OutOfTime

        model, history = fit_whole(
            model.to(self.device),
            data,
            recipe,
            on_epoch=after_epoch,
            make_trainer=trainer_of(form),
        )
        judged = evaluate(model, self.data.test)
        card = card_of(recipe, history, self.data.source, len(data), self.machine)
        card["test_accuracy_percent"] = judged["accuracy_percent"]
        card = gpu_teacher.save_teacher(self.work, name, model, card)
        self.add_run(name, card, history, {"ResNet-8": card["config"]})
        log(self.work, f"{name}: {card['test_accuracy_percent']:.2f} % of the test set")
        self.give_back()

    def train(self, piece: str) -> None:
        """A long run on all training images; goes on from its checkpoint."""
        name, network, seed = self.run_of(piece)
        checkpoint = self.work / f"{name}.checkpoint"
        if self.has_row(name):
            log(self.work, f"{name}: finished before")
            return
        if self.options["finish"]:
            return self.finish(name) if checkpoint.exists() else None
        data, teacher = self.data.train, None
        recipe = self.recipe(network, self.epochs, seed, len(data))
        if piece.startswith("taught"):
            teacher = load_teacher(self.work, self.device)
            if teacher is None:
                return log(self.work, f"{name}: there is no teacher")
            if not checkpoint.exists() and not self.fits_still(name, 1.5):
                return None
            recipe = replace(recipe, **gpu_teacher.CHANGES)
        take_over(checkpoint, recipe)
        try:
            self.fit(
                network,
                recipe,
                data,
                teacher,
                on_epoch=lambda history: self.after_epoch(name, history, recipe),
                checkpoint=checkpoint,
            )
        except OutOfTime:
            history = checkpoints.load(checkpoint)["history"]
            if len(history) < 0.9 * recipe.epochs:
                raise  # else the rate is nearly zero: little is missing
        self.finish(name)

    def run_of(self, piece: str) -> tuple[str, str, int]:
        """Name, network and seed of "champion", "seed-2" or "baseline-0"."""
        kind, _, number = piece.partition("-")
        network = "baseline" if kind == "baseline" else self.options["design"]
        seed = int(number or 0)
        names = {"baseline": f"baseline-{seed}", "taught": f"taught-{network}-{seed}"}
        return names.get(kind, f"champion-{network}-{seed}"), network, seed

    def after_epoch(self, name: str, history: list[dict], recipe: Recipe) -> None:
        """Called when the checkpoint of an epoch is written."""
        now, row = time.time(), history[-1]
        if now - self.returned > SNAPSHOT_SECONDS or len(history) == 1:
            rate = len(self.data.train) / row["seconds"]
            log(
                self.work,
                f"{name}: epoch {row['epoch']} of {recipe.epochs}, loss "
                f"{row['train_loss']:.4f}, {rate:,.0f} images/s",
            )
            self.give_back()
        if self.is_over() and len(history) < recipe.epochs:
            self.give_back()
            raise OutOfTime

    def is_over(self) -> bool:
        """Whether the minutes are over, or the process that waits for this one fell.

        Asked after each epoch, it also leaves a sign of life.
        """
        (self.work / "alive").touch()
        return time.time() > self.options["until"] or os.getppid() != self.parent

    def give_back(self) -> None:
        return_results(self.work, Path(self.options["out"]))
        self.returned = time.time()

    def finish(self, name: str) -> None:
        """Judge a run once and write its files, out of its last checkpoint."""
        checkpoint = self.work / f"{name}.checkpoint"
        saved = checkpoints.load(checkpoint)
        identity, history = saved["identity"], saved["history"]
        recipe = Recipe(**identity["recipe"])
        model = CIFAR10Net(NetConfig(**identity["network"]))
        weights = {
            key.removeprefix("module."): value
            for key, value in saved["averaged"].items()
            if key != "n_averaged"
        }
        model.load_state_dict(weights)
        judged = evaluate(model.to(self.device), self.data.test)
        images = int(identity["images"]["training"].split()[0])
        card = card_of(recipe, history, self.data.source, images, self.machine)
        card |= {
            "epochs_trained": len(history),
            "test_accuracy_percent": judged["accuracy_percent"],
        }
        if not self.options["finish"]:  # else another process trained it
            card["form"] = f"{self.form}, {self.form.precision}"
        if name.startswith("taught"):
            card["teacher"] = json.loads((self.work / gpu_teacher.CARD).read_text())
        card = save_run(self.work / "runs", name, model.cpu(), history, card)
        network = stepwise.differences(model.config, NetConfig())
        self.add_run(name, card, history, network)
        checkpoints.remove(checkpoint)
        log(self.work, f"{name}: {card['test_accuracy_percent']:.2f} % of the test set")
        self.give_back()

    def has_row(self, name: str) -> bool:
        """Whether a run's last file was written: its card alone is not the end."""
        return any(row["run"] == name for row in read_rows(self.work / "runs.csv"))

    def add_run(self, name, card: dict, history: list[dict], network: dict) -> None:
        """A row like those of champion.csv; `network` says which it is."""
        recipe = Recipe(**card["recipe"])
        row = stepwise.row_of(name, NetConfig(), recipe, card["training_images"])
        row |= {k: card[k] for k in ("parameters", "multiply_adds", "hardware")}
        row |= {
            "torch": card["torch"],
            "network": json.dumps(network),
            "epochs": len(history),
            "seconds": card["train_seconds"],
            "threads": "" if self.options["finish"] else torch.get_num_threads(),
            "train_accuracy_percent": round(history[-1]["train_accuracy_percent"], 2),
            "test_accuracy_percent": round(card["test_accuracy_percent"], 2),
            "command": self.options["command"],
        }
        add_row(self.work / "runs.csv", row, stepwise.COLUMNS)

    def time_to(self, piece: str) -> None:
        """How long a short run takes to an accuracy on images that were held out."""
        target, epochs = SHORT_RUNS[piece]
        epochs = min(epochs, self.epochs)
        path, design = self.work / "times.csv", self.options["design"]
        done = {(r["network"], float(r["target_percent"])) for r in read_rows(path)}
        if (design, target) in done:
            return
        training, held_out = split(self.data.train, len(self.data.train) // 100 * 10)
        rows = []

        def after_epoch(history):
            rows[:] = history
            if history[-1]["validation_accuracy_percent"] >= target:
                raise Reached
            if self.is_over() and len(history) < epochs:
                raise OutOfTime

        recipe = self.recipe(design, epochs, 0, len(training))
        reached = False
        try:
            more = {"validation": held_out, "on_epoch": after_epoch}
            self.fit(design, recipe, training, **more)
        except Reached:
            reached = True
        row = {
            "network": design,
            "target_percent": target,
            "reached_percent": round(rows[-1]["validation_accuracy_percent"], 2),
            "epoch": len(rows),
            "epochs": epochs,
            "train_seconds": round(sum(row["seconds"] for row in rows), 1),
            "seed": 0,
            "training_images": len(training),
            "form": f"{self.form}, {self.form.precision}",
            **{name: self.machine[name] for name in ("hardware", "torch")},
            "command": self.options["command"],
        }
        add_row(path, row, TIMES)
        how = "reached" if reached else "not reached"
        log(self.work, f"{target} % {how} in {row['train_seconds']} s: {row}")
        self.give_back()


def take_over(checkpoint: Path, recipe: Recipe) -> None:
    """Let a run go on in another form: only that may differ in its checkpoint."""
    saved = checkpoints.load(checkpoint)
    if saved is not None:
        for name in ("compile", "precision"):
            saved["identity"]["recipe"][name] = getattr(recipe, name)
        checkpoints.save(checkpoint, saved)


def main() -> None:
    """See the module's docstring."""
    what, options = sys.argv[1], json.loads(sys.argv[2])
    if what == "measure":
        measure_all(options)
    else:
        Program(options).run()


if __name__ == "__main__":
    main()
