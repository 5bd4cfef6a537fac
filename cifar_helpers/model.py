"""The network: six parts joined, resized or switched off by one small configuration."""

import copy
import itertools
import math
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.fx
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cifar_helpers.blocks import (
    ASPP,
    ChannelAttention,
    ClassificationHead,
    DeconvResidual,
    DilatedBlock,
    InitialConvBlock,
)
from cifar_helpers.data import normalize
from cifar_helpers.field_rules import (
    check_fields,
    choice,
    choices,
    fraction,
    switch,
    whole,
    wholes,
)
from cifar_helpers.hooks import captured

PARAMETER_BUDGET = 200_000  # every design of the series stays below


PARTS = (  # in order of execution; also the names of the network's children
    "initial",
    "dilated_near",
    "dilated_far",
    "attention",
    "deconvolution",
    "aspp",
    "head",
)


@dataclass(frozen=True)
class NetConfig:
    """Sizes and switches of `CIFAR10Net`; the defaults make the baseline.

    A part named in `without` is replaced by the cheapest thing that makes the sizes fit
    (see `ShapeAdapter`). Impossible values raise ValueError with the reason; dilations
    that reach beyond the maps of a 32 x 32 image from every place give a warning.
    """

    classes: int = 10
    channels: int = 16  # of the finest maps
    initial_stride: int = 1  # 2: the finest maps are 16 x 16 instead of 32 x 32
    deep_channels: int = 64  # after the second dilated block
    hidden_channels: int = 88  # of the coarsest maps, inside the deconvolution part
    branch_channels: int = 40  # of each ASPP branch
    out_channels: int = 96  # that the classifier sees
    near_dilations: tuple[int, int] = (2, 4)
    far_dilations: tuple[int, int] = (8, 16)
    near_pairs: int = 1  # how often the first dilated block repeats its two dilations
    far_pairs: int = 1  # the same for the second
    far_stride: int = 2  # of the second dilated block: 32 x 32 -> 16 x 16
    far_step: str = "last"  # or "first": that block works on small maps, and wide ones
    attention_reduction: int = 4  # channels per hidden unit of the attention
    rates: tuple[int, ...] = (6, 12, 18)  # dilations of the ASPP branches
    aspp_stride: int = 4  # the branches are evaluated on every 4th row and column
    unit: str = "separable"  # of the dilated blocks; or "dense"; "gated": and coarsest
    down_kernel: int = 3  # or 4: of the deconvolution part's step down
    down_groups: int = 1  # groups of channels that it, or a first step, does not mix
    up_groups: int = 1  # the same for the transposed convolution
    refining_units: int = 1  # on the coarsest maps
    shortcut_from: str = "dilated_near"  # or "attention": the long shortcut's maps
    aspp_pooled: bool = False  # the local branch reads means, not every single pixel
    initial_dropout: float = 0.0  # probability that a feature map is dropped
    head_dropout: float = 0.0  # probability that a classifier input is dropped
    residual: bool = True  # all shortcuts, short and long
    without: tuple[str, ...] = ()  # parts switched off, of `PARTS` but the head

    def __post_init__(self):
        for name in ("near_dilations", "far_dilations", "rates", "without"):
            if isinstance(getattr(self, name), list):  # as JSON gives them
                object.__setattr__(self, name, tuple(getattr(self, name)))
        check_fields(self, RULES)
        finest = 32 // self.initial_stride
        for name, size in (
            ("initial_stride", 8),
            ("far_stride", finest // 2),
            ("aspp_stride", finest // self.raised_stride),
        ):
            if size % getattr(self, name):
                raise ValueError(
                    f"{name} must divide {size}, so that the maps of a 32 x 32 image "
                    f"fit together; {getattr(self, name)} does not"
                )
        self._check_channels()
        self._warn_of_dead_taps(finest)

    def _check_channels(self):
        """Raise ValueError unless groups and units fit the channels."""
        first = self.far_step == "first"
        raised = "deep_channels" if self.from_attention else "channels"
        for groups, name in (
            *((("down_groups", "channels"),) if first else ()),
            ("down_groups", "deep_channels"),
            ("down_groups", "hidden_channels"),
            ("up_groups", "hidden_channels"),
            ("up_groups", raised),
        ):
            channels, count = getattr(self, name), getattr(self, groups)
            if channels % count:
                raise ValueError(
                    f"{groups} must divide {name}, {channels}; {count} does not"
                )
        wide, hidden = self.channels, self.hidden_channels
        if self.unit == "gated" and min(wide, hidden) < 32:
            raise ValueError(
                "gated units need channels and hidden_channels of at least 32, not "
                f"{wide} and {hidden}"
            )
        if self.unit == "gated" and first and self.deep_channels < 32:
            raise ValueError(
                "gated units after a first step need deep_channels of at least 32, "
                f"not {self.deep_channels}"
            )

    @property
    def from_attention(self) -> bool:
        """Whether the long shortcut starts at the attention's maps."""
        return self.shortcut_from == "attention"

    @property
    def raised_channels(self) -> int:
        """Of the maps after the deconvolution part: those of the long shortcut."""
        return self.deep_channels if self.from_attention else self.channels

    @property
    def raised_stride(self) -> int:
        """How much smaller than the finest maps these are."""
        return self.far_stride if self.from_attention else 1

    def _warn_of_dead_taps(self, finest: int):
        """Warn of taps that meet nothing but padding on their maps."""
        deep = finest // self.far_stride if self.far_step == "first" else finest
        for name, part, size, stride in (
            ("near_dilations", "dilated_near", finest, 1),
            ("far_dilations", "dilated_far", deep, 1),
            ("rates", "aspp", finest // self.raised_stride, self.aspp_stride),
        ):
            last = (size - 1) // stride * stride  # row at which a filter is put last
            beyond = [d for d in getattr(self, name) if d > last]
            if beyond and part not in self.without:
                warnings.warn(
                    f"{name} {beyond} are too large for maps of {size} x {size} pixels "
                    "and these strides: some of their weights never see the image and "
                    f"learn nothing. Take {name} of at most {last}, or smaller strides",
                    stacklevel=4,
                )


RULES = {  # what each entry of a NetConfig may be
    "classes": whole(1),
    "channels": whole(1),
    "initial_stride": whole(1),
    "deep_channels": whole(1),
    "hidden_channels": whole(1),
    "branch_channels": whole(1),
    "out_channels": whole(1),
    "near_dilations": wholes(1, count=2),
    "far_dilations": wholes(1, count=2),
    "near_pairs": whole(1),
    "far_pairs": whole(1),
    "far_stride": whole(1),
    "far_step": choice("last", "first"),
    "attention_reduction": whole(1),
    "rates": wholes(1),
    "aspp_stride": whole(1),
    "unit": choice("separable", "dense", "gated"),
    "down_kernel": choice(3, 4),
    "down_groups": whole(1),
    "up_groups": whole(1),
    "refining_units": whole(1),
    "shortcut_from": choice("dilated_near", "attention"),
    "aspp_pooled": switch(),
    "initial_dropout": fraction(),
    "head_dropout": fraction(),
    "residual": switch(),
    "without": choices(*PARTS[:-1]),
}


class CIFAR10Net(nn.Module):
    """Normalized images (N, 3, 32, 32) to log-probabilities (N, classes).

    Raises ValueError for another shape and TypeError for images that are not floating
    point; `predict` takes the raw uint8 images. Shapes below are those of the defaults.
    """

    def __init__(self, config: NetConfig | None = None):
        super().__init__()
        self.config = c = config or NetConfig()
        wide, deep, out = c.channels, c.deep_channels, c.out_channels
        raised = c.raised_channels
        self.initial = InitialConvBlock(3, wide, c.initial_dropout, c.initial_stride)
        kind = {"residual": c.residual, "unit": c.unit}
        self.dilated_near = DilatedBlock(
            wide, wide, c.near_dilations, pairs=c.near_pairs, **kind
        )
        self.dilated_far = DilatedBlock(
            wide,
            deep,
            c.far_dilations,
            stride=c.far_stride,
            pairs=c.far_pairs,
            first_step_groups=c.down_groups if c.far_step == "first" else None,
            **kind,
        )
        self.attention = ChannelAttention(deep, c.attention_reduction)
        self.deconvolution = DeconvResidual(
            deep,
            c.hidden_channels,
            raised,
            upscale=2 * c.far_stride // c.raised_stride,
            down_kernel=c.down_kernel,
            down_groups=c.down_groups,
            up_groups=c.up_groups,
            refining_units=c.refining_units,
            **kind,
        )
        self.aspp = ASPP(
            raised, c.branch_channels, out, c.rates, c.aspp_stride, c.aspp_pooled
        )
        self.head = ClassificationHead(out, c.classes, c.head_dropout)
        pooled = c.raised_stride * c.aspp_stride  # ASPP's stride, in the finest maps
        self.size_step = c.initial_stride * math.lcm(2 * c.far_stride, pooled)
        for part in c.without:
            setattr(self, part, _replacement(part, c))

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.size_step)
        x = self.initial(images)  # (N, 16, 32, 32)
        detail = self.dilated_near(x)  # (N, 16, 32, 32)
        x = self.dilated_far(detail)  # (N, 64, 16, 16)
        x = self.attention(x)  # (N, 64, 16, 16)
        if self.config.from_attention:
            detail = x
        x = self.deconvolution(x, detail)  # (N, 16, 32, 32)
        x = self.aspp(x)  # (N, 96, 8, 8)
        return self.head(x)  # (N, 10)


class ShapeAdapter(nn.Module):
    """In place of a part that is switched off: change the map's size and channels only.

    Average pooling (scale < 1) or nearest upsampling (scale > 1), then a 1 x 1
    convolution. Maps (N, in_channels, H, W) to (N, out_channels, scale H, scale W).
    """

    def __init__(self, in_channels: int, out_channels: int, scale: float = 1.0):
        super().__init__()
        self.resize = nn.Identity()
        if scale < 1:
            self.resize = nn.AvgPool2d(round(1 / scale))
        elif scale > 1:
            self.resize = nn.Upsample(scale_factor=scale)
        self.convert = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, detail: Tensor | None = None) -> Tensor:
        return self.convert(self.resize(x))


def _replacement(part: str, c: NetConfig) -> nn.Module:
    if part == "initial":
        return ShapeAdapter(3, c.channels, 1 / c.initial_stride)
    if part == "dilated_far":
        return ShapeAdapter(c.channels, c.deep_channels, 1 / c.far_stride)
    if part == "deconvolution":
        scale = c.far_stride // c.raised_stride
        return ShapeAdapter(c.deep_channels, c.raised_channels, scale)
    if part == "aspp":
        return ShapeAdapter(c.raised_channels, c.out_channels, 1 / c.aspp_stride)
    return nn.Identity()  # dilated_near and attention keep every size


@torch.fx.wrap
def check_images(images: Tensor, size_step: int = 1) -> None:
    """Raise TypeError or ValueError unless `images` is a float (N, 3, H, W) batch.

    H and W must be multiples of `size_step`, so that maps that were made smaller fit
    those that were not.
    """
    if not images.is_floating_point():
        raise TypeError(
            f"the network takes normalized float images, not {images.dtype}; "
            "use `predict(model, images)` for raw uint8 images"
        )
    if torch.jit.is_tracing():  # shapes are tensors there, and no error could be kept
        return
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images must be (N, 3, 32, 32), not {tuple(images.shape)}; "
            "a single image needs a batch dimension: images[None]"
        )
    if any(size % size_step or size == 0 for size in images.shape[2:]):
        raise ValueError(
            f"images must be (N, 3, 32, 32), not {tuple(images.shape)}; for other "
            f"sizes, height and width must be multiples of {size_step}"
        )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the `with`; afterwards every submodule is as before.

    The modes are restored one by one, so a frozen batch norm in a model that trains
    stays frozen.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int | None = None) -> Tensor:
    """Log-probabilities (N, classes), on the CPU, of uint8 images (N, 3, 32, 32).

    Normalizes, moves to the model's device and number format, and runs in evaluation
    mode; the model's own mode is as before afterwards. `batch_size` changes the speed,
    not the answers; None takes 100 on a CPU, whose caches are small, and 1,000
    elsewhere. Raises TypeError for anything but uint8 tensors, ValueError for another
    shape.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"predict takes a torch.nn.Module, not {model!r}")
    check_raw_images(images)
    held = list(itertools.chain(model.parameters(), model.buffers()))
    device = next((tensor.device for tensor in held), torch.device("cpu"))
    formats = (tensor.dtype for tensor in held if tensor.is_floating_point())
    dtype = next(formats, torch.float32)
    if batch_size is None:
        batch_size = 100 if device.type == "cpu" else 1000
    batch_size = whole_number("batch_size", batch_size)
    outputs = []
    with evaluation_mode(model):
        for batch in images.split(batch_size):
            inputs = normalize(batch.to(device)).to(dtype)  # (B, 3, 32, 32)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            outputs.append(model(inputs).float().cpu())  # (B, classes)
    return torch.cat(outputs)  # (N, classes)


def check_raw_images(images: Tensor) -> None:
    """Raise TypeError or ValueError unless these are uint8 images (N, 3, 32, 32)."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        kind = type(images)
        got, remedy = f"{kind.__module__}.{kind.__qualname__}", "see torchvision.io"
        if isinstance(images, Tensor):
            got, remedy = images.dtype, "normalized floats go into model(images) itself"
        elif kind.__module__ == "numpy":
            got, remedy = f"NumPy's {images.dtype}", "use torch.from_numpy(images)"
        elif kind.__module__.startswith("PIL."):
            remedy = "use torchvision.transforms.functional.pil_to_tensor(image)[None]"
        elif kind in (list, tuple):
            remedy = "join the tensors of single images with torch.stack(images)"
        raise TypeError(
            f"predict takes a torch tensor of raw uint8 images, not {got}: {remedy}"
        )
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images must be (N, 3, H, W), not {tuple(images.shape)}; a single image "
            "needs a batch dimension, images[None]; channels at the end go to their "
            "place with images.permute(0, 3, 1, 2)"
        )
    if images.shape[2:] != (32, 32):
        raise ValueError(
            f"images must be 32 x 32 as those of CIFAR-10, not {tuple(images.shape)}: "
            "a network is right about the size that it was trained on; resize them"
        )


