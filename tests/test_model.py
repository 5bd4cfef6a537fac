"""The joined network: its sizes, its switches, its errors, and the shipped weights."""

import inspect
import json
import re
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from cifar_helpers.data import MEAN, STD, load_cifar10
from cifar_helpers.depthwise import DepthwiseConv2d
from cifar_helpers.model import (
    PARAMETER_BUDGET,
    PARTS,
    CIFAR10Net,
    NetConfig,
    count_multiply_adds,
    count_parameters,
    predict,
    table_of_sizes,
)
from cifar_helpers.pretrained import load_pretrained
from cifar_helpers.recipes import PRESETS
from tests.benchmarks.gpu_forms import DESIGNS

NARROW = {
    "channels": 4,
    "deep_channels": 6,
    "hidden_channels": 5,
    "branch_channels": 3,
    "out_channels": 7,
}
GATED = PRESETS["champion"][0]  # gated units on maps of 16 x 16
FINE = DESIGNS["A"]  # the same units on maps of 32 x 32, then on wider ones
SWITCHES = [(), *((part,) for part in PARTS[:-1]), PARTS[:-1]]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def raw_images(count):
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)


# ---- budget and table ----------------------------------------------------------------


def test_default_network_keeps_the_budget():
    model = CIFAR10Net(NetConfig())
    assert PARAMETER_BUDGET == 200_000
    assert count_parameters(model) < 200_000
    assert count_multiply_adds(model) <= 40_000_000


@pytest.mark.parametrize("without", SWITCHES, ids=" ".join)
def test_network_gives_log_probabilities(without):
    model = CIFAR10Net(NetConfig(without=without)).double().eval()
    log_probabilities = model(torch.randn(3, 3, 32, 32, dtype=torch.float64))
    assert log_probabilities.shape == (3, 10)
    assert (log_probabilities < 0).all()
    sums = log_probabilities.exp().sum(1)
    assert (sums - 1).abs().max() < 1e-12
    assert log_probabilities.std(0).min() > 0  # it looks at the image


@pytest.mark.parametrize("without", SWITCHES[1:], ids=" ".join)
def test_switching_parts_off_saves_parameters_and_time(without):
    whole, smaller = CIFAR10Net(), CIFAR10Net(NetConfig(without=without))
    assert count_parameters(smaller) < count_parameters(whole)
    assert count_multiply_adds(smaller) < count_multiply_adds(whole)


