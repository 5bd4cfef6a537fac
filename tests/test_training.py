"""The training loop against calculations by hand, its files, and its command."""

import copy
import json
import math
import os
import random
import re
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from cifar_helpers import augment, checkpoints, runtime, training
from cifar_helpers import speed as speed_module
from cifar_helpers.data import (
    CIFAR10,
    MEAN,
    STD,
    Batches,
    LabelledImages,
    load_cifar10,
    normalize,
    split,
)
from cifar_helpers.evaluation import evaluate
from cifar_helpers.model import CIFAR10Net, NetConfig, predict
from cifar_helpers.optimizers import warmup_cosine
from cifar_helpers.pretrained import load_pretrained, read_history, save_run
from cifar_helpers.recipes import PRESETS, Recipe
from cifar_helpers.speed import fill_device, measure_speed, time_by_operation
from cifar_helpers.trainer import Trainer, soft_cross_entropy
from cifar_helpers.training import LossNotFinite, fit, train_one_epoch

NARROW = NetConfig(
    channels=4,
    deep_channels=6,
    hidden_channels=5,
    branch_channels=3,
    out_channels=7,
    rates=(6,),
)
PLAIN = {"crop_padding": 0, "flip": False, "precision": "float32"}
QUICK = Recipe(epochs=2, batch_size=8, precision="float32")


def network(seed=0, config=NARROW):
    torch.manual_seed(seed)
    return CIFAR10Net(config)


@pytest.fixture(scope="module")
def sample():
    return load_cifar10(source="sample")


def of_each_class(part, count):
    """The first `count` images of every class."""
    places = [(part.labels == c).nonzero().flatten()[:count] for c in range(10)]
    return part.subset(torch.cat(places))


@pytest.fixture
def few(sample):
    """Twenty images, two of each class, in a mixed order."""
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    return of_each_class(sample.train, 2).subset(order)


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


# ---- recipe --------------------------------------------------------------------------


def test_rate_is_applied_at_every_step(few):
    config = replace(QUICK, learning_rate=0.05, warmup_fraction=0.3)
    trainer = Trainer(network(), config, steps=6)
    rates = []

    def note_rates(optimizer, *arguments):
        rates.extend({group["lr"] for group in optimizer.param_groups})

    trainer.optimizer.register_step_pre_hook(note_rates)
    rows = [train_one_epoch(trainer, few) for _ in range(2)]
    assert rates == [0.05 * warmup_cosine(s, 6, 0.3) for s in range(6)]
    assert [row["learning_rate"] for row in rows] == [
        0.05 * warmup_cosine(s, 6, 0.3) for s in (3, 6)
    ]


# ---- start and small images ----------------------------------------------------------


def test_first_steps_see_small_images(few):
    config = replace(
        QUICK, low_resolution_fraction=0.5, low_resolution_size=16, **PLAIN
    )
    trainer = Trainer(network(), config, steps=4)
    sizes = []
    for images, labels in list(Batches(few, 5)):
        inputs, _ = trainer.augmented(images, labels)
        sizes.append(tuple(inputs.shape[2:]))
        if len(sizes) == 1:
            means = F.avg_pool2d(normalize(images), 2)  # a coarser way to halve
            assert (inputs - means).abs().mean() < 0.15
        trainer.train_step(images, labels)
    assert sizes == [(16, 16), (16, 16), (32, 32), (32, 32)]


def test_last_steps_see_whole_images_unmixed(few):
    """Without crops and flips an input is then its image, a target its label."""
    changes = {"cutout_size": 16, "mixup_alpha": 1.0, "rotation_degrees": 30.0}
    changes |= {"colour_strength": 0.5, "clean_fraction": 0.5, "label_smoothing": 0.0}
    config = replace(QUICK, **changes, **PLAIN)
    trainer = Trainer(network(), config, steps=4)
    untouched = []
    for images, labels in list(Batches(few, 5)):
        inputs, targets = trainer.augmented(images, labels)
        whole = torch.equal(inputs, normalize(images))
        untouched.append(whole and torch.equal(targets, F.one_hot(labels, 10).float()))
        trainer.train_step(images, labels)
    assert untouched == [False, False, True, True]


# ---- which images to look at ---------------------------------------------------------


def test_hardest_images_come_again_until_there_are_as_many():
    """Fourteen of twenty: all of them once, then six of them again."""
    trainer = Trainer(network(), replace(QUICK, selective_drop_fraction=0.3), steps=6)
    assert sorted(trainer.draw_order(20).tolist()) == list(range(20))  # none is known
    trainer.image_losses = torch.tensor([float(7 * i % 20) for i in range(20)])
    hardest = {i for i in range(20) if 7 * i % 20 >= 6}
    order = trainer.draw_order(20).tolist()
    assert len(order) == 20 and len(set(order[14:])) == 6
    assert set(order[:14]) == hardest >= set(order[14:])
    assert order[:14] != sorted(order[:14]) and order != trainer.draw_order(20).tolist()


def test_no_image_is_left_out_early_in_a_run_or_while_losses_are_unknown():
    config = replace(QUICK, selective_drop_fraction=0.5, selective_start_fraction=0.5)
    trainer = Trainer(network(), config, steps=6)
    trainer.image_losses = torch.arange(20.0)
    for step, kept in ((0, 20), (2, 20), (3, 10)):
        trainer.step = step
        assert len(set(trainer.draw_order(20).tolist())) == kept
    trainer.image_losses[4] = math.inf
    assert len(set(trainer.draw_order(20).tolist())) == 20
    everything = Trainer(network(), QUICK, steps=6)
    everything.image_losses = torch.arange(20.0)
    assert sorted(everything.draw_order(20).tolist()) == list(range(20))


def test_an_epoch_remembers_the_loss_of_each_image(few):
    config = Recipe(batch_size=20, learning_rate=1e-30, label_smoothing=0, **PLAIN)
    model = network()
    output = copy.deepcopy(model).train()(normalize(few.images))
    trainer = Trainer(model, config, 1)
    train_one_epoch(trainer, few)
    expected = F.nll_loss(output, few.labels, reduction="none")
    torch.testing.assert_close(trainer.image_losses, expected.detach())


