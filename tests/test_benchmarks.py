"""The benchmark works and adds up; how fast the machine is does not matter here."""

import copy
import json
import os
import shutil
from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock

from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10
from cifar_helpers.ladder import LADDER, runs_to_target
from cifar_helpers.model import CIFAR10Net, count_multiply_adds, count_parameters
from cifar_helpers.optimizers import make_optimizer
from cifar_helpers.pretrained import load_card, read_history
from cifar_helpers.recipes import PRESETS
from tests.benchmarks import faster, gated, laptop, stepwise
from tests.benchmarks import training as benchmark
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config
from tests.benchmarks.rows import command_line, read_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A short run's results by subject."""
    path = tmp_path_factory.mktemp("benchmark") / "throughput.csv"
    threads = torch.get_num_threads()
    benchmark.main(["--seconds", "0.1", "--rounds", "1", "--out", str(path)])
    assert torch.get_num_threads() == threads
    return {row["subject"]: row for row in read_rows(path)}


@pytest.mark.slow
def test_every_network_is_measured_in_both_loops(rows):
    for name in benchmark.NETWORKS:
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


def test_a_row_is_the_median_of_its_rounds_with_their_spread():
    names = ("plain loop, cpu network", "ours")
    subjects = [benchmark.Subject(name, "training", iter(())) for name in names]
    figures = {names[0]: [90.0, 110.0, 100.0], names[1]: [450.0, 500.0, 400.0]}
    plain, ours = benchmark.result_rows(subjects, figures, {}, seconds=10)
    assert (plain["images_per_second"], plain["spread_percent"]) == (100, 20)
    assert ours["ratio_to_plain_loop"] == 4.5 and ours["seconds"] == 10
    assert ours["spread_percent"] == pytest.approx(100 * 100 / 450)
    layer = benchmark.Subject(benchmark.BASES["depthwise"], "depthwise", iter(()))
    (row,) = benchmark.result_rows([layer], {layer.name: [5.0]}, {}, seconds=10)
    assert (row["seconds"], row["spread_percent"]) == (2, 0)


class WhoReads(torch.utils.data.Dataset):
    """Says which process read an image."""

    def __init__(self, data):
        self.count = len(data)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return os.getpid(), 0


def test_worker_processes_stay_for_the_next_pass(monkeypatch):
    monkeypatch.setattr(benchmark, "PerImage", WhoReads)
    loader = benchmark.per_image_batches(benchmark.random_images(8), 2)
    readers = [{pid.item() for pids, _ in loader for pid in pids} for _ in range(2)]
    assert readers[0] == readers[1] and len(readers[0]) == benchmark.WORKERS
    assert os.getpid() not in readers[0]


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


def test_threads_of_a_finished_run_are_those_beside_its_hardware(tmp_path):
    card = load_card("champion")
    assert card["hardware"] == "AMD EPYC, 1 thread, bfloat16" and card["cores"] == 2
    path = str(runtime.WEIGHTS / "champion.json")
    assert stepwise.row_of_card(path)["threads"] == "1"


ASIDE = {  # name: what differs from the preset
    "baseline-55": "--epochs 55",
    "cpu-55": "--epochs 55",
    "champion-110": "--epochs 110",
    "champion-160": "--epochs 160 --mixup-alpha 0.2 --clean-fraction 0.1",
    "champion-turned": "--rotation-degrees 15.0 --colour-strength 0.2",
}


def test_every_run_that_was_put_aside_is_known():
    found = {path.stem for path in (runtime.RESULTS / "runs").glob("*.json")}
    assert found == set(ASIDE)


@pytest.mark.parametrize("name", ASIDE)
def test_a_run_that_was_put_aside_is_in_the_file_as_its_card_says(name):
    path = runtime.RESULTS / "runs" / f"{name}.json"
    rows = read_rows(runtime.RESULTS / "champion.csv")
    (row,) = (row for row in rows if row["run"] == path.stem)
    expected = stepwise.row_of_card(str(path))
    texts = {k: "" if v is None else str(v) for k, v in expected.items()}
    assert row == texts
    preset = name.partition("-")[0]
    options = row["command"].partition(f"--preset {preset} ")[2]
    assert options == ASIDE[name]
    assert len(read_history(path.with_suffix(".csv"))) == int(row["epochs"])


