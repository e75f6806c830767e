"""Heads: from ``Fused`` to the answer of a task. Importing this registers them with mmengine's ``MODELS``."""

from cellseg.multimodal.heads.base import Head
from cellseg.multimodal.heads.captioning import CaptionTransformer
from cellseg.multimodal.heads.classification import FusedClassifier
from cellseg.multimodal.heads.matching import PairMatcher
from cellseg.multimodal.heads.pair_losses import PairContrastive, PairHinge, PairInfoNCE
from cellseg.multimodal.heads.regression import AttentionRegressor, FusedRegressor
from cellseg.multimodal.heads.vqa import AnswerClassifier

__all__ = [
    "AnswerClassifier",
    "AttentionRegressor",
    "CaptionTransformer",
    "FusedClassifier",
    "FusedRegressor",
    "Head",
    "PairContrastive",
    "PairHinge",
    "PairInfoNCE",
    "PairMatcher",
]