def whole_number(name: str, value, least: int | None = 1) -> int:
    """`value` as an int. TypeError unless it is whole, ValueError below `least`."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {value!r}") from None
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return value


def count_parameters(model: nn.Module) -> int:
    """Every learned number, batch normalization and biases included."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(model: nn.Module, size: int = 32) -> int:
    """Multiply-adds for one image (3, size, size), of any network.

    Those of all matrix products and convolutions, as PyTorch's own counter sees them
    dispatched, whether they come from layers or from function calls; additions,
    activations and normalization are left out, as is usual.
    """
    return _multiply_adds_by_module(model, size)["Global"]


def table_of_sizes(model: CIFAR10Net, size: int = 32) -> list[dict]:
    """One row per part: `name`, `output` (C, H, W), `parameters`, `multiply_adds`.

    Multiply-adds are per image, counted like those of `count_multiply_adds`.
    """
    image = next(model.parameters()).new_zeros(1, 3, size, size)
    with captured(model, *PARTS) as kept, evaluation_mode(model), torch.no_grad():
        model(image)
    multiply_adds = _multiply_adds_by_module(model, size)
    return [
        {
            "name": name,
            "output": tuple(kept[name][0].shape[1:]),
            "parameters": count_parameters(getattr(model, name)),
            "multiply_adds": multiply_adds.get(f"{type(model).__name__}.{name}", 0),
        }
        for name in PARTS
    ]


def _multiply_adds_by_module(model: nn.Module, size: int) -> dict[str, int]:
    """What each module, by its path, costs for one image; "Global" is the whole model.

    The count runs on a copy on the `meta` device, where tensors have shapes but no
    values; there attention is not fused into one operation that the counter misses.
    """
    copied = copy.deepcopy(model).to("meta", torch.float32).eval()
    image = torch.empty(1, 3, size, size, device="meta")
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            copied(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    counts = counter.get_flop_counts()  # a multiply-add counts as two there
    return {path: sum(ops.values()) // 2 for path, ops in counts.items()}
