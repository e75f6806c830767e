"""Sliding windows over a sequence, each encoded by itself."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.encoders.pooling import masked_tokens
from cellseg.multimodal.values import Tokens, full_mask


@MODELS.register_module()
class SlidingWindowEncoder(nn.Module):
    """Cuts a sequence into windows; a token for each is what an encoder makes of it.

    Windows begin every ``step`` steps, until each real step is in one. They are a set: no position is added, so that
    windows drawn at random in training and those at fixed places afterwards mean the same.

    Args:
        encoder: config of the sequence encoder of one window.
        length: steps of a window.
        step: from the beginning of a window to that of the next, 1 to ``length``.
        draw: windows at random places that training sees of each sequence, each place equally likely: rare recordings
            of long events then never look the same twice. 0: training sees the fixed windows too.

    Attributes:
        channels: of the encoder.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(self, encoder: Mapping[str, Any], length: int, step: int, draw: int = 0):
        super().__init__()
        if not 1 <= step <= length:
            raise InputError(f"SlidingWindowEncoder: step {step}: expected 1 to length ({length})")
        if draw < 0:
            raise InputError(f"SlidingWindowEncoder: draw {draw}: expected 0 or more")
        self.encoder = MODELS.build(dict(encoder))
        self.channels = self.encoder.channels
        self.length, self.step, self.draw = length, step, draw

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens of sequences, one for each window.

        Args:
            values: float ``[B, T, C]``.
            mask: bool ``[B, T]``, true where a step is real; None: everywhere.
        """
        mask = full_mask(values) if mask is None else mask
        starts = self._draw_starts(mask) if self.training and self.draw else self._fixed_starts(mask)
        places = starts.unsqueeze(2) + torch.arange(self.length, device=values.device)
        inside = places < mask.shape[1]
        places = places.clamp(max=mask.shape[1] - 1)
        rows = torch.arange(len(values), device=values.device)[:, None, None]
        real = mask[rows, places] & inside
        windows = values[rows, places].masked_fill(~real.unsqueeze(3), 0)
        pooled = self.encoder(windows.flatten(0, 1), real.flatten(0, 1)).pooled.unflatten(0, starts.shape)
        return masked_tokens(pooled, self._needed(starts, real))

    def _fixed_starts(self, mask: Tensor) -> Tensor:
        """First steps of the windows, ``[B, W]``."""
        count = 1 + max(0, -(-(mask.shape[1] - self.length) // self.step))
        return (torch.arange(count, device=mask.device) * self.step).expand(len(mask), -1)

    def _draw_starts(self, mask: Tensor) -> Tensor:
        ends = (torch.arange(1, mask.shape[1] + 1, device=mask.device) * mask).amax(dim=1)
        room = (ends - self.length).clamp(min=0) + 1
        return (torch.rand(len(mask), self.draw, device=mask.device) * room.unsqueeze(1)).long()

    def _needed(self, starts: Tensor, real: Tensor) -> Tensor:
        """Which windows count, ``[B, W]``."""
        if self.training and self.draw:
            return real.any(dim=2)
        # A window whose real steps are all in the one before it is there for the sake of longer sequences only.
        new = torch.arange(self.length, device=real.device) >= self.length - self.step
        return (real & (new | (starts == 0).unsqueeze(2))).any(dim=2)
