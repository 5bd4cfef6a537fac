"""The champion's kind, taught by several of them: who answers for what, and the row."""

import hashlib
import json
import math
import shutil
from argparse import Namespace

import torch

from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10
from cifar_helpers.model import predict
from cifar_helpers.pretrained import load_card, load_pretrained, read_history
from cifar_helpers.recipes import PRESETS
from tests.benchmarks import taught
from tests.benchmarks.rows import read_rows


class Fixed(torch.nn.Module):
    """Gives the same answer for every image."""

    def __init__(self, answer):
        super().__init__()
        self.answer = float(answer)

    def forward(self, x):
        return torch.full((len(x), 10), self.answer)


def test_each_network_answers_for_its_part():
    panel = taught.Panel([Fixed(1), Fixed(2), Fixed(3)])
    answers = panel(torch.zeros(7, 3, 32, 32))
    assert answers[:, 0].tolist() == [1, 1, 1, 2, 2, 2, 3]
    assert panel(torch.zeros(2, 3, 32, 32))[:, 0].tolist() == [1, 2]
    assert panel(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_several_are_judged_by_the_mean_of_their_probabilities():
    test = load_cifar10(source="sample").test.subset(slice(40))
    images = len(test)

    class Sure(torch.nn.Module):
        """Right or wrong about an image, with the probability that is given."""

        def __init__(self, right, probability):
            super().__init__()
            self.right, self.rest = right, (1 - probability) / 9
            self.probability = probability

        def forward(self, x):
            named = torch.where(self.right, test.labels, (test.labels + 1) % 10)
            answers = torch.full((images, 10), self.rest)
            answers[torch.arange(images), named] = self.probability
            return answers.log()

    order = torch.arange(images)
    one = Sure(order < 30, 0.9)  # right about the first 30, wrong about the others
    other = Sure(order >= 15, 0.5)  # right about all but the first 15
    found = taught.teachers_accuracies([one, other], test)
    assert found["together_test_accuracy_percent"] == 75.0  # the surer one decides
    assert found["start_test_accuracy_percent"] == 62.5
    third = Sure(order >= 0, 0.8)
    found = taught.teachers_accuracies([one, other, third], test)
    assert found["together_test_accuracy_percent"] == 100.0  # two against one
    assert found["start_test_accuracy_percent"] == 100.0


def test_a_run_is_judged_once_and_kept(tmp_path, capsys):
    other = tmp_path / "other.safetensors"  # the same weights, by way of a file
    shutil.copy(runtime.WEIGHTS / "champion.safetensors", other)
    command = ["--teachers", "champion", str(other), "--images", "64", "--epochs", "1"]
    command += ["--source", "sample", "--learning-rate", "1e-9"]
    command += ["--mixup-alpha", "0.4", "--name", "pupil"]
    command += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "rows.csv")]
    taught.main(command)
    (row,) = read_rows(tmp_path / "rows.csv")
    assert tuple(row) == taught.COLUMNS
    test = load_cifar10(source="sample").test
    right = predict(load_pretrained("champion"), test.images).argmax(1) == test.labels
    percent = 100 * right.sum().item() / len(test)
    for name in ("together", "start", "champion"):
        assert float(row[f"{name}_test_accuracy_percent"]) == percent
    (path,) = (tmp_path / "runs").glob("*.json")  # and no checkpoint is left
    assert {file.stem for file in (tmp_path / "runs").iterdir()} == {"pupil"}
    card = json.loads(path.read_text())
    assert card["test_accuracy_percent"] == float(row["test_accuracy_percent"])
    assert card["teachers"] == row["teachers"] == f"champion {other}"
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    assert card["teachers_sha256"] == row["teachers_sha256"] == f"{digest} {digest}"
    assert (card["share"], card["temperature"]) == (0.9, 2.0)
    assert card["recipe"]["mixup_alpha"] == float(row["mixup_alpha"]) == 0.4
    assert card["name"] == "pupil"
    assert card["training_images"] == int(row["training_images"]) == 64
    judged = taught.load_network(str(path.with_suffix(".safetensors")))
    right = predict(judged, test.images).argmax(1) == test.labels
    assert 100 * right.sum().item() / len(test) == card["test_accuracy_percent"]
    taught.main(command)
    assert read_rows(tmp_path / "rows.csv") == [row]
    assert "already" in capsys.readouterr().out


class Learner(torch.nn.Module):
    """The least that a Trainer takes."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(10))

    def forward(self, x):
        return self.weight.expand(len(x), 10).log_softmax(1)


class Steep(torch.nn.Module):
    """Gives class k the same logit, k times the slope, for every image."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return (self.slope * torch.arange(10.0)).expand(len(x), 10)


