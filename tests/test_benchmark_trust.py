"""What notebook 12 compares with: the stored rows, the two control networks."""

import json

import pytest
import torch

from cifar_helpers import corruptions, runtime
from cifar_helpers.data import load_cifar10, split
from cifar_helpers.model import predict
from cifar_helpers.pretrained import load_card, load_pretrained
from tests.benchmarks import trust
from tests.benchmarks.rows import read_rows


def test_rows_under_corruption_are_counts_of_right_answers(tmp_path):
    path = tmp_path / "corruptions.csv"
    options = ["corruptions", "--source", "sample", "--networks", "control_plain"]
    trust.main([*options, "--kinds", "low contrast", "--out", str(path)])
    trust.main([*options, "--kinds", "low contrast", "--out", str(path)])  # all done
    rows = read_rows(path)
    assert [row["severity"] for row in rows] == ["0", "1", "3", "5"]
    test = load_cifar10(source="sample").test
    spoiled = corruptions.low_contrast(test.images, 0.15)
    outputs = predict(load_pretrained("control_plain"), spoiled)
    right = (outputs.argmax(1) == test.labels).sum().item()
    assert (int(rows[-1]["correct"]), int(rows[-1]["images"])) == (right, 1000)
    sure = 100 * outputs.exp().amax(1).mean().item()
    assert float(rows[-1]["mean_confidence_percent"]) == pytest.approx(sure, abs=1e-3)
    loss = torch.nn.functional.nll_loss(outputs, test.labels).item()
    assert float(rows[-1]["mean_loss"]) == pytest.approx(loss, abs=1e-3)


def test_controls_differ_in_label_smoothing_only(tmp_path):
    arguments = ["controls", "--source", "sample", "--epochs", "1"]
    trust.main([*arguments, "--weights", str(tmp_path)])
    cards = [json.loads((tmp_path / f"{n}.json").read_text()) for n in trust.SMOOTHING]
    assert [card["recipe"].pop("label_smoothing") for card in cards] == [0.1, 0.0]
    assert cards[0]["recipe"] == cards[1]["recipe"]
    assert cards[0]["config"] == cards[1]["config"]
    sizes = [(c["training_images"], c["validation_images"]) for c in cards]
    assert sizes == [(1800, 200)] * 2


def test_shipped_controls_were_made_by_this_recipe():
    for name, smoothing in trust.SMOOTHING.items():
        card = load_card(name)
        assert card["recipe"]["label_smoothing"] == smoothing
        assert card["recipe"]["epochs"] == trust.CONTROL_RECIPE.epochs
        assert (card["training_images"], card["validation_images"]) == (45_000, 5_000)
        assert card["data"] == "full"
    sample = load_cifar10(source="sample").train
    training, validation = split(sample, len(sample) // 10, seed=0)
    assert (len(training), len(validation)) == (1800, 200)


def test_stored_rows_cover_both_networks_alike():
    rows = read_rows(runtime.RESULTS / "corruptions.csv")
    cases = {("none", "0")}
    cases |= {(c, str(s)) for c in corruptions.NAMES for s in trust.SEVERITIES}
    for name in ("champion", "baseline"):
        sha256 = load_card(name)["weights_sha256"]
        own = [row for row in rows if row["weights_sha256"] == sha256]
        assert sorted((r["corruption"], r["severity"]) for r in own) == sorted(cases)
        assert {row["images"] for row in own} == {"10000"}
        (clean,) = (row for row in own if row["corruption"] == "none")
        accuracy = load_card(name)["test_accuracy_percent"]
        assert int(clean["correct"]) / 100 == pytest.approx(accuracy, abs=0.02)
