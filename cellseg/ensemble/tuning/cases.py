"""Images with the settings to score them with, and what is common to everything that compares such scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.metrics.bootstrap import mean_interval, paired_difference

Interval = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """Images with the settings that they are scored with.

    Attributes:
        pool: the images.
        settings: tuned on other images, or (without cross-validation) on the same.
        images: which images of the whole pool they are.
        others: the same images with their boxes fused otherwise, or asked otherwise, by what is changed.
    """

    pool: EvidencePool
    settings: EnsembleSettings
    images: tuple[int, ...]
    others: Mapping[str, EvidencePool] = field(default_factory=dict)

    def voters(self) -> list[str]:
        """Members with a weight above 0 for some type."""
        table = self.settings.weight_table() > 0
        return [name for name, row in zip(self.settings.members, table, strict=True) if row.any()]

    def evidence(self) -> list[ImageEvidence]:
        """What is known of each image with these settings."""
        return self.pool.evidence(self.voters(), self.settings.margin)


def change_all(settings: EnsembleSettings, **options: Any) -> EnsembleSettings:
    """Settings with attributes of ``Settings`` changed for all types."""
    types = {name: replace(part, **options) for name, part in settings.types.items()}
    return replace(settings, general=replace(settings.general, **options), types=types)


def base_scores(cases: Sequence[Case]) -> list[float]:
    """Competition mAP of each image with the settings as they are, case after case."""
    return [value for case in cases for value in case.pool.score(case.settings).tolist()]


def case_groups(cases: Sequence[Case], groups: Sequence[str]) -> list[str]:
    """The group of each image, case after case, from those of the whole pool."""
    return [groups[image] for case in cases for image in case.images]


def mean_with_interval(values: Sequence[float], groups: Sequence[str]) -> tuple[float, Interval | None]:
    """Mean over images and its 95% interval by a bootstrap over groups; no interval where all are of one group."""
    if len(set(groups)) < 2:
        return float(np.mean(values)), None
    mean, low, high = mean_interval(values, groups)
    return mean, (low, high)


def difference_with_interval(
    a: Sequence[float], b: Sequence[float], groups: Sequence[str]
) -> tuple[float, Interval | None]:
    """Mean of a - b over images and its 95% interval, see ``paired_difference``; None where all are of one group."""
    if len(set(groups)) < 2:
        return float(np.mean(np.subtract(a, b))), None
    mean, low, high = paired_difference(a, b, groups)
    return mean, (low, high)
