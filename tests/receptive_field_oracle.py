"""An independent answer to "which pixels does this unit see?": by gradient.

The network is made increasing in every pixel: weights and input are positive, double
precision, an activation does nothing, a maximum becomes a mean. Then nothing cancels
and nothing is cut off, and a unit depends on a pixel exactly where the gradient of the
unit with respect to the pixel is above zero.
"""

import copy
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cifar_helpers.receptive_field import receptive_field

NARROW = {  # our network with few channels: their number changes no field
    "channels": 4,
    "deep_channels": 4,
    "hidden_channels": 4,
    "branch_channels": 4,
    "out_channels": 4,
}


def last(fields, name: str):
    """The last row of this name."""
    return [field for field in fields if field.name == name][-1]


def _value(*arguments, **options) -> Tensor:
    """The sum of all arguments that depend on the image, of the broadcast shape."""
    given = [*arguments, *options.values()]
    given = [v for v in given if isinstance(v, Tensor)]
    used = [v for v in given if v.requires_grad]
    if not used:
        return None
    if len(used) == 1 and used[0] is arguments[0]:
        given = used  # a constant such as a slope may have another shape
    return (
        sum(
            v.double().expand(torch.broadcast_shapes(*(g.shape for g in given)))
            for v in used
        )
        * 0.5
    )


def _product(function, *arguments, **options):
    """A product becomes a sum, so that no factor that is zero hides the other."""
    places = [k for k, value in enumerate(arguments) if isinstance(value, Tensor)]
    total = 0.0
    for place in places:
        ones = [
            torch.ones_like(value) if k in places and k != place else value
            for k, value in enumerate(arguments)
        ]
        total = total + function(*ones, **options) * 0.5
    return total


def _mean_pool(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_
):
    """Maximum becomes mean. A dilated one is a convolution with ones."""
    kernel, dilation = [
        (n, n) if isinstance(n, int) else n for n in (kernel_size, dilation)
    ]
    if max(dilation) == 1:
        return F.avg_pool2d(x, kernel, stride, padding, ceil_mode)
    channels = x.shape[1]
    ones = torch.ones(channels, 1, *kernel, dtype=x.dtype)
    return F.conv2d(x, ones, None, stride or kernel, padding, dilation, channels)


def _lp_pool(x, norm_type, kernel_size, stride=None, ceil_mode=False):
    return F.avg_pool2d(x, kernel_size, stride, 0, ceil_mode)


def _mean_adaptive_pool(x, size, *arguments, **options):
    return F.adaptive_avg_pool2d(x, size)


def _sum_along(x, dim=1, *arguments, **options):
    return x + x.sum(dim, keepdim=True)


def _length_along(x, p=2.0, dim=1, *arguments, **options):
    return x + x.sum(dim, keepdim=True)


def _group_norm(x, groups, *arguments, **options):
    parts = x.unflatten(1, (groups, -1)).flatten(2).sum(2)  # (N, groups)
    return x + parts.repeat_interleave(x.shape[1] // groups, 1).view(
        *x.shape[:2], *[1] * (x.ndim - 2)
    )


def _sum_last(x, normalized_shape, *arguments, **options):
    return x + x.sum(tuple(range(-len(normalized_shape), 0)), keepdim=True)


def _channel_norm(x, mean, var, weight=None, bias=None, own=None, *_, **options):
    """Batch or instance norm; the statistics of one image, if they are its own."""
    own = options.get("training", options.get("use_input_stats", own))
    return (
        x + x.flatten(2).sum(2).view(*x.shape[:2], *[1] * (x.ndim - 2))
        if own
        else x * 1
    )


def _batch_norm(x, mean, var, weight=None, bias=None, training=False, *_, **options):
    return _channel_norm(x, mean, var, weight, bias, training)


def _instance_norm(
    x, mean=None, var=None, weight=None, bias=None, use_input_stats=True, *_, **options
):
    return _channel_norm(x, mean, var, weight, bias, use_input_stats)


