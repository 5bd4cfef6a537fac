"""Attempts at the exercises of notebook 15."""

import torch
from scipy import linalg, stats

from cifar_helpers.checks import same_budget_higher_accuracy as checks


def by_scipy(before, after):
    """Welch's t is the gain divided by its error."""
    gain = (after.mean() - before.mean()).item()
    return gain, gain / stats.ttest_ind(after, before, equal_var=False).statistic


def gain(error, sign=1, middle=torch.mean):
    return lambda b, a: (sign * (middle(a) - middle(b)), error(b, a))


def error(before, after, correction=1):
    parts = (v.var(correction=correction) / len(v) for v in (before, after))
    return sum(parts).sqrt()


def summed(before, after):
    return sum(v.std() / len(v) ** 0.5 for v in (before, after))


def polar(matrix):
    """scipy's polar decomposition: an orthogonal factor times a positive one."""
    return torch.from_numpy(linalg.polar(matrix.numpy())[0])


def svd(factor):
    return lambda matrix: factor(*torch.linalg.svd(matrix, full_matrices=False))


def mcnemar(before, after):
    """From the table of all four cases, image by image."""
    pairs = list(zip(before.tolist(), after.tolist(), strict=True))
    fixed, broken = pairs.count((False, True)), pairs.count((True, False))
    return fixed, broken, (fixed - broken) / (fixed + broken) ** 0.5


def scaled(divisor):
    def attempt(before, after):
        fixed, broken, _ = mcnemar(before, after)
        return fixed, broken, (fixed - broken) / divisor(fixed, broken, before)

    return attempt


GAIN, NEAREST = checks.gain_with_error, checks.nearest_orthogonal
PAIRS = checks.fixed_and_broken
RIGHT = [(GAIN, by_scipy), (NEAREST, polar), (PAIRS, mcnemar)]
WRONG = [
    (GAIN, gain(error, sign=-1), "The sign"),
    (GAIN, gain(lambda b, a: error(b, a) ** 2), "take the root"),
    (GAIN, gain(lambda b, a: error(b, a, 0)), "n − 1"),
    (GAIN, gain(lambda b, a: (b.var() + a.var()).sqrt()), "single runs"),
    (GAIN, gain(summed), "their squares do"),
    (GAIN, gain(lambda b, a: torch.cat([b, a]).std()), "together"),
    (GAIN, gain(lambda b, a: 42.0), "The error should be", "yours is 42"),
    (GAIN, lambda b, a: a.mean() - b.mean(), "two numbers"),
    (GAIN, gain(error, middle=torch.amax), "The gain should be"),
    (NEAREST, lambda m: m, "the matrix itself"),
    (NEAREST, lambda m: m / m.norm(), "each direction"),
    (NEAREST, lambda m: m / torch.linalg.svdvals(m)[0], "each direction"),
    (NEAREST, svd(lambda u, s, v: u @ v.T), "transposed already"),
    (NEAREST, svd(lambda u, s, v: (u * s.sqrt()) @ v), "should all be 1"),
    (NEAREST, svd(lambda u, s, v: -u @ v), "The matrix at", "should be"),
    (NEAREST, lambda m: m[:, :2], "of shape (4, 4)", "full_matrices=False"),
    (PAIRS, lambda b, a: mcnemar(a, b), "swapped"),
    (PAIRS, scaled(lambda fixed, broken, b: fixed + broken), "the root"),
    (PAIRS, scaled(lambda fixed, broken, b: len(b) ** 0.5), "both agree"),
    (PAIRS, lambda b, a: (a.sum(), (~a).sum(), 0.0), "The number of fixed images"),
    (PAIRS, lambda b, a: (*mcnemar(b, a)[:2], 7.0), "z should be"),
    (PAIRS, lambda b, a: mcnemar(b, a)[:2], "three numbers"),
]
