"""Each judgement against a plain loop over the images."""

import math

import numpy as np
import pytest
import torch
from stand_ins import TinyNet, half_right
from torch import nn

from cifar_helpers import evaluation
from cifar_helpers.data import MEAN, STD, LabelledImages
from cifar_helpers.evaluation import Predictions, collect_predictions


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TinyNet()


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (37, 3, 32, 32), generator=generator)
    labels = torch.randint(0, 10, (37,), generator=generator)
    return LabelledImages(images.to(torch.uint8), labels)


@pytest.fixture(scope="module")
def predictions():
    return half_right()


def rows_of(predictions):
    """(probabilities, label) per image as plain Python numbers."""
    probabilities = [
        [math.exp(v) for v in row] for row in predictions.log_probabilities.tolist()
    ]
    return list(zip(probabilities, predictions.labels.tolist(), strict=True))


def normalized_by_hand(image):
    channels = [(image[c] / 255 - MEAN[c]) / STD[c] for c in range(3)]
    return torch.stack(channels)


# Predictions


def test_predictions_agree_with_a_loop(predictions):
    right, loss = 0, 0.0
    for index, (probabilities, label) in enumerate(rows_of(predictions)):
        best = max(range(10), key=probabilities.__getitem__)
        right += best == label
        loss -= math.log(probabilities[label])
        assert predictions.predicted[index] == best
        assert predictions.correct[index] == (best == label)
        assert float(predictions.confidence[index]) == pytest.approx(
            probabilities[best], rel=1e-5
        )
    assert 50 < right < 290  # both kinds occur
    assert len(predictions) == 300
    assert predictions.accuracy_percent == pytest.approx(100 * right / 300)
    assert predictions.mean_loss == pytest.approx(loss / 300, rel=1e-6)
    torch.testing.assert_close(predictions.probabilities.sum(1), torch.ones(300))


def test_temperature_divides_the_logits():
    logits = torch.tensor([[2.0, 1.0, -1.0]])
    labels = torch.tensor([0])
    classes = ("a", "b", "c")
    softer = Predictions(logits.log_softmax(1), labels, classes).with_temperature(4)
    exponentials = [math.exp(v / 4) for v in (2, 1, -1)]
    expected = [v / sum(exponentials) for v in exponentials]
    assert softer.probabilities[0].tolist() == pytest.approx(expected, rel=1e-5)
    assert softer.classes == classes


@pytest.mark.parametrize("temperature", [0, -1, math.nan, math.inf])
def test_wrong_temperature(predictions, temperature):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        predictions.with_temperature(temperature)


UNIFORM = torch.full((4, 10), -math.log(10))
LABELS = torch.tensor([0, 3, 9, 9])


@pytest.mark.parametrize(
    ("log_probabilities", "labels", "error", "message"),
    [
        (UNIFORM.numpy(), LABELS, TypeError, "torch tensor, got ndarray"),
        (UNIFORM.double(), LABELS, TypeError, "float32, got torch.float64"),
        (UNIFORM[:, :9], LABELS, ValueError, r"shape \(N, 10\).*got \(4, 9\)"),
        (UNIFORM[0], LABELS, ValueError, r"shape \(N, 10\).*got \(10,\)"),
        (UNIFORM[:3], LABELS, ValueError, "got 3 rows .* for 4 labels"),
        (UNIFORM[:0], LABELS[:0], ValueError, "no predictions"),
        (UNIFORM * math.nan, LABELS, ValueError, "not finite"),
        (UNIFORM + 1, LABELS, ValueError, "sum to 2.718.*LogSoftmax"),
        (UNIFORM, LABELS.tolist(), TypeError, "torch tensor, got list"),
        (UNIFORM, LABELS.int(), TypeError, "int64, got torch.int32"),
        (UNIFORM, LABELS[:, None], ValueError, r"shape \(N,\), got \(4, 1\)"),
        (UNIFORM, LABELS + 1, ValueError, "between 0 and 9, got 1 to 10"),
        (UNIFORM, LABELS - 1, ValueError, "between 0 and 9, got -1 to 8"),
        (UNIFORM.to("meta"), LABELS, ValueError, "on meta: call .cpu()"),
        (UNIFORM, LABELS.to("meta"), ValueError, "on meta: call .cpu()"),
    ],
)
def test_wrong_predictions(log_probabilities, labels, error, message):
    with pytest.raises(error, match=message):
        Predictions(log_probabilities, labels)


# Collecting


def test_collecting_runs_every_image_once_in_evaluation_mode(model, data):
    predictions = collect_predictions(model, data, batch_size=8)  # last batch has 5
    model.eval()
    for index, image in enumerate(data.images):
        with torch.no_grad():
            alone = model(normalized_by_hand(image)[None])[0]
        torch.testing.assert_close(
            predictions.log_probabilities[index], alone, rtol=1e-4, atol=1e-4
        )
    assert predictions.labels.equal(data.labels)
    assert not predictions.log_probabilities.requires_grad


