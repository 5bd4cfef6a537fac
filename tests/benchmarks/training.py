"""How fast a machine trains and predicts, beside a textbook loop and network.

    python -m tests.benchmarks.training --compiled
    python -m tests.benchmarks.training --seconds 1 --rounds 1 --out /tmp/throughput.csv

The subjects take turns, round after round, so that a busy moment of the machine meets
all of them. A subject's figure is the median of its rounds; `spread_percent` is the
range of the rounds, highest less lowest, as a share of it. A turn of a training loop or
of its input takes `--seconds`, one of a layer or of inference a fifth of that. The
worker processes of a DataLoader are started once and stay; the steps that empty their
queue do not count. Every row of the results names the machine and the command. The data
are random bytes: speed does not depend on them. The first command writes
results/throughput.csv anew; it takes a quarter of an hour and wants the machine for
itself. Shorter or fewer turns are a rehearsal, and go elsewhere.
"""

import argparse
import copy
import csv
import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cifar_helpers import augment, runtime
from cifar_helpers.data import MEAN, STD, Batches, LabelledImages, normalize
from cifar_helpers.depthwise import DepthwiseConv2d
from cifar_helpers.model import CIFAR10Net, count_multiply_adds, count_parameters
from cifar_helpers.pretrained import load_pretrained
from cifar_helpers.recipes import PRESETS, Recipe
from cifar_helpers.trainer import Trainer
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config
from tests.benchmarks.rows import check_rehearsal, command_line

IMAGES = 16_384
NETWORKS = ("baseline", "cpu", "champion")  # the presets that the notebooks train
BASES = {  # kind: the subject that ratios are taken to
    "training": "plain loop, cpu network",
    "input": "input, image by image, 2 workers",
    "depthwise": "depthwise convolution, dilation 1",
}
WORKERS = 2
SHORT_TURNS = ("depthwise", "inference")  # a fifth of the others
WARM_UP = {"training": 6, "input": 6}  # steps: more than the workers hold ready
CROP_BATCH = 512
GROUPS = {  # what a training step does: parts of the names of torch's operations
    "convolutions": ("convolution",),
    "dilated taps": ("addcmul", "ConvolveByTaps"),
    "batch norm": ("batch_norm",),
    "ReLU": ("relu", "clamp_min", "threshold"),
    "matrix products of Muon and the head": ("mm",),
    "copies": ("copy", "cat", "clone", "contiguous", "gather", "index"),
    "additions and products": ("add", "mul", "sub", "div", "lerp", "sum", "mean"),
}


@dataclass
class Subject:
    """Something to time: `steps` yields the number of images after each step."""

    name: str
    kind: str  # "training", "input", "depthwise" or "inference"
    steps: Iterator[int]
    model: nn.Module | None = None
    threads: int | None = None  # None: all of the machine's


def random_images(count: int = IMAGES) -> LabelledImages:
    """Bytes of CIFAR-10's shape."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator
    )
    return LabelledImages(images, torch.arange(count) % 10)


class PerImage(Dataset):
    """What a textbook writes: one picture at a time, through torchvision transforms."""

    def __init__(self, data: LabelledImages):
        self.pictures = data.images.permute(0, 2, 3, 1).numpy()  # (N, 32, 32, 3)
        self.labels = data.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=4, padding_mode="reflect"),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(self.pictures[index]), self.labels[index]


def textbook(model: nn.Module) -> nn.Module:
    """The same network and weights with torch's own depthwise convolutions."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, DepthwiseConv2d):
                c, d, s = child.in_channels, child.dilation, child.stride
                plain = nn.Conv2d(c, c, 3, s, d, d, groups=c, bias=False)
                plain.weight = child.weight
                setattr(module, name, plain)
    return model