def by_hand(c):
    """Parameters and multiply-adds of each part, from the sizes alone."""
    w, d, h, b, o = (
        c.channels,
        c.deep_channels,
        c.hidden_channels,
        c.branch_channels,
        c.out_channels,
    )
    squeezed, joined = d // c.attention_reduction, b * (len(c.rates) + 2)
    mixed, biases = 2 * (9 * w + w * w), 4 * w  # a pair of separable convolutions
    refining, others = 9 * h * h, 2 * h
    if c.unit == "gated":  # a quarter of the channels, in eights, is not filtered
        mixed, biases = 2 * (9 * (w - w // 32 * 8) + 3 * w * w), 2 * 6 * w
        refining, others = 9 * (h - h // 32 * 8) + 3 * h * h, 6 * h
    stepping = c.down_kernel**2 * d * h // c.down_groups
    near, far = c.near_pairs, c.far_pairs
    merging = c.far_stride > 1 or w != d
    side = 32 // c.initial_stride
    first = 9 if c.initial_stride == 1 else (2 * c.initial_stride) ** 2
    coarsest = side // c.far_stride // 2
    full, half, coarse = side**2, (side // c.far_stride) ** 2, coarsest**2
    places = (side // c.aspp_stride) ** 2  # of ASPP's outputs
    rising = (2 * c.far_stride) ** 2 * h * w // c.up_groups
    local = w * b * (1 if c.aspp_pooled else c.aspp_stride**2)
    dilated = len(c.rates) * (9 * w + w * b)
    parts = {
        "initial": (3 * first * w + 2 * w, 3 * first * w * full),
        "dilated_near": (near * (mixed + biases), near * mixed * full),
        "dilated_far": (
            far * (mixed + biases) + merging * (9 * w * d + 2 * d),
            far * mixed * full + merging * 9 * w * d * half,
        ),
        "attention": (2 * d * squeezed + squeezed + d, 2 * d * squeezed),
        "deconvolution": (
            stepping + 2 * h + refining + others + rising + 2 * w,
            (stepping + refining + rising) * coarse,
        ),
        "aspp": (
            (local + dilated + w * b + b + joined * o)  # convolutions
            + 2 * b * (1 + len(c.rates))
            + 2 * o,  # normalization
            (local + dilated + joined * o) * places + w * b,
        ),
        "head": (o * 10 + 10, o * 10),
    }
    replacements = {
        "initial": (3 * w + w, 3 * w * full),
        "dilated_near": (0, 0),
        "dilated_far": (w * d + d, w * d * half),
        "attention": (0, 0),
        "deconvolution": (d * w + w, d * w * full),
        "aspp": (w * o + o, w * o * places),
    }
    return parts | {part: replacements[part] for part in c.without}


HALF_SIZE = {
    "initial_stride": 2,
    "far_stride": 1,
    "aspp_stride": 2,
    "far_dilations": (4, 8),
    "rates": (3, 6, 9),
}
EVERY_SWITCH = [NetConfig(without=without) for without in SWITCHES]


@pytest.mark.parametrize(
    "config",
    [
        *EVERY_SWITCH,
        NetConfig(rates=(6,), **NARROW),
        NetConfig(**HALF_SIZE, **NARROW),
        NetConfig(near_pairs=2, far_pairs=3, **HALF_SIZE, **NARROW),
        NetConfig(**(NARROW | {"channels": 8}), down_kernel=4),
        NetConfig(channels=32, deep_channels=48, hidden_channels=80, unit="gated"),
        NetConfig(channels=16, down_groups=4, up_groups=8, aspp_pooled=True),
        GATED,
        PRESETS["separable"][0],
        NetConfig(without=PARTS[:-1], **HALF_SIZE),
    ],
)
def test_table_agrees_with_a_calculation_from_the_sizes(config):
    model = CIFAR10Net(config)
    rows = table_of_sizes(model)
    assert [row["name"] for row in rows] == list(PARTS)
    expected = by_hand(config)
    for row in rows:
        got = row["parameters"], row["multiply_adds"]
        assert got == expected[row["name"]], row["name"]
    parameters, multiply_adds = (
        sum(column) for column in zip(*expected.values(), strict=True)
    )
    assert count_parameters(model) == parameters
    assert (
        sum(
            p.numel()
            for p in model.state_dict(keep_vars=True).values()
            if p.requires_grad
        )
        == parameters
    )
    assert count_multiply_adds(model) == multiply_adds


def test_gated_network_has_the_numbers_of_its_design():
    """Added up part by part: a unit has 504 + 10512 + 5184 + 2 * 144 = 16488."""
    model = CIFAR10Net(GATED)
    parameters = {
        "initial": 3 * 4 * 4 * 72 + 144,
        "dilated_near": 4 * 16_488,
        "dilated_far": 4 * 16_488,
        "attention": 72 * 9 + 9 + 9 * 72 + 72,
        "deconvolution": 72 * 9 * 16 + 144 + 16_488 + 72 * 18 * 4 + 144,
        "aspp": (72 * 24 + 48) + 3 * (9 * 72 + 72 * 24 + 48) + (72 * 24 + 24)
        + (120 * 128 + 256),
        "head": 128 * 10 + 10,
    }  # fmt: skip
    rows = table_of_sizes(model)
    assert {row["name"]: row["parameters"] for row in rows} == parameters
    assert count_parameters(model) == sum(parameters.values()) == 196_915
    assert count_multiply_adds(model) == 37_344_464
    outputs = [row["output"] for row in rows]
    assert outputs == [(72, 16, 16)] * 5 + [(128, 8, 8), (10,)]


def test_fine_gated_network_has_the_numbers_of_its_design():
    """A unit of F channels, of which the first s stay: 3 F F + 6 F + 9 (F - s)."""
    model = CIFAR10Net(FINE)
    near, far, coarsest = 7_560, 20_256, 16_488  # of 48, 80 and 72 channels
    assert near == 3 * 48**2 + 6 * 48 + 9 * (48 - 8)
    assert far == 3 * 80**2 + 6 * 80 + 9 * (80 - 16)
    parameters = {
        "initial": 3 * 3 * 3 * 48 + 96,
        "dilated_near": 4 * near,
        "dilated_far": (4 * 4 * 6 * 80 + 160) + 4 * far,  # the step comes first
        "attention": 80 * 10 + 10 + 10 * 80 + 80,
        "deconvolution": (80 * 9 * 16 + 144) + 2 * coarsest + (72 * 10 * 4 + 160),
        "aspp": (80 * 24 + 48) + 3 * (9 * 80 + 80 * 24 + 48) + (80 * 24 + 24)
        + (120 * 128 + 256),
        "head": 128 * 10 + 10,
    }  # fmt: skip
    rows = table_of_sizes(model)
    assert {row["name"]: row["parameters"] for row in rows} == parameters
    assert count_parameters(model) == sum(parameters.values()) == 198_748
    assert count_multiply_adds(model) == 62_762_688
    outputs = [row["output"] for row in rows]
    assert outputs == [(48, 32, 32)] * 2 + [(80, 16, 16)] * 3 + [(128, 16, 16), (10,)]
    block = model.dilated_far
    units = [block.near, block.far, *block.more]
    assert [[layer.dilation[0] for layer in unit.depthwise] for unit in units] == [
        [1, 2, 4],
        [1, 4, 8],
    ] * 2
    assert [unit.sizes for unit in units] == [[16, 16, 16, 32]] * 4


@pytest.mark.parametrize("size", [24, 32])
@pytest.mark.parametrize("config", [GATED, FINE], ids=["coarse", "fine"])
def test_gated_network_stays_channels_last(size, config):
    """From the first map to the pyramid's input, and in the gradients of all these."""
    last = {"memory_format": torch.channels_last}
    model, spoilt = CIFAR10Net(config).to(**last), []

    def note(name, value):
        if not value.is_contiguous(**last):
            spoilt.append(name)

    def watch(layer, inputs, output, name):
        note(name, output)
        output.register_hook(lambda gradient: note(f"gradient, {name}", gradient))

    for part in PARTS[:-2]:
        getattr(model, part).register_forward_hook(partial(watch, name=part))
    images = torch.randn(4, 3, size, size).contiguous(**last)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images)
    output.float().square().sum().backward()
    assert spoilt == []


def test_normalization_and_biases_are_counted():
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    assert count_parameters(layers) == (3 * 4 * 9 + 4) + (4 + 4) + (4 * 2 + 2)


class Tokens(nn.Module):
    """Patches of 4 x 4 pixels as 64 tokens, each through a linear layer."""

    def __init__(self):
        super().__init__()
        self.patches, self.linear = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)

    def forward(self, x):
        return self.linear(self.patches(x).flatten(2).transpose(1, 2))


class Functional(nn.Module):
    """Works without layers: a matrix product and a convolution called as functions."""

    def forward(self, x):
        x = nn.functional.conv2d(x, x.new_ones(4, 3, 3, 3), stride=2, padding=1)
        return x.flatten(2) @ x.new_ones(256, 7)


class Attention(nn.Module):
    """Self-attention of 64 tokens with 8 numbers each."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens, need_weights=False)[0]


@pytest.mark.parametrize(
    "model, multiply_adds",
    [
        (Tokens(), 3 * 8 * 16 * 64 + 8 * 5 * 64),
        (nn.Sequential(nn.Flatten(2), nn.Linear(1024, 5)), 3 * 1024 * 5),
        (nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 3)), 3 * 4 * 3 * 1022),
        (nn.ConvTranspose2d(3, 4, 2, 2), 3 * 4 * 4 * 32 * 32),
        (Functional(), 3 * 4 * 9 * 256 + 4 * 256 * 7),
        (Attention(), 3 * 8 * 16 * 64 + 4 * 8 * 8 * 64 + 2 * 64 * 64 * 8),
        (DepthwiseConv2d(3, dilation=4), 3 * 9 * 32 * 32),
    ],
    ids=lambda value: type(value).__name__,
)
def test_multiply_adds_of_other_networks(model, multiply_adds):
    assert count_multiply_adds(model.eval()) == multiply_adds
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_table_leaves_the_model_as_it_was():
    model = CIFAR10Net(NetConfig(**NARROW)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table_of_sizes(model)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_table_of_another_image_size():
    model = CIFAR10Net(NetConfig(**NARROW))
    small, large = table_of_sizes(model, 32), table_of_sizes(model, 64)
    assert small[0]["output"] == (4, 32, 32) and large[0]["output"] == (4, 64, 64)
    assert large[0]["multiply_adds"] == 4 * small[0]["multiply_adds"]
    assert large[-1] == small[-1]  # the head sees one value per channel


def test_shape_comments_in_forward_are_true():
    source = inspect.getsource(CIFAR10Net.forward)
    comments = re.findall(r"self\.(\w+)\(.*\)  # \(N, ([\d, ]+)\)", source)
    assert [name for name, _ in comments] == list(PARTS)
    outputs = {row["name"]: row["output"] for row in table_of_sizes(CIFAR10Net())}
    for name, shape in comments:
        assert outputs[name] == tuple(int(size) for size in shape.split(",")), name


# ---- dilations that see pixels -------------------------------------------------------


def taps_that_learn(layer, x):
    """Which of the 3 x 3 taps get a gradient when every output counts."""
    y = layer(x)
    layer.weight.grad = None
    (y * torch.randn_like(y)).sum().backward()
    return layer.weight.grad.abs().sum((0, 1)) > 0  # (3, 3)


def test_every_tap_of_the_default_network_sees_pixels():
    model, seen = CIFAR10Net(), {}
    model.train()
    for name, layer in model.named_modules():
        if isinstance(layer, DepthwiseConv2d):
            layer.register_forward_hook(
                lambda layer, inputs, output, name=name: seen.update(
                    {name: taps_that_learn_alone(layer, inputs[0].detach())}
                )
            )
    model(torch.randn(2, 3, 32, 32))
    dilations = sorted(
        layer.dilation[0]
        for layer in model.modules()
        if isinstance(layer, DepthwiseConv2d)
    )
    assert dilations == [2, 4, 6, 8, 12, 16, 18]
    assert len(seen) == 7
    for name, taps in seen.items():
        assert taps.all(), f"{name} has taps that see nothing but padding"


def taps_that_learn_alone(layer, x):
    """The same, on a plain convolution with the layer's sizes."""
    c, d = layer.in_channels, layer.dilation
    plain = nn.Conv2d(c, c, 3, layer.stride, d, d, groups=c, bias=False)
    return taps_that_learn(plain, x)


@pytest.mark.parametrize("dilation, live", [(6, 9), (8, 1), (16, 1)])
def test_far_taps_are_dead_on_a_small_map(dilation, live):
    """What the default avoids: on 8 x 8, dilation 8 reaches over the edge."""
    layer = DepthwiseConv2d(4, dilation)
    assert taps_that_learn(layer, torch.randn(2, 4, 8, 8)).sum() == live


def every_tap_learns(size, dilation, stride):
    plain = nn.Conv2d(1, 1, 3, stride, dilation, dilation, bias=False)
    return bool(taps_that_learn(plain, torch.ones(1, 1, size, size)).all())


@pytest.mark.parametrize(
    "initial_stride, aspp_stride",
    [(i, a) for i in (1, 2, 4, 8) for a in (1, 2, 4, 8, 32) if 32 // i % a == 0],
)
def test_dilations_beyond_the_maps_are_warned_of(initial_stride, aspp_stride):
    size = 32 // initial_stride
    strides = {"initial_stride": initial_stride, "aspp_stride": aspp_stride}
    for d in (1, 2, 3, 4, 6, 7, 8, 12, 14, 15, 16, 18, 24, 28, 30, 31, 32, 40):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            NetConfig(
                near_dilations=(1, d), far_dilations=(1, 1), rates=(d,), **strides
            )
        said = [str(warning.message).split()[0] for warning in caught]
        expected = ["near_dilations"] * (not every_tap_learns(size, d, 1))
        expected += ["rates"] * (not every_tap_learns(size, d, aspp_stride))
        expected += ["far_dilations"] * (size == 1)
        assert sorted(said) == sorted(expected), (size, d)


def test_warning_of_dead_taps_says_what_to_change():
    with pytest.warns(UserWarning) as caught:
        NetConfig(initial_stride=4, far_stride=1, aspp_stride=2)
    assert [str(warning.message) for warning in caught] == [
        "far_dilations [8, 16] are too large for maps of 8 x 8 pixels and these "
        "strides: some of their weights never see the image and learn nothing. Take "
        "far_dilations of at most 7, or smaller strides",
        "rates [12, 18] are too large for maps of 8 x 8 pixels and these strides: some "
        "of their weights never see the image and learn nothing. Take rates of at most "
        "6, or smaller strides",
    ]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = ("dilated_far", "aspp")
        NetConfig(initial_stride=4, far_stride=1, aspp_stride=2, without=parts)
        for config, _ in PRESETS.values():
            NetConfig(**vars(config))


# ---- configuration -------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"classes": 0}, "classes must be a whole number of at least 1, not 0"),
        ({"channels": -4}, "channels must be a whole number"),
        ({"channels": 2.5}, "channels must be a whole number"),
        ({"deep_channels": "64"}, "deep_channels must be a whole number.*, not '64'"),
        ({"hidden_channels": True}, "hidden_channels must be a whole number"),
        ({"attention_reduction": 0}, "attention_reduction must be a whole number"),
        ({"rates": (6, 0)}, r"rates must be a tuple of whole numbers.*\(6, 0\)"),
        ({"rates": 6}, "rates must be a tuple of whole numbers .*, not 6"),
        ({"near_dilations": (2,)}, r"near_dilations must be .* 2 whole .*\(2,\)"),
        ({"far_dilations": (1, 2, 3)}, "far_dilations must be a tuple of 2 whole"),
        ({"far_dilations": (8, 1.5)}, "far_dilations must be a tuple of 2 whole"),
        ({"far_stride": 0}, "far_stride must be a whole number"),
        ({"far_stride": 3}, "far_stride must divide 16, .*; 3 does not"),
        ({"far_stride": 32}, "far_stride must divide 16"),
        ({"initial_stride": 16}, "initial_stride must divide 8, .*; 16 does not"),
        ({"initial_stride": 2, "far_stride": 16}, "far_stride must divide 8"),
        ({"aspp_stride": 5}, "aspp_stride must divide 32, .*; 5 does not"),
        ({"initial_dropout": 1.0}, r"initial_dropout must be in \[0, 1\), not 1.0"),
        ({"head_dropout": -0.1}, "head_dropout must be in"),
        ({"head_dropout": float("nan")}, "head_dropout must be in"),
        ({"residual": "no"}, "residual must be True or False, not 'no'"),
        ({"without": ("atention",)}, r"some of .*attention.*, not \('atention',\)"),
        ({"without": ("head",)}, r"without must be .*, not \('head',\)"),
        ({"without": "attention"}, "without must be a tuple .*, not 'attention'"),
        ({"unit": "plain"}, r"unit must be one of .*'gated'.*\), not 'plain'"),
        ({"unit": None}, "unit must be one of .*, not None"),
        ({"unit": ["gated"]}, r"unit must be one of .*, not \['gated'\]"),
        ({"unit": "gated"}, "gated units need .* at least 32, not 16 and 88"),
        (
            {"unit": "gated", "channels": 64, "hidden_channels": 24},
            "gated units need .* at least 32, not 64 and 24",
        ),
        ({"down_kernel": 5}, r"down_kernel must be one of \(3, 4\), not 5"),
        ({"down_kernel": 3.0}, r"down_kernel must be one of \(3, 4\), not 3.0"),
        ({"down_groups": 0}, "down_groups must be a whole number"),
        ({"down_groups": 3}, "down_groups must divide deep_channels, 64; 3 does not"),
        ({"down_groups": 16}, "down_groups must divide hidden_channels, 88; 16 does"),
        ({"up_groups": 2.0}, "up_groups must be a whole number"),
        ({"up_groups": 3}, "up_groups must divide hidden_channels, 88; 3 does not"),
        ({"up_groups": 11}, "up_groups must divide channels, 16; 11 does not"),
        (
            {"shortcut_from": "initial"},
            "shortcut_from must be one of .*initial",
        ),
        (
            {"shortcut_from": "attention", "up_groups": 3, "hidden_channels": 9},
            "up_groups must divide deep_channels, 64; 3 does not",
        ),
        (
            {"shortcut_from": "attention", "aspp_stride": 32},
            "aspp_stride must divide 16, .*; 32 does not",
        ),
        ({"far_step": "middle"}, "far_step must be one of .*middle"),
        (
            {"far_step": "first", "down_groups": 8, "channels": 12},
            "down_groups must divide channels, 12; 8 does not",
        ),
        (
            {"far_step": "first", "unit": "gated", "channels": 32, "deep_channels": 24},
            "gated units after a first step need deep_channels of .* 32, not 24",
        ),
        ({"refining_units": 0}, "refining_units must be a whole number"),
        ({"aspp_pooled": 1}, "aspp_pooled must be True or False, not 1"),
    ],
    ids=str,
)
def test_impossible_values_are_explained(changes, reason):
    with pytest.raises(ValueError, match=reason):
        NetConfig(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"far_stride": 1, "aspp_stride": 1},
        {"near_pairs": 2, "far_pairs": 3},
        {"far_stride": 16, "aspp_stride": 32, "rates": ()},
        {"far_stride": 4, "aspp_stride": 2, "residual": False},
        HALF_SIZE,
        {
            "initial_stride": 8,
            "far_stride": 2,
            "aspp_stride": 4,
            "near_dilations": (1, 2),
            "far_dilations": (2, 3),
            "without": ("aspp",),
        },
        {"rates": (), "near_dilations": (1, 1)},
        {"attention_reduction": 1000, "classes": 3},
        {"unit": "gated", "channels": 32, "hidden_channels": 40, "residual": False},
        {"down_kernel": 4, "aspp_pooled": True},
        {"channels": 6, "hidden_channels": 9, "down_groups": 3, "up_groups": 3},
        {"channels": 6, "far_stride": 1, "shortcut_from": "attention"},
        {"shortcut_from": "attention", "far_stride": 4, "aspp_stride": 2},
        {"shortcut_from": "attention", "without": ("deconvolution",)},
        {"shortcut_from": "attention", "without": ("aspp",), "aspp_stride": 2},
        {"far_step": "first", "far_stride": 4, "refining_units": 3},
        {"far_step": "first", "far_stride": 1},
        {"far_step": "first", "without": ("dilated_far",)},
        {"initial_dropout": 0.5, "head_dropout": 0.5},
    ],
    ids=str,
)
def test_possible_values_give_a_network(changes):
    config = NetConfig(**(NARROW | changes))
    output = CIFAR10Net(config)(torch.randn(2, 3, 32, 32))
    assert output.shape == (2, config.classes)


