"""Feature imputer: generates the tokens of a modality that a sample lacks from those that it has."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import pad

from cellseg.errors import InputError
from cellseg.multimodal.auxiliary.base import Auxiliary, Targets, check_modality
from cellseg.multimodal.heads.base import check_count, output_layers
from cellseg.multimodal.losses import regression_loss
from cellseg.multimodal.values import Fused, ModelInputs, Tokens


@MODELS.register_module()
class FeatureImputer(Auxiliary):
    """Stands in for absent modalities: a small network for each gives its tokens and pooled vector.

    It learns on the samples that have the modality and at least one other, towards what the encoder gives (which
    learns nothing from that); it is used, in training and afterwards, where the modality is absent and another is
    there. The fusion then sees the generated tokens as real ones; ``Fused.encoded`` stays without them.

    Args:
        channels: of the fused representation; not read.
        token_channels: of the fused tokens by modality; not read.
        encoded_channels: of the encoders by modality.
        modalities: those that are generated; None: all.
        length: tokens that are generated. They stand for equal parts of the sequence of real tokens.
        hidden: width of the hidden layer.
        name: of the loss.
        weight: of the loss.
        warmup: training steps during which the weight grows from 0.

    Raises:
        InputError: an option that cannot be used.
    """

    least_modalities = 2

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        encoded_channels: Mapping[str, int],
        modalities: Sequence[str] | None = None,
        length: int = 1,
        hidden: int = 64,
        name: str = "imputer",
        weight: float = 1.0,
        warmup: int = 0,
    ):
        super().__init__(name, weight, warmup)
        if len(encoded_channels) < 2:
            raise InputError("the imputer generates a modality from others, and the model has one only; leave it out")
        self.length = check_count("length", length)
        self.channels = dict(encoded_channels)
        self.generate = nn.ModuleDict()
        for modality in self.channels if modalities is None else modalities:
            check_modality("modalities", modality, tuple(self.channels))
            own = self.channels[modality]
            # Besides the vectors, whether each is there: a vector of zeros could be real.
            known = sum(self.channels.values()) - own + len(self.channels) - 1
            self.generate[modality] = output_layers(known, own * (1 + length), check_count("hidden", hidden))

    def complete(
        self, tokens: Mapping[str, Tokens], present: Mapping[str, Tensor]
    ) -> tuple[Mapping[str, Tokens], Mapping[str, Tensor]]:
        """Generated tokens where a modality is absent and another is there, and what is present with them."""
        completed, there = dict(tokens), dict(present)
        for modality in self.generate:
            rows = ~present[modality] & self._others_there(modality, present)
            if rows.any():
                # From what is real alone: the order of the modalities must not matter.
                pooled, values = self._generate(modality, tokens, present)
                completed[modality] = _replace(tokens[modality], rows, pooled, values)
                there[modality] = present[modality] | rows
        return completed, there

    def loss(self, model_inputs: ModelInputs, fused: Fused, targets: Targets, step: int) -> dict[str, Tensor]:
        """Mean squared error of pooled vectors and of tokens, mean over the modalities that can be compared."""
        losses = []
        for modality in self.generate:
            rows = model_inputs.present[modality] & self._others_there(modality, model_inputs.present)
            if rows.any():
                pooled, values = self._generate(modality, fused.encoded, model_inputs.present)
                real = fused.encoded[modality]
                means, filled = segment_means(real.values[rows].detach(), real.mask[rows], self.length)
                known = filled.unsqueeze(-1).expand_as(means).flatten(1)
                losses.append(regression_loss(pooled[rows], real.pooled[rows].detach()))
                losses.append(regression_loss(values[rows].flatten(1), means.flatten(1), known))
        return {"loss": 2 * torch.stack(losses).mean()} if losses else {}

    def _others_there(self, modality: str, present: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([there for name, there in present.items() if name != modality]).any(dim=0)

    def _generate(
        self, modality: str, tokens: Mapping[str, Tokens], present: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Pooled ``[B, C]`` and tokens ``[B, length, C]``, for all samples."""
        others = [name for name in self.channels if name != modality]
        flags = torch.stack([present[name] for name in others], dim=1)
        known = torch.cat([tokens[name].pooled for name in others] + [flags.to(torch.float32)], dim=1)
        generated = self.generate[modality](known).unflatten(1, (1 + self.length, self.channels[modality]))
        return generated[:, 0], generated[:, 1:]


def segment_means(values: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means of equal parts of sequences: token i of n real ones belongs to part ``i * count // n``.

    Args:
        values: ``[B, L, C]``.
        mask: bool ``[B, L]``, true for real tokens, wherever they stand.
        count: parts.

    Returns:
        Means ``[B, count, C]``, zeros for parts that no token fell into, and which parts have one, bool
        ``[B, count]``.
    """
    place = mask.cumsum(dim=1) - 1
    part = (place * count) // mask.sum(dim=1, keepdim=True).clamp(min=1)
    chosen = (part.unsqueeze(1) == torch.arange(count, device=values.device)[None, :, None]) & mask.unsqueeze(1)
    shares = chosen.to(values.dtype)
    return shares @ values / shares.sum(dim=2, keepdim=True).clamp(min=1), chosen.any(dim=2)


def _replace(tokens: Tokens, rows: Tensor, pooled: Tensor, values: Tensor) -> Tokens:
    """The tokens, with generated ones (and nothing else) in some rows."""
    length = max(tokens.values.shape[1], values.shape[1])
    real = pad(tokens.values, (0, 0, 0, length - tokens.values.shape[1]))
    made = pad(values, (0, 0, 0, length - values.shape[1]))
    real_mask = pad(tokens.mask, (0, length - tokens.mask.shape[1]))
    made_mask = torch.arange(length, device=rows.device) < values.shape[1]
    return Tokens(
        torch.where(rows[:, None, None], made, real),
        torch.where(rows[:, None], made_mask, real_mask),
        torch.where(rows[:, None], pooled, tokens.pooled),
    )