def _neighbour_channels(x, size, *arguments, **options):
    reach = [
        x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1].sum(1)
        for c in range(x.shape[1])
    ]
    return torch.stack(reach, 1)


def _glu(x, dim=-1):
    return sum(x.chunk(2, dim))


def _attend(query, key, value, *arguments, **options):
    seen = key.sum((-2, -1), keepdim=True) + value.sum(-2, keepdim=True)
    return query.sum(-1, keepdim=True) + seen


def _attend_by_heads(query, key, value, *arguments, **options):
    """`nn.MultiheadAttention` has tokens first: (L, N, E)."""
    seen = (key + value).sum((0, 2), keepdim=True)
    tokens = query.sum(2, keepdim=True) + seen  # (L, N, 1)
    weights = None
    if options.get("need_weights", True):
        weights = tokens.permute(1, 0, 2).expand(-1, -1, len(key))
    return tokens.expand_as(query).contiguous(), weights


def _sum(x, dim=None, keepdim=False, *arguments, **options):
    if isinstance(dim, Tensor):
        return x + dim
    dim = options.get("axis", dim)
    if dim is None or isinstance(dim, bool):
        return x.flatten(1).sum(1)  # each image alone
    return x.sum(dim, keepdim=keepdim)


def _extreme(x, dim=None, keepdim=False, *arguments, **options):
    result = _sum(x, dim, keepdim, *arguments, **options)
    return (result, result) if isinstance(dim, int) or "axis" in options else result


def _interpolate(x, size=None, scale_factor=None, mode="nearest", **options):
    """Linear interpolation with weights in exact fractions, so that a zero is one."""
    if mode == "bicubic":
        return _by_size_of_weights(x, size, scale_factor, mode, **options)
    if mode != "bilinear":
        return F.interpolate(x, size, scale_factor, mode)
    outputs = F.interpolate(x[:1, :1], size, scale_factor, mode="nearest").shape[2:]
    matrices = []
    for axis, (n, out) in enumerate(zip(x.shape[2:], outputs, strict=True)):
        step = Fraction(n, out)
        if scale_factor is not None:
            factor = scale_factor
            factor = factor if isinstance(factor, (int, float)) else factor[axis]
            step = 1 / Fraction(factor).limit_denominator(100)
        if options.get("align_corners"):
            step = Fraction(n - 1, out - 1) if out > 1 else Fraction(0)
            places = [o * step for o in range(out)]
        else:
            places = [(o + Fraction(1, 2)) * step - Fraction(1, 2) for o in range(out)]
        width = max(step, 1) if options.get("antialias") else 1  # of the triangle
        if width == 1:
            places = [min(max(p, Fraction(0)), Fraction(n - 1)) for p in places]
        weights = [[max(0, 1 - abs(p - i) / width) for i in range(n)] for p in places]
        matrices.append(
            torch.tensor([[float(w) for w in row] for row in weights], dtype=x.dtype)
        )
    rows, columns = matrices
    return torch.einsum("oh,nchw,pw->ncop", rows, x, columns)


def _by_size_of_weights(x, size, scale_factor, mode, **options):
    """Cubic weights may be negative: their size counts."""
    height, width = x.shape[2:]
    pixels = torch.eye(height * width, dtype=x.dtype).view(-1, 1, height, width)
    weights = F.interpolate(pixels, size, scale_factor, mode, **options).abs()
    weights = weights * (weights > 1e-9)
    return torch.einsum("phw,ncp->nchw", weights[:, 0], x.flatten(2))


