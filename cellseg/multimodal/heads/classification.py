"""The head that says which class a sample has, or which of several labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from cellseg.errors import InputError
from cellseg.multimodal.heads.base import (
    Head,
    Target,
    check_count,
    output_layers,
    sigmoid_divergence,
    softmax_divergence,
)
from cellseg.multimodal.losses import cross_entropy, multi_label_loss
from cellseg.multimodal.values import Fused


@MODELS.register_module()
class FusedClassifier(Head):
    """Classes from the fused representation.

    Targets are int64 ``[B]``; with ``multi_label`` float ``[B, K]`` of 0 to 1, where a ``mask`` says which are known.
    A prediction is ``{"label", "probabilities"}``; with ``multi_label`` ``{"labels", "probabilities"}``, the labels
    being those of probability 0.5 or more.

    Args:
        channels: of the fused representation.
        token_channels: of the fused tokens by modality; not read.
        num_classes: K.
        multi_label: whether a sample has any number of labels instead of exactly one.
        hidden: width of a hidden layer; 0: none.
        dropout: before the last layer.
        class_weights: K numbers, of a sample in the loss by its class (not with ``multi_label``); None: all count
            the same.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        num_classes: int,
        multi_label: bool = False,
        hidden: int = 0,
        dropout: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__()
        check_count("num_classes", num_classes, least=1 if multi_label else 2)
        self.multi_label = multi_label
        self.layers = output_layers(channels, num_classes, hidden, dropout)
        weights = None if class_weights is None else _checked_weights(class_weights, num_classes, multi_label)
        # Settings of the training, not learned: they stay out of the checkpoint.
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, fused: Fused) -> Tensor:
        """Logits ``[B, K]``."""
        return self.layers(fused.pooled)

    def row_loss(self, output: Tensor, target: Target) -> Tensor:
        """Cross-entropy, see ``losses``."""
        if self.multi_label:
            return multi_label_loss(output, target["values"], target.get("mask"))
        return cross_entropy(output, target["values"], self.class_weights)

    def predict(self, fused: Fused) -> list[dict[str, Any]]:
        """See the class."""
        logits = self(fused).float()
        if self.multi_label:
            return [
                {"labels": [label for label, value in enumerate(row) if value >= 0.5], "probabilities": row}
                for row in logits.sigmoid().tolist()
            ]
        labels = logits.argmax(dim=1).tolist()
        rows = logits.softmax(dim=1).tolist()
        return [{"label": label, "probabilities": row} for label, row in zip(labels, rows, strict=True)]

    def divergence(self, output: Tensor, reference: Tensor) -> Tensor:
        """Kullback-Leibler divergence ``[B]``."""
        return (sigmoid_divergence if self.multi_label else softmax_divergence)(output, reference)


def _checked_weights(weights: Sequence[float], num_classes: int, multi_label: bool) -> Tensor:
    if multi_label:
        raise InputError("class_weights: are for one class a sample; leave them out with multi_label")
    if len(weights) != num_classes:
        raise InputError(f"class_weights: expected {num_classes}, one a class, found {len(weights)}")
    values = torch.tensor(weights, dtype=torch.float32)
    if not (torch.isfinite(values) & (values > 0)).all():
        raise InputError(f"class_weights: expected numbers above 0, found {list(weights)}")
    return values
