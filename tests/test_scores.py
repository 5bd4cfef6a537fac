"""Scores of probabilities, against scikit-learn, SciPy and direct calculations."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from cifar_helpers import scores
from cifar_helpers.evaluation import Predictions


def some_predictions(images=400, classes=4, digits=None, seed=0):
    """Random answers that know a little; `digits` rounds them, which makes ties."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += 1.2
    if digits is not None:
        logits = logits.round(decimals=digits)
    names = tuple("abcdefgh"[:classes])
    return Predictions(logits.log_softmax(1), labels, names)


PREDICTIONS, TIED = some_predictions(), some_predictions(digits=0, seed=1)
both = pytest.mark.parametrize("predictions", [PREDICTIONS, TIED], ids=["", "tied"])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_is_scikit_learns(k):
    expected = metrics.top_k_accuracy_score(
        PREDICTIONS.labels, PREDICTIONS.probabilities, k=k
    )
    found = scores.top_k_correct(PREDICTIONS, k)
    assert found.dtype == torch.bool and found.shape == (400,)
    assert found.double().mean() == pytest.approx(expected)


@both
def test_top_one_is_the_predicted_class_ties_included(predictions):
    assert scores.top_k_correct(predictions, 1).equal(predictions.correct)
    assert scores.top_k_correct(predictions, 4).all()
    with pytest.raises(ValueError, match="k must be at least 1"):
        scores.top_k_correct(predictions, 0)


@both
@pytest.mark.parametrize("index", [0, 3])
def test_curves_and_areas_are_scikit_learns(predictions, index):
    curve = scores.one_against_rest(predictions, index)
    truth = (predictions.labels == index).numpy()
    score = predictions.log_probabilities[:, index].numpy()
    false_alarms, found, thresholds = metrics.roc_curve(
        truth, score, drop_intermediate=False
    )
    np.testing.assert_allclose(curve.false_alarms, false_alarms)
    np.testing.assert_allclose(curve.found, found)
    np.testing.assert_allclose(curve.threshold[1:], np.exp(thresholds[1:]), rtol=1e-6)
    probability = np.exp(score.astype(float))
    called = (probability >= curve.threshold[:, None]).sum(axis=1)
    yes = curve.found * truth.sum() + curve.false_alarms * (~truth).sum()
    np.testing.assert_allclose(called, yes)
    precision, recall, _ = metrics.precision_recall_curve(truth, score)
    np.testing.assert_allclose(curve.precision[::-1], precision)
    np.testing.assert_allclose(curve.found[::-1], recall)
    assert curve.roc_area == pytest.approx(metrics.roc_auc_score(truth, score))
    average = metrics.average_precision_score(truth, score)
    assert curve.average_precision == pytest.approx(average)
    assert curve.share == truth.mean()


def test_roc_area_is_the_chance_to_rank_a_pair_rightly():
    truth = (TIED.labels == 2).numpy()
    score = TIED.log_probabilities[:, 2].numpy()
    wins = stats.mannwhitneyu(score[truth], score[~truth]).statistic
    expected = wins / (truth.sum() * (~truth).sum())
    assert scores.one_against_rest(TIED, 2).roc_area == pytest.approx(expected)


def test_a_curve_needs_images_of_both_kinds():
    only = Predictions(
        PREDICTIONS.log_probabilities[:3], torch.tensor([1, 1, 1]), (*"abcd",)
    )
    for index in (0, 1):
        with pytest.raises(ValueError, match="images of class .* and of others"):
            scores.one_against_rest(only, index)


def test_log_loss_and_brier_score_are_scikit_learns():
    labels, said = PREDICTIONS.labels, PREDICTIONS.probabilities.double()
    said = said / said.sum(1, keepdim=True)
    losses = scores.log_losses(PREDICTIONS)
    assert losses.mean() == pytest.approx(metrics.log_loss(labels, said), rel=1e-6)
    assert losses.mean() == pytest.approx(PREDICTIONS.mean_loss)
    each = sum(
        metrics.brier_score_loss(labels == k, said[:, k], pos_label=1) for k in range(4)
    )
    assert scores.brier_scores(PREDICTIONS).mean() == pytest.approx(each, rel=1e-6)


def test_brier_score_at_the_ends():
    sure = torch.tensor([[0.0, -80.0, -80.0]]).repeat(2, 1)
    found = scores.brier_scores(Predictions(sure, torch.tensor([0, 1]), (*"abc",)))
    assert found.tolist() == pytest.approx([0, 2])


@both
@pytest.mark.parametrize("bins", [1, 3, 15])
def test_brier_parts_by_loops_and_their_sum(predictions, bins):
    said, labels = (
        predictions.probabilities.double().numpy(),
        predictions.labels.numpy(),
    )
    reliability = resolution = uncertainty = 0.0
    for k in range(4):
        truth = labels == k
        uncertainty += truth.mean() * (1 - truth.mean())
        place = np.ceil(said[:, k] * bins - 1e-12).clip(1)
        for m in np.unique(place):
            here = place == m
            gap = said[here, k].mean() - truth[here].mean()
            reliability += here.mean() * gap**2
            resolution += here.mean() * (truth[here].mean() - truth.mean()) ** 2
    parts = scores.brier_parts(predictions, bins)
    assert parts.reliability == pytest.approx(reliability)
    assert parts.resolution == pytest.approx(resolution)
    assert parts.uncertainty == pytest.approx(uncertainty)
    assert parts.score == pytest.approx(float(scores.brier_scores(predictions).mean()))
    total = parts.reliability - parts.resolution + parts.uncertainty
    assert parts.score == pytest.approx(total + parts.within_bins)


