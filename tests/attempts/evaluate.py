"""Attempts at the exercises of notebook 11."""

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from cifar_helpers.checks import evaluate as checks

CATS = np.array([[95, 2, 2, 1], [0, 99, 0, 1], [5, 0, 91, 4], [1, 2, 7, 90]])
# of 100 cats 90 are found, of 300 others 6 are called so: in 100 cats and 9,900 others
PRECISION = 100 * 90 / (90 + 198)


def scikit_learn(counts):
    """Precision and recall by scikit-learn, from one pair of labels per image."""
    classes = range(len(counts))
    pairs = [(t, p) for t in classes for p in classes for _ in range(counts[t, p])]
    true, predicted = zip(*pairs, strict=True)
    return tuple(
        torch.tensor(score(true, predicted, average=None))
        for score in (precision_score, recall_score)
    )


def counted(labels, predicted, classes):
    """The matrix by scikit-learn."""
    return torch.tensor(confusion_matrix(labels, predicted, labels=range(classes)))


def at_once(labels, predicted, classes):
    """The pitfall: an index that occurs twice is counted once."""
    matrix = torch.zeros(classes, classes)
    matrix[labels, predicted] += 1
    return matrix


ROWS = torch.tensor(  # the second highest probability and the lowest are wrong
    [
        [0.92, 0.04, 0.04],
        [0.05, 0.90, 0.05],
        [0.91, 0.08, 0.01],
        [0.1, 0.1, 0.8],
        [0.2, 0.3, 0.5],
    ]
).log()
LABELS = torch.tensor([0, 1, 1, 2, 1])
SHY = (  # the last is right, by less than the third gives the class that is true
    torch.tensor(
        [[0.9, 0.06, 0.04], [0.8, 0.15, 0.05], [0.5, 0.45, 0.05], [0.4, 0.35, 0.25]]
    ).log(),
    torch.tensor([0, 1, 1, 0]),
)
LATER = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])  # the first mistake is answered third


def leads(rows, draws, same=True, points=100.0):
    """The middle 95 % of the lead over drawn images, by NumPy."""
    chance, first, second = np.random.default_rng(0), *map(np.asarray, rows)
    values = []
    for _ in range(draws):
        some = chance.integers(len(first), size=len(first))
        other = some if same else chance.integers(len(first), size=len(first))
        values.append(points * (first[some].mean() - second[other].mean()))
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


NO, DRAW = checks.always_no, checks.paired_bootstrap
BOTH, COUNT = checks.precision_and_recall, checks.count_confusions
RARE, SURE = checks.rare_class, checks.better_sureness
RIGHT = [
    (BOTH, scikit_learn),
    (COUNT, counted),
    (NO, (95, 50, 0)),
    (NO, (95.0, 50.0, 0.0)),
    (DRAW, lambda a, b, draws: leads((a, b), draws)),
    (RARE, (CATS, PRECISION)),
    (RARE, (torch.tensor(CATS), round(PRECISION, 1))),
    (SURE, (ROWS, LABELS, LATER)),
]
WRONG = [
    (BOTH, lambda m: (m.diagonal() / m.sum(1), m.diagonal() / m.sum(0)), "swapped"),
    (BOTH, lambda m: (m.diagonal() / m.sum(), m.diagonal() / m.sum(1)), "all images"),
    (BOTH, lambda m: (100 * m.diagonal() / m.sum(0), m.sum(1)), "between 0 and 1"),
    (BOTH, lambda m: (m / m.sum(0), m / m.sum(1)), "One number per class"),
    (BOTH, lambda m: (m.diagonal() / m.sum(1),) * 2, "The precision at (0,)"),
    (BOTH, lambda m: m.diagonal() / m.sum(0), "two tensors"),
    (COUNT, lambda t, p, n: counted(p, t, n), "Rows and columns are swapped"),
    (COUNT, at_once, "counted once only"),
    (COUNT, lambda t, p, n: counted(t, p, n) / len(t), "do not divide"),
    (COUNT, lambda t, p, n: counted(t, p, n)[:2, :2], "of shape (3, 3)"),
    (COUNT, lambda t, p, n: counted(t, p, n) + 1, "at (0, 0) should be 1"),
    (NO, (0.95, 50, 0), "give percent"),
    (NO, (95, 0.5, 0), "give percent"),
    (NO, (95, 95, 0), "The recall of yes is 0"),
    (NO, (95, 47.5, 0), "counts the same"),
    (NO, (95, 50, 0.95), "by blind answers"),
    (NO, (95, 50), "Give three numbers"),
    (DRAW, lambda a, b, draws: leads((a, b), draws, same=False), "draw once"),
    (DRAW, lambda a, b, draws: leads((b, a), draws), "minus the second"),
    (DRAW, lambda a, b, draws: leads((a, b), draws, points=1), "Give points"),
    (DRAW, lambda a, b, draws: leads((a, b), draws)[::-1], "the lower end first"),
    (DRAW, lambda a, b, draws: (-5.0, 11.0), "the interval should be about"),
    (DRAW, lambda a, b, draws: 3.0, "two numbers"),
    (RARE, (CATS, PRECISION / 100), "give percent"),
    (RARE, (CATS, 93.75), "That is the precision on the test set"),
    (RARE, (CATS, 90), "That is the recall"),
    (RARE, (CATS, 0.9), "the share of all images"),
    (RARE, (CATS, 100 * 90 / (90 + 0.06 * 9900)), "divide them by these"),
    (RARE, (CATS, 50), "Take 10,000 such images"),
    (RARE, (CATS[0], 50), "one row and one column"),
    (RARE, (CATS[:3, :3], 50), "one row and one column"),
    (RARE, (0 * CATS, 50), "should hold cats"),
    (RARE, (CATS, "many"), "The precision should be a number, yours is 'many'"),
    (SURE, (ROWS, LABELS, ROWS.amax(1)), "that of the highest probability itself"),
    (SURE, (ROWS, LABELS, -LATER), "The sign is wrong"),
    (SURE, (ROWS, LABELS, (ROWS.argmax(1) == LABELS).float()), "look at the labels"),
    (SURE, (*SHY, SHY[0].gather(1, SHY[1][:, None])[:, 0]), "look at the labels"),
    (SURE, (ROWS, LABELS + 2, LATER), "should be classes, 0 to 2"),
    (SURE, (ROWS, LABELS, ROWS), "One number per image"),
    (SURE, (ROWS, LABELS[:3], LATER), "of shape (5,)"),
    (SURE, (ROWS, ROWS.argmax(1), LATER), "a mistake that can be avoided"),
]
