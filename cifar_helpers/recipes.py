"""Recipes: how a network is trained; the presets; what is affordable in a given time.

A recipe also says how a network starts: `make_model` is where its first weights are
made. Training itself (`cifar_helpers.training`) changes them from the first step on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_helpers.data import normalize
from cifar_helpers.field_rules import (
    check_fields,
    choice,
    fraction,
    non_negative,
    positive,
    switch,
    whole,
)
from cifar_helpers.model import CIFAR10Net, NetConfig, whole_number


@dataclass(frozen=True)
class Recipe:
    """How to train a network. Impossible values raise ValueError with the reason."""

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
    warmup_fraction: float = 0.15  # of all steps: the rate rises, then falls to 0
    label_smoothing: float = 0.1  # probability spread over all classes
    ema_decay: float = 0.998  # of the weights' exponential moving average, per step
    crop_padding: int = 4  # pixels; 0 for no random crop
    flip: bool = True
    rotation_degrees: float = 0.0  # at most, of about half of the images; 0 for none
    colour_strength: float = 0.0  # brightness, contrast, saturation; 0 for none
    cutout_size: int = 0  # pixels; 0 for none
    mixup_alpha: float = 0.0  # 0 for none
    clean_fraction: float = 0.0  # of the steps, last: crop and flip alone
    low_resolution_fraction: float = 0.0  # progressive resizing: of the steps, first
    low_resolution_size: int = 24  # pixels of the images of those steps
    selective_drop_fraction: float = 0.0  # selective backprop: easiest images, left out
    selective_start_fraction: float = 0.0  # of all steps: before, none is left out
    precision: str = "auto"  # "float32", "bfloat16", "float16"; the fastest here
    compile: bool = False  # torch.compile: needs a C compiler
    seed: int = 0

    def __post_init__(self):
        check_fields(self, RULES)


RULES = {  # what each entry of a Recipe may be
    "epochs": whole(1),
    "batch_size": whole(1),
    "optimizer": choice("sgd", "adamw", "muon"),
    "learning_rate": positive(),
    "momentum": fraction(),
    "weight_decay": non_negative(),
    "sgd_learning_rate": positive(),
    "sgd_weight_decay": non_negative(),
    "whitened": switch(),
    "zero_init_residual": switch(),
    "warmup_fraction": fraction(),
    "label_smoothing": fraction(),
    "ema_decay": fraction(),
    "crop_padding": whole(0),
    "flip": switch(),
    "rotation_degrees": non_negative(),
    "colour_strength": fraction(),
    "cutout_size": whole(0),
    "mixup_alpha": non_negative(),
    "clean_fraction": fraction(),
    "low_resolution_fraction": fraction(),
    "low_resolution_size": whole(1),
    "selective_drop_fraction": fraction(),
    "selective_start_fraction": fraction(),
    "precision": choice("auto", "float32", "bfloat16", "float16"),
    "compile": switch(),
    "seed": whole(0, 2**32 - 1),  # more is too much for NumPy
}

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


SEPARABLE_NETWORK = replace(  # wider and deeper on the same 16 x 16 maps
    CPU_NETWORK,
    channels=64,
    deep_channels=64,
    near_pairs=2,
    far_pairs=2,
    hidden_channels=72,
    out_channels=160,
)


SEPARABLE_RECIPE = replace(
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


CHAMPION_NETWORK = replace(  # gated units on maps of 16 x 16
    CPU_NETWORK,
    channels=72,
    deep_channels=72,
    near_pairs=2,
    far_pairs=2,
    attention_reduction=8,
    hidden_channels=72,
    branch_channels=24,
    unit="gated",
    down_kernel=4,
    down_groups=8,
    up_groups=4,
    shortcut_from="attention",
    aspp_pooled=True,
)
CHAMPION_RECIPE = replace(
    SEPARABLE_RECIPE, epochs=55, zero_init_residual=True, cutout_size=8
)
PRESETS = {  # name: (network, recipe)
    "baseline": (NetConfig(), Recipe()),
    "cpu": (CPU_NETWORK, CPU_RECIPE),
    "separable": (SEPARABLE_NETWORK, SEPARABLE_RECIPE),
    "champion": (CHAMPION_NETWORK, CHAMPION_RECIPE),
}


@torch.no_grad()
def whiten_filters(conv: nn.Conv2d, images: Tensor) -> None:
    """Give a first convolution the principal patches of uint8 `images` as filters.

    Patches as large as the filters are cut side by side; the eigenvectors of their
    second moments, longest first, each divided by the root of its eigenvalue, give
    responses of equal strength that do not repeat each other. Half of the filters are
    these, the other half their negatives, as a ReLU follows (Jordan 2024,
    arXiv:2404.00498). The last of an odd number, and filters beyond twice the patch's
    numbers, stay as they are.
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


