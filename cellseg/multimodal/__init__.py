"""Models of several modalities: images, volumes, sequences, text and tables, fused for one or several tasks.

Importing this registers the networks, their losses and schedules with mmengine's registries. What reads data and
scores predictions is registered by ``cellseg.multimodal.data`` and ``cellseg.multimodal.metrics``.
"""

from cellseg.multimodal import auxiliary, baselines, encoders, fusion, heads
from cellseg.multimodal.description import read_description
from cellseg.multimodal.model import MultimodalModel
from cellseg.multimodal.schedules import PlateauLR, PlateauParamScheduler
from cellseg.multimodal.values import Fused, ModelInputs, Tokens

__all__ = [
    "Fused",
    "ModelInputs",
    "MultimodalModel",
    "PlateauLR",
    "PlateauParamScheduler",
    "Tokens",
    "auxiliary",
    "baselines",
    "encoders",
    "fusion",
    "heads",
    "read_description",
]
