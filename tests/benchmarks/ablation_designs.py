"""What `tests.benchmarks.ablation` trains: networks, recipes, lengths, in order."""

from dataclasses import dataclass, replace

from torch import nn

from cifar_helpers.ablation import (
    SWITCHES,
    ablated,
    every_combination,
    variant_name,
    widened,
)
from cifar_helpers.model import CIFAR10Net, NetConfig, count_parameters
from cifar_helpers.recipes import (
    CPU_NETWORK,
    CPU_RECIPE,
    PRESETS,
    Recipe,
    initialize,
)
from tests.benchmarks.laptop import REFERENCE_RECIPE
from tests.benchmarks.resnet8 import ResNet8, ResNet8Config

TRAINING_IMAGES = 40_000
NOISE_IMAGES = 8_000
NOISE_RECIPE = replace(  # `cpu`'s for few images: smaller batches make more steps
    CPU_RECIPE,
    epochs=3,
    batch_size=64,
    learning_rate=0.1,
    sgd_learning_rate=0.05,
    ema_decay=0.95,
    selective_drop_fraction=0.0,
)
FINE = {  # the same view, in pixels of the image, from maps of 32 x 32
    "initial_stride": 1,
    "near_dilations": (2, 4),
    "far_dilations": (8, 16),
    "rates": (6, 12, 18),
    "aspp_stride": 4,
}
SWEEP_RECIPE = Recipe(epochs=2, ema_decay=0.99)  # the baseline's, cut to length
SWEPT = {  # name: what it changes of the recipe, on top of the row above
    "SGD, batches of 64": {},
    "SGD, batches of 128": {"batch_size": 128},
    "Muon": {"optimizer": "muon"},
    "Muon, decay 0.02": {"weight_decay": 0.02},
}
RATES = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)  # of each row, so that all had as many trials
SWEEP_IMAGES = 20_000
EQUAL_EPOCHS = 4
EQUAL_SECONDS = {"baseline": 7, "cpu": 15, "champion": 4}  # epochs of as many seconds
FREEING = ("separable", "attention", "deconvolution", "aspp")  # change the parameters
PROPOSED = ("dilation", "attention")  # off in the best, by `factorial` without threes


@dataclass(frozen=True)
class Run:
    """One training: which network, by which recipe, on how many images."""

    design: str
    variant: str
    network: NetConfig | ResNet8Config
    recipe: Recipe
    off: tuple[str, ...] | None = ()  # of SWITCHES; None: not one of the 64 networks
    images: int = TRAINING_IMAGES

    def bare(self) -> nn.Module:
        """The network with torch's own start."""
        kind = CIFAR10Net if isinstance(self.network, NetConfig) else ResNet8
        return kind(self.network)

    def model(self, images) -> nn.Module:
        """The network as the recipe starts it; `images` to whiten filters with."""
        return initialize(self.bare(), self.recipe, images)

    def switches(self) -> dict:
        """Columns: 1 for what is on, 0 for off; nothing for another network."""
        if self.off is None:
            return {}
        return {name: int(name not in self.off) for name in SWITCHES}


def factorial(seed: int, half: int | None = None, epochs: int = 4) -> list[Run]:
    """All 64 combinations; the first or the second half of them."""
    recipe = replace(CPU_RECIPE, seed=seed, epochs=epochs)
    runs = [
        Run("factorial", variant_name(off), ablated(off), recipe, off)
        for off in every_combination()
    ]
    return {None: runs, 1: runs[:32], 2: runs[32:]}[half]


def small_factorial(seed: int, half: int | None = None) -> list[Run]:
    """All 64 combinations by the recipe of `noise`, whose spread is well known."""
    recipe = replace(NOISE_RECIPE, seed=seed)
    return [
        replace(run, design="small-factorial", recipe=recipe, images=NOISE_IMAGES)
        for run in factorial(seed, half)
    ]


def noise(seed: int, half: int | None = None) -> list[Run]:
    """The whole network by the small recipe."""
    recipe = replace(NOISE_RECIPE, seed=seed)
    return [Run("noise", "whole", CPU_NETWORK, recipe, images=NOISE_IMAGES)]


