"""The network: six parts joined, resized or switched off by one small configuration."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

import torch
import torch.fx
from torch import Tensor, nn

from cifar_helpers.blocks import (
    ASPP,
    ChannelAttention,
    ClassificationHead,
    DeconvResidual,
    DilatedBlock,
    InitialConvBlock,
)
from cifar_helpers.data import normalize

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
    (see `ShapeAdapter`). Impossible values raise ValueError with the reason.
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
    attention_reduction: int = 4  # channels per hidden unit of the attention
    rates: tuple[int, ...] = (6, 12, 18)  # dilations of the ASPP branches
    aspp_stride: int = 4  # the branches are evaluated on every 4th row and column
    initial_dropout: float = 0.0  # probability that a feature map is dropped
    head_dropout: float = 0.0  # probability that a classifier input is dropped
    residual: bool = True  # all shortcuts, short and long
    without: tuple[str, ...] = ()  # parts switched off, of `PARTS` but the head

    def __post_init__(self):
        for name in ("near_dilations", "far_dilations", "rates", "without"):
            value = getattr(self, name)
            if not isinstance(value, (tuple, list)):
                raise ValueError(f"{name} must be a tuple, not {value!r}")
            object.__setattr__(self, name, tuple(value))  # JSON gives lists
        for name, value in asdict(self).items():
            if name.endswith("dropout"):
                if not 0 <= value < 1:
                    raise ValueError(f"{name} is a probability in [0, 1), not {value}")
            elif name not in ("residual", "without"):
                _check_whole_numbers(name, value)
        for name in ("near_dilations", "far_dilations"):
            if len(getattr(self, name)) != 2:
                raise ValueError(
                    f"{name} must be two dilations, not {getattr(self, name)}"
                )
        finest = 32 // self.initial_stride
        for name, size in (
            ("initial_stride", 8),
            ("far_stride", finest // 2),
            ("aspp_stride", finest),
        ):
            if size % getattr(self, name):
                raise ValueError(
                    f"{name} must divide {size}, so that the maps of a 32 x 32 image "
                    f"fit together; {getattr(self, name)} does not"
                )
        if unknown := set(self.without) - set(PARTS[:-1]):
            raise ValueError(f"without={sorted(unknown)}: choose from {PARTS[:-1]}")


def _check_whole_numbers(name: str, value: int | tuple[int, ...]) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(
                f"{name} must hold whole numbers of at least 1, not {value}"
            )


class CIFAR10Net(nn.Module):
    """Normalized images (N, 3, 32, 32) to log-probabilities (N, classes).

    Raises ValueError for another shape and TypeError for images that are not floating
    point; `predict` takes the raw uint8 images. Shapes below are those of the defaults.
    """

    def __init__(self, config: NetConfig | None = None):
        super().__init__()
        self.config = c = config or NetConfig()
        wide, deep, out = c.channels, c.deep_channels, c.out_channels
        self.initial = InitialConvBlock(3, wide, c.initial_dropout, c.initial_stride)
        self.dilated_near = DilatedBlock(
            wide, wide, c.near_dilations, residual=c.residual, pairs=c.near_pairs
        )
        self.dilated_far = DilatedBlock(
            wide, deep, c.far_dilations, c.far_stride, c.residual, c.far_pairs
        )
        self.attention = ChannelAttention(deep, c.attention_reduction)
        self.deconvolution = DeconvResidual(
            deep, c.hidden_channels, wide, 2 * c.far_stride, c.residual
        )
        self.aspp = ASPP(wide, c.branch_channels, out, c.rates, c.aspp_stride)
        self.head = ClassificationHead(out, c.classes, c.head_dropout)
        self.size_step = c.initial_stride * math.lcm(2 * c.far_stride, c.aspp_stride)
        for part in c.without:
            setattr(self, part, _replacement(part, c))

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.size_step)
        x = self.initial(images)  # (N, 16, 32, 32)
        detail = self.dilated_near(x)  # (N, 16, 32, 32)
        x = self.dilated_far(detail)  # (N, 64, 16, 16)
        x = self.attention(x)  # (N, 64, 16, 16)
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
        return ShapeAdapter(c.deep_channels, c.channels, c.far_stride)
    if part == "aspp":
        return ShapeAdapter(c.channels, c.out_channels, 1 / c.aspp_stride)
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


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Log-probabilities (N, classes), on the CPU, of uint8 images (N, 3, 32, 32).

    Normalizes, moves to the model's device, and runs in evaluation mode; the model's
    own mode is as before afterwards. Raises TypeError for images that are not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"predict takes raw uint8 images, not {images.dtype}")
    device = next(model.parameters()).device
    with evaluation_mode(model):
        outputs = [
            model(normalize(batch.to(device))).float().cpu()
            for batch in images.split(batch_size)
        ]
    return torch.cat(outputs)  # (N, classes)


def count_parameters(model: nn.Module) -> int:
    """Every learned number, batch normalization and biases included."""
    return sum(parameter.numel() for parameter in model.parameters())


def table_of_sizes(model: CIFAR10Net, size: int = 32) -> list[dict]:
    """One row per part: `name`, `output` (C, H, W), `parameters`, `multiply_adds`.

    Multiply-adds are those of convolutions and linear layers, per image: each weight
    counts once for every place where it is applied.
    """
    rows = {name: {"name": name, "parameters": 0, "multiply_adds": 0} for name in PARTS}

    def add(number, part):
        rows[part]["multiply_adds"] += number

    def note_output(module, inputs, output, part):
        rows[part]["output"] = tuple(output.shape[1:])

    hooks = []
    for part in PARTS:
        block = getattr(model, part)
        rows[part]["parameters"] = count_parameters(block)
        hooks.append(block.register_forward_hook(partial(note_output, part=part)))
        hooks += _report_multiply_adds(block, partial(add, part=part))
    _run_and_remove(model, size, hooks)
    return list(rows.values())


def count_multiply_adds(model: nn.Module, size: int = 32) -> int:
    """Multiply-adds per image of all convolutions and linear layers of any network."""
    numbers = []
    _run_and_remove(model, size, _report_multiply_adds(model, numbers.append))
    return sum(numbers)


def _report_multiply_adds(block: nn.Module, report) -> list:
    """Hooks that call `report(number)` when a layer of `block` has run on one image."""

    def count(module, inputs, output):
        places = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        report(module.weight.numel() * places[0, 0].numel())

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    layers = (module for module in block.modules() if isinstance(module, kinds))
    return [layer.register_forward_hook(count) for layer in layers]


def _run_and_remove(model: nn.Module, size: int, hooks: list) -> None:
    """Run the model on one black image, then take the hooks away."""
    try:
        predict(model, torch.zeros(1, 3, size, size, dtype=torch.uint8))
    finally:
        for hook in hooks:
            hook.remove()
