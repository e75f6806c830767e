"""The images of a split: read one after another, and members asked about them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cellseg.datasets.folder import DataFolder, read_record_image
from cellseg.datasets.records import ImageRecord
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.pool import EvidencePool


def read_images(
    folder: DataFolder, records: Sequence[ImageRecord], task: str
) -> Iterator[tuple[ImageRecord, NDArray[np.uint8]]]:
    """Each record with its image, uint8 ``[H, W, 3]`` RGB; ``task`` stands at the progress bar.

    Raises:
        InputError: an image of another size than its annotations.
    """
    for record in tqdm(records, desc=task, unit="image", disable=None):
        yield record, read_record_image(folder.image_path(record.file_name), record)


def fill_pool(
    pool: EvidencePool, folder: DataFolder, records: Sequence[ImageRecord], cache: EvidenceCache | None = None
) -> EvidencePool:
    """Ask the members of a pool about all images, whose truth the records have; returns the pool."""
    with torch.inference_mode():
        for record, image in read_images(folder, records, "ask members"):
            pool.add(image, record.masks, record.cell_type, cache)
    return pool
