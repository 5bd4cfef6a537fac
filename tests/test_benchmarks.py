"""The benchmark works and adds up; how fast the machine is does not matter here."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from cifar_helpers import checkpoints, runtime
from cifar_helpers.data import load_cifar10
from cifar_helpers.model import CIFAR10Net, count_multiply_adds, count_parameters
from cifar_helpers.pretrained import load_card
from cifar_helpers.recipes import PRESETS
from tests.benchmarks import faster, laptop, stepwise
from tests.benchmarks import training as benchmark
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config
from tests.benchmarks.rows import read_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A short run's results by subject."""
    path = tmp_path_factory.mktemp("benchmark") / "throughput.csv"
    threads = torch.get_num_threads()
    benchmark.main(["--seconds", "0.1", "--rounds", "1", "--out", str(path)])
    assert torch.get_num_threads() == threads
    return {row["subject"]: row for row in read_rows(path)}


@pytest.mark.slow
def test_every_preset_is_measured_in_both_loops(rows):
    for name in PRESETS:
        assert float(rows[f"our loop, {name} network"]["images_per_second"]) > 0
        assert float(rows[f"plain loop, {name} network"]["images_per_second"]) > 0


@pytest.mark.slow
def test_ratios_follow_from_the_rates(rows):
    base = float(rows[benchmark.BASES["training"]]["images_per_second"])
    trained = [row for row in rows.values() if row["kind"] == "training"]
    for row in trained:
        ratio = float(row["images_per_second"]) / base
        assert float(row["ratio_to_plain_loop"]) == pytest.approx(ratio, rel=2e-3)


@pytest.mark.slow
def test_share_of_the_peak_follows_from_multiply_adds(rows):
    peak = float(rows["matrix product, 1 thread"]["gflops"])
    row = rows["inference, baseline network, 256 images, eager"]
    gflops = 2 * int(row["multiply_adds"]) * float(row["images_per_second"]) / 1e9
    share = float(row["share_of_peak_percent"])
    assert share == pytest.approx(100 * gflops / peak, rel=2e-3)
    assert 0 < share < 100


def test_textbook_network_computes_the_same():
    model = CIFAR10Net().eval()
    plain = benchmark.textbook(model)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(plain(images), model(images), atol=1e-4, rtol=1e-4)
    assert count_parameters(plain) == count_parameters(model)
    kinds = {type(module).__name__ for module in plain.modules()}
    assert "DepthwiseConv2d" not in kinds


def test_reference_network_has_the_published_size():
    model = ResNet8(ResNet8Config(width=16))
    dense = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    # MLPerf Tiny: 3x3 convolutions, two 1x1 shortcuts, a fully connected layer
    stages = [(3, 16, 9), (16, 16, 18), (16, 32, 9), (32, 32, 9), (16, 32, 1)]
    stages += [(32, 64, 9), (64, 64, 9), (32, 64, 1), (64, 10, 1)]
    assert dense == sum(i * o * taps for i, o, taps in stages)
    assert count_multiply_adds(model) == pytest.approx(12.5e6, rel=0.01)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images).exp().sum(1), torch.ones(2))


@pytest.mark.slow
def test_shares_of_a_step_add_up(rows):
    shares = {
        name: float(row["share_of_step_percent"])
        for name, row in rows.items()
        if row["kind"] == "profile"
    }
    assert sum(shares.values()) == pytest.approx(100, abs=0.5)
    assert min(shares.values()) >= 0
    assert benchmark.group_of("aten::addmm") == "matrix products of Muon and the head"
    assert benchmark.group_of("aten::addcmul_") == "dilated taps"
    assert benchmark.group_of("aten::unknown") == "all else"


# ---- the stepwise ablation and the long runs ----------------------------------------


