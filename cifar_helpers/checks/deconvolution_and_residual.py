"""Self-checks of notebook 06: sizes, weaker blocks, starts as identity, a shortcut."""

import torch

from cifar_helpers.blocks import DepthwiseSeparableConv
from cifar_helpers.checks.framework import (
    NotYet,
    as_items,
    as_number,
    as_whole_numbers,
    exercise,
    exercise_in_place,
    question,
    require,
    require_close,
)


@exercise
def doubling_padding(attempt) -> str:
    """`attempt(kernel)`: (padding, output_padding) that double a map, stride 2."""
    for kernel in range(2, 10):
        call = f"doubling_padding({kernel})"
        wanted = "Return two whole numbers, (padding, output_padding)"
        got = as_whole_numbers(attempt(kernel), 2, wanted, "Divide with //.")
        padding, extra = got
        require(min(got) >= 0, f"{wanted}, from 0 on, not {padding, extra}.")
        require(
            extra < 2,
            f"{call}: output_padding must be smaller than the stride, 2, got {extra}.",
        )
        size = 2 * (5 - 1) - 2 * padding + kernel + extra
        parity = (
            " With an odd kernel the output is odd without output_padding."
            if kernel % 2
            else " With an even kernel output_padding makes the output odd."
        )
        require(
            size == 10,
            f"{call}: 5 pixels become {size} with your {padding} and {extra}, and "
            f"not 10.{parity if size % 2 else ''}",
        )
    return (
        "Right. Only an even kernel does without output_padding, one more reason for "
        "kernel 4 or 2 with stride 2."
    )


@question
def weaker_blocks(attempt) -> str:
    """`attempt`: first / last gradient norm from He's start, with scale 1 and 0.25.

    Sixteen blocks with shortcuts and without batch normalization.
    """
    wanted = "Give two numbers, (ratio with scale=1, ratio with scale=0.25)"
    full, weak = (
        as_number(item, f"{wanted}: each") for item in as_items(attempt, 2, wanted)
    )
    require(
        min(full, weak) > 0,
        f"Norms are positive, so each ratio should be as well, not {full:g}, {weak:g}.",
    )
    require(
        not (weak > 30 and full < 10),
        "The order should be scale=1 first, then scale=0.25.",
    )
    require(
        full > 30,
        f"With scale=1 the ratio should be some hundreds, yours is {full:.3g}: from "
        "He's start, without batch norm, with shortcuts, first over last?",
    )
    require(
        0.1 < weak < 10,
        f"With scale=0.25 the ratio should be near 1, yours is {weak:.3g}: did `scale` "
        "reach make_stack, with the same start, norm and shortcut?",
    )
    return (
        f"Right: {full / weak:,.0f} times less. Sixteen blocks whose f has a sixteenth "
        "of its variance no longer explode. Batch normalization weakens f by itself, "
        "the deeper the block the more (De & Smith 2020)."
    )


@exercise
def residual_block(attempt) -> str:
    """`attempt(x, f)`: x + f(x), also where f works in place on what it gets."""

    def in_place(x):
        return x.relu_().mul(0.5)

    cases = {
        "an f that begins with an in-place ReLU": in_place,
        "an f that adds in place": lambda x: x.add_(1),
        "an f that leaves its input as it is": lambda x: x.sigmoid(),
    }
    x = torch.linspace(-2, 1.75, 16).reshape(1, 1, 4, 4)
    for what, f in cases.items():
        inside, clean = x.clone(), f(x.clone())
        changed = f(inside)
        mistakes = {
            "The shortcut is missing: add x.": clean,
            "Only the shortcut is there: add f(x).": x,
            "The shortcut carries what f has left of x: f changes its input in place. "
            "Give it a copy, x.clone().": inside + changed,
        }
        got = attempt(x.clone(), f)
        require_close(got, x + clean, f"With {what}, the result", mistakes)
    return (
        "Right. An in-place layer saves memory and is safe only if nobody else reads "
        "its input; a shortcut does."
    )


@exercise_in_place
def start_as_identity(attempt) -> str:
    """`attempt(stack)`: make residual blocks start as y = x and still learn, in place.

    `stack` is a Sequential of `DepthwiseSeparableConv`, in training mode.
    """
    torch.default_generator.manual_seed(8)
    stack = torch.nn.Sequential(*(DepthwiseSeparableConv(8, 8) for _ in range(6)))
    x = torch.rand(4, 8, 8, 8) + 0.1
    upstream = torch.randn(4, 8, 8, 8)
    old = {name: value.clone() for name, value in stack.state_dict().items()}
    returned = attempt(stack)
    new = stack.state_dict()
    kinds = [
        [(n, v.shape, v.dtype, v.device) for n, v in s.items()] for s in (old, new)
    ]
    require(kinds[0] == kinds[1], "Keep all blocks: only set their parameters.")
    same = all(torch.equal(new[name], value) for name, value in old.items())
    if same and returned is None:
        raise NotYet
    learning = all(parameter.requires_grad for parameter in stack.parameters())
    require(learning, "A frozen parameter cannot learn: leave requires_grad as it is.")
    reasons = {
        "pointwise": "its batch normalization then divides by almost zero, and the "
        "first gradients are some hundred times too large",
        "depthwise": "then nothing but zeros comes to the batch normalization, which "
        "divides by almost zero",
    }
    for layer, reason in reasons.items():
        dead = any(not getattr(block, layer).weight.any() for block in stack)
        require(not dead, f"Do not zero the {layer} weights: {reason}. What follows?")
    stack.train()
    x.requires_grad_(True)
    out = stack(x)
    difference = float((out - x).detach().abs().max())
    require(
        difference < 1e-6,
        f"The stack should be the identity, but changes its input by up to "
        f"{difference:.2g}. What comes last in f, and can be zero?",
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
