"""Recipes: what they may hold, how a network starts, what is affordable."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from cifar_helpers.data import load_cifar10, normalize
from cifar_helpers.field_rules import check_fields, whole
from cifar_helpers.model import CIFAR10Net, NetConfig
from cifar_helpers.recipes import (
    PRESETS,
    Recipe,
    affordable,
    initialize,
    make_model,
    whiten_filters,
    with_batches_of,
)

NARROW = NetConfig(channels=4, deep_channels=6, hidden_channels=5, branch_channels=3)


@pytest.fixture(scope="module")
def sample():
    return load_cifar10(source="sample")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"epochs": 1.5}, "epochs must be a whole number of at least 1, not 1.5"),
        ({"batch_size": -1}, "batch_size must be a whole number of at least 1, not -1"),
        ({"learning_rate": 0.0}, "learning_rate must be a number above 0, not 0.0"),
        (
            {"learning_rate": float("nan")},
            "learning_rate must be a number above 0, not nan",
        ),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), not 1.0"),
        ({"warmup_fraction": 1.5}, "warmup_fraction must be in"),
        ({"label_smoothing": -0.1}, "label_smoothing must be in"),
        ({"ema_decay": 1.0}, "ema_decay must be in"),
        ({"weight_decay": -1e-4}, "weight_decay must be a number of at least 0"),
        ({"crop_padding": -4}, "crop_padding must be a whole number of at least 0"),
        (
            {"crop_padding": 4.0},
            "crop_padding must be a whole number of at least 0, not 4.0",
        ),
        ({"cutout_size": -1}, "cutout_size must be a whole number"),
        ({"rotation_degrees": -1.0}, "rotation_degrees must be a number of at least"),
        ({"colour_strength": 1.0}, r"colour_strength must be in \[0, 1\), not 1.0"),
        (
            {"low_resolution_fraction": 1.0},
            r"low_resolution_fraction must be in \[0, 1\), not 1.0",
        ),
        (
            {"selective_start_fraction": 1.0},
            r"selective_start_fraction must be in \[0, 1\), not 1.0",
        ),
        (
            {"selective_drop_fraction": -0.5},
            r"selective_drop_fraction must be in \[0, 1\), not -0.5",
        ),
        (
            {"low_resolution_size": 0},
            "low_resolution_size must be a whole number of at least 1, not 0",
        ),
        ({"sgd_learning_rate": 0.0}, "sgd_learning_rate must be a number above 0"),
        ({"sgd_weight_decay": -1.0}, "sgd_weight_decay must be a number"),
        ({"mixup_alpha": float("nan")}, "mixup_alpha must be a number of at least 0"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"seed": "0"}, "seed must be a whole number"),
        ({"seed": 2**32}, "seed must be .* at most 4294967295, not 4294967296"),
        ({"flip": "no"}, "flip must be True or False, not 'no'"),
        ({"mixup_alpha": -0.2}, "mixup_alpha must be a number of at least 0"),
        ({"zero_init_residual": 1}, "zero_init_residual must be True or False"),
        (
            {"optimizer": "lion"},
            r"optimizer must be one of \('sgd', 'adamw', 'muon'\), not 'lion'",
        ),
        (
            {"precision": "float8"},
            "precision must be one of .*bfloat16.*, not 'float8'",
        ),
    ],
    ids=str,
)
def test_impossible_recipes_are_explained(changes, reason):
    with pytest.raises(ValueError, match=reason):
        Recipe(**changes)


@pytest.mark.parametrize("size, stride", [(4, 2), (3, 1)])
def test_whitened_filters_give_uncorrelated_responses_of_equal_strength(
    sample, size, stride
):
    images = sample.train.images
    conv = torch.nn.Conv2d(3, 20, size, stride, bias=False)
    whiten_filters(conv, images)
    aside = torch.nn.functional.conv2d(
        normalize(images), conv.weight[:10], stride=size
    )  # every patch once
    responses = aside.detach().transpose(0, 1).flatten(1).double()
    moments = responses @ responses.T / responses.shape[1]
    scale = moments.diagonal()
    assert ((scale > 0.5) & (scale < 1.01)).all()  # the floor 5e-4 makes some smaller
    away = moments - torch.diag(scale)
    assert away.abs().max() < 1e-3
    assert (scale[:-1] > scale[1:] - 1e-4).all()  # the strongest directions first
    torch.testing.assert_close(conv.weight[10:], -conv.weight[:10])


def test_whitening_leaves_filters_beyond_the_patch(sample):
    conv = torch.nn.Conv2d(3, 60, 3, bias=False)  # patches have 27 numbers
    before = conv.weight.detach().clone()
    whiten_filters(conv, sample.train.images[:100])
    assert torch.equal(conv.weight[54:], before[54:])
    assert not torch.equal(conv.weight[:54], before[:54])


def test_preset_keeps_the_budget():
    for name, (net, recipe) in PRESETS.items():
        parameters = sum(p.numel() for p in CIFAR10Net(net).parameters())
        assert parameters < 200_000, name
        assert isinstance(recipe, Recipe)


def test_a_field_without_a_rule_is_a_mistake_in_the_program():
    @dataclass
    class Pair:
        left: int = 1
        right: int = 2

    check_fields(Pair(), {"left": whole(1), "right": whole(2)})
    for rules in ({"left": whole(1)}, {n: whole(1) for n in ("left", "right", "up")}):
        with pytest.raises(TypeError, match="Pair: no field and rule for"):
            check_fields(Pair(), rules)


# ---- how a network starts ------------------------------------------------------------


def test_a_plain_recipe_leaves_torchs_own_start():
    torch.manual_seed(4)
    expected = CIFAR10Net(NARROW).state_dict()
    made = make_model(NARROW, Recipe(seed=4)).state_dict()
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    other = make_model(NARROW, Recipe(seed=5)).state_dict()
    assert not torch.equal(other["initial.conv.weight"], made["initial.conv.weight"])


def test_a_whitened_recipe_starts_from_patches(sample):
    images = sample.train.images
    model = make_model(NARROW, Recipe(whitened=True), images)
    conv = torch.nn.Conv2d(3, 4, 3, bias=False)
    whiten_filters(conv, images[:5000])
    torch.testing.assert_close(model.initial.conv.weight, conv.weight)
    with pytest.raises(ValueError, match="pass the training images"):
        make_model(NARROW, Recipe(whitened=True))


def test_whitening_passes_over_a_first_block_that_is_switched_off(sample):
    network = replace(NARROW, without=("initial",))
    model = make_model(network, Recipe(whitened=True), sample.train.images)
    assert model.config == network


def test_a_residual_recipe_starts_from_its_shortcuts(sample):
    model = make_model(NARROW, Recipe(zero_init_residual=True)).eval()
    for part in (model.dilated_near, model.dilated_far):
        assert (part.near.norm.weight == 0).all() and (part.far.norm.weight == 0).all()
    assert (model.aspp.dilated[0].norm.weight == 1).all()  # a branch without shortcut
    maps = model.initial(normalize(sample.test.images[:2]))
    assert torch.equal(model.dilated_near(maps), maps)
    untouched = make_model(NARROW, Recipe())
    assert (untouched.dilated_far.far.norm.weight == 1).all()


def test_any_network_with_an_initial_part_can_be_initialized(sample):
    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.initial = torch.nn.Module()
            self.initial.conv = torch.nn.Conv2d(3, 4, 3, bias=False)

    model = Other()
    before = model.initial.conv.weight.detach().clone()
    recipe = Recipe(whitened=True)
    assert initialize(model, recipe, sample.train.images) is model
    assert not torch.equal(model.initial.conv.weight, before)


# ---- what is affordable --------------------------------------------------------------

LONG = Recipe(epochs=10, batch_size=128, optimizer="muon", ema_decay=0.98)


def hundred_a_second(recipe):
    return 100.0


def speed_10(recipe):
    return 10.0


def test_a_run_that_fits_is_left_alone():
    assert affordable(LONG, 10_000, hundred_a_second, 1001) == (LONG, 10_000)


def test_a_shorter_run_has_at_least_five_epochs_of_what_fits():
    recipe, images = affordable(LONG, 10_000, hundred_a_second, 700)
    assert (recipe.epochs, images) == (7, 10_000)  # 70,000 images in 700 seconds
    recipe, images = affordable(LONG, 10_000, hundred_a_second, 300)
    assert (recipe.epochs, images) == (5, 6_000)
    assert recipe.batch_size == 128 and recipe.learning_rate == LONG.learning_rate


def test_a_run_never_gets_more_epochs_than_it_has():
    recipe, images = affordable(replace(LONG, epochs=2), 10_000, hundred_a_second, 150)
    assert (recipe.epochs, images) == (2, 7_500)


def test_a_speed_is_measured_once_and_no_epochs_are_added():
    """The second measurement of a recipe would have given eleven epochs."""
    speeds = iter([99.0, 110.0])
    recipe, images = affordable(LONG, 10_000, lambda recipe: next(speeds), 1000)
    assert (recipe.epochs, images) == (9, 10_000) and next(speeds) == 110.0


def test_a_very_short_run_has_smaller_batches_and_rates():
    """Speeds are asked for the batches that are used."""

    def speed(recipe):
        return 100.0 if recipe.batch_size == 128 else 50.0

    recipe, images = affordable(LONG, 10_000, speed, 200)
    assert (recipe.epochs, recipe.batch_size, images) == (5, 32, 2_000)
    steps = 5 * math.ceil(2_000 / 32)
    same = {"epochs": 5, "ema_decay": 1 - 8 / steps}
    assert recipe == replace(with_batches_of(LONG, 32), **same)
    assert recipe.learning_rate == pytest.approx(LONG.learning_rate / 2)
    sgd = replace(LONG, optimizer="sgd")
    shorter, _ = affordable(sgd, 10_000, speed, 200)
    assert shorter == replace(with_batches_of(sgd, 32), **same)
    assert shorter.learning_rate == pytest.approx(LONG.learning_rate / 4)


def test_a_run_is_never_shorter_than_fifty_batches():
    """Here they take 16 seconds, more than were offered."""
    network, recipe = PRESETS["cpu"]
    shorter, images = affordable(recipe, 45_000, hundred_a_second, 5)
    assert (shorter.epochs, shorter.batch_size, images) == (5, 32, 320)
    small, images = affordable(replace(recipe, batch_size=16), 45_000, speed_10, 5)
    assert (small.batch_size, small.learning_rate) == (16, recipe.learning_rate)
    assert images == 160


def test_the_average_remembers_at_most_an_eighth_of_the_run():
    recipe, images = affordable(LONG, 200, hundred_a_second, 2.0)
    steps = recipe.epochs * math.ceil(images / recipe.batch_size)
    assert recipe.ema_decay == max(0.5, 1 - 8 / steps)


# ---- larger batches ------------------------------------------------------------------


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("size", [32, 512])
def test_other_batches_keep_decay_and_average_of_an_epoch(name, size):
    recipe = PRESETS[name][1]
    other = with_batches_of(recipe, size)
    assert other.batch_size == size
    steps, other_steps = 51_200 / recipe.batch_size, 51_200 / size  # of an epoch

    def kept(recipe, steps):  # of a weight that no gradient moves, and of the average
        pairs = (
            (recipe.learning_rate, recipe.weight_decay),
            (recipe.sgd_learning_rate, recipe.sgd_weight_decay),
        )
        return [rate * decay * steps for rate, decay in pairs] + [
            recipe.ema_decay**steps
        ]

    assert kept(other, other_steps) == pytest.approx(kept(recipe, steps))
    same = ("epochs", "optimizer", "momentum", "label_smoothing", "seed")
    assert all(getattr(other, entry) == getattr(recipe, entry) for entry in same)


def test_rates_grow_with_the_batch():
    plain = with_batches_of(Recipe(batch_size=64, learning_rate=0.1), 256)
    assert plain.learning_rate == pytest.approx(0.4)
    muon = Recipe(optimizer="muon", batch_size=64, learning_rate=0.1)
    larger = with_batches_of(muon, 256)
    assert larger.learning_rate == pytest.approx(0.2)
    ratio = larger.sgd_learning_rate / larger.learning_rate
    assert ratio == pytest.approx(muon.sgd_learning_rate / muon.learning_rate)
    assert with_batches_of(muon, 64) == muon
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        with_batches_of(muon, 0)


@pytest.mark.parametrize("images, seconds", [(0, 1.0), (9, 0.0), (9, float("nan"))])
def test_what_affords_no_run_is_refused(images, seconds):
    with pytest.raises(ValueError, match="images must be|seconds must be"):
        affordable(Recipe(), images, lambda recipe: 1.0, seconds)


def test_numbers_of_numpy_become_pythons():
    recipe = Recipe(epochs=np.int64(3), learning_rate=np.float32(0.5))
    assert type(recipe.epochs) is int and type(recipe.learning_rate) is float
    network = NetConfig(rates=tuple(np.arange(1, 4)))
    assert network.rates == (1, 2, 3) and {*map(type, network.rates)} == {int}
    with pytest.raises(ValueError, match="rates must be a tuple of whole numbers"):
        NetConfig(rates=(np.float64(1.5),))
