"""The model followed with `torch.fx`: what each of its operations can see.

The traced graph is run once on one image. Beside each value goes its `Dependency`,
which the rule of each operation hands on (see `dependency` and `rules`).

* The field is structural: it holds for weights in general. A weight of zero, a dead
  ReLU or two paths that cancel can only make the true field smaller.
* The model is followed in evaluation mode, where batch norm uses its running
  statistics. In training mode every unit sees every image of the batch.
"""

import copy
import operator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_map

from cifar_helpers.receptive_field.dependency import Dependency
from cifar_helpers.receptive_field.rules import RULES, Call, Rule


@dataclass(frozen=True, eq=False)
class LayerField:
    """What the units of one layer see of the image, in pixels; pairs are (h, w).

    A unit is one output position, all channels together.
    """

    name: str  # as in `named_modules`, or the operation's own name in the graph
    kind: str  # the module's class or the function's name
    output_size: tuple[int, int]  # (1, 1) for a value without space, as after a Linear
    size: tuple[int, int]  # largest height, largest width of the box over all outputs
    size_min: tuple[int, int]  # smallest; 0 if an output sees nothing but padding
    stride: tuple[float, float]  # pixels from what one output sees to the next's; the
    # mean where steps differ, as in the phases of a transposed convolution (1/2 of the
    # input's); where branches of different stride meet, the smallest
    touched: float  # share of the largest box that is read; nearest the centre of ties
    taps: int  # positions of its input that one unit reads: kernel height * width
    live_taps: int  # of those, how many see the image (not padding) for any output
    exact: bool  # False: an upper bound, see `dependency` and `rules`
    dependency: Dependency = field(repr=False)
    _source: Dependency | None = field(repr=False)  # the input that its kernel reads
    _tables: tuple[Tensor, Tensor] | None = field(repr=False)  # (h, taps), (w, taps)

    def span(self, i: int, j: int) -> tuple[int, int, int, int] | None:
        """The box of pixels that output (i, j) sees, clipped to the image.

        Returns:
            (top, bottom, left, right), all inclusive; None if it sees padding only.

        Raises:
            IndexError: if there is no output (i, j).
        """
        self._check(i, j)
        top, bottom, left, right = self.dependency.boxes[:, i, j].tolist()
        return None if top > bottom else (top, bottom, left, right)

    def mask(self, i: int, j: int) -> Tensor:
        """The pixels that output (i, j) sees, boolean (H, W): gaps included."""
        self._check(i, j)
        return self.dependency.mask(i, j)

    def live_taps_at(self, i: int, j: int) -> int:
        """How many taps of output (i, j) see the image, not padding only."""
        self._check(i, j)
        if self._tables is None:
            return int(self.span(i, j) is not None)
        return _count_live(
            self._source, *(t[[n]] for t, n in zip(self._tables, (i, j), strict=True))
        )

    def _check(self, i: int, j: int) -> None:
        height, width = self.output_size
        if not (0 <= i < height and 0 <= j < width):
            raise IndexError(
                f"layer {self.name!r} has {height} x {width} outputs: there is no "
                f"output ({i}, {j})"
            )


def _count_live(source: Dependency, rows: Tensor, columns: Tensor) -> int:
    """Taps that read, at some output, a position which depends on the image.

    The rows and columns of a kernel are independent, so for each path the live taps
    are a product; over the paths they are the union.
    """
    live = torch.zeros(rows.shape[1], columns.shape[1], dtype=torch.bool)
    for row_matrix, column_matrix in source.paths:
        sees_row = torch.cat([row_matrix.any(dim=1), torch.tensor([False])])
        sees_column = torch.cat([column_matrix.any(dim=1), torch.tensor([False])])
        live |= sees_row[rows].any(dim=0)[:, None] & sees_column[columns].any(dim=0)
    return int(live.sum())


