"""What each member, each stage and each vote scheme is worth: the ensemble with it against the ensemble without."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.settings import EnsembleSettings, Settings
from cellseg.ensemble.tuning.cases import Case, Interval, base_scores, case_groups, change_all, difference_with_interval
from cellseg.ensemble.votes.claims import POLICIES
from cellseg.ensemble.votes.resolve import Candidates, cast_votes, make_candidates, resolve, settle_pixels
from cellseg.ensemble.votes.schemes import SCHEMES
from cellseg.ensemble.votes.suppression import mask_overlaps, suppress_masks
from cellseg.errors import InputError
from cellseg.metrics import competition_map

MEMBER, STAGE, FUSION, SCHEME = "member", "stage", "fusion", "vote scheme"

# Score of each image of a case with something changed, float64 [I].
Change = Callable[[Case], Tensor]


@dataclass(frozen=True)
class Effect:
    """The ensemble against the same ensemble with one thing changed.

    Attributes:
        kind: ``member``, ``stage``, ``fusion`` (of boxes, their windows, what is asked) or ``vote scheme``.
        name: what was left out or exchanged.
        map: competition mAP with the change; None where it could not be measured.
        gain: mAP of the ensemble as tuned minus that: above 0, what was left out pays.
        interval: 95% interval of the gain, by a bootstrap over groups; None where all images are of one group.
        note: why it could not be measured.
    """

    kind: str
    name: str
    map: float | None = None
    gain: float | None = None
    interval: Interval | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """In words what the numbers say about what was left out or, for a scheme or policy, exchanged."""
        if self.gain is None:
            return self.note
        if self.gain == 0 and self.interval in (None, (0.0, 0.0)):
            return "makes no difference"
        if self.interval is None:
            return "pays" if self.gain > 0 else "does not pay"
        if self.interval[0] > 0:
            return "pays"
        return "does not pay" if self.interval[1] < 0 else "open"


def measure_effects(cases: Sequence[Case], groups: Sequence[str]) -> list[Effect]:
    """Change one thing after the other, everything else as tuned.

    A member that is left out has no vote and gives no boxes; the weights of the others keep their proportions (where
    all of them were 0, they become equal). A combiner that reads it keeps reading it. Another set of members, another
    fusion, another vote, or no rescoring changes what a score means: there, the score threshold of each type is moved
    so that as many masks of it pass as before.

    Args:
        cases: images with the settings to score them with.
        groups: the group of each image, in the order of the whole pool.

    Returns:
        Members, stages, ways to fuse boxes, vote schemes.
    """
    own, base = case_groups(cases, groups), base_scores(cases)
    found = []
    kinds = {MEMBER: _members, STAGE: _stages, FUSION: _fusions, SCHEME: _schemes}
    for kind, list_changes in kinds.items():
        for name, change in list_changes(cases).items():
            try:
                changed = _scores(cases, change)
            except InputError as error:
                found.append(Effect(kind, name, note=f"not measured: {error}"))
                continue
            gain, interval = difference_with_interval(base, changed, own)
            found.append(Effect(kind, name, float(np.mean(changed)), gain, interval))
    return found


def _scores(cases: Sequence[Case], change: Change) -> list[float]:
    return [value for case in cases for value in change(case).tolist()]


def _members(cases: Sequence[Case]) -> dict[str, Change]:
    def without(name: str) -> Change:
        return lambda case: _score_as_many(case, case.pool, _without_member(case, name))

    names = [name for name in cases[0].settings.members if any(name in case.voters() for case in cases)]
    return {name: without(name) for name in names} if len(cases[0].pool.names) > 1 else {}


def _without_member(case: Case, name: str) -> EnsembleSettings:
    """Settings in which a member has weight 0; where nobody else had a vote, all others have the same."""

    def silenced(part: Settings) -> Settings:
        weights = {member: 0.0 if member == name else weight for member, weight in part.weights.items()}
        if not any(weights.values()):
            weights = {member: float(member != name and member in case.pool.names) for member in weights}
        return replace(part, weights=weights)

    types = {kind: silenced(part) for kind, part in case.settings.types.items()}
    return replace(case.settings, general=silenced(case.settings.general), types=types)


def _stages(cases: Sequence[Case]) -> dict[str, Change]:
    def changed(**options: Any) -> Change:
        return lambda case: case.pool.score(change_all(case.settings, **options))

    def replaced(**options: Any) -> Change:
        return lambda case: case.pool.score(replace(case.settings, **options))

    parts = [part for case in cases for part in _parts(case.settings)]
    settings = [case.settings for case in cases]
    stages: dict[str, tuple[bool, Change]] = {
        "confidence exponent": (any(part.exponent > 0 for part in parts), changed(exponent=0.0)),
        "calibration": (any(one.calibration for one in settings), replaced(calibration={})),
        "settings by cell type": (any(one.types for one in settings), replaced(types={})),
        "rescoring": (True, _score_without_rescoring),
        "score threshold": (any(part.score_threshold > 0 for part in parts), changed(score_threshold=0.0)),
        "mask NMS": (any(part.nms_iou < 1 for part in parts), changed(nms_iou=1.0)),
        "holes filled": (any(part.fill_holes for part in parts), changed(fill_holes=False)),
        "largest part only": (any(part.largest_part for part in parts), changed(largest_part=False)),
        "least area": (any(part.min_area > 0 for part in parts), changed(min_area=0)),
    }
    claims = {
        f"claim {settings[0].claim}, not {name}": replaced(claim=name) for name in POLICIES if name != settings[0].claim
    }
    return {name: change for name, (there, change) in stages.items() if there} | claims


def _fusions(cases: Sequence[Case]) -> dict[str, Change]:
    def asked(name: str) -> Change:
        return lambda case: _score_as_many(case, case.others[name], replace(case.settings, margin=None))

    return {name: asked(name) for name in cases[0].others}


def _schemes(cases: Sequence[Case]) -> dict[str, Change]:
    def voted(name: str) -> Change:
        return lambda case: _score_as_many(case, case.pool, replace(case.settings, vote=name))

    own = cases[0].settings.vote
    return {f"{own}, not {name}": voted(name) for name in SCHEMES if name != own}


def _parts(settings: EnsembleSettings) -> list[Settings]:
    return [settings.general, *settings.types.values()]


def _score_as_many(case: Case, pool: EvidencePool, settings: EnsembleSettings) -> Tensor:
    """Score other settings, or the same on other evidence, at the thresholds that let as many masks of each type pass.

    Args:
        case: as it is; it tells how many.
        pool: the same images.
        settings: other ones.
    """
    changed = Case(pool, settings, case.images)
    with torch.inference_mode():
        found = [_candidates(image, settings) for image in changed.evidence()]
        least = _least_scores(found, [candidates.scores for candidates in found], _count_passing(case))
        parts = zip(settings.class_names, settings.by_class(), least.tolist(), strict=True)
        types = {name: replace(part, score_threshold=threshold) for name, part, threshold in parts}
        # Image by image: what the pool prepares for many settings would be for one, and of soft-NMS, which drops no
        # box, gigabytes.
        masks = [resolve(image, replace(settings, types=types)).masks for image in changed.evidence()]
    return competition_map(masks, pool.truths).per_image


def _score_without_rescoring(case: Case) -> Tensor:
    """With the score of the box alone, cut so that as many cells of each type stay as with rescoring.

    The mean vote over a mask lies below 1, so the same threshold would mean another one.
    """
    settings = case.settings
    with torch.inference_mode():
        images = case.evidence()
        found = [_candidates(image, settings) for image in images]
        of_boxes = [image.scores[candidates.places] for image, candidates in zip(images, found, strict=True)]
        least = _least_scores(found, of_boxes, _count_passing(case))
        masks = []
        for candidates, scores in zip(found, of_boxes, strict=True):
            candidates = replace(candidates, scores=scores)
            candidates = candidates[scores >= least[candidates.labels]]
            thresholds = settings.by_label("nms_iou", candidates.labels)
            kept = suppress_masks(candidates.scores, *mask_overlaps(candidates.masks), thresholds)
            masks.append(settle_pixels(candidates[kept], settings)[0])
    return competition_map(masks, case.pool.truths).per_image


def _candidates(image: ImageEvidence, settings: EnsembleSettings) -> Candidates:
    return make_candidates(cast_votes(image, settings), image, settings)


def _count_passing(case: Case) -> list[int]:
    """How many masks of each type reach its score threshold in all images of a case."""
    thresholds = [part.score_threshold for part in case.settings.by_class()]
    counts = [0] * len(thresholds)
    with torch.inference_mode():
        for image in case.evidence():
            candidates = _candidates(image, case.settings)
            for kind, threshold in enumerate(thresholds):
                counts[kind] += int((candidates.scores[candidates.labels == kind] >= threshold).sum())
    return counts


def _least_scores(found: Sequence[Candidates], scores: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """For each type the score that so many masks of it reach: float64 ``[K]``; 0 where there are no more than that."""
    labels, ranked = torch.cat([candidates.labels for candidates in found]), torch.cat(list(scores))
    least = torch.zeros(len(counts), dtype=torch.float64)
    for kind, count in enumerate(counts):
        own = ranked[labels == kind].sort(descending=True).values
        if count < len(own):
            least[kind] = own[count - 1] if count else 2.0  # no score is above 1
    return least
