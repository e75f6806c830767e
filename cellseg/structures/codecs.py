"""Run-length codes of the crops of many masks, without an image per mask."""

from collections.abc import Sequence

import numpy as np

from cellseg.errors import InputError
from cellseg.structures import coco_rle
from cellseg.structures.rle import decode_texts, encode_texts
from cellseg.structures.runs import crops_of_runs, runs_of_crops, transpose_crops


def to_texts(windows: np.ndarray, values: np.ndarray, image_size: tuple[int, int]) -> list[str]:
    """Kaggle's text of each mask; windows int64 [N, 4], values bool [P]."""
    return encode_texts(*runs_of_crops(windows, values, image_size[1]), len(windows))


def from_texts(texts: Sequence[str], image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Tight windows and crops of Kaggle's texts; InputError says which instance and pair is damaged."""
    return crops_of_runs(*decode_texts(texts, image_size), len(texts), image_size[1])


def to_coco(windows: np.ndarray, values: np.ndarray, image_size: tuple[int, int]) -> list[dict]:
    """COCO's compressed code of each mask."""
    height, width = image_size
    instance, starts, lengths = runs_of_crops(*transpose_crops(windows, values), height)
    bounds = np.searchsorted(instance, np.arange(len(windows) + 1)).tolist()
    counts = [
        coco_rle.counts_of_runs(starts[a:b], lengths[a:b], height * width)
        for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    return [{"size": [height, width], "counts": text} for text in coco_rle.compress(counts)]


def from_coco(rles: Sequence[dict], image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Tight windows and crops of COCO's codes; InputError says which instance is damaged."""
    runs = [_read_coco(index, rle, image_size) for index, rle in enumerate(rles)]
    instance = np.repeat(np.arange(len(runs)), [len(starts) for starts, _ in runs])
    nothing = np.empty(0, np.int64)
    starts = np.concatenate([nothing, *(starts for starts, _ in runs)])
    lengths = np.concatenate([nothing, *(lengths for _, lengths in runs)])
    return transpose_crops(*crops_of_runs(instance, starts, lengths, len(runs), image_size[0]))


def _read_coco(index: int, rle: dict, image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    try:
        height, width, counts = coco_rle.read(rle)
    except InputError as error:
        raise InputError(f"instance {index}: {error}") from None
    if (height, width) != image_size:
        raise InputError(
            f"instance {index}: COCO RLE of size {height} x {width} in an image of {image_size[0]} x {image_size[1]}"
            " (height x width)"
        )
    return coco_rle.runs_of_counts(counts)
