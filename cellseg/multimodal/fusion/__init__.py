"""Fusions: from the ``Tokens`` of all modalities to ``Fused``. Importing this registers them with mmengine's MODELS."""

from cellseg.multimodal.fusion.base import Fusion
from cellseg.multimodal.fusion.bilinear import BilinearFusion
from cellseg.multimodal.fusion.by_name import FUSIONS, fusion_by_name
from cellseg.multimodal.fusion.concat import ConcatFusion, EarlyFusion
from cellseg.multimodal.fusion.cross_attention import CrossAttentionFusion
from cellseg.multimodal.fusion.cross_weight import CrossWeightFusion
from cellseg.multimodal.fusion.encoder_decoder import EncoderDecoderFusion, ReconstructedFused, reconstruction_error
from cellseg.multimodal.fusion.gated import GatedFusion
from cellseg.multimodal.fusion.late import LateFusion
from cellseg.multimodal.fusion.shared_transformer import SharedTransformerFusion

__all__ = [
    "FUSIONS",
    "BilinearFusion",
    "ConcatFusion",
    "CrossAttentionFusion",
    "CrossWeightFusion",
    "EarlyFusion",
    "EncoderDecoderFusion",
    "Fusion",
    "GatedFusion",
    "LateFusion",
    "ReconstructedFused",
    "SharedTransformerFusion",
    "fusion_by_name",
    "reconstruction_error",
]
