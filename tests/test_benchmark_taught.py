"""The champion's kind, taught by several of them: who answers for what, and the row."""

import json
import shutil
from argparse import Namespace

import torch

from cifar_helpers import runtime
from cifar_helpers.data import load_cifar10
from cifar_helpers.model import predict
from cifar_helpers.pretrained import load_pretrained
from cifar_helpers.training import History
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
    command += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "rows.csv")]
    taught.main(command)
    (row,) = read_rows(tmp_path / "rows.csv")
    assert tuple(row) == taught.COLUMNS
    test = load_cifar10(source="sample").test
    right = predict(load_pretrained("champion"), test.images).argmax(1) == test.labels
    percent = 100 * right.sum().item() / len(test)
    for name in ("together", "start", "champion"):
        assert float(row[f"{name}_test_accuracy_percent"]) == percent
    card = json.loads((tmp_path / "runs" / "champion-taught.json").read_text())
    assert card["test_accuracy_percent"] == float(row["test_accuracy_percent"])
    assert card["teachers"] == row["teachers"] == f"champion {other}"
    assert card["training_images"] == int(row["training_images"]) == 64
    again = taught.load_network(str(tmp_path / "runs" / "champion-taught.safetensors"))
    judged = predict(again, test.images).argmax(1) == test.labels
    assert 100 * judged.sum().item() / len(test) == card["test_accuracy_percent"]
    taught.main(command)
    assert read_rows(tmp_path / "rows.csv") == [row]
    assert "already" in capsys.readouterr().out


def test_the_network_that_learns_is_the_last_teacher(monkeypatch):
    monkeypatch.setattr(taught, "fit", lambda model, *_, **__: (model, History()))
    monkeypatch.setattr(taught, "load_network", Fixed)
    options = Namespace(teachers=[1, 2], runs="", temperature=2.0)
    model, _ = taught.train(options, None, taught.recipe_of(1, 0.05))
    assert model.answer == 2.0 and model.training
