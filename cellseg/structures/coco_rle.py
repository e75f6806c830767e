"""COCO's run-length counts: column-major, background first, compressed to text five bits a character."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cellseg.errors import InputError
from cellseg.structures.checks import check_image_size, short

# pycocotools keeps counts in 32 bits, at most seven characters of five bits each.
_LARGEST_COUNT = 2**32 - 1
_MOST_CHARACTERS = 7


def counts_of_runs(starts: np.ndarray, lengths: np.ndarray, pixels: int) -> np.ndarray:
    """Counts int64 [K], alternating background and foreground, that add up to ``pixels``.

    Args:
        starts: int64 [R], counted from 0 in column-major order, ascending, runs apart from each other.
        lengths: int64 [R].
        pixels: of the whole image.

    Raises:
        InputError: the image has more pixels than COCO's 32-bit counts hold.
    """
    if pixels > _LARGEST_COUNT:
        raise InputError(f"COCO RLE: an image of {pixels} pixels is more than its 32-bit counts hold")
    stops = starts + lengths
    bounds = np.empty(2 * len(starts) + 2, np.int64)
    bounds[0], bounds[-1] = 0, pixels
    bounds[1:-1:2], bounds[2:-1:2] = starts, stops
    counts = np.diff(bounds)
    # Foreground that reaches the last pixel ends the code; background of no length stands only in front.
    return counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts


def runs_of_counts(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts (from 0, column-major) and lengths of the foreground runs, int64 [R] each."""
    stops = np.cumsum(counts)
    return stops[:-1:2], counts[1::2]


def compress(counts: Sequence[np.ndarray]) -> list[str]:
    """COCO's text of each mask's counts, all masks at once.

    From the fourth count on, the difference to the count before the last is written; every number goes out in
    groups of five bits, lowest first, with a sixth bit where more groups follow, as a character from '0' on.
    """
    if not counts:
        return []
    differences = np.concatenate([_differences(part) for part in counts])
    groups = differences[:, None] >> np.arange(0, 5 * _MOST_CHARACTERS, 5)
    characters = (groups & 31).astype(np.uint8)
    # A number ends at the first group after which only copies of that group's sign bit remain.
    rest = groups >> 5
    ends = np.where(groups & 16, rest == -1, rest == 0)
    size = ends.argmax(axis=1) + 1
    position = np.arange(_MOST_CHARACTERS)
    characters += np.where(position < size[:, None] - 1, 32, 0).astype(np.uint8) + 48
    text = characters[position < size[:, None]].tobytes().decode("ascii")
    bounds = np.cumsum(np.concatenate(([0], size)))[np.cumsum([0] + [len(part) for part in counts])].tolist()
    return [text[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def _differences(counts: np.ndarray) -> np.ndarray:
    differences = counts.copy()
    differences[3:] -= counts[1:-2]
    return differences


def decompress(text: str | bytes) -> np.ndarray:
    """Counts int64 [K] of COCO's compressed text.

    Raises:
        InputError: a character that the code does not have, a number that does not end or is too long.
    """
    codes = _codes(text)
    more = codes & 32 > 0
    stops = np.flatnonzero(~more) + 1
    if len(codes) and more[-1]:
        raise InputError(f"COCO RLE count {len(stops) + 1}: the text ends in the middle of the number")
    sizes = np.diff(stops, prepend=0)
    if (sizes > _MOST_CHARACTERS).any():
        raise InputError(f"COCO RLE count {int((sizes > _MOST_CHARACTERS).argmax()) + 1}: the number is too large")
    starts = stops - sizes
    position = np.arange(len(codes)) - np.repeat(starts, sizes)
    numbers = np.add.reduceat((codes & 31) << (5 * position), starts) if len(codes) else np.empty(0, np.int64)
    # The top bit of the last group is the sign.
    numbers -= np.where(codes[stops - 1] & 16, np.int64(1) << (5 * sizes), 0)
    # Counts 2, 4, 6... and 3, 5, 7... (from 1) are two chains of differences; the first count stands alone.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _codes(text: str | bytes) -> np.ndarray:
    """The six bits of each character, int64."""
    characters = text if isinstance(text, str) else text.decode("latin-1")
    codes = np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64) - 48
    wrong = (codes < 0) | (codes > 63)
    if wrong.any():
        place = int(wrong.argmax())
        raise InputError(f"COCO RLE: character {place + 1} is {characters[place]!r}, which the code does not have")
    return codes


def read(rle: Any) -> tuple[int, int, np.ndarray]:
    """Height, width and validated counts int64 [K] of COCO's dictionary.

    Raises:
        InputError: it is no such dictionary, or its counts do not describe an image of its size.
    """
    if not isinstance(rle, Mapping) or not {"size", "counts"} <= set(rle):
        raise InputError(f"COCO RLE: expected a dictionary with 'size' and 'counts', got {short(rle)}")
    height, width = check_image_size(rle["size"])
    counts = rle["counts"]
    counts = decompress(counts) if isinstance(counts, (str, bytes)) else _listed(counts)
    _check_counts(counts, height, width)
    return height, width, counts


def _listed(counts: Any) -> np.ndarray:
    if not isinstance(counts, (list, tuple, np.ndarray)):
        raise InputError(f"COCO RLE: expected counts as text or a list, got {type(counts).__name__}")
    for number, count in enumerate(counts, start=1):
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
            raise InputError(f"COCO RLE count {number}: {short(count)} is not a whole number")
        if abs(count) > _LARGEST_COUNT:
            raise InputError(f"COCO RLE count {number}: the number is too large")
    return np.array(counts, np.int64).reshape(-1)


def _check_counts(counts: np.ndarray, height: int, width: int) -> None:
    wrong = counts < 1
    wrong[:1] = counts[:1] < 0
    if wrong.any():
        place = int(wrong.argmax())
        least = "0" if place == 0 else "1"
        raise InputError(f"COCO RLE count {place + 1}: {counts[place]} is below {least}")
    total = int(counts.sum())
    if total != height * width:
        raise InputError(
            f"COCO RLE: the counts add up to {total}, but an image of {height} x {width} (height x width) has "
            f"{height * width} pixels"
        )
