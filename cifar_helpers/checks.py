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
        except (NotYet, NotImplementedError):
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
                "You scaled the kernel's columns: broadcasting lines dimensions up from "
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
        f"No gaps, but the unit sees only the rows {top} to {bottom}: make the "
        "dilations add up to at least 15.",
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
        elif got == 9:
            reason = "near the border some taps land in the padding."
        elif got == rows * columns - 1:
            reason = "you forgot the tap in the middle: it always sees the map."
        elif got == edges[0] * edges[1]:
            reason = "the last position is size - 1: position `size` is padding."
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