def plain_steps(model, recipe, data) -> Iterator[int]:
    """A textbook's loop: float32, NCHW, images one by one from a DataLoader."""
    optimizer = torch.optim.SGD(
        model.parameters(),
        recipe.learning_rate,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    model.train()
    loader = per_image_batches(data, recipe.batch_size)
    while True:
        for images, labels in loader:
            loss = F.nll_loss(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield len(labels)


def per_image_batches(data: LabelledImages, batch_size: int) -> DataLoader:
    """Batches of PerImage from two worker processes, which stay for the next pass."""
    return DataLoader(
        PerImage(data),
        batch_size,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )


def our_steps(model, recipe, data) -> Iterator[int]:
    """The package's loop."""
    trainer = Trainer(model, recipe, steps=10**6)
    model.train()
    while True:
        for images, labels in Batches(data, recipe.batch_size, shuffle=True):
            trainer.train_step(images, labels)
            yield len(labels)


def our_input(data: LabelledImages) -> Iterator[int]:
    """Whole batches, cut, cropped, flipped and normalized."""
    while True:
        for images, _ in Batches(data, CROP_BATCH, shuffle=True):
            normalize(augment.random_flip(augment.random_crop(images, 4)))
            yield len(images)


def per_image_input(data: LabelledImages) -> Iterator[int]:
    """The same augmentation, image by image, in two workers."""
    loader = per_image_batches(data, CROP_BATCH)
    while True:
        for images, _ in loader:
            yield len(images)


def inference_steps(model: nn.Module, batch: int) -> Iterator[int]:
    """Forward passes of normalized images, in evaluation mode."""
    images = normalize(random_images(batch).images)
    images = images.contiguous(memory_format=torch.channels_last)
    model.eval()
    while True:
        with torch.inference_mode():
            model(images)
        yield batch


def at_full_size(recipe: Recipe, compiled: bool = False) -> Recipe:
    """The recipe with images of 32 x 32 from its first step on."""
    return replace(recipe, low_resolution_fraction=0.0, compile=compiled)


def training_subjects(data: LabelledImages, compiled: bool) -> list[Subject]:
    """Our loop, the textbook's, and the reference network."""
    subjects = []
    for name in NETWORKS:
        network, recipe = PRESETS[name]
        model = CIFAR10Net(network)
        ours = our_steps(copy.deepcopy(model), at_full_size(recipe), data)
        subjects.append(Subject(f"our loop, {name} network", "training", ours, model))
        if recipe.low_resolution_fraction:
            steps = our_steps(copy.deepcopy(model), recipe, data)  # the run's first
            size = recipe.low_resolution_size
            title = f"our loop, {name} network, {size} x {size}"
            subjects.append(Subject(title, "training", steps))
        steps = plain_steps(textbook(model), recipe, data)
        title = f"plain loop, {name} network"
        subjects.append(Subject(title, "training", steps, model))
    network, recipe = PRESETS["cpu"]
    if compiled:
        whole = at_full_size(recipe, compiled=True)
        steps = our_steps(CIFAR10Net(network), whole, data)
        subjects.append(Subject("our loop, cpu network, compiled", "training", steps))
    for title, width in (("MLPerf Tiny", 16), ("widened", 24)):
        model = ResNet8(ResNet8Config(width=width))
        steps = our_steps(model, at_full_size(recipe), data)
        name = f"our loop, ResNet-8, {title}"
        subjects.append(Subject(name, "training", steps, model))
    return subjects


def input_subjects(data: LabelledImages) -> list[Subject]:
    """Batches cut and augmented, without any training."""
    return [
        Subject("input, whole batches", "input", our_input(data)),
        Subject("input, image by image, 2 workers", "input", per_image_input(data)),
    ]


def depthwise_steps(layer: nn.Module, batch: int = 64) -> Iterator[int]:
    """Forward and backward through one layer on maps of 32 channels, 32 x 32."""
    maps = torch.randn(batch, 32, 32, 32).contiguous(memory_format=torch.channels_last)
    maps.requires_grad_()
    while True:
        maps.grad = None
        layer(maps).sum().backward()
        yield batch


def depthwise_subjects() -> list[Subject]:
    """Dilated depthwise convolutions, by the package and by torch."""
    subjects = []
    for dilation in (1, 2, 4, 8, 16):
        ours = DepthwiseConv2d(32, dilation)
        name = f"depthwise convolution, dilation {dilation}"
        subjects.append(Subject(name, "depthwise", depthwise_steps(ours)))
        if dilation > 1:
            plain = nn.Conv2d(32, 32, 3, 1, dilation, dilation, groups=32, bias=False)
            steps = depthwise_steps(plain.to(memory_format=torch.channels_last))
            subjects.append(Subject(f"{name}, nn.Conv2d", "depthwise", steps))
    return subjects


def inference_subjects(compiled: bool) -> list[Subject]:
    """The shipped networks on one core, one image at a time and in batches."""
    subjects = []
    for stem in NETWORKS:
        model = load_pretrained(stem).to(memory_format=torch.channels_last)
        for batch, way in itertools.product((1, 256), ("eager", "compiled")):
            if way == "compiled" and not compiled:
                continue
            run = torch.compile(model, dynamic=False) if way == "compiled" else model
            what = "1 image" if batch == 1 else f"{batch} images"
            name = f"inference, {stem} network, {what}, {way}"
            steps = inference_steps(run, batch)
            subjects.append(Subject(name, "inference", steps, model, threads=1))
    return subjects


def profile_rows(data: LabelledImages, steps: int = 8) -> list[dict]:
    """Where the time of a step goes: our loop, preset `cpu`, images at full size."""
    network, recipe = PRESETS["cpu"]
    running = our_steps(CIFAR10Net(network), at_full_size(recipe), data)
    for _ in range(4):  # the first steps only set things up
        next(running)
    with torch.profiler.profile() as profile:
        for _ in range(steps):
            next(running)
    times = dict.fromkeys([*GROUPS, "all else"], 0.0)
    for operation in profile.key_averages():
        times[group_of(operation.key)] += operation.self_cpu_time_total
    every = sum(times.values())
    return [
        {
            "subject": f"a step, {name}",
            "kind": "profile",
            "threads": torch.get_num_threads(),
            "share_of_step_percent": 100 * time_of_group / every,
        }
        for name, time_of_group in times.items()
    ]


def group_of(operation: str) -> str:
    """The first of `GROUPS` whose names fit."""
    for group, parts in GROUPS.items():
        if any(part in operation for part in parts):
            return group
    return "all else"


def images_per_second(steps: Iterator[int], seconds: float, warmup: int) -> float:
    """Images divided by the time they took, after some steps that do not count."""
    for _ in range(warmup):
        next(steps)
    started, images = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        images += next(steps)
    return images / elapsed


def peak_gflops(seconds: float, threads: int, size: int = 1536) -> float:
    """Matrix products of float32 or bfloat16, whichever the training uses."""
    dtype = runtime.autocast_dtype(torch.device("cpu"))
    torch.set_num_threads(threads)
    a, b = torch.randn(2, size, size).to(dtype)
    times, deadline = [], time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(times) < 3:
        started = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times) / 1e9


def turn_seconds(kind: str, seconds: float) -> float:
    """How long a turn of a subject of this kind takes."""
    return seconds / 5 if kind in SHORT_TURNS else seconds


def measure(
    subjects: list[Subject], seconds: float, rounds: int
) -> dict[str, list[float]]:
    """Images per second of each subject, one figure a round; they take turns."""
    every = torch.get_num_threads()
    figures = {subject.name: [] for subject in subjects}
    for turn, subject in itertools.product(range(rounds), subjects):
        torch.set_num_threads(subject.threads or every)
        turn_takes = turn_seconds(subject.kind, seconds)
        warmup = WARM_UP.get(subject.kind, 2)
        rate = images_per_second(subject.steps, turn_takes, warmup)
        figures[subject.name].append(rate)
        print(f"round {turn + 1}: {subject.name}: {rate:,.0f} images/s", flush=True)
    torch.set_num_threads(every)
    return figures


def spread_percent(rates: list[float]) -> float:
    """Highest less lowest, as a share of the median."""
    return 100 * (max(rates) - min(rates)) / statistics.median(rates)


def result_rows(subjects, figures, peaks: dict[int, float], seconds) -> list[dict]:
    """One row for each subject, with its share of the machine's matrix-product peak."""
    every = torch.get_num_threads()
    medians = {name: statistics.median(rates) for name, rates in figures.items()}
    rows = []
    for subject in subjects:
        rate, kind = medians[subject.name], subject.kind
        row = {"subject": subject.name, "kind": kind, "images_per_second": rate}
        row["spread_percent"] = spread_percent(figures[subject.name])
        row["seconds"] = turn_seconds(kind, seconds)
        if kind in BASES:
            row["ratio_to_plain_loop"] = rate / medians[BASES[kind]]
        else:
            row["milliseconds_per_image"] = 1000 / rate
        row["threads"] = subject.threads or every
        if subject.model is not None:
            row["parameters"] = count_parameters(subject.model)
            row["multiply_adds"] = count_multiply_adds(subject.model)
            passes = 3 if kind == "training" else 1  # backward costs two forwards
            gflops = 2 * passes * row["multiply_adds"] * rate / 1e9
            row["gflops"] = gflops
            row["share_of_peak_percent"] = 100 * gflops / peaks[row["threads"]]
        rows.append(row)
    return rows


def write_rows(rows: list[dict], path: Path, constants: dict) -> None:
    """A csv with the union of all columns, numbers rounded to four figures."""
    rows = [row | constants for row in rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: four_figures(row[name]) for name in row})


