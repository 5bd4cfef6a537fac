"""The network `cpu` with some of its ideas switched off: what an ablation compares.

Training such networks is the benchmark's work (`python -m tests.benchmarks.ablation`);
its results lie in results/ablation.csv and results/noise.csv.
"""

import math
from dataclasses import replace
from itertools import product

import torch

from cifar_helpers.model import CIFAR10Net, NetConfig, count_parameters
from cifar_helpers.recipes import CPU_NETWORK

SWITCHES = {  # name: what stands in the network's place of it when it is off
    "dilation": "all dilations and rates are 1",
    "separable": "the dilated blocks' units are dense 3 x 3 convolutions",
    "attention": "channels keep their weight",
    "deconvolution": "one 1 x 1 convolution, no coarse maps and no long shortcut",
    "aspp": "the mean of 2 x 2 pixels and one 1 x 1 convolution",
    "residual": "no shortcut at all, neither short nor long",
}
WIDTHS = (
    "channels",
    "deep_channels",
    "hidden_channels",
    "branch_channels",
    "out_channels",
)
GROUPED = WIDTHS[:3]  # of these some may lie in groups, or belong to gated units


def ablated(off=(), network: NetConfig = CPU_NETWORK) -> NetConfig:
    """`network` without the ideas named in `off`, which are those of `SWITCHES`.

    Widths stay as they are, so that the number of parameters changes; see `widened`.
    Raises ValueError for another name.
    """
    unknown = set(off) - SWITCHES.keys()
    if unknown:
        raise ValueError(f"no such switch: {sorted(unknown)}; take of {[*SWITCHES]}")
    changes = {}
    if "dilation" in off:
        changes |= {"near_dilations": (1, 1), "far_dilations": (1, 1)}
        changes["rates"] = (1,) * len(network.rates)
    if "separable" in off:
        changes["unit"] = "dense"
    if "residual" in off:
        changes["residual"] = False
    parts = (part for part in ("attention", "deconvolution", "aspp") if part in off)
    return replace(network, **changes, without=(*network.without, *parts))


def variant_name(off=()) -> str:
    """One name for each of the 64 networks: "whole", "no aspp", "no dilation, aspp".

    Raises ValueError for an unknown switch.
    """
    ablated(off)  # refuses other names
    names = [name for name in SWITCHES if name in off]
    return f"no {', '.join(names)}" if names else "whole"


def every_combination() -> list[tuple[str, ...]]:
    """What is off in each of the 64 networks, in an order that may be broken off.

    The first 32 have an even number of ideas switched off: in such a half fraction
    (defining word: all six factors, resolution VI; Box, Hunter & Hunter 2005, chapter
    6) every main effect and every interaction of two can be told apart from the others.
    Its first 16 have an even number off among dilation, attention and residual, too:
    every idea is off in half of them.
    """
    sets = []
    for on in product((True, False), repeat=len(SWITCHES)):
        sets.append(tuple(n for n, here in zip(SWITCHES, on, strict=True) if not here))
    three = {"dilation", "attention", "residual"}

    def turn(off):
        return len(off) % 2, len(three & set(off)) % 2

    return sorted(sets, key=turn)  # a stable sort: the rest stays in order


def widened(network: NetConfig, parameters: int) -> NetConfig:
    """All widths of `network` scaled by one factor, to at most so many parameters.

    The factor is the largest, in steps of a thousandth, that keeps within; it is below
    1 for a network that has more. Widths are rounded down, where channels lie in groups
    to a multiple of these. Raises ValueError if no width is small enough.
    """

    def fits(thousandths: int) -> bool:
        return _parameters_of(_scaled(network, thousandths)) <= parameters

    low, high = 0, 1000  # thousandths: fits, does not fit
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    if low == 0:
        raise ValueError(f"no width leaves {parameters} parameters or fewer")
    return _scaled(network, low)


def _scaled(network: NetConfig, thousandths: int) -> NetConfig:
    groups = math.lcm(network.down_groups, network.up_groups)
    least = 32 if network.unit == "gated" else 1  # channels of a unit
    scaled = {}
    for name in WIDTHS:
        step, smallest = (groups, least) if name in GROUPED else (1, 1)
        width = max(getattr(network, name) * thousandths // 1000, smallest)
        scaled[name] = max(width // step, -(-smallest // step)) * step
    return replace(network, **scaled)


def _parameters_of(network: NetConfig) -> int:
    with torch.device("meta"):  # shapes only: nothing is drawn
        return count_parameters(CIFAR10Net(network))
