"""The self-checks of notebook 10 say "not yet" to stubs and name typical mistakes."""

import math

import pytest
import torch
from verdicts import empty, wrong

from cifar_helpers.checks import train_on_gpu as checks


@pytest.mark.parametrize(
    "check",
    [checks.learning_rate_schedule, checks.label_smoothing, checks.weight_average],
)
def test_stub_is_not_yet_solved(check):
    assert check(empty).status == "not yet"


def windowed_schedule(step, steps, warmup_steps):
    """The same schedule cut out of a triangle and the falling half of a Hann window."""
    if step < warmup_steps:
        return torch.linspace(0, 1, warmup_steps + 2)[step + 1].item()
    decay = steps - warmup_steps
    window = torch.hann_window(2 * decay, dtype=torch.float64)  # (2 decay,)
    return window[decay + step - warmup_steps].item()


def test_schedule_agrees_with_a_hann_window():
    assert checks.learning_rate_schedule(windowed_schedule).status == "solved"


def schedule(line, cosine):
    """A schedule with a part of one's own: functions of (step, steps, warmup)."""
    line = line or (lambda s, n, w: (s + 1) / (w + 1))
    cosine = cosine or (lambda s, n, w: half(math.pi * (s - w) / (n - w)))
    return lambda s, n, w: line(s, n, w) if s < w else cosine(s, n, w)


def half(angle):
    return (1 + math.cos(angle)) / 2


@pytest.mark.parametrize(
    "line, cosine, words",
    [
        (lambda s, n, w: s / w, None, "Step 0 would learn nothing"),
        (lambda s, n, w: (s + 1) / w, None, "Divide by W + 1"),
        (lambda s, n, w: 0.5, None, "(step + 1) / (W + 1)"),
        (lambda s, n, w: half(math.pi * s / n), None, "This step is warm-up"),
        (None, lambda s, n, w: half(math.pi * s / n), "subtract W above and below"),
        (None, lambda s, n, w: half(math.pi * (s - w) / n), "end at zero"),
        (None, lambda s, n, w: math.cos(math.pi * (s - w) / (n - w)), "halve it"),
        (None, lambda s, n, w: 2 * half(math.pi * (s - w) / (n - w)), "halve it"),
        (None, lambda s, n, w: half((s - w) / (n - w)), "multiply the progress by pi"),
        (None, lambda s, n, w: half(2 * math.pi * (s - w) / (n - w)), "not to 2 pi"),
        (None, lambda s, n, w: 1 - (s - w) / (n - w), "the progress is"),
    ],
)
def test_mistakes_in_the_schedule_are_named(line, cosine, words):
    assert checks.learning_rate_schedule(schedule(None, None)).status == "solved"
    wrong(checks.learning_rate_schedule(schedule(line, cosine)), words)


def smoothed(true, other):
    """Targets with the given probability of the true and of any other class."""

    def target(label, classes, smoothing):
        values = torch.full((classes,), float(other(classes, smoothing)))
        values[label] = true(classes, smoothing)
        return values

    return target


@pytest.mark.parametrize(
    "true, other, words",
    [
        (lambda k, e: 1 - e, lambda k, e: e / (k - 1), "the other 9 classes only"),
        (lambda k, e: 1 - e, lambda k, e: e / k, "true class gets its part"),
        (lambda k, e: 1 + e / k, lambda k, e: e / k, "taken away from the true one"),
        (lambda k, e: 1 - e + e / k, lambda k, e: 0, "sum to 0.91"),
    ],
)
def test_mistakes_in_the_smoothed_target_are_named(true, other, words):
    right = smoothed(lambda k, e: 1 - e + e / k, lambda k, e: e / k)
    assert checks.label_smoothing(right).status == "solved"
    wrong(checks.label_smoothing(smoothed(true, other)), words)


def test_smoothed_target_must_be_a_tensor_with_one_number_per_class():
    wrong(checks.label_smoothing(lambda *arguments: [0.1] * 10), "shape (10,)")
    wrong(checks.label_smoothing(lambda *arguments: torch.ones(1, 10)), "shape (10,)")


def test_smoothed_target_agrees_with_the_loss_of_torch():
    def from_torch(label, classes, smoothing):
        loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
        scores = torch.zeros(1, classes, requires_grad=True)
        loss(scores, torch.tensor([label])).backward()
        return 1 / classes - scores.grad[0]  # the gradient is softmax - target

    assert checks.label_smoothing(from_torch).status == "solved"


def averaging(formula):
    return lambda averaged, weights, decay: [
        formula(a, w, decay) for a, w in zip(averaged, weights, strict=True)
    ]


@pytest.mark.parametrize(
    "formula, words",
    [
        (lambda a, w, d: (1 - d) * a + d * w, "belongs to the old average"),
        (lambda a, w, d: d * a + w, "add up to 1"),
        (lambda a, w, d: (a + w) / 2, "use decay"),
        (lambda a, w, d: w, "nothing is averaged"),
        (lambda a, w, d: a, "has not changed"),
        (lambda a, w, d: a.sum(), "tensor of shape (2, 3)"),
        (lambda a, w, d: 0.8 * a + 0.2 * w, "the average"),
    ],
)
def test_mistakes_in_the_average_are_named(formula, words):
    right = averaging(lambda a, w, d: w.lerp(a, d))
    assert checks.weight_average(right).status == "solved"
    wrong(checks.weight_average(averaging(formula)), words)


def test_average_must_be_a_list_of_all_tensors():
    wrong(checks.weight_average(lambda a, w, d: a[0]), "list of 2 tensors")
    wrong(checks.weight_average(lambda a, w, d: a[:1]), "list of 2 tensors")
