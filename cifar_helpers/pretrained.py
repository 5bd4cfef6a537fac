"""Finished runs as three files: weights, card and history; written and read.

`<name>.safetensors` holds the tensors of the network's `state_dict` (no pickle: loading
runs no code), `<name>.json` the card (network, recipe, seed, sizes, accuracy, data,
hardware, versions, time, the weights' SHA-256), `<name>.csv` one row per epoch.
"""

import csv
import hashlib
import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from cifar_helpers import runtime
from cifar_helpers.download import FULL_SHA256
from cifar_helpers.model import (
    CIFAR10Net,
    NetConfig,
    count_multiply_adds,
    count_parameters,
)


def as_json(value):
    """Tuples become lists, as they do in a file."""
    return json.loads(json.dumps(value))


def card_of(
    recipe, history: list[dict], source: str, training_images: int, machine: dict
) -> dict:
    """What a card says about a run but for its network and accuracy.

    `source` is that of the data, `machine` from `runtime.describe_machine`.
    """
    card = {
        "recipe": asdict(recipe),
        "seed": recipe.seed,
        "data": source,
        "training_images": training_images,
        **machine,
        "train_seconds": round(sum(row["seconds"] for row in history), 1),
    }
    return card | ({"data_sha256": FULL_SHA256} if source == "full" else {})


def save_run(folder, name: str, model: CIFAR10Net, history: list[dict], card: dict):
    """Write `<name>.safetensors`, `<name>.json` and `<name>.csv` into `folder`.

    Card entries about the network are filled in from the model. Returns the card.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    weights = save(tensors)
    card = {
        "name": name,
        "config": as_json(asdict(model.config)),
        "parameters": count_parameters(model),
        "multiply_adds": count_multiply_adds(model),
        **card,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    (folder / f"{name}.safetensors").write_bytes(weights)
    text = json.dumps(card, indent=2) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    columns = dict.fromkeys(chain(*reversed(history)))  # those of the last row first
    with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
    return card


def read_history(path: str | Path) -> list[dict]:
    """The rows of a history file, with numbers as numbers; empty cells are left out."""
    with open(path, encoding="utf-8", newline="") as file:
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

    `device` is a name for `cifar_helpers.runtime.pick_device`. Raises ValueError for a
    name that is not shipped (the message lists those that are) or a device that is not
    there, and WeightsDamaged for a file that is torn, changed or does not fit its card.
    """
    device = runtime.pick_device(device)
    card = load_card(name)
    try:
        with torch.random.fork_rng([]):  # its first weights are not used
            model = CIFAR10Net(NetConfig(**card["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsDamaged(f"{name}.json describes no network: {error!r}") from error
    path = runtime.WEIGHTS / f"{name}.safetensors"
    try:
        weights = path.read_bytes()
        found = hashlib.sha256(weights).hexdigest()
        if card.get("weights_sha256", found) != found:
            raise ValueError(f"its SHA-256 is {found}, not {card['weights_sha256']}")
        model.load_state_dict(load(weights))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
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
        text = (runtime.WEIGHTS / f"{name}.json").read_text(encoding="utf-8")
        return json.loads(text)
    except ValueError as error:
        raise WeightsDamaged(f"{name}.json is not readable: {error}") from error


class WeightsDamaged(RuntimeError):
    """A weights file or its card cannot be used; the message says why."""
