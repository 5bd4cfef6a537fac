"""Each block against an independent calculation, most of them loops in NumPy."""

import numpy as np
import pytest
import torch
from convolution_oracle import convolution
from torch import nn

from cifar_helpers.blocks import (
    ASPP,
    ChannelAttention,
    ClassificationHead,
    DeconvResidual,
    DepthwiseSeparableConv,
    DilatedBlock,
    InitialConvBlock,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def prepared(block):
    """The block in double precision, batch norm's numbers no longer 0 and 1."""
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return block.double().eval()


def maps(*shape):
    return torch.randn(shape, dtype=torch.float64)


def normalization(x, norm):
    """Batch normalization with stored statistics, channel by channel."""
    out = torch.empty_like(x)
    for c in range(x.shape[1]):
        spread = (norm.running_var[c].item() + norm.eps) ** 0.5
        centred = (x[:, c] - norm.running_mean[c].item()) / spread
        out[:, c] = centred * norm.weight[c].item() + norm.bias[c].item()
    return out


def positive_part(x):
    return torch.where(x > 0, x, 0.0)


def separable(x, block, dilation, stride=1, residual=False):
    """What DepthwiseSeparableConv should give."""
    y = convolution(x, block.depthwise.weight, stride, dilation, dilation)
    y = normalization(convolution(y, block.pointwise.weight), block.norm)
    return positive_part(y + x if residual else y)


# ---- part 1 --------------------------------------------------------------------------


def test_initial_block_is_convolution_norm_and_relu():
    block = prepared(InitialConvBlock(3, 5))
    x = maps(2, 3, 6, 7)
    expected = normalization(convolution(x, block.conv.weight, padding=1), block.norm)
    assert (expected < 0).any()
    torch.testing.assert_close(block(x), positive_part(expected))


@pytest.mark.parametrize("stride", [2, 4])
def test_initial_block_with_a_stride_reads_patches_that_overlap(stride):
    block = prepared(InitialConvBlock(3, 5, stride=stride))
    assert block.conv.weight.shape == (5, 3, 2 * stride, 2 * stride)
    x = maps(2, 3, 8, 12)
    y = convolution(x, block.conv.weight, stride, padding=stride // 2)
    expected = positive_part(normalization(y, block.norm))
    assert expected.shape == (2, 5, 8 // stride, 12 // stride)
    torch.testing.assert_close(block(x), expected)


def test_initial_block_normalizes_by_the_batch_while_training():
    block = prepared(InitialConvBlock(3, 5)).train()
    x = maps(4, 3, 6, 7)
    y = convolution(x, block.conv.weight, padding=1)
    mean = y.mean((0, 2, 3), keepdim=True)
    variance = ((y - mean) ** 2).mean((0, 2, 3), keepdim=True)
    y = (y - mean) / (variance + block.norm.eps) ** 0.5
    scale, shift = (p.view(-1, 1, 1) for p in (block.norm.weight, block.norm.bias))
    torch.testing.assert_close(block(x), positive_part(y * scale + shift))


def test_initial_block_drops_whole_maps_while_training():
    block = InitialConvBlock(3, 64, dropout=0.25).train()
    nn.init.constant_(block.norm.bias, 3.0)  # no map is empty by itself
    x = torch.randn(32, 3, 6, 6)
    y = block(x)
    empty = (y.flatten(2) == 0).all(2)
    assert empty.float().mean().item() == pytest.approx(0.25, abs=0.03)
    block.dropout.p = 0.0
    kept = block(x)[~empty] / 0.75  # scaled up, so that the mean stays
    torch.testing.assert_close(y[~empty], kept)


# ---- part 2 --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "channels, stride, residual, adds_input",
    [
        ((4, 4), 1, True, True),
        ((4, 4), 1, False, False),
        ((4, 4), 2, True, False),  # another size: nothing to add
        ((4, 6), 1, True, False),
    ],
)
def test_separable_convolution(channels, stride, residual, adds_input):
    block = prepared(DepthwiseSeparableConv(*channels, 2, stride, residual))
    x = maps(2, channels[0], 7, 8)
    before = x.clone()
    torch.testing.assert_close(block(x), separable(x, block, 2, stride, adds_input))
    assert torch.equal(x, before)


def test_zero_init_makes_a_residual_block_its_shortcut():
    x = maps(2, 4, 7, 8)
    block = prepared(DepthwiseSeparableConv(4, 4, 2)).train()
    block.zero_init_residual()
    with torch.no_grad():
        block.norm.bias.zero_()
    torch.testing.assert_close(block(x), positive_part(x))
    block(x).sum().backward()
    assert block.norm.weight.grad.abs().min() > 0  # it can leave zero
    plain = prepared(DepthwiseSeparableConv(4, 4, 2, residual=False))
    before = plain.norm.weight.detach().clone()
    plain.zero_init_residual()  # nothing would be left of its input
    assert torch.equal(plain.norm.weight, before)


@pytest.mark.parametrize("channels", [(3, 5), (8, 8), (16, 4)])
def test_separable_convolution_has_the_parameters_of_its_formula(channels):
    narrow, wide = channels
    block = DepthwiseSeparableConv(narrow, wide, dilation=4)
    count = sum(p.numel() for p in block.parameters())
    assert count == 9 * narrow + narrow * wide + 2 * wide


@pytest.mark.parametrize("out_channels, stride", [(4, 1), (6, 1), (4, 2), (6, 4)])
@pytest.mark.parametrize("residual", [True, False])
def test_dilated_block_is_two_separable_convolutions(out_channels, stride, residual):
    block = prepared(DilatedBlock(4, out_channels, (2, 3), stride, residual))
    x = maps(2, 4, 8, 12)
    y = separable(x, block.near, 2, 1, residual)
    y = separable(y, block.far, 3, 1, residual)
    if (out_channels, stride) != (4, 1):  # then a dense convolution changes the shape
        weight = block.merge[0].weight
        size = {1: 3, 2: 3, 4: 7}[stride]
        assert weight.shape == (out_channels, 4, size, size)
        y = convolution(y, weight, stride, padding=size // 2)
        y = positive_part(normalization(y, block.merge[1]))
    assert y.shape == (2, out_channels, 8 // stride, 12 // stride)
    torch.testing.assert_close(block(x), y)


def test_dilated_block_repeats_its_pair():
    block = prepared(DilatedBlock(4, 4, (2, 3), pairs=3))
    y = x = maps(2, 4, 8, 12)
    for convolution_of_block, dilation in zip(
        [block.near, block.far, *block.more], (2, 3, 2, 3, 2, 3), strict=True
    ):
        y = separable(y, convolution_of_block, dilation, 1, True)
    torch.testing.assert_close(block(x), y)


def test_dilated_block_with_a_stride_skips_no_pixel():
    """Dilation 2 and 4 alone would never read the odd rows and columns."""
    block = prepared(DilatedBlock(3, 4, (2, 4), stride=2))
    x = maps(1, 3, 16, 16).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x).sum(), x)
    assert (gradient.abs().sum(1) > 0).all()


# ---- part 3 --------------------------------------------------------------------------


def test_attention_follows_the_equations():
    block = prepared(ChannelAttention(6, reduction=3))
    first, second = block.excitation[0], block.excitation[2]
    assert first.weight.shape[0] == 2
    x = maps(3, 6, 4, 5)
    u = x.numpy()
    w1, b1, w2, b2 = (
        p.detach().numpy().squeeze() if p.ndim == 1 else p.detach().numpy()[:, :, 0, 0]
        for p in (first.weight, first.bias, second.weight, second.bias)
    )
    for image in range(3):
        z = u[image].sum(axis=(1, 2)) / (4 * 5)  # equation 2
        hidden = np.maximum(w1 @ z + b1, 0)
        s = 1 / (1 + np.exp(-(w2 @ hidden + b2)))  # equation 3
        scaled = np.stack([s[c] * u[image, c] for c in range(6)])  # equation 4
        weights = block.weights(x)[image].detach().numpy()
        assert weights.shape == (6, 1, 1)
        np.testing.assert_allclose(weights.ravel(), s)
        np.testing.assert_allclose(block(x)[image].detach().numpy(), scaled)


def test_attention_keeps_a_hidden_unit():
    assert ChannelAttention(2, reduction=16).excitation[0].weight.shape[0] == 1


# ---- part 4 --------------------------------------------------------------------------


def transposed(x, weight, stride):
    """As a matrix: the transpose of the matrix of the convolution with this weight."""
    n, _, height, width = x.shape
    size = (weight.shape[1], height * stride, width * stride)
    cells = int(np.prod(size))
    basis = torch.eye(cells, dtype=torch.float64).view(cells, *size)
    matrix = convolution(basis, weight, stride).flatten(1)  # (output, input) cells
    return (x.flatten(1) @ matrix.T).view(n, *size)


@pytest.mark.parametrize("upscale", [2, 4])
@pytest.mark.parametrize("residual", [True, False])
def test_deconvolution_and_its_shortcut(upscale, residual):
    block = prepared(DeconvResidual(3, 4, 2, upscale, residual))
    x, detail = maps(2, 3, 4, 6), maps(2, 2, 2 * upscale, 3 * upscale)
    before = detail.clone()
    down = convolution(x, block.down[0].weight, 2, 1)
    down = positive_part(normalization(down, block.down[1]))
    fine = convolution(down, block.refine[0].weight, 1, 1)
    fine = positive_part(normalization(fine, block.refine[1]))
    coarse = fine + down if residual else fine
    y = normalization(transposed(coarse, block.deconv.weight, upscale), block.norm)
    expected = positive_part(y + detail if residual else y)
    torch.testing.assert_close(block(x, detail), expected)
    assert torch.equal(detail, before)


# ---- part 5 --------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("rates", [(2, 3), ()])
def test_aspp_joins_its_branches(rates, stride):
    block = prepared(ASPP(3, 4, 5, rates, stride))
    x = maps(2, 3, 8, 12)
    local = convolution(x, block.local[0].weight, stride)
    branches = [positive_part(normalization(local, block.local[1]))]
    for rate, branch in zip(rates, block.dilated, strict=True):
        branches.append(separable(x, branch, rate, stride))
    mean = torch.stack([x[:, c].mean((1, 2)) for c in range(3)], 1).view(2, 3, 1, 1)
    whole = block.whole_image[1]
    whole = positive_part(convolution(mean, whole.weight, bias=whole.bias))
    branches.append(whole * torch.ones(1, 1, 8 // stride, 12 // stride))
    joined = convolution(torch.cat(branches, 1), block.project[0].weight)
    expected = positive_part(normalization(joined, block.project[1]))
    assert expected.shape == (2, 5, 8 // stride, 12 // stride)
    torch.testing.assert_close(block(x), expected)


# ---- part 6 --------------------------------------------------------------------------


def test_head_gives_log_probabilities():
    head = prepared(ClassificationHead(6, 10))
    x = maps(4, 6, 3, 5)
    scores = x.numpy().mean(axis=(2, 3)) @ head.linear.weight.detach().numpy().T
    odds = np.exp(scores + head.linear.bias.detach().numpy())
    expected = np.log(odds / odds.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(head(x).detach().numpy(), expected)
    ones = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(head(x).exp().sum(1), ones)


def test_head_drops_inputs_only_while_training():
    head = ClassificationHead(6, 10, dropout=0.5)
    x = torch.randn(4, 6, 3, 3)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


# ---- all of them ---------------------------------------------------------------------


EVERY_BLOCK = {
    "initial": lambda: InitialConvBlock(4, 4),
    "separable": lambda: DepthwiseSeparableConv(4, 4, 2),
    "dilated": lambda: DilatedBlock(4, 6, (2, 4), 2),
    "attention": lambda: ChannelAttention(4, reduction=1),
    "deconvolution": lambda: DeconvResidual(4, 4, 4, 2),
    "aspp": lambda: ASPP(4, 3, 5, (6,), 4),
    "head": lambda: ClassificationHead(4, 10),
}


@pytest.mark.parametrize("name", EVERY_BLOCK)
def test_every_parameter_of_a_block_learns(name):
    torch.manual_seed(1)  # a draw in which no ReLU is dead
    block = EVERY_BLOCK[name]()
    x = torch.randn(4, 4, 16, 16)
    y = block(x, torch.randn(4, 4, 16, 16)) if name == "deconvolution" else block(x)
    (y * torch.randn_like(y)).sum().backward()
    for part, parameter in block.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, part


@pytest.mark.parametrize("name", EVERY_BLOCK)
def test_memory_format_does_not_change_the_values(name):
    block = prepared(EVERY_BLOCK[name]())
    inputs = [maps(2, 4, 16, 16)] * (2 if name == "deconvolution" else 1)
    expected = block(*inputs)
    block.to(memory_format=torch.channels_last)
    inputs = [x.contiguous(memory_format=torch.channels_last) for x in inputs]
    torch.testing.assert_close(block(*inputs), expected)
