"""The numbers that a tuner may turn, and the settings that they mean."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellseg.ensemble.settings import Settings

# A weight coordinate below this means 0: a member can leave the vote, not only fade.
_SILENT = 0.1

_EXPONENT = (0.0, 2.0)
_MASK_THRESHOLD = (0.2, 0.8)
_SCORE_THRESHOLD = (0.0, 0.95)
_NMS_IOU = (0.02, 0.8)


@dataclass(frozen=True)
class SearchSpace:
    """A box of coordinates: weights (0..1, divided by their sum), the exponent, three thresholds, the least area.

    A single member has neither weights nor an exponent to search, and where the voters are ``equal`` they stay as they
    are too.

    Attributes:
        members: all names of the ensemble.
        voters: the members whose weights are searched, the others have weight 0.
        required: voters that keep a weight above 0, because the boxes are theirs.
        max_area: upper bound of the least area, in pixels.
        equal: whether all voters have the same weight.
    """

    members: tuple[str, ...]
    voters: tuple[str, ...]
    required: frozenset[str]
    max_area: int
    equal: bool = False

    @property
    def lower(self) -> np.ndarray:
        """Lower bounds, float64 ``[D]``."""
        return np.array([0.0] * self._weights + [low for low, _ in self._ranges()])

    @property
    def upper(self) -> np.ndarray:
        """Upper bounds, float64 ``[D]``."""
        return np.array([1.0] * self._weights + [high for _, high in self._ranges()])

    @property
    def _weights(self) -> int:
        return len(self.voters) if len(self.voters) > 1 and not self.equal else 0

    def _ranges(self) -> list[tuple[float, float]]:
        # Areas are searched by their square root: 10 or 20 pixels differ more than 100 or 110.
        last = [_MASK_THRESHOLD, _SCORE_THRESHOLD, _NMS_IOU, (0.0, float(np.sqrt(self.max_area)))]
        return [_EXPONENT, *last] if self._weights else last

    def decode(self, x: np.ndarray, base: Settings) -> Settings:
        """Settings at a point; what is not searched is as in ``base``."""
        values = [float(value) for value in x]
        if not self._weights:
            weights = {name: float(name in self.voters) for name in self.members}
            exponent = base.exponent
        else:
            weights = self._decode_weights(values[: self._weights])
            exponent = values[self._weights]
        mask_threshold, score_threshold, nms_iou, root_area = values[-4:]
        return replace(
            base,
            weights=weights,
            exponent=exponent,
            mask_threshold=mask_threshold,
            score_threshold=score_threshold,
            nms_iou=nms_iou,
            min_area=round(root_area**2),
        )

    def _decode_weights(self, values: Sequence[float]) -> dict[str, float]:
        raw = {
            name: value if value >= _SILENT else (_SILENT if name in self.required else 0.0)
            for name, value in zip(self.voters, values, strict=True)
        }
        total = sum(raw.values())
        if total == 0:
            raw = dict.fromkeys(self.voters, 1.0)
            total = float(len(raw))
        return {name: raw.get(name, 0.0) / total for name in self.members}

    def encode(self, settings: Settings) -> np.ndarray:
        """A point that means these settings, or the nearest one in the box."""
        start: list[float] = []
        if self._weights:
            largest = max(settings.weights[name] for name in self.voters) or 1.0
            start = [settings.weights[name] / largest for name in self.voters] + [settings.exponent]
        last = [settings.mask_threshold, settings.score_threshold, settings.nms_iou, float(np.sqrt(settings.min_area))]
        return np.clip(np.array(start + last), self.lower, self.upper)


def distance_from_equal(settings: Settings, voters: Sequence[str]) -> float:
    """How far weights are from equal ones: the squared distance of the normalised weights from 1 / voters each.

    0 for equal weights, 1 - 1 / voters for a member alone.
    """
    own = settings.normalized()
    return sum((own[name] - 1.0 / len(voters)) ** 2 for name in voters)


def blend(settings: Settings, towards: Settings, share: float) -> Settings:
    """Settings between two: ``share`` 0 leaves ``settings``, 1 gives ``towards``; switches stay."""

    def mix(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    own, other = settings.normalized(), towards.normalized()
    names = ("exponent", "mask_threshold", "score_threshold", "nms_iou")
    return replace(
        settings,
        weights={name: mix(own[name], other[name]) for name in own},
        min_area=round(mix(settings.min_area, towards.min_area)),
        **{name: mix(getattr(settings, name), getattr(towards, name)) for name in names},
    )