def test_command_of_a_run_with_held_out_images_says_how_many(tmp_path):
    card = load_card("champion") | {"training_images": 45_000}
    del card["test_accuracy_percent"]
    card["validation_accuracy_percent"] = 90.0
    card["recipe"] = card["recipe"] | {"epochs": 8, "flip": False}
    (tmp_path / "champion.json").write_text(json.dumps(card))
    shutil.copy(runtime.WEIGHTS / "champion.csv", tmp_path)
    row = stepwise.row_of_card(str(tmp_path / "champion.json"))
    options = row["command"].partition("--preset champion ")[2]
    assert options == "--epochs 8 --no-flip --validation 5000"


@pytest.mark.slow
def test_long_runs_give_a_row_each(tmp_path, monkeypatch):
    """One epoch of the sample, instead of the full data for ten minutes."""
    network, preset = PRESETS["cpu"]
    quick = replace(preset, epochs=1)
    monkeypatch.setitem(PRESETS, "cpu", (network, quick))
    path = tmp_path / "laptop.csv"
    command = ["--seeds", "0", "--reference-epochs", "1", "--out", str(path)]
    command += ["--runs", str(tmp_path), "--source", "sample"]
    command += ["--textbook-seconds", "0.1"]
    laptop.main(command)
    ours, reference = read_rows(path)
    assert (ours["network"], reference["network"]) == ("cpu", "resnet8-24")
    (found,) = tmp_path.glob("cpu_0_1_*/cpu.json")  # the processor's name follows
    card = json.loads(found.read_text())
    assert float(ours["test_accuracy_percent"]) == card["test_accuracy_percent"]
    assert float(ours["train_seconds"]) == card["train_seconds"] > 0
    assert float(ours["textbook_images_per_second"]) > 0
    assert ours["seconds_to_86_48"] == reference["textbook_images_per_second"] == ""
    laptop.main(command)
    assert len(read_rows(path)) == 2


def test_rows_of_another_processor_are_other_runs(tmp_path, monkeypatch):
    path = tmp_path / "laptop.csv"
    row = {"network": "cpu", "seed": 0, "epochs": 9, "cpu": "another, 2 threads"}
    row |= {"train_seconds": 100.0, "test_accuracy_percent": 87.0}
    laptop.write_rows(path, [row])

    def train(seed, out, source, epochs):
        again = {"network": "cpu", "seed": seed, "epochs": epochs}
        return again | {"train_seconds": 50.0, "test_accuracy_percent": 86.0}

    monkeypatch.setattr(laptop, "train_cpu", train)
    command = ["--seeds", "0", "--textbook-seconds", "0", "--out", str(path)]
    for _ in range(2):
        laptop.main(command)
    rows = read_rows(path)
    assert [row["cpu"] for row in rows] == [
        "another, 2 threads",
        runtime.describe_machine()["hardware"],
    ]
    assert [row["seconds_to_86_48"] for row in rows] == ["100.0", ""]


def test_ratio_of_the_ten_minute_run_by_hand():
    def textbook(seed, measured, epochs, reached):
        row = {"run": "textbook", "seed": seed, "measured": measured, "hardware": "A"}
        row |= {"epochs": epochs, "epochs_to_86_48": reached}
        return row | {"training_images": "45000"}

    rows = [
        textbook("0", "training", "22", "22"),
        textbook("0", "speed", "20", "20"),  # the loop itself was trained: 22 counts
        textbook("1", "speed", "18", "18"),
        textbook("2", "speed", "", ""),  # not known yet
        {"run": "Muon", "epochs": "9"},
    ]
    needed = laptop.textbook_images(rows)
    assert needed == (20 * 45_000, True)
    rows[2]["epochs_to_86_48"] = ""
    assert laptop.textbook_images(rows) == (20 * 45_000, False)
    assert laptop.textbook_images(rows[3:]) is None
    runs = [
        {"train_seconds": "300", "test_accuracy_percent": "87"},  # an older row
        {"train_seconds": "300", "test_accuracy_percent": "86.4"},
        {"train_seconds": "300", "test_accuracy_percent": "86.48"},
    ]
    for run in runs[1:]:
        run["textbook_images_per_second"] = "300"
    for known, ratios in ((needed, ["", "", 10]), (None, ["", "", ""])):
        filled = laptop.with_ratios(runs, known)
        assert [row["ratio_to_textbook"] for row in filled] == ratios
        assert [row["seconds_to_86_48"] for row in filled] == [300, "", 300]
    assert laptop.with_ratios(runs, (1, False))[2]["ratio_is"] == "at least"


# ---- seconds to the target -----------------------------------------------------------


