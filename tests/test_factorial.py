"""Effects agree with means of halves, with SciPy, and with what was put in."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from cifar_helpers.factorial import (
    compare,
    compare_neighbours,
    fit_effects,
    smallest_visible,
)
from cifar_helpers.intervals import holm

NAMES = ("a", "b", "c", "d")
ON = np.array(list(product((0, 1), repeat=4)))
VALUES = np.array(
    [45, 71, 48, 65, 68, 60, 80, 65, 43, 100, 45, 104, 75, 86, 70, 96], dtype=float
)  # the filtration rates of Montgomery, Design and Analysis of Experiments, ex. 6.2
FACTOR_A_FASTEST = ON[:, ::-1]


def test_a_textbooks_example():
    """Effects printed there: A 21.625, C 9.875, D 14.625, AC -18.125, AD 16.625."""
    fit = fit_effects(NAMES, FACTOR_A_FASTEST, VALUES)
    assert fit.mean == pytest.approx(70.0625)
    for name, effect in (("a", 21.625), ("b", 3.125), ("c", 9.875), ("d", 14.625)):
        assert fit.of(name).points == pytest.approx(effect)
    for pair, effect in (("ac", -18.125), ("ad", 16.625), ("ab", 0.125)):
        # an interaction there is half of what one switch changes in the other's effect
        assert fit.of(*pair).points == pytest.approx(2 * effect)
    assert fit.freedom == 16 - 1 - 4 - 6
    assert [effect.factors for effect in fit.with_factors(1)][:2] == [("a",), ("d",)]
    with pytest.raises(KeyError, match="a × z"):
        fit.of("a", "z")


def test_effects_are_differences_of_means():
    values = np.random.default_rng(0).normal(70, 3, 16)
    fit = fit_effects(NAMES, ON, values)
    for i, name in enumerate(NAMES):
        difference = values[ON[:, i] == 1].mean() - values[ON[:, i] == 0].mean()
        assert fit.of(name).points == pytest.approx(difference)
    cell = {
        (x, y): values[(ON[:, 0] == x) & (ON[:, 2] == y)].mean()
        for x, y in product((0, 1), repeat=2)
    }
    where_on, where_off = cell[1, 1] - cell[0, 1], cell[1, 0] - cell[0, 0]
    assert fit.of("a", "c").points == pytest.approx(where_on - where_off)
    assert fit.of("c", "a") is fit.of("a", "c")


def test_effects_where_all_others_are_on():
    """Against 0/1 coding, in which a coefficient is the effect where others are 0."""
    values = np.random.default_rng(4).normal(70, 3, 16)
    fit = fit_effects(NAMES, ON, values)
    off = 1 - ON  # 1 for off: all others at 0 are on
    pairs = [off[:, i] * off[:, j] for i in range(4) for j in range(i)]
    design = np.stack([np.ones(16), *off.T, *pairs], axis=1)
    coefficients, (squares,), *_ = np.linalg.lstsq(design, values, rcond=None)
    errors = np.sqrt(squares / 5 * np.diag(np.linalg.inv(design.T @ design)))
    for i, effect in enumerate(fit.where_all_on):
        assert effect.factors == (NAMES[i],)
        assert effect.points == pytest.approx(-coefficients[1 + i])
        half = stats.t.ppf(0.975, 5) * errors[1 + i]
        assert effect.half_width == pytest.approx(half)
        without = [int(name != NAMES[i]) for name in NAMES]
        points, half = fit.difference([1, 1, 1, 1], without)
        assert points == pytest.approx(effect.points)
        assert half == pytest.approx(effect.half_width)
    shifted = fit_effects(NAMES, ON, values, blocks=[0, 1, 1, 0] * 4, order=1)
    by_hand = shifted.of("a").points - shifted.of("b").points
    assert shifted.difference([1, 0, 0, 1], [0, 1, 0, 1])[0] == pytest.approx(by_hand)
    alone = fit_effects(NAMES, ON, values, order=1)
    assert alone.where_all_on == alone.effects


@pytest.mark.parametrize("wrong", [[1, 1, 1], [1] * 5, [2, 0, 0, 0]])
def test_a_difference_of_anything_but_combinations_is_refused(wrong):
    fit = fit_effects(NAMES, ON, np.random.default_rng(4).normal(70, 3, 16))
    with pytest.raises(ValueError, match="0 or 1 for each of"):
        fit.difference(wrong, [0] * len(wrong))


def test_what_three_switches_do_together_counts_where_all_others_are_on():
    """Against cells by hand, and 0/1 coding with columns of three; 64 runs suffice."""
    on = np.array(list(product((0, 1), repeat=6)))
    rng, names = np.random.default_rng(5), "abcdef"
    together = on[:, 1] * on[:, 2] * on[:, 4]
    values = 70 + 3 * on[:, 0] - 2 * together + rng.normal(0, 0.5, 64)
    fit = fit_effects(names, on, values)
    assert fit.freedom == 64 - 1 - 6 - 15 - 20
    cell = {
        key: values[(on[:, [1, 2, 4]] == key).all(axis=1)].mean()
        for key in product((0, 1), repeat=3)
    }
    pair = [
        cell[1, 1, e] - cell[0, 1, e] - cell[1, 0, e] + cell[0, 0, e] for e in (0, 1)
    ]
    assert fit.of("b", "c", "e").points == pytest.approx(pair[1] - pair[0])
    assert fit.with_factors(3)[0] is fit.of("e", "b", "c")
    half = stats.t.ppf(0.975, 22) * fit.spread * np.sqrt(2 / 8)  # two means of 8 runs
    for c, e in product((0, 1), repeat=2):
        bought = cell[1, c, e] - cell[0, c, e]
        assert fit.where("b", c=c, e=e) == pytest.approx((bought, half))
    bought = np.mean([cell[1, c, 0] - cell[0, c, 0] for c in (0, 1)])
    assert fit.where("b", e=0) == pytest.approx((bought, half / 2**0.5))
    effect = fit.of("b")
    assert fit.where("b") == pytest.approx((effect.points, effect.half_width))
    with pytest.raises(KeyError, match="no such switch: .*'g'"):
        fit.where("b", g=1)
    for wrong in ({"b": 1}, {"c": 2}):
        with pytest.raises(ValueError, match="0 or 1 for switches but b"):
            fit.where("b", **wrong)
    off = 1 - on  # all others at 0 are on
    columns = [c for size in (1, 2, 3) for c in combinations(range(6), size)]
    design = [np.ones(64), *(off[:, list(c)].prod(axis=1) for c in columns)]
    design = np.stack(design, axis=1)
    coefficients, (squares,), *_ = np.linalg.lstsq(design, values, rcond=None)
    errors = np.sqrt(squares / 22 * np.diag(np.linalg.inv(design.T @ design)))
    for i, effect in enumerate(fit.where_all_on):
        assert effect.points == pytest.approx(-coefficients[1 + i])
        half = stats.t.ppf(0.975, 22) * errors[1 + i]
        assert effect.half_width == pytest.approx(half)
        without = [int(name != names[i]) for name in names]
        assert fit.difference([1] * 6, without) == pytest.approx((effect.points, half))
    twice = fit_effects(["a"], [[0], [1]] * 3, [1.0, 3, 2, 4, 1, 4], order=2)
    assert [effect.factors for effect in twice.effects] == [("a",)]


def test_one_switch_is_the_t_test_of_two_samples():
    rng = np.random.default_rng(1)
    on = np.array([[1], [1], [1], [0], [0], [0], [0], [1]])
    values = rng.normal(60, 2, 8) + 3 * on[:, 0]
    (effect,) = fit_effects(["a"], on, values).effects
    expected = stats.ttest_ind(values[on[:, 0] == 1], values[on[:, 0] == 0])
    interval = expected.confidence_interval()
    assert effect.p == pytest.approx(expected.pvalue)
    assert effect.corrected_p == effect.p  # one comparison needs no correction
    assert effect.points - effect.half_width == pytest.approx(interval.low)
    assert effect.points + effect.half_width == pytest.approx(interval.high)


def test_blocks_take_a_common_shift_out():
    """Two runs of everything: with one switch this is SciPy's paired t-test."""
    rng = np.random.default_rng(2)
    with_it, without = rng.normal(62, 1, 6), rng.normal(60, 1, 6)
    shift = 10 * np.arange(6)
    values = np.concatenate([with_it + shift, without + shift])
    on = np.repeat([1, 0], 6)[:, None]
    fit = fit_effects(["a"], on, values, blocks=[*range(6), *range(6)])
    expected = stats.ttest_rel(with_it, without)
    assert fit.of("a").p == pytest.approx(expected.pvalue)
    assert fit.of("a").points == pytest.approx((with_it - without).mean())
    assert fit.freedom == 5
    assert fit.mean == pytest.approx(values.mean())


