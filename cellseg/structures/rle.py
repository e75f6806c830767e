"""Run-length codes of masks: Kaggle's text (row-major, 1-based pairs) and COCO's dictionaries (column-major).

``encode_rle`` and ``decode_rle`` work on one mask; ``encode_texts`` and ``decode_texts`` work on the crops of many
at once and never build an image per mask. Everything that is decoded is validated first.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from cellseg.errors import InputError
from cellseg.structures import coco_rle
from cellseg.structures.checks import check_image_size, short
from cellseg.structures.runs import MAX_DECODED_PIXELS, fill_runs, flat_runs

_TOKEN = re.compile(r"[^ \t\r\n]+")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,40}")
_DIGITS_AND_SPACES = b"0123456789 "


def encode_rle(mask: np.ndarray | torch.Tensor) -> str:
    """Kaggle's run-length text of one mask: ``start length`` pairs, row-major, counted from 1.

    Args:
        mask: [H, W], bool or whole numbers (non-zero is foreground).

    Returns:
        The text; an empty mask gives an empty text.

    Raises:
        InputError: the mask has another form.

    Examples:
        >>> encode_rle(np.array([[0, 1, 1], [1, 0, 1]], dtype=bool))
        '2 3 6 1'
    """
    starts, lengths = flat_runs(_as_bool(mask).reshape(-1))
    return _join_pairs(starts, lengths)


def decode_rle(text: str, height: int, width: int) -> np.ndarray:
    """Mask [height, width], bool, of Kaggle's run-length text; an empty text gives an empty mask.

    Raises:
        InputError: the text is damaged (it says at which pair, see :func:`rle_runs`) or the image absurdly large.
    """
    numbers = _read_pairs(text, height, width)
    _check_pixels(height, width)
    return fill_runs(numbers[::2] - 1, numbers[1::2], height * width).reshape(height, width)


def rle_runs(text: str, height: int, width: int) -> np.ndarray:
    """Validated runs int64 [K, 2] of Kaggle's text: start counted from 0, and length.

    Raises:
        InputError: an odd count of numbers, something that is no whole number, a run of no length, a run outside
            the image, or one that begins before the end of the one before; the text says which pair.
    """
    return _read_pairs(text, height, width).reshape(-1, 2) - (1, 0)


def to_coco_rle(mask: np.ndarray | torch.Tensor) -> dict:
    """COCO's compressed run-length code of one mask.

    Args:
        mask: [H, W], bool or whole numbers (non-zero is foreground).

    Returns:
        ``{"size": [height, width], "counts": text}``, equal to what pycocotools makes of the mask.
    """
    mask = _as_bool(mask)
    starts, lengths = flat_runs(mask.T.reshape(-1))
    counts = coco_rle.counts_of_runs(starts, lengths, mask.size)
    return {"size": list(mask.shape), "counts": coco_rle.compress([counts])[0]}


def from_coco_rle(rle: Mapping) -> np.ndarray:
    """Mask [H, W], bool, of COCO's run-length code, compressed (text or bytes) or a list of counts.

    Raises:
        InputError: the code is damaged (the text says at which count) or the image absurdly large.
    """
    height, width, counts = coco_rle.read(rle)
    _check_pixels(height, width)
    starts, lengths = coco_rle.runs_of_counts(counts)
    return np.ascontiguousarray(fill_runs(starts, lengths, height * width).reshape(width, height).T)


def encode_texts(instance: np.ndarray, starts: np.ndarray, lengths: np.ndarray, count: int) -> list[str]:
    """Kaggle's text of ``count`` masks from their runs, as :func:`~.runs.runs_of_crops` orders them."""
    bounds = np.searchsorted(instance, np.arange(count + 1)).tolist()
    return [_join_pairs(starts[a:b], lengths[a:b]) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def decode_texts(texts: Sequence[str], image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Instance, start (from 0) and length, int64 [K] each, of the runs of many texts; all validated.

    Raises:
        InputError: a text is damaged; it says which instance and pair.
    """
    height, width = check_image_size(image_size)
    if isinstance(texts, str):
        raise InputError(f"RLE: expected a list of texts, got one text {short(texts)}")
    runs = _decode_clean(texts, height * width)
    if runs is None:
        runs = _decode_one_by_one(texts, height, width)
    return runs


def _decode_clean(texts: Sequence[str], pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """All texts parsed at once; None when any of them needs a closer look."""
    if not all(isinstance(text, str) for text in texts):
        return None
    numbers = _parse(" ".join(filter(None, texts)), _DIGITS_AND_SPACES)
    # In a clean text the numbers are one space apart. More spaces only raise these counts, so the total tells.
    counts = np.array([text.count(" ") + 1 if text else 0 for text in texts], np.int64)
    if numbers is None or len(numbers) != counts.sum() or (counts % 2).any():
        return None
    instance = np.repeat(np.arange(len(texts)), counts // 2)
    if not _runs_are_valid(numbers, pixels, instance):
        return None
    return instance, numbers[::2] - 1, numbers[1::2].copy()


def _decode_one_by_one(texts: Sequence[str], height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    runs = [np.empty((0, 2), np.int64)]
    for index, text in enumerate(texts):
        try:
            runs.append(rle_runs(text, height, width))
        except InputError as error:
            raise InputError(f"instance {index}: {error}") from None
    instance = np.repeat(np.arange(len(texts)), [len(part) for part in runs[1:]])
    together = np.concatenate(runs)
    return instance, together[:, 0].copy(), together[:, 1].copy()


def _read_pairs(text: str, height: int, width: int) -> np.ndarray:
    """The text's numbers, int64 [2 K], validated; starts still count from 1."""
    height, width = check_image_size((height, width))
    if not isinstance(text, str):
        raise InputError(f"RLE: expected text, got {type(text).__name__} {short(text)}")
    numbers = _parse(text)
    if numbers is None or len(numbers) % 2 or not _runs_are_valid(numbers, height * width):
        raise InputError(_fault(_TOKEN.findall(text), height, width))
    return numbers


def _parse(text: str, alphabet: bytes = _DIGITS_AND_SPACES + b"\t\r\n") -> np.ndarray | None:
    """Numbers of a text of unsigned whole numbers, int64; None when it has characters outside the alphabet.

    A number too large for int64 becomes the largest one, which no image reaches.
    """
    if not text.isascii() or text.encode("ascii").translate(None, alphabet):
        return None
    return np.fromstring(text, dtype=np.int64, sep=" ") if text.strip() else np.empty(0, np.int64)


def _runs_are_valid(numbers: np.ndarray, pixels: int, instance: np.ndarray | None = None) -> bool:
    """Whether each run lies in the image and after the one before it.

    Args:
        numbers: int64 [2 K], start (counted from 1) and length by turns.
        pixels: of the image.
        instance: int64 [K]; a run comes after the one before only within an instance. None: one instance.
    """
    if not len(numbers):
        return True
    starts = numbers[::2]
    # A sum that runs over 64 bits comes out negative, and so does not lie behind its start either.
    stops = starts + numbers[1::2]
    after = starts[1:] >= stops[:-1]
    if instance is not None:
        after |= instance[1:] != instance[:-1]
    return bool(after.all() and (stops > starts).all() and starts.min() >= 1 and stops.max() <= pixels + 1)


def _fault(tokens: Sequence[str], height: int, width: int) -> str:
    """What is wrong with a damaged text, pair by pair; the first fault counts."""
    end = 1
    for number, (start, length) in enumerate(zip(tokens[::2], tokens[1::2], strict=False), start=1):
        for name, token in (("start", start), ("length", length)):
            if not _WHOLE_NUMBER.fullmatch(token):
                return f"RLE pair {number}: {name} {short(token)} is not a whole number"
        begin, size = int(start), int(length)
        if begin < 1:
            return f"RLE pair {number}: start {begin} is below 1, the first pixel"
        if size < 1:
            return f"RLE pair {number}: length {size} is below 1"
        if begin + size - 1 > height * width:
            return (
                f"RLE pair {number}: the run {begin} {size} ends at pixel {begin + size - 1}, but an image of "
                f"{height} x {width} (height x width) has {height * width}"
            )
        if begin < end:
            return (
                f"RLE pair {number}: start {begin} is before the end of pair {number - 1} at pixel {end - 1}; "
                "runs must be in order and apart"
            )
        end = begin + size
    number = len(tokens) // 2 + 1
    return f"RLE pair {number}: start {short(tokens[-1])} has no length ({len(tokens)} numbers, an odd count)"


def _join_pairs(starts: np.ndarray, lengths: np.ndarray) -> str:
    """``start length`` pairs as text, starts counted from 1."""
    pairs = np.empty((len(starts), 2), np.int64)
    pairs[:, 0] = starts
    pairs[:, 0] += 1
    pairs[:, 1] = lengths
    # One format for all numbers is quicker than a text for each.
    return ("%d " * pairs.size % tuple(pairs.reshape(-1).tolist()))[:-1]


def _as_bool(mask: np.ndarray | torch.Tensor) -> np.ndarray:
    array = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    if array.ndim != 2:
        raise InputError(f"mask: expected shape [H, W], got {list(array.shape)}")
    if array.dtype.kind not in "bui":
        raise InputError(f"mask: expected bool or whole numbers, got {array.dtype}")
    return np.ascontiguousarray(array if array.dtype == np.bool_ else array != 0)


def _check_pixels(height: int, width: int) -> None:
    if height * width > MAX_DECODED_PIXELS:
        raise InputError(
            f"image size: {height} x {width} has {height * width} pixels, more than the {MAX_DECODED_PIXELS} "
            "that one mask is decoded to"
        )
