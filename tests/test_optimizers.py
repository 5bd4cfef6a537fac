"""Optimizers and the learning rate against calculations by hand and torch's own."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cifar_helpers.model import CIFAR10Net
from cifar_helpers.optimizers import Muon, make_optimizer, orthogonalize, warmup_cosine
from cifar_helpers.recipes import Recipe

QUICK = Recipe(epochs=2, batch_size=8, precision="float32")


# ---- learning rate -------------------------------------------------------------------


@pytest.mark.parametrize("steps, share", [(100, 0.2), (7, 0.5), (50, 0.0), (1, 0.2)])
def test_rate_rises_in_a_line_and_falls_in_a_cosine(steps, share):
    factors = np.array([warmup_cosine(step, steps, share) for step in range(steps + 1)])
    warmup = share * steps
    top = math.ceil(warmup)
    rise = np.diff(np.concatenate([[0], factors[:top]]))
    np.testing.assert_allclose(rise, 1 / (warmup + 1))
    angles = math.pi * (np.arange(top, steps + 1) - warmup) / max(steps - warmup, 1)
    np.testing.assert_allclose(factors[top:], np.cos(angles / 2) ** 2, atol=1e-12)
    assert (np.diff(factors[top:]) <= 0).all()
    assert factors[0] > 0 and factors.max() <= 1


# ---- sgd, adamw, and who decays -----------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_only_convolution_and_linear_weights_decay(optimizer):
    """With gradients of zero, decay alone moves the weights."""
    model = CIFAR10Net()
    config = replace(QUICK, optimizer=optimizer, learning_rate=0.1, weight_decay=0.01)
    config = replace(config, momentum=0.0, sgd_weight_decay=0.01)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, config).step()
    kinds = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        owner, _, kind = name.rpartition(".")
        norm = isinstance(kinds[owner], torch.nn.BatchNorm2d)
        factor = 1.0 if norm or kind == "bias" else 1 - 0.1 * 0.01
        torch.testing.assert_close(parameter.detach(), factor * before[name])


def test_two_steps_of_nesterov_momentum():
    config = replace(QUICK, learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    optimizer = make_optimizer(layer, config)
    weight, velocity = 1.0, 0.0
    for gradient in (2.0, -1.0):
        layer.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        velocity = 0.9 * velocity + gradient
        weight -= 0.1 * (gradient + 0.9 * velocity)
        assert layer.weight.item() == pytest.approx(weight)
    plain = make_optimizer(layer, replace(config, momentum=0.0))
    layer.weight.grad = torch.ones(1, 1)
    plain.step()
    assert layer.weight.item() == pytest.approx(weight - 0.1)


# ---- muon ----------------------------------------------------------------------------


def matrix(rows, columns, seed=0):
    return torch.randn(
        rows, columns, generator=torch.Generator().manual_seed(seed)
    ).double()


@pytest.mark.parametrize("rows, columns", [(8, 72), (72, 8), (16, 16), (1, 9)])
def test_orthogonalize_keeps_directions_and_evens_their_lengths(rows, columns):
    given = matrix(rows, columns)
    u, before, v = torch.linalg.svd(given, full_matrices=False)
    got = u.T @ orthogonalize(given, steps=6) @ v.T  # in the given's own directions
    after = got.diagonal()
    assert (got - torch.diag(after)).abs().max() < 1e-9
    seen = before / before.norm() > 0.01
    assert ((after[seen] > 0.5) & (after[seen] < 1.3)).all()
    assert orthogonalize(given).shape == given.shape


def test_orthogonalize_ignores_the_scale_and_takes_zeros():
    given = matrix(6, 10)
    torch.testing.assert_close(
        orthogonalize(1000 * given), orthogonalize(given), atol=1e-5, rtol=1e-5
    )
    assert not orthogonalize(torch.zeros(3, 4)).any()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 2, 3, 3)])
def test_muon_is_the_published_rule(shape):
    """Three steps against the formulas, written out in double precision."""
    parameter = nn.Parameter(torch.ones(shape, dtype=torch.float64))
    optimizer = Muon([parameter], lr=0.1, momentum=0.8, weight_decay=0.5)
    rows, columns = shape[0], math.prod(shape[1:])
    weight, momentum = torch.ones(rows, columns).double(), 0.0
    for seed in range(3):
        gradient = matrix(rows, columns, seed)
        parameter.grad = gradient.view(shape)
        optimizer.step()
        momentum = 0.8 * momentum + gradient
        update = orthogonalize(gradient + 0.8 * momentum)
        weight = weight * (1 - 0.1 * 0.5) - 0.1 * max(1, rows / columns) ** 0.5 * update
        torch.testing.assert_close(parameter.detach().reshape(rows, columns), weight)


def test_muon_treats_parameters_as_if_each_were_alone():
    """Equal shapes are made orthogonal together: two of one, wide and tall others."""
    shapes = [(6, 4), (6, 4), (4, 6), (5, 2, 3, 3), (6, 4, 1, 1)]
    together = [nn.Parameter(torch.ones(shape).double()) for shape in shapes]
    alone = [nn.Parameter(torch.ones(shape).double()) for shape in shapes]
    options = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.5}
    optimizers = [Muon(together, **options), *(Muon([p], **options) for p in alone)]
    for step in range(3):
        for k, shape in enumerate(shapes):
            gradient = matrix(shape[0], math.prod(shape[1:]), 10 * step + k)
            together[k].grad = alone[k].grad = gradient.view(shape)
        for optimizer in optimizers:
            optimizer.step()
    for first, second in zip(together, alone, strict=True):
        torch.testing.assert_close(first, second)
    assert not torch.allclose(together[0], together[1])


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9")
@pytest.mark.parametrize("rows, columns", [(6, 30), (30, 6)])
def test_muon_agrees_with_torch_on_matrices(rows, columns):
    """Theirs computes in bfloat16, with an averaged momentum: the same directions."""
    ours, theirs = (nn.Parameter(torch.zeros(rows, columns)) for _ in range(2))
    first = Muon([ours], lr=0.1, momentum=0.9)
    second = torch.optim.Muon(
        [theirs], lr=0.1, momentum=0.9, weight_decay=0.0, ns_steps=4
    )
    gradient = matrix(rows, columns).float()
    for parameter, optimizer in ((ours, first), (theirs, second)):
        parameter.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=0.01, rtol=0.05)


def test_muon_moves_only_dense_convolutions_by_orthogonal_steps():
    model = CIFAR10Net()
    config = replace(QUICK, optimizer="muon", learning_rate=0.02)
    config = replace(config, sgd_learning_rate=0.3)
    optimizer = make_optimizer(model, config)
    names = {id(p): name for name, p in model.named_parameters()}
    dense, rest, vectors = [
        {names[id(p)] for p in group["params"]} for group in optimizer.param_groups
    ]
    assert dense | rest | vectors == set(names.values())
    assert "initial.conv.weight" in dense and "deconvolution.deconv.weight" in dense
    assert "head.linear.weight" in rest and "aspp.dilated.0.depthwise.weight" in rest
    assert all(
        name.endswith("bias") or "norm" in name or ".1." in name for name in vectors
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == [0.02, 0.3, 0.3]
    assert [g["orthogonal"] for g in optimizer.param_groups] == [True, False, False]


def test_muon_follows_sgd_elsewhere():
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.02}
    first = Muon([ours], orthogonal=False, **settings)
    second = torch.optim.SGD([theirs], nesterov=True, **settings)
    for seed in range(3):
        for parameter, optimizer in ((ours, first), (theirs, second)):
            parameter.grad = matrix(1, 5, seed)[0].float()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_muon_calls_its_closure_and_skips_what_has_no_gradient():
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([used, unused], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = used.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert (used < 1).any() and torch.equal(unused, torch.ones(2, 2))


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
def test_numbers_below_zero_are_refused(name):
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=f"{name} must not be below 0"):
            Muon([parameter], **({"lr": 0.1} | {name: wrong}))


def test_each_group_of_muon_has_its_own_decay():
    config = replace(QUICK, optimizer="muon", weight_decay=0.01, momentum=0.8)
    optimizer = make_optimizer(CIFAR10Net(), replace(config, sgd_weight_decay=0.0004))
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    assert decays == [0.01, 0.0004, 0.0]
    assert {group["momentum"] for group in optimizer.param_groups} == {0.8}