def test_intervals_cover_the_truth_and_holm_keeps_false_alarms_rare():
    rng = np.random.default_rng(3)
    covered, alarms, draws = 0, 0, 400
    for _ in range(draws):
        values = 70 + 2 * ON[:, 0] + rng.normal(0, 1, 16)
        fit = fit_effects(NAMES, ON, values)
        covered += abs(fit.of("a").points - 2) <= fit.of("a").half_width
        others = [fit.of(name).verdict for name in "bcd"]
        alarms += any(verdict != "not to be told apart" for verdict in others)
    low, high = stats.binom.ppf((0.001, 0.999), draws, 0.95)
    assert low <= covered <= high
    assert alarms <= stats.binom.ppf(0.999, draws, 0.05)


def test_incomplete_designs_fall_back_to_main_effects():
    half = ON[ON.sum(1) % 2 == 0]  # 8 runs: pairs of interactions are confounded
    values = 50 + 3.0 * half[:, 1] - 1.5 * half[:, 3]
    fit = fit_effects(NAMES, half, values)
    assert [effect.factors for effect in fit.effects] == [(name,) for name in NAMES]
    assert fit.of("b").points == pytest.approx(3)
    assert fit.of("d").verdict == "worse" and fit.of("b").verdict == "better"
    most = ON[:13]  # enough for interactions, but with 2 degrees of freedom left
    assert len(fit_effects(NAMES, most, VALUES[:13]).effects) == 4
    assert len(fit_effects(NAMES, most, VALUES[:13], order=2).effects) == 10
    with pytest.raises(ValueError, match="too few, or too alike"):
        fit_effects(NAMES, half, values, order=2)
    with pytest.raises(ValueError, match="5 runs are too few"):
        fit_effects(NAMES, ON[:5], VALUES[:5])
    with pytest.raises(ValueError, match="on must be 0 or 1"):
        fit_effects(NAMES, ON - 1, VALUES)


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # as R's p.adjust gives
        ([0.2], [0.2]),
        ([0.9, 0.6], [1.0, 1.0]),
        ([0.01, 0.0101], [0.02, 0.02]),
        ([], []),
    ],
)
def test_holm(p, corrected):
    assert holm(p) == pytest.approx(corrected)


