"""What the ensemble can be told: weights and thresholds, by cell type with a global fallback."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cellseg.ensemble.votes.calibration import Calibration
from cellseg.errors import InputError

if TYPE_CHECKING:
    from cellseg.ensemble.matching.match import MatchOptions


@dataclass(frozen=True)
class Settings:
    """How the instances of one cell type are made from the vote.

    Attributes:
        weights: weight of each member in the vote, 0 or more, not all 0. A member of weight 0 gives no boxes either.
        exponent: how much confidences count; 0: not at all.
        mask_threshold: a pixel belongs to a mask when its vote exceeds this.
        score_threshold: least score, box score x mean vote over the mask.
        nms_iou: of two masks with a larger IoU the one with the lower score goes.
        min_area: smaller masks are dropped, in pixels.
        fill_holes: whether holes are filled.
        largest_part: whether only the largest connected part stays.
    """

    weights: Mapping[str, float]
    exponent: float = 1.0
    mask_threshold: float = 0.5
    score_threshold: float = 0.3
    nms_iou: float = 0.3
    min_area: int = 0
    fill_holes: bool = True
    largest_part: bool = True

    def normalized(self) -> dict[str, float]:
        """The weights with sum 1."""
        total = sum(self.weights.values())
        return {name: weight / total for name, weight in self.weights.items()}


@dataclass(frozen=True)
class EnsembleSettings:
    """Settings of an ensemble: for every cell type, and for each member when it works alone.

    Attributes:
        members: names, in order.
        class_names: cell types, in the order of their labels.
        general: for types without settings of their own.
        types: settings by name of the type.
        claim: who gets a contested pixel, see ``claim_pixels``.
        alone: settings for a single member, as tuned for it; the other members have weight 0 in them.
        vote: how the members' probabilities become one, see ``vote``.
        calibration: of members' confidences, by name; members left out keep theirs.
        variants: other settings of the same ensemble, by a name for each, as for a comparison.
        matching: how finished instances of the members are matched, where that is done instead of a vote; None: as by
            default.
        margin: windows are larger than the fused boxes by this part of the box on each side; None: by that of the
            fusion options.
    """

    members: tuple[str, ...]
    class_names: tuple[str, ...]
    general: Settings
    types: Mapping[str, Settings] = field(default_factory=dict)
    claim: str = "probability"
    alone: Mapping[str, "EnsembleSettings"] = field(default_factory=dict)
    vote: str = "mean"
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    variants: Mapping[str, "EnsembleSettings"] = field(default_factory=dict)
    matching: "MatchOptions | None" = None
    margin: float | None = None

    def by_class(self) -> list[Settings]:
        """Settings of each class, in the order of the labels."""
        return [self.types.get(name, self.general) for name in self.class_names]

    def weight_table(self, members: Sequence[str] | None = None) -> Tensor:
        """Normalised weights float64 ``[M, K]`` of members (default: all) for each class."""
        columns = [settings.normalized() for settings in self.by_class()]
        rows = [[column[name] for column in columns] for name in (self.members if members is None else members)]
        return torch.tensor(rows, dtype=torch.float64).view(-1, len(self.class_names))

    def by_label(self, name: str, labels: Tensor) -> Tensor:
        """One setting for each instance, float64 ``[N]`` (bool for switches), by the labels int64 ``[N]``."""
        values = [getattr(settings, name) for settings in self.by_class()]
        kind = torch.bool if isinstance(values[0], bool) else torch.float64
        return torch.tensor(values, dtype=kind)[labels]

    def only(self, members: Iterable[str]) -> "EnsembleSettings":
        """Settings for some of the members: the others get weight 0.

        A single member gets what was tuned for it alone, where that is known.

        Raises:
            InputError: an unknown member, or one type is left without weights.
        """
        chosen = list(members)
        unknown = [name for name in chosen if name not in self.members]
        if unknown or not chosen:
            raise InputError(f"members {', '.join(unknown) or '(none)'}: the ensemble has {', '.join(self.members)}")
        if set(chosen) == set(self.members):
            return self
        if len(chosen) == 1 and chosen[0] in self.alone:
            return self.alone[chosen[0]]
        general = _silence_others(self.general, chosen, "global")
        types = {name: _silence_others(settings, chosen, name) for name, settings in self.types.items()}
        return replace(self, general=general, types=types, alone={}, variants={})

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; ``weights_file.parse_settings`` reads it."""
        content: dict[str, Any] = {"global": _plain(self.general) | {"claim": self.claim, "vote": self.vote}}
        if self.margin is not None:
            content["global"]["margin"] = self.margin
        content["types"] = {name: _plain(settings) for name, settings in self.types.items()}
        if self.calibration:
            content["calibration"] = _plain_calibration(self)
        for key, parts in (("alone", self.alone), ("variants", self.variants)):
            if parts:
                content[key] = {name: _plain_part(part, self) for name, part in parts.items()}
        if self.matching is not None:
            content["matching"] = self.matching.to_dict()
        return content


def uniform_settings(members: Sequence[str], class_names: Sequence[str], **options: Any) -> EnsembleSettings:
    """Equal weights for all members; ``options`` are the other attributes of ``Settings``."""
    general = Settings(weights=dict.fromkeys(members, 1.0), **options)
    return EnsembleSettings(members=tuple(members), class_names=tuple(class_names), general=general)


def _plain(settings: Settings) -> dict[str, Any]:
    return asdict(replace(settings, weights=dict(settings.weights)))


def _plain_calibration(settings: EnsembleSettings) -> dict[str, dict[str, float]]:
    return {name: one.to_dict() for name, one in settings.calibration.items()}


def _plain_part(part: EnsembleSettings, whole: EnsembleSettings) -> dict[str, Any]:
    """Settings inside of others: the calibration is that of the whole unless it stands there."""
    content = part.to_dict()
    content.pop("calibration", None)
    return content if part.calibration == whole.calibration else content | {"calibration": _plain_calibration(part)}


def _silence_others(settings: Settings, members: Sequence[str], where: str) -> Settings:
    weights = {name: weight if name in members else 0.0 for name, weight in settings.weights.items()}
    if not any(weights.values()):
        raise InputError(f"members {', '.join(members)}: their weights are all 0 in the settings {where!r}")
    return replace(settings, weights=weights)