def test_collecting_leaves_the_model_as_it_was(model, data):
    model.train()
    model.norm.eval()  # a frozen batch norm stays frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    collect_predictions(model, data)
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert all(model.state_dict()[name].equal(old) for name, old in before.items())


def test_collecting_refuses_wrong_input(model, data):
    with pytest.raises(TypeError, match="LabelledImages.*got Tensor"):
        collect_predictions(model, data.images)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        collect_predictions(model, data, batch_size=0)
    with pytest.raises(ValueError, match="no images"):
        collect_predictions(model, LabelledImages(data.images[:0], data.labels[:0]))
    logits = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    with pytest.raises(ValueError, match="LogSoftmax"):
        collect_predictions(logits, data)
    with pytest.raises(ValueError, match=r"shape \(N, 10\)"):
        collect_predictions(nn.Sequential(nn.Flatten(), nn.LogSoftmax(1)), data)


def test_evaluating_agrees_with_torch(model, data):
    with torch.no_grad():
        inputs = torch.stack([normalized_by_hand(image) for image in data.images])
        outputs = model.eval()(inputs)
    for batch_size in (1, 8, 500, None):
        result = evaluation.evaluate(model, data, batch_size)
        right = (outputs.argmax(dim=1) == data.labels).double().mean().item()
        assert result["accuracy_percent"] == pytest.approx(100 * right)
        loss = nn.functional.nll_loss(outputs, data.labels).item()
        assert result["loss"] == pytest.approx(loss, rel=1e-4)


def test_evaluating_refuses_logits_and_nothing(data, model):
    logits = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    with pytest.raises(ValueError, match="LogSoftmax"):
        evaluation.evaluate(logits, data)
    with pytest.raises(ValueError, match="no images to evaluate on"):
        evaluation.evaluate(model, data.subset(slice(0)))


# Judgements


def test_confusion_matrix_counts(predictions):
    expected = np.zeros((10, 10), dtype=int)
    for probabilities, label in rows_of(predictions):
        expected[label, max(range(10), key=probabilities.__getitem__)] += 1
    matrix = evaluation.confusion_matrix(predictions)
    assert matrix.tolist() == expected.tolist()
    shares = evaluation.confusion_matrix(predictions, normalize="true")
    np.testing.assert_allclose(shares, expected / expected.sum(1, keepdims=True))
    with pytest.raises(ValueError, match="'pred'"):
        evaluation.confusion_matrix(predictions, normalize="pred")


def certain(predicted, labels, confidence=None):
    """Predictions of three classes with the given classes and confidences."""
    confidence = confidence or [0.9] * len(labels)
    rows = torch.empty(len(labels), 3)
    for row, index, value in zip(rows, predicted, confidence, strict=True):
        row[:] = (1 - value) / 2
        row[index] = value
    return Predictions(rows.log(), torch.tensor(labels), ("a", "b", "c"))


def test_most_confident_mistakes(predictions):
    wrong = []
    for index, (probabilities, label) in enumerate(rows_of(predictions)):
        best = max(range(10), key=probabilities.__getitem__)
        if best != label:
            wrong.append((-predictions.confidence[index].item(), index))
    expected = [index for _, index in sorted(wrong)]
    found = evaluation.most_confident_mistakes(predictions, count=16)
    assert found.tolist() == expected[:16]
    assert evaluation.most_confident_mistakes(predictions, 999).tolist() == expected
    none = evaluation.most_confident_mistakes(certain([0, 1], [0, 1]))
    assert none.tolist() == []


def test_most_confused_pairs():
    predictions = certain([1, 1, 2, 0, 0, 2, 2, 2], [0, 0, 0, 0, 1, 1, 1, 1])
    pairs = evaluation.most_confused_pairs(predictions, count=3)
    assert pairs == [("b", "c", 3), ("a", "b", 2), ("a", "c", 1)]
    assert evaluation.most_confused_pairs(predictions, 50)[3:] == [("b", "a", 1)]


@pytest.mark.parametrize("function", ["most_confident_mistakes", "most_confused_pairs"])
def test_wrong_count(predictions, function):
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        getattr(evaluation, function)(predictions, count=0)
    with pytest.raises(TypeError, match="count must be a whole number, not 2.5"):
        getattr(evaluation, function)(predictions, count=2.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_another_number_format_are_evaluated(model, data, dtype):
    expected = collect_predictions(model, data).log_probabilities
    got = collect_predictions(model.to(dtype), data).log_probabilities
    assert got.dtype == torch.float32
    share = max(torch.finfo(dtype).eps, 1e-6)
    torch.testing.assert_close(got, expected, rtol=30 * share, atol=30 * share)
