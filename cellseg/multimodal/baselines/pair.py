"""What the baselines that pair an image with a text share: their modalities, and what stands in for a missing one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cellseg.errors import InputError


class StandIn(nn.Module):
    """One learned token for the rows of a batch that have no real token.

    The published models know images with a text only. With a stand-in a row without one of the two is answered from the
    other, and a softmax over its tokens is defined.

    Args:
        channels: length of a token.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.token = nn.Parameter(torch.randn(channels) * 0.02)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[B, L, C]`` and mask ``[B, L]`` with a real token in each row; masked tokens become 0.

        Args:
            values: float ``[B, L, C]``; masked tokens may hold anything.
            mask: bool ``[B, L]``.
        """
        if not values.shape[1]:
            values = values.new_zeros(len(values), 1, values.shape[2])
            mask = mask.new_zeros(len(mask), 1)
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        missing = ~mask.any(dim=1, keepdim=True) & first
        values = values.masked_fill(~mask.unsqueeze(2), 0.0)
        return torch.where(missing.unsqueeze(2), self.token.to(values.dtype), values), mask | missing


def check_pair(owner: str, channels: Mapping[str, int], image: str, text: str) -> None:
    """Refuse anything but the two modalities that a baseline pairs.

    Raises:
        InputError: names ``owner`` and what there is.
    """
    if image == text or set(channels) != {image, text}:
        raise InputError(
            f"{owner}: pairs the modalities {image!r} and {text!r} (options image and text), the model has "
            f"{', '.join(map(repr, channels))}"
        )


def shown(attention: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """Attention for pictures: without what stands in for an absent modality, 0 for padding.

    Args:
        attention: ``[B, heads, Q, K]``, with a query or a key too many where there was no token at all.
        queries: bool ``[B, Q]``, which are real.
        keys: bool ``[B, K]``.
    """
    real = queries[:, None, :, None] & keys[:, None, None]
    return attention[:, :, : queries.shape[1], : keys.shape[1]] * real


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension, 0 where ``mask`` (broadcast) is false; at least one entry of a row is true."""
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