def row_to_target(run, seed, epochs, accuracy, rate=450.0, measured="training"):
    """A row as `faster` writes it: 45,000 images, so an epoch takes 45,000 / rate s."""
    same = {"hardware": "A", "training_images": "45000"}
    return {
        "run": run,
        "seed": str(seed),
        "epochs": str(epochs),
        "validation_accuracy_percent": str(accuracy),
        "images_per_second": str(rate),
        "measured": measured,
        **same,
    }


def test_changes_lead_from_the_textbooks_recipe_to_the_preset():
    names = list(faster.CHANGES)
    for name in faster.TIMED:  # they differ in speed alone
        assert faster.recipe_of(name) == faster.PLAIN and not faster.has_schedule(name)
    last = faster.recipe_of(names[-1])
    assert replace(last, epochs=PRESETS["cpu"][1].epochs) == PRESETS["cpu"][1]
    for before, name in pairwise(names):
        changed = stepwise.differences(faster.recipe_of(name), faster.recipe_of(before))
        assert changed == faster.CHANGES[name], name
    assert tuple(names) == LADDER
    scheduled = [name for name in names if faster.has_schedule(name)]
    assert scheduled == list(faster.START)


def test_adam_without_decay_is_the_textbooks_adam():
    model = torch.nn.Linear(3, 2)
    other = copy.deepcopy(model)
    ours = make_optimizer(model, faster.PLAIN)
    textbooks = torch.optim.Adam(other.parameters(), 1e-3)
    for _ in range(3):
        for net, optimizer in ((model, ours), (other, textbooks)):
            optimizer.zero_grad()
            net(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(model.weight, other.weight)


def test_slope_is_taken_within_each_run():
    e = 2.718281828
    rows = [
        row_to_target("Muon", 0, 10, 86.0),
        row_to_target("Muon", 0, round(10 * e), 89.0),  # 27
        row_to_target("average", 0, 4, 84.0),  # alone: says nothing about a slope
        row_to_target("short format", 0, 10, 80.0),  # no schedule
    ]
    expected = 3.0 / np.log(27 / 10)
    assert faster.slope_of(rows, 86.48) == pytest.approx(expected)
    assert faster.slope_of(rows[2:], 86.48) == faster.SLOPE
    assert faster.slope_of([*rows[:2], row_to_target("Muon", 1, 10, 70.0)], 86.48) == (
        pytest.approx(expected)  # too far from the target
    )


def test_epochs_and_seconds_to_the_target_by_hand():
    rows = [
        row_to_target("textbook", 0, "", "", 100.0, "speed"),
        row_to_target("short format", 0, 20, 86.6),  # got there
        row_to_target("short format", 1, 30, 86.0),  # did not
        row_to_target("textbook", 1, "", "", 100.0, "speed"),
        row_to_target("Muon", 0, 10, 86.08),
        row_to_target("Muon", 0, 7, 85.2),  # farther away: another row counts
        row_to_target("Muon", 1, 10, 86.48, 900.0),
        row_to_target("average", 0, 40, 80.0),  # too far to shift
    ]
    filled = faster.with_ratios(rows)
    epochs = [row["epochs_to_86_48"] for row in filled]
    shifted = round(10 * np.exp(0.4 / faster.SLOPE), 2)  # 11.05
    assert epochs == [20, 20, "", "", shifted, "", 10, ""]
    seconds = [row["seconds_to_86_48"] for row in filled]
    assert seconds == [9000, 2000, "", "", round(100 * shifted, 1), "", 500, ""]
    assert filled[0]["epochs"] == "20"  # as many as in the short format
    assert filled[4]["ratio_to_textbook"] == round(9000 / (100 * shifted), 2)
    assert filled[4]["ratio_is"] == "exact"
    # seed 1: 30 epochs of 450 s were not enough for the textbook
    assert (filled[6]["ratio_to_textbook"], filled[6]["ratio_is"]) == (27, "at least")
    again = faster.with_ratios([{k: str(v) for k, v in r.items()} for r in filled])
    assert [row["seconds_to_86_48"] for row in again] == seconds
    # a textbook that was trained itself counts before one that was timed
    trained = row_to_target("textbook", 0, 10, 86.5, 100.0)
    filled = faster.with_ratios([trained, *rows])
    assert filled[2]["ratio_to_textbook"] == 4500 / 2000


def test_rows_are_put_together_run_by_run(tmp_path):
    path = tmp_path / "faster.csv"
    assert runs_to_target(path) == []
    rows = [
        row_to_target("textbook", 0, 30, 86.0, 100.0),  # trained itself, gave up
        row_to_target("textbook", 0, "", "", 100.0, "speed"),
        row_to_target("textbook", 1, "", "", 100.0, "speed"),
        row_to_target("short format", 0, 20, 86.6),
        row_to_target("Muon", 0, 10, 86.48, 900.0),
        row_to_target("Muon", 0, 12, 87.0, 900.0),
        row_to_target("Muon", 1, 10, 86.48, 450.0),
    ]
    rows = [row | {"torch": "2.15.0"} for row in rows]
    options = SimpleNamespace(out=path, folder=tmp_path, target=faster.TARGET)
    faster.add_rows(options, rows)
    faster.add_rows(options, [rows[4] | {"hardware": "B"}])
    textbook, short, muon = runs_to_target(path)
    names = ("run", "seeds", "reached", "minutes", "gave_up_after")
    given_up = ("textbook", 1, 0, [], 30 * 45_000 / 100 / 60)
    assert tuple(textbook[name] for name in names) == given_up  # seed 1: unknown yet
    assert tuple(short[name] for name in names) == (
        "short format",
        1,
        1,
        [20 * 45_000 / 450 / 60],
        None,
    )
    assert muon["minutes"] == pytest.approx([500 / 60, 1000 / 60], abs=0.01)
    assert (muon["epochs"], muon["images_per_second"]) == (10, 675)
    assert muon["ratio"] == pytest.approx(13_500 / 750)  # means of either
    assert muon["ratio_is"] == "at least"
    assert [row["trained"] for row in (textbook, short, muon)] == [1, 1, 2]
    timed = [rows[2] | {"seed": "2", "epochs": "30", "images_per_second": "1"}]
    faster.add_rows(options, timed)  # says nothing of what a trained one took
    assert runs_to_target(path)[0]["gave_up_after"] == given_up[-1]


REHEARSAL = ["--source", "sample", "--images", "64", "--seeds", "0", "--patience", "2"]


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    """Runs `faster` with the sample; returns the rows of its file."""
    monkeypatch.setattr(faster, "speeds", partial(faster.speeds, steps=1, turns=1))
    path = tmp_path / "faster.csv"

    def run(*options):
        folder = ["--folder", str(tmp_path / "parts"), "--out", str(path)]
        faster.main([*REHEARSAL, *folder, *options])
        return read_rows(path)

    return run


def test_runs_to_the_target_are_kept_and_not_repeated(rehearse, monkeypatch):
    runs = ["textbook", "whole batches", "short format"]
    accuracy = iter([50.0, 86.5] * 2)
    monkeypatch.setattr(
        faster, "evaluate", lambda *_: {"accuracy_percent": next(accuracy)}
    )
    threads = torch.get_num_threads()
    rows = rehearse("--runs", *runs)
    assert torch.get_num_threads() == threads
    found = [(row["run"], row["measured"], row["epochs"]) for row in rows]
    timed = [(name, "speed", "2") for name in faster.TIMED]
    assert found == [
        *timed,
        ("textbook", "training", "2"),
        ("short format", "training", "2"),
    ]
    assert all(float(row["ratio_to_textbook"]) > 0 for row in rows)
    assert float(rows[3]["seconds_to_86_48"]) == pytest.approx(
        float(rows[3]["train_seconds"]), rel=0.05, abs=0.05
    )
    assert rehearse("--runs", *runs) == rows  # `accuracy` has nothing left


def test_a_schedule_is_tried_again_with_a_better_length(rehearse, monkeypatch):
    reached = iter([(88.0, 88.48), (86.2, 86.5)])  # last weights, their average

    def judge(*_, queue=[]):  # noqa: B006 (what is left of a pair)
        queue or queue.extend(next(reached))
        return {"accuracy_percent": queue.pop(0)}

    monkeypatch.setattr(faster, "evaluate", judge)
    rows = rehearse("--runs", "average", "--longest", "5")
    # 5 epochs, the longest, ended 2 points too high: 5 exp(-2 / 4) is about 3
    found = [
        (row["run"], row["epochs"], row["validation_accuracy_percent"]) for row in rows
    ]
    assert found == [
        ("SGD with a schedule", "5", "88.0"),
        ("average", "5", "88.48"),
        ("SGD with a schedule", "3", "86.2"),
        ("average", "3", "86.5"),
    ]
    known = [row["epochs_to_86_48"] for row in rows]
    assert known[:2] == ["", ""] and float(known[2]) > 3 > float(known[3])
    assert (
        rehearse("--runs", "SGD with a schedule", "average", "--longest", "5") == rows
    )


def test_a_run_that_another_process_claims_is_left_alone(rehearse, tmp_path):
    (tmp_path / "parts").mkdir()
    with FileLock(tmp_path / "parts" / "Muon-0.claim"):
        assert rehearse("--runs", "Muon", "--longest", "1") == []


@pytest.mark.parametrize("run", ["textbook", "short format", "harder images"])
def test_a_run_goes_on_where_it_was_cut_off(run, tmp_path):
    data = load_cifar10(source="sample").train
    training, judging = data.subset(slice(64)), data.subset(slice(64, 96))

    def trained(path, stop=None):
        loop = faster.make_loop(run, 0, 2, training)
        if stop:
            epoch = loop.epoch

            def interrupted(number):
                if number == stop:
                    raise KeyboardInterrupt
                epoch(number)

            loop.epoch = interrupted
        found = faster.train(loop, 2, judging, None, tmp_path / path)
        return loop.networks()[run].state_dict(), found["judged"]

    whole = trained("whole")
    with pytest.raises(KeyboardInterrupt):
        trained("cut", stop=1)
    torch.manual_seed(99)
    resumed = trained("cut")
    assert resumed[1] == whole[1]
    for name, value in whole[0].items():
        assert torch.equal(value, resumed[0][name]), name


# ---- narrower gated networks ---------------------------------------------------------


@pytest.mark.parametrize("name", list(gated.CANDIDATES))
def test_gated_candidates_keep_the_budget(name):
    network = gated.network_of(name)
    model = CIFAR10Net(network)
    assert count_parameters(model) < 200_000
    assert model(torch.zeros(2, 3, 24, 24)).shape == (2, 10)  # of the small images
    if name == "cpu":
        assert network == PRESETS["cpu"][0]
    else:
        champion = CIFAR10Net(PRESETS["champion"][0])
        assert network.unit == "gated"
        assert count_multiply_adds(model) < 0.6 * count_multiply_adds(champion)


def test_epochs_that_fit_into_the_time_of_cpu():
    speeds = {"cpu": 900.0, "48 channels": 620.0, "slow": 10.0, "quick": 1_000.0}
    epochs = [gated.fitting_epochs(speeds, name) for name in speeds]
    assert epochs == [9, 6, 1, 10]  # 9 x 620 / 900 = 6.2
    assert gated.fitting_epochs(speeds, "48 channels", 18) == 12  # 12.4


def test_gated_candidates_are_trained_once(tmp_path, capsys, monkeypatch):
    path = tmp_path / "gated.csv"
    command = ["--candidates", "48 channels", "--source", "sample", "--images", "64"]
    command += ["--folder", str(tmp_path / "parts"), "--out", str(path)]
    command += ["--speeds-out", str(tmp_path / "speeds.csv")]
    for _ in range(2):
        gated.main([*command, "--epochs", "1"])
    (row,) = read_rows(path)
    assert (row["candidate"], row["training_images"]) == ("48 channels", "64")
    assert row["validation_images"] == "400" and row["threads"] == "1"
    assert int(row["parameters"]) == 100_432
    seconds = 64 / float(row["images_per_second"])
    assert float(row["train_seconds"]) == pytest.approx(seconds, abs=0.051)
    assert "in gated.csv already" in capsys.readouterr().out
    monkeypatch.setattr(gated, "measure_speed", lambda *_: 300.0)
    for _ in range(2):
        gated.main([*command, "--speeds"])
    said = capsys.readouterr().out
    assert "float32, 48 channels: 300 images/s, 9 epochs fit" in said
    assert "auto, cpu: 300 images/s" in said and len(read_rows(path)) == 1
    speeds = read_rows(tmp_path / "speeds.csv")
    assert [(row["candidate"], row["precision"]) for row in speeds] == [
        (name, format)
        for format in ("float32", "auto")
        for name in ("cpu", "48 channels")
    ]
    assert {row["images_per_second"] for row in speeds} == {"300"}


def test_command_names_what_the_processor_may_not_do(monkeypatch):
    plain = "python -m tests.benchmarks.laptop --seeds 0"
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    assert command_line("laptop", ["--seeds", "0"]) == plain
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    limited = command_line("laptop", ["--seeds", "0"])
    assert limited == f"ATEN_CPU_CAPABILITY=avx2 {plain}"
