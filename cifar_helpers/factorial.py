"""Effects of switches, from runs in which all of them vary at once.

In a factorial design every run says something about every switch: the effect of one is
the mean of all runs that have it minus the mean of all that have not. An ordinary least
squares fit gives the same numbers, and those of designs that are not complete.
Source: Box, Hunter & Hunter 2005, *Statistics for Experimenters*, chapters 5 and 6.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, pairwise

import numpy as np
from scipy import stats

from cifar_helpers.intervals import holm, pooled_spread, t_quantile

LEAST_FREEDOM = {1: 1, 2: 3, 3: 20}  # order: degrees of freedom that it must leave


@dataclass(frozen=True)
class Effect:
    """What one switch buys, or what several buy together beyond the sum of each.

    `points`: of a switch, the mean with it minus the mean without it. Of two, what the
    first buys where the second is on minus what it buys where the second is off. Of
    three, what that is where the third is on minus what it is where the third is off.
    """

    factors: tuple[str, ...]  # one, two or three
    points: float
    half_width: float  # of the 95 % interval, for this effect alone
    p: float  # chance of a larger effect than this, either way, if there were none
    corrected_p: float  # Holm's, for all effects with as many factors

    @property
    def name(self) -> str:
        """`"dilation"`, or `"dilation × aspp"`."""
        return " × ".join(self.factors)

    @property
    def verdict(self) -> str:
        """`"better"` or `"worse"` with it; or `"not to be told apart"`."""
        if self.corrected_p >= 0.05:
            return "not to be told apart"
        return "better" if self.points > 0 else "worse"


@dataclass(frozen=True, eq=False)
class Fit:
    """All effects of a design, and the spread that their intervals come from."""

    mean: float  # of all runs, if the design is balanced
    effects: tuple[Effect, ...]
    where_all_on: tuple[Effect, ...]  # of each switch, if all the others are on
    spread: float  # standard deviation of a run around the fit
    freedom: int  # degrees of freedom of that spread
    names: tuple[str, ...]  # of the switches
    columns: tuple[tuple[str, ...], ...]  # the switches that each one multiplies
    coefficients: np.ndarray  # (columns,), and those of the blocks
    covariance: np.ndarray  # (columns, columns), of the coefficients

    def of(self, *factors: str) -> Effect:
        """The effect of one switch, or of several; KeyError if it was not fitted."""
        for effect in self.effects:
            if set(effect.factors) == set(factors):
                return effect
        raise KeyError(f"{' × '.join(factors)} is not among the fitted effects")

    def where(self, factor: str, **state: int) -> tuple[float, float]:
        """What a switch buys where some of the others stand so: points, half of 95 %.

        `state` says with 1 or 0 of other switches whether they are on, such as
        `aspp=0`; over the rest it is a mean. Exact for means of a complete design, if
        no more switches are named, `factor` among them, than the fit's interactions
        have. KeyError for an unknown switch, ValueError for another state.
        """
        if unknown := {factor, *state} - {*self.names}:
            raise KeyError(f"no such switch: {sorted(unknown)}; take of {self.names}")
        if factor in state or not {*state.values()} <= {0, 1}:
            raise ValueError(f"need 0 or 1 for switches but {factor}, got {state}")
        return self._interval(_bought_where(self.columns, factor, state))

    def difference(self, first, second) -> tuple[float, float]:
        """Of two combinations, as fitted: first minus second, half the 95 % interval.

        Both say with 0 or 1 for each switch whether it is on, (switches,). ValueError
        for anything else.
        """
        on = np.array([first, second], dtype=float)
        if on.shape != (2, len(self.names)) or not np.isin(on, (0, 1)).all():
            raise ValueError(f"need 0 or 1 for each of {self.names}, twice")
        signs = 2 * on - 1
        first, second = _columns(self.names, signs, max(map(len, self.columns)))[1]
        return self._interval(first - second)

    def _interval(self, weights: np.ndarray) -> tuple[float, float]:
        """A weighted sum of the columns' coefficients, and half its 95 % interval."""
        count = len(weights)  # those of blocks come behind, and take no part
        error = (weights @ self.covariance[:count, :count] @ weights) ** 0.5
        half = t_quantile(self.freedom) * error
        return float(weights @ self.coefficients[:count]), float(half)

    def with_factors(self, count: int) -> list[Effect]:
        """Main effects (1) or interactions of two or three, the largest first."""
        chosen = [effect for effect in self.effects if len(effect.factors) == count]
        return sorted(chosen, key=lambda effect: -abs(effect.points))


