"""TODO."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_helpers.data import normalize
from cifar_helpers.model import NetConfig


@dataclass(frozen=True)
class Recipe:
    """A recipe. Impossible values raise ValueError with the reason."""

    epochs: int = 24
    batch_size: int = 64  # images per step
    optimizer: str = "sgd"  # "sgd" (Nesterov momentum), "adamw" or "muon"
    learning_rate: float = 0.1  # the highest, reached after the warm-up
    momentum: float = 0.9  # of SGD and Muon
    weight_decay: float = 5e-4  # of convolution and linear weights; Muon: dense ones
    sgd_learning_rate: float = 0.1  # Muon: of all but dense convolutions
    sgd_weight_decay: float = 5e-4  # Muon: of linear and depthwise weights
    whitened: bool = False  # the first filters start as principal patches of the data
    zero_init_residual: bool = False  # residual branches start at 0: only shortcuts
    warmup_fraction: float = (
        0.15  # of all steps: the rate rises linearly, then falls to 0
    )
    label_smoothing: float = 0.1  # probability spread over all classes
    ema_decay: float = 0.998  # of the weights' moving average, per step
    crop_padding: int = 4  # pixels; 0 for no random crop
    flip: bool = True
    cutout_size: int = 0  # pixels; 0 for none
    mixup_alpha: float = 0.0  # 0 for none
    low_resolution_fraction: float = (
        0.0  # of all steps, the first ones, are done on small images
    )
    low_resolution_size: int = 24  # pixels of the small images
    selective_drop_fraction: float = (
        0.0  # of the images, those of lowest loss, are left out
    )
    selective_start_fraction: float = 0.0  # of all steps: before, no image is left out
    precision: str = "auto"  # "float32", "bfloat16", or the faster on this device
    compile: bool = False  # torch.compile: needs a C compiler
    seed: int = 0

    def __post_init__(self):
        whole = (
            "epochs",
            "batch_size",
            "crop_padding",
            "cutout_size",
            "low_resolution_size",
        )
        for name in whole:
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name} must be an int, not {getattr(self, name)!r}")
        for name in ("whitened", "zero_init_residual", "flip", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False")
        positive = ("epochs", "batch_size", "low_resolution_size")
        for name in (*positive, "learning_rate", "sgd_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        shares = (
            "warmup_fraction",
            "low_resolution_fraction",
            "selective_drop_fraction",
            "selective_start_fraction",
        )
        for name in (*shares, "label_smoothing", "momentum", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), not {getattr(self, name)}")
        sizes = ("crop_padding", "cutout_size", "mixup_alpha")
        for name in (*sizes, "weight_decay", "sgd_weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}")
        for name, choices in (
            ("optimizer", ("sgd", "adamw", "muon")),
            ("precision", ("auto", "float32", "bfloat16")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}: choose from {choices}"
                )


CPU_NETWORK = NetConfig(  # maps of 16 x 16 and less; dilations 2, 4, 8, 16 image pixels
    initial_stride=2,
    channels=32,
    deep_channels=48,
    hidden_channels=96,
    branch_channels=32,
    out_channels=128,
    near_dilations=(1, 2),
    far_dilations=(4, 8),
    far_stride=1,
    rates=(3, 6, 9),  # 6, 12, 18 image pixels
    aspp_stride=2,
)


CPU_RECIPE = Recipe(
    epochs=9,
    batch_size=256,
    optimizer="muon",
    learning_rate=0.2,
    sgd_learning_rate=0.2,
    weight_decay=0.02,
    whitened=True,
    zero_init_residual=True,
    ema_decay=0.98,
    crop_padding=2,
    low_resolution_fraction=0.7,
    selective_drop_fraction=0.33,
    selective_start_fraction=0.25,
)


CHAMPION_NETWORK = replace(  # wider and deeper on the same 16 x 16 maps
    CPU_NETWORK,
    channels=64,
    deep_channels=64,
    near_pairs=2,
    far_pairs=2,
    hidden_channels=72,
    out_channels=160,
)


CHAMPION_RECIPE = replace(
    CPU_RECIPE,
    epochs=72,
    batch_size=128,
    learning_rate=0.1,
    sgd_learning_rate=0.1,
    zero_init_residual=False,  # its weights are older than this idea
    ema_decay=0.998,
    crop_padding=4,
    low_resolution_fraction=0.5,
    selective_drop_fraction=0.0,
    selective_start_fraction=0.0,
)


PRESETS = {  # name: (network, recipe)
    "baseline": (NetConfig(), Recipe()),
    "cpu": (CPU_NETWORK, CPU_RECIPE),
    "champion": (CHAMPION_NETWORK, CHAMPION_RECIPE),
}


@torch.no_grad()
def whiten_filters(conv: nn.Conv2d, images: Tensor) -> None:
    """Give a first convolution the principal patches of uint8 `images` as filters.

    Patches as large as the filters are cut side by side; the eigenvectors of their
    second moments, longest first, each divided by the root of its eigenvalue, give
    responses of equal strength that do not repeat each other. Half of the filters are
    these, the other half their negatives, as a ReLU follows (Jordan 2024,
    arXiv:2404.00498). Filters beyond twice the patch's numbers stay as they are.
    """
    size = conv.kernel_size[0]
    patches = F.unfold(normalize(images), size, stride=size)  # (N, 3 size size, places)
    patches = patches.transpose(1, 2).flatten(0, 1)  # (N places, 3 size size)
    moments = patches.T @ patches / len(patches)
    values, vectors = torch.linalg.eigh(moments.cpu())  # in rising order
    half = min(conv.out_channels // 2, len(values))
    filters = (vectors / (values + 5e-4).sqrt()).flip(1)[:, :half].T
    filters = filters.reshape(half, *conv.weight.shape[1:])
    conv.weight[: 2 * half] = torch.cat([filters, -filters]).to(conv.weight.device)


def zero_init_residual(model: nn.Module) -> None:
    """Let every residual block of `model` that can do so begin as its shortcut."""
    for module in list(model.modules())[1:]:
        if hasattr(module, "zero_init_residual"):
            module.zero_init_residual()
