"""Evidence of a set of images for every set of box sources that a search may come to."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from cellseg.ensemble.cache import EvidenceCache
from cellseg.ensemble.collect import Answers, box_sources, collect_evidence
from cellseg.ensemble.evaluator import Evaluator
from cellseg.ensemble.evidence import ImageEvidence
from cellseg.ensemble.options import FusionOptions
from cellseg.ensemble.settings import EnsembleSettings, Settings
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.structures import CropMasks

# Up to this many members, every subset can be tried; the fused boxes of each may differ.
_MAX_FREE_MEMBERS = 4

Sources = tuple[str, ...]


class EvidencePool:
    """Scores any settings on images whose members were asked beforehand.

    Boxes come from the members with a weight above 0, so each set of such members has its own fused boxes and evidence.

    Args:
        members: of the ensemble.
        options: how boxes are fused.

    Attributes:
        required: members that must keep a weight above 0, because evidence without their boxes is not collected (only
            when there are many members).
    """

    def __init__(self, members: Sequence[Member], options: FusionOptions):
        self.members = tuple(members)
        self.names = tuple(member.name for member in members)
        self.options = options
        self._images: dict[Sources, list[ImageEvidence]] = {}
        self._truths: list[CropMasks] = []
        self._types: list[str] = []
        self._evaluators: dict[tuple[Sources, str | None], Evaluator] = {}
        everything = self.sources(self.names)
        self.required = frozenset(everything if len(members) > _MAX_FREE_MEMBERS else ())
        for voters in self._voter_sets():
            if sources := self.sources(voters):
                self._images.setdefault(sources, [])
        if not everything:
            raise InputError(f"none of the members {', '.join(self.names)} proposes boxes; add a detector")

    def _voter_sets(self) -> Iterable[tuple[str, ...]]:
        free = len(self.names) <= _MAX_FREE_MEMBERS
        sizes = range(1, len(self.names) + 1) if free else (1, len(self.names))
        return (voters for size in sizes for voters in combinations(self.names, size))

    def sources(self, voters: Iterable[str]) -> Sources:
        """Members whose boxes are used when these vote; empty when none of them proposes."""
        voters = set(voters)
        active = torch.tensor([[name in voters] for name in self.names])
        try:
            used = box_sources(active.expand(-1, len(self.members[0].class_names)), self.members, self.options)
        except InputError:
            return ()
        return tuple(name for name, row in zip(self.names, used, strict=True) if row.any())

    def add(self, image: np.ndarray, truth: CropMasks, cell_type: str, cache: EvidenceCache | None = None) -> None:
        """Ask all members about an image.

        Args:
            image: uint8 ``[H, W, 3]``, RGB.
            truth: its true cells, bool.
            cell_type: its type, for ``score`` of one type.
            cache: where answers are kept.
        """
        answers = [Answers(member, image, cache) for member in self.members]
        for sources, images in self._images.items():
            table = torch.tensor([[name in sources] for name in self.names])
            table = table.expand(-1, len(self.members[0].class_names))
            images.append(collect_evidence(answers, table, self.options, image.shape[:2]))
        self._truths.append(truth)
        self._types.append(cell_type)
        self._evaluators.clear()

    def __len__(self) -> int:
        return len(self._truths)

    def type_counts(self) -> dict[str, int]:
        """Number of images of each type, by name."""
        return {name: self._types.count(name) for name in sorted(set(self._types))}

    def typical_cell(self) -> int:
        """Median area of the true cells in pixels; 0 without cells."""
        areas = torch.cat([truth.areas() for truth in self._truths])
        return int(areas.median()) if len(areas) else 0

    def covers(self, settings: Settings) -> bool:
        """Whether the evidence for boxes of the members with a weight above 0 was collected, and they have any."""
        return self._used_sources(settings) in self._images

    def score(self, settings: EnsembleSettings, cell_type: str | None = None) -> Tensor:
        """Competition mAP of each image, or of each of one type: float64 ``[I]``.

        Raises:
            InputError: weights whose boxes were not collected.
        """
        sources = self._common_sources([settings.general, *settings.types.values()])
        key = (sources, cell_type)
        if key not in self._evaluators:
            chosen = [index for index, name in enumerate(self._types) if cell_type in (None, name)]
            images = self._images[sources]
            self._evaluators[key] = Evaluator([images[i] for i in chosen], [self._truths[i] for i in chosen])
        return self._evaluators[key].score(settings)

    def _common_sources(self, parts: Sequence[Settings]) -> Sources:
        found = {self._used_sources(part) for part in parts}
        if len(found) != 1 or (sources := found.pop()) not in self._images:
            raise InputError("the evidence of boxes from these members was not collected")
        return sources

    def _used_sources(self, settings: Settings) -> Sources:
        return self.sources(name for name, weight in settings.weights.items() if weight > 0)
