"""Numbers about a data set: colour statistics for normalisation, cells by class."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_LEVELS = np.arange(256)


@dataclass(frozen=True)
class PixelSums:
    """Whole-number sums over an image, so that adding them up in any order gives the same mean.

    Attributes:
        count: pixels.
        total, squares: of red, green and blue (three times the same for a grey image).
    """

    count: int
    total: tuple[int, int, int]
    squares: tuple[int, int, int]


def pixel_sums(image: np.ndarray) -> PixelSums:
    """Sums of a uint8 image ``[H, W]`` or ``[H, W, 3]``."""
    channels = [image] * 3 if image.ndim == 2 else [image[:, :, channel] for channel in range(3)]
    histograms = [np.bincount(channel.ravel(), minlength=256) for channel in channels]
    totals = [int(histogram @ _LEVELS) for histogram in histograms]
    squares = [int(histogram @ _LEVELS**2) for histogram in histograms]
    return PixelSums(int(channels[0].size), tuple(totals), tuple(squares))


def mean_and_std(sums: Iterable[PixelSums]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of red, green and blue over all pixels, 0 to 255, to four places.

    A standard deviation below 1 is given as 1: images are divided by it.
    """
    sums = list(sums)
    count = sum(item.count for item in sums)
    means, deviations = [], []
    for channel in range(3):
        total = sum(item.total[channel] for item in sums)
        squares = sum(item.squares[channel] for item in sums)
        # Whole numbers of any size: no cancellation in the variance.
        variance = (squares * count - total * total) / (count * count)
        means.append(round(total / count, 4))
        deviations.append(round(max(variance**0.5, 1.0), 4))
    return means, deviations


def describe_classes(
    class_names: Sequence[str], labels: Sequence[np.ndarray], areas: Sequence[np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Images, cells, cells per image and areas of each class.

    Args:
        class_names: in the order of their labels.
        labels, areas: for each image, int64 ``[N]``: class and pixels of each cell.

    Returns:
        By class name: ``images`` (with at least one such cell), ``instances``, ``per_image_mean``,
        ``per_image_max``, ``area_mean``, ``area_median`` in pixels.
    """
    result = {}
    for index, name in enumerate(class_names):
        own = [area[label == index] for label, area in zip(labels, areas, strict=True)]
        own = [area for area in own if len(area)]
        every = np.concatenate(own) if own else np.zeros(0)
        result[name] = {
            "images": len(own),
            "instances": int(every.size),
            "per_image_mean": round(every.size / len(own), 1) if own else 0.0,
            "per_image_max": max((len(area) for area in own), default=0),
            "area_mean": round(float(every.mean()), 1) if every.size else 0.0,
            "area_median": float(np.median(every)) if every.size else 0.0,
        }
    return result


def count_sizes(sizes: Iterable[tuple[int, int]]) -> list[dict[str, int]]:
    """How many images have each (height, width), the commonest first."""
    counted = sorted(Counter(sizes).items(), key=lambda item: (-item[1], item[0]))
    return [{"height": height, "width": width, "images": number} for (height, width), number in counted]
