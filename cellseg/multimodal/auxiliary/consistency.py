"""Consistency: a sample is to get the same answer when one of its modalities is taken away."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.multimodal.auxiliary.base import Auxiliary, Targets, check_head
from cellseg.multimodal.dropping import drop_one
from cellseg.multimodal.heads.base import is_comparable
from cellseg.multimodal.values import Fused, ModelInputs, keep_present


@MODELS.register_module()
class Consistency(Auxiliary):
    """Divergence of the answers without one modality, drawn for each sample, from those with all it has.

    The answer with all modalities is the teacher: no gradient goes through it. Samples that have one modality only do
    not count.

    Args:
        channels: of the fused representation; not read.
        token_channels: of the fused tokens by modality; not read.
        tasks: whose answers; None: all that can be compared.
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
        tasks: Sequence[str] | None = None,
        name: str = "consistency",
        weight: float = 1.0,
        warmup: int = 0,
    ):
        super().__init__(name, weight, warmup)
        self.tasks = None if tasks is None else tuple(tasks)

    def check(self, modalities: tuple[str, ...], heads: Mapping[str, nn.Module]) -> None:
        """Refuse tasks that the model does not answer."""
        for task in self.tasks or ():
            check_head(f"{self.name}: tasks", task, heads)

    def loss(self, model_inputs: ModelInputs, fused: Fused, targets: Targets, step: int) -> dict[str, Tensor]:
        """Mean over samples and tasks."""
        left, rows = drop_one(model_inputs.present)
        if not rows.any():
            return {}
        tokens = {name: keep_present(part, left[name]) for name, part in fused.encoded.items()}
        partial = model_inputs.fuse(tokens, left)
        losses = [
            head.divergence(head(partial)[rows], head(fused)[rows].detach()).mean()
            for task, head in model_inputs.heads.items()
            if (is_comparable(head) if self.tasks is None else task in self.tasks)
        ]
        return {"loss": torch.stack(losses).mean()} if losses else {}
