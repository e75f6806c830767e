"""What flows between encoders, fusion and heads: token sequences with masks, and what was fused of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Tokens:
    """One modality of a batch as a sequence of vectors.

    Attributes:
        values: float ``[B, L, C]``.
        mask: bool ``[B, L]``, true where a token is real; padding and absent modalities are false.
        pooled: float ``[B, C]``, the sequence in one vector.
        ids: int64 ``[B, L]``, the word that each token stands for; None where tokens stand for no words.
    """

    values: Tensor
    mask: Tensor
    pooled: Tensor
    ids: Tensor | None = None

    @property
    def channels(self) -> int:
        """C, the length of a token."""
        return self.values.shape[-1]


@dataclass(frozen=True)
class Fused:
    """What a fusion makes of the tokens of all modalities.

    Attributes:
        pooled: float ``[B, C]``, the fused representation.
        tokens: of every modality, after it has looked at the others.
        encoded: of every modality, as its encoder gave them.
        attention: weights by name, float ``[B, heads, queries, keys]``, for pictures; empty where nothing attends.
    """

    pooled: Tensor
    tokens: Mapping[str, Tokens]
    encoded: Mapping[str, Tokens]
    attention: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelInputs:
    """What an auxiliary loss sees of a training step besides what was fused.

    Attributes:
        inputs: of every modality of the batch, ``values`` and, where it has one, ``mask``.
        present: bool ``[B]`` of every modality, after modality dropout.
        heads: of the model, by task.
        encode: the model's encoders, from ``inputs`` and ``present`` of some modalities to their tokens.
        fuse: the model's fusion, from the tokens and ``present`` of all modalities.
    """

    inputs: Mapping[str, Mapping[str, Tensor]]
    present: Mapping[str, Tensor]
    heads: Mapping[str, nn.Module]
    encode: Callable[[Mapping[str, Mapping[str, Tensor]], Mapping[str, Tensor]], dict[str, Tokens]]
    fuse: Callable[[Mapping[str, Tokens], Mapping[str, Tensor]], Fused]


def absent_tokens(count: int, channels: int, device: torch.device | None = None) -> Tokens:
    """Tokens of a modality that no sample of a batch has: one masked token of zeros for each.

    Args:
        count: B, samples of the batch.
        channels: C.
        device: of the tensors.
    """
    values = torch.zeros(count, 1, channels, device=device)
    return Tokens(values, torch.zeros(count, 1, dtype=torch.bool, device=device), values[:, 0])


def keep_present(tokens: Tokens, present: Tensor) -> Tokens:
    """Masked zeros where a sample lacks the modality (bool ``[B]`` is false), the tokens as they are elsewhere."""
    return Tokens(
        tokens.values.masked_fill(~present[:, None, None], 0.0),
        tokens.mask & present[:, None],
        tokens.pooled.masked_fill(~present[:, None], 0.0),
        tokens.ids,
    )


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real tokens.

    Args:
        values: float ``[B, L, C]``.
        mask: bool ``[B, L]``.

    Returns:
        Float ``[B, C]``; zeros where no token is real.
    """
    weights = mask.to(values.dtype).unsqueeze(-1)
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1)


def full_mask(values: Tensor) -> Tensor:
    """The mask of a sequence without padding: bool ``[B, L]`` for float ``[B, L, C]``."""
    return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