def test_a_run_leaves_the_easy_images_out(few, monkeypatch):
    """Three epochs: one of all images, then two without the easiest four fifths."""
    seen, step = [], Trainer.train_step

    def note(trainer, images, labels):
        seen.extend(images.flatten(1).double().mean(1).tolist())  # tells them apart
        return step(trainer, images, labels)

    monkeypatch.setattr(Trainer, "train_step", note)
    config = replace(
        QUICK, epochs=3, selective_drop_fraction=0.8, selective_start_fraction=1 / 3
    )
    _, history = fit(network(), few, config)
    assert len(history) == 3 and len(seen) == 60
    epochs = [len(set(seen[start : start + 20])) for start in (0, 20, 40)]
    assert epochs == [20, 4, 4]


# ---- speed ---------------------------------------------------------------------------


def test_speed_is_measured_with_frozen_modules_as_in_a_run(few):
    model = network()
    for parameter in model.initial.eval().parameters():
        parameter.requires_grad = False
    trainer = Trainer(model, QUICK, steps=9)
    before = model.initial.norm.running_mean.clone()
    speed_module._speed(trainer, few, 0.0)
    assert model.training and not model.initial.norm.training
    assert torch.equal(model.initial.norm.running_mean, before)


def test_speed_weighs_small_images_by_their_share(few, monkeypatch):
    def speed(trainer, data, seconds):
        return 300.0 if trainer.low_resolution_steps else 100.0

    monkeypatch.setattr(speed_module, "_speed", speed)
    config = replace(QUICK, low_resolution_fraction=0.75)
    assert measure_speed(network(), few, config) == pytest.approx(
        1 / (0.75 / 300 + 0.25 / 100)
    )
    assert measure_speed(network(), few, QUICK) == pytest.approx(100)


def test_a_gpu_is_not_waited_for_between_steps(few, monkeypatch):
    events = []
    monkeypatch.setattr(runtime, "synchronize", lambda device: events.append("wait"))
    step = Trainer.train_step

    def noted(self, images, labels):
        events.append("step")
        return step(self, images, labels)

    monkeypatch.setattr(Trainer, "train_step", noted)
    measure_speed(network(), few, QUICK, seconds=0.05)
    first, last = (i for i, event in enumerate(events) if event == "wait")
    assert events[:first] == ["step"] * 2 and last == len(events) - 1
    assert last - first > 2  # at least two steps were timed


def test_measuring_changes_nothing(few):
    model = network()
    before, generator = weights_of(model), torch.get_rng_state()
    speed = measure_speed(model, few, QUICK, seconds=0.01)
    assert speed > 0 and same(weights_of(model), before)
    assert torch.equal(torch.get_rng_state(), generator)
    with pytest.raises(ValueError, match="no images to measure with"):
        measure_speed(model, few.subset(slice(0)), QUICK)


def test_only_whole_batches_are_timed(few, monkeypatch):
    """For a shorter one a compiled network is compiled anew, inside the clock."""
    sizes, step = set(), Trainer.train_step

    def noted(self, images, labels):
        sizes.add(len(labels))
        return step(self, images, labels)

    monkeypatch.setattr(Trainer, "train_step", noted)
    for images, batch_size, expected in ((20, 8, 8), (4, 8, 4)):
        sizes.clear()
        some, recipe = few.subset(slice(images)), replace(QUICK, batch_size=batch_size)
        measure_speed(network(), some, recipe, seconds=0.05)
        assert sizes == {expected}


def test_time_of_a_step_is_told_by_operation():
    a, b = torch.randn(2, 300, 300)
    rows, operations = time_by_operation(
        lambda: (a @ b).relu() @ b, torch.device("cpu")
    )
    calls = {row["operation"]: row["calls_a_step"] for row in rows}
    assert calls["aten::mm"] == 2 and calls["aten::relu"] == 1
    assert rows[0]["operation"] == "aten::mm"  # the largest share first
    assert sum(row["share_percent"] for row in rows) == pytest.approx(100)
    assert operations == 3  # two products, and what a ReLU calls


def test_a_gpus_kernels_are_not_counted_beside_their_operations(monkeypatch):
    def event(key, spent, place):
        return SimpleNamespace(
            key=key, count=3, self_device_time_total=spent, device_type=place
        )

    class Profile(nullcontext):
        def __enter__(self):
            return self

        def key_averages(self):
            both = [("aten::relu", "clamp", 10), ("aten::mm", "gemm", 30)]
            cpu = [event(name, spent, DeviceType.CPU) for name, _, spent in both]
            return cpu + [event(name, t, DeviceType.CUDA) for _, name, t in both]

        def events(self):
            return []

    monkeypatch.setattr(torch.profiler, "profile", lambda activities: Profile())
    monkeypatch.setattr(runtime, "synchronize", lambda device: None)
    rows, _ = time_by_operation(lambda: None, torch.device("cuda"))
    shares = {row["operation"]: row["share_percent"] for row in rows}
    assert shares == {"aten::mm": 75, "aten::relu": 25}


def test_batches_that_do_not_fit_are_not_taken(monkeypatch, sample):
    def measure(model, data, recipe, seconds):
        if recipe.batch_size > 16:
            raise torch.cuda.OutOfMemoryError("16 fitted")
        return float(recipe.batch_size)

    monkeypatch.setattr(speed_module, "measure_speed", measure)
    recipe, measured = fill_device(network(), sample.train, QUICK)
    assert recipe.batch_size == 16 and [r["batch_size"] for r in measured] == [8, 16]


@pytest.mark.parametrize(
    "rates, chosen",
    [
        ({8: 100.0, 16: 105.0}, 8),  # a gain of less than a tenth
        ({8: 100.0, 16: 150.0, 32: 100.0}, 16),
        ({8: 100.0, 16: 200.0, 32: 400.0}, 32),  # the largest allowed
    ],
)
def test_batches_grow_as_long_as_it_pays(monkeypatch, rates, chosen):
    data = LabelledImages(
        torch.zeros(100, 3, 32, 32, dtype=torch.uint8), torch.zeros(100).long()
    )
    monkeypatch.setattr(
        speed_module, "measure_speed", lambda m, d, recipe, s: rates[recipe.batch_size]
    )
    recipe, measured = fill_device(network(), data, QUICK, largest_batch=40)
    assert recipe.batch_size == chosen and not recipe.compile
    assert recipe.learning_rate == pytest.approx(QUICK.learning_rate * chosen / 8)
    found = {row["batch_size"]: row["images_per_second"] for row in measured}
    assert found == rates


