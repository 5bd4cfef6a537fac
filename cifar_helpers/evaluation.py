"""Predictions once, then every judgement derived from them.

Run the network over a part of the data with `collect_predictions`; accuracy,
confusion matrix and the worst mistakes then come from the stored log-probabilities,
without a second pass. `calibration` and `explain` have modules of their own.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from cifar_helpers.data import CLASSES, LabelledImages
from cifar_helpers.model import predict, whole_number


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network said about N images with K classes, and the truth.

    A wrong shape or value raises `ValueError`, a wrong dtype `TypeError`.
    """

    log_probabilities: Tensor  # (N, K) float32 on the CPU, natural logarithm
    labels: Tensor  # (N,) int64 on the CPU
    classes: tuple[str, ...] = CLASSES

    def __post_init__(self) -> None:
        check_log_probabilities(self.log_probabilities, len(self.classes))
        check_labels(self.labels, len(self.classes))
        if len(self.log_probabilities) != len(self.labels):
            raise ValueError(
                f"got {len(self.log_probabilities)} rows of log-probabilities for "
                f"{len(self.labels)} labels: pass one row per label"
            )
        if len(self.labels) == 0:
            raise ValueError("got no predictions: pass at least one image")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def probabilities(self) -> Tensor:
        """Probability of each class, (N, K), rows sum to one."""
        return self.log_probabilities.exp()

    @property
    def predicted(self) -> Tensor:
        """Index of the most probable class, (N,) int64."""
        return self.log_probabilities.argmax(dim=1)

    @property
    def confidence(self) -> Tensor:
        """Probability of the predicted class, (N,)."""
        return self.log_probabilities.amax(dim=1).exp()

    @property
    def correct(self) -> Tensor:
        """Whether each prediction is right, (N,) bool."""
        return self.predicted == self.labels

    @property
    def accuracy_percent(self) -> float:
        """Share of right predictions, in percent."""
        return 100.0 * int(self.correct.sum()) / len(self)

    @property
    def mean_loss(self) -> float:
        """Mean negative log-likelihood of the true class, in nats."""
        true_class = self.log_probabilities.gather(1, self.labels[:, None])  # (N, 1)
        return -float(true_class.double().sum()) / len(self)

    def with_temperature(self, temperature: float) -> "Predictions":
        """The same predictions with every logit divided by `temperature`.

        Above one softens the probabilities, below one sharpens them; the predicted
        class stays (Guo et al. 2017, equation 9). `ValueError` unless positive.
        """
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature must be above 0, got {temperature}")
        scaled = (self.log_probabilities / temperature).log_softmax(dim=1)
        return replace(self, log_probabilities=scaled)


def check_log_probabilities(log_probabilities: Tensor, classes: int) -> None:
    """Raise unless these are (N, classes) float32 log-probabilities on the CPU."""
    if not isinstance(log_probabilities, Tensor):
        kind = type(log_probabilities).__name__
        raise TypeError(f"log_probabilities must be a torch tensor, got {kind}")
    if log_probabilities.dtype != torch.float32:
        got = log_probabilities.dtype
        raise TypeError(f"log_probabilities must be float32, got {got}: call .float()")
    if log_probabilities.device.type != "cpu":
        got = log_probabilities.device
        raise ValueError(f"log_probabilities are on {got}: call .cpu()")
    shape = tuple(log_probabilities.shape)
    if len(shape) != 2 or shape[1] != classes:
        raise ValueError(
            f"log_probabilities must have shape (N, {classes}), one column per "
            f"class, got {shape}"
        )
    if not torch.isfinite(log_probabilities).all():
        raise ValueError("log_probabilities hold values that are not finite")
    sums = log_probabilities.double().exp().sum(dim=1)  # (N,)
    if len(sums) and float((sums - 1).abs().max()) > 1e-2:  # lets bfloat16 pass
        worst = float(sums[(sums - 1).abs().argmax()])
        raise ValueError(
            f"the probabilities of one image sum to {worst:.4g} instead of 1: end "
            "the model with nn.LogSoftmax(dim=1)"
        )


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise unless these are (N,) int64 labels below `classes` on the CPU."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a torch tensor, got {type(labels).__name__}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64, got {labels.dtype}: call .long()")
    if labels.device.type != "cpu":
        raise ValueError(f"labels are on {labels.device}: call .cpu()")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {tuple(labels.shape)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"labels must lie between 0 and {classes - 1}, got "
            f"{int(labels.min())} to {int(labels.max())}"
        )


def collect_predictions(
    model: nn.Module, data: LabelledImages, batch_size: int | None = None
) -> Predictions:
    """Run `model` once over all images of `data` and keep its log-probabilities.

    Raises TypeError for other data, ValueError for no images or outputs that are no
    log-probabilities; see `cifar_helpers.model.predict` for the rest.
    """
    if not isinstance(data, LabelledImages):
        kind = type(data).__name__
        raise TypeError(f"data must be LabelledImages, such as data.test, got {kind}")
    if len(data) == 0:
        raise ValueError("there are no images to evaluate on: pass at least one")
    outputs = predict(model, data.images, batch_size)  # (N, 10)
    return Predictions(outputs, data.labels.cpu())


def evaluate(
    model: nn.Module, data: LabelledImages, batch_size: int | None = None
) -> dict:
    """`loss` (mean negative log-likelihood, nats) and `accuracy_percent` on `data`.

    Raises what `collect_predictions` raises.
    """
    predictions = collect_predictions(model, data, batch_size)
    return {
        "loss": predictions.mean_loss,
        "accuracy_percent": predictions.accuracy_percent,
    }


def confusion_matrix(
    predictions: Predictions, normalize: str | None = None
) -> np.ndarray:
    """Count images by true class (row) and predicted class (column), (K, K) int64.

    `normalize="true"` divides each row by its sum: fractions of the true class, so
    the diagonal is the recall (a class without images gives a row of zeros).
    """
    from sklearn import metrics

    if normalize not in (None, "true"):
        raise ValueError(f'normalize must be None or "true", got {normalize!r}')
    return metrics.confusion_matrix(
        predictions.labels.numpy(),
        predictions.predicted.numpy(),
        labels=range(len(predictions.classes)),
        normalize=normalize,
    )  # (K, K)


def most_confident_mistakes(predictions: Predictions, count: int = 16) -> Tensor:
    """Indices of the wrong predictions, the most confident first.

    At most `count` of them, as an int64 tensor; ties keep the order of the images.
    """
    count = whole_number("count", count)
    wrong = (~predictions.correct).nonzero().flatten()  # (number of mistakes,)
    order = predictions.confidence[wrong].argsort(descending=True, stable=True)
    return wrong[order[:count]]


def most_confused_pairs(
    predictions: Predictions, count: int = 5
) -> list[tuple[str, str, int]]:
    """The most frequent mistakes, as (true class, predicted class, images).

    At most `count` of them, the most frequent first; pairs that never occur are left
    out.
    """
    count = whole_number("count", count)
    matrix = confusion_matrix(predictions)  # (K, K)
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(order, matrix.shape), strict=True)
    names = predictions.classes
    return [
        (names[true], names[predicted], int(matrix[true, predicted]))
        for true, predicted in pairs
        if matrix[true, predicted] > 0
    ]
