"""The reference network: ResNet-8 of MLPerf Tiny (Banbury et al. 2021).

Dense 3 x 3 convolutions with shortcuts; of our six parts it has the first convolution
and the head. 78k parameters at width 16.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from cifar_helpers.blocks import ClassificationHead, InitialConvBlock, conv_norm_relu


@dataclass(frozen=True)
class ResNet8Config:
    """Width 16 is MLPerf Tiny's; 24 has about as many parameters as our networks."""

    classes: int = 10
    width: int = 16  # channels of the first stage; doubled in the second and third


class ResidualStage(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, figure 2).

    Maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.first = conv_norm_relu(in_channels, out_channels, 3, stride, padding=1)
        self.second = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.second(self.first(x)) + self.shortcut(x))


class ResNet8(nn.Module):
    """Normalized images (N, 3, 32, 32) to log-probabilities (N, classes)."""

    def __init__(self, config: ResNet8Config | None = None):
        super().__init__()
        self.config = config = config or ResNet8Config()
        width = config.width
        self.initial = InitialConvBlock(3, width)
        self.stages = nn.Sequential(
            ResidualStage(width, width, stride=1),  # (N, width, 32, 32)
            ResidualStage(width, 2 * width, stride=2),  # (N, 2 width, 16, 16)
            ResidualStage(2 * width, 4 * width, stride=2),  # (N, 4 width, 8, 8)
        )
        self.head = ClassificationHead(4 * width, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stages(self.initial(images)))
