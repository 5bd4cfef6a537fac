"""Verdicts on single pictures: the table, the buttons, the static page."""

import io

import numpy as np
import pytest
from drawn import IMAGES, random_predictions
from PIL import Image

from cifar_helpers import audit


def test_table_says_label_answer_and_verdict():
    predictions = random_predictions()
    table = audit.audit_table(predictions, np.array([3, 7]), {7: "network"})
    assert table.index.tolist() == [3, 7]
    assert table["who is right"].tolist() == ["", "network"]
    for index, row in table.iterrows():
        best = predictions.probabilities[index].argmax()
        assert row["the network said"] == predictions.classes[best]
        assert row["label"] == predictions.classes[predictions.labels[index]]
        assert row["sure (%)"] == round(
            100 * float(predictions.probabilities[index].max())
        )
    with pytest.raises(ValueError, match="verdict must be one of.*'me'"):
        audit.audit_table(predictions, [3], {3: "me"})


def test_no_buttons_where_nobody_can_click():
    assert audit.audit_buttons(IMAGES, random_predictions(), [0], {}) is None


def test_a_click_is_kept(monkeypatch):
    monkeypatch.setattr(audit, "is_interactive", lambda: True)
    verdicts = {4: "label"}
    rows = audit.audit_buttons(IMAGES, random_predictions(), [2, 4], verdicts).children
    buttons = [row.children[1].children[1] for row in rows]
    assert [button.value for button in buttons] == [None, "label"]
    buttons[0].value = "cannot tell"
    buttons[1].value = "network"
    assert verdicts == {2: "cannot tell", 4: "network"}


def test_picture_is_enlarged_without_change():
    stored = Image.open(io.BytesIO(audit.as_png(IMAGES[0], 3)))
    pixels = np.asarray(stored)
    assert pixels.shape == (24, 24, 3)
    expected = IMAGES[0].permute(1, 2, 0).numpy()
    assert (pixels[::3, ::3] == expected).all() and (
        pixels[2::3, 1::3] == expected
    ).all()
