"""VGG16's convolutions, as a pretrained teacher and as the plan of students that learn its layers.

Shapes: B images, S pixels a side. The five max-pool outputs are the distillation layers, numbered
1 to 5: layer i is (B, C_i, S / 2^i, S / 2^i), rounded down.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

CHANNELS = 3
LAYERS = (1, 2, 3, 4, 5)
SMALLEST_IMAGE = 32
"""pixels a side: below, nothing is left after five max-pools"""

StudentWidth = Literal["lightweight", "full"]
Blocks = Sequence[Sequence[int]]
"""widths of the convolutions between one max-pool and the next"""

VGG16: Blocks = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

STUDENT_BLOCKS: Mapping[StudentWidth, Blocks] = MappingProxyType(
    {
        # The one reading of Zhou and Xing (2023) that gives their Table 6 (docs/adr/0004). The last
        # convolution of a block is as wide as the teacher's, but for the first block, which is not
        # distilled.
        "lightweight": ((16, 16), (16, 128), (16, 16, 256), (16, 16, 512), (16, 16, 512)),
        "full": VGG16,
    }
)


class PoolTaps(nn.Module):
    """Convolutions whose max-pool outputs are wanted.

    Images come in [-1, 1] and are standardised as ImageNet's were when VGG16 was trained.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        for name, of_unit_range in (
            ("_mean", (0.485, 0.456, 0.406)),
            ("_std", (0.229, 0.224, 0.225)),
        ):
            value = torch.tensor(of_unit_range).view(1, CHANNELS, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, x_BCSS: Tensor) -> list[Tensor]:
        """Return the outputs of the five max-pools."""
        x = ((x_BCSS + 1) / 2 - self._mean) / self._std
        taps: list[Tensor] = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                taps.append(x)
        return taps

    def after(self, layer: int) -> nn.Sequential:
        """Return the part of the network that comes after a distillation layer."""
        pools = [i for i, part in enumerate(self.features) if isinstance(part, nn.MaxPool2d)]
        return self.features[pools[layer - 1] + 1 :]


class Teacher(PoolTaps):
    """VGG16's convolutional part: the ``features`` of torchvision's ``vgg16()``, under their names.

    Built here because importing torchvision's models costs every worker seconds; a test compares
    the two.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        fan_in = CHANNELS
        for block in VGG16:
            for width in block:
                layers += [nn.Conv2d(fan_in, width, 3, padding=1), nn.ReLU(inplace=True)]
                fan_in = width
            layers.append(nn.MaxPool2d(2))
        super().__init__(nn.Sequential(*layers))


AfterNorm = Callable[[int, bool], Sequence[nn.Module]]
"""the layers after a convolution and its BatchNorm: of so many channels, and before a max-pool"""


def relu(channels: int, before_pool: bool) -> Sequence[nn.Module]:
    """Return the ReLU that VGG16 has after each convolution."""
    return [nn.ReLU(inplace=True)]


class Student(PoolTaps):
    """A network of VGG16's plan with BatchNorm after every convolution.

    Args:
        width: of its convolutions.
        after_norm: what comes after each BatchNorm.
    """

    def __init__(self, width: StudentWidth, after_norm: AfterNorm = relu) -> None:
        layers: list[nn.Module] = []
        fan_in = CHANNELS
        for block in STUDENT_BLOCKS[width]:
            for place, channels in enumerate(block, start=1):
                layers += [
                    nn.Conv2d(fan_in, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    *after_norm(channels, place == len(block)),
                ]
                fan_in = channels
            layers.append(nn.MaxPool2d(2))
        super().__init__(nn.Sequential(*layers))


def tap_shapes(blocks: Blocks, image_size: int) -> list[tuple[int, int, int]]:
    """Return (C_i, S / 2^i, S / 2^i) of the five layers."""
    sides = [image_size >> layer for layer in LAYERS]
    return [(block[-1], side, side) for block, side in zip(blocks, sides, strict=True)]
