"""Can trained networks of the champion's kind teach one of them to be better?

    python -m cifar_helpers.training --preset champion --rotation-degrees 15 \\
        --colour-strength 0.2 --out runs/turned
    python -m tests.benchmarks.taught --teachers champion \\
        runs/turned/champion.safetensors --name first
    python -m tests.benchmarks.taught --teachers champion \\
        runs/turned/champion.safetensors runs/taught/first.safetensors \\
        --epochs 24 --mixup-alpha 0.4 --name second

Several networks together often are right more often than each alone; the row says
whether these are. Here the training of the last of the teachers goes on, on images that
are also turned and changed in colour, with the answers of all of them beside the labels
(Hinton et al. 2015, section 2): each answers for its part of every batch, which is
drawn anew in each epoch, so that on average a network learns the mean of their
probabilities, softened by the temperature. In the first twentieth of the steps the rate
rises to half the recipe's highest, then it falls to zero.

The finished run is judged on the test set, once. Its row, with the accuracy of the
teachers together and the paired difference to the shipped champion, goes to
results/taught.csv, its weights, card and history to `--runs`. A run whose row is there
already is not made again: to have its weights, give `--out` elsewhere. A run that was
stopped goes on from its checkpoint.

More epochs and the teachers' answers in place of smoothed labels change together:
`--share 0` is the same run from labels alone. The teachers know almost all training
images by heart; of images that are blended (`--mixup-alpha`) they have to say what they
think (Beyer et al. 2022, section 3).
"""

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cifar_helpers import checkpoints, runtime
from cifar_helpers.data import LabelledImages, load_cifar10
from cifar_helpers.model import CIFAR10Net, predict
from cifar_helpers.pretrained import card_of, load_pretrained, save_run
from cifar_helpers.recipes import PRESETS, Recipe
from cifar_helpers.trainer import Trainer
from tests.benchmarks import enlarged
from tests.benchmarks.gpu_teacher import SHARE, taught
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
    "teachers",
    "epochs",
    "learning_rate",
    "temperature",
    "share",  # of the loss: the teachers'; the rest is the labels'
    "mixup_alpha",
    "seed",
    "training_images",
    "parameters",
    "train_accuracy_percent",
    "together_test_accuracy_percent",  # mean of the teachers' probabilities, at 1
    "start_test_accuracy_percent",  # of the last teacher, whose training went on
    "champion_test_accuracy_percent",
    "test_accuracy_percent",
    "difference",  # to the champion, in points, paired: the same test images
    "difference_low",
    "difference_high",
    "seconds",
    "threads",
    "hardware",
    "torch",
    "teachers_sha256",  # of their weights, in this order
    "command",
)
KEY = COLUMNS[:6]


