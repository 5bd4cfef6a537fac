"""Random networks of every registered operation, traced and compared with gradients.

    python -m tests.fuzz_receptive_field 500

follows as many networks and stops at the first that is wrong, made as small as
possible, or if an operation was never drawn; the suite runs a few. A network is a list
of steps, each of which makes a map (N, C, h, w) from one or two earlier ones, by
modules, functions, methods, operators, in place or into a part. What was compared least
often is drawn first. An operation may be refused by an error that names it.
"""

import inspect
import operator
import sys
from collections import Counter
from functools import partial

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from cifar_helpers.depthwise import DepthwiseConv2d
from cifar_helpers.receptive_field import receptive_field
from cifar_helpers.receptive_field.rules import RULES
from tests.receptive_field_oracle import (
    PLACEWISE,
    REDUCTIONS,
    Increasing,
    check_field,
    masks,
    positive,
)

# --------------------------------------------------------------------------------------
# A network of steps
# --------------------------------------------------------------------------------------


class Step(nn.Module):
    """A function of this module (for its layers) and of some maps."""

    def __init__(self, label, function, **layers):
        super().__init__()
        self.label, self.function = label, function
        self.choices = ()  # what of the lists of this file it was made of
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *maps):
        return self.function(self, *maps)


class LookedInto(StochasticDepth):
    """A subclass is followed inside, where the function of torchvision is called."""

    def forward(self, x):
        return super().forward(x)


class Mark(nn.Identity):
    """The end of a step: its row in the table is compared."""


class Network(nn.Module):
    """A list of steps; each makes a map of earlier ones."""

    def __init__(self, image_size):
        super().__init__()
        self.image_size = image_size
        self.steps, self.marks, self.sources = nn.ModuleList(), nn.ModuleList(), []
        self.seen = None  # the maps as they were when they were made

    def add(self, step, sources):
        self.steps.append(step)
        self.marks.append(Mark())
        self.sources.append(sources)

    def forward(self, image: Tensor) -> Tensor:
        values = [image * 1.0]
        for step, mark, sources in zip(
            self.steps, self.marks, self.sources, strict=True
        ):
            values.append(mark(step(*(values[source] for source in sources))))
            if self.seen is not None:
                self.seen.append(values[-1].clone())
        return values[-1]

    def __repr__(self):
        lines = [f"image 2 x {self.image_size}"]
        for k, (step, sources) in enumerate(
            zip(self.steps, self.sources, strict=True), 1
        ):
            lines.append(f"{k}: {step.label} of {sources} {list(step.children())}")
        return "\n".join(lines)


def layer_step(layer: nn.Module) -> Step:
    return Step(type(layer).__name__, lambda s, x: s.layer(x), layer=layer)


def call_step(label: str, function, *arguments, **options) -> Step:
    """A function of the map, without layers."""
    return Step(
        f"{label} {arguments or ''} {options or ''}",
        lambda s, *maps: function(*maps, *arguments, **options),
    )


ROUND = 5  # networks; after each, other choices are rare
COMPARED = Counter()  # how often each choice has been compared, before this round


def rare(kind: str, choices) -> list:
    """The dozen that were compared least often, so that in the end all of them are."""
    return sorted(choices, key=lambda choice: COMPARED[kind, choice])[:12]


def pick(draw, kind: str, steps: dict) -> Step:
    """One of the steps that were compared least often."""
    name = draw(st.sampled_from(rare(kind, steps)))
    steps[name].choices = ((kind, name),)
    return steps[name]


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


# --------------------------------------------------------------------------------------
# Kernels, windows, resizing
# --------------------------------------------------------------------------------------


def draw_convolution(draw, channels, size):
    kernel, dilation = draw(pairs(1, 4)), draw(pairs(1, 3))
    stride, padding = draw(pairs(1, 3)), draw(pairs(0, 4))
    mode = draw(st.sampled_from(["zeros"] * 3 + ["reflect", "replicate", "circular"]))
    if draw(st.integers(0, 3)) == 0:
        padding, stride = draw(st.sampled_from([("same", 1), ("valid", stride)]))
    if draw(st.integers(0, 5)) == 0:
        layer = DepthwiseConv2d(channels, dilation[0], stride[0])
        return Step("DepthwiseConv2d", lambda s, x: s.layer(x) * 1.0, layer=layer)
    groups = draw(st.sampled_from([1, 1, 2, channels]))
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    out = draw(st.sampled_from([2, 4, channels])) if groups != channels else channels
    layer = nn.Conv2d(
        channels, out, kernel, groups=groups, padding_mode=mode, **options
    )
    if draw(st.integers(0, 2)) == 0 and mode == "zeros":
        function = draw(st.sampled_from([F.conv2d, torch.conv2d]))
        return Step(
            f"conv2d {options}",
            lambda s, x: function(
                x, s.layer.weight, s.layer.bias, groups=groups, **options
            ),
            layer=layer,
        )
    return layer_step(layer)


