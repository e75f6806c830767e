"""What the ensemble asks of a combiner: a member that answers from the answers of other members."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from cellseg.ensemble.provenance import describe_members
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.structures import CropMasks


@dataclass(frozen=True)
class NothingSeen:
    """The state of a combiner, which does not look at images itself."""

    image_size: tuple[int, int]


class Combiner(Member):
    """Stands in the list of members and has a weight of its own, but sees only what its inputs say.

    It never proposes boxes, and it is asked after all other members.

    Attributes:
        inputs: names of the members that it reads, in its own order; no combiners among them.
        uses_features: whether it also reads their features.
        input_identities: hashes of the inputs that it was trained with (``provenance.describe_members``), by name;
            other inputs are refused. Empty: any will do.
    """

    proposes = False
    inputs: tuple[str, ...]
    uses_features: bool
    input_identities: Mapping[str, str]

    @abstractmethod
    def combine(
        self,
        boxes: Tensor,
        labels: Tensor,
        windows: Tensor,
        evidence: Mapping[str, CropMasks],
        confidence: Mapping[str, Tensor],
        features: Mapping[str, Tensor],
        image_key: str,
    ) -> tuple[CropMasks, Tensor]:
        """Answer as ``Member.evidence`` does, from the answers of the inputs.

        Args:
            boxes: float32 ``[N, 4]``, xyxy in pixels.
            labels: int64 ``[N]``.
            windows: int64 ``[N, 4]``.
            evidence: of each input, float32 probabilities in these windows.
            confidence: of each input, float32 ``[N]``.
            features: of each input, float32 ``[N, C, 7, 7]``, read in the windows; empty unless ``uses_features``.
            image_key: which image it is, see ``cache.image_key``.

        Returns:
            Float32 probabilities in the windows, and its confidence ``[N]``.
        """

    def encode(self, image: np.ndarray) -> NothingSeen:
        """Nothing to run: see ``combine``."""
        return NothingSeen(image.shape[:2])

    def boxes(self, state: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Refused: a combiner proposes none."""
        raise InputError(f"member {self.name}: proposes no boxes; those of {', '.join(self.inputs)} are its boxes")

    def evidence(self, state: Any, boxes: Tensor, labels: Tensor, windows: Tensor) -> tuple[CropMasks, Tensor]:
        """Refused: it answers through ``combine``."""
        raise InputError(f"member {self.name}: answers only together with {', '.join(self.inputs)}")


def check_combiner(combiner: Combiner, members: Sequence[Member]) -> None:
    """Refuse a combiner whose inputs are not there, or are not those it was trained with.

    Raises:
        InputError: names the combiner, the input and what to do.
    """
    there = {member.name: member for member in members if not isinstance(member, Combiner)}
    missing = [name for name in combiner.inputs if name not in there]
    if missing:
        raise InputError(
            f"member {combiner.name}: combines {', '.join(combiner.inputs)}; {', '.join(missing)} is not among the "
            f"members ({', '.join(there)}): add it, or leave {combiner.name} out"
        )
    current = describe_members([there[name] for name in combiner.inputs])
    stale = [name for name, known in combiner.input_identities.items() if current[name] != known]
    if stale:
        raise InputError(
            f"member {combiner.name}: was trained with another checkpoint or other options of {', '.join(stale)}; "
            "train it again, or give the members that it was trained with"
        )