class OnGpu(torch.nn.Module):
    def parameters(self):
        yield type("Weight", (), {"device": torch.device("cuda")})


@pytest.mark.parametrize("epochs, pays", [(1, False), (100_000, True)])
def test_a_gpu_compiles_where_the_run_is_long_enough(monkeypatch, few, epochs, pays):
    def speed(model, data, recipe, seconds):
        if recipe.compile:
            time.sleep(0.3)
        return 200.0 if recipe.compile else 100.0

    monkeypatch.setattr(speed_module, "measure_speed", speed)
    monkeypatch.setattr(runtime, "can_compile", lambda device: True)
    long = replace(QUICK, epochs=epochs)
    recipe, measured = fill_device(OnGpu(), few, long, largest_batch=8)
    assert recipe.compile == pays and [row["compile"] for row in measured] == [0, 1]


def test_where_compiling_fails_a_gpu_trains_without(monkeypatch, few):
    def speed(model, data, recipe, seconds):
        if recipe.compile:
            raise RuntimeError("no Python.h")
        return 100.0

    monkeypatch.setattr(speed_module, "measure_speed", speed)
    monkeypatch.setattr(runtime, "can_compile", lambda device: True)
    with pytest.warns(UserWarning, match="compiling fails here: no Python.h"):
        recipe, measured = fill_device(OnGpu(), few, QUICK, largest_batch=8)
    assert not recipe.compile and [row["compile"] for row in measured] == [0]


# ---- loss ----------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_loss_is_the_cross_entropy(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 10, generator=generator)
    labels = torch.randint(0, 10, (12,), generator=generator)
    targets = augment.one_hot(labels, 10, smoothing)
    got = soft_cross_entropy(logits.log_softmax(1), targets)
    expected = F.cross_entropy(
        logits, labels, label_smoothing=smoothing, reduction="none"
    )
    torch.testing.assert_close(got, expected)


def test_short_last_batch_counts_by_its_images(few):
    """Ten images in batches of eight and two, with a rate that changes nothing."""
    data = few.subset(slice(10))
    config = Recipe(batch_size=8, learning_rate=1e-30, label_smoothing=0, **PLAIN)
    model = network()
    by_hand = copy.deepcopy(model).train()
    row = train_one_epoch(Trainer(model, config, 2), data)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(config.seed))
    images, labels = data.images[order], data.labels[order]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    losses, correct = [], 0
    for part in (slice(0, 8), slice(8, 10)):
        output = by_hand((images[part] / 255 - mean) / std)
        for line, label in zip(output.tolist(), labels[part].tolist(), strict=True):
            losses.append(-line[label])
            correct += max(range(10), key=line.__getitem__) == label
    assert row["train_loss"] == pytest.approx(sum(losses) / 10, rel=1e-5)
    assert row["train_accuracy_percent"] == 100 * correct / 10
    mean_of_means = (sum(losses[:8]) / 8 + sum(losses[8:]) / 2) / 2
    assert row["train_loss"] != pytest.approx(mean_of_means, rel=1e-3)
    assert row["seconds"] > 0


def test_loss_that_is_not_a_number_stops_at_its_step(few, monkeypatch):
    class Breaking(CIFAR10Net):
        """Its outputs become NaN or infinite from one step on."""

        value, last_good, calls = float("nan"), 0, 0

        def forward(self, images):
            self.calls += self.training
            bad = self.calls > self.last_good
            return super().forward(images) * (self.value if bad else 1.0)

    monkeypatch.setattr(training, "CHECK_EVERY", 4)
    config = replace(QUICK, batch_size=2, learning_rate=1e-6)  # ten steps per epoch
    for first_bad in (1, 4, 5, 10, 13):
        for value in (float("nan"), float("inf")):
            model = Breaking(NARROW)
            model.value, model.last_good = value, first_bad - 1
            with pytest.raises(
                LossNotFinite, match=rf"at step {first_bad} \("
            ) as error:
                fit(model, few, config)
            assert "lower the learning rate" in str(error.value)


def test_a_run_whose_loss_is_no_number_is_not_saved(few, tmp_path, monkeypatch):
    """It would be found again, and blamed on a later step."""
    saved, save = [], checkpoints.save

    def look(path, state):
        saved.append(state["epoch"]["loss_sum"].item())
        save(path, state)

    monkeypatch.setattr(checkpoints, "save", look)
    always = partial(checkpoints.Saver, every_seconds=0)
    monkeypatch.setattr(checkpoints, "Saver", always)
    config = replace(QUICK, batch_size=2, learning_rate=1e30, warmup_fraction=0.0)
    with pytest.raises(LossNotFinite):
        fit(network(), few, config, checkpoint=tmp_path / "run.checkpoint")
    assert saved and all(map(math.isfinite, saved))


def test_learning_rate_that_explodes_is_noticed(few):
    config = replace(QUICK, learning_rate=1e30, epochs=30)
    with pytest.raises(LossNotFinite, match="learning rate 1e[+]30"):
        fit(network(), few, config)


def test_a_last_step_that_diverges_is_noticed(few):
    """There is no loss after it."""
    config = replace(QUICK, epochs=1, batch_size=20, learning_rate=1e30)
    with pytest.raises(LossNotFinite, match="not finite after step 1"):
        fit(network(), few, config)


def test_outputs_that_are_no_log_probabilities_are_refused(few):
    flat = [torch.nn.Flatten(), torch.nn.Linear(3072, 10)]
    with pytest.raises(ValueError, match="LogSoftmax"):
        fit(torch.nn.Sequential(*flat), few, QUICK)
    model, history = fit(torch.nn.Sequential(*flat, torch.nn.LogSoftmax(1)), few, QUICK)
    assert len(history) == 2 and predict(model, few.images).shape == (20, 10)


def test_a_size_that_does_not_fit_is_named(few):
    config = replace(QUICK, low_resolution_fraction=0.5, low_resolution_size=17)
    with pytest.raises(ValueError, match="low_resolution_size=17 .* multiple of 4"):
        fit(network(), few, config)


# ---- moving average ------------------------------------------------------------------


