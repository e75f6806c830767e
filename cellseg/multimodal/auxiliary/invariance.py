"""Invariant-risk penalty: one output scale is to be the best one in every environment."""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.multimodal.auxiliary.base import Auxiliary, Targets, check_head
from cellseg.multimodal.heads.base import select_rows
from cellseg.multimodal.losses import invariance_penalty
from cellseg.multimodal.values import Fused, ModelInputs


@MODELS.register_module()
class InvariantRisk(Auxiliary):
    """IRMv1 (Arjovsky et al. 2019) over the environments of a batch: mean of ``losses.invariance_penalty``.

    What predicts the task in one device, site or study only makes the penalty large. A batch should hold many samples
    of each environment; with ``warmup``, the network finds what predicts at all first.

    Args:
        channels: of the fused representation; not read.
        token_channels: of the fused tokens by modality; not read.
        task: whose risk it is.
        environment: name of the environment among the targets, int64 ``[B]``.
        name: of the loss.
        weight: of the loss.
        warmup: training steps during which the weight grows from 0.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        task: str,
        environment: str = "environment",
        name: str = "invariant_risk",
        weight: float = 1.0,
        warmup: int = 0,
    ):
        super().__init__(name, weight, warmup)
        self.task, self.environment = task, environment

    def check(self, modalities: tuple[str, ...], heads: Mapping[str, nn.Module]) -> None:
        """Refuse a task that the model does not answer."""
        check_head(f"{self.name}: task", self.task, heads)

    def loss(self, model_inputs: ModelInputs, fused: Fused, targets: Targets, step: int) -> dict[str, Tensor]:
        """The penalty over the samples that have both the task's target and an environment."""
        if self.task not in targets or self.environment not in targets:
            return {}
        head, target = model_inputs.heads[self.task], targets[self.task]
        environments = targets[self.environment]
        known = target["present"] & environments["present"]
        output = head(fused)
        penalties = []
        for environment in environments["values"][known].unique():
            rows = known & (environments["values"] == environment)
            own = select_rows(target, rows)
            penalties.append(invariance_penalty(output[rows], lambda scaled, own=own: head.row_loss(scaled, own)))
        return {"loss": torch.stack(penalties).mean()} if penalties else {}