def fit_effects(
    names: Sequence[str], on, values, blocks=None, order: int | None = None
) -> Fit:
    """Main effects and interactions, by least squares.

    `on` (runs, switches) says what was on in each run, `values` (runs,) what it
    reached; `blocks` (runs,), such as seeds, take a common shift of their runs out.
    `order` 1: main effects alone; 2, 3: interactions of so many switches, too; None:
    the highest of these for which the runs suffice and leave `LEAST_FREEDOM` over. What
    the fit leaves over is the error: chance and interactions of more switches. Raises
    ValueError if the runs cannot tell the effects apart, or leave nothing, or if one
    reached no finite number.
    """
    on, values = np.asarray(on, dtype=float), np.asarray(values, dtype=float)
    if on.shape != (len(values), len(names)) or not np.isin(on, (0, 1)).all():
        raise ValueError(
            f"on must be 0 or 1, of shape ({len(values)}, {len(names)}), got {on.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("every run needs a finite value")
    tried = LEAST_FREEDOM if order is None else {order: 1}
    for size in sorted(tried, reverse=True):
        factors, design = _columns(names, 2 * on - 1, size)
        if blocks is not None:
            design = np.concatenate([design, _shifts(blocks)], axis=1)
        freedom = len(values) - design.shape[1]
        if freedom >= tried[size] and np.linalg.matrix_rank(design) == design.shape[1]:
            return _fit(tuple(names), factors, design, values, freedom)
    raise ValueError(
        f"{len(values)} runs are too few, or too alike, to tell {len(names)} switches "
        "apart"
    )


def _columns(names, signs: np.ndarray, order: int):
    """What each column of the design stands for, and the design: products of ±1."""
    indices = [()]
    for size in range(1, order + 1):
        indices += combinations(range(len(names)), size)
    columns = [signs[:, list(chosen)].prod(axis=1) for chosen in indices]
    factors = [tuple(names[i] for i in chosen) for chosen in indices]
    return factors, np.stack(columns, axis=1)


def _shifts(blocks) -> np.ndarray:
    """A column for every block but the first, (runs, blocks - 1).

    Each has mean 0 if the blocks are equally large.
    """
    kinds, place = np.unique(np.asarray(blocks), return_inverse=True)
    return (np.eye(len(kinds))[place] - 1 / len(kinds))[:, 1:]


def _fit(switches, factors, design: np.ndarray, values: np.ndarray, freedom) -> Fit:
    """Least squares; a coefficient of a switch's column of ±1 is half its effect."""
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    residuals = values - design @ coefficients
    spread = math.sqrt(residuals @ residuals / freedom)
    covariance = spread**2 * np.linalg.inv(design.T @ design)
    identity, where_all_on = np.eye(design.shape[1]), []
    all_on = dict.fromkeys(switches, 1)
    families = {len(names): [] for names in factors if names}
    for i, names in enumerate(factors):
        if names:  # on minus off is 2 coefficients; a difference of two such, 4
            families[len(names)].append((names, 2 ** len(names) * identity[i]))
        if len(names) == 1:
            weights = np.zeros(len(identity))
            weights[: len(factors)] = _bought_where(factors, names[0], all_on)
            where_all_on.append((names, weights))
    *effects, where_all_on = (
        _effects(family, coefficients, covariance, freedom)
        for family in (*families.values(), where_all_on)
    )
    return Fit(
        float(coefficients[0]),
        tuple(chain(*effects)),
        where_all_on,
        spread,
        freedom,
        switches,
        tuple(factors),
        coefficients,
        covariance,
    )


def _bought_where(columns, factor: str, state: Mapping[str, int]) -> np.ndarray:
    """Weights of the coefficients in what a switch buys where others stand so.

    Its own column goes from -1 to 1; in an interaction the others have their signs, and
    those that are free to be on or off cancel out.
    """
    sign = {name: 2 * on - 1 for name, on in state.items()} | {factor: 2}
    products = [math.prod(sign.get(name, 0) for name in names) for names in columns]
    return np.where([factor in names for names in columns], products, 0.0)


def _effects(family, coefficients, covariance, freedom: int) -> tuple[Effect, ...]:
    """Weighted sums of coefficients with t intervals, corrected among each other."""
    points = np.array([weights @ coefficients for _, weights in family])
    errors = np.array([(w @ covariance @ w) ** 0.5 for _, w in family])
    return tuple(_tested([name for name, _ in family], points, errors, freedom))


def _tested(names, points, errors, freedom: int) -> list[Effect]:
    """Effects with t intervals and Holm's correction, from their standard errors."""
    t = np.where(points == 0, 0.0, np.inf)  # without any error
    np.divide(np.abs(points), errors, out=t, where=errors > 0)
    p = 2 * stats.t.sf(t, freedom)
    halves = t_quantile(freedom) * errors
    rows = zip(names, points, halves, p, holm(p), strict=True)
    return [Effect(n, *map(float, numbers)) for n, *numbers in rows]


def compare(groups: Mapping[str, Sequence[float]], reference: str) -> list[Effect]:
    """What every other group of runs has more than the group `reference`.

    One spread, from all groups together, makes the 95 % intervals (Student's t, as in
    Dunnett 1955, without his correction for their number); verdicts follow Holm's. In
    the order of `groups`, which are lists of what the runs reached. Raises KeyError
    without the reference, ValueError unless some group has two runs and all are finite.
    """
    groups[reference]  # raises KeyError, also where there is no other
    return _differences(groups, [(reference, n) for n in groups if n != reference])


def compare_neighbours(groups: Mapping[str, Sequence[float]]) -> list[Effect]:
    """What each group of runs has more than the group before it.

    One spread for all, Student's t and Holm's verdicts, as in `compare`; ValueError as
    there.
    """
    return _differences(groups, list(pairwise(groups)))


def _differences(groups, pairs: list[tuple[str, str]]) -> list[Effect]:
    """What the second group of each pair has more than the first; named after it."""
    spread, freedom = pooled_spread(list(groups.values()))
    runs = [(groups[before], groups[after]) for before, after in pairs]
    points = np.array([np.mean(after) - np.mean(before) for before, after in runs])
    shares = np.array([1 / len(before) + 1 / len(after) for before, after in runs])
    names = [(after,) for _, after in pairs]
    return _tested(names, points, spread * np.sqrt(shares), freedom)


def smallest_visible(spread: float, runs: int) -> float:
    """Half the 95 % interval of a difference between two means of so many runs each.

    `spread` is the standard deviation of single runs. A difference that was measured
    has to be larger, to be told from none. Infinite for one run each, which says
    nothing about its spread. Raises ValueError for less than one run.
    """
    if runs < 1:
        raise ValueError(f"need at least one run of each, got {runs}")
    if runs == 1:
        return math.inf
    return t_quantile(2 * runs - 2) * spread * math.sqrt(2 / runs)
