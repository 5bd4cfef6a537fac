"""Attempts at the exercises of notebook 10."""

import math

import torch

from cifar_helpers.checks import train_on_gpu as checks


def windowed_schedule(step, steps, warmup_steps):
    """The same schedule cut out of a triangle and the falling half of a Hann window."""
    if step < warmup_steps:
        return torch.linspace(0, 1, warmup_steps + 2)[step + 1].item()
    decay = steps - warmup_steps
    window = torch.hann_window(2 * decay, dtype=torch.float64)  # (2 decay,)
    return window[decay + step - warmup_steps].item()


def schedule(line=None, cosine=None):
    """A schedule with a part of one's own: functions of (step, steps, warmup)."""
    line = line or (lambda s, n, w: (s + 1) / (w + 1))
    cosine = cosine or (lambda s, n, w: half(math.pi * (s - w) / (n - w)))
    return lambda s, n, w: line(s, n, w) if s < w else cosine(s, n, w)


def half(angle):
    return (1 + math.cos(angle)) / 2


def decay(cosine):
    """A schedule whose decay is a function of the progress."""
    return schedule(cosine=lambda s, n, w: cosine((s - w) / (n - w)))


def smoothed(true, other):
    """Targets with the given probability of the true and of any other class."""

    def target(label, classes, smoothing):
        values = torch.full((classes,), float(other(classes, smoothing)))
        values[label] = true(classes, smoothing)
        return values

    return target


def from_the_loss(label, classes, smoothing):
    """The gradient of torch's own loss is softmax - target."""
    loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    scores = torch.zeros(1, classes, requires_grad=True)
    loss(scores, torch.tensor([label])).backward()
    return 1 / classes - scores.grad[0]


def averaging(formula):
    return lambda averaged, weights, decay: [
        formula(a, w, decay) for a, w in zip(averaged, weights, strict=True)
    ]


RATE, SMOOTH = checks.learning_rate_schedule, checks.label_smoothing
AVERAGE = checks.weight_average
RIGHT = [
    (RATE, windowed_schedule),
    (RATE, schedule()),
    (SMOOTH, from_the_loss),
    (SMOOTH, smoothed(lambda k, e: 1 - e + e / k, lambda k, e: e / k)),
    (AVERAGE, averaging(lambda a, w, d: w.lerp(a, d))),
]
WRONG = [
    (RATE, schedule(lambda s, n, w: s / w), "Step 0 would learn nothing"),
    (RATE, schedule(lambda s, n, w: s / (w + 1)), "Step 0 would learn nothing"),
    (RATE, schedule(lambda s, n, w: (s + 1) / w), "Divide by W + 1"),
    (RATE, schedule(lambda s, n, w: 0.5), "(step + 1) / (W + 1)"),
    (RATE, schedule(lambda s, n, w: half(math.pi * s / n)), "This step is warm-up"),
    (
        RATE,
        schedule(cosine=lambda s, n, w: half(math.pi * s / n)),
        "subtract W above and below",
    ),
    (
        RATE,
        schedule(cosine=lambda s, n, w: half(math.pi * (s - w) / n)),
        "end at zero",
    ),
    (RATE, decay(lambda progress: math.cos(math.pi * progress)), "halve it"),
    (RATE, decay(lambda progress: 2 * half(math.pi * progress)), "halve it"),
    (RATE, decay(half), "multiply the progress by pi"),
    (RATE, decay(lambda p: half(math.radians(math.pi * p))), "the progress by pi"),
    (RATE, decay(lambda progress: half(2 * math.pi * progress)), "not to 2 pi"),
    (RATE, decay(lambda progress: 1 - progress), "the progress is"),
    (
        SMOOTH,
        smoothed(lambda k, e: 1 - e, lambda k, e: e / (k - 1)),
        "the other 9 classes only",
    ),
    (SMOOTH, smoothed(lambda k, e: 1 - e, lambda k, e: e / k), "gets its part"),
    (SMOOTH, smoothed(lambda k, e: 1 + e / k, lambda k, e: e / k), "taken away from"),
    (SMOOTH, smoothed(lambda k, e: 1 - e + e / k, lambda k, e: 0), "sum to 0.91"),
    (SMOOTH, lambda *arguments: [0.1] * 10, "the probability at (3,) should be 0.91"),
    (SMOOTH, lambda *arguments: torch.ones(1, 10), "shape (10,)", "shape (1, 10)"),
    (AVERAGE, averaging(lambda a, w, d: (1 - d) * a + d * w), "to the old average"),
    (AVERAGE, averaging(lambda a, w, d: d * a + w), "add up to 1"),
    (AVERAGE, averaging(lambda a, w, d: (a + w) / 2), "use decay"),
    (AVERAGE, averaging(lambda a, w, d: w), "nothing is averaged"),
    (AVERAGE, averaging(lambda a, w, d: a), "has not changed"),
    (AVERAGE, averaging(lambda a, w, d: a.sum()), "tensor of shape (2, 3)"),
    (AVERAGE, averaging(lambda a, w, d: 0.8 * a + 0.2 * w), "the average"),
    (AVERAGE, lambda a, w, d: a[0], "tensor of shape (2, 3)"),
    (AVERAGE, lambda a, w, d: a[:1], "list of 2 tensors", "a list of length 1"),
]
