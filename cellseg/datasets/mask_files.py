"""Label images and mask files of any depth, read without loss."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from cellseg.errors import InputError

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_LARGEST_LABEL = 2**31 - 1


def read_labels(path: Path) -> np.ndarray:
    """Label image, int64 ``[H, W]``; 0 is background.

    Takes 8, 16 and 32 bit whole numbers, palettes (the index counts), and floats that hold whole numbers.

    Raises:
        InputError: another kind of file, colours, or values that are no labels.
    """
    pixels = _read(path)
    if pixels.ndim != 2:
        raise InputError(f"{path.name}: expected one label a pixel, found an array of shape {list(pixels.shape)}")
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all() or (pixels != np.rint(pixels)).any():
            raise InputError(f"{path.name}: holds values that are no whole numbers, so they are no labels")
    elif pixels.dtype.kind not in "uib":
        raise InputError(f"{path.name}: pixels of type {pixels.dtype} are no labels")
    if pixels.size == 0 or pixels.min() < 0 or pixels.max() > _LARGEST_LABEL:
        raise InputError(f"{path.name}: labels must lie in 0 to {_LARGEST_LABEL}")
    return pixels.astype(np.int64)


def read_mask(path: Path) -> np.ndarray:
    """Mask of one instance, bool ``[H, W]``: everything that is not 0 (not black).

    Raises:
        InputError: it cannot be read as an image.
    """
    pixels = _read(path)
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        return (pixels[:, :, :3] != 0).any(axis=2)
    if pixels.ndim == 3 and pixels.shape[2] == 2:  # grey with alpha
        return pixels[:, :, 0] != 0
    if pixels.ndim != 2:
        raise InputError(f"{path.name}: expected an image, found an array of shape {list(pixels.shape)}")
    return pixels != 0


def _read(path: Path) -> np.ndarray:
    if path.suffix.lower() not in MASK_SUFFIXES:
        raise InputError(f"{path.name}: masks must be stored without loss ({', '.join(MASK_SUFFIXES)})")
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            return tifffile.imread(path)
        with Image.open(path) as image:
            return np.asarray(image)
    except Exception as error:  # damaged files raise nearly anything in the parsers
        raise InputError(f"{path.name}: cannot be read as an image ({type(error).__name__}: {error})") from error