# Operations on each place alone, by name: functions, methods and operators.
PLACEWISE = set(
    """
    relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish sigmoid
    hardsigmoid logsigmoid log_sigmoid tanh hardtanh softplus softsign softshrink
    hardshrink tanhshrink threshold add sub rsub div divide truediv rdiv rtruediv pow
    rpow neg abs exp log sqrt rsqrt square reciprocal sin cos erf sign floor ceil round
    clamp clip clamp_min clamp_max maximum minimum where lerp addcmul addcdiv
    masked_fill nan_to_num gt ge lt le eq ne logical_and logical_or logical_not mul
    multiply radd rmul
    """.split()  # noqa: SIM905
)
# Operations that give their input itself, or what it shares its memory with.
ALIASES = ("contiguous", "to", "type_as", "float", "detach", "dropout", "dropout1d")
ALIASES += ("dropout2d", "alpha_dropout", "feature_alpha_dropout")
COPIES = ("double", "half", "bfloat16", "clone")
PRODUCTS = ("einsum", "matmul", "bmm", "mm", "__matmul__", "__rmatmul__")
REDUCTIONS = ("mean", "sum", "amax", "amin", "max", "min", "std", "var")
REDUCTIONS += ("logsumexp", "prod")
_REPLACED = {
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _mean_pool),
    F.lp_pool2d: _lp_pool,
    F.adaptive_max_pool2d: _mean_adaptive_pool,
    **dict.fromkeys((F.softmax, F.log_softmax, F.softmin, torch.softmax), _sum_along),
    **dict.fromkeys((torch.log_softmax, Tensor.softmax), _sum_along),
    Tensor.log_softmax: _sum_along,
    F.normalize: _length_along,
    F.group_norm: _group_norm,
    **dict.fromkeys((F.layer_norm, F.rms_norm), _sum_last),
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    F.local_response_norm: _neighbour_channels,
    F.glu: _glu,
    F.scaled_dot_product_attention: _attend,
    F.multi_head_attention_forward: _attend_by_heads,
    F.interpolate: _interpolate,
    **{
        getattr(place, name): _extreme if name in ("max", "min") else _sum
        for name in REDUCTIONS
        for place in (torch, Tensor)
    },
}


class Increasing(TorchFunctionMode):
    """Inside this context every operation is increasing in all of its inputs."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        options = options or {}
        if function in _REPLACED:
            return _REPLACED[function](*arguments, **options)
        full = function.__name__
        if full in PRODUCTS:
            return _product(function, *arguments, **options)
        name = full.strip("_")
        if name[0] == "i" and full.startswith("__i") and name[1:] in PLACEWISE:
            name, full = name[1:], full[:-1]  # x += y and the like
        in_place = options.get("inplace") or full[-1] == "_" and full[-2:] != "__"
        result = None
        if name in ALIASES + COPIES and arguments[0].requires_grad:
            shared = name in ALIASES
            if name == "contiguous" and not arguments[0].is_contiguous():
                shared = False  # another memory, so that writes do not reach the input
            return arguments[0] if shared else arguments[0] * 1
        if name in ("chunk", "split", "tensor_split", "unbind"):
            parts = function(arguments[0].detach(), *arguments[1:], **options)
            return tuple(  # views that autograd lets be written
                arguments[0].as_strided(p.shape, p.stride(), p.storage_offset())
                for p in parts
            )
        if name in PLACEWISE:
            result = _value(*arguments, **options)
        if result is None:
            return function(*arguments, **options)
        return arguments[0].copy_(result) if in_place else result


def positive(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy in double precision with positive weights that neither grow nor vanish.

    They are constants: only what depends on the image has a gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model).requires_grad_(False).double().eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                fan_in = max(1, tensor[0].numel()) if tensor.ndim else 1
                random = torch.rand(tensor.shape, generator=generator).double()
                tensor.copy_((0.5 + random) / fan_in)
    return model


class _OneChannel(nn.Module):
    """A convolution or linear layer on the sum of its channels, one channel out."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.is_linear = isinstance(layer, nn.Linear)
        if not self.is_linear:
            geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            self.conv = nn.Conv2d(1, 1, *geometry[:3], dilation=geometry[3])

    def forward(self, x: Tensor) -> Tensor:
        x = x.sum(dim=1, keepdim=True)
        return x if self.is_linear else self.conv(x)


