"""The self-checks of the exercises: they say what is wrong, not only that it is.

A check takes the reader's attempt and returns a `Verdict`, which a notebook shows as
the value of its cell. An attempt that is still empty is reported as not yet solved; an
attempt that fails is reported with a hint; nothing ever stops *Run all*.
"""

import functools
import html
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Verdict:
    """What a check found: `status` is "solved", "not yet" or "wrong"."""

    status: str
    message: str

    def __repr__(self) -> str:
        sign = {"solved": "✓", "not yet": "…", "wrong": "✗"}[self.status]
        return f"{sign} {self.message}"

    def _repr_html_(self) -> str:
        colour = {"solved": "#009E73", "not yet": "#7f7f7f", "wrong": "#D55E00"}
        return (
            f'<div style="border-left: 4px solid {colour[self.status]}; '
            f'padding: 4px 12px">{html.escape(repr(self))}</div>'
        )


class Wrong(Exception):
    """Raised inside a check; its text is the hint that the reader gets."""


class NotYet(Exception):
    """Raised inside a check when the attempt is still the empty stub."""


def exercise(check):
    """Turn a function that raises `Wrong` or `NotYet` into one that returns a Verdict.

    The function's return value is the praise: a sentence that says what was shown.
    """

    @functools.wraps(check)
    def judged(attempt) -> Verdict:
        try:
            return Verdict("solved", check(attempt))
        except NotYet:
            return Verdict("not yet", "Not solved yet: replace the … with your code.")
        except Wrong as hint:
            return Verdict("wrong", str(hint))
        except Exception as error:
            kind = type(error).__name__
            return Verdict("wrong", f"Your code raised {kind}: {error}")

    return judged


def answer(value):
    """The reader's value, unless it is still empty (None or …): then raises NotYet."""
    if value is None or value is ...:
        raise NotYet
    return value


def require(condition: bool, hint: str) -> None:
    """Raise `Wrong` with the hint unless the condition holds."""
    if not condition:
        raise Wrong(hint)


def require_close(got, wanted, what: str, tolerance: float = 1e-4) -> None:
    """Compare two tensors or numbers; the hint names shape, place and both values."""
    got, wanted = torch.as_tensor(got).double(), torch.as_tensor(wanted).double()
    require(
        got.shape == wanted.shape,
        f"{what} should have shape {tuple(wanted.shape)}, got {tuple(got.shape)}.",
    )
    if wanted.numel() == 0:
        return
    difference = (got - wanted).abs().nan_to_num(nan=float("inf")).flatten()
    worst = int(difference.argmax())
    if difference[worst] > tolerance:
        place = tuple(
            int(i) for i in torch.unravel_index(torch.tensor(worst), got.shape)
        )
        where = f" at {place}" if place else ""
        raise Wrong(
            f"{what}{where} should be {wanted.flatten()[worst]:.4g}, "
            f"yours is {got.flatten()[worst]:.4g}."
        )


# ---- 05 channel attention ----


