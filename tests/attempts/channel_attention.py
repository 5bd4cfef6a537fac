"""Attempts at the exercises of notebook 05."""

import torch

from cifar_helpers.checks import channel_attention as checks


def chosen_and_measured(choose=slice(0, None, 2), measure=slice(1, None, 2), sign=1):
    """A difference with the channel from some images, the number from others."""

    def attempt(weights, labels):
        def difference(part):
            w, y = weights[part], labels[part]
            return sign * (w[y == 1].mean(dim=0) - w[y == 0].mean(dim=0))  # (C,)

        return difference(measure)[difference(choose).argmax()]

    return attempt


def shuffled(weights, labels):
    order = torch.randperm(len(weights), generator=torch.Generator().manual_seed(0))
    return chosen_and_measured(*HALVES)(weights[order], labels[order])


def most_different(weights, labels):
    """Of one half the channel with the largest difference, whatever its sign."""
    order = torch.randperm(len(weights), generator=torch.Generator().manual_seed(0))
    (choose, measure), (a, b) = weights[order].chunk(2), labels[order].chunk(2)
    chosen = (choose[a == 1].mean(0) - choose[a == 0].mean(0)).abs().argmax()
    return measure[b == 1, chosen].mean() - measure[b == 0, chosen].mean()


def measured_on_all(weights, labels):
    """Half of what measures has chosen, too: the bias is halved, not gone."""
    order = torch.randperm(len(weights), generator=torch.Generator().manual_seed(0))
    return chosen_and_measured(HALVES[0], EVERY)(weights[order], labels[order])


def without_sign(weights, labels):
    return chosen_and_measured()(weights, labels).abs()


def mean_difference(weights, labels):
    return weights[labels == 1].mean() - weights[labels == 0].mean()


def first_channel(weights, labels):
    return weights[labels == 1, 0].mean() - weights[labels == 0, 0].mean()


def measured(*accuracies):
    return dict(zip((0, 0.5, 1, 1.5, 2), accuracies, strict=True))


HAND, FAIR = checks.weights_by_hand, checks.fair_difference
STRENGTH, FOLD = checks.attention_strength, checks.fold_weights
EVERY, HALVES = slice(None), (slice(0, 120), slice(120, None))
RIGHT = [
    (HAND, (0.731, 0.5)),
    (HAND, (0.7311, 0.5)),
    (FAIR, shuffled),
    (STRENGTH, measured(87.1, 87.7, 88.2, 88.0, 87.1)),
    (STRENGTH, measured(86.9, 87.6, 88.2, 88.3, 87.9)),
    (FOLD, lambda weight, scale: torch.einsum("ochw,c->ochw", weight, scale)),
]
WRONG = [
    (HAND, (1.0, 0.0), "sigmoid is missing"),
    (HAND, (0.731, 0.269), "compete"),
    (HAND, (0.7311, 0.0180), "ReLU between the layers"),
    (HAND, (0.8808, 0.2689), "biases are missing"),
    (HAND, (0.9991, 0.0474), "take its mean"),
    (HAND, (0.9526, 0.2689), "maximum"),
    (HAND, (0.6, 0.5), "0.6 is not right", "means are 3 and 1"),
    (HAND, (0.731, 0.5, 0.2), "Give two numbers"),
    (FAIR, chosen_and_measured(EVERY, EVERY), "still measure on images"),
    (FAIR, chosen_and_measured(slice(0, 120), slice(0, 120)), "choose on one half"),
    (FAIR, chosen_and_measured(*HALVES), "all zeros before", "Shuffle the images"),
    (FAIR, chosen_and_measured(), "taking turns", "Shuffle the images"),
    (FAIR, measured_on_all, "measure on images that helped"),
    (FAIR, without_sign, "with its sign"),
    (FAIR, most_different, "group 1 minus group 0"),
    (FAIR, mean_difference, "differs by 2"),
    (FAIR, first_channel, "differs by 2"),
    (FAIR, chosen_and_measured(sign=-1), "group 1 minus group 0"),
    (FAIR, lambda weights, labels: weights.mean(dim=0), "Return one number"),
    (STRENGTH, measured(0.87, 0.88, 0.882, 0.88, 0.87), "multiply by 100"),
    (STRENGTH, measured(88.2, 88.2, 88.2, 88.2, 88.2), "depend on t"),
    (STRENGTH, measured(88.2, 87.7, 87.1, 88.0, 87.1), "Is t in front"),
    (STRENGTH, measured(10.0, 80.7, 88.2, 88.0, 87.1), "Only the change"),
    (STRENGTH, measured(12.0, 11.0, 13.0, 12.0, 14.0), "as trained"),
    (STRENGTH, measured(87.0, 88.0, 188.0, 88.0, 87.0), "from 0 to 100"),
    (STRENGTH, {0: 87.1, 1: 88.2}, "Give a dict", "a dict of length 2"),
    (FOLD, lambda weight, scale: weight * scale[:, None, None, None], "output channel"),
    (FOLD, lambda weight, scale: weight * scale, "lines shapes up from"),
    (FOLD, lambda weight, scale: weight / scale[:, None, None], "do not divide"),
    (FOLD, lambda weight, scale: weight[:, 0] * scale[0], "of shape (3, 3, 3, 3)"),
    (FOLD, lambda weight, scale: weight * scale.mean(), "The folded weight at"),
]
