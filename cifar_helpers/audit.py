"""Look at pictures one by one and keep a verdict on each: buttons where one can click.

Verdicts live in a plain dict, `{index: verdict}`, that a reader can as well fill in by
hand, in the static version of a notebook.
"""

from collections.abc import MutableMapping, Sequence
from io import BytesIO

import numpy as np

from cifar_helpers.evaluation import Predictions
from cifar_helpers.notebook import is_interactive

VERDICTS = ("label", "network", "neither", "cannot tell")  # who is right


def audit_table(
    predictions: Predictions, indices: Sequence[int], verdicts: MutableMapping
):
    """One row an image: index, label, what the network said, how sure, the verdict.

    A pandas DataFrame; images without a verdict have an empty cell. Raises ValueError
    for a verdict that is none of `VERDICTS`.
    """
    import pandas as pd

    wrong = set(verdicts.values()) - set(VERDICTS)
    if wrong:
        raise ValueError(f"a verdict must be one of {list(VERDICTS)}, not {wrong}")
    names, sure = predictions.classes, predictions.confidence
    indices = [int(index) for index in indices]
    return pd.DataFrame(
        {
            "image": indices,
            "label": [names[predictions.labels[i]] for i in indices],
            "the network said": [names[predictions.predicted[i]] for i in indices],
            "sure (%)": [round(100 * float(sure[i])) for i in indices],
            "who is right": [verdicts.get(i, "") for i in indices],
        }
    ).set_index("image")


def audit_buttons(
    images, predictions: Predictions, indices, verdicts: MutableMapping, scale: int = 5
):
    """Each picture with a row of buttons; a click writes into `verdicts`.

    `images` is uint8 (N, 3, H, W), those of the predictions. Leave the call as the last
    line of a cell. Where no person runs the notebook it returns None, so that a static
    page holds no dead widget.
    """
    if not is_interactive():
        return None
    import ipywidgets  # slow to import, and only needed here

    names = predictions.classes
    rows = []
    for index in map(int, indices):
        said, label = predictions.predicted[index], predictions.labels[index]
        picture = ipywidgets.Image(value=as_png(images[index], scale), format="png")
        buttons = ipywidgets.ToggleButtons(
            options=VERDICTS, value=verdicts.get(index), style={"button_width": "90px"}
        )

        def keep(change, index=index):
            verdicts[index] = change["new"]

        buttons.observe(keep, names="value")
        text = f"label <b>{names[label]}</b>, the network said <b>{names[said]}</b>"
        words = ipywidgets.VBox([ipywidgets.HTML(text), buttons])
        rows.append(ipywidgets.HBox([picture, words]))
    return ipywidgets.VBox(rows)


def as_png(image, scale: int) -> bytes:
    """A uint8 image (3, H, W) as PNG, each pixel `scale` × `scale` large."""
    from PIL import Image

    pixels = np.asarray(image).transpose(1, 2, 0)  # (H, W, 3)
    pixels = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()
