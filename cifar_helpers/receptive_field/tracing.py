"""The model followed with `torch.fx`: what each of its operations can see.

The traced graph is run once on one image. Beside each value goes its `Dependency`,
which the rule of each operation hands on (see `dependency` and `rules`).

* The field is structural: it holds for weights in general. A weight of zero, a dead
  ReLU or two paths that cancel can only make the true field smaller.
* The model is followed in evaluation mode, where batch norm uses its running
  statistics. In training mode every unit sees every image of the batch.
"""

import itertools
import operator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from cifar_helpers.receptive_field.dependency import Dependency, unite
from cifar_helpers.receptive_field.fields import LayerField, layer_field
from cifar_helpers.receptive_field.graph import graph_of, qualified_name, rule_of
from cifar_helpers.receptive_field.rules import (
    RULES,
    SHAPED_LIKE,
    Call,
    Rule,
    overwritten,
)

HINT = "Give it, or the module that contains it, a rule with @register(...)."


def receptive_field(
    model: nn.Module, input_shape=(3, 32, 32), gates: bool = True
) -> list[LayerField]:
    """What each layer of the model can see of the image, exactly.

    Args:
        model: maps a batch of images to anything; left as it is.
        input_shape: channels, height and width of the image.
        gates: False leaves out the path through an attention gate, a factor that is
            1 x 1 in space (Hu et al. 2018, equation 4), and follows the map that it
            multiplies. With it, everything after a gate sees the whole image.

    Returns:
        One `LayerField` per layer, merge and other operation, in order of execution.

    Raises:
        NotImplementedError: for an unknown operation, see `register`.
        ValueError: if `torch.fx` cannot trace the model, or for a wrong input shape.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"input_shape is (C, H, W), got {tuple(input_shape)}")
    model, graph, prefix = graph_of(model)
    parameter = next(model.parameters(), torch.zeros(0))
    image = torch.zeros(1, *input_shape).to(parameter)
    pixels = tuple(torch.eye(n, dtype=torch.bool) for n in input_shape[1:])
    path = (*pixels, torch.ones(1, 1, dtype=torch.bool))
    start = Dependency(paths=(path,), shape=tuple(image.shape), axes=(2, 3, None))
    follower = _Follower(model, graph, gates, prefix)
    with torch.no_grad():
        follower.run(_Value(image, start))
    return follower.fields


@dataclass
class _Value:
    """A tensor on its way through the model, and what it depends on."""

    tensor: Tensor  # only its shape and its place in memory matter
    dependency: Dependency


# Questions about a tensor whose answers do not depend on its values, and tensors that
# are made like another one.
_QUESTIONS = (
    *("size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous"),
    *(
        "get_device",
        "is_floating_point",
        "is_complex",
        "element_size",
        "storage_offset",
    ),
    *(getattr, len, torch._assert, torch.numel, torch.is_tensor),
    *(torch.is_floating_point, torch.is_complex),
)
_MADE_LIKE = (
    *(torch.zeros_like, torch.ones_like, torch.empty_like, torch.full_like),
    *(torch.rand_like, torch.randn_like),
    *("new_zeros", "new_ones", "new_empty", "new_full"),
)


class _Follower(fx.Interpreter):
    """Runs the traced model on one image and follows what each value depends on."""

    def __init__(self, model: nn.Module, graph: fx.Graph, gates: bool, prefix: str):
        super().__init__(model, graph=graph)
        self.extra_traceback = False
        self.gates, self.prefix = gates, prefix
        self.state: list[Tensor] = []  # parameters and buffers, copied
        self.shared_alone: list[Tensor] = []  # copies, in a batch of several images
        self.fields: list[LayerField] = []

    def run_node(self, node: fx.Node):
        if node.op == "get_attr":
            value = super().run_node(node)
            if not isinstance(value, Tensor):
                return value
            self.state.append(
                value.detach().clone()
            )  # the model's own stay as they are
            return self.state[-1]
        if not node.op.startswith("call_"):
            return super().run_node(node)
        given = self.fetch_args_kwargs_from_env(node)
        first = given[0][0] if given[0] else None
        if isinstance(first, (tuple, dict)) and node.target in (
            operator.getitem,
            getattr,
        ):
            return node.target(*given[0])  # one of several outputs
        leaves = tree_leaves(given)
        found = [v for v in leaves if isinstance(v, _Value)]
        tensors = [v for v in tree_leaves(tree_map(_tensor, given)) if _is_tensor(v)]
        versions = [tensor._version for tensor in tensors]
        output = getattr(self, node.op)(node.target, *tree_map(_tensor, given))
        if node.target == "contiguous" and _is_contiguous_alone(output):
            self.shared_alone.append(output)
        like = node.target in SHAPED_LIKE and not isinstance(first, _Value)
        if not found or like or node.target in _MADE_LIKE:
            return output  # a constant
        written = [t for t, v in zip(tensors, versions, strict=True) if t._version != v]
        if written:
            output = self._target(node, given, written, output)
        elif not any(_is_tensor(t) for t in tree_leaves(output)):
            return self._answer(node, output)
        return self._outputs(node, given, found, output, bool(written))

    def _answer(self, node: fx.Node, output):
        """A shape or nothing, or an error if it may depend on values."""
        if output is not None and node.target not in _QUESTIONS:
            raise NotImplementedError(
                f"receptive_field cannot follow {_function_name(node.target)} (node "
                f"{node.name!r}): it makes {type(output).__name__} from values. {HINT}"
            )
        return output

    def _target(self, node: fx.Node, given, written, output) -> Tensor:
        """The tensor that an operation in place has written."""
        arguments, options = tree_map(_tensor, given)
        target = arguments[0] if arguments else options.get("input")
        problem = None
        if node.target is operator.setitem:
            target = target[arguments[1]]
            if _memory(target) != _memory(arguments[0]):
                problem = "it writes at places that a list or a tensor chooses"
        elif not _is_tensor(output) or output is not target:
            problem = "it writes into another one than its first input"
        problem = problem or self._why_not(target, written)
        if problem:
            raise _cannot_follow(_function_name(node.target), node.name, problem)
        return target

    def _why_not(self, target: Tensor, written: list[Tensor]) -> str | None:
        """What speaks against following a write into this tensor, if anything."""
        if any(_memory(tensor) == _memory(target) for tensor in self.state):
            return "it writes into a parameter or buffer of the model"
        if any(_memory(tensor) == _memory(target) for tensor in self.shared_alone):
            return (
                "it writes into what contiguous() gave, which is a copy or not, as the "
                "number of images in the batch has it"
            )
        if any(_memory(tensor) != _memory(target) for tensor in written):
            return "it writes into another one than its first input"
        return None

    def _outputs(self, node: fx.Node, given, found, output, in_place: bool):
        """The output with what each of its tensors depends on."""
        module = self.submodules[node.target] if node.op == "call_module" else None
        call = Call(
            operation=node.target if module is None else type(module),
            module=module,
            arguments=tree_map(_dependency, given[0]),
            options=tree_map(_dependency, given[1]),
            inputs=tuple(value.dependency for value in found),
            output=output,
            gates=self.gates,
        )
        leaves, structure = tree_flatten(output)
        tensors = [leaf for leaf in leaves if _is_tensor(leaf)]
        results = self._follow(node, call, [tuple(t.shape) for t in tensors])
        if in_place:
            self._write(node, output, results[0])
        values = iter(map(_Value, tensors, results))
        leaves = [next(values) if _is_tensor(leaf) else leaf for leaf in leaves]
        return tree_unflatten(leaves, structure)

    def _write(self, node: fx.Node, target: Tensor, result: Dependency) -> None:
        """Let all tensors in the memory of a written one depend on what was written."""

        def update(value):
            tensor = _tensor(value)
            if not _is_tensor(tensor) or _memory(tensor) != _memory(target):
                return value
            old = _dependency(value)
            old = result.blind(tensor.shape) if old is value else old
            new = overwritten(old, result, _elements(tensor), _elements(target))
            new = replace(new, shape=tuple(tensor.shape))
            if isinstance(value, _Value):
                value.dependency = new
                return value
            return _Value(tensor, new)

        try:
            for other in list(self.env):
                self.env[other] = tree_map(update, self.env[other])
        except NotImplementedError as error:
            raise _cannot_follow(
                _function_name(node.target), node.name, error
            ) from None

    def _follow(self, node: fx.Node, call: Call, shapes: list) -> list[Dependency]:
        """Apply the rule of one operation and note the fields of its outputs."""
        module, name = call.module, node.name
        if module is None:
            rule, kind = RULES.get(node.target), _function_name(node.target)
            rule = rule or RULES.get(qualified_name(node.target))
        else:
            rule, kind = rule_of(module), type(module).__name__
            name = self.prefix + node.target
        if rule is None:
            raise NotImplementedError(
                f"receptive_field does not know the operation {kind} (node {name!r}, "
                f"target {qualified_name(call.operation)}). {HINT}"
            )
        try:
            results = _by_terms(rule, call)
        except NotImplementedError as error:
            raise _cannot_follow(kind, name, error) from None
        several = isinstance(results, tuple)
        results = results if several else [results] * len(shapes)
        results = [
            replace(result, shape=shape)
            for result, shape in zip(results, shapes, strict=True)
        ]
        for k, result in enumerate(results if several else results[:1]):
            _check_size(result, kind, name)
            label = f"{name}[{k}]" if len(shapes) > 1 and several else name
            self.fields.append(layer_field(label, kind, call, result))
        return results


def _by_terms(rule: Rule, call: Call):
    """Apply a rule to each term of its inputs alone, and unite what comes out."""
    results = []
    for terms in itertools.product(*(value.terms for value in call.inputs)):
        swapped = {id(v): t for v, t in zip(call.inputs, terms, strict=True)}
        swap = lambda value: swapped.get(id(value), value)  # noqa: B023, E731
        part = call
        if any(value.others for value in call.inputs):
            arguments, options = tree_map(swap, (call.arguments, call.options))
            part = replace(call, arguments=arguments, options=options, inputs=terms)
        results.append(rule(part))
        unread = {k for k, v in part.options.items() if v is not None} - part.known
        if unread and part.module is None:
            raise NotImplementedError(f"its option {', '.join(sorted(unread))}")
    if len(results) == 1:
        return results[0]
    if isinstance(results[0], tuple):
        return tuple(
            unite(parts, parts[0].ndim) for parts in zip(*results, strict=True)
        )
    return unite(results, results[0].ndim)


def _cannot_follow(kind: str, name: str, problem) -> NotImplementedError:
    return NotImplementedError(
        f"receptive_field cannot follow {kind} (node {name!r}): {problem}. {HINT}"
    )


def _is_tensor(value) -> bool:
    return isinstance(value, Tensor)


def _tensor(argument):
    return argument.tensor if isinstance(argument, _Value) else argument


def _dependency(argument):
    return argument.dependency if isinstance(argument, _Value) else argument


def _is_contiguous_alone(tensor: Tensor) -> bool:
    """Whether one image is contiguous here, but several would not be."""
    alone = tensor.ndim > 0 and len(tensor) == 1 and tensor.is_contiguous()
    return alone and tensor.stride(0) != tensor[0].numel()


def _memory(tensor: Tensor) -> int:
    """Where the memory begins that a tensor shares with its views."""
    return tensor.untyped_storage().data_ptr()


def _elements(tensor: Tensor) -> Tensor:
    """The place of each of its elements in this memory, of its shape."""
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    places = torch.arange(size)
    return places.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _function_name(target) -> str:
    """The name of a function or method, in-place variants without their mark."""
    name = target if isinstance(target, str) else target.__name__
    name = name.strip("_")
    in_place = target is getattr(operator, name, None) and name[0] == "i"
    return name[1:] if in_place else name


def _check_size(result: Dependency, kind: str, name: str) -> None:
    """The rule and the operation itself must agree on the size of the output."""
    shape = result.shape
    if 0 in shape:
        raise ValueError(
            f"{kind} ({name!r}) gives an empty output {tuple(shape)}: the image is too "
            "small for this model"
        )
    separate = result.axes[0] != result.axes[1]
    for n, axis in zip(result.lengths, result.axes, strict=True):
        if separate and n != (1 if axis is None else shape[axis]):
            raise RuntimeError(
                f"the rule of {kind} ({name!r}) gives {result.lengths} positions in "
                f"the dimensions {result.axes}, but the output has shape {shape}"
            )
