"""The convolutional block attention module (Woo et al. 2018): which channels matter, then which places."""

import torch
from torch import Tensor, nn


class CBAM(nn.Module):
    """Weights a feature map by channel, then by place; the shape stays.

    ``Mc = sigmoid(MLP(avgpool F) + MLP(maxpool F))``, ``F' = Mc F``, ``Ms = sigmoid(conv7x7[mean_c F'; max_c F'])``,
    ``F'' = Ms F'``. The MLP is one for both poolings.

    Args:
        channels: of the feature map.
        reduction: how many times narrower the MLP's hidden layer is than its ends (at least one unit remains).
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.convolution = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, features: Tensor) -> Tensor:
        """Float ``[B, C, H, W]`` to the same."""
        features = self.channel_weights(features)[:, :, None, None] * features
        return self.place_weights(features) * features

    def channel_weights(self, features: Tensor) -> Tensor:
        """``Mc``: ``[B, C]``, 0 to 1."""
        return torch.sigmoid(self.mlp(features.mean(dim=(2, 3))) + self.mlp(features.amax(dim=(2, 3))))

    def place_weights(self, features: Tensor) -> Tensor:
        """``Ms``: ``[B, 1, H, W]``, 0 to 1."""
        summary = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.convolution(summary))
