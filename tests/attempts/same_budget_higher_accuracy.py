"""Attempts at the exercises of notebook 15."""

import torch
from scipy import linalg, stats

from cifar_helpers.checks import same_budget_higher_accuracy as checks


def from_scipy():
    """Half the 95 % interval's width: Student's t with 6 degrees, one spread."""
    return stats.t.ppf(0.975, 6) * 0.85 * (1 / 3 + 1 / 3) ** 0.5


def polar(matrix):
    """scipy's polar decomposition: an orthogonal factor times a positive one."""
    return torch.from_numpy(linalg.polar(matrix.numpy())[0])


def svd(factor):
    return lambda matrix: factor(*torch.linalg.svd(matrix, full_matrices=False))


GAIN, NEAREST = checks.smallest_gain, checks.nearest_orthogonal
UNFAIR, OWN = checks.unfair_entries, checks.own_change
BEFORE, AFTER = [50.0, 52.0, 51.0], [60.0, 61.0, 59.5]
RIGHT = [
    (GAIN, from_scipy()),
    (GAIN, 1.7),
    (NEAREST, polar),
    (UNFAIR, ["epochs", "crop_padding"]),
    (UNFAIR, {"crop_padding", "epochs"}),
    (OWN, ("higher", BEFORE, AFTER)),
    (OWN, ("higher", AFTER, BEFORE)),
    (OWN, ["the same", torch.tensor(BEFORE), (50.5, 51.5, 52.5)]),
]
WRONG = [
    (GAIN, 2.447 * 0.85 / 3**0.5, "Both means"),
    (GAIN, 2.447 * 0.85, "two runs of each"),
    (GAIN, 2**0.5 * 2.447 * 0.85, "for one run of each"),
    (GAIN, 2 * 2.447 * 0.85 / 3**0.5, "their squares do"),
    (GAIN, 1.96 * 0.85 * (2 / 3) ** 0.5, "Student's t"),
    (GAIN, 0.85 * (2 / 3) ** 0.5, "one standard error"),
    (GAIN, 5.0, "5 is not right"),
    (NEAREST, lambda m: m, "the matrix itself"),
    (NEAREST, lambda m: m / m.norm(), "each direction"),
    (NEAREST, lambda m: m / torch.linalg.svdvals(m)[0], "each direction"),
    (NEAREST, svd(lambda u, s, v: u @ v.T), "transposed already"),
    (NEAREST, svd(lambda u, s, v: (u * s.sqrt()) @ v), "should all be 1"),
    (NEAREST, svd(lambda u, s, v: -u @ v), "The matrix at", "should be"),
    (NEAREST, lambda m: torch.linalg.qr(m)[0] @ torch.eye(*m.shape), "not the nearest"),
    (NEAREST, lambda m: m[:, :2], "of shape (4, 4)", "full_matrices=False"),
    (UNFAIR, ["epochs"], "There should be 1 more"),
    (UNFAIR, [], "There should be 2 more"),
    (UNFAIR, ["epochs", "crop_padding", "weight_decay"], "its own rate and decay"),
    (UNFAIR, ["epochs", "batch_size"], "'batch_size' should not be there"),
    (UNFAIR, "epochs", "a list of names"),
    (UNFAIR, [8, 9], "a list of names"),
    (OWN, ("better", BEFORE, AFTER), "one of", "'better'"),
    (OWN, (BEFORE, AFTER), "(expected, before, after)"),
    (OWN, ("higher", BEFORE, AFTER[:2]), "after should be a list", "of three runs"),
    (OWN, ("higher", BEFORE, BEFORE), "the same numbers"),
    (OWN, ("higher", [0.5, 0.52, 0.51], AFTER), "multiply by 100"),
    (OWN, ("higher", [50.0] * 3, AFTER), "did the seed change"),
    (OWN, ("higher", [50.0, 51.0, 520.0], AFTER), "from 0 to 100"),
]
