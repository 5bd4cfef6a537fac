"""The ablation compares the networks that it names, and its design is balanced."""

import json
import shlex
from dataclasses import asdict, replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

from cifar_helpers import runtime, worth
from cifar_helpers.ablation import (
    SWITCHES,
    ablated,
    every_combination,
    variant_name,
    widened,
)
from cifar_helpers.blocks import DenseConv, DepthwiseSeparableConv
from cifar_helpers.factorial import fit_effects
from cifar_helpers.model import CIFAR10Net, NetConfig, count_parameters
from cifar_helpers.recipes import CPU_NETWORK, PRESETS
from tests.benchmarks import ablation
from tests.benchmarks.ablation_designs import DESIGNS, FILES, PROPOSED
from tests.benchmarks.resnet8 import ResNet8Config
from tests.benchmarks.rows import read_rows


def signs(sets) -> np.ndarray:
    """+1 for what is on, -1 for what is off, (runs, 6)."""
    return np.array([[-1 if name in off else 1 for name in SWITCHES] for off in sets])


def test_every_switch_changes_what_it_says():
    assert ablated() == CPU_NETWORK
    flat = CIFAR10Net(ablated(["dilation"]))
    dilations = {
        module.dilation
        for module in flat.modules()
        if hasattr(module, "dilation") and not isinstance(module, nn.ConvTranspose2d)
    }
    assert dilations <= {1, (1, 1)}
    dense = CIFAR10Net(ablated(["separable"]))
    near = dense.dilated_near
    assert isinstance(near.near, DenseConv) and isinstance(near.far, DenseConv)
    kinds = {type(branch) for branch in dense.aspp.dilated}
    assert kinds == {DepthwiseSeparableConv}
    units = [m for m in CIFAR10Net(ablated(["residual"])).modules() if m is not None]
    assert not any(getattr(unit, "residual", False) for unit in units)
    for name in ("attention", "deconvolution", "aspp"):
        assert ablated([name]).without == (name,)
    with pytest.raises(ValueError, match="no such switch: .'norm'"):
        ablated(["norm"])
    with pytest.raises(ValueError, match="no such switch: .'atention'"):
        variant_name(["atention"])


def test_the_sixty_four_networks_are_different_and_run():
    networks = [ablated(off) for off in every_combination()]
    assert len({variant_name(off) for off in every_combination()}) == 64
    assert len(set(networks)) == 64
    images = torch.zeros(2, 3, 24, 24)  # the recipe begins with such small images
    for network in (networks[0], networks[-1], *networks[5:64:13]):
        assert CIFAR10Net(network)(images).shape == (2, 10)


@pytest.mark.parametrize(("runs", "clear"), [(16, 1), (32, 2), (64, 3)])
def test_the_order_may_be_broken_off(runs, clear):
    """Columns of up to so many factors are orthogonal to each other."""
    x = signs(every_combination())[:runs]
    columns = [np.ones(runs, int)]
    for size in range(1, clear + 1):
        columns += [
            x[:, list(chosen)].prod(1) for chosen in combinations(range(6), size)
        ]
    columns = np.stack(columns, 1)
    assert (columns.T @ columns == runs * np.eye(columns.shape[1])).all()


@pytest.mark.parametrize("name", ["separable", "deconvolution", "aspp"])
def test_freed_parameters_are_spent_on_width(name):
    budget = count_parameters(CIFAR10Net(CPU_NETWORK))
    network = widened(ablated([name]), budget)
    assert 0.98 * budget < count_parameters(CIFAR10Net(network)) <= budget
    wider = network.channels > CPU_NETWORK.channels
    assert wider == (name != "separable")
    assert network.without == ablated([name]).without


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("champion", 150_000), ("champion", 400_000), ("cpu", 20_000_000)],
)
def test_widened_networks_are_the_largest_that_keep_within(preset, parameters):
    """A little more of any factor does not: groups and gated units stay whole."""
    network, before = PRESETS[preset][0], torch.get_rng_state()
    found = widened(network, parameters)
    assert torch.equal(torch.get_rng_state(), before), "nothing was drawn"
    step = 8 if preset == "champion" else 1
    assert CIFAR10Net(found)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert 0.8 * parameters < count_parameters(CIFAR10Net(found)) <= parameters
    factor = found.out_channels / network.out_channels
    for name in ("channels", "deep_channels", "hidden_channels"):
        whole = getattr(network, name) * factor // step * step
        assert getattr(found, name) in (whole, whole + step) and whole >= 32
    larger = replace(found, channels=found.channels + step)
    larger = replace(larger, deep_channels=found.deep_channels + step)
    larger = replace(larger, hidden_channels=found.hidden_channels + step)
    assert count_parameters(CIFAR10Net(larger)) > parameters


