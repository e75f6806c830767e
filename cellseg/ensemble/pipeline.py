"""The ensemble: members, settings and fusion options, from an image to its instances."""

from collections.abc import Sequence

import numpy as np
import torch

from cellseg.ensemble.cache import EvidenceCache
from cellseg.ensemble.collect import Answers, box_sources, collect_evidence
from cellseg.ensemble.evidence import ImageEvidence
from cellseg.ensemble.options import FusionOptions
from cellseg.ensemble.resolve import resolve
from cellseg.ensemble.settings import EnsembleSettings, uniform_settings
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.structures import Instances


class Ensemble:
    """Several members that vote.

    Args:
        members: with different names and the same cell types.
        settings: weights and thresholds; None: equal weights.
        fusion: how boxes are fused; None: the default.
        cache: where the members' answers are kept; None: nowhere.

    Raises:
        InputError: members that do not fit together or to the settings, or nobody proposes boxes.
    """

    def __init__(
        self,
        members: Sequence[Member],
        settings: EnsembleSettings | None = None,
        fusion: FusionOptions | None = None,
        cache: EvidenceCache | None = None,
    ):
        check_members(members)
        self.members = tuple(members)
        self.class_names = tuple(members[0].class_names)
        names = tuple(member.name for member in members)
        self.settings = settings or uniform_settings(names, self.class_names)
        self.fusion = fusion or FusionOptions()
        self.cache = cache
        if self.settings.class_names != self.class_names:
            raise InputError(f"settings are for the types {self.settings.class_names}, members for {self.class_names}")
        active = self.settings.weight_table() > 0
        used = [name for name, row in zip(self.settings.members, active, strict=True) if row.any()]
        missing = [name for name in used if name not in names]
        if missing:
            raise InputError(f"the settings give a weight to {', '.join(missing)}, and no such member is there")
        # A member that never votes is never asked: it costs nothing.
        self._asked = [member for member in members if member.name in used]
        self._sources = box_sources(self.settings.weight_table(used) > 0, self._asked, self.fusion)

    def collect(self, image: np.ndarray) -> ImageEvidence:
        """Boxes, and evidence of the members that vote.

        Boxes whose fused score is below their type's score threshold are left out: an instance's score is never
        higher than that of its box.

        Args:
            image: uint8 ``[H, W, 3]``, RGB.

        Raises:
            InputError: another kind of image, or a member gave something that cannot be used.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"image: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
        answers = [Answers(member, image, self.cache) for member in self._asked]
        least = torch.tensor([settings.score_threshold for settings in self.settings.by_class()])
        return collect_evidence(answers, self._sources, self.fusion, image.shape[:2], least)

    def resolve(self, evidence: ImageEvidence, settings: EnsembleSettings | None = None) -> Instances:
        """Instances from evidence, with the ensemble's settings or others; see ``cellseg.ensemble.resolve``."""
        return resolve(evidence, settings or self.settings)

    def predict(self, image: np.ndarray) -> Instances:
        """Instances of an image uint8 ``[H, W, 3]`` (RGB): without overlaps, the highest score first."""
        with torch.inference_mode():
            return self.resolve(self.collect(image))


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
