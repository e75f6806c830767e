"""Everything that is measured of a set of images: one result per image, and summaries over any of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from cellseg.errors import InputError
from cellseg.metrics.competition import Score, match_counts
from cellseg.metrics.error_kinds import CELL_ERRORS, PREDICTION_ERRORS, ErrorKinds, classify_errors
from cellseg.metrics.matching import best_pairs, measure_overlap
from cellseg.metrics.quality import Quality
from cellseg.metrics.size_recall import DEFAULT_EDGES, SizeBin, recall_by_size
from cellseg.structures import CropMasks


@dataclass(frozen=True)
class ImageResult:
    """What one image shows.

    Attributes:
        key: id of the image.
        cell_type: its type; empty when unknown.
        counts: int64 ``[10, 3]``, true positives, false positives, false negatives at each threshold.
        quality: sums for F1, PQ and mean IoU.
        errors: kind of every prediction and true cell.
        areas: int64 ``[M]``, pixels of each true cell.
        best_iou: float64 ``[M]``, largest IoU of each true cell with any prediction.
    """

    key: str
    cell_type: str
    counts: torch.Tensor
    quality: Quality
    errors: ErrorKinds
    areas: np.ndarray
    best_iou: np.ndarray

    @cached_property
    def score(self) -> Score:
        """Competition score of this image alone."""
        return Score(self.counts[None])

    @property
    def found(self) -> np.ndarray:
        """Whether each true cell is matched at IoU > 0.5, bool ``[M]``."""
        return np.array([kind == "matched" for kind in self.errors.cells], dtype=bool)

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON; what is undefined (a mean over nothing) is None."""
        return {
            "id": self.key,
            "cell_type": self.cell_type,
            "map": self.score.map,
            "ap": name_thresholds(self.score),
            **_quality_dict(self.quality),
            "errors": self.errors.count(),
        }


@dataclass(frozen=True)
class Summary:
    """Scores over several images.

    Competition scores are means over images. F1, PQ, recall, mean IoU and errors are over all cells together.
    """

    images: int
    score: Score
    quality: Quality
    sizes: list[SizeBin]
    errors: dict[str, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON; what is undefined (a mean over nothing) is None."""
        return {
            "map": self.score.map,
            "ap": name_thresholds(self.score),
            "image_count": self.images,
            **_quality_dict(self.quality),
            "recall_by_size": [
                {
                    "from_px": size.low,
                    "below_px": size.high,
                    "cells": size.cells,
                    "found": size.found,
                    "recall": size.recall,
                    "mean_best_iou": size.mean_best_iou,
                }
                for size in self.sizes
            ],
            "errors": self.errors,
        }


def evaluate_image(key: str, predictions: CropMasks, truths: CropMasks, cell_type: str = "") -> ImageResult:
    """Measure one image.

    Raises:
        InputError: masks are not bool, or sizes or devices differ; the text names the image.
    """
    try:
        overlap = measure_overlap(predictions, truths)
    except InputError as error:
        raise InputError(f"image {key}: {error}") from error
    pairs, best_iou = best_pairs(overlap), overlap.best_iou()
    quality = Quality(
        matched=len(pairs.iou),
        predictions=len(predictions),
        cells=len(truths),
        matched_iou=float(pairs.iou.sum()),
        best_iou=float(best_iou.sum()),
    )
    errors = classify_errors(overlap, pairs)
    return ImageResult(key, cell_type, match_counts(overlap), quality, errors, overlap.truth_areas, best_iou)


def summarize(results: Sequence[ImageResult], edges: Sequence[int] = DEFAULT_EDGES) -> Summary:
    """Put the results of several images together.

    Args:
        results: one or more images.
        edges: of the size bins in pixels, see ``recall_by_size``.

    Raises:
        InputError: there is no image, or the edges are no ascending numbers.
    """
    if not results:
        raise InputError("no images to summarize")
    counted = [result.errors.count() for result in results]
    errors = {
        side: {kind: sum(count[side][kind] for count in counted) for kind in kinds}
        for side, kinds in (("predictions", PREDICTION_ERRORS), ("cells", CELL_ERRORS))
    }
    return Summary(
        images=len(results),
        score=Score(torch.stack([result.counts for result in results])),
        quality=Quality.total([result.quality for result in results]),
        sizes=recall_by_size(
            np.concatenate([result.areas for result in results]),
            np.concatenate([result.found for result in results]),
            np.concatenate([result.best_iou for result in results]),
            edges,
        ),
        errors=errors,
    )


def summarize_types(results: Sequence[ImageResult], edges: Sequence[int] = DEFAULT_EDGES) -> dict[str, Summary]:
    """A summary of the images of each known cell type, in alphabetical order."""
    types = sorted({result.cell_type for result in results if result.cell_type})
    return {name: summarize([result for result in results if result.cell_type == name], edges) for name in types}


def name_thresholds(score: Score) -> dict[str, float]:
    """``{"0.50": precision, ... "0.95": precision}``."""
    return {f"{threshold:.2f}": value for threshold, value in score.ap.items()}


def _quality_dict(quality: Quality) -> dict[str, Any]:
    return {
        "cells": quality.cells,
        "predictions": quality.predictions,
        "matched": quality.matched,
        "precision": quality.precision,
        "recall": quality.recall,
        "f1": quality.f1,
        "pq": quality.pq,
        "mean_matched_iou": quality.mean_matched_iou,
        "mean_best_iou": quality.mean_best_iou,
    }