def one_channel(model: nn.Module) -> nn.Module:
    """A copy with one channel everywhere: it sees the same pixels and runs quickly."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.Conv2d, nn.Linear)):
                setattr(parent, name, _OneChannel(child))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return model


def positions(height: int, width: int, phases: int = 4) -> list[tuple[int, int]]:
    """Corners, and as many places around the centre as there may be phases."""
    chosen = []
    for length in (height, width):
        middle = range(length // 2, length // 2 + phases)
        chosen.append(sorted({0, length - 1} | {n for n in middle if n < length}))
    return [(i, j) for i in chosen[0] for j in chosen[1]]


def masks(image: Tensor, value: Tensor, places) -> Tensor:
    """The pixels that each place of a value depends on, boolean (places, H, W).

    Copy p of the image in the batch is used for place p, so that one backward pass
    answers for all places. `value` is (batch, C, h, w) or (batch, features).
    """
    value = value[:, :, None, None] if value.ndim == 2 else value
    copies = torch.arange(len(places))
    i, j = torch.tensor(places).T
    chosen = value[copies, :, i, j].sum()
    gradient = None
    if chosen.requires_grad:
        (gradient,) = torch.autograd.grad(
            chosen, image, retain_graph=True, allow_unused=True
        )
    gradient = torch.zeros_like(image) if gradient is None else gradient
    assert (gradient >= 0).all()  # nothing cancels
    return (gradient[: len(places)] > 0).any(dim=1)


def box(mask: Tensor) -> tuple[int, int, int, int] | None:
    """Top, bottom, left, right of the true pixels; None if there are none."""
    rows = mask.any(dim=1).nonzero().flatten().tolist()
    columns = mask.any(dim=0).nonzero().flatten().tolist()
    return (rows[0], rows[-1], columns[0], columns[-1]) if rows else None


def check_field(field, image, value, phases=4):
    """Compare one field with the gradients of the value that it describes."""
    height, width = value.shape[2:] if value.ndim == 4 else (1, 1)
    assert field.output_size == (height, width)
    places = positions(height, width, phases)
    if height * width <= len(image):
        places = [(i, j) for i in range(height) for j in range(width)]
    expected = masks(image, value, places)
    traced = torch.stack([field.mask(*place) for place in places])
    if not field.exact:  # an upper bound
        assert (traced >= expected).all(), field.name
        return
    wrong = (traced != expected).flatten(1).any(dim=1).nonzero().flatten().tolist()
    assert not wrong, (field.name, [places[k] for k in wrong])
    boxes = [box(mask) for mask in expected]
    assert [field.span(*place) for place in places] == boxes, field.name
    if len(places) == height * width:
        check_summary(field, boxes, expected.sum(dim=(1, 2)).tolist())


def check_summary(field, boxes, pixels):
    """Sizes and the touched share, which are taken over all outputs."""
    boxes = [edges or (0, -1, 0, -1) for edges in boxes]
    heights = [bottom - top + 1 for top, bottom, _, _ in boxes]
    widths = [right - left + 1 for _, _, left, right in boxes]
    assert field.size == (max(heights), max(widths))
    assert field.size_min == (min(heights), min(widths))
    areas = [h * w for h, w in zip(heights, widths, strict=True)]
    largest = [n / a for n, a in zip(pixels, areas, strict=True) if a == max(areas) > 0]
    assert field.touched in (largest or [0.0])


class Function(nn.Module):
    """A module around a function of the image and of some layers."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, image):
        return self.function(self, image)


def conv(kernel=3, channels=2, **options):
    return nn.Conv2d(2, channels, kernel, **options)


def last_agrees(model, image_size=(9, 7)):
    """Check the last operation against gradients; returns its field."""
    field = receptive_field(model, (2, *image_size))[-1]
    image = torch.rand(64, 2, *image_size, dtype=torch.float64) + 0.5
    image.requires_grad_()
    with Increasing(), torch.autograd.graph.allow_mutation_on_saved_tensors():
        value = positive(model)(image)
        with torch._C.DisableTorchFunction():
            check_field(field, image, value)
    return field