def make_model(
    network: NetConfig, recipe: Recipe, images: Tensor | None = None
) -> CIFAR10Net:
    """A new network with the weights from which `recipe` starts, on the CPU.

    Seeds torch with the recipe's seed, so that the same call gives the same weights.
    `images`, uint8 (N, 3, H, W), are those to learn from: a whitened recipe needs them.
    """
    torch.manual_seed(recipe.seed)
    return initialize(CIFAR10Net(network), recipe, images)


def initialize(model, recipe: Recipe, images: Tensor | None = None):
    """Give a new `model` the start that `recipe` wants; returns the model.

    Whitens `model.initial.conv` with the first 5,000 `images` (where that part is
    switched off there is nothing to whiten), and lets every block that has a method
    `zero_init_residual` begin as its shortcut. Raises ValueError if images are missing.
    """
    if recipe.whitened and hasattr(model.initial, "conv"):
        if images is None:
            raise ValueError("a whitened recipe needs images: pass the training images")
        whiten_filters(model.initial.conv, images[:5000].cpu())
    if recipe.zero_init_residual:
        for module in model.modules():
            if hasattr(module, "zero_init_residual"):
                module.zero_init_residual()
    return model


def with_batches_of(recipe: Recipe, batch_size: int) -> Recipe:
    """The same recipe in larger or smaller batches: to fill a GPU, or fit its memory.

    A step over k times as many images may be longer: the rates of SGD and AdamW grow by
    k (Goyal et al. 2017, section 2.1), those of a recipe for Muon, whose steps all have
    about the same length, by the root of k (`sgd_learning_rate`, too, so that both keep
    their ratio). Decay (rate x decay, over an epoch) and the span of the moving average
    (in epochs) stay as they are. A rule to begin with, not a law. Raises TypeError or
    ValueError unless `batch_size` is a whole number of at least 1.
    """
    batch_size = whole_number("batch_size", batch_size)
    k = batch_size / recipe.batch_size
    longer = k**0.5 if recipe.optimizer == "muon" else k
    return replace(
        recipe,
        batch_size=batch_size,
        learning_rate=recipe.learning_rate * longer,
        sgd_learning_rate=recipe.sgd_learning_rate * longer,
        weight_decay=recipe.weight_decay * k / longer,
        sgd_weight_decay=recipe.sgd_weight_decay * k / longer,
        ema_decay=recipe.ema_decay**k,
    )


def affordable(
    recipe: Recipe, images: int, speed: Callable[[Recipe], float], seconds: float
) -> tuple[Recipe, int]:
    """What of a run over `images` images fits into `seconds`: (recipe, images).

    `speed` gives the images per second of a recipe on this machine (measured). Where
    the whole run fits, it keeps its length. Else at least five epochs are trained (or
    the recipe's, if these are fewer), over as many images as fit, but not fewer than
    ten batches, even if these take longer. In less than a quarter of the time it is
    `with_batches_of` 32, so that the few images make for more steps. The moving average
    never remembers more than an eighth of the run, be it whole or not. Raises
    ValueError unless there are images and seconds.
    """
    images = whole_number("images", images)
    if not seconds > 0:
        raise ValueError(f"seconds must be above 0, got {seconds}")
    within = seconds * speed(recipe)  # images, repeated ones included
    fits = within >= recipe.epochs * images
    if within < 0.25 * recipe.epochs * images and recipe.batch_size > 32:
        recipe = with_batches_of(recipe, 32)
        within = seconds * speed(recipe)
    if not fits:
        epochs = min(recipe.epochs, max(5, int(within / images)))
        images = min(images, max(10 * recipe.batch_size, int(within / epochs)))
        recipe = replace(recipe, epochs=epochs)
    steps = recipe.epochs * math.ceil(images / recipe.batch_size)
    longest = max(0.5, 1 - 8 / steps)
    return replace(recipe, ema_decay=min(recipe.ema_decay, longest)), images
