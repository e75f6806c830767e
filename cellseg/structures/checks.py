"""Checks that all structures share."""

import operator
from collections.abc import Sequence
from typing import Any

from cellseg.errors import InputError

# Products of two sides, and so positions of pixels, stay well inside 64 bits.
LARGEST_SIDE = 2**31 - 1


def check_image_size(image_size: Sequence[int]) -> tuple[int, int]:
    """(height, width) as Python integers.

    Raises:
        InputError: it is not two whole numbers between 1 and LARGEST_SIDE.
    """
    try:
        height, width = (operator.index(side) for side in image_size)
    except (TypeError, ValueError):
        raise InputError(f"image size: expected (height, width) as whole numbers, got {short(image_size)}") from None
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise InputError(f"image size: height and width must lie in 1..{LARGEST_SIDE}, got {height} x {width}")
    return height, width


def short(value: Any, limit: int = 60) -> str:
    """``repr`` cut to a length that fits into a message."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
