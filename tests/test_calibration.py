"""Calibration against plain loops, scikit-learn and known distributions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from stand_ins import half_right

from cifar_helpers import calibration
from cifar_helpers.calibration import Claims
from cifar_helpers.evaluation import Predictions


@pytest.fixture(scope="module")
def predictions():
    return half_right()


def certain(predicted, labels, confidence):
    """Predictions of three classes with the given classes and confidences."""
    rows = torch.empty(len(labels), 3)
    for row, index, value in zip(rows, predicted, confidence, strict=True):
        row[:] = (1 - value) / 2
        row[index] = value
    return Predictions(rows.log(), torch.tensor(labels), ("a", "b", "c"))


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_agrees_with_a_loop(predictions, bins):
    members = [[] for _ in range(bins)]
    confidences = predictions.confidence.double().tolist()
    for confidence, correct in zip(confidences, predictions.correct, strict=True):
        place = next(m for m in range(bins) if confidence <= (m + 1) / bins)
        members[place].append((confidence, bool(correct)))
    error = 0.0
    result = calibration.calibration(predictions, bins)
    for index, group in enumerate(members):
        assert result.count[index] == len(group)
        if not group:
            assert math.isnan(result.accuracy[index])
            continue
        confidence = sum(c for c, _ in group) / len(group)
        accuracy = sum(right for _, right in group) / len(group)
        assert result.confidence[index] == pytest.approx(confidence)
        assert result.accuracy[index] == pytest.approx(accuracy)
        error += len(group) / 300 * abs(accuracy - confidence)
    found = result.expected_calibration_error_percent
    assert found == pytest.approx(100 * error)
    assert result.bin_edges.tolist() == pytest.approx(
        [m / bins for m in range(bins + 1)]
    )


def test_calibration_of_four_images():
    predictions = certain([0, 0, 0, 0], [0, 0, 1, 0], [0.9, 0.9, 0.9, 0.6])
    result = calibration.calibration(predictions, bins=2)
    assert result.count.tolist() == [0, 4]
    error = abs(0.75 - 0.825)
    assert result.expected_calibration_error_percent == pytest.approx(100 * error)
    with pytest.raises(ValueError, match="bins must be at least 1"):
        calibration.calibration(predictions, bins=0)
    with pytest.raises(TypeError, match="bins must be a whole number, not '15'"):
        calibration.calibration(predictions, bins="15")


def test_temperature_finds_back_what_was_done(predictions):
    base = calibration.fit_temperature(predictions)
    sharper = predictions.with_temperature(0.25)
    assert calibration.fit_temperature(sharper) == pytest.approx(4 * base, rel=1e-3)
    losses = [predictions.with_temperature(base * f).mean_loss for f in (0.95, 1.05)]
    assert predictions.with_temperature(base).mean_loss < min(losses)


@pytest.mark.parametrize("bins", [1, 7, 15, 300])
def test_adaptive_bins_hold_equally_many(predictions, bins):
    result = calibration.calibration(predictions, bins, adaptive=True)
    order = np.argsort(predictions.confidence.numpy(), kind="stable")
    confidence = predictions.confidence.double().numpy()[order]
    correct = predictions.correct.numpy()[order]
    parts = np.array_split(np.arange(300), bins)
    assert result.count.tolist() == [len(part) for part in parts]
    gaps = [abs(correct[p].mean() - confidence[p].mean()) * len(p) for p in parts]
    error = 100 * sum(gaps) / 300
    assert result.expected_calibration_error_percent == pytest.approx(error)
    tops = [confidence[part].max() for part in parts]
    assert result.bin_edges[1:-1].tolist() == pytest.approx(tops[:-1])
    assert result.bin_edges[[0, -1]].tolist() == [0, 1]


def test_more_adaptive_bins_than_answers_leaves_some_empty():
    result = calibration.calibration(Claims([0.5, 0.9], [1, 0]), 4, adaptive=True)
    assert result.count.tolist() == [1, 1, 0, 0]
    error = 100 * (0.5 + 0.9) / 2
    assert result.expected_calibration_error_percent == pytest.approx(error)
    assert result.bin_edges.tolist() == pytest.approx([0, 0.5, 0.9, 0.9, 1])


def test_floor_in_one_bin_is_that_of_a_binomial_count():
    """One bin of N images at confidence p: |right - N p| / N, right from a binomial."""
    claims = Claims(torch.full((400,), 0.8), torch.ones(400))
    errors = calibration.chance_errors(claims, bins=1, draws=2000)
    counts = np.arange(401)
    expected = stats.binom(400, 0.8).pmf(counts) @ (np.abs(counts - 320) / 4)
    assert errors.mean() == pytest.approx(expected, rel=0.05)
    assert (np.diff(errors) >= 0).all() and len(errors) == 2000


@pytest.mark.parametrize("adaptive", [False, True])
def test_floor_is_the_error_of_one_that_is_calibrated(adaptive):
    """Drawn as the floor assumes: its own error lies among the simulated ones."""
    confidence = torch.rand(3000, generator=torch.Generator().manual_seed(5)) / 2 + 0.5
    draw = torch.rand(3000, generator=torch.Generator().manual_seed(6))
    claims = Claims(confidence, draw < confidence)
    result = calibration.calibration(claims, 15, adaptive)
    errors = calibration.chance_errors(claims, 15, adaptive)
    own = result.expected_calibration_error_percent
    assert np.quantile(errors, 0.001) < own < np.quantile(errors, 0.999)
    overconfident = Claims(confidence, draw < confidence - 0.1)
    result = calibration.calibration(overconfident, 15, adaptive)
    assert result.expected_calibration_error_percent > 2 * errors.max()


def test_floor_is_the_same_for_the_same_seed():
    claims = Claims([0.6, 0.7, 0.8], [True, False, True])
    first = calibration.chance_errors(claims, draws=5, seed=1)
    assert first.tolist() == calibration.chance_errors(claims, draws=5, seed=1).tolist()
    assert first.tolist() != calibration.chance_errors(claims, draws=5, seed=2).tolist()
    with pytest.raises(ValueError, match="draws must be at least 1"):
        calibration.chance_errors(claims, draws=0)


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.5, 0.6], [True], r"\(2,\) and \(1,\)"),
        ([], [], "no claims"),
        ([80.0], [True], "not per cent"),
        ([-0.1], [True], "between 0 and 1"),
        ([float("nan")], [True], "between 0 and 1"),
        ([[0.5]], [[True]], "one confidence and one True or False"),
    ],
)
def test_wrong_claims(confidence, correct, message):
    with pytest.raises(ValueError, match=message):
        Claims(confidence, correct)


def test_temperature_is_where_the_gradient_vanishes(predictions):
    """By Newton's method on the inverse temperature, an independent search."""
    z = predictions.log_probabilities.double()
    true = z.gather(1, predictions.labels[:, None])[:, 0]
    inverse = 1.0
    for _ in range(50):
        p = (inverse * z).softmax(1)
        mean = (p * z).sum(1)
        slope = (mean - true).mean()
        curvature = ((p * z**2).sum(1) - mean**2).mean()
        inverse -= float(slope / curvature)
    found = calibration.fit_temperature(predictions)
    assert found == pytest.approx(1 / inverse, rel=1e-3)


