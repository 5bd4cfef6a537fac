"""The champion, trained on with enlarged images: what its row says."""

import torch
from torch.nn import functional as F

from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10
from cifar_helpers.model import CIFAR10Net, count_multiply_adds, predict
from cifar_helpers.pretrained import load_card, load_pretrained
from cifar_helpers.recipes import PRESETS
from tests.benchmarks import enlarged
from tests.benchmarks.rows import read_rows


def test_images_are_enlarged_before_the_network():
    network = CIFAR10Net(PRESETS["champion"][0]).eval()
    images = torch.randn(2, 3, 32, 32)
    larger = F.interpolate(images, (48, 48), mode="bilinear")
    found = enlarged.Enlarged(network, 48)(images)
    torch.testing.assert_close(found, network(larger), atol=1e-4, rtol=1e-4)
    parts = network.initial(larger)
    assert parts.shape[2:] == (24, 24)


def test_a_run_is_judged_once_and_not_repeated(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    command = ["--images", "128", "--source", "sample", "--epochs", "1", "--size", "40"]
    command += ["--runs", str(tmp_path / "runs"), "--out", str(path)]
    enlarged.main(command)
    (row,) = read_rows(path)
    assert tuple(row) == enlarged.COLUMNS
    test = load_cifar10(source="sample").test
    champion = load_pretrained("champion")
    right = predict(champion, test.images).argmax(1) == test.labels
    assert float(row["champion_test_accuracy_percent"]) == 100 * right.sum() / 1000
    difference = float(row["test_accuracy_percent"]) - 100 * right.sum() / 1000
    assert abs(float(row["difference"]) - difference) < 0.01
    assert int(row["multiply_adds"]) == count_multiply_adds(champion, 40)
    enlarged.main(command)
    assert read_rows(path) == [row] and "already" in capsys.readouterr().out


def test_the_stored_row_is_of_the_shipped_champion():
    (row,) = read_rows(runtime.RESULTS / "enlarged.csv")
    card = load_card("champion")
    numbers = {name: float(row[name]) for name in enlarged.COLUMNS[:14]}
    before = numbers["champion_test_accuracy_percent"]
    assert before == card["test_accuracy_percent"]
    after, difference = numbers["test_accuracy_percent"], numbers["difference"]
    assert abs(after - before - difference) < 0.006
    assert numbers["difference_low"] < difference < numbers["difference_high"]
    assert numbers["parameters"] == card["parameters"]
    larger = count_multiply_adds(load_pretrained("champion"), int(row["size"]))
    assert numbers["multiply_adds"] == larger