def test_average_is_the_exponential_one(few):
    decay = 0.25  # reached after two steps
    config = replace(QUICK, ema_decay=decay, learning_rate=0.05)
    trainer = Trainer(network(), config, steps=4)
    average = None
    for images, labels in Batches(few, 5):
        trainer.train_step(images, labels)
        now = {
            name: value.double()
            for name, value in trainer.model.state_dict().items()
            if value.is_floating_point()
        }
        average = average or now  # the average begins with the first step's weights
        step = trainer.step - 1
        slow_start = min(decay, (1 + step) / (10 + step))
        average = {
            name: slow_start * average[name] + (1 - slow_start) * now[name]
            for name in now
        }
    result = trainer.averaged.module.state_dict()
    for name, value in average.items():
        torch.testing.assert_close(result[name].double(), value, rtol=1e-4, atol=1e-6)
    name = "initial.norm.running_mean"  # batch norm's statistics are averaged, too
    assert not torch.allclose(result[name], trainer.model.state_dict()[name])


def test_the_average_of_a_short_run_is_not_its_start(sample):
    """Forty steps with a decay that remembers five hundred."""
    data = of_each_class(sample.train, 1)
    config = Recipe(
        epochs=40, batch_size=10, ema_decay=0.998, label_smoothing=0.0, **PLAIN
    )
    averaged, history = fit(network(config=NetConfig()), data, config)
    assert history[-1]["train_accuracy_percent"] == 100
    assert evaluate(averaged, data)["accuracy_percent"] >= 90


def test_a_frozen_part_stays_as_it_is(few):
    """Evaluation mode and no gradients: batch norm's averages must not move."""
    model = network()
    model.initial.eval().requires_grad_(False)
    before = weights_of(model)
    averaged, _ = fit(model, few, replace(QUICK, learning_rate=0.1))
    for result in (model, averaged):
        after = weights_of(result)
        for name in before:
            if name.startswith("initial."):
                assert torch.equal(after[name], before[name]), name
        for name in ("head.linear.weight", "aspp.project.1.running_mean"):
            assert not torch.equal(after[name], before[name]), name
    assert not model.initial.norm.training and model.aspp.training


def test_a_trained_network_goes_on_from_its_weights(sample):
    """`load_pretrained` gives evaluation mode: that alone freezes nothing."""
    model, data = load_pretrained("cpu"), sample.test.subset(slice(0, 200))
    before = evaluate(model, data)["accuracy_percent"]
    recipe = replace(PRESETS["cpu"][1], epochs=1, learning_rate=1e-8)
    recipe = replace(recipe, sgd_learning_rate=1e-8, low_resolution_fraction=0.0)
    tuned, _ = fit(model, sample.train.subset(slice(0, 256)), recipe)
    assert model.initial.norm.training
    assert evaluate(tuned, data)["accuracy_percent"] > before - 5


def test_average_is_moved_as_torch_does_it(few):
    trainer = Trainer(network(), replace(QUICK, ema_decay=0.7), steps=4)
    reference = AveragedModel(
        network(), multi_avg_fn=trainer.move_average, use_buffers=True
    )
    update_average = trainer.update_average

    def update_both():
        update_average()
        reference.update_parameters(trainer.model)

    trainer.update_average = update_both
    for images, labels in Batches(few, 5):
        trainer.train_step(images, labels)
    assert trainer.step == 4
    assert same(weights_of(trainer.averaged), weights_of(reference))


def test_a_trainer_of_another_kind_may_train(few):
    class Counting(Trainer):
        steps = 0

        def gradients(self, inputs, targets):
            Counting.steps += 1
            return super().gradients(inputs, targets)

    other, _ = fit(network(), few, QUICK, make_trainer=Counting)
    same_run, _ = fit(network(), few, QUICK)
    assert Counting.steps == 2 * math.ceil(20 / 8)
    assert same(weights_of(other), weights_of(same_run))


def test_fit_returns_the_averaged_network(few):
    model = network()
    averaged, _ = fit(model, few, replace(QUICK, ema_decay=0.9))
    assert not averaged.training
    assert averaged.config == model.config
    assert not same(weights_of(averaged), weights_of(model))
    last, _ = fit(network(), few, replace(QUICK, ema_decay=0.0))
    assert same(weights_of(last), weights_of(model))


# ---- a run ---------------------------------------------------------------------------


def test_ten_images_are_overfitted(sample):
    """The default network learns ten images by heart, one of each class."""
    data = of_each_class(sample.train, 1)
    config = Recipe(
        epochs=40,
        batch_size=10,
        learning_rate=0.1,
        ema_decay=0.5,
        label_smoothing=0.0,
        **PLAIN,
    )
    model, history = fit(network(config=NetConfig()), data, config)
    assert history[-1]["train_accuracy_percent"] == 100
    assert evaluate(model, data)["accuracy_percent"] == 100
    assert predict(model, data.images).argmax(1).tolist() == list(range(10))
    assert history[-1]["train_loss"] < 0.1 < history[0]["train_loss"]


EVERYTHING = replace(
    QUICK,
    crop_padding=2,
    rotation_degrees=15.0,
    colour_strength=0.2,
    cutout_size=8,
    mixup_alpha=0.3,
    learning_rate=0.1,
    selective_drop_fraction=0.4,
)


def test_same_seed_gives_the_same_weights_bit_for_bit(few):
    def run(seed):
        model, history = fit(network(), few, replace(EVERYTHING, seed=seed))
        losses = [row["train_loss"] for row in history]
        return weights_of(model), losses

    (first, losses), (again, same_losses), (other, _) = run(5), run(5), run(6)
    assert same(first, again) and losses == same_losses
    assert not same(first, other)


def test_history_has_a_row_per_epoch(few):
    seen = []
    config = replace(QUICK, epochs=3)
    model, history = fit(
        network(), few, config, validation=few, on_epoch=lambda h: seen.append(len(h))
    )
    assert seen == [1, 2, 3] == [row["epoch"] for row in history]
    judged = evaluate(model, few)
    last = history[-1]
    assert last["validation_loss"] == judged["loss"]
    assert last["validation_accuracy_percent"] == judged["accuracy_percent"]
    assert all(math.isfinite(value) for row in history for value in row.values())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_loss_falls(few, optimizer):
    rate = {"sgd": 0.05, "adamw": 0.01, "muon": 0.03}[optimizer]
    config = replace(QUICK, epochs=12, optimizer=optimizer, learning_rate=rate)
    _, history = fit(network(), few, config)
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.1


