"""The self-checks of notebook 13 say "not yet" to stubs and name typical mistakes."""

import pytest
import torch
from scipy import linalg, stats
from verdicts import empty, wrong

from cifar_helpers.checks import same_budget_higher_accuracy as checks


@pytest.mark.parametrize(
    "verdict",
    [
        checks.gain_with_error(empty),
        checks.gain_with_error(lambda before, after: (1.0, ...)),
        checks.nearest_orthogonal(empty),
        checks.fixed_and_broken(empty),
    ],
)
def test_stub_is_not_yet_solved(verdict):
    assert verdict.status == "not yet"


def by_scipy(before, after):
    """Welch's t is the gain divided by its error."""
    gain = (after.mean() - before.mean()).item()
    return gain, gain / stats.ttest_ind(after, before, equal_var=False).statistic


def test_gain_and_error_agree_with_welch():
    assert checks.gain_with_error(by_scipy).status == "solved"


def error(before, after, correction=1):
    parts = (v.var(correction=correction) / len(v) for v in (before, after))
    return sum(parts).sqrt()


@pytest.mark.parametrize(
    "formula, words",
    [
        (lambda b, a: (b.mean() - a.mean(), error(b, a)), "The sign"),
        (lambda b, a: (a.mean() - b.mean(), error(b, a) ** 2), "take the root"),
        (lambda b, a: (a.mean() - b.mean(), error(b, a, 0)), "n − 1"),
        (lambda b, a: (a.mean() - b.mean(), (b.var() + a.var()).sqrt()), "single runs"),
        (
            lambda b, a: (
                a.mean() - b.mean(),
                sum(v.std() / len(v) ** 0.5 for v in (b, a)),
            ),
            "their squares do",
        ),
        (lambda b, a: (a.mean() - b.mean(), torch.cat([b, a]).std()), "together"),
        (lambda b, a: (a.mean() - b.mean(), 42.0), "it should be"),
        (lambda b, a: a.mean() - b.mean(), "two numbers"),
        (lambda b, a: (a.median() - b.mean(), error(b, a)), "The gain should be"),
    ],
)
def test_mistakes_in_the_gain_are_named(formula, words):
    wrong(checks.gain_with_error(formula), words)


def polar(matrix):
    """scipy's polar decomposition: an orthogonal factor times a positive one."""
    return torch.from_numpy(linalg.polar(matrix.numpy())[0])


def through_svd(matrix, factor):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return factor(u, s, v)


@pytest.mark.parametrize(
    "nearest, words",
    [
        (lambda m: m, "the matrix itself"),
        (lambda m: m / m.norm(), "each direction"),
        (lambda m: m / torch.linalg.svdvals(m)[0], "each direction"),
        (lambda m: through_svd(m, lambda u, s, v: u @ v.T), "transposed already"),
        (
            lambda m: through_svd(m, lambda u, s, v: (u * s.sqrt()) @ v),
            "should all be 1",
        ),
        (lambda m: through_svd(m, lambda u, s, v: -u @ v), "should be"),
        (lambda m: m[:, :2], "the same shape"),
    ],
)
def test_mistakes_in_the_orthogonal_matrix_are_named(nearest, words):
    assert checks.nearest_orthogonal(polar).status == "solved"
    wrong(checks.nearest_orthogonal(nearest), words)


def mcnemar(before, after):
    """From the table of all four cases, image by image."""
    pairs = list(zip(before.tolist(), after.tolist(), strict=True))
    fixed, broken = pairs.count((False, True)), pairs.count((True, False))
    return fixed, broken, (fixed - broken) / (fixed + broken) ** 0.5


def scaled(before, after, divisor):
    fixed, broken, _ = mcnemar(before, after)
    return fixed, broken, (fixed - broken) / divisor(fixed, broken)


@pytest.mark.parametrize(
    "compare, words",
    [
        (lambda b, a: mcnemar(a, b), "swapped"),
        (lambda b, a: scaled(b, a, lambda fixed, broken: fixed + broken), "the root"),
        (lambda b, a: scaled(b, a, lambda *_: len(b) ** 0.5), "both agree"),
        (lambda b, a: (a.sum(), (~a).sum(), 0.0), "The number of fixed images"),
        (lambda b, a: (*mcnemar(b, a)[:2], 7.0), "z should be"),
        (lambda b, a: mcnemar(b, a)[:2], "three numbers"),
    ],
)
def test_mistakes_in_the_comparison_are_named(compare, words):
    assert checks.fixed_and_broken(mcnemar).status == "solved"
    wrong(checks.fixed_and_broken(compare), words)