def _layer_field(name: str, kind: str, call: Call, result: Dependency) -> LayerField:
    """Sum up the dependency of one operation."""
    if result.ndim == 4 and None in result.axes:
        result = result.as_map()
    top, bottom, left, right = result.boxes
    heights, widths = (bottom - top + 1).clamp(min=0), (right - left + 1).clamp(min=0)
    tables = call.tables
    if tables is None:
        taps, live = 1, int(heights.amax() > 0)
    else:
        taps = tables[0].shape[1] * tables[1].shape[1]
        live = _count_live(call.source, *tables)
    return LayerField(
        name=name,
        kind=kind,
        output_size=result.size,
        size=(int(heights.max()), int(widths.max())),
        size_min=(int(heights.min()), int(widths.min())),
        stride=tuple(int(s) if s.denominator == 1 else float(s) for s in result.stride),
        touched=_touched(result, heights * widths),
        taps=taps,
        live_taps=live,
        exact=result.exact,
        dependency=result,
        _source=call.source,
        _tables=tables,
    )


def _touched(result: Dependency, areas: Tensor) -> float:
    """Share of the largest box that is read; of several, the one nearest the centre."""
    height, width = areas.shape
    if areas.max() == 0:
        return 0.0
    i, j = (areas == areas.max()).nonzero(as_tuple=True)
    distance = (2 * i - height + 1) ** 2 + (2 * j - width + 1) ** 2
    best = distance.argmin()
    return int(result.mask(i[best], j[best]).sum()) / int(areas.max())


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
    model = _shallow_copy(model).eval()
    if _rule_of(model) is not None:  # a single layer
        model = nn.Sequential(model)
    try:
        graph = _Tracer().trace(model)
    except Exception as error:
        raise ValueError(
            f"torch.fx cannot trace {type(model).__name__}: {error}. Give the module "
            "whose forward depends on values or shapes a rule with @register(...)."
        ) from error
    parameter = next(model.parameters(), torch.zeros(0))
    image = torch.zeros(1, *input_shape).to(parameter)
    pixels = tuple(torch.eye(n, dtype=torch.bool) for n in input_shape[1:])
    start = Dependency(paths=(pixels,), shape=tuple(image.shape), axes=(2, 3))
    follower = _Follower(model, graph, gates)
    with torch.no_grad():
        follower.run(_Value(image, start))
    return follower.fields


def _shallow_copy(model: nn.Module) -> nn.Module:
    """A copy of all modules that shares their tensors and has none of their hooks."""
    memo = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        for name, value in vars(module).items():
            if name.endswith("_hooks"):
                memo[id(value)] = type(value)()
    return copy.deepcopy(model, memo)


def _rule_of(module: nn.Module) -> Rule | None:
    """The rule of a module's class, or of a base class that computes the same.

    A subclass with a `forward` of its own is looked into instead, except a convolution:
    a faster way to compute it does not change what it reads.
    """
    for base in type(module).__mro__:
        if base in RULES:
            convolution = issubclass(base, (nn.Conv2d, nn.ConvTranspose2d))
            same = convolution or type(module).forward is base.forward
            return RULES[base] if same else None
    return None


class _Tracer(fx.Tracer):
    """Looks into every module but those that have a rule and those of `torch.nn`."""

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        known = _rule_of(module) is not None
        return known or super().is_leaf_module(module, module_qualified_name)


@dataclass
class _Value:
    """A tensor on its way through the model, and what it depends on."""

    tensor: Tensor  # only its shape matters
    dependency: Dependency


