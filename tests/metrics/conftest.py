"""Dense masks at random and plain references, for all tests of metrics."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from cellseg.structures import CropMasks


class Dense:
    """Masks as plain arrays, and what can be counted on them with nothing but loops."""

    height, width = 11, 13

    @staticmethod
    def crops(masks: np.ndarray) -> CropMasks:
        import torch

        return CropMasks.from_dense(torch.from_numpy(masks.copy()))

    @classmethod
    def masks(cls, *boxes: tuple[int, int, int, int]) -> np.ndarray:
        """Rectangles (x0, y0, x1, y1) as bool masks [N, H, W]."""
        dense = np.zeros((len(boxes), cls.height, cls.width), dtype=bool)
        for mask, (x0, y0, x1, y1) in zip(dense, boxes, strict=True):
            mask[y0:y1, x0:x1] = True
        return dense

    @classmethod
    def random(cls, generator: np.random.Generator, overlapping: bool) -> np.ndarray:
        """Up to five rectangles with nibbled edges; no mask is empty."""
        dense = cls.masks(*(cls._random_box(generator) for _ in range(generator.integers(0, 6))))
        dense &= generator.random(dense.shape) < generator.choice([0.8, 1.0])
        return cls._without_empty(dense if overlapping else cls.apart(dense))

    @classmethod
    def disturbed(cls, generator: np.random.Generator, masks: np.ndarray, overlapping: bool) -> np.ndarray:
        """Masks shifted, eroded, doubled, dropped and joined, with some at random, in another order."""
        changed = []
        for mask in masks:
            kind = generator.integers(0, 6)
            if kind == 0:
                continue
            copy = np.roll(mask, generator.integers(-1, 2, size=2), axis=(0, 1)) if kind == 1 else mask.copy()
            if kind == 2:
                copy &= generator.random(copy.shape) < generator.choice([0.5, 0.7, 0.9])
            if kind == 3 and changed:
                copy |= changed[-1]
            if kind == 4:
                changed.append(mask & (generator.random(mask.shape) < 0.6))
            changed.append(copy)
        changed.extend(cls.random(generator, overlapping)[:2])
        dense = np.array(changed, dtype=bool).reshape(-1, *masks.shape[1:])
        dense = dense[generator.permutation(len(dense))]
        return cls._without_empty(dense if overlapping else cls.apart(dense))

    @classmethod
    def apart(cls, masks: np.ndarray) -> np.ndarray:
        """Give every pixel to the first mask that has it."""
        return cls._without_empty(masks & (np.cumsum(masks, axis=0) == 1))

    @staticmethod
    def _without_empty(masks: np.ndarray) -> np.ndarray:
        return masks[masks.any(axis=(1, 2))]

    @classmethod
    def _random_box(cls, generator: np.random.Generator) -> tuple[int, int, int, int]:
        x0, y0 = generator.integers(0, cls.width - 1), generator.integers(0, cls.height - 1)
        return x0, y0, x0 + generator.integers(1, 8), y0 + generator.integers(1, 8)

    @staticmethod
    def ious(predictions: np.ndarray, truths: np.ndarray) -> list[list[Fraction]]:
        """IoU of all pairs as fractions."""
        return [[Fraction(int((p & t).sum()), int((p | t).sum()) or 1) for t in truths] for p in predictions]

    @staticmethod
    def largest_matching(allowed: list[list[bool]]) -> int:
        """Most one-to-one pairs, by trying everything: each row takes a free column that it may have, or none."""

        @cache
        def most(row: int, taken: int) -> int:
            if row == len(allowed):
                return 0
            free = [column for column, good in enumerate(allowed[row]) if good and not taken >> column & 1]
            return max([most(row + 1, taken), *(1 + most(row + 1, taken | 1 << column) for column in free)])

        return most(0, 0)

    @classmethod
    def true_positives(cls, predictions: np.ndarray, truths: np.ndarray) -> list[int]:
        """Matches at IoU > 10/20 ... 19/20."""
        ious = cls.ious(predictions, truths)
        return [cls.largest_matching([[iou > Fraction(k, 20) for iou in row] for row in ious]) for k in range(10, 20)]

    @classmethod
    def precisions(cls, predictions: np.ndarray, truths: np.ndarray) -> list[Fraction]:
        """TP / (TP + FP + FN) at the ten thresholds; 1 without predictions and truths."""
        total = len(predictions) + len(truths)
        if total == 0:
            return [Fraction(1)] * 10
        return [Fraction(found, total - found) for found in cls.true_positives(predictions, truths)]


@pytest.fixture
def dense() -> type[Dense]:
    return Dense
