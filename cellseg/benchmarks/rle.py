"""Run-length encoding and decoding of all masks of an image, against notebook code on dense masks.

Each side begins and ends with masks as it keeps them: crops here, an image for every mask there.
"""

from typing import NamedTuple

import numpy as np

from cellseg.benchmarks.cells import random_evidence, random_windows
from cellseg.benchmarks.notebook import decode_mask, encode_mask
from cellseg.benchmarks.subjects import Scale
from cellseg.structures import CropMasks


class Inputs(NamedTuple):
    """The same masks in both forms; ``dense`` is uint8 [N, H, W]."""

    masks: CropMasks
    dense: np.ndarray


def make_inputs(scale: Scale) -> Inputs:
    """Random ellipses, which may overlap."""
    rng = np.random.default_rng(0)
    masks = random_evidence(rng, random_windows(rng, scale), scale).threshold(0.5).tight()
    return Inputs(masks, masks.to_dense().numpy().view(np.uint8))


def run_cellseg(inputs: Inputs) -> tuple[list[str], CropMasks]:
    """The texts, and the masks made from them; every text is validated."""
    texts = inputs.masks.to_rle()
    return texts, CropMasks.from_rle(texts, inputs.masks.image_size)


def run_alternative(inputs: Inputs) -> tuple[list[str], list[np.ndarray]]:
    """The same as uint8 images [H, W]. Frozen."""
    texts = [encode_mask(mask) for mask in inputs.dense]
    return texts, [decode_mask(text, *inputs.dense.shape[1:]) for text in texts]


def find_difference(ours: tuple[list[str], CropMasks], theirs: tuple[list[str], list[np.ndarray]]) -> str:
    """Which text or mask differs first, in words; '' for none."""
    for index, (our_text, their_text) in enumerate(zip(ours[0], theirs[0], strict=True)):
        if our_text != their_text:
            return f"the text of mask {index} is {our_text!r} on one side, {their_text!r} on the other"
    for index, (our_mask, their_mask) in enumerate(zip(ours[1].to_dense().numpy(), theirs[1], strict=True)):
        if not np.array_equal(our_mask, their_mask != 0):
            return f"mask {index} is decoded to different pixels"
    return ""
