"""Depthwise convolution, three ways, against `conv2d` and against the definition."""

import pytest
import torch
from convolution_oracle import convolution
from torch.nn import functional as F

from cifar_helpers import depthwise
from cifar_helpers.depthwise import (
    ConvolveByTaps,
    DepthwiseConv2d,
    convolve_on_subgrids,
)

DILATIONS = (1, 2, 4, 6, 8, 12, 16, 18)
SIZES = ((32, 32), (31, 32), (7, 9), (9, 7), (1, 1), (3, 20), (2, 5))


def maps(*shape):
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_depthwise_has_values_and_gradients_of_conv2d(size, dilation, stride):
    layer = DepthwiseConv2d(3, dilation, stride).double()
    x = maps(2, 3, *size).requires_grad_()
    arguments = (None, stride, dilation, dilation, 3)
    expected = F.conv2d(x, layer.weight, *arguments)
    pull = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (x, layer.weight), pull)
    contiguous = x.contiguous(), pull.contiguous()
    last = (t.contiguous(memory_format=torch.channels_last) for t in (x, pull))
    for inputs, outer in (contiguous, last):
        result = layer(inputs)
        torch.testing.assert_close(result, expected)
        got = torch.autograd.grad(result, (x, layer.weight), outer)
        torch.testing.assert_close(got, wanted)


def test_depthwise_is_the_definition():
    layer = DepthwiseConv2d(2, 3, 2).double()
    x = maps(2, 2, 7, 9)
    torch.testing.assert_close(layer(x), convolution(x, layer.weight, 2, 3, 3))


@pytest.mark.parametrize("dilation", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (2, 3)], ids=str)
def test_subgrids_are_exact_even_where_they_are_not_used(size, dilation):
    x, weight = maps(2, 3, *size), maps(3, 1, 3, 3)
    expected = F.conv2d(x, weight, None, 1, dilation, dilation, 3)
    torch.testing.assert_close(convolve_on_subgrids(x, weight, dilation), expected)


@pytest.mark.parametrize("dilation, stride", [(1, 1), (2, 1), (2, 2), (3, 4), (9, 1)])
def test_taps_have_the_gradients_that_small_steps_show(dilation, stride):
    x, weight = maps(2, 2, 4, 5).requires_grad_(), maps(2, 1, 3, 3).requires_grad_()
    arguments = (x, weight, dilation, stride)
    assert torch.autograd.gradcheck(ConvolveByTaps.apply, arguments)


def test_taps_refuse_second_derivatives():
    """They would be wrong, so an error is better than a number."""
    x, weight = maps(1, 2, 4, 5).requires_grad_(), maps(2, 1, 3, 3).requires_grad_()
    y = ConvolveByTaps.apply(x, weight, 2, 2).square().sum()
    (gradient,) = torch.autograd.grad(y, x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


@pytest.mark.parametrize("frozen", ["image", "weight"])
def test_taps_when_one_gradient_is_not_wanted(frozen):
    x, weight = maps(1, 2, 6, 6), maps(2, 1, 3, 3)
    wanted = weight if frozen == "image" else x
    wanted.requires_grad_()
    ConvolveByTaps.apply(x, weight, 4, 1).square().sum().backward()
    got, wanted.grad = wanted.grad, None
    F.conv2d(x, weight, None, 1, 4, 4, 2).square().sum().backward()
    torch.testing.assert_close(got, wanted.grad)


@pytest.mark.parametrize("dilation, stride", [(1, 1), (1, 2), (2, 1), (8, 2), (18, 4)])
def test_depthwise_runs_under_autocast(dilation, stride):
    layer = DepthwiseConv2d(4, dilation, stride)
    x = torch.randn(2, 4, 16, 16, requires_grad=True)
    exact = F.conv2d(x, layer.weight, None, stride, dilation, dilation, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), exact, rtol=0.03, atol=0.03)
    (wanted,) = torch.autograd.grad(exact.sum(), layer.weight)
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(layer.weight.grad, wanted, rtol=0.05, atol=0.5)


WAYS = [(1, 1), (2, 1), (8, 1), (4, 2)]  # plain, on sub-grids, and twice by taps


@pytest.mark.parametrize("dilation, stride", WAYS)
@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(2, 8, 16, 16),  # two times as many channels
        torch.zeros(2, 2, 16, 16),
        torch.zeros(8, 16, 16),
        torch.zeros(16, 16),
        torch.zeros(2, 4, 16, 16, dtype=torch.float64),
        torch.zeros(2, 4, 16, 16, dtype=torch.bfloat16),
    ],
    ids=lambda x: f"{tuple(x.shape)} {x.dtype}",
)
def test_depthwise_refuses_what_conv2d_refuses(x, dilation, stride):
    layer, d = DepthwiseConv2d(4, dilation, stride), dilation
    plain = torch.nn.Conv2d(4, 4, 3, stride, d, d, groups=4, bias=False)
    with pytest.raises(RuntimeError) as expected:
        plain(x)
    with pytest.raises(RuntimeError) as failure:
        layer(x)
    assert str(failure.value) == str(expected.value)


@pytest.mark.parametrize("dilation, stride", WAYS)
def test_whole_numbers_are_refused_under_autocast(dilation, stride):
    layer = DepthwiseConv2d(4, dilation, stride)
    x = torch.ones(2, 4, 16, 16, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError):
        layer(x)


@pytest.mark.parametrize("dilation, stride", WAYS)
def test_depthwise_takes_a_single_map(dilation, stride):
    layer, x = DepthwiseConv2d(4, dilation, stride), torch.randn(4, 16, 16)
    torch.testing.assert_close(layer(x), layer(x[None])[0])


@pytest.mark.parametrize("dilation, stride", WAYS)
def test_what_follows_may_work_in_place(dilation, stride):
    layer = DepthwiseConv2d(4, dilation, stride).double()
    x = maps(2, 4, 16, 16).requires_grad_()
    wanted = torch.autograd.grad(layer(x).relu().sum(), (x, layer.weight))
    got = torch.autograd.grad(torch.relu_(layer(x)).sum(), (x, layer.weight))
    torch.testing.assert_close(got, wanted)


def test_quick_ways_are_taken_on_a_cpu(monkeypatch):
    """Otherwise the comparisons above would compare conv2d with itself."""
    taken = []
    subgrids, by_taps = convolve_on_subgrids, ConvolveByTaps.apply

    def note(name, way):
        return lambda *arguments: taken.append(name) or way(*arguments)

    monkeypatch.setattr(depthwise, "convolve_on_subgrids", note("subgrids", subgrids))
    monkeypatch.setattr(ConvolveByTaps, "apply", note("taps", by_taps))
    for dilation, stride in ((1, 1), (1, 2), (4, 1), (16, 1), (4, 2)):
        DepthwiseConv2d(3, dilation, stride)(torch.randn(1, 3, 32, 32))
    assert taken == ["subgrids", "taps", "taps"]  # and none for dilation 1
    for stride in (1, 2):
        layer = DepthwiseConv2d(3, dilation=1, stride=stride).bfloat16()
        layer(torch.randn(1, 3, 32, 32).bfloat16())
    assert taken[3:] == ["taps"], "a stride in bfloat16"