def test_stepwise_ablation_leads_from_the_baseline_to_the_rows_of_its_results():
    steps = list(stepwise.STEPS)
    assert stepwise.configurations(steps[0]) == PRESETS["baseline"]
    rows = read_rows(runtime.RESULTS / "champion.csv")
    for name in steps:
        network, recipe = stepwise.plan(name, seed=0, epochs=2)
        expected = stepwise.row_of(name, network, recipe, 45_000)
        same = [
            row
            for row in rows
            if all(row[column] == str(expected[column]) for column in expected)
        ]
        assert len(same) == 1, name
    assert stepwise.configurations("small images first")[0] == PRESETS["cpu"][0]
    assert stepwise.configurations("cpu") == PRESETS["cpu"]
    every_image = stepwise.configurations("cpu, every image")
    assert every_image == (
        PRESETS["cpu"][0],
        replace(PRESETS["cpu"][1], selective_drop_fraction=0),
    )


@pytest.mark.parametrize(
    "name", [*stepwise.STEPS, *stepwise.VARIANTS, *stepwise.FOR_A_GPU, *stepwise.OF_CPU]
)
def test_every_network_of_the_stepwise_ablation_keeps_the_budget(name):
    network, _ = stepwise.configurations(name)
    model = CIFAR10Net(network)
    assert count_parameters(model) < 200_000
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", [*stepwise.VARIANTS, *stepwise.FOR_A_GPU])
def test_variants_leave_the_last_step_by_what_they_say(name):
    network, recipe = stepwise.configurations(name)
    last_network, last_recipe = stepwise.configurations(list(stepwise.STEPS)[-1])
    changes = (stepwise.VARIANTS | stepwise.FOR_A_GPU)[name]
    assert stepwise.differences(network, last_network) == changes[0]
    assert stepwise.differences(recipe, last_recipe) == changes[1]


def test_stepwise_ablation_rows_are_kept_and_not_repeated(tmp_path):
    path, threads = tmp_path / "champion.csv", torch.get_num_threads()
    command = ["--steps", "Muon", "--epochs", "1", "--images", "256"]
    command += ["--source", "sample", "--out", str(path), "--seeds"]
    stepwise.main([*command, "0"])
    assert torch.get_num_threads() == threads
    (row,) = read_rows(path)
    assert (row["run"], row["epochs"], row["training_images"]) == ("Muon", "1", "256")
    assert 0 <= float(row["validation_accuracy_percent"]) <= 100
    assert row["test_accuracy_percent"] == ""
    assert json.loads(row["recipe"])["optimizer"] == "muon"
    assert row["command"].startswith("python -m tests.benchmarks.stepwise --steps Muon")
    stepwise.main([*command, "0", "1"])
    assert [row["seed"] for row in read_rows(path)] == ["0", "1"]


def test_finished_runs_join_the_stepwise_ablation_by_their_cards(tmp_path):
    path = tmp_path / "champion.csv"
    card = str(runtime.WEIGHTS / "baseline.json")
    for _ in range(2):
        stepwise.main(["--cards", card, "--out", str(path)])
    (row,) = read_rows(path)
    facts = load_card("baseline")
    assert row["run"] == "baseline" and int(row["epochs"]) == facts["recipe"]["epochs"]
    assert float(row["test_accuracy_percent"]) == facts["test_accuracy_percent"]
    assert float(row["seconds"]) == facts["train_seconds"]
    assert row["validation_accuracy_percent"] == "" and row["network"] == "{}"


@pytest.mark.slow
def test_long_runs_give_a_row_each(tmp_path, monkeypatch):
    """One epoch of the sample, instead of the full data for ten minutes."""
    network, preset = PRESETS["cpu"]
    quick = replace(preset, epochs=1)
    monkeypatch.setitem(PRESETS, "cpu", (network, quick))
    path = tmp_path / "laptop.csv"
    command = ["--seeds", "0", "--reference-epochs", "1", "--out", str(path)]
    command += ["--runs", str(tmp_path), "--source", "sample"]
    laptop.main(command)
    ours, reference = read_rows(path)
    assert (ours["network"], reference["network"]) == ("cpu", "resnet8-24")
    card = json.loads((tmp_path / "cpu-1-0" / "cpu.json").read_text())
    assert float(ours["test_accuracy_percent"]) == card["test_accuracy_percent"]
    assert float(ours["train_seconds"]) == card["train_seconds"] > 0
    laptop.main(command)
    assert len(read_rows(path)) == 2


