"""Weights, card and history: written, read, and what is really shipped."""

import csv
import hashlib
import json
import os
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10
from cifar_helpers.download import cache_folder
from cifar_helpers.model import (
    PARAMETER_BUDGET,
    CIFAR10Net,
    NetConfig,
    count_multiply_adds,
    count_parameters,
    predict,
)
from cifar_helpers.pretrained import (
    WeightsDamaged,
    card_of,
    load_card,
    load_pretrained,
    read_history,
    save_run,
)
from cifar_helpers.recipes import PRESETS, Recipe

NARROW = {
    "channels": 4,
    "deep_channels": 6,
    "hidden_channels": 5,
    "branch_channels": 3,
    "out_channels": 7,
}


def test_history_survives_a_file(tmp_path):
    history = [
        {"epoch": 1, "seconds": 0.1 + 0.2, "train_loss": 1 / 3},
        {"epoch": 2, "seconds": 1e-9, "train_loss": 2.0},
    ]
    model = CIFAR10Net(NetConfig(**NARROW))
    card = save_run(tmp_path, "run", model, history, {"note": "x"})
    assert read_history(tmp_path / "run.csv") == history
    with open(tmp_path / "run.csv", encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == ["epoch", "seconds", "train_loss"]
    assert json.loads((tmp_path / "run.json").read_text()) == card
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "run.csv",
        "run.json",
        "run.safetensors",
    ]


def test_card_of_a_run_says_what_the_shipped_cards_say():
    for name in PRESETS:
        card = load_card(name)
        assert card["data"] == "full"
        history = read_history(runtime.WEIGHTS / f"{name}.csv")
        names = ("hardware", "cores", "python", "torch", "numpy")
        machine = {entry: card[entry] for entry in names}
        recipe = Recipe(**card["recipe"])
        made = card_of(recipe, history, "full", card["training_images"], machine)
        assert made.items() <= (card | {"recipe": asdict(recipe)}).items()
        assert "data_sha256" in made and made["seed"] == card["recipe"]["seed"]
        assert "data_sha256" not in card_of(recipe, history, "sample", 9, machine)


def test_history_leaves_out_empty_cells(tmp_path):
    """A run may be judged only every few epochs."""
    path = tmp_path / "run.csv"
    path.write_text("epoch,train_loss,validation_loss\n1,2.5,\n2,2.0,1.9\n")
    first, second = read_history(path)
    assert first == {"epoch": 1, "train_loss": 2.5}
    assert second == {"epoch": 2, "train_loss": 2.0, "validation_loss": 1.9}


def test_history_may_lose_a_column_on_the_way(tmp_path):
    """A run that goes on without its validation part still gives three files."""
    history = [
        {"epoch": 1, "train_loss": 2.5, "validation_loss": 2.0},
        {"epoch": 2, "train_loss": 2.0},
    ]
    save_run(tmp_path, "run", CIFAR10Net(NetConfig(**NARROW)), history, {})
    assert read_history(tmp_path / "run.csv") == history


@pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
def test_files_are_readable_as_other_new_files_are(tmp_path):
    (tmp_path / "other").touch()
    save_run(tmp_path, "run", CIFAR10Net(NetConfig(**NARROW)), [{"epoch": 1}], {})
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


# ---- weights files -------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder that ships two small networks, `one` and `two`."""
    monkeypatch.setattr(runtime, "WEIGHTS", tmp_path)
    models = {}
    for name, without in (("one", ()), ("two", ("attention",))):
        models[name] = CIFAR10Net(NetConfig(without=without, **NARROW))
        models[name](torch.randn(4, 3, 32, 32))
        save_run(tmp_path, name, models[name], [{"epoch": 1}], {"seed": 7})
    return models


@pytest.mark.parametrize("name", ["one", "two"])
def test_shipped_network_is_the_saved_one(shipped, name):
    generator = torch.get_rng_state()
    loaded = load_pretrained(name)
    assert torch.equal(torch.get_rng_state(), generator) and not loaded.training
    assert loaded.config == shipped[name].config
    saved = shipped[name].state_dict()
    assert loaded.state_dict().keys() == saved.keys()
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, saved[key]), key
    card = load_card(name)
    assert card["parameters"] == count_parameters(shipped[name])
    assert card["multiply_adds"] == count_multiply_adds(shipped[name])
    assert (card["name"], card["seed"]) == (name, 7)


@pytest.mark.parametrize("name", ["three", "", "../one", "one.json"])
def test_unknown_name_lists_the_shipped_ones(shipped, name):
    for load in (load_pretrained, load_card):
        with pytest.raises(ValueError) as failure:
            load(name)
        assert f"no weights named {name!r}" in str(failure.value)
        assert "['one', 'two']" in str(failure.value)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def fill_with_text(path):
    path.write_text("<html>not found</html>" * 50)


