"""Draw the pictures of README.md from the network, its weights and the full test set.

python -m tests.make_figures
"""

from base64 import b64decode
from io import BytesIO
from math import nan
from pathlib import Path

import nbformat
import torch
from PIL import Image, ImageOps

from cifar_helpers import plots, worth
from cifar_helpers.ablation import SWITCHES
from cifar_helpers.data import load_cifar10
from cifar_helpers.evaluation import collect_predictions, confusion_matrix
from cifar_helpers.hooks import captured
from cifar_helpers.model import (
    CIFAR10Net,
    count_parameters,
    predict,
    table_of_sizes,
)
from cifar_helpers.pretrained import load_pretrained
from tests.execute_notebooks import all_notebooks
from tests.small_png import shrink

IMAGES = Path(__file__).resolve().parents[1] / "notebooks" / "images"
THUMBNAILS = {  # notebook: which of its pictures stands for it in README
    **{
        "01": 0,
        "02": 10,
        "03": 1,
        "04": 3,
        "05": 1,
        "06": 5,
        "07": 1,
        "08": 1,
        "09": 6,
    },
    **{"10": 3, "11": 1, "12": 9, "13": 2, "14": 2, "15": 8},
}
TITLES = {
    "initial": "Initial convolution",
    "dilated_near": "Dilated block 2, 4",
    "dilated_far": "Dilated block 8, 16",
    "attention": "Channel attention",
    "deconvolution": "Deconvolution, shortcut",
    "aspp": "ASPP",
    "head": "Classification head",
}


def network():
    """The six parts (the dilated blocks drawn as two), with sizes and costs.

    Of the deconvolution part, the way down to its coarsest maps is a block of its own.
    """
    model = CIFAR10Net()
    costs = {"parameters": 0, "multiply_adds": 0}
    stages = [{"name": "Image", "output": (3, 32, 32), **costs}]
    for row in table_of_sizes(model):
        stage = {**row, "name": TITLES[row["name"]]}
        if row["name"] == "deconvolution":
            below = coarsest_maps(model)
            stages.append(below)
            stage |= {key: row[key] - below[key] for key in costs}
            stage["shortcut_from"] = TITLES["dilated_near"]
        stages.append(stage)
    return plots.block_diagram(stages)


def coarsest_maps(model: CIFAR10Net) -> dict:
    """The step down in the deconvolution part and what works on the coarsest maps."""
    part = model.deconvolution
    with captured(model, "deconvolution.refine", "deconvolution.down") as kept:
        predict(model, torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    maps = kept["deconvolution.refine"][0]  # (1, C, H, W)
    layers = [part.down[0], part.refine[0]]  # dense convolutions
    places = maps.shape[2] * maps.shape[3]
    return {
        "name": "Coarsest maps",
        "output": tuple(maps.shape[1:]),
        "parameters": count_parameters(part.down) + count_parameters(part.refine),
        "multiply_adds": sum(layer.weight.numel() * places for layer in layers),
    }


def confusion():
    """What the champion takes for what, on the 10,000 test images."""
    data = load_cifar10(source="full")
    predictions = collect_predictions(load_pretrained("champion"), data.test)
    return plots.confusion_matrix(confusion_matrix(predictions), data.classes)


def blocks():
    """What each idea buys at full length, and against as many parameters without it."""
    labels = {
        "over a network without it": False,
        "over one of as many parameters": True,
    }
    found = {
        label: [worth.bought_at_full_length(name, same) for name in SWITCHES]
        for label, same in labels.items()
    }
    nothing = (nan, nan, nan)  # an idea that has no parameters
    series = {
        label: [
            (e.points, e.points - e.half_width, e.points + e.half_width)
            if e
            else nothing
            for e in effects
        ]
        for label, effects in found.items()
    }
    unit = "points of validation accuracy after nine epochs"
    return plots.dots_with_intervals(list(SWITCHES), series, unit)


def thumbnail(path: Path, number: int) -> Image.Image:
    """A picture of a stored notebook, 240 x 120 pixels, its edges cut off evenly."""
    outputs = [o for c in nbformat.read(path, 4).cells for o in c.get("outputs", [])]
    pictures = [
        o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})
    ]
    picture = Image.open(BytesIO(b64decode(pictures[number]))).convert("RGB")
    return ImageOps.fit(picture, (240, 120), Image.Resampling.LANCZOS)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    plots.apply_style()
    for draw in (network, confusion, blocks):
        png, _ = plots.display_png(draw())
        path = IMAGES / f"{draw.__name__}.png"
        path.write_bytes(shrink(png))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    for path in all_notebooks():
        small = thumbnail(path, THUMBNAILS[path.name[:2]]).quantize(64)
        small.save(IMAGES / f"{path.name[:2]}.png", optimize=True)


if __name__ == "__main__":
    main()
