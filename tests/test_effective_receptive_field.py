"""The effective receptive field against kernels, Jacobians and the traced field."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from cifar_helpers.model import CIFAR10Net, NetConfig
from cifar_helpers.receptive_field import (
    EffectiveField,
    effective_receptive_field,
    receptive_field,
)
from tests.receptive_field_oracle import NARROW, last


def test_effective_field_of_one_convolution_is_its_kernel():
    layer = nn.Conv2d(3, 1, (3, 5), padding=(1, 2))
    images = torch.randn(7, 3, 11, 12)
    field = effective_receptive_field(nn.Sequential(layer), images, "0", batch_size=3)
    kernel = layer.weight.detach().abs().mean(dim=(0, 1)).double()
    expected = torch.zeros(11, 12, dtype=torch.float64)
    expected[4:7, 4:9] = kernel / kernel.sum()  # around output (5, 6)
    torch.testing.assert_close(field.map, expected, rtol=1e-5, atol=1e-7)
    assert field.images == 7


def test_effective_field_is_the_jacobian():
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Tanh(), nn.Conv2d(1, 1, 3, stride=2))
    image = torch.randn(1, 3, 9, 9)
    field = effective_receptive_field(model, image, "2", position=(0, 1))
    jacobian = torch.autograd.functional.jacobian(model, image)[0, 0, 0, 1, 0]
    expected = jacobian.abs().mean(dim=0).double()
    torch.testing.assert_close(
        field.map, expected / expected.sum(), rtol=1e-4, atol=1e-7
    )
    assert (field.map > 0).sum() <= receptive_field(model, (3, 9, 9))[-1].mask(
        0, 1
    ).sum()


@pytest.mark.parametrize(("kernel", "size"), [(1, 1), (3, 3), (5, 5), (4, 4), (2, 2)])
def test_effective_size_of_equal_weights_is_the_kernel(kernel, size):
    layer = nn.Conv2d(1, 1, kernel, bias=False)
    nn.init.ones_(layer.weight)
    field = effective_receptive_field(
        nn.Sequential(layer), torch.randn(2, 1, 13, 13), "0"
    )
    assert field.effective_size == size
    start = (13 - kernel + 1) // 2
    assert field.centre == pytest.approx([start + (kernel - 1) / 2] * 2)
    assert field.sigma == pytest.approx([((kernel**2 - 1) / 12) ** 0.5] * 2, abs=1e-6)


def test_share_counts_the_pixels_of_the_square():
    map = torch.zeros(6, 9, dtype=torch.float64)
    map[1:4, 2:8] = torch.rand(3, 6)
    field = EffectiveField("", map / map.sum(), (2.3, 4.8), (1, 1), 1, 0.95, 1)
    assert field.middle == (2.5, 5.0)
    for side in range(1, 12):
        inside = [
            value
            for (row, column), value in np.ndenumerate(field.map)
            if max(abs(row - 2.5), abs(column - 5)) <= (side - 1) / 2
        ]
        assert field.share(side) == pytest.approx(sum(inside))
    assert field.share(11) == pytest.approx(1)


def test_effective_size_grows_like_the_root_of_the_depth():
    """Uniform kernels: the map tends to a Gaussian (Luo et al. 2016, section 2)."""
    layers = [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(16)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    field = partial(
        effective_receptive_field, nn.Sequential(*layers), torch.ones(1, 1, 65, 65)
    )
    four, sixteen = field("3"), field("15")
    assert sixteen.sigma[0] / four.sigma[0] == pytest.approx(2, rel=1e-3)
    assert sixteen.effective_size < 33 / 2  # far below the structural 33


def test_channels_that_cancel_are_still_seen():
    layer = nn.Conv2d(1, 2, 1, bias=False)
    layer.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    images = torch.randn(40, 1, 5, 5)
    field = effective_receptive_field(nn.Sequential(layer), images, "0")
    assert field.map[2, 2] == 1


def test_measuring_leaves_the_model_alone():
    model = CIFAR10Net(NetConfig(**NARROW)).train()
    model.aspp.eval()
    model.initial.conv.weight.requires_grad_(False)
    model.head.linear.bias.grad = torch.ones(10)
    modes = [m.training for m in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        one = effective_receptive_field(model, images, "dilated_near.far")
    two = effective_receptive_field(model, images, "dilated_near.far")
    assert torch.equal(one.map, two.map)  # seeded
    assert [m.training for m in model.modules()] == modes
    assert all(not m._forward_hooks for m in model.modules())
    assert all(torch.equal(before[name], v) for name, v in model.state_dict().items())
    grads = {n for n, p in model.named_parameters() if p.grad is not None}
    assert grads == {"head.linear.bias"}
    assert not model.initial.conv.weight.requires_grad
    assert images.grad is None and not images.requires_grad
    with pytest.raises(ValueError, match="height and width"):
        effective_receptive_field(model, images[:, :, :5], "aspp")
    assert [m.training for m in model.modules()] == modes
    assert all(not m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    "layer",
    ["initial.conv", "dilated_near.near", "dilated_far.near.activation", "head"],
)
def test_effective_field_lies_within_the_traced_field(layer):
    model = CIFAR10Net(NetConfig(**NARROW))
    effective = effective_receptive_field(model, torch.randn(4, 3, 32, 32), layer)
    name = {"dilated_near.near": "dilated_near.near.activation", "head": "head.linear"}
    field = last(receptive_field(model), name.get(layer, layer))
    middle = (n // 2 for n in field.output_size)
    assert not effective.map[~field.mask(*middle)].any()
    assert effective.map.sum() == pytest.approx(1)


def test_bad_measurements_are_explained():
    model = CIFAR10Net(NetConfig(**NARROW))
    images = torch.randn(2, 3, 32, 32)
    measure = partial(effective_receptive_field, model)
    with pytest.raises(ValueError, match="initial.conv"):
        measure(images, "initial.convolution")
    with pytest.raises(TypeError, match="normalize"):
        measure(images.to(torch.uint8), "initial.conv")
    with pytest.raises(ValueError, match="32 x 32"):
        measure(images, "initial.conv", position=(32, 0))
    with pytest.raises(ValueError, match="mass"):
        measure(images, "initial.conv", mass=95)
    with pytest.raises(ValueError, match="N, 3, H, W"):
        measure(images[0], "initial.conv")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_that_are_not_finite_are_refused(value):
    model, images = (
        nn.Sequential(nn.Conv2d(3, 2, 3, padding=1)),
        torch.zeros(2, 3, 8, 8),
    )
    images[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match="not finite"):
        effective_receptive_field(model, images, "0")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be a whole number"),
        ({"seed": 0.5}, TypeError, "seed must be a whole number"),
        ({"images": [[1.0]]}, TypeError, "not list"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, kind, message):
    given = {"images": torch.ones(2, 3, 8, 8)} | changes
    model = torch.nn.Conv2d(3, 2, 3)
    with pytest.raises(kind, match=message):
        effective_receptive_field(model, layer="", **given)


def test_centre_and_spread_are_those_of_rows_then_columns():
    layer = nn.Conv2d(1, 1, (3, 5), padding=(1, 2), bias=False)
    nn.init.ones_(layer.weight)
    image = torch.randn(1, 1, 11, 12)
    field = effective_receptive_field(nn.Sequential(layer), image, "0", (2, 7))
    assert field.centre == pytest.approx((2, 7))
    assert field.sigma == pytest.approx(((8 / 12) ** 0.5, 2**0.5))