def test_overconfidence_and_its_interval(predictions):
    gaps = [
        100 * (c - r)
        for c, r in zip(
            predictions.confidence.tolist(), predictions.correct.tolist(), strict=True
        )
    ]
    points, half = calibration.overconfidence(predictions)
    assert points == pytest.approx(np.mean(gaps), rel=1e-5)
    low, high = stats.norm.interval(0.95, np.mean(gaps), stats.sem(gaps))
    assert half == pytest.approx((high - low) / 2, rel=1e-4)
    with pytest.raises(ValueError, match="at least two"):
        calibration.overconfidence(Claims([0.5], [True]))


# AUROC


def test_auroc_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    inside = generator.normal(1, 1, 200).round(1)  # with ties
    outside = generator.normal(0, 2, 90).round(1)
    area, low, high = calibration.auroc(inside, outside)
    labels = [1] * 200 + [0] * 90
    expected = roc_auc_score(labels, np.concatenate([inside, outside]))
    assert area == pytest.approx(expected) and low < area < high
    assert calibration.auroc(outside, inside)[0] == pytest.approx(1 - expected)


def test_auroc_interval_is_as_wide_as_repeated_draws_spread():
    generator = np.random.default_rng(1)
    areas, widths = [], []
    for _ in range(400):
        inside, outside = generator.normal(1, 1, 60), generator.normal(0, 1, 40)
        area, low, high = calibration.auroc(inside, outside)
        areas.append(area)
        widths.append(high - low)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(areas), rel=0.15)


def test_auroc_at_the_ends():
    assert calibration.auroc([3, 4], [1, 2]) == (1, 1, 1)
    assert calibration.auroc([1, 2], [3, 4]) == (0, 0, 0)
    assert calibration.auroc([1, 1], [1, 1])[0] == 0.5
    assert calibration.auroc(torch.tensor([1.0, 2]), torch.tensor([1.5, 0]))[0] == 0.75
    with pytest.raises(ValueError, match="at least two in each"):
        calibration.auroc([1], [1, 2])
    with pytest.raises(ValueError, match="NaN"):
        calibration.auroc([1, np.nan], [1, 2])


@pytest.mark.parametrize("correct", [[3, 0], [0.5, 1.0], [-1, 1]])
def test_an_answer_is_right_or_wrong(correct):
    with pytest.raises(ValueError, match="True or False per answer"):
        Claims([0.5, 0.6], correct)


def test_auroc_interval_is_delongs_for_unequal_groups():
    """From all pairs, for groups of other sizes and spreads."""
    generator = np.random.default_rng(2)
    inside = generator.normal(1, 1, 300).round(1)
    outside = generator.normal(0, 3, 12).round(1)
    wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    parts = wins.mean(1).var(ddof=1) / 300, wins.mean(0).var(ddof=1) / 12
    area, half = wins.mean(), 1.96 * sum(parts) ** 0.5
    expected = area, area - half, min(1, area + half)
    assert calibration.auroc(inside, outside) == pytest.approx(expected)


def test_floor_of_adaptive_bins_is_that_of_their_number():
    """Confidences in one of 15 equal bins: 15 adaptive ones have a root of 15 more."""
    draw = torch.Generator().manual_seed(7)
    claims = Claims(0.81 + 0.04 * torch.rand(3000, generator=draw), torch.ones(3000))
    equal, adaptive = (
        calibration.chance_errors(claims, 15, kind, draws=1000).mean()
        for kind in (False, True)
    )
    assert adaptive / equal == pytest.approx(15**0.5, rel=0.1)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    claims = Claims([0.0, 0.25, 0.5, 0.75, 1.0], [1, 0, 1, 1, 1])
    assert calibration.calibration(claims, 4).count.tolist() == [2, 1, 1, 1]
