"""Images with what their members said, kept for many questions; what nobody has asked yet is asked when needed."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from cellseg.ensemble.boxes.options import FusionOptions
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.collect import collect_evidence
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.members import Member
from cellseg.structures import CropMasks


class Question(NamedTuple):
    """What members are asked about: the fused boxes of some of them, in windows with a margin."""

    sources: tuple[str, ...]
    margin: float


class _Image(NamedTuple):
    pixels: np.ndarray
    truth: CropMasks
    cell_type: str
    cache: EvidenceCache | None
    known: dict[Question, ImageEvidence]


class AskedImages:
    """A growing list of images.

    Args:
        members: of the ensemble; combiners with all their inputs.
        options: how boxes are fused.
    """

    def __init__(self, members: Sequence[Member], options: FusionOptions):
        self._members, self._options = tuple(members), options
        self._images: list[_Image] = []

    def __len__(self) -> int:
        return len(self._images)

    def add(
        self,
        pixels: np.ndarray,
        truth: CropMasks,
        cell_type: str,
        questions: Iterable[Question],
        cache: EvidenceCache | None = None,
        ask: Callable[[Member], Answers] | None = None,
    ) -> None:
        """Ask all members about an image; each looks at it once for all questions.

        Args:
            pixels: uint8 ``[H, W, 3]``, RGB.
            truth: the true cells, bool.
            cell_type: of the image.
            questions: that are sure to be of interest.
            cache: where answers are kept.
            ask: what a member says about the image, where others ask it too; None: it is asked anew.
        """
        answers = [Answers(member, pixels, cache) if ask is None else ask(member) for member in self._members]
        known = {question: self._collect(answers, question, pixels) for question in questions}
        self._images.append(_Image(pixels, truth, cell_type, cache, known))

    def truth(self, index: int) -> CropMasks:
        """The true cells of an image."""
        return self._images[index].truth

    def cell_type(self, index: int) -> str:
        """The type of an image."""
        return self._images[index].cell_type

    def evidence(self, index: int, question: Question) -> ImageEvidence:
        """What is known of an image; a question that is new makes the members look at it once more."""
        image = self._images[index]
        if question not in image.known:
            answers = [Answers(member, image.pixels, image.cache) for member in self._members]
            with torch.inference_mode():
                image.known[question] = self._collect(answers, question, image.pixels)
        return image.known[question]

    def _collect(self, answers: Sequence[Answers], question: Question, pixels: np.ndarray) -> ImageEvidence:
        table = torch.tensor([[member.name in question.sources] for member in self._members])
        table = table.expand(-1, len(self._members[0].class_names))
        return collect_evidence(answers, table, self._options.with_margin(question.margin), pixels.shape[:2])
