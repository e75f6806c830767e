"""Where a token stands: learned positions on a grid, computed ones along a sequence."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class GridPositions(nn.Module):
    """A learned vector for every cell of a grid, resized to feature maps of other sizes.

    Args:
        width: length of a vector.
        size: cells along a side of the learned grid.
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.grid = nn.Parameter(torch.randn(1, width, size, size) * 0.02)

    def forward(self, height: int, width: int) -> Tensor:
        """The vectors of a feature map: ``[1, C, height, width]``."""
        if self.grid.shape[2:] == (height, width):
            return self.grid
        return interpolate(self.grid, size=(height, width), mode="bilinear", align_corners=False)


def sinusoidal_positions(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines of the position at wavelengths from 2 pi to 20000 pi (Vaswani et al. 2017, section 3.5).

    They do not depend on the length of the sequence, so padding moves no token.

    Returns:
        Float ``[length, width]``: the sines in the first half (rounded up) of a vector, the cosines in the second.
    """
    waves = (width + 1) // 2
    rates = torch.exp(torch.arange(waves, device=device) * (-math.log(10000.0) / waves))
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]