class _Follower(fx.Interpreter):
    """Runs the traced model on one image and follows what each value depends on."""

    def __init__(self, model: nn.Module, graph: fx.Graph, gates: bool):
        super().__init__(model, graph=graph)
        self.extra_traceback = False
        self.gates = gates
        self.fields: list[LayerField] = []

    def run_node(self, node: fx.Node):
        if not node.op.startswith("call_"):
            return super().run_node(node)
        arguments, options = self.fetch_args_kwargs_from_env(node)
        if node.target is operator.getitem and isinstance(arguments[0], tuple):
            return arguments[0][arguments[1]]  # one of several outputs
        given = (arguments, options)
        found = [v for v in tree_flatten(given)[0] if isinstance(v, _Value)]
        output = getattr(self, node.op)(node.target, *tree_map(_tensor, given))
        outputs = output if isinstance(output, (tuple, list)) else (output,)
        if not found or not all(isinstance(tensor, Tensor) for tensor in outputs):
            return output  # a constant, a shape, a check
        module = self.submodules[node.target] if node.op == "call_module" else None
        call = Call(
            operation=node.target if module is None else type(module),
            module=module,
            arguments=tree_map(_dependency, arguments),
            options=tree_map(_dependency, options),
            inputs=tuple(value.dependency for value in found),
            output=output,
            gates=self.gates,
        )
        results = self._follow(node, call, [tuple(tensor.shape) for tensor in outputs])
        values = tuple(map(_Value, outputs, results))
        return values[0] if output is outputs[0] else values

    def _follow(self, node: fx.Node, call: Call, shapes: list) -> list[Dependency]:
        """Apply the rule of one operation and note the fields of its outputs."""
        module, name = call.module, node.name
        if module is None:
            rule, kind = RULES.get(node.target), _function_name(node.target)
        else:
            rule, kind, name = _rule_of(module), type(module).__name__, node.target
        hint = "Give it, or the module that contains it, a rule with @register(...)."
        if rule is None:
            raise NotImplementedError(
                f"receptive_field does not know the operation {kind} (node {name!r}, "
                f"target {_qualified_name(call.operation)}). {hint}"
            )
        try:
            results = rule(call)
        except NotImplementedError as error:
            raise NotImplementedError(
                f"receptive_field cannot follow {kind} (node {name!r}): {error}. {hint}"
            ) from None
        several = isinstance(results, tuple)
        results = results if several else [results] * len(shapes)
        results = [
            replace(result, shape=shape)
            for result, shape in zip(results, shapes, strict=True)
        ]
        for k, result in enumerate(results if several else results[:1]):
            _check_size(result, kind, name)
            label = f"{name}[{k}]" if several else name
            self.fields.append(_layer_field(label, kind, call, result))
        return results


def _tensor(argument):
    return argument.tensor if isinstance(argument, _Value) else argument


def _dependency(argument):
    return argument.dependency if isinstance(argument, _Value) else argument


def _function_name(target) -> str:
    """The name of a function or method, in-place variants without their mark."""
    name = target if isinstance(target, str) else target.__name__
    name = name.strip("_")
    in_place = target is getattr(operator, name, None) and name[0] == "i"
    return name[1:] if in_place else name


def _qualified_name(operation) -> str:
    """Where a function or class comes from; a method's name as it is."""
    if isinstance(operation, str):
        return f"method {operation}"
    return f"{operation.__module__}.{operation.__qualname__}"


def _check_size(result: Dependency, kind: str, name: str) -> None:
    """The rule and the operation itself must agree on the size of the output."""
    shape = result.shape
    if 0 in shape:
        raise ValueError(
            f"{kind} ({name!r}) gives an empty output {tuple(shape)}: the image is too "
            "small for this model"
        )
    separate = result.axes[0] != result.axes[1]
    for n, axis in zip(result.size, result.axes, strict=True):
        if separate and n != (1 if axis is None else shape[axis]):
            raise RuntimeError(
                f"the rule of {kind} ({name!r}) gives {result.size} positions in the "
                f"dimensions {result.axes}, but the output has shape {tuple(shape)}"
            )


def as_rows(fields: list[LayerField]) -> list[dict]:
    """One dict per layer, ready for `pandas.DataFrame(as_rows(fields))`."""
    names = "name kind output_size size size_min stride touched taps live_taps exact"
    return [{name: getattr(f, name) for name in names.split()} for f in fields]


def as_table(fields: list[LayerField]) -> str:
    """The fields as aligned text; sizes are height x width in pixels.

    "touched" is the share of the largest box that is really read; "live taps" are
    those that see the image for any output, of all taps; "~" marks an upper bound.
    """

    def pair(values) -> str:
        return " x ".join(f"{value:g}" for value in values)

    lines = [
        ["layer", "kind", "output", "field", "smallest", "stride", "touched"]
        + ["live taps"]
    ]
    for f in fields:
        largest = pair(f.size) + ("" if f.exact else " ~")
        sizes = [pair(f.output_size), largest, pair(f.size_min), pair(f.stride)]
        taps = f"{f.live_taps} of {f.taps}" if f.taps > 1 else ""
        lines.append([f.name, f.kind, *sizes, f"{f.touched:.0%}", taps])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = []
    for line in lines:
        cells = [c.ljust(w) for c, w in zip(line[:2], widths[:2], strict=True)]
        cells += [c.rjust(w) for c, w in zip(line[2:], widths[2:], strict=True)]
        texts.append("  ".join(cells).rstrip())
    return "\n".join([texts[0], "-" * (sum(widths) + 2 * len(widths) - 2), *texts[1:]])
