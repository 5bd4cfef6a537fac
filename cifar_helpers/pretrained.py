"""Finished runs as three files: weights, card and history; written and read.

`<name>.safetensors` holds the tensors of the network's `state_dict` (no pickle: loading
runs no code), `<name>.json` the card (network, recipe, seed, sizes, accuracy, data,
hardware, versions, time), `<name>.csv` one row per epoch.
"""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cifar_helpers import runtime
from cifar_helpers.model import (
    CIFAR10Net,
    NetConfig,
    count_multiply_adds,
    count_parameters,
)


def as_json(value):
    """Tuples become lists, as they do in a file."""
    return json.loads(json.dumps(value))


def save_run(folder, name: str, model: CIFAR10Net, history: list[dict], card: dict):
    """Write `<name>.safetensors`, `<name>.json` and `<name>.csv` into `folder`.

    Card entries about the network are filled in from the model. Returns the card.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    card = {
        "name": name,
        "config": as_json(asdict(model.config)),
        "parameters": count_parameters(model),
        "multiply_adds": count_multiply_adds(model),
        **card,
    }
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n")
    with open(folder / f"{name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, history[-1].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
    return card


def read_history(path: str | Path) -> list[dict]:
    """The rows of a history file, with numbers as numbers; empty cells are left out."""
    with open(path, newline="") as file:
        return [
            {
                key: int(value) if key == "epoch" else float(value)
                for key, value in row.items()
                if value
            }
            for row in csv.DictReader(file)
        ]


def load_pretrained(name: str, device: str | torch.device = "cpu") -> CIFAR10Net:
    """The shipped network `name` in evaluation mode, built from its card.

    Raises ValueError for a name that is not shipped (the message lists those that are)
    and WeightsDamaged for a file that is torn or does not fit its card.
    """
    card = load_card(name)
    try:
        model = CIFAR10Net(NetConfig(**card["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsDamaged(f"{name}.json describes no network: {error!r}") from error
    path = runtime.WEIGHTS / f"{name}.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsDamaged(
            f"{path.name} is damaged or does not fit {name}.json: {error}. "
            "Get the file again, or install the package again."
        ) from error
    return model.to(device).eval()


def load_card(name: str) -> dict:
    """What is known of the shipped network `name`: config, recipe, accuracy, hardware.

    Raises ValueError for a name that is not shipped, WeightsDamaged for a broken card.
    """
    shipped = sorted(path.stem for path in runtime.WEIGHTS.glob("*.json"))
    if name not in shipped:
        raise ValueError(f"there are no weights named {name!r}; shipped are {shipped}")
    try:
        return json.loads((runtime.WEIGHTS / f"{name}.json").read_text())
    except ValueError as error:
        raise WeightsDamaged(f"{name}.json is not readable: {error}") from error


class WeightsDamaged(RuntimeError):
    """A weights file or its card cannot be used; the message says why."""