def test_no_width_is_small_enough():
    with pytest.raises(ValueError, match="no width leaves 1 parameters"):
        widened(NetConfig(), 1)
    with pytest.raises(ValueError, match="no width leaves 1000 parameters"):
        widened(PRESETS["champion"][0], 1_000)


@pytest.mark.parametrize("name", DESIGNS)
def test_designs(name):
    runs = DESIGNS[name](seed=3)
    names = [run.variant for run in runs]
    assert len(set(names)) == len(names)
    assert {run.recipe.seed for run in runs} == {3}
    if name != "equal-seconds":
        assert len({run.recipe.epochs for run in runs}) == 1, "lengths are never mixed"
    parts = DESIGNS[name](3, 1) + DESIGNS[name](3, 2)
    if name not in FILES:
        assert parts == runs
    for run in runs:
        if run.off is not None:
            assert run.network == ablated(run.off)
            assert run.switches() == {n: int(n not in run.off) for n in SWITCHES}
    if name == "confirmation":
        assert {run.recipe.epochs for run in runs} == {PRESETS["cpu"][1].epochs}
        assert isinstance(runs[-1].network, ResNet8Config)


def test_what_the_factorial_predicts_to_be_best_was_run_at_full_length():
    """In the budget; a fit of pairs proposed one network, that with threes another."""
    runs = worth.stored_runs("factorial")
    on, whole = runs[list(SWITCHES)].to_numpy(dtype=int), [1] * len(SWITCHES)
    affordable = [
        off
        for off in every_combination()
        if count_parameters(CIFAR10Net(ablated(off))) < 200_000
    ]
    for order, proposed in ((2, PROPOSED), (3, ("dilation",))):
        fitted = fit_effects(list(SWITCHES), on, runs[worth.ACCURACY], order=order)
        gains = {
            off: fitted.difference([int(n not in off) for n in SWITCHES], whole)[0]
            for off in affordable
        }
        assert max(gains, key=gains.get) == proposed
        assert variant_name(proposed) in [r.variant for r in DESIGNS["confirmation"](0)]


def test_sweep_changes_one_entry_at_a_time_with_as_many_trials_each():
    rows = {}
    for run in DESIGNS["sweep"](seed=2):
        name, rate = run.variant.split(", rate ")
        assert run.recipe.learning_rate == float(rate)
        plain = isinstance(run.network, ResNet8Config)
        assert run.recipe.seed == 2 and (plain or run.network == CPU_NETWORK)
        assert plain == (name == "ResNet-8")
        rows.setdefault(name, []).append(run.recipe)
    rates = {tuple(recipe.learning_rate for recipe in row) for row in rows.values()}
    assert len(rates) == 1 and len(rates.pop()) == len(rows["Muon"]) == 6
    recipes = [asdict(row[0]) for row in rows.values()]
    changed = [
        {name for name in after if after[name] != before[name]}
        for before, after in pairwise(recipes)
    ]
    assert changed == [{"batch_size"}, {"optimizer"}, {"weight_decay"}, set()]


def test_equal_epochs_are_equal_and_all_presets_are_their_own():
    runs = DESIGNS["equal-epochs"](seed=0)
    assert len({run.recipe.epochs for run in runs}) == 1
    *runs, crossed = runs
    assert crossed.network == PRESETS["separable"][0]
    assert crossed.recipe == runs[-1].recipe and runs[-1].variant == "champion"
    for run in [*runs, *DESIGNS["equal-seconds"](seed=0)]:
        network, recipe = PRESETS[run.variant]
        assert run.network == network
        kept = {"epochs": recipe.epochs, "ema_decay": recipe.ema_decay}
        assert replace(run.recipe, **kept) == recipe
        assert run.recipe.ema_decay <= recipe.ema_decay


def test_command_of_a_row_makes_the_same_run(tmp_path):
    path, again = tmp_path / "a.csv", tmp_path / "b.csv"
    command = ["sweep", "--images", "128", "--epochs", "1", "--source", "sample"]
    command += ["--variants", "Muon, rate 0.1", "--seeds", "3"]
    ablation.main([*command, "--out", str(path), "--runs", str(tmp_path / "x")])
    (row,) = read_rows(path)
    words = shlex.split(row["command"])
    assert words[:3] == ["python", "-m", "tests.benchmarks.ablation"]
    elsewhere = ["--out", str(again), "--runs", str(tmp_path / "y")]
    ablation.main([*words[3:], *elsewhere])
    (other,) = read_rows(again)
    for name in ("variant", "seed", "recipe", "validation_loss", "command"):
        assert other[name] == row[name]


