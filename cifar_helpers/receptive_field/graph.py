"""The graph of a model's operations, by `torch.fx`; what it would pass over is refused.

`torch.fx` runs the model's Python code with stand-ins for tensors and notes each call.
A module that has a rule, or that belongs to `torch.nn`, is one operation; every other
one is looked into. Wrappers (compiled, averaged, parallel) are looked through.
"""

import copy
import functools
import operator

import torch
from torch import Tensor, fx, nn
from torch.optim.swa_utils import AveragedModel

from cifar_helpers.receptive_field.rules import RULES, Rule


def graph_of(model: nn.Module) -> tuple[nn.Module, fx.Graph, str]:
    """A copy of the model in evaluation mode, its graph, and the wrappers' names.

    Raises:
        NotImplementedError: for forward hooks, which may change values unseen.
        ValueError: if `torch.fx` cannot trace the model.
    """
    prefix, model = _unwrapped(model)
    _refuse_hooks(model)
    if "forward" in vars(model):
        raise NotImplementedError("the model's forward was replaced, in this one only")
    model = _shallow_copy(model).eval()
    tracer = _Tracer()
    if tracer.is_leaf_module(model, ""):  # a single layer
        model = nn.Sequential(model)
    try:
        return model, tracer.trace(model), prefix
    except Exception as error:
        where = tracer.failed or type(model).__name__
        raise ValueError(
            f"torch.fx cannot trace {where}: {error}. Give the module "
            "whose forward depends on values or shapes a rule with @register(...)."
        ) from error


def _unwrapped(model: nn.Module) -> tuple[str, nn.Module]:
    """The model inside a wrapper that leaves its values as they are, and its name."""
    prefix = ""
    while inner := _wrapped_name(model):
        _refuse_hooks(model, recurse=False)
        prefix, model = f"{prefix}{inner}.", getattr(model, inner)
    return prefix, model


def _wrapped_name(module: nn.Module) -> str | None:
    """The name of the model inside a compiled, averaged or parallel one."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    if isinstance(module, (*parallel, AveragedModel)):
        return "module"
    return "_orig_mod" if "_orig_mod" in module._modules else None  # torch.compile


def _refuse_hooks(model: nn.Module, recurse: bool = True) -> None:
    """An error for hooks that may change values: they would not be followed."""
    everywhere = torch.nn.modules.module
    everywhere = [
        everywhere._global_forward_hooks,
        everywhere._global_forward_pre_hooks,
    ]
    for name, module in model.named_modules() if recurse else [("", model)]:
        hooks = (module._forward_pre_hooks, module._forward_hooks, *everywhere)
        for hook in (hook for kind in hooks for hook in kind.values()):
            if not type(hook).__module__.startswith("torch.nn.utils"):
                raise NotImplementedError(
                    f"{name or 'the model'} ({type(module).__name__}) has the forward "
                    f"hook {hook!r}, which may change values unseen: remove it first "
                    "(`handle.remove()`)"
                )


def _shallow_copy(model: nn.Module) -> nn.Module:
    """A copy of all modules that shares their parameters and has none of their hooks.

    Wrappers inside are replaced by one that only hands on.
    """
    memo = {id(parameter): parameter for parameter in model.parameters()}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:  # has no copy
                memo[id(value)] = value
        for name, value in vars(module).items():
            if name.endswith("_hooks"):
                memo[id(value)] = type(value)()
    model = copy.deepcopy(model, memo)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if inner := _wrapped_name(child):
                setattr(parent, name, _Wrapper(inner, getattr(child, inner)))
    return model


class _Wrapper(nn.Module):
    """In place of a compiled, averaged or parallel module, under the same names."""

    def __init__(self, name: str, module: nn.Module):
        super().__init__()
        self.name = name
        setattr(self, name, module)

    def forward(self, *arguments, **options):
        return getattr(self, self.name)(*arguments, **options)


# What a subclass may define without computing anything else than its base class.
_HARMLESS = ("extra_repr", "reset_parameters", "train", "eval", "_version")


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a module's class, or of a base class that computes the same.

    A subclass that overrides anything its base class computes with is looked into
    instead: it may do more.
    """
    overridden = {name for name, value in vars(module).items() if callable(value)}
    for base in type(module).__mro__:
        rule = RULES.get(base) or RULES.get(qualified_name(base))
        if rule is not None:
            return None if any(hasattr(base, n) for n in overridden) else rule
        overridden |= {
            name
            for name in vars(base)
            if name == "__call__" or name[:2] != "__" and name not in _HARMLESS
        }
    return None


# They give as many parts as their second argument says.
_PARTS = ("chunk", torch.chunk, "tensor_split", torch.tensor_split)


class _Tracer(fx.Tracer):
    """Looks into every module but those that have a rule and those of `torch.nn`."""

    failed: str | None = None  # the innermost module that could not be traced

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        if rule_of(module) is not None:
            return True
        changed = "forward" in vars(module)
        leaf = super().is_leaf_module(module, module_qualified_name)
        return leaf and not changed and not _wrapped_name(module)

    def call_module(self, m, forward, args, kwargs):
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = (
                self.failed or f"{self.path_of_module(m)} ({type(m).__name__})"
            )
            raise

    def iter(self, obj: fx.Proxy):
        """The parts of a tensor that was taken apart into a known number of them."""
        function, parts = obj.node.target, obj.node.args[1:2]
        sizes = parts and isinstance(parts[0], (list, tuple))
        if parts and (
            function in _PARTS or sizes and function in ("split", torch.split)
        ):
            count = parts[0] if isinstance(parts[0], int) else len(parts[0])
            return iter([obj[k] for k in range(count)])
        return super().iter(obj)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


class _Proxy(fx.Proxy):
    """Notes `x[index] = value`, which `torch.fx` refuses, and `x += y` as it is.

    `torch.fx` takes `x += y` for `x = x + y`, which leaves views of x as they were.
    """

    def __setitem__(self, index, value):
        self._note(operator.setitem, index, value)

    def _note(self, function, *arguments):
        return self.tracer.create_proxy(
            "call_function", function, (self, *arguments), {}
        )


for _name in "add sub mul truediv floordiv mod pow matmul and or xor".split():  # noqa: SIM905
    setattr(
        _Proxy,
        f"__i{_name}__",
        functools.partialmethod(_Proxy._note, getattr(operator, f"__i{_name}__")),
    )


def qualified_name(operation) -> str:
    """Where a function or class comes from; a method's name as it is."""
    if isinstance(operation, str):
        return f"method {operation}"
    return f"{operation.__module__}.{operation.__qualname__}"
