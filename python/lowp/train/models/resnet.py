"""Residual networks (He et al. 2016), version 1.5: a bottleneck's stride is in its 3x3 convolution.

Names of parameters are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence

from lowp import nn
from lowp.nn import Tensor, init
from lowp.nn import functional as F  # noqa: N812 - the usual name


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    conv.weight.data[...] = init.kaiming_normal_fan_out(conv.weight.shape)
    return conv


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(_conv(inputs, width, 1, stride), nn.BatchNorm2d(width))
        else:
            self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, width, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and the shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        else:
            self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, 4 width, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Scores of classes for images [N, channels, H, W].

    Args:
        block: BasicBlock or Bottleneck.
        layers: blocks of each stage; each stage but the first halves the resolution and doubles the width.
        classes: scores.
        channels: of images.
        width: of the first stage.
        small: for images of about 32 pixels: begins with one 3x3 convolution of stride 1 instead of 7x7 of stride 2 and
            a pool.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        classes: int = 1000,
        channels: int = 3,
        width: int = 64,
        small: bool = False,
    ) -> None:
        super().__init__()
        self.small = small
        self.conv1 = _conv(channels, width, 3 if small else 7, 1 if small else 2)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(layers):
            blocks = []
            for i in range(count):
                blocks.append(block(inputs, width << stage, 2 if stage > 0 and i == 0 else 1))
                inputs = (width << stage) * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(layers)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, classes]"""
        x = F.relu(self.bn1(self.conv1(x)))
        if not self.small:
            x = F.max_pool2d(x, (3, 3), (2, 2), (1, 1))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(F.flatten(F.global_avg_pool2d(x)))


def resnet50(classes: int = 1000) -> ResNet:
    """ResNet-50 v1.5 for images of 224 pixels."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes)


def resnet18(classes: int = 1000, *, channels: int = 3, width: int = 64, small: bool = False) -> ResNet:
    """ResNet-18; narrower and for small images by choice."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, channels, width, small)