def test_brier_parts_of_forecasts_that_are_known():
    """Base rates: no reliability gap, no resolution. One bin: no resolution either."""
    labels = torch.arange(4).repeat(50)
    flat = Predictions(torch.full((200, 4), math.log(0.25)), labels, (*"abcd",))
    parts = scores.brier_parts(flat)
    assert parts.reliability == pytest.approx(0, abs=1e-12)
    assert parts.resolution == pytest.approx(0, abs=1e-12)
    assert parts.score == pytest.approx(0.75) == pytest.approx(parts.uncertainty)
    assert scores.brier_parts(PREDICTIONS, 1).resolution == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="bins must be at least 1"):
        scores.brier_parts(flat, bins=0)


def test_answered_first_by_a_loop():
    coverage, error = scores.answered_first(PREDICTIONS)
    pairs = sorted(
        zip(
            (-PREDICTIONS.confidence).tolist(),
            PREDICTIONS.correct.tolist(),
            strict=True,
        )
    )
    wrong = 0
    for m, (_, right) in enumerate(pairs):
        wrong += not right
        assert coverage[m] == pytest.approx((m + 1) / 400)
        assert error[m] == pytest.approx(wrong / (m + 1))
    assert error[-1] == pytest.approx(1 - PREDICTIONS.accuracy_percent / 100)


def test_risk_area_of_three_images():
    confident = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]).log()
    right_wrong_right = Predictions(confident, torch.tensor([0, 1, 0]), ("a", "b"))
    expected = 100 * (0 + 1 / 2 + 1 / 3) / 3
    assert scores.risk_area_percent(right_wrong_right) == pytest.approx(expected)
    none_wrong = Predictions(confident, torch.tensor([0, 0, 0]), ("a", "b"))
    assert scores.risk_area_percent(none_wrong) == 0


def test_bootstrap_of_an_accuracy_is_as_wide_as_the_normal_interval():
    value, low, high = scores.bootstrap(
        lambda p: p.accuracy_percent, PREDICTIONS, draws=2000
    )
    share = value / 100
    half = 196 * math.sqrt(share * (1 - share) / 400)
    assert value == PREDICTIONS.accuracy_percent
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.5)


def test_bootstrap_pairs_the_images():
    """The difference of a network to itself has no spread."""
    other = Predictions(PREDICTIONS.log_probabilities, PREDICTIONS.labels, (*"abcd",))

    def lead(first, second):
        return first.accuracy_percent - second.accuracy_percent

    assert scores.bootstrap(lead, PREDICTIONS, other, draws=50) == (0, 0, 0)
    first, again, another = (
        scores.bootstrap(lambda p: p.accuracy_percent, PREDICTIONS, draws=9, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again != another
    for wrong in [(PREDICTIONS, TIED), (PREDICTIONS, some_predictions(50)), ()]:
        with pytest.raises(ValueError, match="the same images"):
            scores.bootstrap(lead, *wrong)


@pytest.mark.parametrize(("difference", "disagreement"), [(2, 10), (1.5, 5), (3, 20)])
def test_so_many_images_find_the_difference_so_often(difference, disagreement):
    """4,000 test sets of that size: McNemar's test sees it in 80 % of them."""
    images = scores.images_needed(difference, disagreement)
    chance = np.random.default_rng(0)
    gained = (disagreement + difference) / 200
    lost = (disagreement - difference) / 200
    drawn = chance.multinomial(images, (gained, lost, 1 - gained - lost), 4000)
    up, down = drawn[:, 0], drawn[:, 1]
    p = 2 * stats.binom.cdf(np.minimum(up, down), up + down, 0.5)  # exact McNemar
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.04)


def test_images_needed_by_hand_and_its_limits():
    # Connor 1987, worked out for 2 points among 10 points of disagreement
    root = 1.959964 * 0.1**0.5 + 0.841621 * (0.1 - 0.02**2) ** 0.5
    assert scores.images_needed(2, 10) == math.ceil((root / 0.02) ** 2)
    assert scores.images_needed(1, 10) > 3.9 * scores.images_needed(2, 10)
    assert scores.images_needed(2, 10, power=0.9) > scores.images_needed(2, 10)
    for wrong in [(0, 10), (11, 10), (-1, 10), (1, 101)]:
        with pytest.raises(ValueError, match="0 < difference <= disagreement"):
            scores.images_needed(*wrong)
    for options in ({"power": 1}, {"power": 0.4}, {"level": 0}, {"level": 1}):
        with pytest.raises(ValueError, match="power"):
            scores.images_needed(2, 10, **options)
