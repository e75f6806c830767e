"""The head that answers a question about the other modalities, choosing from known answers."""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor

from cellseg.multimodal.heads.base import (
    Head,
    Target,
    check_choice,
    check_count,
    output_layers,
    sigmoid_divergence,
    softmax_divergence,
)
from cellseg.multimodal.losses import hard_answer_loss, soft_answer_loss
from cellseg.multimodal.values import Fused


@MODELS.register_module()
class AnswerClassifier(Head):
    """One of A known answers from the fused representation.

    Targets are float ``[B, A]``, the score of each answer, 0 to 1. A prediction is ``{"answer", "probabilities"}``.

    Args:
        channels: of the fused representation.
        token_channels: of the fused tokens by modality; not read.
        num_answers: A.
        targets: ``soft``: every answer has a probability of its own, trained towards its score. ``hard``: one choice
            among all, trained towards the best answer.
        hidden: width of a hidden layer; 0: none.
        dropout: before the last layer.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        num_answers: int,
        targets: str = "soft",
        hidden: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        check_count("num_answers", num_answers, least=2)
        self.soft = check_choice("targets", targets, ("soft", "hard")) == "soft"
        self.layers = output_layers(channels, num_answers, hidden, dropout)

    def forward(self, fused: Fused) -> Tensor:
        """Logits ``[B, A]``."""
        return self.layers(fused.pooled)

    def row_loss(self, output: Tensor, target: Target) -> Tensor:
        """Cross-entropy with soft or hard targets, see ``losses``."""
        return (soft_answer_loss if self.soft else hard_answer_loss)(output, target["values"])

    def predict(self, fused: Fused) -> list[dict[str, Any]]:
        """See the class."""
        logits = self(fused).float()
        probabilities = logits.sigmoid() if self.soft else logits.softmax(dim=1)
        answers = logits.argmax(dim=1).tolist()
        rows = probabilities.tolist()
        return [{"answer": answer, "probabilities": row} for answer, row in zip(answers, rows, strict=True)]

    def divergence(self, output: Tensor, reference: Tensor) -> Tensor:
        """Kullback-Leibler divergence ``[B]``."""
        return (sigmoid_divergence if self.soft else softmax_divergence)(output, reference)
