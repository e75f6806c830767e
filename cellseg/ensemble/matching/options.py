"""What instance matching can be told."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cellseg.errors import InputError

# Share of the members' weight that must have found a cell: more than this. The small number keeps rounding from
# deciding between exactly half and more.
_ROUNDING = 1e-9
RULES = {"any": 0.0, "majority": 0.5 + _ROUNDING, "all": 1.0 - _ROUNDING}

# Where each number may lie, and whether it may be the upper end itself.
_RANGES = {
    "iou_threshold": (1.0, False),
    "mask_threshold": (1.0, False),
    "score_threshold": (1.0, True),
    "nms_iou": (1.0, True),
    "min_area": (math.inf, False),
}


@dataclass(frozen=True)
class MatchOptions:
    """Options of ``match_instances``.

    Attributes:
        iou_threshold: instances of different members whose masks have a larger IoU mean the same cell.
        rule: which cells stay: those that ``any`` member found, a ``majority`` (more than half of the members'
            weight), or ``all``.
        mask_threshold: a pixel belongs to a cell when a larger part of the weight of the members that found the cell
            has it; where exactly this part has it, the member with the highest weight x score decides.
        score_threshold: least score; the score is the weighted mean over all members, 0 where a member has no such
            cell.
        nms_iou: of two fused masks with a larger IoU the one with the lower score goes.
        min_area: smaller masks are dropped, in pixels.
        weights: weight of each member by name, where members have names; members left out have 1, one of weight 0 is
            not heard.

    Raises:
        InputError: a value that cannot be used; names the attribute.
    """

    iou_threshold: float = 0.5
    rule: str = "majority"
    mask_threshold: float = 0.5
    score_threshold: float = 0.0
    min_area: int = 0
    nms_iou: float = 0.3
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InputError(f"matching.rule: {self.rule!r} is none of {', '.join(RULES)}")
        for name, (high, inclusive) in _RANGES.items():
            _check_number(f"matching.{name}", getattr(self, name), high, inclusive)
        if self.min_area != int(self.min_area):
            raise InputError(f"matching.min_area: expected whole pixels, found {self.min_area!r}")
        if self.weights is not None:
            _check_weights(self.weights)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; :func:`parse_match_options` reads it."""
        return asdict(self) | {"weights": None if self.weights is None else dict(self.weights)}


def parse_match_options(content: Any, where: str) -> MatchOptions:
    """Options from plain values.

    Args:
        content: attributes of ``MatchOptions``; those left out have their defaults.
        where: the file and the place in it, for messages.

    Raises:
        InputError: an unknown key or a value that cannot be used; names ``where`` and the key.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: expected names with values, found {content!r}")
    known = [entry.name for entry in fields(MatchOptions)]
    for key in content:
        if key not in known:
            raise InputError(f"{where}.{key}: unknown key; known are {', '.join(known)}")
    try:
        return MatchOptions(**content)
    except InputError as error:
        raise InputError(f"{where}{str(error).removeprefix('matching')}") from error


def _check_weights(weights: Any) -> None:
    if not isinstance(weights, Mapping):
        raise InputError(f"matching.weights: expected names with values, found {weights!r}")
    for name, weight in weights.items():
        _check_number(f"matching.weights.{name}", weight, math.inf, False)


def _check_number(place: str, value: Any, high: float, inclusive: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{place}: expected a number, found {value!r}")
    if not (0 <= value <= high if inclusive else 0 <= value < high):
        bounds = "0 or more" if math.isinf(high) else f"0 to {high:g}" if inclusive else f"0 or more and below {high:g}"
        raise InputError(f"{place}: expected {bounds}, found {value!r}")