def test_nothing_to_learn_from_is_explained(few):
    nothing = few.subset(slice(0))
    with pytest.raises(ValueError, match="no images to train on"):
        fit(network(), nothing, QUICK)
    with pytest.raises(ValueError, match="no images to evaluate on"):
        fit(network(), few, QUICK, validation=nothing)
    with pytest.raises(ValueError, match="no images to evaluate on"):
        evaluate(network(), nothing)


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_out_of_range_cannot_get_in(few, label):
    labels = few.labels.clone()
    labels[3] = label
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.9"):
        LabelledImages(few.images, labels)


# ---- precision -----------------------------------------------------------------------


def test_precision_is_chosen_by_the_machine_or_by_the_recipe(monkeypatch):
    monkeypatch.setattr(runtime, "autocast_dtype", lambda device: torch.bfloat16)
    for precision, dtype in (
        ("auto", torch.bfloat16),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
        ("float32", torch.float32),
    ):
        trainer = Trainer(network(), replace(QUICK, precision=precision), 1)
        assert trainer.dtype == dtype
        with trainer.autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_bfloat16_is_near_float32_and_keeps_float32_weights(few):
    losses = {}
    for precision in ("float32", "bfloat16"):
        trainer = Trainer(network(), replace(QUICK, precision=precision, seed=1), 1)
        loss, _ = trainer.train_step(few.images, few.labels)
        losses[precision] = loss.mean().item()
        assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
        assert loss.dtype == torch.float32
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


HALF = replace(QUICK, precision="float16")


def test_float16_scales_the_loss_and_steps_by_the_true_gradient(few):
    before = weights_of(network())
    moved = {}
    for config in (QUICK, HALF):
        trainer = Trainer(network(), replace(config, momentum=0.0, weight_decay=0.0), 9)
        assert trainer.scaler.is_enabled() == (config is HALF)
        trainer.train_step(few.images, few.labels)
        after = trainer.model.state_dict()
        names = [name for name, _ in trainer.model.named_parameters()]
        steps = [(after[name] - before[name]).flatten() for name in names]
        moved[config.precision] = torch.cat(steps)
        assert after[names[0]].dtype == torch.float32
    assert trainer.scaler.get_scale() == 1024
    wanted = moved["float32"]
    error = (moved["float16"] - wanted).norm()
    assert 0 < error < 0.1 * wanted.norm()  # rounding; unscaled it would be 1,023


def test_a_gradient_too_large_for_float16_moves_nothing_and_halves_the_scale(few):
    trainer = Trainer(network(), HALF, 9)
    trainer.train_step(few.images, few.labels)
    before = [p.clone() for p in trainer.model.parameters()]
    trainer.scaler.update(new_scale=2.0**40)  # 65504 is the largest float16
    trainer.train_step(few.images, few.labels)
    assert all(map(torch.equal, before, trainer.model.parameters()))
    assert trainer.scaler.get_scale() == 2.0**39
    assert trainer.step == 2 and trainer.scheduler.last_epoch == 2
    assert all(value.isfinite().all() for value in trainer.averaged.parameters())


def test_a_gpu_without_bfloat16_trains_in_scaled_float16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    choice = runtime.autocast_dtype(torch.device("cuda"))
    monkeypatch.setattr(runtime, "autocast_dtype", lambda device: choice)
    trainer = Trainer(network(), replace(QUICK, precision="auto"), 1)
    assert trainer.dtype == torch.float16 and trainer.scaler.is_enabled()


def test_the_scale_goes_on_with_the_run(few, tmp_path):
    trainer = Trainer(network(), HALF, 9)
    trainer.train_step(few.images, few.labels)
    trainer.scaler.update(new_scale=512.0)
    later = Trainer(network(), HALF, 9)
    later.load_state(trainer.state())
    for each in (trainer, later):
        each.train_step(few.images, few.labels)
        assert each.scaler.get_scale() == 512.0
    assert later.scaler.state_dict() == trainer.scaler.state_dict()
    older = {k: v for k, v in trainer.state().items() if k != "scaler"}
    Trainer(network(), HALF, 9).load_state(older)  # from before there was a scale
    Trainer(network(), QUICK, 9).load_state(trainer.state())  # now in float32
    assert (
        trainer.state()["scaler"] and not Trainer(network(), QUICK, 9).state()["scaler"]
    )


# ---- checkpoints ---------------------------------------------------------------------


class Interrupted(Exception):
    pass


def interrupt(history):
    raise Interrupted


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_resumed_run_is_the_uninterrupted_one(few, tmp_path, optimizer):
    config = replace(EVERYTHING, optimizer=optimizer)
    net = replace(NARROW, head_dropout=0.3)  # draws from torch's own generator
    path = tmp_path / "folder" / "run.checkpoint"
    trained = network(config=net)
    whole, whole_history = fit(trained, few, config, few)

    with pytest.raises(Interrupted):
        fit(network(config=net), few, config, few, interrupt, path)
    assert [p.name for p in path.parent.iterdir()] == ["run.checkpoint"]
    later = network(seed=99, config=net)  # another process: other weights, other draws
    resumed, history = fit(later, few, config, few, checkpoint=path)

    assert same(weights_of(resumed), weights_of(whole))
    assert same(weights_of(later), weights_of(trained))
    timeless = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        for rows in (history, whole_history)
    ]
    assert timeless[0] == timeless[1] and len(history) == 2

    done, history_again = fit(network(seed=5, config=net), few, config, few, None, path)
    assert same(weights_of(done), weights_of(whole))  # nothing was left to do
    assert history_again == history


class Reversed(Trainer):
    """Learns the opposite of the labels."""

    task = "no label"

    def losses(self, log_probabilities, targets):
        return super().losses(log_probabilities, 1 - targets)


@pytest.mark.parametrize("change", ["task", "frozen"])
def test_a_run_with_another_aim_does_not_go_on_from_a_checkpoint(few, tmp_path, change):
    path, model = tmp_path / "run.checkpoint", network(seed=1)
    fit(network(), few, QUICK, checkpoint=path)
    if change == "frozen":
        model.initial.requires_grad_(False).eval()
    kind, before = Reversed if change == "task" else Trainer, weights_of(model)
    with pytest.raises(ValueError, match=f"another run .training, {change}: "):
        fit(model, few, QUICK, checkpoint=path, make_trainer=kind)
    assert same(weights_of(model), before)