@exercise
def attention_parameters(attempt):
    """Parameters of `ChannelAttention(channels, reduction)`, any whole numbers."""
    from cifar_helpers.blocks import ChannelAttention
    from cifar_helpers.model import count_parameters

    for channels, reduction in ((64, 4), (32, 8), (50, 8), (6, 16)):
        got = answer(attempt(channels, reduction))
        hidden = max(channels // reduction, 1)
        wanted = count_parameters(ChannelAttention(channels, reduction))
        call = f"attention_parameters({channels}, {reduction})"
        weights = 2 * channels * hidden
        require(
            got != weights,
            f"{call}: you counted the weights and forgot the biases, one for each "
            "hidden unit and one for each channel.",
        )
        require(
            got != weights + hidden and got != weights + channels,
            f"{call}: both layers have biases, you counted those of one.",
        )
        if channels % reduction:
            require(
                got == wanted,
                f"{call} should be {wanted}, yours is {got:g}: the hidden layer has a "
                "whole number of units (rounded down), and at least one.",
            )
        require(got == wanted, f"{call} should be {wanted}, yours is {got:g}.")
    return (
        "Right. The parameters grow with the square of the channels; a reduction r "
        "divides them by r."
    )


@exercise
def efficient_channel_attention(attempt):
    """Weights from a small convolution across channels (Wang et al. 2020)."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(2, 6, 4, 5, generator=generator)
    kernel = torch.tensor([2.0, -1.0, 0.5])
    got = answer(attempt(x.clone(), kernel.clone()))

    def weights(means, taps):
        sums = torch.nn.functional.conv1d(means[:, None], taps[None, None], padding=1)
        return sums[:, 0, :, None, None]  # (N, C, 1, 1)

    means = x.mean(dim=(2, 3))  # (N, C)
    right = torch.sigmoid(weights(means, kernel))
    mistakes = {
        "You returned the weights: multiply x by them.": right,
        "The sigmoid is missing: weights must lie between 0 and 1.": x
        * weights(means, kernel),
        "Your kernel is flipped: F.conv1d and the exercise do not flip it.": x
        * torch.sigmoid(weights(means, kernel.flip(0))),
        "You squeezed with the maximum of each map: take its mean.": x
        * torch.sigmoid(weights(x.amax(dim=(2, 3)), kernel)),
        "The channels compete in your softmax: use a sigmoid.": x
        * weights(means, kernel).softmax(dim=1),
    }
    for hint, wrong in mistakes.items():
        if got.numel() == wrong.numel():
            require(not torch.allclose(got, wrong.reshape(got.shape), atol=1e-5), hint)
    require_close(got, x * right, "The scaled map")
    longer = torch.tensor([0.3, -0.2, 1.0, 0.7, -0.5])
    logits = torch.nn.functional.conv1d(means[:, None], longer[None, None], padding=2)
    wanted = x * torch.sigmoid(logits)[:, 0, :, None, None]
    require_close(
        answer(attempt(x, longer)), wanted, "With a kernel of 5 taps, the scaled map"
    )
    return (
        f"Right. It has {len(kernel)} parameters, whatever the number of channels, but "
        "channels that are neighbours by accident now depend on each other."
    )


@exercise
def fold_weights(attempt):
    """A convolution that does the channel weights' work by itself."""
    generator = torch.Generator().manual_seed(6)
    for outputs, channels in ((3, 3), (5, 4)):
        x = torch.rand(2, channels, 7, 6, generator=generator)
        conv_weight = torch.randn(outputs, channels, 3, 3, generator=generator)
        scale = torch.rand(channels, generator=generator) + 0.2  # (C,)
        got = answer(attempt(conv_weight.clone(), scale.clone()))
        wanted = conv_weight * scale[:, None, None]  # (O, C, k, k)
        if outputs == channels:
            mistakes = {
                "You scaled the output channels: the weights belong to the input "
                "channels, dimension 1 of (O, C, k, k).": conv_weight
                * scale[:, None, None, None],
                "You scaled the kernel's columns: broadcasting lines shapes up from "
                "the right, so give the scale the shape (1, C, 1, 1).": conv_weight
                * scale,
                "Multiply by the channel weights, do not divide.": conv_weight
                / scale[:, None, None],
            }
            for hint, wrong in mistakes.items():
                same = got.shape == wrong.shape and torch.allclose(got, wrong)
                require(not same, hint)
        require_close(got, wanted, "The folded weight")
        conv2d = torch.nn.functional.conv2d
        expected = conv2d(x * scale[:, None, None], conv_weight, stride=2, padding=1)
        folded = conv2d(x, got, stride=2, padding=1)
        require_close(folded, expected, "The folded convolution's output")
    return (
        "Right. So fixed weights add nothing that the next convolution could not learn "
        "by itself: the block earns its place by looking at the image."
    )


# ---- 09 receptive field ----


def _pixels_behind(layers, unit: int) -> range:
    """The pixels behind one unit of an endless chain, traced back tap by tap."""
    places = {unit}
    for kernel, stride, dilation, padding in reversed(layers):
        places = {
            place * stride + tap * dilation - padding
            for place in places
            for tap in range(kernel)
        }
    return range(min(places), max(places) + 1)


def _recurrence_mistakes(layers) -> list[tuple[str, int, int | None]]:
    """Hint, size and start of each common mistake (None: the start shows nothing)."""
    size, start, jump = {}, {}, 1
    for kernel, stride, dilation, padding in layers:
        reach = (kernel - 1) * dilation
        terms = {
            "late": reach * jump * stride,
            "flat": reach,
            "plain": (kernel - 1) * jump,
            "wide": kernel * dilation * jump,
        }
        size = {name: size.get(name, 1) + term for name, term in terms.items()}
        steps = {"late": padding * jump * stride, "flat": padding}
        start = {name: start.get(name, 0) - step for name, step in steps.items()}
        jump *= stride
    hints = {
        "late": "A kernel reaches over units of the layer below: use the jump from "
        "before this layer's stride is multiplied in.",
        "flat": "The jump is missing: one step in a deep layer is several pixels.",
        "plain": "The dilation is missing: the outermost taps lie (k - 1) d apart.",
        "wide": "A kernel of k taps makes k - 1 steps, not k.",
    }
    return [(hint, size[name], start.get(name)) for name, hint in hints.items()]


def _why_recurrence_fails(layers, what: str, got, wanted) -> str:
    if what == "jump":
        return "The jump is the product of all strides."
    if what == "start" and got == -wanted:
        return "Padding moves the start to the left: subtract it."
    for hint, size, start in _recurrence_mistakes(layers):
        if got == (size if what == "size" else start):
            return hint
    return "Update size and start of each layer first, then the jump."


@exercise
def field_recurrence(recurrence) -> str:
    """Check `recurrence(layers)` -> (size, jump, start) against traced taps."""
    stacks = (
        [(3, 1, 1, 1)],
        [(3, 1, 1, 1), (3, 1, 1, 1)],
        [(3, 1, 2, 2), (5, 1, 3, 6)],
        [(3, 2, 1, 1), (3, 1, 1, 1)],
        [(3, 1, 1, 1), (3, 2, 2, 2), (3, 1, 1, 1)],
        [(7, 2, 1, 3), (3, 2, 1, 1), (2, 2, 1, 0), (3, 1, 4, 4)],
    )
    for layers in stacks:
        got = answer(recurrence(list(layers)))
        require(
            isinstance(got, (tuple, list)) and len(got) == 3,
            f"Return three numbers, (size, jump, start), not {got!r}.",
        )
        first, second = _pixels_behind(layers, 0), _pixels_behind(layers, 1)
        all_wanted = (len(first), second[0] - first[0], first[0])
        names = ("size", "jump", "start")
        for what, value, wanted in zip(names, got, all_wanted, strict=True):
            require(
                value == wanted,
                f"For {layers} the {what} should be {wanted}, yours is {value}. "
                + _why_recurrence_fails(layers, what, value, wanted),
            )
    return (
        "Right. The order is what matters: size and start use the jump of the layer "
        "below, so a stride only shows in the layers after it."
    )


@exercise
def field_of_a_stack(size_and_jump) -> str:
    """Check the field of VGG-16's first seven convolutions: size 40, jump 4."""
    got = answer(size_and_jump)
    require(
        isinstance(got, (tuple, list)) and len(got) == 2,
        f"Give two numbers, (size, jump), not {got!r}.",
    )
    size, jump = answer(got[0]), answer(got[1])
    hints = {
        15: "you counted the convolutions as if nothing were pooled: behind a stride "
        "of 2 each step is twice as long. And the pooling windows look, too.",
        17: "you forgot the strides: behind a pooling of stride 2 each step is twice "
        "as long.",
        37: "you forgot that a pooling window looks at two units: it adds one step.",
        43: "the pooling doubles the jump for the layers after it, not for itself.",
        44: "after the last convolution no pooling follows: leave the third one out.",
        32: "there are three convolutions after the second pooling, not two.",
    }
    hint = hints.get(size, "go layer by layer: each adds (k - 1) times the jump.")
    require(size == 40, f"Size {size}: {hint}")
    require(jump == 4, f"Size 40 is right, jump {jump} is not: multiply all strides.")
    return (
        "Right: 40 pixels. Seven 3 × 3 convolutions alone would see 15; the two "
        "poolings add 3 themselves and make the steps behind them longer."
    )


@exercise
def gapless_dilations(dilations) -> str:
    """Check three dilations after a plain 3 x 3: unit (16, 16) must see all pixels."""
    from cifar_helpers.receptive_field import receptive_field

    values = answer(dilations)
    require(
        isinstance(values, (tuple, list)) and len(values) == 3,
        f"Give three dilations, such as (2, 4, 8), not {values!r}.",
    )
    values = [answer(value) for value in values]
    require(
        all(type(value) is int and value >= 1 for value in values),
        f"Dilations are whole numbers of at least 1, got {tuple(values)}.",
    )
    convolutions = [
        torch.nn.Conv2d(1, 1, 3, padding=d, dilation=d) for d in (1, *values)
    ]
    field = receptive_field(torch.nn.Sequential(*convolutions), (1, 32, 32))[-1]
    top, bottom, _, _ = field.span(16, 16)
    rows = field.mask(16, 16).any(dim=1)[top : bottom + 1]  # columns are the same
    missing = int((~rows).sum())
    gaps = (
        f"rows {top} to {bottom} are in reach, but {missing} of these rows are never "
        "looked at. A dilation may be at most as large as the field in front of it is "
        "wide; otherwise its taps leave a gap."
    )
    require(missing == 0, f"There are gaps: {gaps}")
    require(
        (top, bottom) == (0, 31),
        f"No gaps, but the unit sees only the rows {top} to {bottom}. "
        + (
            "Make the dilations add up to at least 15."
            if sum(values) < 15
            else "The sum is large enough, but paths end where a tap lands in the "
            "padding of a map in between: try smaller steps or another order."
        ),
    )
    return (
        f"Right: dilations {tuple(values)} reach all 1024 pixels without a gap. "
        "Three layers without the plain one in front could not, whatever their "
        "dilations: three taps three times over make 27 places per axis, fewer than 32."
    )


@exercise
def taps_that_see(taps_at) -> str:
    """Check `taps_at(size, dilation, i, j)` against a count over all nine taps."""
    cases = [(32, 2, 16, 16), (32, 2, 0, 16), (32, 2, 0, 0), (32, 16, 16, 16)]
    cases += [(32, 16, 15, 15), (32, 8, 8, 8), (32, 8, 23, 24), (16, 16, 8, 3)]
    cases += [(32, 12, 16, 4), (17, 18, 16, 0), (20, 10, 10, 9), (9, 4, 4, 4)]
    for size, dilation, i, j in cases:
        got = answer(taps_at(size, dilation, i, j))
        steps = (-dilation, 0, dilation)
        rows = sum(0 <= i + step < size for step in steps)
        columns = sum(0 <= j + step < size for step in steps)
        if got == rows * columns:
            continue
        reason = "a tap is live if 0 <= position < size, on both axes."
        edges = [sum(0 <= p + step <= size for step in steps) for p in (i, j)]
        if got == rows + columns:
            reason = "rows and columns are independent: multiply, do not add."
        elif got == rows * columns - 1:
            reason = "you forgot the tap in the middle: it always sees the map."
        elif got == edges[0] * edges[1]:
            reason = "the last position is size - 1: position `size` is padding."
        elif got == 9:
            reason = "near the border some taps land in the padding."
        elif got in (rows, columns):
            reason = "that is one axis only: a 3 × 3 kernel has rows and columns."
        raise Wrong(
            f"On a {size} × {size} map with dilation {dilation}, output ({i}, {j}) has "
            f"{rows * columns} live taps, you say {got}. The reason may be: {reason}"
        )
    return (
        "Right. On one axis three taps live while both neighbours are inside, else "
        "two, or one when the dilation leads out on both sides: so there are only "
        "1, 2, 4, 6 or 9 live taps."
    )


# ---- 10 train ----


@exercise
def learning_rate_schedule(schedule) -> str:
    """Check `schedule(step, steps, warmup_steps)`: linear rise, then half a cosine."""
    import math

    def wanted(step, steps, warmup):
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2

    for steps, warmup in ((100, 20), (60, 0), (7, 3)):
        for step in range(steps):
            got = float(answer(schedule(step, steps, warmup)))
            want = wanted(step, steps, warmup)
            if abs(got - want) > 1e-6:
                hint = _why_schedule_fails(got, want, step, steps, warmup)
                raise Wrong(
                    f"With {steps} steps, {warmup} of them warm-up, the factor of step "
                    f"{step} should be {want:.4f}, yours is {got:.4f}. {hint}"
                )
    return (
        "Right. The line would reach 1 at step W, just where the cosine begins: no "
        "jump. Line and cosine both average to one half, so over a run the mean rate "
        "is half of the highest, however long the warm-up."
    )


def _why_schedule_fails(got, want, step, steps, warmup) -> str:
    """What probably went wrong at this step of the schedule."""
    import math

    def close(value):
        return abs(got - value) < 1e-6

    if step < warmup:
        if close(step / max(warmup, 1)) or close(step / (warmup + 1)):
            return "Step 0 would learn nothing: count from 1, so step + 1."
        if close((step + 1) / warmup):
            return "Divide by W + 1: then the factor 1 comes at step W, not before."
        if close((1 + math.cos(math.pi * step / steps)) / 2):
            return "This step is warm-up: use the line, not the cosine."
        return "In the warm-up the factor is (step + 1) / (W + 1)."
    if warmup and close((1 + math.cos(math.pi * step / steps)) / 2):
        return "The cosine starts after the warm-up: subtract W above and below."
    if warmup and close((1 + math.cos(math.pi * (step - warmup) / steps)) / 2):
        return "The decay has S - W steps, not S, so yours does not end at zero."
    progress = (step - warmup) / (steps - warmup)
    if close(math.cos(math.pi * progress)):
        return "A cosine runs from 1 to -1: lift it by 1 and halve it."
    if close(1 + math.cos(math.pi * progress)):
        return "A cosine lifted by 1 runs from 2 to 0: halve it."
    if close((1 + math.cos(math.radians(math.pi * progress))) / 2) or close(
        (1 + math.cos(progress)) / 2
    ):
        return "The angle goes from 0 to pi (in radians): multiply the progress by pi."
    if close((1 + math.cos(2 * math.pi * progress)) / 2):
        return "Half a cosine wave goes from 0 to pi, not to 2 pi."
    return "After the warm-up the progress is (step - W) / (S - W)."


@exercise
def label_smoothing(smoothed_target) -> str:
    """Check `smoothed_target(label, classes, smoothing)` -> probabilities."""
    for label, classes, smoothing in ((3, 10, 0.1), (0, 10, 0.0), (4, 5, 0.5)):
        got = answer(smoothed_target(label, classes, smoothing))
        case = f"For label {label} of {classes} classes and smoothing {smoothing}"
        require(
            isinstance(got, torch.Tensor) and got.shape == (classes,),
            f"{case}, return a tensor of shape ({classes},), not {got!r}.",
        )
        got = got.double()
        true, other = got[label].item(), got[(label + 1) % classes].item()
        require(
            abs(other - smoothing / (classes - 1)) > 1e-6 or smoothing == 0,
            f"{case}: you spread the share over the other {classes - 1} classes only. "
            "The formula spreads it over all K, the true one included.",
        )
        require(
            abs(true - (1 - smoothing)) > 1e-6 or smoothing == 0,
            f"{case}: the true class gets its part of the spread share, too: "
            "(1 - smoothing) + smoothing / classes.",
        )
        require(
            abs(got.sum().item() - 1) < 1e-6,
            f"{case}, your probabilities sum to {got.sum().item():.4g}, not to 1: what "
            "is added to all classes must be taken away from the true one.",
        )
        wanted = torch.full((classes,), smoothing / classes, dtype=torch.float64)
        wanted[label] += 1 - smoothing
        require_close(got, wanted, f"{case}, the probability", tolerance=1e-6)
    return (
        "Right. However you choose the share below 1, the true class stays the most "
        "probable, so smoothing never changes what the right answer is."
    )


@exercise
def weight_average(update_average) -> str:
    """Check `update_average(averaged, weights, decay)` against torch's own average."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    decay, generator = 0.9, torch.Generator().manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    average.update_parameters(model)  # the first call only copies the weights
    mine = [weight.detach().clone() for weight in model.parameters()]
    for step in range(1, 4):
        with torch.no_grad():
            for weight in model.parameters():
                shape = weight.shape
                weight.copy_(torch.randn(shape, generator=generator).double())
        average.update_parameters(model)
        before, weights = mine, [w.detach().clone() for w in model.parameters()]
        mine = answer(update_average([m.clone() for m in mine], weights, decay))
        require(
            isinstance(mine, (list, tuple)) and len(mine) == len(before),
            f"Return a list of {len(before)} tensors, one per weight tensor.",
        )
        mine = [answer(value) for value in mine]
        wanted = [value.detach() for value in average.module.parameters()]
        for got, old, new, want in zip(mine, before, weights, wanted, strict=True):
            hint = _why_average_fails(got, old, new, decay)
            require(not hint, f"Step {step}: {hint}")
            require_close(got, want, f"Step {step}: the average", tolerance=1e-6)
    return (
        "Right, and equal to torch's AveragedModel after three steps. Its first call "
        "copies the weights: an average that started at zero would be too small for a "
        "long time."
    )


def _why_average_fails(got, old, new, decay) -> str:
    """The typical mistakes in one update of a moving average, or an empty text."""
    if not isinstance(got, torch.Tensor) or got.shape != old.shape:
        return f"an average should be a tensor of shape {tuple(old.shape)}."
    mistakes = (
        ((1 - decay) * old + decay * new, "decay belongs to the old average, not to "
         "the new weights: yours forgets nearly everything in each step."),
        (decay * old + new, "the two shares must add up to 1: multiply the new "
         "weights by 1 - decay."),
        ((old + new) / 2, "old and new do not count the same: use decay."),
        (new, "these are the new weights; nothing is averaged."),
        (old, "the average has not changed."),
    )  # fmt: skip
    for value, hint in mistakes:
        if torch.allclose(got.double(), value, atol=1e-9):
            return hint
    return ""


# ---- 11 evaluate ----


@exercise
def precision_and_recall(measure) -> str:
    """Check `measure(matrix)` -> (precision, recall), each (classes,), in 0 … 1."""
    matrices = (
        torch.tensor([[8, 1, 1], [2, 6, 2], [5, 0, 5]]),
        torch.tensor([[3, 1, 0, 0], [0, 4, 0, 4], [1, 1, 2, 0], [0, 2, 0, 9]]),
    )
    for matrix in matrices:
        got = answer(measure(matrix.clone()))
        require(
            isinstance(got, (tuple, list)) and len(got) == 2,
            "Return two tensors, (precision, recall).",
        )
        precision, recall = (
            torch.as_tensor(answer(value)).double().flatten() for value in got
        )
        counts = matrix.double()
        right = counts.diagonal()
        called, there = counts.sum(0), counts.sum(1)
        for name, values in (("precision", precision), ("recall", recall)):
            require(
                values.shape == right.shape,
                f"{name} should hold one number per class, {len(right)}, "
                f"not {tuple(values.shape)}.",
            )
            require(
                not torch.allclose(values, right / counts.sum()),
                f"{name}: you divided by all images. Divide by those of one row or "
                "one column.",
            )
            require(
                float(values.max()) <= 1,
                f"{name} is a share, between 0 and 1; yours reaches "
                f"{float(values.max()):.3g}.",
            )
        swapped = torch.allclose(precision, right / there, atol=1e-6)
        require(
            not (swapped and torch.allclose(recall, right / called, atol=1e-6)),
            "You swapped them. A row holds all images of one true class: divide by "
            "its sum for the recall. A column holds all that was called so: precision.",
        )
        require_close(precision, right / called, "The precision")
        require_close(recall, right / there, "The recall")
    return (
        "Right. Both have the same numerator, the diagonal. The column asks whether "
        "you can trust the answer, the row whether the class is found."
    )


@exercise
def calibration_error(expected_error) -> str:
    """Check `expected_error(confidence, accuracy, count)` -> the ECE in percent."""
    cases = (
        ([0.55, 0.75, 0.95], [0.50, 0.80, 0.90], [100, 300, 600]),
        ([0.3, 0.9], [0.6, 0.9], [10, 990]),
        ([0.2, 0.5, 0.8], [0.1, 0.6, 0.8], [50, 50, 100]),
    )
    for rows in cases:
        confidence, accuracy, count = (torch.tensor(row).double() for row in rows)
        got = float(answer(expected_error(confidence, accuracy, count)))
        gap, share = accuracy - confidence, count / count.sum()
        wanted = 100 * float((share * gap.abs()).sum())
        mistakes = (
            (100 * float((share * gap).sum()), "gaps of opposite sign cancel: take "
             "absolute values before you add."),
            (100 * abs(float((share * gap).sum())), "gaps of opposite sign cancel: "
             "take the absolute value of each gap, not of the sum."),
            (100 * float(gap.abs().mean()), "a bin counts by its images: weight each "
             "gap by count / total."),
            (float((count * gap.abs()).sum()), "divide by the number of images."),
            (100 * float((count * gap.abs()).sum()), "divide by the number of images."),
            (wanted / 100, "that is a fraction: give percent."),
            (100 * float((share * gap**2).sum()), "take the absolute gap, not its "
             "square."),
            (100 * float(gap.abs().max()), "that is the largest gap; the expected "
             "error is the mean gap."),
        )  # fmt: skip
        if abs(got - wanted) > 1e-4:
            hints = [hint for value, hint in mistakes if abs(got - value) < 1e-4]
            reason = hints[0] if hints else "It is the mean gap, weighted by images."
            raise Wrong(
                f"For confidence {rows[0]}, accuracy {rows[1]} and {rows[2]} images "
                f"the error should be {wanted:.3g} %, yours is {got:.4g}: {reason}"
            )
    return (
        "Right. The second test has a bin that is off by 30 points and an error of "
        "only 0.3 %: ten images weigh little. Look at the diagram, not only at the "
        "number."
    )


@exercise
def most_false_alarms(attempt) -> str:
    """Check `(matrix, index)`: the class that others are most often taken for."""
    matrix, index = attempt
    index = answer(index)
    counts = torch.as_tensor(matrix).clone()
    index = int(index)
    require(
        0 <= index < len(counts),
        f"Give the number of a class, 0 to {len(counts) - 1}, not {index}.",
    )
    called = counts.sum(0)
    counts.fill_diagonal_(0)
    alarms, missed = counts.sum(0), counts.sum(1)
    if alarms[index] == alarms.max():
        return (
            f"Right: {int(alarms[index])} images of other classes were called so. The "
            "network reaches for this class when in doubt, which lowers its precision."
        )
    reason = f"{int(alarms[index])} false alarms are not the most."
    if missed[index] == missed.max():
        reason = "That class is missed most often: you summed rows. Sum the columns."
    elif called[index] == called.max():
        reason = "That class is called most often, rightly or not: leave out the "
        reason += "diagonal before you add."
    raise Wrong(f"Not class {index}. {reason}")


# ---- 06 deconvolution and residual ----


@exercise
def doubling_padding(attempt):
    """(padding, output_padding) with which stride 2 doubles a map exactly."""
    for kernel in range(2, 10):
        got = answer(attempt(kernel))
        require(
            isinstance(got, (tuple, list)) and len(got) == 2,
            f"Return the pair (padding, output_padding), got {got!r}.",
        )
        padding, extra = answer(got[0]), answer(got[1])
        call = f"doubling_padding({kernel})"
        require(
            all(isinstance(number, int) and number >= 0 for number in (padding, extra)),
            f"{call} must be two whole numbers from 0 on, got {tuple(got)}: divide "
            "with //.",
        )
        require(
            extra < 2,
            f"{call}: output_padding must be smaller than the stride, 2, got {extra}.",
        )
        size = 2 * (5 - 1) - 2 * padding + kernel + extra
        parity = (
            " With an odd kernel the output is odd without output_padding."
            if size % 2
            else ""
        )
        require(
            size == 10,
            f"{call}: 5 pixels become {size} with your {padding} and {extra}, and "
            f"not 10.{parity}",
        )
    return (
        "Right. Only an even kernel does without output_padding, one more reason for "
        "kernel 4 or 2 with stride 2."
    )


@exercise
def start_without_blocks(attempt):
    """All taps of each (in, out) pair equal, the pairs different, in place."""
    layer = torch.nn.ConvTranspose2d(5, 6, 4, stride=4, bias=False)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
    old = layer.weight.detach().clone()  # (in, out, 4, 4)
    returned = attempt(layer)
    new = layer.weight.detach()
    if returned is None and torch.equal(new, old):
        raise NotYet
    require(
        new.shape == old.shape,
        f"The weight must keep its shape {tuple(old.shape)}, now it is "
        f"{tuple(new.shape)}: copy the mean back to all taps.",
    )
    require(
        not torch.equal(new, old),
        "The layer is unchanged: write into it, under torch.no_grad(), with "
        "deconv.weight.copy_(…).",
    )
    require(
        layer.weight.requires_grad and isinstance(layer.weight, torch.nn.Parameter),
        "The weight learns no more: change it in place and keep the parameter.",
    )
    spread = new.std(dim=(2, 3)).max()
    by_pair = new.mean(dim=(2, 3))  # (in, out)
    require(
        by_pair.std() > 1e-3,
        "All pairs of channels have the same weight now: take the mean over the "
        "kernel's dimensions 2 and 3 only.",
    )
    require(
        min(by_pair.std(dim=0).min(), by_pair.std(dim=1).min()) > 1e-3,
        "You averaged over channels, too: each pair of input and output channel keeps "
        "a value of its own.",
    )
    require(
        spread < 1e-5,
        f"Within one pair the taps still differ, with a standard deviation of "
        f"{spread:.2g}: the painted tile is not flat.",
    )
    return (
        "Right: a constant image stays constant. The gradients of the taps differ, so "
        "training can give each its own value."
    )


@exercise
def start_as_identity(attempt):
    """Residual blocks that start as y = x and still learn."""
    from cifar_helpers.blocks import DepthwiseSeparableConv

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        stack = torch.nn.Sequential(*(DepthwiseSeparableConv(8, 8) for _ in range(6)))
        x = torch.rand(4, 8, 8, 8) + 0.1
        upstream = torch.randn(4, 8, 8, 8)
    old = {name: value.clone() for name, value in stack.state_dict().items()}
    returned = attempt(stack)
    new = stack.state_dict()
    require(new.keys() == old.keys(), "Keep all blocks: only set their parameters.")
    same = all(torch.equal(new[name], value) for name, value in old.items())
    if same and returned is None:
        raise NotYet
    learning = all(parameter.requires_grad for parameter in stack.parameters())
    require(learning, "A frozen parameter cannot learn: leave requires_grad as it is.")
    for layer, reason in (
        ("pointwise", "its batch normalization then divides by almost zero, and the "
         "first gradients are some hundred times too large"),
        ("depthwise", "then nothing but zeros comes to the batch normalization, which "
         "divides by almost zero"),
    ):  # fmt: skip
        dead = any(not getattr(block, layer).weight.any() for block in stack)
        require(not dead, f"Do not zero the {layer} weights: {reason}. What follows?")
    stack.train()
    x.requires_grad_(True)
    out = stack(x)
    difference = float((out - x).detach().abs().max())
    require(
        difference < 1e-6,
        f"The stack is not the identity yet: it changes its input by up to "
        f"{difference:.2g}. What comes last in f, and can be zero? (norm.weight)",
    )
    (out * upstream).sum().backward()
    require_close(x.grad, upstream, "The gradient at the input")
    require(
        all(bool(block.norm.weight.grad.any()) for block in stack),
        "No gradient reaches the batch normalization: the blocks cannot learn.",
    )
    return (
        "Right: six blocks deep, and the gradient arrives unchanged. The inputs are "
        "never negative behind a ReLU, so the ReLU after the sum changes nothing."
    )


# ---- 04 dilated convolution ----


@exercise
def dilated_convolution(attempt) -> str:
    """Check `attempt(x, weight, dilation)` against `F.conv2d`, a filter per channel."""
    generator = torch.Generator().manual_seed(0)
    for size, dilation in [((9, 9), 1), ((9, 8), 2), ((11, 12), 3), ((4, 5), 4)]:
        x = torch.randn(2, 3, *size, generator=generator)
        weight = torch.randn(3, 1, 3, 3, generator=generator)
        wanted = _depthwise(x, weight, dilation)
        given = x.clone()
        got = answer(attempt(given, weight, dilation))
        require(torch.equal(given, x), "Your function changes its input x in place.")
        require(isinstance(got, torch.Tensor), f"Return a tensor, not {type(got)}.")
        where = f"With dilation {dilation} on a {size[0]} × {size[1]} map, "
        if got.shape != wanted.shape:
            raise Wrong(
                f"{where}the output should have shape {tuple(wanted.shape)}, got "
                f"{tuple(got.shape)}. The padding must be as wide as the dilation."
            )
        mistakes = {
            "the taps are mirrored: weight[..., 0, 0] takes the pixel above left.": (
                _depthwise(x, weight.flip(2, 3), dilation)
            ),
            "rows and columns of the weight are swapped.": (
                _depthwise(x, weight.mT, dilation)
            ),
            "the dilation is ignored: shift by `dilation` pixels, not by one.": (
                _depthwise(x, weight, 1)
            ),
        }
        if not torch.allclose(got, wanted, atol=1e-4):
            for hint, mistake in mistakes.items():
                alike = torch.allclose(got, mistake, atol=1e-4)
                require(not alike, f"{where}{hint}")
        require_close(got, wanted, f"{where}the output")
    return (
        "Right: nine multiplications per pixel and channel, whatever the dilation. "
        "Where a tap only ever reads padding, you could skip it: see section 6."
    )


def _depthwise(x, weight, dilation):
    return torch.nn.functional.conv2d(
        x, weight, padding=dilation, dilation=dilation, groups=len(weight)
    )


@exercise
def solid_dilations(dilations) -> str:
    """Check that four dilations reach the largest field that has no hole."""
    values = list(answer(dilations))
    require(
        len(values) == 4 and all(isinstance(d, int) and d >= 1 for d in values),
        f"Give four whole numbers of at least 1, such as (1, 2, 4, 8), not {values}.",
    )
    reached = {0}
    for d in values:
        reached = {place + step for place in reached for step in (-d, 0, d)}
    farthest = sum(values)
    holes = [place for place in range(farthest + 1) if place not in reached]
    if holes:
        raise Wrong(
            f"The field is {2 * farthest + 1} wide, but it has holes: nothing is read "
            f"{holes[0]} pixels from the middle, for example. Sorted from small to "
            "large, a dilation may be at most as large as the field before it."
        )
    require(
        farthest == 40,
        f"No hole, and the field is {2 * farthest + 1} wide. It can be wider: if no "
        "pixel is reached twice, each layer makes the field three times as wide.",
    )
    return (
        "Right: powers of three give a field of 81 × 81, with exactly one path from "
        "every pixel, like the numbers of a base-three system. Doubling spends its "
        "paths differently: many of them lead to the pixels near the middle."
    )


@exercise
def live_fraction(attempt) -> str:
    """Check `attempt(size, dilation)` against a count over taps and positions."""
    for size, d in [(32, 1), (32, 4), (8, 4), (32, 16), (32, 18), (16, 16), (8, 12)]:
        axis = sum(0 <= i + u < size for i in range(size) for u in (-d, 0, d))
        wanted = (axis / (3 * size)) ** 2
        got = float(answer(attempt(size, d)))
        if abs(got - wanted) < 1e-6:
            continue
        share = max(0, 1 - d / size)
        reason = "count, for one axis, at how many positions each of 3 taps is inside."
        if abs(got - axis / (3 * size)) < 1e-6:
            reason = "that is one axis only: rows and columns are independent."
        elif d > size:
            reason = "a tap cannot be live at fewer than zero positions: use max(0, …)."
        elif abs(got - share**2) < 1e-6 or abs(got - share) < 1e-6:
            reason = "that is an outer tap alone: average over all nine."
        elif abs(got - max(0, 1 - 2 * d / size) ** 2) < 1e-6:
            reason = "that is the share of positions at which all nine taps are live."
        elif abs(got - 9 * wanted) < 1e-5:
            reason = "that is the number of live taps: divide by nine."
        raise Wrong(
            f"With dilation {d} on a {size} × {size} map, {wanted:.4f} of taps × "
            f"positions are live, you say {got:.4f}. The reason may be: {reason}"
        )
    return (
        "Right. Since both axes multiply, the loss is quick: half the map's width as "
        "dilation already leaves only (2/3)² = 4/9 of the filter alive."
    )


# ---- 01 meet the data ----


@exercise
def channel_statistics(attempt):
    """Mean and standard deviation of each channel, over a whole set of images."""
    generator = torch.Generator().manual_seed(1)
    offsets = torch.randint(0, 200, (40, 3, 1, 1), generator=generator)
    images = offsets + torch.randint(0, 56, (40, 3, 8, 6), generator=generator)
    images = images.to(torch.uint8)  # (40, 3, 8, 6), each with a brightness of its own
    mean, std = answer(attempt(images.clone()))
    mean, std = torch.as_tensor(mean).double(), torch.as_tensor(std).double()
    for name, value in (("mean", mean), ("standard deviation", std)):
        require(
            value.shape == (3,),
            f"The {name} should have shape (3,), one number per channel, got "
            f"{tuple(value.shape)}: reduce over images, rows and columns, "
            "dim=(0, 2, 3).",
        )
    require(
        float(mean.max()) <= 1,
        "The mean lies above 1: divide the bytes by 255.",
    )
    pixels = images.double() / 255  # (N, 3, H, W)
    require_close(mean, pixels.mean(dim=(0, 2, 3)), "The mean")
    mistakes = {
        "You averaged the standard deviations of single images: that leaves out how "
        "much the images differ from each other. Pool all pixels.": pixels.std(
            dim=(2, 3)
        ).mean(0),
        "This is how much the means of the images vary: pool all pixels "
        "instead.": pixels.mean(dim=(2, 3)).std(0),
        "This is the variance: take its square root.": pixels.var(dim=(0, 2, 3)),
        "The standard deviation is still in bytes: divide it by 255 too.": 255
        * pixels.std(dim=(0, 2, 3)),
    }
    for hint, wrong in mistakes.items():
        require(not torch.allclose(std, wrong, rtol=1e-3), hint)
    require_close(std, pixels.std(dim=(0, 2, 3)), "The standard deviation", 1e-3)
    return (
        "Right. Six numbers describe 150 million bytes, and they come from the "
        "training images alone."
    )


@exercise
def images_needed(attempt):
    """How many images an accuracy needs for a given error bar; percentages in."""
    for accuracy, half_width in ((90.0, 0.25), (90.0, 0.5), (50.0, 1.0), (86.5, 0.67)):
        got = float(answer(attempt(accuracy, half_width)))
        share, half = accuracy / 100, half_width / 100
        wanted = 1.96**2 * share * (1 - share) / half**2
        call = f"images_needed({accuracy}, {half_width})"
        mistakes = {
            "the 1.96 is missing, or not squared.": (
                wanted / 1.96**2,
                wanted / 1.96,
            ),
            "half_width_percent is in percent, p in fractions: divide both by 100.": (
                wanted / 100**2,
                wanted / 100,
                wanted * 100,
            ),
            "half_width_percent must be squared: solve the formula for n.": (
                wanted * half,
            ),
            "p (1 - p) is the variance: it stands under the root already.": (
                wanted / (share * (1 - share)) ** 0.5,
            ),
        }
        for hint, values in mistakes.items():
            for value in values:
                require(abs(got - value) > 1e-3 * value + 1, f"{call}: {hint}")
        require(
            abs(got - wanted) <= 1e-3 * wanted + 1,
            f"{call} should be about {wanted:,.0f}, yours is {got:,.0f}.",
        )
    return (
        "Right. Half the error bar costs four times the images: CIFAR-10's 10,000 test "
        "images cannot settle a quarter of a percentage point."
    )


@exercise
def random_brightness(attempt):
    """One random factor per image of a uint8 batch, clipped to a byte."""

    def run(images, strength, seed=0):
        return answer(attempt(images, strength, torch.Generator().manual_seed(seed)))

    images = torch.full((64, 3, 4, 4), 100, dtype=torch.uint8)
    images[:, 1] = 50
    before = images.clone()
    got = run(images, 0.4)
    require(torch.equal(images, before), "You changed the input: return a new batch.")
    _require_one_factor_per_image(got)
    _require_range(got[:, 0, 0, 0].double() / 100, 0.4)
    require(
        torch.equal(run(images, 0.4), got)
        and not torch.equal(run(images, 0.4, seed=1), got),
        "The same generator state should give the same batch, and another one another: "
        "pass generator=generator to torch.rand.",
    )
    bright = run(torch.full((64, 3, 4, 4), 200, dtype=torch.uint8), 0.5)
    require(
        int(bright.min()) >= 98,
        "Bright pixels wrapped around and became dark: clamp to 255 before you turn "
        "them into bytes.",
    )
    return (
        "Right. Every image keeps its content and its label; the network learns that "
        "the light does not matter."
    )


def _require_one_factor_per_image(got) -> None:
    """`got` came from red 100, green 50 and blue 100, as uint8 (64, 3, 4, 4)."""
    require(
        got.dtype == torch.uint8,
        f"The batch should stay uint8, yours is {got.dtype}: round, clamp to 0 … 255, "
        "then `.to(torch.uint8)`.",
    )
    require(
        got.shape == (64, 3, 4, 4),
        f"The shape should stay (64, 3, 4, 4), got {tuple(got.shape)}.",
    )
    factors = got[:, 0].double() / 100  # (64, 4, 4)
    require(
        bool((factors == factors[:, :1, :1]).all()),
        "The pixels of one image got different factors: draw numbers of shape "
        "(N, 1, 1, 1).",
    )
    require(
        bool((factors != factors[:1]).any()),
        "All images got the same factor: draw one for each image, shape (N, 1, 1, 1).",
    )
    colours = (got[:, 1].double() - got[:, 0].double() / 2).abs()
    require(
        float(colours.max()) <= 1,
        "The channels of one image got different factors: that changes its colour. "
        "Draw numbers of shape (N, 1, 1, 1).",
    )


def _require_range(factors, strength: float) -> None:
    low, high = float(factors.min()), float(factors.max())
    require(
        1 - strength - 0.011 <= low and high <= 1 + strength + 0.011,
        f"With strength {strength} the factors should lie between {1 - strength:.1f} "
        f"and {1 + strength:.1f}, yours go from {low:.2f} to {high:.2f}.",
    )
    require(
        low < 1 - strength / 2 and high > 1 + strength / 2,
        f"The factors should fill {1 - strength:.1f} to {1 + strength:.1f} evenly, "
        f"yours go only from {low:.2f} to {high:.2f}: torch.rand gives 0 to 1, stretch "
        "and shift it.",
    )


# ---- 08 assemble the network ----


@exercise
def separable_parameters(attempt):
    """Parameters of a depthwise separable convolution with its batch norm."""
    from cifar_helpers.blocks import DepthwiseSeparableConv
    from cifar_helpers.model import count_parameters

    for i, o in ((32, 64), (48, 48), (5, 7)):
        got = answer(attempt(i, o))
        wanted = count_parameters(DepthwiseSeparableConv(i, o))
        mistakes = {
            9 * i + i * o: "batch normalization is missing: a scale and a shift for "
            "each output channel.",
            9 * i * o: "this is a dense 3 × 3 convolution: the depthwise part has one "
            "filter per input channel.",
            9 * i * o + 2 * o: "this is a dense 3 × 3 convolution: the depthwise part "
            "has one filter per input channel.",
            9 * i + i * o + o: "batch normalization learns two numbers per channel, a "
            "scale and a shift.",
            9 * i + i * o + 4 * o: "the running mean and variance are measured, not "
            "learned: they are no parameters.",
            9 * i + i * o + i + 3 * o: "these convolutions have no bias: the shift of "
            "the batch normalization does its work.",
            9 * o + i * o + 2 * o: "the depthwise convolution comes first: it works on "
            "the input channels.",
        }
        call = f"separable_parameters({i}, {o})"
        if got != wanted and got in mistakes:
            require(False, f"{call}: {mistakes[got]}")
        require(got == wanted, f"{call} should be {wanted}, yours is {got}.")
    return "Right. The 9 no longer multiplies with the output channels: that saves."


@exercise
def log_softmax(attempt):
    """Log-probabilities from logits (N, classes), safe for large logits."""
    generator = torch.Generator().manual_seed(8)
    logits = 3 * torch.randn(6, 4, generator=generator)  # (6, 4)
    wanted = logits.double().log_softmax(dim=1)
    got = answer(attempt(logits.clone()))
    mistakes = {
        "These are probabilities: take the logarithm.": wanted.exp(),
        "The sum runs over the batch: sum over the classes, dim=1.": (
            logits.double().log_softmax(dim=0)
        ),
        "The sum runs over the whole tensor: every image has its own, dim=1.": (
            logits.double() - logits.double().logsumexp((0, 1))
        ),
        "The sign is turned: log-probabilities are never above zero.": -wanted,
    }
    for hint, wrong in mistakes.items():
        same = got.shape == wrong.shape and torch.allclose(got.double(), wrong, 1e-4)
        require(not same, hint)
    require_close(got, wanted, "The log-probability")
    for shift in (1000.0, -1000.0):
        shifted = attempt(logits + shift)
        require(
            bool(torch.isfinite(shifted).all()),
            f"With logits around {shift:g} yours is not finite: e to the 1000 is too "
            "large for a float, and log(0) is minus infinity. Subtract each row's "
            "maximum first; the result stays the same.",
        )
        require_close(shifted, wanted, f"With {shift:g} added, the result", 1e-3)
    return (
        "Right. LogSoftmax keeps the logarithm inside, so no confidence is too large "
        "or too small for it."
    )


@exercise
def first_loss(attempt):
    """The cross-entropy, in nats, of a network that knows nothing."""
    import math

    for classes in (10, 2, 1000):
        got = float(answer(attempt(classes)))
        wanted = math.log(classes)
        call = f"first_loss({classes})"
        mistakes = {
            math.log10(classes): "use the natural logarithm: losses are in nats.",
            math.log2(classes): "use the natural logarithm: losses are in nats.",
            -wanted: "the sign is turned: the loss is minus the log-probability.",
            1 / classes: "this is the probability: the loss is minus its logarithm.",
            1 - 1 / classes: "this is the share of wrong answers: the loss is minus a "
            "logarithm.",
        }
        for value, hint in mistakes.items():
            require(abs(got - value) > 1e-6 or value == wanted, f"{call}: {hint}")
        require_close(got, wanted, call)
    return (
        "Right. A first loss far above it means that the network starts out sure of "
        "wrong answers: look at the last layer's initial weights."
    )


@exercise
def redesign(attempt):
    """A NetConfig with half as many deep channels again, within the budget."""
    from cifar_helpers.model import (
        PARAMETER_BUDGET,
        CIFAR10Net,
        NetConfig,
        count_multiply_adds,
        count_parameters,
    )

    config = answer(attempt)
    require(
        isinstance(config, NetConfig),
        f"Give a NetConfig(...), yours is a {type(config).__name__}.",
    )
    base = NetConfig()
    require(
        not config.without,
        f"You switched off {', '.join(config.without)}: keep all six parts and make "
        "one narrower.",
    )
    require(config.classes == base.classes, "CIFAR-10 has ten classes: keep them.")
    deep = base.deep_channels * 3 // 2
    require(
        config.deep_channels >= deep,
        f"deep_channels should be at least {deep}, yours is {config.deep_channels}.",
    )
    model = CIFAR10Net(config)
    parameters, multiply_adds = count_parameters(model), count_multiply_adds(model)
    over = parameters - (PARAMETER_BUDGET - 1)
    require(
        over <= 0,
        f"Your network has {parameters:,} parameters, {over:,} too many. Most "
        "lie in the dense convolutions with hidden_channels: make those fewer.",
    )
    most = 40_000_000
    require(
        multiply_adds <= most,
        f"Your network takes {multiply_adds / 1e6:.1f} million multiply-adds per "
        f"image, above {most / 1e6:.0f} million: too slow to train on a CPU.",
    )
    return (
        f"Right: {parameters:,} parameters, {multiply_adds / 1e6:.1f} million "
        "multiply-adds. Whether it is also more accurate, only training can tell."
    )


# ---- 02 convolution block ----


def _same(got, value) -> bool:
    """Whether a tensor or number is this wrong value, shape included."""
    got, value = torch.as_tensor(got).double(), torch.as_tensor(value).double()
    return got.shape == value.shape and torch.allclose(got, value, atol=1e-4)


@exercise
def conv_output_size(output_size) -> str:
    """Check `output_size(size, kernel, stride, padding)` against places counted."""
    cases = ((32, 3, 1, 0), (32, 3, 1, 1), (32, 3, 2, 1), (7, 3, 2, 0), (33, 5, 3, 2))
    for size, kernel, stride, padding in cases:
        got = answer(output_size(size, kernel, stride, padding))
        wanted = len(range(0, size + 2 * padding - kernel + 1, stride))
        mistakes = {
            "Padding is added on both sides: use twice the padding.": (
                size + padding - kernel
            )
            // stride
            + 1,
            "You counted the steps: the place at the start is missing, add 1.": (
                wanted - 1
            ),
            "Without padding? Its 2 p rows belong to what the kernel can slide over.": (
                size - kernel
            )
            // stride
            + 1,
        }
        call = f"output_size({size}, {kernel}, {stride}, {padding})"
        for hint, wrong in mistakes.items():
            require(
                got == wanted or got != wrong,
                f"{call} should be {wanted}, yours is {got:g}. {hint}",
            )
        rounded_up = got == -(-(size + 2 * padding - kernel) // stride) + 1
        require(
            got == wanted or not rounded_up,
            f"{call} should be {wanted}, yours is {got:g}. "
            "You rounded up: a place that hangs over the edge does not count.",
        )
        require(
            isinstance(got, int),
            f"{call} should be a whole number, yours is {got!r}. "
            "Half a step is no step: divide with //, which rounds down.",
        )
        require(got == wanted, f"{call} should be {wanted}, yours is {got}.")
    return (
        "Right. With stride 1, a padding of (kernel - 1) / 2 keeps the size, which is "
        "why odd kernels are so popular."
    )


@exercise
def convolution(convolve) -> str:
    """Check `convolve(image, weight, stride, padding)` against torch's own."""
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(2, 8, 7, generator=generator)
    weight = torch.randn(4, 2, 3, 3, generator=generator)
    conv2d = torch.nn.functional.conv2d
    for stride, padding in ((1, 0), (2, 0), (1, 1), (2, 1)):
        got = answer(convolve(image.clone(), weight.clone(), stride, padding))
        wanted = conv2d(image, weight, stride=stride, padding=padding)
        setting = f"With stride {stride} and padding {padding}"
        mistakes = {
            "your kernel is turned by 180°: nn.Conv2d does not turn it.": conv2d(
                image, weight.flip(2, 3), stride=stride, padding=padding
            ),
            "rows and columns of the kernel are swapped.": conv2d(
                image, weight.transpose(2, 3), stride=stride, padding=padding
            ),
            "only the first input channel counts: add up all of them.": conv2d(
                image[:1], weight[:, :1], stride=stride, padding=padding
            ),
            "you averaged over the input channels: add them up.": wanted / 2,
        }
        for hint, wrong in mistakes.items():
            require(not _same(got, wrong), f"{setting}, {hint}")
        if stride > 1:
            ignored = conv2d(image, weight, padding=padding)
            require(got.shape != ignored.shape, f"{setting}, the stride has no effect.")
        if padding:
            ignored = conv2d(image, weight, stride=stride)
            require(
                got.shape != ignored.shape, f"{setting}, the padding has no effect."
            )
        require_close(got, wanted, f"{setting}, the output")
    larger = torch.randn(3, 2, 5, 5, generator=generator)
    wanted = conv2d(image, larger, stride=3, padding=2)
    got = answer(convolve(image, larger, 3, 2))
    setting = "With a 5 x 5 kernel, stride 3 and padding 2"
    require_close(got, wanted, f"{setting}, the output")
    return (
        "Right. You have written the heart of every network of this series; the "
        "library does the same, only faster."
    )


@exercise
def spatial_dropout(drop_maps) -> str:
    """Check `drop_maps(x, p, training)`: whole maps dropped, the mean preserved."""
    x = torch.rand(64, 32, 4, 4, generator=torch.Generator().manual_seed(3)) + 1
    p = 0.25
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        got = answer(drop_maps(x.clone(), p, True))
        unchanged = answer(drop_maps(x.clone(), p, False))
    require_close(got.shape, x.shape, "The shape of the output")
    dropped = got == 0  # (64, 32, 4, 4)
    require(
        bool((dropped.all(3).all(2) == dropped.any(3).any(2)).all()),
        "Some maps are dropped in part: draw one number for each map, with a mask of "
        "shape (N, C, 1, 1), not one for each pixel.",
    )
    maps = dropped[:, :, 0, 0]  # (64, 32)
    share = maps.float().mean().item()
    require(
        share > 0, "Nothing was dropped in training. Is the mask multiplied with x?"
    )
    require(
        not bool((maps == maps[:1]).all()),
        "Every image lost the same maps: draw anew for each image, with a mask of "
        "shape (N, C, 1, 1).",
    )
    require(
        not bool((maps == maps[:, :1]).all()),
        "An image loses all of its maps or none: draw for each map, with a mask of "
        "shape (N, C, 1, 1).",
    )
    require(
        abs(share - p) < 0.05,
        f"With p = {p} a share of {share:.2f} was dropped: p is the probability of "
        "being dropped, not of being kept.",
    )
    factor = (got / x)[~dropped].mean().item()
    require(
        abs(factor - 1) > 1e-3,
        "The surviving maps are not scaled: without a factor of 1 / (1 - p) the next "
        "layer gets less in training than at test time.",
    )
    require(
        abs(factor - 1 / (1 - p)) < 1e-3,
        f"The surviving maps are multiplied by {factor:.3g}; for p = {p} it should be "
        f"1 / (1 - p) = {1 / (1 - p):.3g}.",
    )
    require(
        bool((unchanged == x).all()),
        "At test time (training is false) the output must be x itself: nothing is "
        "dropped and nothing is scaled.",
    )
    return (
        "Right. A mask of shape (N, C, 1, 1), stretched over the maps by broadcasting, "
        "is all that sets nn.Dropout2d apart from nn.Dropout."
    )


@exercise
def fold_batch_norm(fold) -> str:
    """Check `fold(conv, norm)`: one convolution that does the work of both."""
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        conv = nn.Conv2d(5, 5, 3, padding=1, bias=False).requires_grad_(False)
        norm = nn.BatchNorm2d(5, eps=0.1).requires_grad_(False).eval()
        for values in (norm.weight, norm.running_var):
            nn.init.uniform_(values, 0.3, 2.0)
        for values in (norm.bias, norm.running_mean):
            nn.init.uniform_(values, 0.5, 1.5)
    result = answer(fold(conv, norm))
    require(
        isinstance(result, tuple) and len(result) == 2,
        "Return two tensors: the weight and the bias of the new convolution.",
    )
    weight, bias = result[0].detach(), result[1].detach()

    def scale(eps=norm.eps, power=-0.5):
        return norm.weight * (norm.running_var + eps) ** power

    column = (slice(None), None, None, None)  # one factor for each output channel
    wanted = conv.weight * scale()[column]
    mistakes = {
        "You forgot the eps under the root.": conv.weight * scale(eps=0)[column],
        "Divide by the standard deviation: the root of the variance is missing.": (
            conv.weight * scale(power=-1.0)[column]
        ),
        "You forgot gamma, norm.weight.": conv.weight * (scale() / norm.weight)[column],
        "You scaled the input channels: the factor belongs to the output channels, "
        "dimension 0 of the weight; give it the shape (C, 1, 1, 1).": conv.weight
        * scale()[:, None, None],
    }
    for hint, wrong in mistakes.items():
        require(not _same(weight, wrong), f"The weight is not right yet. {hint}")
    require_close(weight, wanted, "The weight")
    shift = norm.running_mean * scale()
    mistakes = {
        "You forgot the running mean: it is scaled too, and subtracted.": norm.bias,
        "The running mean must be scaled like the weights.": norm.bias
        - norm.running_mean,
        "The mean is subtracted, not added.": norm.bias + shift,
        "You forgot beta, norm.bias.": -shift,
    }
    for hint, wrong in mistakes.items():
        require(not _same(bias, wrong), f"The bias is not right yet. {hint}")
    require_close(bias, norm.bias - shift, "The bias")
    x = torch.rand(2, 5, 6, 6, generator=torch.Generator().manual_seed(5))
    folded = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    require_close(folded, norm(conv(x)), "The output of the folded convolution")
    return (
        "Right. This is what a compiler does before a network is deployed: batch "
        "normalization costs nothing at test time."
    )


# ---- 03 depthwise separable ----


@exercise
def separable_cost(cost) -> str:
    """Check `cost(c_in, c_out, kernel, height, width)`: parameters, multiply-adds."""
    for c_in, c_out, k, height, width in ((32, 64, 3, 32, 32), (5, 7, 5, 8, 6)):
        result = answer(cost(c_in, c_out, k, height, width))
        require(
            isinstance(result, tuple) and len(result) == 2,
            "Return a pair: parameters, multiply_adds.",
        )
        depthwise, pointwise, places = k * k * c_in, c_in * c_out, height * width
        wanted = depthwise + pointwise
        mistakes = {
            "That is a standard convolution. The depthwise half has one kernel for "
            "each input channel.": k * k * c_in * c_out,
            "The depthwise half is right, the pointwise half is missing.": depthwise,
            "The pointwise half is right, the depthwise half is missing.": pointwise,
            "The depthwise half has one kernel for each input channel, not for each "
            "output channel.": k * k * c_out + pointwise,
            "The pointwise half has 1 x 1 kernels: no k there.": depthwise
            + k * k * pointwise,
            "The two halves follow each other: add their parameters.": depthwise
            * pointwise,
            "A kernel has k rows and k columns: k * k weights.": k * c_in + pointwise,
            "You added biases: there are none.": wanted + c_in + c_out,
        }
        call = f"({c_in}, {c_out}, {k}, {height}, {width})"
        parameters, multiply_adds = result
        for hint, wrong in mistakes.items():
            require(
                parameters != wrong,
                f"Parameters for {call} should be {wanted}, not {wrong}. {hint}",
            )
        require(
            parameters == wanted,
            f"Parameters for {call} should be {wanted}, yours are {parameters}.",
        )
        mistakes = {
            "Every weight is used at every place: multiply by height * width.": wanted,
            "The depthwise half too is applied at every place.": depthwise
            + pointwise * places,
            "The pointwise half too is applied at every place.": depthwise * places
            + pointwise,
            "Count a multiply-add as one.": 2 * wanted * places,
        }
        for hint, wrong in mistakes.items():
            require(
                multiply_adds != wrong,
                f"Multiply-adds for {call} should be {wanted * places}, not {wrong}. "
                f"{hint}",
            )
        require(
            multiply_adds == wanted * places,
            f"Multiply-adds for {call} should be {wanted * places}, yours are "
            f"{multiply_adds}.",
        )
    return (
        "Right. With many channels nearly all of it is the pointwise half: a larger "
        "depthwise kernel is almost free, which is why 5 x 5 and 7 x 7 are popular "
        "there."
    )


@exercise
def widest_separable(widest) -> str:
    """Check `widest(budget)`: the most channels C with 9 C + C C + 2 C <= budget."""
    for budget in (60, 9216, 12, 26, 1000, 20_000, 200_000):
        got = answer(widest(budget))

        def largest(cost, budget=budget):
            channels = 0
            while cost(channels + 1) <= budget:
                channels += 1
            return channels

        wanted = largest(lambda c: c * c + 11 * c)
        mistakes = {
            "You left out the two parameters per channel of the normalization.": (
                largest(lambda c: c * c + 9 * c)
            ),
            "You left out the depthwise half, 9 per channel.": (
                largest(lambda c: c * c + 2 * c)
            ),
            "That is one channel too many: it costs more than the budget. Round "
            "down.": wanted + 1,
            "One channel more would still fit: a layer may use up the budget "
            "exactly.": wanted - 1,
            "That is how wide a standard layer can be.": (
                largest(lambda c: 9 * c * c + 2 * c)
            ),
        }
        for hint, wrong in mistakes.items():
            require(
                got == wanted or got != wrong,
                f"With a budget of {budget:,} it should be {wanted}, yours is {got}. "
                f"{hint}",
            )
        require(
            got == wanted,
            f"With a budget of {budget:,} it should be {wanted}, yours is {got:g}.",
        )
    return (
        "Right. For the price of 32 standard channels you get 90 separable ones. Width "
        "is what the parameters are saved for."
    )


@exercise
def nearest_separable(factorize) -> str:
    """Check `factorize(weight)`: the separable layer nearest to a standard kernel."""
    for c_out, c_in in ((6, 4), (12, 5)):
        generator = torch.Generator().manual_seed(c_out)
        weight = torch.randn(c_out, c_in, 3, 3, generator=generator)
        result = answer(factorize(weight.clone()))
        require(
            isinstance(result, tuple) and len(result) == 2,
            "Return two tensors: depthwise_weight, pointwise_weight.",
        )
        depthwise, pointwise = result[0].detach(), result[1].detach()
        for name, got, shape in (
            ("depthwise_weight", depthwise, (c_in, 1, 3, 3)),
            ("pointwise_weight", pointwise, (c_out, c_in, 1, 1)),
        ):
            require(
                got.shape == shape,
                f"{name} should have shape {shape}, got {tuple(got.shape)}.",
            )
        dense = pointwise * depthwise[:, 0]  # (c_out, c_in, 3, 3)
        matrices = weight.permute(1, 0, 2, 3).flatten(2)  # (c_in, c_out, 9)
        u, s, v = torch.linalg.svd(matrices, full_matrices=False)
        mistakes = {
            "The singular value is missing: multiply one of the two factors by it.": (
                torch.ones_like(s[:, :1, None])
            ),
            "The singular value is in both factors: give it to one of them, or its "
            "root to each.": s[:, :1, None] ** 2,
        }
        for hint, factor in mistakes.items():
            wrong = factor * u[:, :, :1] * v[:, :1]  # (c_in, c_out, 9)
            wrong = wrong.unflatten(2, (3, 3)).permute(1, 0, 2, 3)
            require(not torch.allclose(dense, wrong, atol=1e-4), hint)
        error, least = (dense - weight).norm(), s[:, 1:].norm()
        means = weight.mean(0, keepdim=True).transpose(0, 1)  # (c_in, 1, 3, 3)
        require(
            not torch.allclose(depthwise, means, atol=1e-4),
            "The mean kernel is not the nearest: kernels of opposite sign cancel in "
            "it. Use the first right singular vector.",
        )
        require(
            error <= least + 1e-3,
            f"The relative error of your layer is {error / weight.norm():.3f}; "
            f"{least / weight.norm():.3f} is possible. Take the first singular "
            "vectors: a column of u, but a row of v.",
        )
    return (
        "Right. Stack the second singular vectors on top and you have a depth "
        "multiplier of 2; this is how trained networks are taken apart after the fact."
    )


# ---- 07 aspp ----


@exercise
def largest_rate(attempt) -> str:
    """Check `attempt(size, share)` against a count of where the corner taps land."""
    cases = [(32, 0.25), (32, 0.5), (33, 0.25), (8, 0.5), (65, 0.3), (16, 0.1)]
    for size, share in cases:
        wanted = max(
            rate for rate in range(size) if (size - rate) ** 2 >= share * size**2
        )
        got = answer(attempt(size, share))
        if got == wanted:
            continue
        exact = size * (1 - share**0.5)
        if got != int(got) and abs(got - exact) < 1e-6:
            reason = "a rate is a whole number: round, but in which direction?"
        elif got == wanted + 1:
            reason = "one less would do: round down, not up."
        elif int(got) == int(size * (1 - share)):
            reason = "the corner taps must be inside along both axes at once."
        elif int(got) == int(size * (1 - share**0.5) / 2):
            reason = "a tap leaves the map on one side only: no factor of two."
        elif got > wanted:
            reason = "the corner taps then see the map too rarely."
        else:
            reason = "a larger rate would do as well."
        raise Wrong(
            f"On a {size} × {size} map with share {share}, the largest rate is "
            f"{wanted}, you say {got}. The reason may be: {reason}"
        )
    return (
        "Right: rate ≤ size · (1 − √share). It scales with the map, so rates made for "
        "one size of map say nothing about another."
    )


@exercise
def aspp_parameters(attempt) -> str:
    """Check `attempt(C, B, out, rates, stride)` against the block itself."""
    from cifar_helpers.blocks import ASPP
    from cifar_helpers.model import count_parameters

    cases = [(32, 48, 96, (6, 12, 18), 4), (5, 3, 7, (2,), 1), (8, 4, 6, (1, 2), 2)]
    for c, b, out, rates, stride in cases:
        wanted = count_parameters(ASPP(c, b, out, rates, stride))
        got = answer(attempt(c, b, out, rates, stride))
        if got == wanted:
            continue
        n = len(rates)
        mistakes = {
            2 * (b * (n + 1) + out): "batch normalization is missing.",
            2 * out: "the projection has batch normalization too.",
            b: "the whole-image convolution has a bias: B more parameters.",
            -2 * b: "the whole-image branch has no batch normalization.",
            n * (9 * c + c * b - 9 * c * b): "the dilated branches are separable.",
            b * c * (stride**2 - 1): "the local kernel is stride × stride.",
            b * out: "the projection reads len(rates) + 2 branches.",
            2 * b * out: "the projection reads len(rates) + 2 branches.",
            n * 9 * c: "the depthwise filters are missing: nine weights per channel.",
        }
        reason = mistakes.get(wanted - got, "count branch by branch, as in section 5.")
        raise Wrong(
            f"ASPP({c}, {b}, {out}, {rates}, {stride}) has {wanted:,} parameters, you "
            f"say {got:,}. The reason may be: {reason}"
        )
    return (
        "Right. The rates themselves do not appear, only how many there are: a rate "
        "costs nothing."
    )


@exercise
def without_branch(attempt) -> str:
    """Check `attempt(joined, branch, width)` for every branch of a small stack."""
    generator = torch.Generator().manual_seed(0)
    branches, width = 4, 3
    joined = torch.rand(2, branches * width, 5, 5, generator=generator) + 0.1
    for branch in range(branches):
        given = joined.clone()
        got = answer(attempt(given, branch, width))
        require(
            torch.equal(given, joined),
            "Your function changes `joined` itself. Work on a copy: joined.clone().",
        )
        require(isinstance(got, torch.Tensor), f"Return a tensor, not {type(got)}.")
        require(
            got.shape == joined.shape,
            f"The result should keep the shape {tuple(joined.shape)}, got "
            f"{tuple(got.shape)}: set channels to zero, do not cut them out.",
        )
        zeroed = set((got == 0).flatten(2).all(2).all(0).nonzero().flatten().tolist())
        wanted = set(range(branch * width, (branch + 1) * width))
        require(
            zeroed == wanted,
            f"For branch {branch} of width {width}, the channels {sorted(wanted)} must "
            f"be zero; yours are {sorted(zeroed)}. Branches are counted from 0, and "
            "branch b starts at channel b * width.",
        )
        kept = [channel for channel in range(branches * width) if channel not in wanted]
        require_close(got[:, kept], joined[:, kept], "The channels that stay")
    return (
        "Right. A change in place would have spoilt the next experiment: such bugs "
        "show up as results that depend on the order of the cells."
    )


# ---- 13 same budget, higher accuracy ----


@exercise
def gain_with_error(gain) -> str:
    """Check `gain(before, after)` -> (difference of means, its standard error)."""
    runs = (
        (torch.tensor([80.0, 82.0, 81.0]), torch.tensor([83.0, 84.5, 83.5])),
        (torch.tensor([70.0, 72.0]), torch.tensor([71.0, 75.0, 72.0, 71.5])),
    )
    for before, after in runs:
        got = answer(gain(before.clone(), after.clone()))
        require(
            isinstance(got, (tuple, list)) and len(got) == 2,
            "Return two numbers, (gain, error).",
        )
        difference, error = (float(answer(value)) for value in got)
        wanted = float(after.mean() - before.mean())
        require(
            abs(difference + wanted) > 1e-4,
            "The sign: a gain is the mean after minus the mean before.",
        )
        require_close(difference, wanted, "The gain")
        hint = _why_error_fails(error, before, after)
        require(not hint, f"The error: {hint}")
    return (
        "Right. Squares of errors add up, their roots do not. With two or three runs "
        "the spread itself is known badly: read twice the error as the least to ask "
        "for, not as a proof."
    )


def _why_error_fails(error: float, before, after) -> str:
    """What was done instead of root(s1² / n1 + s2² / n2); empty if it is right."""

    def combined(correction, divide=True):
        parts = [v.var(correction=correction) for v in (before, after)]
        counts = (len(before), len(after)) if divide else (1, 1)
        return parts[0] / counts[0] + parts[1] / counts[1]

    roots = [v.std() / len(v) ** 0.5 for v in (before, after)]
    wanted = float(combined(1).sqrt())
    mistakes = (
        (combined(1), "this is its square; take the root."),
        (combined(0).sqrt(), "few runs: divide by n − 1 inside the variance, as "
         "Tensor.var() does by itself."),
        (combined(1, divide=False).sqrt(), "this is the spread of single runs. A mean "
         "of n runs spreads less: divide each variance by its n."),
        (sum(roots), "errors do not add up; their squares do."),
        (torch.cat([before, after]).std(), "do not throw the runs together: each side "
         "has its own mean."),
    )  # fmt: skip
    if abs(error - wanted) <= 1e-4:
        return ""
    for value, hint in mistakes:
        if abs(error - float(value)) <= 1e-4:
            return hint
    return f"it should be {wanted:.4g}, yours is {error:.4g}."


@exercise
def nearest_orthogonal(nearest) -> str:
    """Check `nearest(matrix)`: U V^T of the singular value decomposition U S V^T."""
    for shape in ((4, 4), (3, 6), (7, 2)):
        generator = torch.Generator().manual_seed(shape[0])
        matrix = torch.randn(shape, generator=generator)
        got = answer(nearest(matrix.clone()))
        require(
            isinstance(got, torch.Tensor) and got.shape == shape,
            f"A matrix of shape {shape} should give one of the same shape, not "
            f"{tuple(getattr(got, 'shape', ()))}. Is full_matrices=False set?",
        )
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        values = torch.linalg.svdvals(got.detach())
        mistakes = (
            (matrix, "This is the matrix itself; leave the singular values out."),
            (matrix / matrix.norm(), "The whole was scaled; each direction has to be."),
            (matrix / s[0], "The whole was scaled; each direction has to be."),
            (u @ v.T if v.shape[0] == v.shape[1] else None,
             "torch gives V transposed already: no further .T."),
        )  # fmt: skip
        for wrong, hint in mistakes:
            if wrong is not None and wrong.shape == got.shape:
                require(not torch.allclose(got, wrong, atol=1e-4), hint)
        require(
            float((values - 1).abs().max()) < 1e-3,
            f"Its singular values should all be 1; yours lie between {values.min():.3g}"
            f" and {values.max():.3g}.",
        )
        require_close(got.detach(), u @ v, "The matrix")
    return (
        "Right, and slow: a decomposition at every step and for every layer. Muon's "
        "polynomial does nearly the same with a few matrix products."
    )


@exercise
def fixed_and_broken(compare) -> str:
    """Check `compare(before, after)` -> (fixed, broken, z) of right (bool) answers."""
    patterns = (("1100110010", "1011110111"), ("0101", "0110"), ("11100", "10000"))
    for texts in patterns:
        before, after = (torch.tensor([c == "1" for c in text]) for text in texts)
        got = answer(compare(before.clone(), after.clone()))
        require(
            isinstance(got, (tuple, list)) and len(got) == 3,
            "Return three numbers, (fixed, broken, z).",
        )
        fixed, broken, z = (float(answer(value)) for value in got)
        wanted_fixed = int((after & ~before).sum())
        wanted_broken = int((before & ~after).sum())
        swapped = (fixed, broken) == (wanted_broken, wanted_fixed)
        require(
            not swapped or wanted_fixed == wanted_broken,
            "You swapped them. Fixed: wrong before and right after.",
        )
        require_close(fixed, wanted_fixed, "The number of fixed images")
        require_close(broken, wanted_broken, "The number of broken images")
        count, difference = wanted_fixed + wanted_broken, wanted_fixed - wanted_broken
        require(
            difference == 0 or abs(z - difference / count) > 1e-6,
            "z: divide by the root of fixed + broken.",
        )
        require(
            difference == 0 or abs(z - difference / len(before) ** 0.5) > 1e-6,
            "z: images on which both agree say nothing. Only fixed + broken count.",
        )
        require_close(z, difference / count**0.5, "z")
    return (
        "Right. This is McNemar's test without its small correction. Two accuracies "
        "on the same images are compared by the images on which they differ."
    )
