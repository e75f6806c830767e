"""Losses beside those of the tasks. Importing this registers them with mmengine's ``MODELS``."""

from cellseg.multimodal.auxiliary.adversary import DomainAdversary
from cellseg.multimodal.auxiliary.base import Auxiliary
from cellseg.multimodal.auxiliary.consistency import Consistency
from cellseg.multimodal.auxiliary.contrast import ModalityContrast
from cellseg.multimodal.auxiliary.fusion_reconstruction import FusionReconstruction
from cellseg.multimodal.auxiliary.imputer import FeatureImputer
from cellseg.multimodal.auxiliary.invariance import InvariantRisk
from cellseg.multimodal.auxiliary.reconstruction import SequenceReconstruction, TableReconstruction

__all__ = [
    "Auxiliary",
    "Consistency",
    "DomainAdversary",
    "FeatureImputer",
    "FusionReconstruction",
    "InvariantRisk",
    "ModalityContrast",
    "SequenceReconstruction",
    "TableReconstruction",
]
