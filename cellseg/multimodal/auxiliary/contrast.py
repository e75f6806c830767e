"""Contrast between modalities: encodings of one sample are to be nearer than those of different samples."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from cellseg.errors import InputError
from cellseg.multimodal.auxiliary.base import Auxiliary, Targets, check_modality
from cellseg.multimodal.heads.base import check_count, check_positive
from cellseg.multimodal.losses import info_nce
from cellseg.multimodal.values import Fused, ModelInputs


@MODELS.register_module()
class ModalityContrast(Auxiliary):
    """InfoNCE between the encodings of every two modalities, mean over the pairs of modalities.

    Needs no targets: the samples of a batch are each other's counterexamples.

    Args:
        channels: of the fused representation; not read.
        token_channels: of the fused tokens by modality; not read.
        encoded_channels: of the encoders by modality.
        modalities: at least two; None: all.
        width: of the common space.
        temperature: above 0; cosine similarities are divided by it.
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
        width: int = 64,
        temperature: float = 0.1,
        name: str = "modality_contrast",
        weight: float = 1.0,
        warmup: int = 0,
    ):
        super().__init__(name, weight, warmup)
        chosen = tuple(encoded_channels if modalities is None else modalities)
        for modality in chosen:
            check_modality("modalities", modality, tuple(encoded_channels))
        if len(set(chosen)) < 2 or len(set(chosen)) < len(chosen):
            raise InputError(f"modalities: expected at least two different ones to compare, found {list(chosen)}")
        self.temperature = check_positive("temperature", temperature)
        check_count("width", width)
        self.project = nn.ModuleDict({modality: nn.Linear(encoded_channels[modality], width) for modality in chosen})

    def loss(self, model_inputs: ModelInputs, fused: Fused, targets: Targets, step: int) -> dict[str, Tensor]:
        """The mean over those pairs of modalities that at least two samples have."""
        spots = {
            modality: functional.normalize(layer(fused.encoded[modality].pooled).float(), dim=1)
            for modality, layer in self.project.items()
        }
        losses = []
        for first, second in combinations(spots, 2):
            rows = model_inputs.present[first] & model_inputs.present[second]
            count = int(rows.sum())
            if count > 1:
                similarity = spots[first][rows] @ spots[second][rows].t() / self.temperature
                own = torch.eye(count, dtype=torch.bool, device=similarity.device)
                losses.append(info_nce(similarity, own))
        return {"loss": torch.stack(losses).mean()} if losses else {}
