"""Encoder of volumes and of series of frames: CT, MRI, stacks, time-lapse."""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.encoders.masked_convolution import MaskedStack
from cellseg.multimodal.encoders.pooling import masked_tokens
from cellseg.multimodal.encoders.positions import GridPositions, sinusoidal_positions
from cellseg.multimodal.values import Tokens


@MODELS.register_module()
class VolumeEncoder(nn.Module):
    """3-D convolutions over frames; a token for each cell of the last map.

    Args:
        width: channels of the tokens.
        in_channels: of a frame.
        strides: step of each residual block, one block for each: (along the frames, along both sides of a frame).
        repeat_frames: frames of a full series. Where fewer were taken, each missing one is a copy of the nearest that
            was: a single frame becomes that frame repeated (the repeat frame strategy of lung nodule series). 0:
            missing frames stay missing.
        position_size: cells along a side of the learned position embedding of a frame.

    Attributes:
        channels: ``width``.
        features: the module that gives the last map, ``[B, width, D', H', W']``, and its mask ``[B, D']``.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        width: int = 64,
        in_channels: int = 1,
        strides: Sequence[tuple[int, int]] = ((1, 2), (2, 2), (2, 2)),
        repeat_frames: int = 0,
        position_size: int = 7,
    ):
        super().__init__()
        _check_options(strides, repeat_frames)
        self.channels = width
        self.repeat_frames = repeat_frames
        self.features = MaskedStack(in_channels, width, 3, [tuple(pair) for pair in strides])
        self.positions = GridPositions(width, position_size)
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens of volumes, frame by frame, each row by row.

        Args:
            values: float ``[B, C, D, H, W]``.
            mask: bool ``[B, D]``, true where a frame was taken; None: everywhere.

        Raises:
            InputError: more frames than ``repeat_frames``, where that is given.
        """
        if mask is None:
            mask = values.new_ones(values.shape[0], values.shape[2], dtype=torch.bool)
        if self.repeat_frames:
            values, mask = self._filled(values, mask)
        features, mask = self.features(values, mask)
        depth, height, width = features.shape[2:]
        along = sinusoidal_positions(depth, self.channels, values.device).T[None, :, :, None, None]
        features = features + along + self.positions(height, width)[:, :, None]
        return masked_tokens(
            self.norm(features.flatten(2).transpose(1, 2)), mask.repeat_interleave(height * width, dim=1)
        )

    def _filled(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if mask.shape[1] > self.repeat_frames:
            raise InputError(
                f"VolumeEncoder: a series of {mask.shape[1]} frames, but repeat_frames is {self.repeat_frames}; give "
                "the number of frames of a full series"
            )
        return fill_frames(values, mask, self.repeat_frames)


def fill_frames(values: Tensor, mask: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """A series in which each missing frame is a copy of the nearest one; of two as near, of the earlier.

    Args:
        values: float ``[B, C, D, H, W]``.
        mask: bool ``[B, D]``, true where a frame was taken.
        frames: of the full series, D or more.

    Returns:
        Float ``[B, C, frames, H, W]`` and bool ``[B, frames]``; all or none of a series' frames are there.
    """
    place = torch.arange(frames, device=values.device)
    distance = (place[:, None] - place[None, : mask.shape[1]]).abs().expand(mask.shape[0], -1, -1)
    nearest = distance.masked_fill(~mask[:, None], frames).argmin(dim=2)
    index = nearest[:, None, :, None, None].expand(-1, values.shape[1], -1, *values.shape[3:])
    return values.gather(2, index), mask.any(dim=1, keepdim=True).expand(-1, frames)


def _check_options(strides: Sequence[tuple[int, int]], repeat_frames: int) -> None:
    pairs = [list(pair) if isinstance(pair, list | tuple) else pair for pair in strides]
    if not pairs or any(not isinstance(pair, list) or len(pair) != 2 or min(pair) < 1 for pair in pairs):
        raise InputError(
            f"VolumeEncoder: strides {pairs}: expected for each block a pair (along the frames, along their sides), "
            "from 1 on"
        )
    if repeat_frames < 0:
        raise InputError(f"VolumeEncoder: repeat_frames {repeat_frames}: expected 0 or the frames of a full series")
