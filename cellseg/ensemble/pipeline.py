"""The ensemble: members, settings and fusion options, from an image to its instances."""

from collections.abc import Sequence

import numpy as np

from cellseg.ensemble.boxes.options import FusionOptions
from cellseg.ensemble.combination import COMBINATIONS, Vote
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.settings import EnsembleSettings, uniform_settings
from cellseg.ensemble.votes.resolve import resolve
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.structures import Instances


class Ensemble:
    """Several members, and how they are combined.

    Args:
        members: with different names and the same cell types.
        settings: weights and thresholds; None: equal weights.
        fusion: how boxes are fused; None: the default.
        cache: where the members' answers are kept; None: nowhere.
        combine: a key of ``COMBINATIONS``: ``vote``, boxes are fused and every member answers for the same boxes; or
            ``match``, every member works alone and finished instances are matched.

    Raises:
        InputError: members that do not fit together, to the settings or to the way they are combined.
    """

    def __init__(
        self,
        members: Sequence[Member],
        settings: EnsembleSettings | None = None,
        fusion: FusionOptions | None = None,
        cache: EvidenceCache | None = None,
        combine: str = "vote",
    ):
        check_members(members)
        if combine not in COMBINATIONS:
            raise InputError(f"combine: {combine!r} is none of {', '.join(COMBINATIONS)}")
        self.members = tuple(members)
        self.class_names = tuple(members[0].class_names)
        self.settings = settings or uniform_settings([member.name for member in members], self.class_names)
        self.fusion = fusion or FusionOptions()
        self.cache = cache
        if self.settings.class_names != self.class_names:
            raise InputError(f"settings are for the types {self.settings.class_names}, members for {self.class_names}")
        self._combination = COMBINATIONS[combine](self.members, self.settings, self.fusion, cache)

    def collect(self, image: np.ndarray) -> ImageEvidence:
        """Boxes, and evidence of the members that vote.

        Boxes whose fused score is below their type's score threshold are left out: an instance's score is never
        higher than that of its box.

        Args:
            image: uint8 ``[H, W, 3]``, RGB.

        Raises:
            InputError: another kind of image, a member gave something that cannot be used, or the members do not vote.
        """
        if not isinstance(self._combination, Vote):
            raise InputError("members whose finished instances are matched have no evidence in common; they must vote")
        return self._combination.collect(image)

    def resolve(self, evidence: ImageEvidence, settings: EnsembleSettings | None = None) -> Instances:
        """Instances from evidence, with the ensemble's settings or others; see ``cellseg.ensemble.votes.resolve``."""
        return resolve(evidence, settings or self.settings)

    def predict(self, image: np.ndarray) -> Instances:
        """Instances of an image uint8 ``[H, W, 3]`` (RGB): without overlaps, the highest score first."""
        return self._combination.predict(image)


def check_members(members: Sequence[Member]) -> None:
    """Refuse members that cannot vote together.

    Raises:
        InputError: no members, a name twice, or different cell types.
    """
    if not members:
        raise InputError("an ensemble needs at least one member")
    names = [member.name for member in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"members: the name {', '.join(twice)} stands twice; give each member its own name")
    for member in members:
        if tuple(member.class_names) != tuple(members[0].class_names):
            raise InputError(
                f"member {member.name} knows the types {list(member.class_names)}, "
                f"{members[0].name} knows {list(members[0].class_names)}; train them on the same data folder"
            )