def draw_transposed(draw, channels, size):
    stride, dilation = draw(pairs(1, 3)), draw(pairs(1, 2))
    extra = tuple(
        draw(st.integers(0, max(s, d) - 1))
        for s, d in zip(stride, dilation, strict=True)
    )
    kernel, padding = draw(pairs(1, 4)), draw(pairs(0, 2))
    groups = draw(st.sampled_from([1, 2, channels]))
    layer = nn.ConvTranspose2d(
        *(channels, channels, kernel, stride, padding, extra, groups),
        dilation=dilation,
    )
    if draw(st.booleans()):
        return layer_step(layer)
    function = draw(st.sampled_from([F.conv_transpose2d, torch.conv_transpose2d]))
    return Step(
        f"conv_transpose2d {stride} {padding} {extra} {dilation}",
        lambda s, x: function(
            x, s.layer.weight, None, stride, padding, extra, groups, dilation
        ),
        layer=layer,
    )


def draw_pool(draw, channels, size):
    kernel, stride = draw(pairs(1, 3)), draw(st.none() | pairs(1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    ceil, target = draw(st.booleans()), draw(pairs(1, 7))
    return pick(
        draw,
        "pool",
        dict(
            enumerate(
                [
                    layer_step(nn.MaxPool2d(kernel, stride, padding, 2)),
                    layer_step(nn.AvgPool2d(kernel, stride, padding, ceil)),
                    layer_step(nn.LPPool2d(2, kernel, stride)),
                    layer_step(nn.AdaptiveAvgPool2d(target)),
                    layer_step(nn.AdaptiveMaxPool2d(target)),
                    call_step(
                        "max_pool2d", F.max_pool2d, kernel, stride, ceil_mode=ceil
                    ),
                    call_step("max_pool2d", torch.max_pool2d, kernel, stride, padding),
                    call_step("avg_pool2d", F.avg_pool2d, kernel, stride, padding),
                    call_step("adaptive_avg_pool2d", F.adaptive_avg_pool2d, target),
                    call_step("adaptive_max_pool2d", F.adaptive_max_pool2d, target),
                ]
            )
        ),
    )


def draw_resize(draw, channels, size):
    kind = draw(st.integers(0, 8))
    if kind < 3:
        more = nn.Conv2d(channels, 4 * channels, 1, groups=channels)
        shuffle = nn.PixelShuffle(2)
        steps = {
            "torch": Step("", lambda s, x: torch.pixel_shuffle(s.c(x), 2), c=more),
            "functional": Step("", lambda s, x: F.pixel_shuffle(s.c(x), 2), c=more),
            "module": Step("", lambda s, x: s.s(s.c(x)), c=more, s=shuffle),
        }
        step = pick(draw, "shuffle", steps)
        step.label = f"pixel_shuffle {step.choices}"
        return step
    if kind in (3, 4) and not any(n % 2 for n in size):
        step = call_step("pixel_unshuffle", torch.pixel_unshuffle, 2)
        modules = {"module": layer_step(nn.PixelUnshuffle(2)), "function": step}
        return pick(draw, "unshuffle", modules)
    modes = ["nearest", "bilinear", "bicubic", "nearest-exact"]
    options = {"mode": draw(st.sampled_from(modes))}
    smooth = options["mode"] in ("bilinear", "bicubic")
    if draw(st.booleans()):
        options["size"] = draw(pairs(1, 20))
    else:
        factors = [0.5, 0.75, 1.5, 2.0, (2.0, 1.25)]
        options["scale_factor"] = draw(st.sampled_from(factors))
    if options["mode"] == "bilinear" and kind == 5:
        return call_step("interpolate", F.interpolate, antialias=True, **options)
    if smooth:
        options["align_corners"] = draw(st.booleans())
    if draw(st.booleans()):
        return layer_step(nn.Upsample(**options))
    return call_step("interpolate", F.interpolate, **options)


def draw_padding(draw, channels, size):
    amounts = draw(st.tuples(*[st.integers(0, 3)] * 4))
    layers = [nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d, nn.ZeroPad2d]
    layers.append(partial(nn.ConstantPad2d, value=0.5))
    kind = draw(st.integers(0, len(layers) + 1))
    if kind < len(layers):
        return layer_step(layers[kind](amounts))
    if kind == len(layers):
        return call_step("pad", F.pad, (*amounts, 1, 1))
    return call_step("pad", F.pad, [a - 1 for a in amounts], value=0.5)


# --------------------------------------------------------------------------------------
# Operations on each place
# --------------------------------------------------------------------------------------

NUMBERS = {  # what comes behind the map
    "leaky_relu": (0.1,),
    "threshold": (0.1, 2.0),
    "clamp": (0.1, 3.0),
    "clip": (0.1, 3.0),
    "clamp_min": (0.1,),
    "clamp_max": (3.0,),
    "masked_fill": None,
}
TWO = {"add", "sub", "div", "divide", "truediv", "pow", "mul", "multiply", "maximum"}
TWO |= {"minimum", "lerp", "addcmul", "addcdiv", "where", "masked_fill", "gt", "ge"}
TWO |= {"lt", "le", "eq", "ne", "logical_and", "logical_or"}
BOOLEAN = ("gt", "ge", "lt", "le", "eq", "ne", "logical_and", "logical_or")
BOOLEAN += ("logical_not",)
DROPOUTS = ("dropout", "dropout1d", "dropout2d", "alpha_dropout")
DROPOUTS += ("feature_alpha_dropout",)
TYPES = ("contiguous", "clone", "detach", "float", "double", "half", "bfloat16")
NAMES = PLACEWISE | set(DROPOUTS) | set(TYPES)


def plain_name(key) -> str:
    """The name of an operation in whatever form it comes."""
    name = (key if isinstance(key, str) else key.__name__).strip("_")
    from_operator = not isinstance(key, str) and key.__module__ == "_operator"
    return name[1:] if from_operator and name[0] == "i" else name


# All registered functions, methods and operators that work on each place, and modules.
KEYS = [
    key
    for key in RULES
    if not inspect.isclass(key)
    and not str(key).startswith("torchvision")
    and plain_name(key) in NAMES
]
MODULES = [k for k, r in RULES.items() if r is RULES[nn.ReLU] and inspect.isclass(k)]
UNREACHABLE = {F.sigmoid, F.tanh}  # they call methods, and these are traced


def draw_activation(draw, channels, size):
    """Several modules that work on each place, in place or not."""
    kinds = draw(
        st.lists(
            st.sampled_from(rare("module", MODULES)),
            min_size=4,
            max_size=8,
            unique=True,
        )
    )
    layers = []
    for kind in kinds:
        options = {"threshold": 0.1, "value": 1.0} if kind is nn.Threshold else {}
        if "inplace" in inspect.signature(kind).parameters:
            options["inplace"] = draw(st.booleans())
        layers.append(kind(**options))
    step = layer_step(nn.Sequential(*layers, StochasticDepth(0.5, "row")))
    step.choices = tuple(("module", kind) for kind in kinds)
    return step


def draw_placewise(draw, channels, size):
    """A function, method or operator on each place, with one map or two alike."""
    keys = [k for k in KEYS if plain_name(k) not in TWO]
    return placewise_step(
        draw(
            st.lists(
                st.sampled_from(rare("key", keys)), min_size=8, max_size=12, unique=True
            )
        )
    )


def draw_two(draw):
    """The same for two maps."""
    keys = [k for k in KEYS if plain_name(k) in TWO]
    return placewise_step(
        draw(
            st.lists(
                st.sampled_from(rare("key", keys)), min_size=8, max_size=12, unique=True
            )
        )
    )


def placewise_step(keys) -> Step:
    """Several operations on each place, one after the other."""
    functions = [placewise_function(key) for key in keys]

    def apply(s, x, *other):
        for function in functions:
            x = function(x, *other)
        return x

    forms = [k if isinstance(k, str) else f"{k.__module__}.{k.__name__}" for k in keys]
    step = Step(f"placewise {', '.join(forms)}", apply)
    step.choices = tuple(("key", key) for key in keys)
    return step


def placewise_function(key):
    """A function of one map, or of two, that calls this operation."""
    name = plain_name(key)
    behind = NUMBERS.get(name, ())
    if name in DROPOUTS:
        behind = (0.5, False)
    function = key
    if isinstance(key, str):
        function = lambda x, *rest: getattr(x, key)(*rest)  # noqa: E731

    def apply(x, *other):
        if name == "where":
            return (
                function(x.gt(0.5), *other, x)
                if not isinstance(key, str)
                else (function(x, other[0].gt(0.5), x))
            )
        if name == "prelu":
            return function(x, x.new_full((1,), 0.1))
        if name == "masked_fill":
            return function(x, other[0].gt(0.5), 0.5)
        if name == "lerp":
            return function(x, *other, 0.5)
        if name in ("addcmul", "addcdiv"):
            return function(x, *other, *other)
        result = function(x, *other, *behind)
        if name in BOOLEAN or name in ("double", "half", "bfloat16"):
            return result.float()
        return x if result is None else result

    return apply


# --------------------------------------------------------------------------------------
# Operations on many places
# --------------------------------------------------------------------------------------


def draw_reduction(draw, channels, size):
    forms = [(name, method) for name in REDUCTIONS for method in (False, True)]
    name, method = draw(st.sampled_from(rare("reduction", forms)))
    dims = draw(st.sampled_from([1, 2, 3, -1, (2, 3), (1, 3)]))
    several = name not in ("max", "min", "prod")
    dims = dims if several or isinstance(dims, int) else 2
    word = "axis" if draw(st.booleans()) and name != "logsumexp" else "dim"
    options = {word: dims, "keepdim": True}
    alone = draw(st.booleans())

    def apply(s, x):
        call = partial(getattr(x, name)) if method else partial(getattr(torch, name), x)
        result = call(**options)
        result = result[0] if name in ("max", "min") else result
        return result if alone else result + x

    step = Step(f"{name} {options} {method=} {alone=}", apply)
    step.choices = (("reduction", (name, method)),)
    return step


def draw_norm(draw, channels, size):
    own = draw(st.booleans())
    groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    zeros, ones = torch.zeros(channels), torch.ones(channels)
    modules = [
        nn.BatchNorm2d(channels, track_running_stats=own),
        nn.SyncBatchNorm(channels),
        nn.InstanceNorm2d(channels, track_running_stats=own),
        nn.GroupNorm(groups, channels),
        nn.LayerNorm([channels, *size]),
        nn.LayerNorm(size[1]),
        nn.RMSNorm(size[1]),
        nn.LocalResponseNorm(2),
        *(nn.Softmax(draw(st.integers(1, 3))), nn.LogSoftmax(1), nn.Softmin(3)),
        nn.Softmax2d(),
        nn.GLU(1),
    ]
    steps = [layer_step(module) for module in modules]
    dim = draw(st.integers(1, 3))
    for function in (F.softmax, torch.softmax, F.log_softmax, F.softmin):
        steps.append(call_step(function.__name__, function, dim))
    steps += [
        call_step("log_softmax", torch.log_softmax, dim),
        call_step("softmax", lambda x: x.softmax(dim)),
        call_step("log_softmax", lambda x: x.log_softmax(dim=dim)),
        call_step("normalize", F.normalize, dim=dim),
        layer_step(LookedInto(0.5, "batch")),
        call_step("group_norm", F.group_norm, groups),
        call_step("layer_norm", F.layer_norm, size),
        call_step("rms_norm", F.rms_norm, size),
        call_step("local_response_norm", F.local_response_norm, 3),
        call_step("glu", F.glu, 1),
        call_step("batch_norm", F.batch_norm, zeros, ones, None, None, own),
        call_step("batch_norm", F.batch_norm, None, None, training=True),
        call_step("instance_norm", F.instance_norm, zeros, ones, use_input_stats=own),
        Step(
            "BatchNorm1d of rows",
            lambda s, x: s.n(x.flatten(2)).unflatten(2, size),
            n=nn.BatchNorm1d(channels, track_running_stats=own),
        ),
    ]
    return pick(draw, "norm", dict(enumerate(steps)))


def draw_mixing(draw, channels, size):
    """Linear layers, attention over everything or along an axis, gates."""
    heads = nn.MultiheadAttention(channels, 1, batch_first=draw(st.booleans()))
    weights = draw(st.booleans())
    count = size[0] * size[1]

    def attention(s, x):
        tokens = x.flatten(2).transpose(1, 2)  # (N, h w, C)
        tokens = tokens if heads.batch_first else tokens.transpose(0, 1)
        query = tokens if weights else s.q(x).flatten(2).transpose(1, 2)
        query = query if weights or heads.batch_first else query.transpose(0, 1)
        out, w = s.a(query, tokens, tokens, need_weights=weights)
        out = out if heads.batch_first else out.transpose(0, 1)
        return out.transpose(1, 2).unflatten(2, size)

    def axial(s, x):
        q, k = s.q(x).permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
        scores = (q @ k.transpose(2, 3) / 2).softmax(-1)  # (N, h, w, w)
        return (scores.matmul(k)).permute(0, 3, 1, 2)

    def columns(s, x):
        q, k = s.q(x).permute(0, 3, 2, 1), x.permute(0, 3, 2, 1)  # (N, w, h, C)
        return F.scaled_dot_product_attention(q, k, k).permute(0, 3, 2, 1)

    def non_local(s, x):
        q, k = s.q(x).flatten(2), x.flatten(2)
        scores = torch.bmm(k.transpose(1, 2), q).softmax(1)  # keys, queries
        return k.bmm(scores).view(x.shape)

    def linear_attention(s, x):
        q, k = s.q(x).flatten(2), x.flatten(2)
        context = torch.matmul(k, k.transpose(1, 2))  # (N, C, C)
        return torch.matmul(context, q).view(x.shape)

    def by_letters(s, x):
        scores = torch.einsum("nchw,nchv->nhwv", s.q(x), x)
        return torch.einsum("nhwv,nchv->nchw", scores, x)

    conv = nn.Conv2d(channels, channels, draw(st.sampled_from([1, 3])), padding="same")
    mixing = (attention, axial, columns, non_local, linear_attention, by_letters)
    steps = [Step(f.__name__, f, a=heads, q=conv) for f in mixing]
    steps += [
        Step("Linear of columns", lambda s, x: s.l(x), l=nn.Linear(size[1], 5)),
        Step(
            "linear of channels",
            lambda s, x: F.linear(x.permute(0, 2, 3, 1), s.l.weight).permute(
                0, 3, 1, 2
            ),
            l=nn.Linear(channels, 2),
        ),
        Step(
            "matmul by a constant", lambda s, x: s.l.weight @ x, l=nn.Linear(size[0], 4)
        ),
        Step(
            "mm",
            lambda s, x: x.flatten(1).mm(s.l)[:, :, None, None],
            l=nn.Parameter(torch.rand(channels * count, 2)),
        ),
        Step(
            "torch.mm",
            lambda s, x: torch.mm(x.flatten(1), s.l)[:, :, None, None],
            l=nn.Parameter(torch.rand(channels * count, 2)),
        ),
        Step(
            "Conv1d gate",
            lambda s, x: x * s.c(x.mean((2, 3))[:, None]).transpose(1, 2).unsqueeze(3),
            c=nn.Conv1d(1, 1, 3, padding=1),
        ),
        Step("gate", lambda s, x: x * x.mean((2, 3), keepdim=True)),
    ]
    return pick(draw, "mixing", dict(enumerate(steps)))


# --------------------------------------------------------------------------------------
# Values moved, and written in place
# --------------------------------------------------------------------------------------


def draw_move(draw, channels, size):
    """There and back by two shapes or orders, or a part, a copy, a mirror image."""
    h, w = size
    flat, dim = (-1, channels, h * w), draw(st.integers(1, 3))
    length = (channels, h, w)[dim - 1]
    start = draw(st.integers(0, length - 1))
    stop = draw(st.integers(start + 1, length))
    step = draw(st.integers(1, 2))
    index = (slice(None),) * dim + (slice(start, stop, step),)
    fine = list(range(start, stop))
    pick = torch.tensor(fine[::-1])
    order, back = draw(
        st.sampled_from([((0, 2, 3, 1), (0, 3, 1, 2)), ((0, 3, 1, 2), (0, 2, 3, 1))])
    )
    moves = {
        "view": lambda s, x: x.reshape(flat).view(-1, channels, h, w),
        "flatten": lambda s, x: torch.flatten(x, 2).unflatten(2, size),
        "flatten all": lambda s, x: x.flatten(1).view(-1, channels, h, w),
        "torch.unflatten": lambda s, x: torch.unflatten(x.flatten(2), 2, size),
        "Unflatten": lambda s, x: s.u(s.f(x)),
        "torch.reshape": lambda s, x: torch.reshape(x.flatten(2), (-1, channels, h, w)),
        "view_as": lambda s, x: x.flatten(1).view_as(x).reshape_as(x),
        "permute": lambda s, x: torch.permute(x.permute(order), back),
        "permute *": lambda s, x: x.permute(*order).permute(dims=back),
        "transpose": lambda s, x: x.transpose(1, 2).swapaxes(1, 2),
        "torch.transpose": lambda s, x: torch.transpose(torch.swapaxes(x, 1, 3), 3, 1),
        "swapdims": lambda s, x: x.swapdims(2, 3).swapdims(-1, -2),
        "torch.swapdims": lambda s, x: torch.swapdims(torch.swapdims(x, 2, 3), 2, 3),
        "movedim": lambda s, x: x.movedim(1, -1).moveaxis(-1, 1),
        "torch.movedim": lambda s, x: torch.movedim(torch.moveaxis(x, 1, -1), -1, 1),
        "squeeze": lambda s, x: x.unsqueeze(2).squeeze(2),
        "torch.squeeze": lambda s, x: torch.squeeze(torch.unsqueeze(x, 1), 1),
        "mT": lambda s, x: x.mT.mT.real,
        "t": lambda s, x: x.flatten(1).t().t().view(x.shape),
        "torch.t": lambda s, x: torch.t(torch.t(x.flatten(1))).view(x.shape),
        "flip": lambda s, x: x.flip(dim),
        "torch.flip": lambda s, x: torch.flip(x, (dim,)) + x,
        "index": lambda s, x: x[index],
        "index list": lambda s, x: x[(slice(None),) * dim + (fine,)],
        "whole number": lambda s, x: x[(slice(None),) * dim + (start,)].unsqueeze(dim),
        "last": lambda s, x: x[..., -2:],
        "None": lambda s, x: x[:, :, None].select(2, 0),
        "torch.select": lambda s, x: torch.select(x, dim, start).unsqueeze(dim),
        "narrow": lambda s, x: x.narrow(dim, start, stop - start),
        "torch.narrow": lambda s, x: torch.narrow(x, dim, start, stop - start),
        "index_select": lambda s, x: x.index_select(dim, pick),
        "torch.index_select": lambda s, x: torch.index_select(x, dim, pick),
        "chunk": lambda s, x: x.chunk(2, dim)[0],
        "torch.chunk": lambda s, x: torch.chunk(x, 2, dim=dim)[-1],
        "split": lambda s, x: x.split(max(1, length // 2), dim)[-1],
        "torch.split": lambda s, x: torch.split(x, 1, dim)[start],
        "tensor_split": lambda s, x: x.tensor_split(2, dim)[1],
        "torch.tensor_split": lambda s, x: torch.tensor_split(x, 2, dim=dim)[0],
        "unbind": lambda s, x: x.unbind(dim)[start].unsqueeze(dim),
        "torch.unbind": lambda s, x: torch.stack(torch.unbind(x, dim)[::-1], dim),
        "stack": lambda s, x: torch.stack((x, s.q(x)), 1).flatten(1, 2),
        "stack in space": lambda s, x: torch.stack((s.q(x), x), 2)[:, :, 1],
        "repeat": lambda s, x: x.repeat(1, 1, 2, 1),
        "tile": lambda s, x: x.tile(1, 2, 1, 2),
        "torch.tile": lambda s, x: torch.tile(x, (1, 1, 2)),
        "repeat_interleave": lambda s, x: x.repeat_interleave(2, dim),
        "torch.repeat_interleave": lambda s, x: torch.repeat_interleave(x, 2, dim=dim),
        "expand": lambda s, x: x.mean(2, keepdim=True).expand(-1, -1, 4, -1),
        "expand_as": lambda s, x: x.amax(dim, keepdim=True).expand_as(x),
        "broadcast_to": lambda s, x: x[:, :1].broadcast_to(x.shape),
        "torch.broadcast_to": lambda s, x: torch.broadcast_to(x[:, :, :1], x.shape),
        "channel_shuffle": lambda s, x: F.channel_shuffle(x, 2),
        "ChannelShuffle": lambda s, x: s.g(x),
        "shuffle": lambda s, x: x.view(-1, 2, channels // 2, h, w)
        .transpose(1, 2).flatten(1, 2),
        "dropout1d": lambda s, x: F.dropout1d(x.flatten(2), 0.5, False).view(x.shape),
        "Dropout1d": lambda s, x: s.o(x.flatten(2)).view(x.shape),
        "to": lambda s, x: x.to(torch.float64).to(x.dtype).type_as(x),
        "constant behind": lambda s, x: torch.cat((x, s.c.expand_as(x)), dim),
        "constant before": lambda s, x: torch.concat((s.c.expand_as(x), x), dim),
        "constant's type": lambda s, x: x * s.c.type_as(x),
        "concatenate": lambda s, x: torch.concatenate((s.q(x), x, x[index]), axis=dim),
        "grouped": lambda s, x: torch.cat(
            [f(p) for f, p in zip((s.d, s.e), x.chunk(2, 1), strict=True)], 1
        ),
        "gated": lambda s, x: F.silu(x.chunk(2, 1)[0]) * x.chunk(2, 1)[1],
        "zero_": lambda s, x: (x * 1.0).zero_() + x,
        "fill": lambda s, x: torch.fill(x, 1.0) + x[:, :, :1],
        "torch.fill_": lambda s, x: torch.fill_(x * 1.0, 1.0) + torch.zero_(x + x),
    }  # fmt: skip
    name = draw(st.sampled_from(rare("move", sorted(moves))))
    half = max(1, channels // 2)
    step = Step(
        f"{name} {dim=} {start=} {stop=} {step=}",
        moves[name],
        f=nn.Flatten(2),
        o=nn.Dropout1d(),
        u=nn.Unflatten(2, size),
        q=nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        c=nn.Parameter(torch.rand(1, channels, 1, 1)),
        g=nn.ChannelShuffle(2),
        d=nn.Conv2d(half, half, 3, padding=1, groups=half),
        e=nn.Conv2d(half, half, 5, padding=2, groups=half),
    )
    step.choices = (("move", name),)
    return step


def draw_write(draw, channels, size):
    """Something written into a view of a map, or of a buffer of zeros."""
    h, w = size
    dim = draw(st.integers(1, 3))
    length = (channels, h, w)[dim - 1]
    start = draw(st.integers(0, length - 1))
    step = draw(st.integers(1, 2))
    index = (slice(None),) * dim + (slice(start, None, step),)
    other = draw(st.integers(1, 3))
    views = {
        "all": lambda x: x,
        "slice": lambda x: x[index],
        "two slices": lambda x: x[:, :, : h - 1][..., w // 2 :],
        "chunk": lambda x: x.chunk(2, dim)[0],
        "select": lambda x: x.select(dim, start),
        "flat": lambda x: x.flatten(2),
        "tokens": lambda x: x.permute(0, 2, 3, 1),
        "mirror": lambda x: x.transpose(2, 3),
        "unbind": lambda x: x.unbind(dim)[-1],
        "view of a view": lambda x: x.view(-1, channels, h, w)[index].narrow(
            other, 0, 1
        ),
    }
    writes = {
        "add_": lambda s, v, y: v.add_(y),
        "mul_": lambda s, v, y: v.mul_(y),
        "copy_": lambda s, v, y: v.copy_(y),
        "zero_": lambda s, v, y: v.zero_(),
        "fill_": lambda s, v, y: v.fill_(1.0),
        "iadd": lambda s, v, y: operator.iadd(v, y),
        "imul": lambda s, v, y: operator.imul(v, y),
        "relu_": lambda s, v, y: F.relu(v, inplace=True),
        "add_ mean": lambda s, v, y: v.add_(y.mean(-1, keepdim=True)),
        "addcmul_": lambda s, v, y: v.addcmul_(y, y),
        "setitem": lambda s, v, y: operator.setitem(v, (0,) * 0 or ..., y),
        "setitem number": lambda s, v, y: operator.setitem(v, ..., 1.0),
    }
    view, write = (
        draw(st.sampled_from(sorted(views))),
        draw(st.sampled_from(sorted(writes))),
    )
    before = draw(st.sampled_from(["input", "copy", "zeros", "alias"]))

    def apply(s, x):
        y = {
            "input": lambda: x,
            "copy": lambda: x * 1.0,
            "zeros": lambda: torch.zeros_like(x),
            "alias": lambda: F.dropout(x, 0.5, False).contiguous(),
        }[before]()
        writes[write](s, views[view](y), views[view](s.q(x)))
        return y

    layer = nn.Conv2d(
        channels, channels, draw(pairs(1, 3)), padding="same", groups=channels
    )
    return Step(
        f"write {before} {view} {dim=} {start=} {step=} {write}", apply, q=layer
    )


def draw_gate(draw, channels, size):
    return call_step("mean", torch.mean, dim=(2, 3), keepdim=True)


KINDS = [draw_convolution] * 4 + [draw_transposed, draw_pool, draw_resize]
KINDS += [draw_padding, draw_activation, draw_reduction, draw_norm, draw_gate]
KINDS += [draw_placewise, draw_mixing, draw_write, draw_pool] * 2
KINDS += [draw_norm] * 2 + [draw_activation] + [draw_move] * 6


def partners(values, one):
    """Which values can be merged with value `one`: equal or broadcast to it."""
    return [
        k
        for k, value in enumerate(values)
        if value.shape[1] == one.shape[1]
        and (value.shape == one.shape or value.shape[2:] == (1, 1))
    ]


def draw_step(draw, values):
    """One step that works on the values so far."""
    source = draw(st.integers(max(0, len(values) - 3), len(values) - 1))
    value = values[source]
    if draw(st.integers(0, 2)) == 0:
        other = draw(st.sampled_from(partners(values, value)))
        same_size = values[other].shape == value.shape
        if same_size and draw(st.integers(0, 2)) == 0 and value.shape[1] <= 4:
            dim = draw(st.sampled_from([1, 1, 1, 2, 3]))
            cat = Step(f"cat {dim}", lambda s, a, b: torch.cat([a, b], dim))
            return cat, (source, other)
        if other != source:
            return draw_two(draw), (source, other)
    kind = draw(st.sampled_from(KINDS))
    return kind(draw, value.shape[1], tuple(value.shape[2:])), (source,)


@st.composite
def networks(draw):
    image_size = draw(pairs(5, 12))
    network = Network(image_size)
    values = [torch.zeros(1, 2, *image_size)]
    for _ in range(draw(st.integers(3, 8))):
        with torch.no_grad():
            try:
                step, sources = draw_step(draw, values)
                value = step.eval()(*(values[source] for source in sources))
            except (RuntimeError, ValueError, IndexError, TypeError):
                continue  # this step does not fit this size
        good = value.ndim == 4 and len(value) == 1 and value.dtype == torch.float32
        small = value.shape[1] <= 16 and max(value.shape[2:]) <= 24
        if good and small and min(value.shape) >= 1:
            network.add(step, sources)
            values.append(value)
    return network


# --------------------------------------------------------------------------------------
# Comparison
# --------------------------------------------------------------------------------------


def check_network(
    network: Network, count: Counter, refusals: Counter, compared: Counter
) -> None:
    """Follow one random network; an error that names an operation is an answer."""
    compared.update(choice for step in network.steps for choice in step.choices)
    try:
        fields = receptive_field(network, (2, *network.image_size))
    except (NotImplementedError, ValueError) as error:
        told = "receptive_field cannot follow" in str(error)
        assert told or "gives an empty output" in str(error), error
        count["refused"] += 1
        refusals[str(error).removeprefix("receptive_field cannot ")[:80]] += 1
        return
    fields = {field.name: field for field in fields if field.kind == "Mark"}
    image = torch.rand(36, 2, *network.image_size, dtype=torch.float64) + 0.5
    image.requires_grad_()
    network = positive(network)
    network.seen = []
    with Increasing(), torch.autograd.graph.allow_mutation_on_saved_tensors():
        network(image)
        with torch._C.DisableTorchFunction():
            for k, value in enumerate(network.seen):
                if f"marks.{k}" in fields:
                    check_field(fields[f"marks.{k}"], image, value)
                else:  # said to be a constant
                    assert not masks(image, value, [(0, 0)]).any()
    count["networks"] += 1
    fields = fields.values()
    count["maps"] += len(fields)
    count["bounds"] += sum(not field.exact for field in fields)
    count["merged"] += sum(len(field.dependency.paths) > 1 for field in fields)
    count["blind"] += sum(0 in field.size_min for field in fields)


class Recorded:
    """Inside it, the operations whose rules are used are noted."""

    def __enter__(self):
        self.before, self.used = dict(RULES), set()
        for key, rule in self.before.items():
            RULES[key] = partial(self.apply, key, rule)
        return self.used

    def apply(self, key, rule, call):
        self.used.add(key)
        return rule(call)

    def __exit__(self, *_):
        RULES.update(self.before)


def run(examples: int) -> tuple[Counter, Counter, set]:
    """Follow so many random networks; the smallest wrong one is an AssertionError.

    Returns:
        what there was to compare, the reasons of refusals, the operations used.
    """
    count, refusals, compared = Counter(), Counter(), Counter()
    torch.manual_seed(0)
    COMPARED.clear()
    with Recorded() as used:
        for part in range(0, examples, ROUND):
            COMPARED.update(compared - COMPARED)  # as it stays during this round

            @seed(part)
            @settings(
                max_examples=min(ROUND, examples - part),
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            )
            @given(networks())
            def check(network):
                note(repr(network))
                check_network(network, count, refusals, compared)

            check()
    return count, refusals, used


if __name__ == "__main__":
    torch.set_num_threads(1)
    found, reasons, operations = run(int(sys.argv[1]) if sys.argv[1:] else 500)
    print(dict(found))
    print("\n".join(f"{n} x {reason}" for reason, n in reasons.most_common()))
    unused = [str(k) for k in RULES if k not in operations and k not in UNREACHABLE]
    print(
        f"{len(operations)} of {len(RULES)} operations used; no network can hold "
        f"{len(UNREACHABLE)}"
    )
    if unused:
        raise SystemExit(f"never drawn: {unused}")