class Panel(nn.Module):
    """Networks that share the work: each answers for its part of a batch."""

    def __init__(self, networks: list[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.chunk(len(self.networks))  # fewer, if there are fewer images
        asked = zip(parts, self.networks, strict=False)
        return torch.cat([network(part) for part, network in asked])


def weights_of(name: str) -> Path:
    """The file of a shipped network, or the one that is named."""
    shipped = runtime.WEIGHTS / f"{name}.safetensors"
    return Path(name) if name.endswith(".safetensors") else shipped


def load_network(name: str) -> CIFAR10Net:
    """A shipped network by its name, or the champion's with the weights in a file."""
    if not name.endswith(".safetensors"):
        return load_pretrained(name)
    network = CIFAR10Net(PRESETS["champion"][0])
    network.load_state_dict(load_file(name))
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def recipe_of(
    epochs: int, learning_rate: float, share: float, mixup_alpha: float
) -> Recipe:
    """That of `enlarged`, with images turned and changed in colour.

    With teachers, whose answers are smooth, labels are not smoothed.
    """
    recipe = enlarged.recipe_of(epochs, learning_rate)
    return replace(
        recipe,
        label_smoothing=0.0 if share else recipe.label_smoothing,
        rotation_degrees=15.0,
        colour_strength=0.2,
        mixup_alpha=mixup_alpha,
    )


def train(options, data: LabelledImages, recipe: Recipe, checkpoint: Path):
    """The last teacher, taught by all of them, and its history; whole, or it raises."""
    runtime.seed_everything(recipe.seed)
    panel = Panel([load_network(name) for name in options.teachers])
    learns = taught(Trainer, panel, options.temperature, options.share)
    return fit_whole(
        load_network(options.teachers[-1]).requires_grad_().train(),
        data,
        recipe,
        checkpoint=checkpoint,
        make_trainer=learns if options.share else Trainer,
        on_epoch=lambda rows: print(rows[-1], flush=True),
    )


def teachers_accuracies(networks: list[nn.Module], test: LabelledImages) -> dict:
    """Test accuracies of the mean of their probabilities, and of the last alone."""
    answers = [predict(network, test.images).exp() for network in networks]
    together, start = (
        100 * (probabilities.argmax(1) == test.labels).float().mean().item()
        for probabilities in (sum(answers), answers[-1])
    )
    return {
        "together_test_accuracy_percent": round(together, 2),
        "start_test_accuracy_percent": round(start, 2),
    }


def judge(options, model: CIFAR10Net, recipe: Recipe, history, test) -> dict:
    """The row of a finished run, but for what it learned from."""
    digests = [
        hashlib.sha256(weights_of(name).read_bytes()).hexdigest()
        for name in options.teachers
    ]
    networks = [load_network(name) for name in options.teachers]
    row = enlarged.run_of(model, recipe, history)
    row |= enlarged.beside_champion(model, test)
    return row | teachers_accuracies(networks, test) | {
        "teachers": " ".join(options.teachers),
        "teachers_sha256": " ".join(digests),
        "temperature": options.temperature,
        "share": options.share,
        "mixup_alpha": options.mixup_alpha,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.taught")
    parser.add_argument("--teachers", nargs="+", required=True, help="names or weights")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--share", type=float, default=SHARE, help="the teachers'")
    parser.add_argument("--mixup-alpha", type=float, default=0.0)
    parser.add_argument("--images", type=int, help="train on fewer, for a rehearsal")
    parser.add_argument("--source", default="full", help="sample: for a rehearsal")
    parser.add_argument("--runs", default="runs/taught", help="weights, checkpoint")
    parser.add_argument("--name", help="of the files there, if not what they are of")
    parser.add_argument("--out", default=str(runtime.RESULTS / "taught.csv"))
    options = parser.parse_args(arguments)
    path = Path(options.out)
    check_rehearsal(parser, options, path)
    key = key_of(KEY)
    wanted = key(vars(options) | {"teachers": " ".join(options.teachers)})
    if wanted in map(key, read_rows(path)):
        return print(f"in {path.name} already: {wanted}")
    data = load_cifar10(source=options.source)
    training = data.train.subset(slice(options.images))
    recipe = recipe_of(
        options.epochs, options.learning_rate, options.share, options.mixup_alpha
    )
    name = file_name(("taught", *wanted))
    checkpoint = Path(options.runs) / f"{name}.checkpoint"
    model, history = train(options, training, recipe, checkpoint)
    row = judge(options, model, recipe, history, data.test)
    row["training_images"] = len(training)
    row["command"] = command_line("taught", arguments)
    machine = runtime.describe_machine()
    card = card_of(recipe, history, data.source, len(training), machine)
    named = ("teachers", "teachers_sha256", "temperature", "share")
    card |= {entry: row[entry] for entry in (*named, "test_accuracy_percent")}
    save_run(options.runs, options.name or name, model, history, card)
    add_row(path, row, COLUMNS)
    checkpoints.remove(checkpoint)
    print(row)


if __name__ == "__main__":
    main()
