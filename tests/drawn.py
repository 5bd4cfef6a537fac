"""What the tests of `plots` draw, and what they read from a figure."""

import matplotlib

matplotlib.use("Agg")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from cifar_helpers import evaluation  # noqa: E402

NAMES = ("cat", "dog", "ship")
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 1])
IMAGES = torch.randint(
    0, 256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0)
).to(torch.uint8)
STAGES = [
    {"name": "Input", "output": (3, 32, 32), "parameters": 0, "multiply_adds": 0},
    {"name": "Body", "output": (64, 8, 8), "parameters": 3000, "multiply_adds": 4e6},
    {"name": "Head", "output": (10,), "parameters": 1000, "multiply_adds": 1e6},
]


def random_predictions():
    """Predictions for `LABELS` by nobody in particular."""
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    return evaluation.Predictions(logits.log_softmax(1), LABELS, NAMES)


def run_of(epochs, offset=0.0):
    """The history of a training run."""
    return [
        {
            "epoch": epoch,
            "seconds": 2.5,
            "learning_rate": 0.1,
            "train_loss": 2 / epoch + offset,
            "train_accuracy_percent": 90 - 50 / epoch - offset,
            "validation_loss": 2.2 / epoch + offset,
            "validation_accuracy_percent": 88 - 50 / epoch - offset,
        }
        for epoch in range(1, epochs + 1)
    ]


def column(history, key):
    """The points of one curve."""
    return [[row["epoch"], row[key]] for row in history]


def texts(figure):
    """Every text on the figure that is not empty."""
    figure.canvas.draw()
    found = (text.get_text() for text in figure.findobj(matplotlib.text.Text))
    return [text for text in found if text]


def pictures(axes):
    """The pixel arrays drawn on the axes, in order."""
    return [np.asarray(image.get_array()) for image in axes.images]


def curves_of(figure):
    """Label of the curve to its data, for the loss and for the accuracy."""
    return [
        {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
        for axes in figure.axes
    ]


def contrast(one, other):
    """Contrast ratio of two colours by the Web Content Accessibility Guidelines."""

    def luminance(colour):
        total = 0.0
        for value, weight in zip(
            matplotlib.colors.to_rgb(colour), (0.2126, 0.7152, 0.0722), strict=True
        ):
            bent = (
                value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            )
            total += weight * bent
        return total

    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)
