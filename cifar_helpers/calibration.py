"""Does confidence mean what it says? Bins, the error's floor, temperature, AUROC.

`calibration` and `chance_errors` take `Predictions`, or anything else that has a
`confidence` (N,), fractions, and says what was `correct` (N,): such as `Claims`.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cifar_helpers.model import whole_number


@dataclass(frozen=True, eq=False)
class Claims:
    """How sure somebody was of N answers, and which of them were right.

    Raises ValueError for confidences outside 0 … 1, for answers that are neither right
    nor wrong, for different lengths, for none.
    """

    confidence: Tensor  # (N,) fractions
    correct: Tensor  # (N,) bool, given as such or as 0 and 1

    def __post_init__(self) -> None:
        confidence = torch.as_tensor(self.confidence, dtype=torch.float64)
        correct = torch.as_tensor(self.correct)
        if confidence.ndim != 1 or confidence.shape != correct.shape:
            raise ValueError(
                "give one confidence and one True or False per answer, got "
                f"{tuple(confidence.shape)} and {tuple(correct.shape)}"
            )
        if len(confidence) == 0:
            raise ValueError("got no claims: pass at least one")
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise ValueError("a confidence is a fraction between 0 and 1, not per cent")
        if not ((correct == 0) | (correct == 1)).all():
            raise ValueError("give True or False per answer: was it right?")
        object.__setattr__(self, "confidence", confidence)
        object.__setattr__(self, "correct", correct.bool())

    def __len__(self) -> int:
        return len(self.confidence)


@dataclass(frozen=True, eq=False)
class Calibration:
    """How well confidence agrees with accuracy, in bins of confidence.

    `confidence` and `accuracy` are means over the images of a bin, as fractions, NaN
    where a bin is empty.
    """

    bin_edges: np.ndarray  # (bins + 1,) from 0 to 1; bin m holds (edge m, edge m+1]
    confidence: np.ndarray  # (bins,)
    accuracy: np.ndarray  # (bins,)
    count: np.ndarray  # (bins,) images
    expected_calibration_error_percent: float


def bin_places(confidence: Tensor, bins: int, adaptive: bool) -> tuple[Tensor, Tensor]:
    """The bin of each confidence, (N,) int64, and the edges of the bins, (bins + 1,).

    Bins are equally wide, or, if `adaptive`, hold equally many images (one more or
    less; equal confidences may be parted, then edges coincide).
    """
    if not adaptive:
        edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
        return torch.bucketize(confidence, edges[1:-1]), edges
    order = confidence.argsort(stable=True)
    place = torch.empty(len(confidence), dtype=torch.int64)
    tops = []
    for index, members in enumerate(order.tensor_split(bins)):
        place[members] = index
        highest = confidence[members].max() if len(members) else confidence.max()
        tops.append(float(highest))
    edges = torch.tensor([0.0, *tops[:-1], 1.0], dtype=torch.float64)
    return place, edges


def calibration(predictions, bins: int = 15, adaptive: bool = False) -> Calibration:
    """Compare confidence with accuracy in `bins` bins of confidence.

    The expected calibration error is the mean gap between the two, weighted by the
    images in each bin (Guo et al. 2017, "On Calibration of Modern Neural Networks",
    equation 3), in percent. Bins are equally wide; `adaptive` ones hold equally many
    images (Nguyen & O'Connor 2015, "Posterior Calibration and Exploratory Analysis for
    Natural Language Processing Models").
    """
    bins = whole_number("bins", bins)
    confidence = predictions.confidence.double()  # (N,)
    place, edges = bin_places(confidence, bins, adaptive)
    count = torch.bincount(place, minlength=bins)  # (bins,)
    confidence_sum = torch.bincount(place, confidence, minlength=bins)
    correct_sum = torch.bincount(place, predictions.correct.double(), minlength=bins)
    gap = (correct_sum - confidence_sum).abs().sum() / len(confidence)
    return Calibration(
        bin_edges=edges.numpy(),
        confidence=(confidence_sum / count).numpy(),  # 0 / 0 gives NaN
        accuracy=(correct_sum / count).numpy(),
        count=count.numpy(),
        expected_calibration_error_percent=100.0 * float(gap),
    )


def chance_errors(
    predictions, bins: int = 15, adaptive: bool = False, draws: int = 200, seed: int = 0
) -> np.ndarray:
    """Calibration errors that a perfectly calibrated network shows by chance, sorted.

    Keeps the confidences and draws `draws` times which answers are right: each with the
    probability that its confidence states. Returns (draws,) errors in percent, whose
    mean is the floor below which an expected calibration error says nothing.
    """
    bins, draws = whole_number("bins", bins), whole_number("draws", draws)
    confidence = predictions.confidence.double()  # (N,)
    place, _ = bin_places(confidence, bins, adaptive)
    claimed = torch.bincount(place, confidence, minlength=bins)  # (bins,)
    generator = torch.Generator().manual_seed(seed)
    errors = []
    for _ in range(draws):
        uniform = torch.rand(len(confidence), generator=generator, dtype=torch.float64)
        correct = (uniform < confidence).double()
        right = torch.bincount(place, correct, minlength=bins)
        errors.append(100 * float((right - claimed).abs().sum()) / len(confidence))
    return np.sort(errors)


def overconfidence(predictions) -> tuple[float, float]:
    """Mean confidence minus accuracy, in points, and half its 95 % interval's width.

    Above zero: too sure on the whole; below: too modest. The interval (normal, over the
    images' own differences) is narrower than those of both parts would make it, as they
    come from the same images. ValueError for a single answer.
    """
    gaps = predictions.confidence.double() - predictions.correct.double()  # (N,)
    if len(gaps) < 2:
        raise ValueError("an interval needs at least two answers")
    half = 1.96 * float(gaps.std() / len(gaps) ** 0.5)
    return 100 * float(gaps.mean()), 100 * half


def fit_temperature(predictions) -> float:
    """The temperature that gives these predictions the lowest mean loss.

    Fit it on validation predictions, then call `with_temperature` on those of the
    test set (Guo et al. 2017, section 4.2). The search is bounded to 0.05 … 20.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return predictions.with_temperature(math.exp(log_temperature)).mean_loss

    bounds = (math.log(0.05), math.log(20.0))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return math.exp(found.x)


def auroc(inside, outside) -> tuple[float, float, float]:
    """How well a score tells `inside` from `outside`: (area, low, high) as fractions.

    The area under the ROC curve is the probability that the score of an image from
    inside is above that of one from outside, a tie counting half: 0.5 by chance, 1 if
    the two do not overlap. The 95 % interval is that of DeLong et al. 1988, "Comparing
    the Areas under Two or More Correlated Receiver Operating Characteristic Curves".
    Raises ValueError for fewer than two scores on a side, or scores that are NaN.
    """
    inside, outside = (np.asarray(scores, dtype=float) for scores in (inside, outside))
    if min(inside.size, outside.size) < 2 or (inside.ndim, outside.ndim) != (1, 1):
        raise ValueError("give two lists of scores, at least two in each")
    if np.isnan(inside).any() or np.isnan(outside).any():
        raise ValueError("a score is NaN")

    def share_below(scores, others):  # of the others, for each score
        others = np.sort(others)
        below = np.searchsorted(others, scores, "left")
        return (below + np.searchsorted(others, scores, "right")) / (2 * len(others))

    wins = share_below(inside, outside)  # (inside,)
    losses = 1 - share_below(outside, inside)  # (outside,)
    area = float(wins.mean())
    variance = wins.var(ddof=1) / len(inside) + losses.var(ddof=1) / len(outside)
    half = 1.96 * float(np.sqrt(variance))
    return area, max(0.0, area - half), min(1.0, area + half)
