"""Draw the pictures of README.md from the network, its weights and the full test set.

python -m tests.make_figures
"""

from pathlib import Path

from cifar_helpers import plots
from cifar_helpers.data import load_cifar10
from cifar_helpers.evaluation import collect_predictions, confusion_matrix
from cifar_helpers.model import CIFAR10Net, load_pretrained, table_of_sizes

IMAGES = Path(__file__).resolve().parents[1] / "notebooks" / "images"
TITLES = {
    "initial": "Initial convolution",
    "dilated_near": "Dilated block 2, 4",
    "dilated_far": "Dilated block 8, 16",
    "attention": "Channel attention",
    "deconvolution": "Deconvolution and residual",
    "aspp": "ASPP",
    "head": "Classification head",
}


def network():
    """The six parts (the dilated blocks drawn as two), with sizes and costs."""
    image = {
        "name": "Image",
        "output": (3, 32, 32),
        "parameters": 0,
        "multiply_adds": 0,
    }
    rows = table_of_sizes(CIFAR10Net())
    stages = [image] + [{**row, "name": TITLES[row["name"]]} for row in rows]
    stages[5]["shortcut_from"] = TITLES["dilated_near"]
    return plots.block_diagram(stages)


def confusion():
    """What the baseline takes for what, on the 10,000 test images."""
    data = load_cifar10(source="full")
    predictions = collect_predictions(load_pretrained("baseline"), data.test)
    return plots.confusion_matrix(confusion_matrix(predictions), data.classes)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    plots.apply_style()
    for draw in (network, confusion):
        path = IMAGES / f"{draw.__name__}.png"
        draw().savefig(path, dpi=150, bbox_inches="tight", metadata={"Software": None})
        print(path.name)


if __name__ == "__main__":
    main()
