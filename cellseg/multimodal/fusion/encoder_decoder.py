"""Encoder-decoder fusion: the fused vector must suffice to rebuild every modality."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.fusion.base import Fusion, pooled_vectors, there
from cellseg.multimodal.values import Fused, Tokens


@dataclass(frozen=True)
class ReconstructedFused(Fused):
    """What a fusion made of all modalities, and what can be rebuilt from it.

    Attributes:
        reconstruction: float ``[B, channels]`` by modality, to be compared with ``encoded[name].pooled``; there for
            absent modalities too, as a guess at them.
    """

    reconstruction: Mapping[str, Tensor] = field(default_factory=dict)


@MODELS.register_module()
class EncoderDecoderFusion(Fusion):
    """All modalities are squeezed into the fused vector, and each one is rebuilt from it.

    Without a loss on the reconstruction (``reconstruction_error``), the decoders learn nothing. Tokens come out as they
    were projected.

    Args:
        channels: see ``Fusion``.
        width: see ``Fusion``.
        hidden: units between concatenation and fused vector, and between that and each modality; None: twice ``width``.
        dropout: share of the hidden units that is dropped in training.

    Raises:
        InputError: ``hidden`` is below 1.
    """

    def __init__(self, channels: Mapping[str, int], width: int, hidden: int | None = None, dropout: float = 0.1):
        super().__init__(channels, width)
        hidden = 2 * width if hidden is None else hidden
        if hidden < 1:
            raise InputError(f"EncoderDecoderFusion: hidden {hidden}: expected 1 or more")
        self.encode = _network(len(self.names) * width, hidden, width, dropout)
        self.decode = nn.ModuleDict({name: _network(width, hidden, count, dropout) for name, count in channels.items()})

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> ReconstructedFused:
        """See ``Fusion.fuse``."""
        pooled = self.encode(pooled_vectors(projected).flatten(1))
        reconstruction = {name: self.decode[name](pooled) for name in self.names}
        return ReconstructedFused(pooled, projected, encoded, {}, reconstruction)


def reconstruction_error(fused: ReconstructedFused) -> Tensor:
    """Mean squared difference between the modalities that are present and what was rebuilt of them: a scalar.

    Each modality counts the same, however many channels it has; each row of it too. What was encoded is the target: no
    gradient goes into it, or the encoders would learn to say nothing.
    """
    errors = []
    for name, rebuilt in fused.reconstruction.items():
        rows = there(fused.encoded[name])
        each = (rebuilt - fused.encoded[name].pooled.detach()).square().mean(dim=1)
        errors.append((each * rows).sum() / rows.sum().clamp(min=1))
    return torch.stack(errors).mean()


def _network(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))
