"""A small convolutional network for pictures, quick enough for a CPU."""

from collections.abc import Sequence
from math import gcd

from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.encoders.cbam import CBAM
from cellseg.multimodal.encoders.pooling import tokens_of_map
from cellseg.multimodal.encoders.positions import GridPositions
from cellseg.multimodal.values import Tokens


@MODELS.register_module()
class ConvEncoder(nn.Module):
    """Residual stages with group normalisation (He et al. 2016, Wu and He 2018): a token for each cell of the last map.

    A picture is never compared with others of its batch, so small batches and absent pictures do no harm.

    Args:
        width: channels of the tokens; each stage before the last has half as many as the next, 8 at least.
        in_channels: of the picture.
        strides: step of each stage, one stage for each; the map is as many times smaller as their product.
        blocks: residual blocks of a stage.
        cbam: whether channels and places of the last map are weighted (``CBAM``).
        position_size: cells along a side of the learned position embedding; it is resized to other maps.

    Attributes:
        channels: ``width``.
        features: the module that gives the last map, ``[B, width, H', W']``, before CBAM.
    """

    def __init__(
        self,
        width: int = 128,
        in_channels: int = 3,
        strides: Sequence[int] = (2, 2, 2, 2),
        blocks: int = 1,
        cbam: bool = False,
        position_size: int = 7,
    ):
        super().__init__()
        _check_stages(width, strides, blocks)
        self.channels = width
        self.strides = tuple(strides)
        widths = [max(8, width >> later) for later in reversed(range(len(strides)))]
        widths[-1] = width
        stages = []
        for before, after, stride in zip([in_channels, *widths], widths, strides, strict=False):
            stages.append(_ResidualBlock(before, after, stride))
            stages += [_ResidualBlock(after, after, 1) for _ in range(blocks - 1)]
        self.features = nn.Sequential(*stages)
        self.cbam = CBAM(width) if cbam else nn.Identity()
        self.positions = GridPositions(width, position_size)
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens of pictures, row by row.

        Args:
            values: float ``[B, C, H, W]``.
            mask: pictures have none; it is there for the sake of the other encoders.
        """
        features = self.cbam(self.features(values))
        features = features + self.positions(*features.shape[2:])
        return tokens_of_map(self.norm(features.flatten(2).transpose(1, 2)))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens of a picture of that size in pixels."""
        for stride in self.strides:
            height, width = -(-height // stride), -(-width // stride)
        return height, width


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.GroupNorm(gcd(8, outputs), outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(gcd(8, outputs), outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        return (self.body(values) + self.shortcut(values)).relu()


def _check_stages(width: int, strides: Sequence[int], blocks: int) -> None:
    if width < 1 or blocks < 1:
        raise InputError(f"ConvEncoder: width {width} and blocks {blocks}: expected 1 or more")
    if not strides or any(stride < 1 for stride in strides):
        raise InputError(f"ConvEncoder: strides {list(strides)}: expected one number from 1 on for each stage")
