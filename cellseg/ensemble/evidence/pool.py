"""Evidence of a set of images for every set of box sources that a search may come to."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from cellseg.ensemble.boxes.options import FusionOptions
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.asked import AskedImages, Question
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.collect import asked_members, box_sources
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.feature_fusion.combiner import Combiner
from cellseg.ensemble.settings import EnsembleSettings, Settings
from cellseg.ensemble.tuning.evaluator import Evaluator
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.structures import CropMasks

# Up to this many members with boxes, every subset can be tried; the fused boxes of each may differ.
_MAX_FREE_MEMBERS = 4

# Bytes that evaluators take at most, if that is enough for the newest.
_MAX_KEPT = 1 << 31

Sources = tuple[str, ...]


class EvidencePool:
    """Scores any settings on images whose members were asked beforehand.

    Boxes come from the members with a weight above 0, so each set of such members has its own fused boxes and evidence.
    Combiners propose nothing and answer for the boxes of each set. An input of a combiner whose weight is 0 gives no
    boxes and has no vote, but the combiner keeps reading it: leaving one member out measures what its boxes and its
    vote are worth, not what the combiner would be without it. A combiner that votes alone has the boxes of its inputs.

    Args:
        members: of the ensemble; combiners with all their inputs.
        options: how boxes are fused.
        margins: other margins of the windows than that of the options, for settings that have one. Evidence for them is
            collected for the boxes of all members together, and for those of others when it is asked for.
        voters: sets of members that vote; evidence is collected for their boxes only. None: for every set that a search
            may come to.

    Attributes:
        margins: as above, without that of the options.
        required: members that must keep a weight above 0, because evidence without their boxes is not collected (only
            when there are many members).

    Raises:
        InputError: nobody proposes boxes, or a combiner lacks an input or was trained with another one.
    """

    def __init__(
        self,
        members: Sequence[Member],
        options: FusionOptions,
        margins: Iterable[float] = (),
        voters: Collection[Collection[str]] | None = None,
    ):
        self.members = tuple(members)
        self.names = tuple(member.name for member in members)
        self.options = options
        self.margins = tuple(margin for margin in dict.fromkeys(margins) if margin != options.margin)
        self._asked, self._indices = AskedImages(members, options), []
        self._evaluators: dict[tuple[Question, str], Evaluator] = {}
        asked_members(members, self.names)  # refuses combiners that do not fit
        self._proposing = tuple(member.name for member in members if member.proposes)
        everything = self.sources(self.names)
        self.required = frozenset(everything if len(self._proposing) > _MAX_FREE_MEMBERS else ())
        if not everything:
            raise InputError(f"none of the members {', '.join(self.names)} proposes boxes; add a detector")
        sets = self._voter_sets() if voters is None else voters
        # In the order of the sets, each once.
        self._questions = dict.fromkeys(Question(self.sources(chosen), options.margin) for chosen in sets)
        self._questions.pop(Question((), options.margin), None)

    def _voter_sets(self) -> Iterator[tuple[str, ...]]:
        """Sets of voters that together come to every set of sources that is to be collected."""
        free = len(self._proposing) <= _MAX_FREE_MEMBERS
        sizes = range(1, len(self._proposing) + 1) if free else (1, len(self._proposing))
        for size in sizes:
            yield from combinations(self._proposing, size)
        yield from ((member.name,) for member in self.members if isinstance(member, Combiner))

    def sources(self, voters: Iterable[str]) -> Sources:
        """Members whose boxes are used when these vote; empty when none of them proposes."""
        voters = set(voters)
        active = torch.tensor([[name in voters] for name in self.names])
        try:
            used = box_sources(active.expand(-1, len(self.members[0].class_names)), self.members, self.options)
        except InputError:
            return ()
        return tuple(name for name, row in zip(self.names, used, strict=True) if row.any())

    def add(
        self,
        image: np.ndarray,
        truth: CropMasks,
        cell_type: str,
        cache: EvidenceCache | None = None,
        ask: Callable[[Member], Answers] | None = None,
    ) -> None:
        """Ask all members about an image.

        Args:
            image: uint8 ``[H, W, 3]``, RGB.
            truth: its true cells, bool.
            cell_type: its type, for ``score`` of one type.
            cache: where answers are kept.
            ask: what a member says about the image, where others ask it too; None: it is asked anew.
        """
        everything = [Question(self.sources(self.names), margin) for margin in self.margins]
        self._indices.append(len(self._asked))
        self._asked.add(image, truth, cell_type, [*self._questions, *everything], cache, ask)
        self._evaluators.clear()

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def truths(self) -> list[CropMasks]:
        """The true cells of each image."""
        return [self._asked.truth(index) for index in self._indices]

    @property
    def types(self) -> list[str]:
        """The type of each image."""
        return [self._asked.cell_type(index) for index in self._indices]

    def evidence(self, voters: Iterable[str], margin: float | None = None) -> list[ImageEvidence]:
        """What is known of each image when these vote.

        Args:
            voters: their names.
            margin: of the windows; None: that of the options.

        Raises:
            InputError: it was not collected.
        """
        question = self._collected({self._question(voters, margin)})
        return [self._asked.evidence(index, question) for index in self._indices]

    def subset(self, indices: Iterable[int]) -> "EvidencePool":
        """A pool of some of the images, in this order; nobody is asked again."""
        part = copy(self)
        part._indices = [self._indices[index] for index in indices]
        part._evaluators = {}
        return part

    def type_counts(self) -> dict[str, int]:
        """Number of images of each type, by name."""
        return dict(sorted(Counter(self.types).items()))

    def typical_cell(self) -> int:
        """Median area of the true cells in pixels; 0 without cells."""
        areas = torch.cat([truth.areas() for truth in self.truths])
        return int(areas.median()) if len(areas) else 0

    def covers(self, settings: Settings, margin: float | None = None) -> bool:
        """Whether the members with a weight above 0 have boxes, and evidence for these can be had with this margin."""
        return self._known(self._question(_voters(settings), margin))

    def score(self, settings: EnsembleSettings, cell_type: str | None = None) -> Tensor:
        """Competition mAP of each image, or of each of one type: float64 ``[I]``.

        Raises:
            InputError: weights or a margin for which evidence was not collected.
        """
        parts = [settings.general, *settings.types.values()]
        question = self._collected({self._question(_voters(part), settings.margin) for part in parts})
        if cell_type is not None:
            return self._evaluator(question, cell_type).score(settings)
        scores = torch.zeros(len(self), dtype=torch.float64)
        for name in self.type_counts():
            scores[self._of_type(name)] = self._evaluator(question, name).score(settings)
        return scores

    def _of_type(self, cell_type: str) -> list[int]:
        return [index for index, name in enumerate(self.types) if name == cell_type]

    def _evaluator(self, question: Question, cell_type: str) -> Evaluator:
        """The evaluator of the images of a type; those that were used last are kept, as far as memory allows."""
        key = (question, cell_type)
        if key not in self._evaluators:
            chosen = self._of_type(cell_type)
            images = [self._asked.evidence(self._indices[index], question) for index in chosen]
            truths = self.truths
            evaluator = Evaluator(images, [truths[index] for index in chosen])
            self._make_room(evaluator.nbytes)
            self._evaluators[key] = evaluator
        self._evaluators[key] = self._evaluators.pop(key)  # the last one is the newest
        return self._evaluators[key]

    def _make_room(self, size: int) -> None:
        total = size + sum(evaluator.nbytes for evaluator in self._evaluators.values())
        for key in list(self._evaluators):
            if total > _MAX_KEPT:
                total -= self._evaluators.pop(key).nbytes

    def _question(self, voters: Iterable[str], margin: float | None) -> Question:
        return Question(self.sources(voters), self.options.margin if margin is None else margin)

    def _known(self, question: Question) -> bool:
        usual = Question(question.sources, self.options.margin) in self._questions
        return usual and question.margin in (self.options.margin, *self.margins)

    def _collected(self, questions: set[Question]) -> Question:
        """The one question that is asked.

        Raises:
            InputError: there are several, or it is none for which evidence is collected.
        """
        if len(questions) != 1 or not self._known(question := questions.pop()):
            raise InputError("the evidence of boxes from these members was not collected")
        return question


def _voters(settings: Settings) -> list[str]:
    return [name for name, weight in settings.weights.items() if weight > 0]
