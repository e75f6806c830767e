"""The head that says whether two modalities belong together, and embeds each so that others can be searched."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from cellseg.errors import InputError
from cellseg.multimodal.heads.base import (
    Head,
    Target,
    check_count,
    output_layers,
    select_rows,
    sigmoid_divergence,
)
from cellseg.multimodal.losses import positive_pairs
from cellseg.multimodal.values import Fused


@MODELS.register_module()
class PairMatcher(Head):
    """Whether the two modalities of a sample belong together, from the fused representation, by embeddings, or both.

    The probability comes from the fused representation (which has seen both), or, without it, from the similarity of
    the embeddings. An embedding depends on its own modality alone, so a collection is embedded once and searched by
    cosine similarity.

    Targets are float ``[B]``, 1 for a pair and 0 for none; optional ``ids`` int64 ``[B, 2]`` are equal for equal
    contents of the first and of the second modality (``[B]``: of the second only), so that a caption that stands in
    the batch twice is not taken for a wrong one. A prediction is ``{"probability", "embeddings"}``, the latter by
    modality (those that the sample has), of length 1.

    Args:
        channels: of the fused representation.
        token_channels: of the fused tokens by modality; not read.
        encoded_channels: of the encoders by modality.
        modalities: the first and the second.
        from_fused: whether the fused representation gives the probability. It learns from samples that are no pairs,
            which the data must hold.
        embedding: width of the embeddings; 0: none.
        embedding_loss: what they learn by, a ``PairLoss`` as a config; None: ``PairInfoNCE``.
        hidden: width of a hidden layer before the probability and each embedding; 0: none.
        dropout: before each last layer.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        encoded_channels: Mapping[str, int],
        modalities: Sequence[str] = ("image", "text"),
        from_fused: bool = True,
        embedding: int = 0,
        embedding_loss: Mapping[str, Any] | None = None,
        hidden: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.modalities = _two_of(modalities, encoded_channels)
        check_count("embedding", embedding, least=0)
        if not from_fused and not embedding:
            raise InputError("embedding: without from_fused there is nothing to match by; give a width, such as 64")
        if embedding_loss is not None and not embedding:
            raise InputError("embedding_loss: there are no embeddings to train; give embedding a width, such as 64")
        self.from_fused = output_layers(channels, 1, hidden, dropout) if from_fused else None
        self.embed = nn.ModuleDict()
        if embedding:
            for name in self.modalities:
                self.embed[name] = output_layers(encoded_channels[name], embedding, hidden, dropout)
            self.embedding_loss = MODELS.build(dict(embedding_loss or {"type": "PairInfoNCE"}))
        self.calibrate = nn.Linear(1, 1) if embedding and not from_fused else None
        if self.calibrate is not None:
            nn.init.constant_(self.calibrate.weight, 10.0)
            nn.init.constant_(self.calibrate.bias, -5.0)

    def forward(self, fused: Fused) -> Tensor:
        """Logits ``[B]`` of belonging together."""
        if self.from_fused is not None:
            return self.from_fused(fused.pooled).squeeze(1)
        first, second = (self.embeddings(fused)[name] for name in self.modalities)
        return self._calibrated((first * second).sum(dim=1))

    def embeddings(self, fused: Fused) -> dict[str, Tensor]:
        """Of each modality ``[B, C]``, of length 1; zeros where a sample lacks it."""
        result = {}
        for name, layers in self.embed.items():
            tokens = fused.encoded[name]
            there = tokens.mask.any(dim=1, keepdim=True)
            result[name] = functional.normalize(layers(tokens.pooled).float(), dim=1) * there
        return result

    def loss(self, fused: Fused, target: Target) -> dict[str, Tensor]:
        """``loss_probability`` and ``loss_embedding``, means over the samples that have a target.

        Args:
            fused: of the batch.
            target: ``values``, ``present`` and perhaps ``ids``.
        """
        losses = {}
        rows = target["present"]
        if self.from_fused is not None and rows.any():
            losses["loss_probability"] = self.row_loss(self(fused)[rows], select_rows(target, rows))
        if self.embed:
            losses.update(self._embedding_losses(fused, target))
        return losses

    def row_loss(self, output: Tensor, target: Target) -> Tensor:
        """Binary cross-entropy of logits ``[N]``."""
        return functional.binary_cross_entropy_with_logits(output.float(), target["values"].float())

    def predict(self, fused: Fused) -> list[dict[str, Any]]:
        """See the class."""
        probabilities = self(fused).float().sigmoid().tolist()
        embeddings = {name: values.tolist() for name, values in self.embeddings(fused).items()}
        there = {name: fused.encoded[name].mask.any(dim=1).tolist() for name in embeddings}
        return [
            {
                "probability": probability,
                "embeddings": {name: values[row] for name, values in embeddings.items() if there[name][row]},
            }
            for row, probability in enumerate(probabilities)
        ]

    def divergence(self, output: Tensor, reference: Tensor) -> Tensor:
        """Kullback-Leibler divergence ``[B]``."""
        return sigmoid_divergence(output[:, None], reference[:, None])

    def _embedding_losses(self, fused: Fused, target: Target) -> dict[str, Tensor]:
        """The embeddings' loss, over the samples that have both modalities, and that of the probability from them."""
        rows = target["present"]
        for name in self.modalities:
            rows = rows & fused.encoded[name].mask.any(dim=1)
        if not rows.any():
            return {}
        embeddings = self.embeddings(fused)
        first, second = (embeddings[name][rows] for name in self.modalities)
        own = select_rows(target, rows)
        positives = positive_pairs(own["values"], *_ids(own.get("ids")))
        losses = {"loss_embedding": self.embedding_loss(first, second, own["values"], positives)}
        if self.calibrate is not None:
            # The probability follows the similarity; it does not shape it.
            similarity = (first @ second.t()).detach()
            losses["loss_probability"] = _balanced_loss(self._calibrated(similarity), positives)
        return losses

    def _calibrated(self, similarity: Tensor) -> Tensor:
        return self.calibrate(similarity.unsqueeze(-1)).squeeze(-1)


def _balanced_loss(logits: Tensor, positives: Tensor) -> Tensor:
    """Binary cross-entropy in which pairs and others count the same; there are far more others in a batch."""
    each = functional.binary_cross_entropy_with_logits(logits.float(), positives.float(), reduction="none")
    parts = [each[rows].mean() for rows in (positives, ~positives) if rows.any()]
    return torch.stack(parts).mean()


def _ids(ids: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if ids is None:
        return None, None
    return (None, ids) if ids.ndim == 1 else (ids[:, 0], ids[:, 1])


def _two_of(modalities: Sequence[str], known: Mapping[str, int]) -> tuple[str, str]:
    names = tuple(modalities)
    if len(names) != 2 or names[0] == names[1]:
        raise InputError(f"modalities: expected two different ones to match, found {list(names)}")
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"modalities: {missing[0]!r} has no encoder; the model encodes {', '.join(known)}")
    return names