def four_figures(value):
    """1234.56 -> 1235, 0.123456 -> 0.1235; whole numbers and texts as they are."""
    if not isinstance(value, float):
        return value
    return np.format_float_positional(value, 4, fractional=False, trim="-")


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.training")
    parser.add_argument("--seconds", type=float, default=10, help="a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="torch.compile, too")
    parser.add_argument("--out", default=str(runtime.RESULTS / "throughput.csv"))
    options = parser.parse_args(arguments)
    short = options.seconds < parser.get_default("seconds")
    short = short or options.rounds < parser.get_default("rounds")
    check_rehearsal(parser, options, Path(options.out), rehearsal=short)
    runtime.keep_freed_memory()
    every, data = torch.get_num_threads(), random_images()
    peaks = {n: peak_gflops(options.seconds / 2, n) for n in {1, every}}
    torch.set_num_threads(every)
    subjects = training_subjects(data, options.compiled) + input_subjects(data)
    subjects += depthwise_subjects() + inference_subjects(options.compiled)
    figures = measure(subjects, options.seconds, options.rounds)
    rows = result_rows(subjects, figures, peaks, options.seconds) + profile_rows(data)
    for threads, gflops in peaks.items():
        name = f"matrix product, {threads} thread{'s' * (threads > 1)}"
        rows.append({"subject": name, "kind": "peak", "threads": threads})
        rows[-1] |= {"gflops": gflops, "share_of_peak_percent": 100.0}
    machine = runtime.describe_machine()
    machine = {name: machine[name] for name in ("hardware", "cores", "torch")}
    machine |= {"rounds": options.rounds}
    machine["command"] = command_line("training", arguments)
    write_rows(rows, Path(options.out), machine)


if __name__ == "__main__":
    main()