def train_what(monkeypatch, share):
    """What `fit` is called with: its arguments, and a Trainer of the kind asked for."""
    called = {}

    def fit(*arguments, **named):
        called.update(named, model=arguments[0], recipe=arguments[2])

    monkeypatch.setattr(taught, "fit_whole", fit)
    monkeypatch.setattr(taught, "load_network", Steep)
    options = Namespace(teachers=[1.0, -2.0], temperature=3.0, share=share)
    recipe = taught.recipe_of(2, 0.05, share, 0.0)
    taught.train(options, None, recipe, "a path")
    return called, called["make_trainer"](Learner(), recipe, 4)


def test_the_last_teacher_learns_from_all_of_them(monkeypatch):
    called, trainer = train_what(monkeypatch, share=0.7)
    assert called["model"].slope == -2.0 and called["model"].training
    assert called["checkpoint"] == "a path"
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    _, targets = trainer.augmented(images, torch.arange(4))
    assert torch.equal(targets[:, :10], torch.eye(10)[:4]), "labels are not smoothed"
    for rows, slope in ((targets[:2, 10:], 1.0), (targets[2:, 10:], -2.0)):
        wanted = (slope * torch.arange(10.0) / 3.0).softmax(0)
        torch.testing.assert_close(rows, wanted.expand(2, 10))
    even = torch.full((4, 10), -math.log(10))  # of a network that knows nothing
    wanted = (0.3 + 0.7 * 3.0**2) * math.log(10)
    torch.testing.assert_close(trainer.losses(even, targets), torch.full((4,), wanted))


def test_teachers_see_the_blended_images():
    class Mean(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=(1, 2, 3)).unsqueeze(1) * torch.arange(10.0)

    recipe = taught.recipe_of(1, 0.05, 0.9, mixup_alpha=5.0)
    kind = taught.taught(taught.Trainer, Mean(), 2.0, 0.9)
    trainer = kind(Learner(), recipe, 4)
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    inputs, targets = trainer.augmented(images, torch.arange(4))
    assert (targets[:, :10] > 0).sum() > 4, "labels are blended"
    wanted = (Mean()(inputs) / 2.0).softmax(1)
    torch.testing.assert_close(targets[:, 10:], wanted)


def test_without_a_share_labels_alone_teach(monkeypatch):
    called, trainer = train_what(monkeypatch, share=0.0)
    assert trainer.task == "labels"
    recipe, champions = called["recipe"], PRESETS["champion"][1]
    assert recipe.label_smoothing == champions.label_smoothing
    assert taught.recipe_of(2, 0.05, 0.9, 0.0).label_smoothing == 0
    assert (recipe.rotation_degrees, recipe.colour_strength) == (15.0, 0.2)
    assert (recipe.epochs, recipe.low_resolution_fraction) == (2, 0.0)
    assert (recipe.learning_rate, recipe.sgd_learning_rate) == (0.05, 0.05)


def test_cards_of_stored_rows_are_kept():
    """Each round's outcome teaches the next, so digests must fit from card to card."""
    folder, known = runtime.RESULTS / "taught", {}
    for row, name in zip(
        read_rows(runtime.RESULTS / "taught.csv"), ("first", "second"), strict=True
    ):
        card = json.loads((folder / f"{name}.json").read_text())
        assert card["name"] == name
        for entry in ("teachers", "teachers_sha256"):
            assert card[entry] == row[entry]
        for entry in ("test_accuracy_percent", "temperature", "share"):
            assert card[entry] == float(row[entry])
        history = read_history(folder / f"{name}.csv")
        assert len(history) == card["recipe"]["epochs"] == int(row["epochs"])
        ended = history[-1]["train_accuracy_percent"]
        assert round(ended, 2) == float(row["train_accuracy_percent"])
        teachers = dict(
            zip(row["teachers"].split(), row["teachers_sha256"].split(), strict=True)
        )
        for path, digest in known.items():
            assert teachers[path] == digest
        assert teachers["champion"] == load_card("champion")["weights_sha256"]
        known[f"runs/taught/{name}.safetensors"] = card["weights_sha256"]


def test_the_stored_row_is_of_the_shipped_champion():
    for row in read_rows(runtime.RESULTS / "taught.csv"):
        card = load_card("champion")
        before = float(row["champion_test_accuracy_percent"])
        assert before == card["test_accuracy_percent"]
        after = float(row["test_accuracy_percent"])
        difference = float(row["difference"])
        assert abs(after - before - difference) < 0.006
        low, high = float(row["difference_low"]), float(row["difference_high"])
        assert low < difference < high
        assert int(row["parameters"]) == card["parameters"]