def put_other_shapes(path):
    other = CIFAR10Net(NetConfig(**(NARROW | {"out_channels": 8})))
    save_file(other.state_dict(), path)


def put_other_names(path):
    save_file({"weight": torch.zeros(3)}, path)


def forget_checksum(path):
    card = path.with_suffix(".json")
    facts = json.loads(card.read_text())
    del facts["weights_sha256"]
    card.write_text(json.dumps(facts))


def put_other_shapes_without_checksum(path):
    put_other_shapes(path)
    forget_checksum(path)


def put_other_names_without_checksum(path):
    put_other_names(path)
    forget_checksum(path)


def flip_a_bit(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        put_other_shapes_without_checksum,
        put_other_names_without_checksum,
        flip_a_bit,
        truncate,
        empty,
        fill_with_text,
        put_other_shapes,
        put_other_names,
        lambda p: p.unlink(),
    ],
)
def test_damaged_weights_are_explained(shipped, tmp_path, damage):
    damage(tmp_path / "one.safetensors")
    with pytest.raises(WeightsDamaged, match=r"one\.safetensors is damaged or does"):
        load_pretrained("one")
    load_pretrained("two")  # the other file is as good as before


def test_any_flipped_bit_is_noticed(shipped, tmp_path):
    path = tmp_path / "one.safetensors"
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 50):
        flip_a_bit(path, place)
        with pytest.raises(WeightsDamaged, match="its SHA-256 is [0-9a-f]{64}, not "):
            load_pretrained("one")
        path.write_bytes(whole)
    load_pretrained("one")


def test_cards_without_a_checksum_are_read(shipped, tmp_path):
    forget_checksum(tmp_path / "one.safetensors")
    assert load_pretrained("one").config == shipped["one"].config


def test_saving_again_renews_the_checksum(shipped, tmp_path):
    stale = load_card("two")
    save_run(tmp_path, "one", shipped["one"], [{"epoch": 1}], stale)
    data = (tmp_path / "one.safetensors").read_bytes()
    assert load_card("one")["weights_sha256"] == hashlib.sha256(data).hexdigest()


def test_a_device_that_is_not_there_is_named(shipped):
    with pytest.raises(ValueError, match="device 'gpu' is not there"):
        load_pretrained("one", "gpu")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{torn", "one.json is not readable"),
        ("", "one.json is not readable"),
        ("{}", r"one.json describes no network: KeyError\('config'\)"),
        ("[1, 2]", "one.json describes no network: TypeError"),
        ('{"config": {"depth": 3}}', "one.json describes no network: .*depth"),
        ('{"config": {"channels": 0}}', "one.json describes no network: .*at least 1"),
    ],
)
def test_damaged_card_is_explained(shipped, tmp_path, text, reason):
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(WeightsDamaged, match=reason):
        load_pretrained("one")


# ---- what is really shipped ----------------------------------------------------------

SHIPPED = sorted(path.stem for path in runtime.WEIGHTS.glob("*.json"))


def test_baseline_is_shipped():
    assert "baseline" in SHIPPED


@pytest.fixture(scope="module")
def test_images():
    """The full test set where the packed cache has it, else the bundled sample's."""
    wanted = os.environ.get("CIFAR10_SOURCE", "auto")
    there = (cache_folder() / "cifar10.npz").exists()
    data = load_cifar10(source="full" if there and wanted != "sample" else "sample")
    return data.test, data.source


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_network_keeps_the_promise_of_its_card(name, test_images):
    images, source = test_images
    model, card = load_pretrained(name), load_card(name)
    assert card["parameters"] == count_parameters(model) < PARAMETER_BUDGET
    assert card["multiply_adds"] == count_multiply_adds(model)
    predicted = predict(model, images.images).argmax(1)
    accuracy = 100 * (predicted == images.labels).double().mean().item()
    if source == "full":
        assert accuracy == pytest.approx(card["test_accuracy_percent"], abs=0.05)
    else:  # a tenth of the images: within four standard errors
        assert accuracy == pytest.approx(card["test_accuracy_percent"], abs=4)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_card_has_the_checksum_of_its_weights(name):
    data = (runtime.WEIGHTS / f"{name}.safetensors").read_bytes()
    assert load_card(name)["weights_sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_network_has_its_history_beside_it(name):
    rows = (runtime.WEIGHTS / f"{name}.csv").read_text().splitlines()
    assert len(rows) == 1 + load_card(name)["recipe"]["epochs"]