@pytest.mark.parametrize("number", [np.float64(0.1), np.float32(0.1)])
def test_numbers_of_numpy_are_kept_as_pythons(few, tmp_path, number):
    path, recipe = tmp_path / "run.checkpoint", replace(QUICK, learning_rate=number)
    assert type(recipe.learning_rate) is float and recipe.learning_rate == number
    averaged, history = fit(network(), few, recipe, checkpoint=path)
    again, _ = fit(network(), few, recipe, checkpoint=path)
    assert same(weights_of(again), weights_of(averaged))
    card = {"recipe": asdict(recipe)}
    assert save_run(tmp_path, "x", averaged, history, card)["recipe"] == asdict(recipe)
    assert NetConfig(channels=np.int64(8)) == NetConfig(channels=8)


def test_a_state_that_could_not_be_read_back_is_refused_at_once(few, tmp_path):
    def add(history):
        history[-1]["share"] = np.float64(0.5)

    path = tmp_path / "run.checkpoint"
    with pytest.raises(ValueError, match="numpy.*which is not read back: keep plain"):
        fit(network(), few, QUICK, on_epoch=add, checkpoint=path)
    assert checkpoints.load(path)["step"] == 3  # that of the first epoch is whole


def test_larger_data_after_smaller(few):
    trainer = Trainer(network(), QUICK, steps=20)
    train_one_epoch(trainer, few.subset(slice(8)))
    train_one_epoch(trainer, few)
    assert trainer.image_losses.isfinite().all() and len(trainer.image_losses) == 20


def test_checkpoint_of_another_run_is_refused(few, tmp_path):
    path = tmp_path / "run.checkpoint"
    fit(network(), few, QUICK, checkpoint=path)
    before = path.read_bytes()
    others = {
        "recipe": (network(), few, replace(QUICK, seed=1)),
        "network": (network(config=replace(NARROW, out_channels=8)), few, QUICK),
        "data": (network(), few.subset(slice(15)), QUICK),
    }
    for model, data, config in others.values():
        with pytest.raises(ValueError, match=r"run\.checkpoint belongs to another run"):
            fit(model, data, config, checkpoint=path)
    assert path.read_bytes() == before


def other_order(data):
    return data.subset(torch.arange(len(data)).flip(0))


def other_labels(data):
    return LabelledImages(data.images, data.labels.roll(1))


def other_images(data):
    return LabelledImages(data.images.flip(3), data.labels)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"data": other_images}, "training images: 20 then, others, or another order"),
        ({"data": other_labels}, "training labels: 20 then, others, or another order"),
        ({"data": other_order}, "training images: .*; training labels: "),
        ({"data": lambda d: d.subset(slice(15))}, "training images: 20 then, 15 now"),
        ({"validation": lambda d: None}, "validation images: 20 then, none now"),
        ({"validation": other_images}, "validation images: 20 then, others"),
        ({"recipe": replace(QUICK, momentum=0.5)}, "momentum: 0.9 then, 0.5 now"),
        (
            {"config": replace(NARROW, out_channels=8)},
            "network, out_channels: 7 then, 8 now",
        ),
    ],
)
def test_resuming_says_in_what_the_runs_differ(few, tmp_path, changes, reason):
    path = tmp_path / "run.checkpoint"
    fit(network(), few, QUICK, few, checkpoint=path)
    data = changes.get("data", lambda d: d)(few)
    validation = changes.get("validation", lambda d: d)(few)
    model = network(config=changes.get("config", NARROW))
    with pytest.raises(ValueError, match=reason):
        fit(model, data, changes.get("recipe", QUICK), validation, checkpoint=path)


def stop_at(monkeypatch, last_step):
    """A power cut, or a stop button, in the middle of an epoch."""
    real = Trainer.train_step

    def step(trainer, images, labels):
        if trainer.step == last_step:
            raise KeyboardInterrupt
        return real(trainer, images, labels)

    monkeypatch.setattr(Trainer, "train_step", step)
    return lambda: monkeypatch.setattr(Trainer, "train_step", real)


@pytest.mark.parametrize("last_step", [1, 3, 4])  # three steps an epoch
def test_a_run_goes_on_within_an_epoch(few, tmp_path, monkeypatch, last_step):
    config, path = replace(EVERYTHING, optimizer="muon"), tmp_path / "run.checkpoint"
    whole, whole_history = fit(network(), few, config, few)
    monkeypatch.setattr(checkpoints.Saver.__init__, "__defaults__", (0.0,))
    power_is_back = stop_at(monkeypatch, last_step)
    _, cut = fit(network(), few, config, few, checkpoint=path)
    assert cut.interrupted and len(cut) == last_step // 3
    power_is_back()
    resumed, history = fit(network(seed=9), few, config, few, checkpoint=path)
    assert same(weights_of(resumed), weights_of(whole)) and not history.interrupted
    for row, expected in zip(history, whole_history, strict=True):
        assert {**row, "seconds": 0} == {**expected, "seconds": 0}


def test_stopping_returns_what_was_learned(few, monkeypatch, capsys):
    """The stop button of a notebook: no checkpoint was asked for."""
    model = network()
    stop_at(monkeypatch, 4)
    averaged, history = fit(model, few, replace(QUICK, epochs=5), few)
    assert history.interrupted and [row["epoch"] for row in history] == [1]
    assert not same(weights_of(averaged), weights_of(network()))
    assert not averaged.training and predict(averaged, few.images).isfinite().all()
    assert capsys.readouterr().out.startswith("Stopped at step 4 of 15; the weights'")


@pytest.mark.parametrize(
    ("last_step", "advice"),
    [(1, "Nothing was saved yet"), (4, "go on from run.checkpoint")],
)  # three steps an epoch
def test_a_stopped_run_says_whether_it_can_go_on(
    few, tmp_path, monkeypatch, capsys, last_step, advice
):
    path = tmp_path / "run.checkpoint"
    stop_at(monkeypatch, last_step)
    fit(network(), few, replace(QUICK, epochs=5), checkpoint=path)
    assert advice in capsys.readouterr().out
    assert path.exists() == (last_step == 4)


KILLED_RUN = """
import sys, torch
from cifar_helpers import checkpoints
from cifar_helpers.data import load_cifar10
from cifar_helpers.model import CIFAR10Net, NetConfig
from cifar_helpers.recipes import PRESETS, Recipe
from cifar_helpers.training import fit
torch.manual_seed(0)
checkpoints.Saver.__init__.__defaults__ = (0.0,)
data = load_cifar10(source="sample").train.subset(slice(0, 200))
network = NetConfig(channels=4, deep_channels=6, hidden_channels=5, branch_channels=3)
recipe = Recipe(epochs=6, batch_size=8, precision="float32")
print("starts", flush=True)
model, history = fit(CIFAR10Net(network), data, recipe, checkpoint=sys.argv[1])
torch.save([model.state_dict(), len(history)], sys.argv[2])
"""


