"""Do finer maps help the champion? Its training goes on with enlarged images.

    python -m tests.benchmarks.enlarged

The weights of `champion` are trained on, for 11 epochs on images that are enlarged to
48 x 48 pixels: no weight more, but maps of 24 x 24 instead of 16 x 16, and 2.25 times
the arithmetic. In the first twentieth of the steps the rate rises to half the recipe's
highest, then it falls to zero; the rest of the recipe stays (but no small images). The
finished run is judged on the test set, once, and its row, with the paired difference to
the champion, goes to results/enlarged.csv. A run that was stopped goes on from its
checkpoint in `--runs`; two cores without bfloat16 take two hours.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_helpers import checkpoints, intervals, runtime
from cifar_helpers.data import LabelledImages, load_cifar10
from cifar_helpers.evaluation import collect_predictions
from cifar_helpers.model import CIFAR10Net, count_multiply_adds, count_parameters
from cifar_helpers.pretrained import load_pretrained
from cifar_helpers.recipes import PRESETS, Recipe
from tests.benchmarks.rows import (
    add_row,
    check_rehearsal,
    command_line,
    file_name,
    key_of,
    read_rows,
)
from tests.benchmarks.running import fit_whole

COLUMNS = (
    "size",
    "epochs",
    "learning_rate",
    "seed",
    "training_images",
    "parameters",
    "multiply_adds",
    "train_accuracy_percent",
    "champion_test_accuracy_percent",
    "test_accuracy_percent",
    "difference",  # in points, with a paired 95 % interval: the same test images
    "difference_low",
    "difference_high",
    "seconds",
    "threads",
    "hardware",
    "torch",
    "command",
)


class Enlarged(nn.Module):
    """A network that sees its images (N, 3, H, W) enlarged to (N, 3, size, size)."""

    def __init__(self, network: CIFAR10Net, size: int):
        super().__init__()
        self.network, self.size = network, size

    def extra_repr(self) -> str:
        """Sets the checkpoints of different sizes apart."""
        return f"size={self.size}"

    def forward(self, x: Tensor) -> Tensor:
        size = (self.size, self.size)
        x = F.interpolate(x, size, mode="bilinear", antialias=True)
        return self.network(x.contiguous(memory_format=torch.channels_last))


def recipe_of(epochs: int, learning_rate: float) -> Recipe:
    """The champion's, begun anew at another rate after a short rise."""
    return replace(
        PRESETS["champion"][1],
        epochs=epochs,
        learning_rate=learning_rate,
        sgd_learning_rate=learning_rate,
        warmup_fraction=0.05,
        low_resolution_fraction=0.0,
    )


def beside_champion(model: nn.Module, test: LabelledImages) -> dict:
    """Test accuracies of a network and the champion, and their paired difference."""
    now = collect_predictions(model, test)
    before = collect_predictions(load_pretrained("champion"), test)
    difference, low, high = intervals.paired_interval(now.correct, before.correct)
    return {
        "champion_test_accuracy_percent": round(before.accuracy_percent, 2),
        "test_accuracy_percent": round(now.accuracy_percent, 2),
        "difference": round(difference, 2),
        "difference_low": round(low, 2),
        "difference_high": round(high, 2),
    }


def run_of(model: nn.Module, recipe: Recipe, history: list[dict]) -> dict:
    """What a row says of a finished run, but for its test accuracy."""
    machine = runtime.describe_machine()
    return {
        "epochs": len(history),
        "learning_rate": recipe.learning_rate,
        "seed": recipe.seed,
        "parameters": count_parameters(model),
        "train_accuracy_percent": round(history[-1]["train_accuracy_percent"], 2),
        "seconds": round(sum(row["seconds"] for row in history), 1),
        "threads": torch.get_num_threads(),
        **{name: machine[name] for name in ("hardware", "torch")},
    }


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.enlarged")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--images", type=int, help="train on fewer, for a rehearsal")
    parser.add_argument("--source", default="full", help="sample: for a rehearsal")
    parser.add_argument("--runs", default="runs/enlarged", help="for the checkpoint")
    parser.add_argument("--out", default=str(runtime.RESULTS / "enlarged.csv"))
    options = parser.parse_args(arguments)
    path = Path(options.out)
    check_rehearsal(parser, options, path)
    key = key_of(COLUMNS[:3])
    wanted = key(vars(options))
    if wanted in map(key, read_rows(path)):
        return print(f"in {path.name} already: {wanted}")
    data = load_cifar10(source=options.source)
    training = data.train.subset(slice(options.images))
    recipe = recipe_of(options.epochs, options.learning_rate)
    runtime.seed_everything(recipe.seed)
    model = Enlarged(load_pretrained("champion"), options.size).requires_grad_().train()
    checkpoint = Path(options.runs) / f"{file_name(('enlarged', *wanted))}.checkpoint"
    model, history = fit_whole(model, training, recipe, checkpoint=checkpoint)
    row = run_of(model, recipe, history) | beside_champion(model, data.test)
    row |= {
        "size": model.size,
        "training_images": len(training),
        "multiply_adds": count_multiply_adds(model),
        "command": command_line("enlarged", arguments),
    }
    add_row(path, row, COLUMNS)
    checkpoints.remove(checkpoint)
    print(row)


if __name__ == "__main__":
    main()
