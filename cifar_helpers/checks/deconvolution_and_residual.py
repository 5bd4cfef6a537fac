"""Self-checks of notebook 06: doubling a map, starts without blocks, as identity."""

import torch

from cifar_helpers.blocks import DepthwiseSeparableConv
from cifar_helpers.checks.framework import (
    NotYet,
    as_whole_numbers,
    exercise,
    exercise_in_place,
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
        parity = " With an odd kernel the output is odd without output_padding."
        require(
            size == 10,
            f"{call}: 5 pixels become {size} with your {padding} and {extra}, and "
            f"not 10.{parity if size % 2 else ''}",
        )
    return (
        "Right. Only an even kernel does without output_padding, one more reason for "
        "kernel 4 or 2 with stride 2."
    )


@exercise_in_place
def start_without_blocks(attempt) -> str:
    """`attempt(deconv)`: make all taps of each (in, out) pair equal, in place.

    Changes `deconv.weight` (in, out, s, s); different pairs stay different.
    """
    layer = torch.nn.ConvTranspose2d(5, 6, 4, stride=4, bias=False)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
    old = layer.weight.detach().clone()  # (in, out, 4, 4)
    returned = attempt(layer)
    new = layer.state_dict().get("weight", old[:0]).cpu().float()
    if returned is None and torch.equal(new, old):
        raise NotYet
    require(
        new.shape == old.shape,
        f"The weight must keep its shape {tuple(old.shape)}, now it is "
        f"{tuple(new.shape)}: copy the mean back to all taps.",
    )
    require(
        not torch.equal(new, old),
        "The layer is unchanged: you should write into it, under torch.no_grad(), with "
        "deconv.weight.copy_(…).",
    )
    require(
        isinstance(layer.weight, torch.nn.Parameter) and layer.weight.requires_grad,
        "The weight learns no more: change it in place and keep the parameter.",
    )
    spread = new.std(dim=(2, 3)).max()
    by_pair = new.mean(dim=(2, 3))  # (in, out)
    require(
        bool(by_pair.std() > 1e-3),
        "All pairs of channels have the same weight now: take the mean over the "
        "kernel's dimensions 2 and 3 only.",
    )
    require(
        bool(min(by_pair.std(dim=0).min(), by_pair.std(dim=1).min()) > 1e-3),
        "You averaged over channels, too: each pair of input and output channel keeps "
        "a value of its own.",
    )
    require(
        bool(spread < 1e-5),
        f"Within one pair the taps still differ, with a standard deviation of "
        f"{spread:.2g}: the painted tile is not flat.",
    )
    return (
        "Right: a constant image stays constant. The gradients of the taps differ, so "
        "training can give each its own value."
    )


@exercise_in_place
def start_as_identity(attempt) -> str:
    """`attempt(stack)`: make residual blocks start as y = x and still learn, in place.

    `stack` is a Sequential of `DepthwiseSeparableConv`, in training mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
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