@pytest.mark.slow
def test_killed_runs_go_on_bit_for_bit(tmp_path):
    """One run, ended by SIGKILL at random moments, $KILLS times."""
    kills, draws = int(os.environ.get("KILLS", "4")), random.Random(0)

    def start(checkpoint, result):
        command = [sys.executable, "-c", KILLED_RUN, str(checkpoint), str(result)]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert run.stdout.readline() == b"starts\n", run.stderr.read()
        return run

    began = time.monotonic()
    run = start(tmp_path / "whole.checkpoint", tmp_path / "whole.pt")
    assert run.communicate() and run.returncode == 0
    longest = time.monotonic() - began
    (expected, epochs) = torch.load(tmp_path / "whole.pt")
    path = tmp_path / "cut.checkpoint"
    for _ in range(kills):
        run = start(path, tmp_path / "cut.pt")
        time.sleep(draws.uniform(0, longest / 2 / kills))
        run.kill()
        run.communicate()
    run = start(path, tmp_path / "cut.pt")
    output, errors = run.communicate()
    assert run.returncode == 0, errors
    (got, epochs_again) = torch.load(tmp_path / "cut.pt")
    assert same(got, expected) and epochs == epochs_again == 6


@pytest.mark.parametrize("kind, entry", [("network", "far_step"), ("recipe", "seed")])
def test_checkpoint_from_before_an_entry_was_added_goes_on(few, tmp_path, kind, entry):
    path = tmp_path / "run.checkpoint"
    model, history = fit(network(), few, QUICK, checkpoint=path)
    saved = checkpoints.load(path)
    del saved["identity"][kind][entry]
    checkpoints.save(path, saved)
    again, same_history = fit(network(), few, QUICK, checkpoint=path)
    assert same(weights_of(again), weights_of(model)) and same_history == history
    with pytest.raises(ValueError, match="another run .*seed: 0 then, 1 now"):
        fit(network(), few, replace(QUICK, seed=1), checkpoint=path)


# ---- the command ---------------------------------------------------------------------


def test_the_command_ends_with_one_line(small_world, tmp_path, monkeypatch, capsys):
    stop_at(monkeypatch, 4)
    with pytest.raises(SystemExit) as stop:
        command(tmp_path)
    assert stop.value.code == 130
    assert capsys.readouterr().err.endswith("Run the same command again to go on.\n")
    assert not (tmp_path / "baseline.json").exists()

    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop:
        command(tmp_path / "file" / "folder")
    assert stop.value.code == 1
    assert "nothing can be written to" in capsys.readouterr().err


def test_a_data_folder_that_cannot_be_used_ends_in_one_line(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path / "file"))
    with pytest.raises(SystemExit) as stop:
        command(tmp_path)
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("CacheFolderError: ") and "CIFAR10_ROOT" in line


def test_an_unknown_preset_is_named(tmp_path):
    with pytest.raises(ValueError, match="no preset 'champ'; .*'baseline', 'champion'"):
        training.train_preset("champ", tmp_path)


def test_help_lists_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        training.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in ["preset", "out", "validation", "device"] + [
        field.name for field in fields(Recipe)
    ]:
        assert re.search(rf"--{name.replace('_', '-')}\b", text), name


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--preset", "nothing"], "invalid choice: 'nothing'"),
        (["--flip", "maybe"], "unrecognized arguments: maybe"),
        (["--epochs", "two"], "invalid int value: 'two'"),
        (["--learning", "0.1", "--speed", "9"], "unrecognized arguments: --speed"),
    ],
)
def test_wrong_arguments_are_explained(arguments, reason, capsys):
    with pytest.raises(SystemExit) as stop:
        training.main(arguments)
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.fixture
def small_world(sample, monkeypatch, tmp_path):
    """A preset with a narrow network, and 40 + 20 images; weights go to `tmp_path`."""
    train = of_each_class(sample.train, 4)
    data = CIFAR10(train, sample.test.subset(slice(20)), source="sample")
    monkeypatch.setattr(training, "load_cifar10", lambda source: data)
    monkeypatch.setitem(training.PRESETS, "baseline", (NARROW, Recipe()))
    monkeypatch.setattr(runtime, "WEIGHTS", tmp_path)
    return data


def command(folder, *more):
    arguments = ["--out", str(folder), "--epochs", "2", "--batch-size", "16"]
    training.main([*arguments, "--precision", "float32", "--device", "cpu", *more])


def test_command_trains_and_writes_everything(small_world, tmp_path, capsys):
    command(tmp_path, "--seed", "4", "--no-flip", "--learning-rate", "0.01")
    card = json.loads((tmp_path / "baseline.json").read_text())
    expected = Recipe(
        epochs=2,
        batch_size=16,
        seed=4,
        flip=False,
        learning_rate=0.01,
        precision="float32",
    )
    assert card["recipe"] == asdict(expected)
    assert NetConfig(**card["config"]) == NARROW
    assert (card["name"], card["seed"], card["data"]) == ("baseline", 4, "sample")
    assert card["training_images"] == 40
    assert "validation_accuracy_percent" not in card and "data_sha256" not in card
    assert {"hardware", "torch", "numpy", "python", "train_seconds"} <= card.keys()

    model = load_pretrained("baseline")
    judged = evaluate(model, small_world.test)
    assert card["test_accuracy_percent"] == judged["accuracy_percent"]
    history = read_history(tmp_path / "baseline.csv")
    assert [row["epoch"] for row in history] == [1, 2]
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[0]) == history[0]
    assert printed.rstrip().endswith(json.dumps(card, indent=2))

    command(tmp_path, "--seed", "4", "--no-flip", "--learning-rate", "0.01")
    assert same(weights_of(load_pretrained("baseline")), weights_of(model))
    assert read_history(tmp_path / "baseline.csv") == history  # the run was finished


