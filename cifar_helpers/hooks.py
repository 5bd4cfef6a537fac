"""See or replace what a layer gives, inside a `with`; then the model is as before.

A *forward hook* is a function that PyTorch calls each time a module has run. Hooks that
are forgotten go on running: these two remove theirs, also after an error.
"""

import difflib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn


@contextmanager
def captured(
    model: nn.Module, *layers: str, inputs: bool = False
) -> Iterator[dict[str, list[Tensor]]]:
    """Inside the `with`, a dict from each layer's name to what its calls returned.

    `layers` are names as in `model.named_modules()`; `inputs=True` keeps what they got
    (the first argument) instead. Each list grows by one tensor a call. Gradients of
    kept outputs can be read from `.grad` after `backward()`. A kept tensor stays as it
    was, even if the next layer works in place: that one gets a copy. Raises ValueError
    for a name that is not there, TypeError for a layer that gives no tensor.
    """
    kept = {name: [] for name in layers}

    def keep(name: str, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise TypeError(f"layer {name!r} gives a {kind}, not a tensor")
        if tensor.requires_grad:
            tensor.retain_grad()
        kept[name].append(tensor)
        return tensor.clone()

    with ExitStack() as hooks:
        for name in layers:

            def change(*values, name=name):
                if not values:  # called with keywords alone
                    raise TypeError(f"layer {name!r} gets no input by position")
                copy = keep(name, values[0])
                return (copy, *values[1:]) if inputs else copy

            hooks.enter_context(replaced(model, name, change, inputs))
        yield kept


@contextmanager
def replaced(
    model: nn.Module, layer: str, change: Callable, inputs: bool = False
) -> Iterator[None]:
    """Inside the `with`, `change(output)` stands in for the layer's output.

    With `inputs=True`, `change(*inputs)` gives the tuple of inputs that the layer gets
    instead of its own. Raises ValueError for a layer that is not there, TypeError for
    anything but a name.
    """
    modules = dict(model.named_modules())
    if not isinstance(layer, str):
        kind = type(layer).__name__
        raise TypeError(f"name the layer, as in model.named_modules(), not a {kind}")
    if layer not in modules:
        near = difflib.get_close_matches(layer, modules) or list(modules)[1:8]
        raise ValueError(f"the model has no layer {layer!r}; did you mean {near}?")
    if inputs:
        hook = modules[layer].register_forward_pre_hook(lambda m, args: change(*args))
    else:
        hook = modules[layer].register_forward_hook(lambda m, args, out: change(out))
    try:
        yield
    finally:
        hook.remove()
