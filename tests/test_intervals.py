"""Intervals and tests agree with SciPy's, or with simulated draws."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from cifar_helpers.intervals import (
    mcnemar,
    mean_interval,
    paired_interval,
    pooled_intervals,
    t_quantile,
    unpaired_interval,
    welch_interval,
    wilson_interval,
    wilson_limits,
)

FIRST, SECOND = [88.05, 87.64, 88.15], [87.67, 86.95, 87.3, 87.1]


@pytest.mark.parametrize(
    "freedom, quantile", [(1, 12.706), (2, 4.303), (6, 2.447), (29, 2.045)]
)
def test_quantile_is_that_of_the_printed_tables(freedom, quantile):
    assert t_quantile(freedom) == pytest.approx(quantile, abs=5e-4)


def test_no_spread_can_be_told_from_one_run():
    with pytest.raises(ValueError, match="degree of freedom"):
        t_quantile(0)


@pytest.mark.parametrize("runs", [FIRST, SECOND, [1.0, 3.0]])
def test_mean_interval_is_scipys(runs):
    middle, half = mean_interval(runs)
    low, high = stats.t.interval(0.95, len(runs) - 1, np.mean(runs), stats.sem(runs))
    assert (middle - half, middle + half) == pytest.approx((low, high))


def test_welch_interval_is_scipys():
    difference, half = welch_interval(FIRST, SECOND)
    expected = stats.ttest_ind(FIRST, SECOND, equal_var=False).confidence_interval()
    interval = (expected.low, expected.high)
    assert (difference - half, difference + half) == pytest.approx(interval)
    assert welch_interval([1.0, 1.0], [2.0, 2.0]) == (-1.0, 0.0)


def test_pooled_intervals_have_the_spread_within_the_groups():
    """The residual variance of a one-way analysis of variance."""
    groups = [FIRST, SECOND, [80.0, 81.0]]
    intervals, spread = pooled_intervals(groups)
    residuals = np.concatenate([np.array(g) - np.mean(g) for g in groups])
    assert spread == pytest.approx(np.sqrt((residuals**2).sum() / (9 - 3)))
    for (middle, half), runs in zip(intervals, groups, strict=True):
        expected = stats.t.interval(0.95, 6, np.mean(runs), spread / len(runs) ** 0.5)
        assert (middle - half, middle + half) == pytest.approx(expected)


def test_wilson_interval_solves_its_equation():
    low, high = wilson_interval(8650, 10_000)
    for bound in (low / 100, high / 100):  # the bound is z deviations from the share
        deviation = math.sqrt(bound * (1 - bound) / 10_000)
        assert abs(0.865 - bound) == pytest.approx(1.96 * deviation, rel=1e-6)
    assert low < 86.5 < high
    assert (high - low) / 2 == pytest.approx(0.67, abs=0.005)


def test_wilson_interval_takes_numpys_counts():
    """Small integer types would overflow when squared."""
    expected = wilson_interval(200, 250)
    assert wilson_interval(np.uint8(200), np.uint8(250)) == expected
    expected = wilson_interval(44_075, 50_000)
    counts = np.int32(44_075), np.int32(50_000)
    assert wilson_interval(*counts) == expected
    with pytest.raises(TypeError):
        wilson_interval(7.5, 10)


def test_wilson_interval_at_the_ends():
    assert wilson_interval(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert wilson_interval(10, 10)[1] == pytest.approx(100)
    for wrong in [(5, 0), (-1, 10), (11, 10)]:
        with pytest.raises(ValueError, match="need 0 <= correct <= total"):
            wilson_interval(*wrong)
    with pytest.raises(ValueError, match="z must be above 0"):
        wilson_interval(5, 10, z=0)


def test_wilson_interval_is_scipys():
    for correct, total in [(8803, 10_000), (3, 7), (10, 10)]:
        expected = stats.binomtest(correct, total).proportion_ci(method="wilson")
        expected = (100 * expected.low, 100 * expected.high)
        assert wilson_interval(correct, total) == pytest.approx(expected, abs=2e-3)


def draw_pair(images: int, seed: int):
    """Two networks that agree often, the first a little better."""
    random = np.random.default_rng(seed)
    hard = random.random(images)
    first, second = hard + 0.1 * random.random((2, images))
    return first < 0.92, second < 0.9


def test_paired_interval_is_that_of_a_bootstrap():
    first, second = draw_pair(10_000, seed=0)
    difference, low, high = paired_interval(first, second)
    assert difference == pytest.approx(100 * (first.mean() - second.mean()))
    random = np.random.default_rng(1)
    draws = random.integers(10_000, size=(2_000, 10_000))
    differences = 100 * (first[draws].mean(axis=1) - second[draws].mean(axis=1))
    expected = np.percentile(differences, (2.5, 97.5))
    assert (low, high) == pytest.approx(tuple(expected), abs=0.06)
    swapped = paired_interval(second, first)
    assert swapped == pytest.approx((-difference, -high, -low))


def test_paired_interval_covers_the_truth():
    """In 95 of 100 draws, here for 400 images."""
    first, second = draw_pair(1_000_000, seed=2)
    truth = 100 * (first.mean() - second.mean())
    draws = [draw_pair(400, seed=10 + n) for n in range(600)]
    intervals = [paired_interval(*pair) for pair in draws]
    covered = [low <= truth <= high for _, low, high in intervals]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_mcnemar_is_the_binomial_test_of_the_disagreements():
    first, second = draw_pair(1_000, seed=3)
    gained, lost = (first & ~second).sum(), (second & ~first).sum()
    tail = stats.binom.cdf(min(gained, lost), gained + lost, 0.5)
    assert mcnemar(first, second) == pytest.approx(min(1, 2 * tail))
    assert mcnemar(first, first) == 1.0
    assert mcnemar([1, 1, 1, 0], [0, 0, 0, 0]) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 0], [1], "the same images"),
        ([], [], "at least one"),
        ([0.5], [1], "one True or False per image"),
        ([[1]], [[1]], "one True or False per image"),
    ],
)
def test_what_is_no_pair_of_judgements_is_refused(first, second, message):
    for judge in (paired_interval, mcnemar):
        with pytest.raises(ValueError, match=message):
            judge(first, second)


@pytest.mark.parametrize("as_type", [np.array, np.float32, torch.tensor, tuple])
def test_runs_may_be_whole_numbers_of_any_kind(as_type):
    first, second = as_type([80, 83]), as_type([80, 82, 85])
    assert mean_interval(first)[0] == 81.5
    assert welch_interval(first, second)[0] == pytest.approx(81.5 - 247 / 3)
    (middle, _), (other, _) = pooled_intervals([first, second])[0]
    assert (middle, other) == pytest.approx((81.5, 247 / 3))


@pytest.mark.parametrize("runs", [[80.0], [80.0, math.nan], [math.inf, 1.0], [[1, 2]]])
def test_what_is_no_sample_of_runs_is_refused(runs):
    for interval in (mean_interval, lambda r: welch_interval(r, FIRST)):
        with pytest.raises(ValueError, match="a finite number for each of 2 runs"):
            interval(runs)
    with pytest.raises(ValueError, match="a finite number for each of 2 runs"):
        pooled_intervals([FIRST, runs])


def test_unpaired_interval_by_hand():
    """Half of 50 images, twice: an error of sqrt(2 / 4 / 50), or 10 points."""
    assert unpaired_interval(50, 50, 50) == pytest.approx((0, 19.6))
    difference, half = unpaired_interval([50, 90], [50, 80], 50)
    error = 100 * math.sqrt(0.9 * 0.1 / 50 + 0.8 * 0.2 / 50)
    assert difference == pytest.approx([0, 10])
    assert half == pytest.approx([19.6, 1.96 * error])


def test_unpaired_interval_covers_the_truth():
    """In about 95 of 100 draws of 400 images from two known shares."""
    draw = np.random.default_rng(0)
    first, second = (100 * draw.binomial(400, p, 4000) / 400 for p in (0.9, 0.8))
    difference, half = unpaired_interval(first, second, 400)
    assert np.mean(abs(difference - 10) <= half) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(
    "first, second, total, message",
    [
        (101, 50, 10, "0 to 100"),
        (50, -1, 10, "0 to 100"),
        ([50, math.nan], 50, 10, "0 to 100"),
        (50, 50, 0, "1 image"),
    ],
)
def test_unpaired_interval_refuses_what_is_no_accuracy(first, second, total, message):
    with pytest.raises(ValueError, match=message):
        unpaired_interval(first, second, total)


def test_paired_interval_ends_where_accuracies_do():
    right, wrong = np.ones(3), np.zeros(3)
    assert paired_interval(right, wrong)[2] == 100
    assert paired_interval(wrong, right)[1] == -100


def test_limits_of_many_shares_are_scipys():
    correct, counts = np.array([0, 3, 57, 999]), np.array([1, 7, 99, 1000])
    tests = [stats.binomtest(*pair) for pair in zip(correct, counts, strict=True)]
    expected = [test.proportion_ci(method="wilson") for test in tests]
    limits = wilson_limits(100 * correct / counts, counts)
    assert limits == pytest.approx(100 * np.array(expected).T, abs=1e-2)
    assert wilson_limits([], []).shape == (2, 0)


def test_paired_interval_of_ten_images_by_hand():
    """Bonett & Price 2012: one image more on either side, two more in all."""
    first = [1, 1, 1, 0, 1, 1, 1, 1, 0, 0]
    second = [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]
    gained, lost = 4 / 12, 2 / 12
    half = 1.96 * math.sqrt((gained + lost - (gained - lost) ** 2) / 12)
    expected = 20, 100 * (1 / 6 - half), 100 * (1 / 6 + half)
    assert paired_interval(first, second) == pytest.approx(expected)