@pytest.mark.parametrize("runs", [2, 3, 10])
def test_smallest_visible_difference_is_where_a_t_test_begins_to_see(runs):
    base = np.array([-1.0, 1.0] * (runs // 2) + [0.0] * (runs % 2))
    spread = base.std(ddof=1)
    limit = smallest_visible(spread, runs)
    assert stats.ttest_ind(base + limit * 1.001, base).pvalue < 0.05
    assert stats.ttest_ind(base + limit * 0.999, base).pvalue > 0.05


def test_one_run_shows_nothing():
    assert smallest_visible(0.3, 1) == math.inf
    with pytest.raises(ValueError, match="at least one run"):
        smallest_visible(0.3, 0)


def test_two_groups_are_compared_as_by_student():
    a, b = [70.0, 71.5, 69.0], [72.0, 73.0, 71.0, 75.0]
    (effect,) = compare({"a": a, "b": b}, "a")
    known = stats.ttest_ind(b, a)
    low, high = known.confidence_interval()
    assert effect.name == "b" and effect.p == pytest.approx(known.pvalue)
    assert effect.points == pytest.approx((low + high) / 2)
    assert effect.half_width == pytest.approx((high - low) / 2)


def test_several_groups_share_one_spread_and_are_corrected():
    groups = {"a": [70.0, 71.0, 72.0], "b": [80.0, 82.0], "c": [71.0, 71.5], "d": [71]}
    effects = compare(groups, "a")
    assert [e.name for e in effects] == ["b", "c", "d"]
    spread = ((2 + 2 + 0.125) / 4) ** 0.5  # sums of squares over 2 + 1 + 1 freedoms
    halves = [
        spread * stats.t.ppf(0.975, 4) * (1 / 3 + 1 / n) ** 0.5 for n in (2, 2, 1)
    ]
    assert [e.half_width for e in effects] == pytest.approx(halves)
    assert [e.corrected_p for e in effects] == pytest.approx(
        holm([e.p for e in effects])
    )
    assert [e.verdict for e in effects] == ["better", *["not to be told apart"] * 2]
    with pytest.raises(KeyError):
        compare(groups, "e")
    with pytest.raises(ValueError, match="needs two"):
        compare({"a": [1.0], "b": [2.0]}, "a")


def test_runs_without_a_finite_value_are_refused():
    on = [[0], [1], [0], [1]]
    for broken in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            fit_effects(["a"], on, [1.0, 2.0, 3.0, broken])
        with pytest.raises(ValueError, match="finite"):
            compare({"a": [1.0, 2.0], "b": [3.0, broken]}, "a")


def test_without_any_spread_every_difference_counts():
    groups = {"a": [1.0, 1.0], "b": [1.0, 1.0], "c": np.array([2, 2])}
    same, larger = compare(groups, "a")
    assert (same.points, same.p, same.verdict) == (0, 1, "not to be told apart")
    assert (larger.points, larger.p, larger.verdict) == (1, 0, "better")


def test_neighbours_are_compared_in_their_order():
    """Each with the one before it, by the spread of all; two groups as by Student."""
    groups = {"a": [1.0, 2.0, 3.5], "b": [4.0, 4.5], "c": [4.2, 5.0, 5.1]}
    steps = compare_neighbours(groups)
    assert [effect.name for effect in steps] == ["b", "c"]
    for effect, (before, after) in zip(steps, (("a", "b"), ("b", "c")), strict=True):
        (same,) = (e for e in compare(groups, before) if e.name == after)
        assert effect.points == pytest.approx(same.points)
        assert effect.half_width == pytest.approx(same.half_width)
        assert effect.p == pytest.approx(same.p)
    assert [e.corrected_p for e in steps] == pytest.approx(holm([e.p for e in steps]))
    (only,) = compare_neighbours({"a": groups["a"], "c": groups["c"]})
    assert only.p == pytest.approx(stats.ttest_ind(groups["a"], groups["c"]).pvalue)
    with pytest.raises(ValueError, match="two"):
        compare_neighbours({"a": [1.0], "b": [2.0]})
