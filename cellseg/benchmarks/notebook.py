"""Run-length codes as notebooks of the competition write them: an image for every mask. Frozen."""

import numpy as np


def encode_mask(mask: np.ndarray) -> str:
    """Kaggle's run-length text of one mask, uint8 [H, W] of 0 and 1."""
    pixels = np.concatenate([[0], mask.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(number) for number in runs)


def decode_mask(text: str, height: int, width: int) -> np.ndarray:
    """Mask uint8 [height, width] of Kaggle's run-length text; damaged texts are not noticed."""
    numbers = np.asarray(text.split(), dtype=int)
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    pixels = np.zeros(height * width, dtype=np.uint8)
    for start, stop in zip(starts, starts + lengths, strict=True):
        pixels[start:stop] = 1
    return pixels.reshape(height, width)
