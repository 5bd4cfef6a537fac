"""Each block against an independent calculation, most of them loops in NumPy."""

import numpy as np
import pytest
import torch
from convolution_oracle import convolution
from torch import nn
from torch.nn import functional as F

from cifar_helpers.blocks import (
    ASPP,
    ChannelAttention,
    ClassificationHead,
    DeconvResidual,
    DepthwiseSeparableConv,
    DilatedBlock,
    GatedUnit,
    GlobalAveragePool,
    InitialConvBlock,
    make_unit,
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


def in_groups(operation, x, weight, groups, **options):
    """A convolution whose groups of channels know nothing of each other."""
    pieces = zip(x.chunk(groups, dim=1), weight.chunk(groups), strict=True)
    return torch.cat([operation(piece, w, **options) for piece, w in pieces], 1)


def gated(x, unit, groups, residual=True):
    """What GatedUnit should give; `groups` are (channels, dilation), 0: passed on."""
    filters = torch.cat([layer.weight for layer in unit.depthwise])
    seen, start, used = [], 0, 0
    for count, dilation in groups:
        part = x[:, start : start + count]
        if dilation:
            weight = filters[used : used + count]
            part = convolution(part, weight, padding=dilation, dilation=dilation)
            used += count
        seen.append(part)
        start += count
    assert (start, used) == (x.shape[1], len(filters))
    y = normalization(torch.cat(seen, 1), unit.norm)
    y = convolution(y, unit.expand.weight, bias=unit.expand.bias)
    a, b = y[:, : x.shape[1]], y[:, x.shape[1] :]
    y = a * b / (1 + torch.exp(-b))
    y = normalization(convolution(y, unit.project.weight), unit.last_norm)
    return y + x if residual else y


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


GROUPS = {  # (channels, dilation): (channels, dilation) of each group
    (72, 8): ((16, 0), (16, 1), (16, 4), (24, 8)),
    (72, 1): ((16, 0), (16, 1), (16, 1), (24, 1)),
    (48, 2): ((8, 0), (8, 1), (8, 1), (24, 2)),
    (80, 4): ((16, 0), (16, 1), (16, 2), (32, 4)),
    (32, 3): ((8, 0), (8, 1), (8, 1), (8, 3)),
}


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("sizes", GROUPS, ids=str)
def test_gated_unit(sizes, residual):
    unit = prepared(GatedUnit(*sizes, residual))
    x = maps(2, sizes[0], 7, 9)
    before = x.clone()
    torch.testing.assert_close(unit(x), gated(x, unit, GROUPS[sizes], residual))
    assert torch.equal(x, before)


@pytest.mark.parametrize("sizes", GROUPS, ids=str)
def test_gated_unit_has_the_gradients_of_plain_operations(sizes):
    unit, x = prepared(GatedUnit(*sizes)).train(), maps(3, sizes[0], 8, 8)
    x.requires_grad_()
    norms = {
        norm: (None, None, norm.weight, norm.bias, True)
        for norm in (unit.norm, unit.last_norm)
    }
    filters = torch.cat([layer.weight for layer in unit.depthwise])
    counts, dilations = zip(*GROUPS[sizes], strict=True)
    parts = zip(
        x.split(counts, 1)[1:], filters.split(counts[1:]), dilations[1:], strict=True
    )
    seen = [F.conv2d(p, w, None, 1, d, d, p.shape[1]) for p, w, d in parts]
    y = torch.cat([x[:, : counts[0]], *seen], 1)
    y = F.batch_norm(y, *norms[unit.norm])
    y = F.conv2d(y, unit.expand.weight, unit.expand.bias)
    y = y[:, : sizes[0]] * y[:, sizes[0] :] * y[:, sizes[0] :].sigmoid()
    y = F.conv2d(y, unit.project.weight)
    expected = x + F.batch_norm(y, *norms[unit.last_norm])
    result, pull = unit(x), torch.randn_like(expected)
    torch.testing.assert_close(result, expected)
    inputs = (x, *unit.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(result, inputs, pull),
        torch.autograd.grad(expected, inputs, pull),
    )


def test_zero_init_makes_a_gated_unit_the_identity():
    unit, x = GatedUnit(32, 4).train(), torch.randn(4, 32, 8, 8)
    unit.zero_init_residual()
    y = unit(x)
    assert torch.equal(y, x)  # no ReLU: negative values pass as well
    y.square().sum().backward()
    assert unit.last_norm.weight.grad.abs().min() > 0  # it can leave zero
    plain = GatedUnit(32, 4, residual=False)
    plain.zero_init_residual()  # nothing would be left of its input
    assert plain.last_norm.weight.eq(1).all()


@pytest.mark.parametrize("sizes", GROUPS, ids=str)
def test_gated_unit_has_the_parameters_of_its_formula(sizes):
    channels, first = sizes[0], GROUPS[sizes][0][0]
    count = sum(p.numel() for p in GatedUnit(*sizes).parameters())
    assert count == 3 * channels**2 + 6 * channels + 9 * (channels - first)


def test_gated_unit_needs_channels_for_four_groups():
    with pytest.raises(ValueError, match="needs at least 32 channels, not 31"):
        GatedUnit(31)


@pytest.mark.parametrize("dilation", [1, 2, 4, 8])
def test_gated_unit_keeps_maps_channels_last(dilation):
    """Another order would be copied back and forth by every layer that follows."""
    last = {"memory_format": torch.channels_last}
    unit = GatedUnit(72, dilation).to(**last)
    x = torch.randn(4, 72, 16, 16).contiguous(**last).requires_grad_()
    expected = unit(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = unit(x.bfloat16())
    assert y.is_contiguous(**last) and y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, atol=0.1, rtol=0.1)
    (gradient,) = torch.autograd.grad(y.float().square().sum(), x)
    assert gradient.is_contiguous(**last)


@pytest.mark.parametrize("out_channels, stride", [(4, 1), (6, 1), (4, 2), (6, 4)])
@pytest.mark.parametrize("residual", [True, False])
def test_dilated_block_is_two_separable_convolutions(out_channels, stride, residual):
    block = prepared(DilatedBlock(4, out_channels, (2, 3), stride, residual=residual))
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


def test_dilated_block_of_gated_units():
    block = prepared(DilatedBlock(32, 32, (1, 3), pairs=2, unit="gated"))
    y = x = maps(2, 32, 4, 6)
    for unit, dilation in zip(
        [block.near, block.far, *block.more], (1, 3, 1, 3), strict=True
    ):
        y = gated(y, unit, ((8, 0), (8, 1), (8, 1), (8, dilation)))
    torch.testing.assert_close(block(x), y)


@pytest.mark.parametrize("residual", [True, False])
def test_dilated_block_of_dense_convolutions(residual):
    block = prepared(DilatedBlock(4, 4, (1, 3), residual=residual, unit="dense"))
    y = x = maps(2, 4, 5, 6)
    for unit, dilation in ((block.near, 1), (block.far, 3)):
        filtered = convolution(y, unit.conv.weight, 1, dilation, dilation)
        filtered = normalization(filtered, unit.norm)
        y = positive_part(filtered + y if residual else filtered)
        assert sum(p.numel() for p in unit.parameters()) == 9 * 4**2 + 2 * 4
    torch.testing.assert_close(block(x), y)
    for unit in (block.near, block.far):
        nn.init.zeros_(unit.norm.bias)
        before = block(x)
        unit.zero_init_residual()
    if residual:
        before = positive_part(x)
    torch.testing.assert_close(block(x), before)


def test_dilated_block_with_a_stride_skips_no_pixel():
    """Dilation 2 and 4 alone would never read the odd rows and columns."""
    block = prepared(DilatedBlock(3, 4, (2, 4), stride=2))
    block.near.activation = block.far.activation = nn.Identity()
    block.merge[-1] = nn.Identity()  # a ReLU hides some pixels by chance
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
    block = prepared(DeconvResidual(3, 4, 2, upscale, residual=residual))
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


@pytest.mark.parametrize("residual", [True, False])
def test_deconvolution_in_groups_with_a_gated_unit(residual):
    options = {"residual": residual, "unit": "gated", "down_kernel": 4}
    options |= {"down_groups": 4, "up_groups": 2}
    block = prepared(DeconvResidual(8, 32, 6, 2, **options))
    x, detail = maps(2, 8, 4, 6), maps(2, 6, 4, 6)
    first, last = block.down[0].weight, block.deconv.weight
    assert first.shape == (32, 2, 4, 4) and last.shape == (32, 3, 2, 2)
    down = in_groups(convolution, x, first, 4, stride=2, padding=1)
    down = positive_part(normalization(down, block.down[1]))
    groups = ((8, 0), (8, 1), (8, 1), (8, 1))
    coarse = gated(down, block.refine, groups, residual)
    y = normalization(in_groups(transposed, coarse, last, 2, stride=2), block.norm)
    expected = positive_part(y + detail if residual else y)
    assert expected.shape == (2, 6, 4, 6)
    torch.testing.assert_close(block(x, detail), expected)


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


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_pooled_local_branch_sees_means(stride):
    block = prepared(ASPP(3, 4, 5, (2,), stride, pooled=True))
    x = maps(2, 3, 8, 12)
    cells = x.reshape(2, 3, 8 // stride, stride, 12 // stride, stride)
    local = convolution(cells.mean((3, 5)), block.local[1].weight)
    local = positive_part(normalization(local, block.local[2]))
    torch.testing.assert_close(block.local(x), local)
    seen = []
    block.project.register_forward_pre_hook(lambda layer, inputs: seen.extend(inputs))
    assert block(x).shape == (2, 5, 8 // stride, 12 // stride)
    torch.testing.assert_close(seen[0][:, :4], local)
    torch.testing.assert_close(
        seen[0][:, 4:8], separable(x, block.dilated[0], 2, stride)
    )


# ---- the mean of a map ---------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (3, 5), (1, 1)], ids=str)
def test_global_average_is_that_of_torch(size):
    x, plain = maps(2, 6, *size).requires_grad_(), nn.AdaptiveAvgPool2d(1)
    y, expected = GlobalAveragePool()(x), plain(x)
    torch.testing.assert_close(y, expected)
    pull = torch.randn_like(y)
    wanted = torch.autograd.grad(expected, x, pull)
    torch.testing.assert_close(torch.autograd.grad(y, x, pull), wanted)
    with torch.no_grad():
        single = x.detach().float()
        torch.testing.assert_close(GlobalAveragePool()(single), plain(single))


def test_global_average_has_a_gradient_channels_last():
    x = torch.randn(4, 6, 8, 8).contiguous(memory_format=torch.channels_last)
    total = GlobalAveragePool()(x.requires_grad_()).square().sum()
    (gradient,) = torch.autograd.grad(total, x)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


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


def test_an_unknown_kind_of_unit_is_refused():
    with pytest.raises(ValueError, match="not 'dens'"):
        make_unit("dens", 8)


def test_head_drops_what_its_linear_layer_reads():
    head, x, seen = ClassificationHead(6, 10, dropout=0.5), torch.randn(4, 6, 3, 3), []
    head.linear.register_forward_pre_hook(lambda layer, inputs: seen.extend(inputs))
    head(x)
    kept = seen[0] != 0
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(seen[0][kept], 2 * x.mean((2, 3))[kept])