def test_rows_are_kept_and_not_repeated(tmp_path):
    path, threads = tmp_path / "ablation.csv", torch.get_num_threads()
    command = ["factorial", "--images", "300", "--epochs", "1", "--source", "sample"]
    command += ["--out", str(path), "--runs", str(tmp_path / "runs")]
    command += ["--variants", "whole", "no separable, aspp", "--seeds"]
    ablation.main([*command, "0"])
    assert torch.get_num_threads() == threads
    whole, other = read_rows(path)
    assert (whole["variant"], other["variant"]) == ("whole", "no separable, aspp")
    assert [other[name] for name in SWITCHES] == ["1", "0", "1", "1", "0", "1"]
    network = NetConfig(**{**CPU_NETWORK.__dict__, **json.loads(other["network"])})
    assert network == ablated(["separable", "aspp"])
    model = CIFAR10Net(network)
    assert int(other["parameters"]) == count_parameters(model)
    assert other["training_images"] == "300" and other["validation_images"] == "400"
    assert 0 <= float(whole["validation_accuracy_percent"]) <= 100
    assert float(whole["images_per_second"]) > 0 and float(whole["seconds"]) > 0
    ablation.main([*command, "0", "1"])
    rows = read_rows(path)
    assert [row["seed"] for row in rows] == ["0", "0", "1", "1"]
    assert rows[2]["validation_loss"] != whole["validation_loss"]


def test_a_run_that_another_process_has_is_left_to_it(tmp_path, capsys):
    path, folder = tmp_path / "noise.csv", tmp_path / "runs"
    command = ["noise", "--images", "64", "--epochs", "1", "--source", "sample"]
    command += ["--out", str(path), "--runs", str(folder)]
    folder.mkdir()
    claim = folder / "noise-whole-0-1-64-400.claim"
    with FileLock(claim):
        ablation.main(command)
    assert "another process is at it" in capsys.readouterr().out
    assert not path.exists()
    ablation.main(command)
    assert len(read_rows(path)) == 1


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    command = ["noise", "--images", "128", "--epochs", "2", "--source", "sample"]
    whole, broken = tmp_path / "whole.csv", tmp_path / "broken.csv"
    ablation.main([*command, "--out", str(whole), "--runs", str(tmp_path / "a")])
    options = ["--out", str(broken), "--runs", str(tmp_path / "b")]

    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(ablation, "evaluate", killed)
        with pytest.raises(RuntimeError, match="killed"):
            ablation.main([*command, *options])
    ablation.main([*command, *options])
    (straight,), (resumed,) = read_rows(whole), read_rows(broken)
    assert resumed["validation_loss"] == straight["validation_loss"]
    assert resumed["images_per_second"] == "", "part of the time was not counted"


def test_equal_seconds_are_nearly_equal():
    """In the processor's time, which a neighbour on the machine stretches a little."""
    minutes = {}
    for row in read_rows(runtime.RESULTS / "budget.csv"):
        equal = row["design"] == "equal-seconds" or row["variant"] == "champion"
        if equal and row["images_per_second"]:
            seen = int(row["epochs"]) * int(row["training_images"])
            taken = seen / float(row["images_per_second"]) / 60
            minutes.setdefault(row["variant"], []).append(taken)
    means = {name: np.mean(values) for name, values in minutes.items()}
    assert means.keys() == {"baseline", "cpu", "champion"}
    assert max(means.values()) < 1.2 * min(means.values())


@pytest.mark.parametrize("name", ["ablation.csv", "budget.csv", "noise.csv"])
def test_stored_rows_are_of_the_designs(name):
    """Each row names the network that its switches, changes and sizes describe."""
    rows = read_rows(runtime.RESULTS / name)
    assert rows and tuple(rows[0]) == ablation.COLUMNS
    assert len({ablation.key(row) for row in rows}) == len(rows)
    planned = {}
    for row in rows:
        seed = int(row["seed"])
        runs = planned.setdefault(
            (row["design"], seed), {r.variant: r for r in DESIGNS[row["design"]](seed)}
        )
        run = runs[row["variant"]]
        expected = ablation.changes_of(run) | {
            "epochs": str(run.recipe.epochs),
            "training_images": str(run.images),
            "validation_images": "10000",
            "parameters": str(count_parameters(run.bare())),
        }
        expected |= {key: str(value) for key, value in run.switches().items()}
        assert {key: row[key] for key in expected} == expected
        correct = float(row["validation_accuracy_percent"]) * 100  # of 10,000
        assert correct == pytest.approx(round(correct)) and 1000 < correct < 10_000
