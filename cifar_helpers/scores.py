"""What the probabilities say beyond the first answer, and how sure a score is.

Top-k, one class against the rest, proper scores and their parts, selective answering;
`bootstrap` gives any of them an interval, `images_needed` says how many images a claim
about two networks takes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from cifar_helpers.evaluation import Predictions
from cifar_helpers.model import whole_number


def top_k_correct(predictions: Predictions, k: int) -> Tensor:
    """Whether the true class is among the k most probable ones, (N,) bool.

    Of equal probabilities the class with the lower number comes first, as in
    `Predictions.predicted`.
    """
    k = whole_number("k", k)
    values, labels = predictions.log_probabilities, predictions.labels[:, None]
    own = values.gather(1, labels)  # (N, 1)
    earlier = torch.arange(values.shape[1]) < labels  # (N, K)
    ahead = (values > own) | ((values == own) & earlier)  # (N, K)
    return ahead.sum(dim=1) < k


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """One class against the rest, for every threshold on its probability.

    Point m calls all images "yes" whose probability is at least `threshold[m]`; the
    first point calls none, the last all. Probabilities are to be compared in float64,
    `np.exp(log_probabilities.double().numpy())`: in float32 close ones are the same.
    Rates and precision are fractions.
    """

    threshold: np.ndarray  # (M,) falling, the first infinite
    found: np.ndarray  # (M,) recall, true positive rate
    false_alarms: np.ndarray  # (M,) false positive rate
    precision: np.ndarray  # (M,) 1 where nothing is called
    share: float  # of the class among all images
    roc_area: float  # chance gives 0.5
    average_precision: float  # chance gives `share`


def one_against_rest(predictions: Predictions, index: int) -> ThresholdCurve:
    """ROC and precision-recall curve of class `index`.

    The area under the ROC curve is the probability that a random image of the class
    gets a higher probability than a random other one (Hanley & McNeil 1982); average
    precision is the sum of precision over the steps of recall, without interpolation.
    ValueError if all images or none are of the class.
    """
    is_class = (predictions.labels == index).numpy()
    if not 0 < is_class.sum() < len(is_class):
        raise ValueError(f"need images of class {index} and of others")
    score = predictions.log_probabilities[:, index].numpy()
    order = np.argsort(-score, kind="stable")
    score, is_class = score[order], is_class[order]
    last = np.append(score[1:] != score[:-1], True)  # the last of equal scores
    yes = np.append(0, np.cumsum(is_class)[last])  # (M,) images of the class
    no = np.append(0, np.cumsum(~is_class)[last])  # (M,) others
    found, false_alarms = yes / yes[-1], no / no[-1]
    precision = np.where(yes + no > 0, yes / np.maximum(yes + no, 1), 1.0)
    return ThresholdCurve(
        threshold=np.append(np.inf, np.exp(score[last].astype(float))),
        found=found,
        false_alarms=false_alarms,
        precision=precision,
        share=float(is_class.mean()),
        roc_area=float(np.trapezoid(found, false_alarms)),
        average_precision=float((np.diff(found) * precision[1:]).sum()),
    )


def log_losses(predictions: Predictions) -> Tensor:
    """Negative log-probability of the true class, (N,) float64, in nats."""
    rows = predictions.log_probabilities.double()
    return -rows.gather(1, predictions.labels[:, None])[:, 0]


def brier_scores(predictions: Predictions) -> Tensor:
    """Squared distance of the probabilities from the truth, (N,) float64, 0 to 2.

    Summed over the classes, as by Brier 1950, "Verification of Forecasts Expressed in
    Terms of Probability".
    """
    truth = torch.nn.functional.one_hot(
        predictions.labels, len(predictions.classes)
    ).double()
    return (predictions.probabilities.double() - truth).square().sum(dim=1)


@dataclass(frozen=True)
class BrierParts:
    """score = reliability - resolution + uncertainty + within_bins."""

    score: float
    reliability: float  # squared gap of probability and frequency; 0 is best
    resolution: float  # how far frequencies depart from the base rate; high is best
    uncertainty: float  # score of the base rates, whatever the network
    within_bins: float  # what equal treatment of a bin's probabilities leaves out


def brier_parts(predictions: Predictions, bins: int = 15) -> BrierParts:
    """The mean Brier score, taken apart class by class in equal bins of probability.

    Source: Murphy 1973, "A New Vector Partition of the Probability Score"; the term
    for probabilities that differ within a bin is that of Stephenson et al. 2008, "Two
    Extra Components in the Brier Score Decomposition". With few images a bin both
    reliability and resolution come out too large.
    """
    bins = whole_number("bins", bins)
    said = predictions.probabilities.double()  # (N, K)
    images, classes = said.shape
    truth = torch.nn.functional.one_hot(predictions.labels, classes).double()
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    place = torch.bucketize(said, edges[1:-1]) + bins * torch.arange(classes)

    def sums(values: Tensor) -> Tensor:
        return torch.bincount(place.flatten(), values.flatten(), classes * bins)

    count = sums(torch.ones_like(said)).clamp(min=1)  # (K * bins,)
    mean_said, mean_truth = sums(said) / count, sums(truth) / count
    weight = sums(torch.ones_like(said)) / images
    base = truth.mean(dim=0)  # (K,)
    off_said, off_truth = said - mean_said[place], truth - mean_truth[place]
    return BrierParts(
        score=float((said - truth).square().sum() / images),
        reliability=float((weight * (mean_said - mean_truth).square()).sum()),
        resolution=float(
            (weight * (mean_truth - base.repeat_interleave(bins)).square()).sum()
        ),
        uncertainty=float((base * (1 - base)).sum()),
        within_bins=float(
            (off_said.square() - 2 * off_said * off_truth).sum() / images
        ),
    )


def answered_first(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Answer only the most confident images: (coverage, error), (N,) each, fractions.

    Entry m: the m + 1 most confident images are answered. Source: El-Yaniv & Wiener
    2010, "On the Foundations of Noise-free Selective Classification". Equal confidences
    keep the order of the images.
    """
    order = predictions.confidence.argsort(descending=True, stable=True)
    wrong = (~predictions.correct)[order].numpy()
    answered = np.arange(1, len(wrong) + 1)
    return answered / len(wrong), np.cumsum(wrong) / answered


