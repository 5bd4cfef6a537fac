"""The six building blocks of the network, each readable on one screen.

Shapes are written (N, C, H, W): images in the batch, channels, height, width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_helpers.depthwise import DepthwiseConv2d


class InitialConvBlock(nn.Module):
    """Part 1: a dense convolution turns three colours into feature maps.

    Convolution -> batch normalization (Ioffe & Szegedy 2015, algorithm 1) -> ReLU
    -> spatial dropout, which drops whole feature maps (Tompson et al. 2015, section 3).
    The kernel is 3 x 3; with a stride s it is 2 s x 2 s, so that patches overlap.
    Maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).
    """

    def __init__(self, in_channels, out_channels, dropout=0.0, stride=1):
        super().__init__()
        size, padding = (3, 1) if stride == 1 else (2 * stride, stride // 2)
        self.conv = nn.Conv2d(
            in_channels, out_channels, size, stride, padding, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)  # (N, out_channels, H / stride, W / stride)
        x = self.activation(self.norm(x))
        return self.dropout(x)


class DepthwiseSeparableConv(nn.Module):
    """One dilated 3 x 3 filter per channel, then a 1 x 1 convolution across channels.

    Depthwise -> pointwise (Howard et al. 2017, MobileNets, section 3.1) -> batch
    normalization -> ReLU. Where the shape stays the same, the input is added before
    the ReLU (He et al. 2016, equation 1). Nothing stands between the two convolutions,
    as in Xception (Chollet 2017, section 4.7), not even a normalization.
    Maps (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))
    with 9 in_channels + in_channels * out_channels + 2 out_channels parameters.
    """

    def __init__(self, in_channels, out_channels, dilation=1, stride=1, residual=True):
        super().__init__()
        self.depthwise = DepthwiseConv2d(in_channels, dilation, stride)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU(inplace=True)
        self.residual = residual and stride == 1 and in_channels == out_channels

    def zero_init_residual(self) -> None:
        """Begin as the shortcut alone: with gamma = 0 the filters add nothing yet.

        (Goyal et al. 2017, section 5.1.) Without a shortcut, nothing is changed.
        """
        if self.residual:
            nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x)  # (N, in_channels, H / stride, W / stride)
        y = self.norm(self.pointwise(y))  # (N, out_channels, H / stride, W / stride)
        if self.residual:
            y += x
        return self.activation(y)


class DenseConv(nn.Module):
    """What a depthwise separable convolution stands for: every channel reads every one.

    A dilated 3 x 3 convolution -> batch normalization -> plus the input -> ReLU.
    Maps (N, channels, H, W) to the same shape, with 9 channels^2 + 2 channels
    parameters.
    """

    def __init__(self, channels: int, dilation: int = 1, residual: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        self.activation = nn.ReLU(inplace=True)
        self.residual = residual

    def zero_init_residual(self) -> None:
        """Begin as the shortcut alone: with gamma = 0 the filters add nothing yet.

        (Goyal et al. 2017, section 5.1.) Without a shortcut, nothing is changed.
        """
        if self.residual:
            nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))  # (N, channels, H, W)
        if self.residual:
            y += x
        return self.activation(y)


class GatedUnit(nn.Module):
    """Filters of several dilations side by side, then a gate instead of a ReLU.

    The channels are split into four groups of a quarter each, rounded down to a
    multiple of 8; the last takes the rest. The first group stays as it is, the others
    go through depthwise 3 x 3 filters of dilation 1, d / 2 and d. After batch
    normalization, a 1 x 1 convolution gives twice the channels: of its halves a and b,
    a * silu(b) goes on, so b decides how much of a does (gated linear units: Dauphin et
    al. 2017, section 2; with SiLU: Shazeer 2020, SwiGLU). Then 1 x 1 convolution ->
    batch normalization -> plus the input. No ReLU follows: nothing cuts the shortcut.
    Maps (N, channels, H, W) to the same shape, for 32 channels or more, with
    3 channels^2 + 6 channels + 9 (channels - those of the first group) parameters.
    """

    def __init__(self, channels: int, dilation: int = 1, residual: bool = True):
        super().__init__()
        size = channels // 4 // 8 * 8  # multiples of 8 suit the hardware
        if size == 0:
            raise ValueError(f"a gated unit needs at least 32 channels, not {channels}")
        groups = dict.fromkeys((1, max(dilation // 2, 1), dilation), 0)
        groups[1] += size
        groups[max(dilation // 2, 1)] += size
        groups[dilation] += channels - 3 * size  # the last takes the rest
        self.sizes = [size, *groups.values()]  # equal dilations make one group
        self.depthwise = nn.ModuleList(
            DepthwiseConv2d(count, d) for d, count in groups.items()
        )
        self.norm = nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.last_norm = nn.BatchNorm2d(channels)
        self.residual = residual

    def zero_init_residual(self) -> None:
        """Begin as the shortcut alone: with gamma = 0 the filters add nothing yet.

        (Goyal et al. 2017, section 5.1.) Without a shortcut, nothing is changed.
        """
        if self.residual:
            nn.init.zeros_(self.last_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split(self.sizes, dim=1)  # the first stays as it is
        seen = [layer(parts[k]) for k, layer in enumerate(self.depthwise, start=1)]
        y = self.norm(torch.cat([parts[0], *seen], dim=1))  # (N, channels, H, W)
        a, b = self.expand(y).chunk(2, dim=1)  # (N, channels, H, W) each
        y = self.last_norm(self.project(a * F.silu(b)))  # (N, channels, H, W)
        if self.residual:
            y += x
        return y


def make_unit(kind: str, channels: int, dilation: int = 1, residual: bool = True):
    """A layer that keeps a map's shape: "separable", "dense" or "gated".

    Raises ValueError for another kind.
    """
    if kind == "gated":
        return GatedUnit(channels, dilation, residual)
    if kind == "dense":
        return DenseConv(channels, dilation, residual)
    if kind == "separable":
        return DepthwiseSeparableConv(channels, channels, dilation, residual=residual)
    raise ValueError(f'kind must be "separable", "dense" or "gated", not {kind!r}')


class DilatedBlock(nn.Module):
    """Part 2: pairs of units, the second looking farther than the first.

    A unit is a depthwise separable convolution, a dense one, or a gated unit.
    Dilation d spreads the nine taps of a 3 x 3 filter over (2 d + 1) x (2 d + 1)
    pixels at no extra cost (Yu & Koltun 2016, equation 2). Both see the map at its full
    size. Only then a stride s is taken, by a dense convolution that looks at all pixels
    in between: with even dilations alone, even and odd rows would never meet (gridding;
    Wang et al. 2018, section 3.2), and a stride would simply drop one of them.
    With `first_step_groups`, the step comes before the units, which then see smaller
    and wider maps; it is 2 s x 2 s, and mixes channels of the same group only.
    Maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        dilations,
        stride=1,
        *,
        residual=True,
        pairs=1,
        unit="separable",
        first_step_groups=None,
    ):
        super().__init__()
        self.step_first = first_step_groups is not None
        channels = out_channels if self.step_first else in_channels
        self.near, self.far, *more = (
            make_unit(unit, channels, d, residual) for d in dilations * pairs
        )
        self.more = nn.Sequential(*more)  # the same again, pairs - 1 times
        self.merge = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            size = max(3, 2 * stride - 1)  # neighbouring patches overlap
            padding, groups = size // 2, 1
            if self.step_first:
                size, padding = (2 * stride, stride // 2) if stride > 1 else (3, 1)
                groups = first_step_groups
            self.merge = conv_norm_relu(
                in_channels, out_channels, size, stride, padding, groups
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.step_first:
            x = self.merge(x)  # (N, out_channels, H / stride, W / stride)
        x = self.near(x)  # the units keep the shape
        x = self.more(self.far(x))
        return x if self.step_first else self.merge(x)


class ChannelAttention(nn.Module):
    """Part 3: every channel is multiplied by a weight that depends on the whole image.

    Squeeze-and-excitation (Hu et al. 2018): squeeze = mean over the map (equation 2),
    excitation = two small layers and a sigmoid (equation 3), scale = multiplication
    (equation 4). Maps (N, channels, H, W) to the same shape.
    """

    def __init__(self, channels: int, reduction: int = 4):
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = GlobalAveragePool()
        self.excitation = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def weights(self, x: Tensor) -> Tensor:
        """The weight of each channel, between 0 and 1, as (N, channels, 1, 1)."""
        return self.excitation(self.squeeze(x))  # (N, channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weights(x)


class DeconvResidual(nn.Module):
    """Part 4: down to a coarse map, up by transposed convolution, plus a shortcut.

    A strided convolution halves the map; further ones, or gated units, refine it. A
    transposed convolution (Zeiler et al. 2010) brings it back to the size of `detail`,
    a map from earlier, which is added to it (the long shortcut of Ronneberger et al.
    2015, with a sum, as in He et al. 2016, equation 1). The steps down and up mix all
    channels, or with groups only those of the same group (Xie et al. 2017, section 3).
    Kernel and stride of the transposed convolution are equal: patches never overlap.
    Maps x (N, in_channels, H, W) and detail (N, out_channels, s H, s W) to
    (N, out_channels, s H, s W), with s = upscale / 2. H and W must be even.
    """

    def __init__(
        self,
        in_channels,
        hidden_channels,
        out_channels,
        upscale=4,
        *,
        residual=True,
        unit="separable",
        down_kernel=3,
        down_groups=1,
        up_groups=1,
        refining_units=1,
    ):
        super().__init__()
        hidden = hidden_channels
        self.down = conv_norm_relu(in_channels, hidden, down_kernel, 2, 1, down_groups)
        units = [
            GatedUnit(hidden, residual=residual)  # it has a shortcut of its own
            if unit == "gated"
            else conv_norm_relu(hidden, hidden, 3, padding=1)
            for _ in range(refining_units)
        ]
        self.refine = units[0] if refining_units == 1 else nn.Sequential(*units)
        self.add_refined = residual and unit != "gated"
        self.deconv = nn.ConvTranspose2d(
            hidden, out_channels, upscale, upscale, groups=up_groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU(inplace=True)
        self.residual = residual

    def forward(self, x: Tensor, detail: Tensor) -> Tensor:
        x = self.down(x)  # (N, hidden_channels, H / 2, W / 2)
        refined = self.refine(x)  # (N, hidden_channels, H / 2, W / 2)
        x = refined + x if self.add_refined else refined
        x = self.norm(self.deconv(x))  # (N, out_channels, s H, s W)
        if self.residual:
            x += detail
        return self.activation(x)


class ASPP(nn.Module):
    """Part 5: atrous spatial pyramid pooling, several scales side by side.

    A local branch, one dilated branch per rate and one branch that sees the whole image
    are concatenated and mixed by a 1 x 1 convolution (Chen et al. 2017, DeepLabv3,
    section 3.3). With stride s the branches are evaluated at every s-th place only. So
    that no pixel is skipped, the local branch then is an s x s convolution, or, if
    `pooled`, the mean of s x s pixels and a 1 x 1 convolution, with fewer weights.
    Maps (N, in_channels, H, W) to (N, out_channels, H / s, W / s).
    """

    def __init__(
        self, in_channels, branch_channels, out_channels, rates, stride=1, pooled=False
    ):
        super().__init__()
        if pooled:
            self.local = conv_norm_relu(in_channels, branch_channels, 1)
            self.local.insert(0, nn.AvgPool2d(stride))
        else:
            self.local = conv_norm_relu(in_channels, branch_channels, stride, stride)
        self.dilated = nn.ModuleList(
            DepthwiseSeparableConv(in_channels, branch_channels, rate, stride, False)
            for rate in rates
        )
        self.whole_image = nn.Sequential(  # no batch norm: there is one value per map
            GlobalAveragePool(),
            nn.Conv2d(in_channels, branch_channels, 1),
            nn.ReLU(inplace=True),
        )
        joined_channels = branch_channels * (len(rates) + 2)
        self.project = conv_norm_relu(joined_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.local(x)] + [branch(x) for branch in self.dilated]
        whole = self.whole_image(x)  # (N, branch_channels, 1, 1)
        branches.append(whole.expand_as(branches[0]))  # (N, branch_channels, H/s, W/s)
        joined = torch.cat(branches, dim=1)  # (N, joined_channels, H / s, W / s)
        return self.project(joined)  # (N, out_channels, H / s, W / s)


class ClassificationHead(nn.Module):
    """Part 6: global average pooling, a fully connected layer, LogSoftmax.

    Global average pooling (Lin et al. 2014, section 3.2) makes the head independent of
    the map's size. Maps (N, in_channels, H, W) to log-probabilities (N, classes).
    """

    def __init__(self, in_channels: int, classes: int, dropout: float = 0.0):
        super().__init__()
        self.pool = GlobalAveragePool()
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_channels, classes)
        self.log_softmax = nn.LogSoftmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(self.pool(x))  # (N, in_channels)
        x = self.linear(self.dropout(x))  # (N, classes)
        return self.log_softmax(x)


def conv_norm_relu(
    in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1
):
    """Convolution without bias -> batch normalization -> ReLU."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class GlobalAveragePool(nn.Module):
    """The mean of each map: (N, C, H, W) to (N, C, 1, 1).

    As `nn.AdaptiveAvgPool2d(1)`, whose gradient forgets that the maps lie channels
    last, so that on a CPU later layers copy it back and forth.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # ONNX has no pooling over a size that is a tensor
            return x.mean((2, 3), keepdim=True)
        return F.avg_pool2d(x, x.shape[2:])