def test_command_with_validation_leaves_the_test_set_alone(
    small_world, tmp_path, monkeypatch
):
    judged = []
    real_evaluate = training.evaluate

    def note(model, data, *arguments):
        judged.append(data.images)
        return real_evaluate(model, data, *arguments)

    monkeypatch.setattr(training, "evaluate", note)
    command(tmp_path, "--validation", "10")
    card = json.loads((tmp_path / "baseline.json").read_text())
    assert card["training_images"] == 30
    assert "test_accuracy_percent" not in card
    last = read_history(tmp_path / "baseline.csv")[-1]
    assert card["validation_accuracy_percent"] == last["validation_accuracy_percent"]
    assert [len(images) for images in judged] == [10, 10]  # once per epoch
    train = {image.numpy().tobytes() for image in small_world.train.images}
    assert all(image.numpy().tobytes() in train for image in judged[0])


# ---- files ---------------------------------------------------------------------------


def test_command_never_takes_the_sample_by_itself(small_world, tmp_path, monkeypatch):
    asked = []

    def note(source):
        asked.append(source)
        return small_world

    monkeypatch.setattr(training, "load_cifar10", note)
    command(tmp_path)
    command(tmp_path, "--source", "sample")
    assert asked == ["full", "sample"]


def test_checkpoint_goes_on_with_another_kind_of_device(few):
    """Random draws of the other device mean nothing here; all else is taken over."""
    first, second = (Trainer(network(seed), QUICK, steps=10) for seed in (0, 1))
    for _ in range(3):
        first.train_step(few.images, few.labels)
    state = first.state() | {"device": "cuda", "generator": torch.zeros(16)}
    draws = second.generator.get_state()
    second.load_state(state)
    assert second.step == 3 and same(weights_of(second.model), weights_of(first.model))
    assert torch.equal(second.generator.get_state(), draws)


def test_evaluation_leaves_every_submodule_in_its_mode(few):
    model = network().train()
    model.initial.norm.eval()  # frozen
    evaluate(model, few)
    predict(model, few.images)
    assert model.training and model.aspp.training and not model.initial.norm.training


ASKED = [  # entries of a recipe, and what they mean
    ({"crop_padding": 7}, lambda x, draw: augment.random_crop(x, 7, draw)),
    ({"flip": True}, augment.random_flip),
    ({"rotation_degrees": 9.0}, lambda x, draw: augment.random_rotation(x, 9.0, draw)),
    ({"colour_strength": 0.3}, lambda x, draw: augment.random_colour(x, 0.3, draw)),
    ({"cutout_size": 12}, lambda x, draw: augment.cutout(x, 12, draw)),
    (
        {"crop_padding": 2, "flip": True, "cutout_size": 5},
        lambda x, draw: augment.cutout(
            augment.random_flip(augment.random_crop(x, 2, draw), draw), 5, draw
        ),
    ),
    (
        {"crop_padding": 2, "flip": True, "rotation_degrees": 9.0},
        lambda x, draw: augment.random_rotation(
            augment.random_flip(augment.random_crop(x, 2, draw), draw), 9.0, draw
        ),
    ),
    (
        {"rotation_degrees": 9.0, "colour_strength": 0.3, "cutout_size": 5},
        lambda x, draw: augment.cutout(
            augment.random_colour(augment.random_rotation(x, 9.0, draw), 0.3, draw),
            5,
            draw,
        ),
    ),
]


@pytest.mark.parametrize("changes, by_hand", ASKED, ids=lambda v: str(v)[:40])
def test_a_step_sees_what_its_recipe_asks_for(few, changes, by_hand):
    """With the recipe's own numbers, in this order, drawn from its seed."""
    recipe = replace(QUICK, label_smoothing=0.2, seed=3, **PLAIN | changes)
    inputs, targets = Trainer(network(), recipe, 4).augmented(few.images, few.labels)
    changed = by_hand(few.images, torch.Generator().manual_seed(3))
    assert not torch.equal(changed, few.images)
    torch.testing.assert_close(inputs, normalize(changed))
    smooth = 0.8 * F.one_hot(few.labels, 10) + 0.02
    torch.testing.assert_close(targets, smooth)


def test_small_images_are_those_of_pillow(few):
    """Its bilinear filter reads all pixels, too: none is skipped on the way down."""
    config = replace(QUICK, low_resolution_fraction=0.5, **PLAIN)  # to 24 x 24
    inputs, _ = Trainer(network(), config, 4).augmented(few.images, few.labels)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    for image, got in zip(few.images, 255 * (inputs * std + mean), strict=True):
        small = Image.fromarray(image.permute(1, 2, 0).numpy())
        small = np.array(small.resize((24, 24), Image.Resampling.BILINEAR))
        assert np.abs(got.permute(1, 2, 0).numpy() - small).max() < 2


def test_speed_counts_the_images_of_the_timed_steps(few, monkeypatch):
    """Two steps set things up, which takes long; each of the others half a second."""
    clock, sizes = [0.0], []

    def step(trainer, images, labels):
        sizes.append(len(labels))
        clock[0] += 100.0 if len(sizes) <= 2 else 0.5

    monkeypatch.setattr(Trainer, "train_step", step)
    fake = SimpleNamespace(perf_counter=lambda: clock[0])
    monkeypatch.setattr(speed_module, "time", fake)
    assert measure_speed(network(), few, QUICK, seconds=10.0) == pytest.approx(8 / 0.5)
    assert sizes == [8] * (2 + 20)


def test_seconds_before_an_interruption_count(few):
    trainer, kept = Trainer(network(), QUICK, 3), []
    trainer.begin_epoch(20)["seconds"] = 1000.0  # as a checkpoint gives it back
    row = train_one_epoch(
        trainer, few, on_step=lambda: kept.append(trainer.epoch["seconds"])
    )
    assert 1000 < kept[0] <= kept[-1] <= row["seconds"] < 1100


def test_card_tells_the_last_epoch_on_the_same_held_out_images(
    small_world, tmp_path, monkeypatch
):
    """Whatever the run's seed: else two runs would be judged on different images."""
    judged = []

    def note(model, data, *arguments):
        judged.append(data.images)
        return {"loss": 1.0, "accuracy_percent": 10.0 * len(judged)}

    monkeypatch.setattr(training, "evaluate", note)
    command(tmp_path, "--validation", "10", "--seed", "3")
    card = json.loads((tmp_path / "baseline.json").read_text())
    assert card["validation_accuracy_percent"] == 20  # two epochs
    _, held_out = split(small_world.train, 10, seed=0)
    assert all(torch.equal(images, held_out.images) for images in judged)