def risk_area_percent(predictions: Predictions) -> float:
    """Mean error over all coverages, in percent: lower is better.

    The area under the risk-coverage curve (Geifman, Uziel & El-Yaniv 2019,
    "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers"). If confidence
    said nothing it would be the network's error; a network without mistakes has 0.
    """
    return 100 * float(answered_first(predictions)[1].mean())


def bootstrap(
    measure: Callable[..., float],
    *predictions: Predictions,
    draws: int = 500,
    seed: int = 0,
) -> tuple[float, float, float]:
    """(value, low, high): `measure(*predictions)` and its 95 % interval.

    The images are drawn again with replacement, the same for all `predictions`, so that
    a difference of two networks is a paired one; the interval holds the middle 95 % of
    what the measure gives (Efron 1979, "Bootstrap Methods"). ValueError if the
    predictions are not about the same images.
    """
    draws = whole_number("draws", draws)
    labels = [each.labels for each in predictions]
    if not labels or not all(torch.equal(labels[0], other) for other in labels):
        raise ValueError("pass predictions for the same images")
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(draws):
        drawn = torch.randint(len(labels[0]), (len(labels[0]),), generator=generator)
        again = (
            replace(
                each,
                log_probabilities=each.log_probabilities[drawn],
                labels=each.labels[drawn],
            )
            for each in predictions
        )
        values.append(float(measure(*again)))
    low, high = np.quantile(values, (0.025, 0.975))
    return float(measure(*predictions)), float(low), float(high)


def images_needed(
    difference: float, disagreement: float, power: float = 0.8, level: float = 0.05
) -> int:
    """How many test images show that one network is better, judged on the same images.

    `difference` of the accuracies and `disagreement` (share of images on which exactly
    one is right), both in percentage points; McNemar's test at `level` finds it with
    probability `power`. Source: Connor 1987, "Sample Size for Testing Differences in
    Proportions for the Paired-Sample Design". ValueError for impossible values.
    """
    if not 0 < difference <= disagreement <= 100:
        raise ValueError(
            "need 0 < difference <= disagreement <= 100 points, got "
            f"{difference} and {disagreement}"
        )
    if not (0 < level < 1 and 0.5 <= power < 1):
        raise ValueError(f"need 0.5 <= power < 1 and 0 < level < 1, got {power, level}")
    gap, differ = difference / 100, disagreement / 100
    z_level, z_power = NormalDist().inv_cdf(1 - level / 2), NormalDist().inv_cdf(power)
    root = z_level * math.sqrt(differ) + z_power * math.sqrt(differ - gap**2)
    return math.ceil((root / gap) ** 2)
