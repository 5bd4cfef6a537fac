"""The intervals over seeds agree with SciPy's."""

import numpy as np
import pytest
from scipy import stats

from tests.intervals import (
    mean_interval,
    pooled_intervals,
    t_quantile,
    welch_interval,
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
