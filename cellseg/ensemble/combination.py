"""Ways to make one result of what several members know: a vote on common boxes, or matching of finished instances."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from cellseg.ensemble.boxes.options import FusionOptions
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.collect import Answers, asked_members, box_sources, collect_evidence
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.matching.match import MatchOptions, match_members, weights_of
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.votes.resolve import resolve
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.structures import Instances


class Combination(Protocol):
    """From an image to its instances.

    Args of the constructor:
        members: that take part.
        settings: of an ensemble with these members, and perhaps others.
        fusion: how boxes are fused.
        cache: where the members' answers are kept; None: nowhere.
    """

    def __init__(
        self,
        members: Sequence[Member],
        settings: EnsembleSettings,
        fusion: FusionOptions,
        cache: EvidenceCache | None,
    ): ...

    @staticmethod
    def relevant(settings: EnsembleSettings, names: Sequence[str]) -> EnsembleSettings:
        """What results depend on when members of these names take part, and nothing else."""

    def predict(self, image: np.ndarray) -> Instances:
        """Instances of an image uint8 ``[H, W, 3]`` (RGB): without overlaps, the highest score first."""


class Vote:
    """Boxes are fused first; every member answers for the same boxes, and a vote decides pixel by pixel."""

    def __init__(
        self,
        members: Sequence[Member],
        settings: EnsembleSettings,
        fusion: FusionOptions,
        cache: EvidenceCache | None,
    ):
        names = [member.name for member in members]
        active = settings.weight_table() > 0
        used = [name for name, row in zip(settings.members, active, strict=True) if row.any()]
        missing = [name for name in used if name not in names]
        if missing:
            raise InputError(f"the settings give a weight to {', '.join(missing)}, and no such member is there")
        # A member that never votes is never asked, unless a combiner that votes reads it: it costs nothing.
        self._asked = asked_members(members, used)
        asked = [member.name for member in self._asked]
        unknown = [name for name in asked if name not in settings.members]
        if unknown:
            raise InputError(f"the settings do not know {', '.join(unknown)}, which a combiner among them reads")
        self._sources = box_sources(settings.weight_table(asked) > 0, self._asked, fusion)
        self._settings, self._fusion, self._cache = settings, fusion.with_margin(settings.margin), cache

    @staticmethod
    def relevant(settings: EnsembleSettings, names: Sequence[str]) -> EnsembleSettings:
        """Without what is for single members, for comparisons and for matching."""
        return replace(settings.only(names), alone={}, variants={}, matching=None)

    def collect(self, image: np.ndarray) -> ImageEvidence:
        """Boxes, and evidence of the members that vote; see ``Ensemble.collect``."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"image: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
        answers = [Answers(member, image, self._cache) for member in self._asked]
        least = torch.tensor([settings.score_threshold for settings in self._settings.by_class()])
        return collect_evidence(answers, self._sources, self._fusion, image.shape[:2], least)

    def predict(self, image: np.ndarray) -> Instances:
        """Collect and resolve."""
        with torch.inference_mode():
            return resolve(self.collect(image), self._settings)


class Match:
    """Every member works alone, with what was tuned for it alone where that is known; the results are matched.

    All members take part, whatever their weight in a vote; ``matching.weights`` of the settings says how much each
    counts.
    """

    def __init__(
        self,
        members: Sequence[Member],
        settings: EnsembleSettings,
        fusion: FusionOptions,
        cache: EvidenceCache | None,
    ):
        silent = [member.name for member in members if not member.proposes]
        if silent:
            raise InputError(
                f"member {silent[0]}: proposes no boxes, so it has no instances of its own to match; leave it out, or "
                "let the members vote (combine = 'vote')"
            )
        relevant = self.relevant(settings, [member.name for member in members])
        weights = relevant.matching.weights
        # A member whose instances do not count is not asked.
        heard = [member for member in members if weights[member.name] > 0]
        self._alone = {member.name: Vote([member], relevant.alone[member.name], fusion, cache) for member in heard}
        self._options = replace(relevant.matching, weights={name: weights[name] for name in self._alone})

    @staticmethod
    def relevant(settings: EnsembleSettings, names: Sequence[str]) -> EnsembleSettings:
        """With settings for each of the members alone, and options of matching for them."""
        options = settings.matching or MatchOptions()
        known = dict(zip(settings.members, weights_of(settings.members, options), strict=True))
        alone = {name: Vote.relevant(settings, [name]) for name in names}
        weights = {name: known[name] for name in names}
        if not any(weights.values()):
            raise InputError(f"matching.weights: the weights of {', '.join(names)} are all 0")
        return replace(settings, alone=alone, variants={}, matching=replace(options, weights=weights))

    def predict(self, image: np.ndarray) -> Instances:
        """Let every member work alone, and match what they found."""
        return match_members({name: vote.predict(image) for name, vote in self._alone.items()}, self._options)


COMBINATIONS: dict[str, type[Combination]] = {"vote": Vote, "match": Match}
