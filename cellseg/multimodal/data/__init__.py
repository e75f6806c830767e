"""Multimodal data: readers into one form of record, splits, tokenizer, samples and batches."""

from cellseg.multimodal.data.collate import collate_samples
from cellseg.multimodal.data.dataset import MultimodalData, forget_multimodal_data, load_multimodal_data
from cellseg.multimodal.data.description import DataDescription, ModalityDescription, fill_numbers
from cellseg.multimodal.data.record import Record, RecordSet
from cellseg.multimodal.data.samples import MultimodalSamples
from cellseg.multimodal.data.source import Source
from cellseg.multimodal.data.tokenizer import WordPieceTokenizer

__all__ = [
    "DataDescription",
    "ModalityDescription",
    "MultimodalData",
    "MultimodalSamples",
    "Record",
    "RecordSet",
    "Source",
    "WordPieceTokenizer",
    "collate_samples",
    "fill_numbers",
    "forget_multimodal_data",
    "load_multimodal_data",
]
