"""How boxes become windows: the options of box fusion, the same for tuning and inference."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from cellseg.ensemble.boxes.fusion import fuse_boxes
from cellseg.errors import InputError


@dataclass(frozen=True)
class FusionOptions:
    """Options of an ensemble config's ``fusion``; evidence depends on them, so changing one means tuning again.

    Attributes:
        method, iou_threshold, across_classes, rule, decay, sigma, min_score: see ``fuse_boxes``.
        weights: weight of each member in the fusion of boxes (not in the vote); members left out have 1, a member of
            weight 0 gives no boxes.
        skip_score: boxes with a lower score are not looked at.
        proposers: members whose boxes are used; None: of all that propose any. Where none of these takes part, as when
            another member works alone, those that take part propose.
        margin: windows are larger than their boxes by this part of the box on each side; settings may have another.
        one_type: an image holds one cell type only: all its boxes get the one that the members vote for.
    """

    method: str = "wbf"
    iou_threshold: float = 0.55
    across_classes: bool = False
    rule: str | None = None
    decay: str | None = None
    sigma: float | None = None
    min_score: float | None = None
    weights: Mapping[str, float] | None = None
    skip_score: float = 0.05
    proposers: tuple[str, ...] | None = None
    margin: float = 0.15
    one_type: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        values = asdict(self)
        values["proposers"] = None if self.proposers is None else list(self.proposers)
        return values

    def with_margin(self, margin: float | None) -> "FusionOptions":
        """The same with a margin from settings, where they have one."""
        return self if margin is None else replace(self, margin=margin)

    def fuse_arguments(self) -> dict[str, Any]:
        """The keyword arguments that ``fuse_boxes`` takes as they are."""
        names = ("method", "iou_threshold", "skip_score", "across_classes", "rule", "decay", "sigma", "min_score")
        return {name: getattr(self, name) for name in names}


def parse_fusion(content: Mapping[str, Any], members: Sequence[str], where: str) -> FusionOptions:
    """Fusion options from a config.

    Raises:
        InputError: an unknown key or member, or a value that cannot be used; names ``where`` and the key.
    """
    known = [entry.name for entry in fields(FusionOptions)]
    for key in content:
        if key not in known:
            raise InputError(f"{where}: fusion.{key}: unknown key; known are {', '.join(known)}")
    values = dict(content)
    for key in ("weights", "proposers"):
        unknown = [name for name in values.get(key) or () if name not in members]
        if unknown:
            raise InputError(f"{where}: fusion.{key}: unknown members {unknown}; the ensemble has {', '.join(members)}")
    if values.get("proposers") is not None:
        values["proposers"] = tuple(values["proposers"])
    if values.get("weights") is not None:
        values["weights"] = dict(values["weights"])
    for key in ("across_classes", "one_type"):
        if not isinstance(values.get(key, False), bool):
            raise InputError(f"{where}: fusion.{key}: expected True or False, found {values[key]!r}")
    for key in ("iou_threshold", "skip_score", "margin"):
        value = values.get(key, 0.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"{where}: fusion.{key}: expected 0 to 1, found {value!r}")
    options = FusionOptions(**values)
    arguments = options.fuse_arguments()
    try:
        # A try on no boxes at all: what fuse_boxes refuses should be refused before any network is loaded.
        nothing = torch.zeros(0, dtype=torch.int64)
        weights = [(options.weights or {}).get(name, 1.0) for name in members]
        fuse_boxes(
            torch.zeros((0, 4)),
            torch.zeros(0),
            nothing,
            nothing,
            len(members),
            weights=torch.tensor(weights),
            **arguments,
        )
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{where}: fusion: {error}") from error
    return options
