"""Checks that all structures share."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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


def select_instances(index: int | slice | Tensor | Sequence[int], count: int, device: torch.device) -> Tensor:
    """Chosen instances as int64 [K], from all that indexing takes.

    Raises:
        IndexError: a number outside -count..count - 1, or a bool index of another length.
    """
    everything = torch.arange(count, device=device)
    if isinstance(index, slice):
        return everything[index]
    chosen = torch.as_tensor(index, device=device)
    if chosen.numel() == 0 and chosen.dtype != torch.bool:
        chosen = chosen.long()
    return everything[chosen].reshape(-1)


def as_whole_numbers(values: Tensor, name: str = "windows") -> Tensor:
    """int64 of any whole-number type.

    Raises:
        InputError: bool, floating or complex numbers.
    """
    values = torch.as_tensor(values)
    # An empty list becomes a floating tensor; there is no number in it to be wrong.
    if values.numel() and (values.dtype == torch.bool or values.is_floating_point() or values.is_complex()):
        raise InputError(f"{name}: expected whole numbers, got {values.dtype}")
    return values.long()
