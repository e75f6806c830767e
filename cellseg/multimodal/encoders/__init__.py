"""Encoders: from one modality of a batch to ``Tokens``. Importing this registers them with mmengine's ``MODELS``."""

from cellseg.multimodal.encoders.albert import AlbertEncoder
from cellseg.multimodal.encoders.cbam import CBAM
from cellseg.multimodal.encoders.densenet import DenseNetEncoder
from cellseg.multimodal.encoders.image import ConvEncoder
from cellseg.multimodal.encoders.sequence import SequenceEncoder
from cellseg.multimodal.encoders.tabular import TabularEncoder
from cellseg.multimodal.encoders.text import LSTMEncoder, TextTransformerEncoder
from cellseg.multimodal.encoders.volume import VolumeEncoder
from cellseg.multimodal.encoders.windows import SlidingWindowEncoder

__all__ = [
    "CBAM",
    "AlbertEncoder",
    "ConvEncoder",
    "DenseNetEncoder",
    "LSTMEncoder",
    "SequenceEncoder",
    "SlidingWindowEncoder",
    "TabularEncoder",
    "TextTransformerEncoder",
    "VolumeEncoder",
]
