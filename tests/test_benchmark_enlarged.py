"""The champion, trained on with enlarged images: what its row says."""

import pytest
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
    maps = []
    network.initial.register_forward_hook(lambda _, __, out: maps.append(out.shape[2:]))
    found = enlarged.Enlarged(network, 48)(images)
    assert maps == [(24, 24)]
    torch.testing.assert_close(found, network(larger), atol=1e-4, rtol=1e-4)


def test_nothing_is_small_where_images_are_enlarged():
    recipe, champions = enlarged.recipe_of(3, 0.05), PRESETS["champion"][1]
    assert recipe.epochs == 3
    assert recipe.learning_rate == recipe.sgd_learning_rate == 0.05
    assert recipe.low_resolution_fraction == 0 < champions.low_resolution_fraction
    assert recipe.cutout_size == champions.cutout_size


def test_a_run_of_another_size_is_trained_and_not_taken_over(tmp_path, monkeypatch):
    """Even where one was left unfinished in the same folder."""
    trained, whole = [], enlarged.fit_whole

    def stopped(model, *_, checkpoint, **__):
        trained.append((model.size, checkpoint.name, str(model)))
        raise KeyboardInterrupt

    monkeypatch.setattr(enlarged, "fit_whole", stopped)
    command = ["--images", "64", "--source", "sample", "--epochs", "1"]
    command += ["--runs", str(tmp_path), "--out", str(tmp_path / "rows.csv"), "--size"]
    for size in ("40", "48"):
        with pytest.raises(KeyboardInterrupt):
            enlarged.main([*command, size])
    (one, other) = trained
    assert one[0] == 40 and other[0] == 48
    assert one[1] != other[1] and one[2] != other[2]
    monkeypatch.setattr(enlarged, "fit_whole", whole)
    enlarged.main([*command, "40"])
    assert not list(tmp_path.glob("*.checkpoint*")), "a finished run leaves none"


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
