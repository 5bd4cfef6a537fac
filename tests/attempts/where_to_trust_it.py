"""Attempts at the exercises of notebook 12."""

import numpy as np
import torch

from cifar_helpers import calibration
from cifar_helpers.calibration import Claims
from cifar_helpers.checks import where_to_trust_it as checks

ADAPTIVE, CLAIMS = checks.adaptive_error, checks.claims
WITHOUT, SEVERITY = checks.accuracy_without_them, checks.temperature_by_severity


def by_the_package(confidence, correct, bins):
    found = calibration.calibration(Claims(confidence, correct), bins, adaptive=True)
    return found.expected_calibration_error_percent


def by_hand(confidence, correct, bins, from_the_top=False):
    order = confidence.argsort(descending=from_the_top)
    parts = (correct - confidence)[order].tensor_split(bins)
    return 100 * sum(part.sum().abs() for part in parts) / len(confidence)


def by_chunks(confidence, correct, bins):
    """Parts of one size, but for the last: 15, 15 … 10 of 100."""
    parts = (correct - confidence)[confidence.argsort()].chunk(bins)
    return 100 * sum(part.sum().abs() for part in parts) / len(confidence)


def rounded_down(confidence, correct, bins):
    """Parts of one size, rounded down: one part too many where something is left."""
    gaps = (correct - confidence)[confidence.argsort()]
    parts = gaps.split(len(gaps) // bins)
    return 100 * sum(part.sum().abs() for part in parts) / len(gaps)


def rest_in_the_last(confidence, correct, bins):
    gaps = (correct - confidence)[confidence.argsort()].numpy()
    parts = np.split(gaps, np.arange(1, bins) * (len(gaps) // bins))
    return 100 * sum(abs(part.sum()) for part in parts) / len(gaps)


def by_slices(confidence, correct, bins):
    gaps, n = (correct - confidence)[confidence.argsort()], len(confidence)
    parts = [gaps[i * n // bins : (i + 1) * n // bins] for i in range(bins)]
    return 100 * sum(part.sum().abs() for part in parts) / n


def in_a_loop(table, labels):
    pairs = list(zip(table, labels, strict=True))
    sure = [row.max().exp() for row, _ in pairs]
    return sure, [row.argmax() == label for row, label in pairs]


def equal_width(confidence, correct, bins):
    found = calibration.calibration(Claims(confidence, correct), bins)
    return found.expected_calibration_error_percent


def unsorted(confidence, correct, bins):
    parts = (correct - confidence).tensor_split(bins)
    return 100 * sum(part.sum().abs() for part in parts) / len(confidence)


def unweighted(confidence, correct, bins):
    parts = (correct - confidence)[confidence.argsort()].tensor_split(bins)
    return 100 * sum(part.mean().abs() for part in parts) / bins


def both(table, labels):
    return table.exp().amax(1), table.argmax(1) == labels


def of_the_label(table, labels):
    return table.exp()[torch.arange(len(labels)), labels], table.argmax(1) == labels


LOW, HIGH = 100 * 9246 / 9946, 100 * 9300 / 9946
RISING = [0.7, 0.8, 0.95, 1.1, 1.2, 1.3]
RIGHT = [
    (ADAPTIVE, by_the_package),
    (ADAPTIVE, by_hand),
    (ADAPTIVE, lambda c, r, b: by_hand(c, r, b, from_the_top=True)),
    (ADAPTIVE, by_slices),
    (CLAIMS, in_a_loop),
    (CLAIMS, both),
    (CLAIMS, lambda t, y: (t.softmax(1).max(1)[0].numpy(), (t.argmax(1) == y).int())),
    (WITHOUT, (LOW, HIGH)),
    (WITHOUT, [92.96, 93.5]),
    (WITHOUT, np.array([92.962, 93.505])),
    (SEVERITY, ("rises", RISING)),
    (SEVERITY, ("falls", torch.tensor(RISING))),
]
WRONG = [
    (ADAPTIVE, equal_width, "equal width"),
    (ADAPTIVE, lambda c, r, b: torch.tensor(torch.nan), "a number, yours is nan"),
    (ADAPTIVE, unsorted, "before sorting"),
    (ADAPTIVE, unweighted, "not all of one size"),
    (ADAPTIVE, lambda c, r, b: by_hand(c, r, b) / 100, "give percent"),
    (ADAPTIVE, lambda c, r, b: 100 * (r - c).mean(), "cancel"),
    (ADAPTIVE, lambda c, r, b: 3.0, "Sort, cut into"),
    (CLAIMS, of_the_label, "probability of the true class"),
    (CLAIMS, lambda t, y: (t.amax(1), t.argmax(1) == y), "exp()"),
    (
        CLAIMS,
        lambda t, y: (both(t, y)[0], both(t, y)[0] > 0.5),
        "compare with the label",
    ),
    (CLAIMS, lambda t, y: (both(t, y)[0], torch.ones(40)), "What is correct at"),
    (CLAIMS, lambda t, y: both(t, y)[0], "two tensors"),
    (CLAIMS, lambda t, y: (t.exp(), y), "One number per image"),
    (WITHOUT, (HIGH, LOW), "swapped"),
    (WITHOUT, (92.46, 93.0), "9,946 remain"),
    (WITHOUT, (92.46, 93.54), "9,946 remain"),
    (WITHOUT, (0.9296, 0.935), "give per cent"),
    (ADAPTIVE, by_chunks, "For 100 images in 7 bins", "differ by one at most"),
    (ADAPTIVE, rounded_down, "For 100 images in 7 bins", "differ by one at most"),
    (ADAPTIVE, rest_in_the_last, "For 100 images in 7 bins", "differ by one at most"),
    (WITHOUT, (LOW, 94.0), "The highest is not 94.00 %", "no right answer away"),
    (WITHOUT, (93.0, HIGH), "The lowest is not 93.00 %", "the most right answers"),
    (WITHOUT, 93.0, "two numbers"),
    (SEVERITY, ("up", RISING), "one of ('rises'"),
    (SEVERITY, ("rises", RISING[:5]), "One temperature for each severity"),
    (SEVERITY, ("rises", [1.0] * 6), "All six are equal"),
    (SEVERITY, ("rises", RISING[::-1]), "from 1.30 to 0.70"),
    (SEVERITY, ("rises", [-1.0, *RISING[1:]]), "above 0"),
    (SEVERITY, ("rises", [*RISING[:5], 20.0]), "where the search ends"),
    (SEVERITY, RISING[0], "Give the pair"),
]