# ---- seconds to the target -----------------------------------------------------------


def test_changes_lead_from_the_textbooks_recipe_to_the_preset():
    names = list(faster.CHANGES)
    assert faster.recipe_of(names[0]) == faster.PLAIN
    last = faster.recipe_of(names[-1])
    assert replace(last, epochs=PRESETS["cpu"][1].epochs) == PRESETS["cpu"][1]
    for before, name in pairwise(names):
        changed = stepwise.differences(faster.recipe_of(name), faster.recipe_of(before))
        assert changed == faster.CHANGES[name], name
    assert not faster.has_schedule("short format") and faster.has_schedule("average")


def test_seconds_count_until_an_epoch_first_gets_there():
    history = [
        {"seconds": 10.0, "validation_accuracy_percent": accuracy}
        for accuracy in (80.0, 86.5, 86.0)
    ]
    assert faster.seconds_to(history, 86.48) == 20
    assert faster.seconds_to(history[:1], 86.48) is None
    assert faster.seconds_to(history, 86.6) is None


def test_ratios_are_to_the_quicker_textbook_of_the_same_seed():
    def row(run, seed, seconds):
        same = {"hardware": "A", "training_images": 45_000}
        return {"run": run, "seed": seed, "seconds_to_86_48": seconds, **same}

    rows = [
        row("textbook, SGD", 0, 400.0),
        row("textbook, Adam", 0, 300.0),
        row("textbook, Adam", 1, ""),  # did not get there
        row("Muon", 0, 60.0),
        row("Muon", 1, 60.0),
    ]
    ratios = [each["ratio_to_textbook"] for each in faster.with_ratios(rows)]
    assert ratios == [0.75, 1.0, "", 5.0, ""]


def test_runs_to_the_target_are_kept_cut_short_and_not_repeated(tmp_path, monkeypatch):
    path = tmp_path / "faster.csv"
    runs = ["textbook, SGD", "textbook, Adam", "whole batches", "harder images"]
    command = ["--source", "sample", "--images", "64", "--lengths", "2", "1"]
    command += ["--workers", "0", "--seeds", "0", "--folder", str(tmp_path / "parts")]
    command += ["--out", str(path), "--runs", *runs, "--target"]
    faster.main([*command, "101"])  # never reached: all lengths are tried
    found = [
        (row["run"], row["epochs"], row["seconds_to_86_48"]) for row in read_rows(path)
    ]
    at_one_rate = [(name, "2", "") for name in runs[:3]]
    assert found == [*at_one_rate, (runs[3], "1", ""), (runs[3], "2", "")]
    before = path.read_bytes()
    faster.main([*command, "101"])
    assert path.read_bytes() == before  # nothing was left to do
    path.unlink()
    monkeypatch.setattr(faster, "evaluate", lambda *_: {"accuracy_percent": 50.0})
    easy = tmp_path / "easy"
    faster.main([*command, "0.5", "--folder", str(easy)])  # reached after an epoch
    rows = {(row["run"], row["epochs"]): row for row in read_rows(path)}
    assert len(rows) == 4 and (runs[3], "1") in rows  # the shortest was enough
    for row in rows.values():
        assert float(row["seconds_to_86_48"]) == float(row["train_seconds"])
        assert float(row["ratio_to_textbook"]) > 0


def test_a_textbook_run_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    data = load_cifar10(source="sample").train
    parts = data.subset(slice(64)), data.subset(slice(64, 96))

    def run(path, epochs):
        rest = (*parts, 101.0, tmp_path / path, 0)
        return faster.run_textbook("textbook, SGD", 0, epochs, *rest)

    whole = run("whole", 2)
    assert len(run("cut", 1)) == 1
    resumed = run("cut", 2)
    accuracies = [
        [row["validation_accuracy_percent"] for row in rows]
        for rows in (whole, resumed)
    ]
    assert accuracies[0] == accuracies[1]
    states = [checkpoints.load(tmp_path / name)["model"] for name in ("whole", "cut")]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_a_rehearsal_does_not_write_into_the_results():
    with pytest.raises(SystemExit):
        faster.main(["--target", "20"])