def confirmation(seed: int, half: int | None = None, epochs: int = 9) -> list[Run]:
    """At the preset's full length: the whole network and what may replace it.

    The first half is the whole network and each single removal; the second is what the
    factorial proposes, each removal with as many parameters as the whole has, and other
    changes.
    """
    recipe = replace(CPU_RECIPE, seed=seed, epochs=epochs)
    sets = [(), *((name,) for name in SWITCHES)]
    first = [
        Run("confirmation", variant_name(off), ablated(off), recipe, off)
        for off in sets
    ]
    whole = count_parameters(CIFAR10Net(CPU_NETWORK))
    changed = {
        f"no {name}, same parameters": widened(ablated((name,)), whole)
        for name in FREEING
    }
    changed |= {
        "rates all 1": replace(CPU_NETWORK, rates=(1, 1, 1)),
        "dropout": replace(CPU_NETWORK, initial_dropout=0.1, head_dropout=0.1),
        "stem stride 1": replace(CPU_NETWORK, **FINE),
    }
    proposed = ablated(PROPOSED)
    second = [Run("confirmation", variant_name(PROPOSED), proposed, recipe, PROPOSED)]
    second += [
        Run("confirmation", name, network, recipe, None)
        for name, network in changed.items()
    ]
    reference = replace(REFERENCE_RECIPE, seed=seed, epochs=epochs)
    plain = ResNet8Config(width=24)
    second.append(Run("confirmation", "resnet8-24", plain, reference, None))
    return {None: first + second, 1: first, 2: second}[half]


def sweep(seed: int, half: int | None = None) -> list[Run]:
    """Batch, optimizer, decay, network, one at a time, each at the same six rates."""
    recipe, rows = replace(SWEEP_RECIPE, seed=seed), {}
    for name, changes in SWEPT.items():
        recipe = replace(recipe, **changes)
        rows[name] = CPU_NETWORK, recipe
    rows["ResNet-8"] = ResNet8Config(width=24), recipe
    return [
        Run(
            "sweep",
            f"{name}, rate {rate}",
            network,
            replace(recipe, learning_rate=rate),
            off=None,
            images=SWEEP_IMAGES,
        )
        for name, (network, recipe) in rows.items()
        for rate in RATES
    ]


def equal_epochs(seed: int, half: int | None = None) -> list[Run]:
    """Three presets for as many passes, and the champion's recipe for older units."""
    lengths = dict.fromkeys(EQUAL_SECONDS, EQUAL_EPOCHS)
    runs = _presets("equal-epochs", seed, lengths)
    champion = next(run for run in runs if run.variant == "champion")
    name = "separable network, champion's recipe"
    return [*runs, replace(champion, variant=name, network=PRESETS["separable"][0])]


def equal_seconds(seed: int, half: int | None = None) -> list[Run]:
    """The same, for the passes each makes in the champion's time, if that differs."""
    lengths = {n: m for n, m in EQUAL_SECONDS.items() if m != EQUAL_EPOCHS}
    return _presets("equal-seconds", seed, lengths)


def _presets(design: str, seed: int, lengths: dict[str, int]) -> list[Run]:
    runs = []
    for name, epochs in lengths.items():
        network, recipe = PRESETS[name]
        memory = min(recipe.ema_decay, 0.99)  # not longer than a short run
        recipe = replace(recipe, seed=seed, epochs=epochs, ema_decay=memory)
        runs.append(Run(design, name, network, recipe, None))
    return runs


DESIGNS = {
    "factorial": factorial,
    "small-factorial": small_factorial,
    "noise": noise,
    "confirmation": confirmation,
    "sweep": sweep,
    "equal-epochs": equal_epochs,
    "equal-seconds": equal_seconds,
}
FILES = {"noise": "noise.csv", "sweep": "budget.csv"}  # of results/; else ablation.csv
FILES |= dict.fromkeys(("equal-epochs", "equal-seconds"), "budget.csv")