def test_configuration_survives_a_file():
    config = NetConfig(rates=(3, 5), without=("attention",))
    fields = json.loads(json.dumps(vars(config)))
    assert fields["rates"] == [3, 5]
    assert NetConfig(**fields) == config


def test_residual_switch_changes_values_and_no_parameters():
    with_shortcuts, without = (
        CIFAR10Net(NetConfig(residual=residual, **NARROW)).eval()
        for residual in (True, False)
    )
    without.load_state_dict(with_shortcuts.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(with_shortcuts(x), without(x))


@pytest.mark.parametrize("source", ["dilated_near", "attention"])
def test_long_shortcut_comes_from_where_it_says(source):
    config = NetConfig(**(NARROW | {"channels": 6}), far_stride=1, shortcut_from=source)
    model, seen = CIFAR10Net(config), {}
    for part in ("dilated_near", "attention"):
        getattr(model, part).register_forward_hook(
            lambda layer, inputs, output, part=part: seen.update({part: output})
        )
    model.deconvolution.register_forward_pre_hook(
        lambda layer, inputs: seen.update(x=inputs[0], detail=inputs[1])
    )
    model(torch.randn(2, 3, 32, 32))
    assert seen["x"] is seen["attention"]
    assert seen["detail"] is seen[source]


@pytest.mark.parametrize(
    "config", [NetConfig(), GATED, FINE], ids=["default", "gated", "fine"]
)
def test_every_parameter_of_the_network_learns(config):
    model = CIFAR10Net(config)
    output = model(torch.randn(8, 3, 32, 32))
    (output * torch.randn_like(output)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


# ---- input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, reason",
    [
        ((3, 32, 32), r"not \(3, 32, 32\); a single image needs .* images\[None\]"),
        ((2, 1, 32, 32), r"must be \(N, 3, 32, 32\), not \(2, 1, 32, 32\)"),
        ((2, 32, 32, 3), r"must be \(N, 3, 32, 32\), not \(2, 32, 32, 3\)"),
        ((2, 3, 31, 32), "height and width must be multiples of 4"),
        ((2, 3, 32, 30), "height and width must be multiples of 4"),
        ((2, 3, 0, 32), "height and width must be multiples of 4"),
    ],
    ids=str,
)
def test_wrong_shapes_are_explained(shape, reason):
    with pytest.raises(ValueError, match=reason):
        CIFAR10Net(NetConfig(**NARROW))(torch.zeros(shape))


def test_raw_images_are_refused_by_the_network():
    with pytest.raises(TypeError, match=r"not torch.uint8; use `predict\(model"):
        CIFAR10Net(NetConfig(**NARROW))(raw_images(2))


@pytest.mark.parametrize("size", [16, 64])
def test_other_sizes_that_fit_are_taken(size):
    model = CIFAR10Net(NetConfig(**NARROW))
    assert model(torch.randn(2, 3, size, size)).shape == (2, 10)


# ---- predict -------------------------------------------------------------------------


def test_predict_normalizes_and_cuts_into_batches():
    model = CIFAR10Net(NetConfig(**NARROW))
    model(torch.randn(8, 3, 32, 32))  # batch norm has seen something
    images = raw_images(7)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        expected = model.eval()((images / 255 - mean) / std)
    for batch_size in (1, 3, 7, 500):
        result = predict(model, images, batch_size)
        torch.testing.assert_close(result, expected)
    assert predict(model, images[:0]).shape == (0, 10)


@pytest.mark.parametrize("training", [True, False])
def test_predict_leaves_the_model_as_it_was(training):
    model = CIFAR10Net(NetConfig(head_dropout=0.5, **NARROW)).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = raw_images(4)
    first = predict(model, images)
    assert torch.equal(first, predict(model, images))  # no dropout
    assert all(module.training == training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_predictions_are_plain_tensors():
    """A temperature can be fitted by gradient, values can be overwritten."""
    result = predict(CIFAR10Net(NetConfig(**NARROW)), raw_images(3))
    temperature = torch.ones((), requires_grad=True)
    (result / temperature).sum().backward()
    result += 1
    assert not result.requires_grad and temperature.grad is not None


def test_predict_takes_a_model_without_parameters():
    images = raw_images(3)
    flat = predict(nn.Flatten(), images)
    assert flat.shape == (3, 3072)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        predict(nn.Flatten(), images, batch_size=0)


@pytest.mark.parametrize("batch_size", [2, np.int64(2), torch.tensor(2)], ids=repr)
def test_predict_takes_any_whole_batch_size(batch_size):
    images = raw_images(3)
    whole = predict(nn.Flatten(), images)
    assert torch.equal(predict(nn.Flatten(), images, batch_size), whole)


@pytest.mark.parametrize("batch_size", ["8", 2.5, (4,)], ids=repr)
def test_predict_names_a_batch_size_that_is_no_number(batch_size):
    with pytest.raises(TypeError, match="batch_size must be a whole number, not "):
        predict(nn.Flatten(), raw_images(3), batch_size)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_predict_takes_the_number_format_of_the_model(dtype):
    images = load_cifar10(source="sample").test.images[:40]
    expected = predict(load_pretrained("cpu"), images)
    model = load_pretrained("cpu").to(dtype)
    got = predict(model, images)
    assert got.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {dtype}
    share = max(torch.finfo(dtype).eps, 1e-6)
    torch.testing.assert_close(got.exp(), expected.exp(), rtol=0, atol=10 * share)


def test_predict_restores_the_mode_after_an_error():
    model = CIFAR10Net(NetConfig(**NARROW)).train()
    model.head.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(model, raw_images(2))
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("size", [31, 48, 64])
def test_predict_refuses_other_sizes(size):
    """Trained on 32 x 32, a network says less and less on others, without a word."""
    images = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    with pytest.raises(ValueError, match="must be 32 x 32 .* resize"):
        predict(CIFAR10Net(NetConfig(**NARROW)), images)


def test_predict_takes_raw_images_only():
    model = CIFAR10Net(NetConfig(**NARROW))
    picture = Image.new("RGB", (32, 32))
    for images, message in (
        (torch.zeros(2, 3, 32, 32), "not torch.float32: normalized floats go into mod"),
        (raw_images(2).long(), "not torch.int64: "),
        (raw_images(2).numpy(), r"not NumPy's uint8: use torch.from_numpy\(images\)"),
        (np.zeros((2, 3, 32, 32)), "not NumPy's float64: "),
        (list(raw_images(2)), r"not builtins.list: .* torch.stack\(images\)"),
        (picture, r"not PIL.Image.Image: use .*pil_to_tensor\(image\)\[None\]"),
        ("cat.png", "not builtins.str: see torchvision.io"),
        (None, "not builtins.NoneType"),
    ):
        with pytest.raises(TypeError, match=f"torch tensor of raw uint8 .*{message}"):
            predict(model, images)
    for images in (raw_images(1)[0], raw_images(2).permute(0, 2, 3, 1)):
        with pytest.raises(ValueError, match=r"must be \(N, 3, H, W\), not .*permute"):
            predict(model, images)
    with pytest.raises(TypeError, match="takes a torch.nn.Module, not 'cpu'"):
        predict("cpu", raw_images(2))
    assert predict(model, pil_to_tensor(picture)[None]).shape == (1, 10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_sizes_do_not_depend_on_the_number_format(dtype):
    config = NetConfig(channels=8, deep_channels=8, branch_channels=4)
    expected = table_of_sizes(CIFAR10Net(config))
    model = CIFAR10Net(config).to(dtype)
    assert table_of_sizes(model) == expected
    total = sum(row["multiply_adds"] for row in expected)
    assert count_multiply_adds(model) == total
    assert next(model.parameters()).dtype == dtype


def test_dropouts_are_those_of_the_configuration():
    model = CIFAR10Net(NetConfig(initial_dropout=0.25, head_dropout=0.5, **NARROW))
    kinds = (nn.Dropout, nn.Dropout2d)
    rates = {n: m.p for n, m in model.named_modules() if isinstance(m, kinds)}
    assert rates == {"initial.dropout": 0.25, "head.dropout": 0.5}
