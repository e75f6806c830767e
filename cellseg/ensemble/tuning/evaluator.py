"""Competition mAP of settings on collected evidence, as fast as a search needs it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

from cellseg.ensemble.evidence.values import ImageEvidence, stack_evidence
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.votes.resolve import Candidates, cast_votes, make_candidates, settle_pixels
from cellseg.ensemble.votes.suppression import suppress_masks
from cellseg.ensemble.votes.window_overlaps import MOST_KEPT, TruthPixels, WindowPairs
from cellseg.metrics.competition import precision
from cellseg.metrics.matching import TWENTIETHS
from cellseg.structures import CropMasks

# Images settled in one pass: enough to drown the cost of a call, few enough for memory.
_MAX_INSTANCES = 2000
_MAX_PIXELS = 1 << 23


# Rows, columns and IoU, as ``mask_overlaps`` returns them.
Overlaps = tuple[Tensor, Tensor, Tensor]


class Evaluator:
    """Scores settings on images whose evidence and true cells are known.

    Images are stacked into tall ones and settled together. Votes are kept while only thresholds change, and masks with
    their overlaps while only what comes after them changes.

    Args:
        images: evidence of each image, at least one.
        truths: the true cells of each, bool.

    Attributes:
        nbytes: about how much memory it takes: evidence, positions, and votes for two settings.
    """

    def __init__(self, images: Sequence[ImageEvidence], truths: Sequence[CropMasks]):
        self._batches: list[_Batch] = []
        for part in _split(images):
            # Together they keep as many positions as one may.
            left = MOST_KEPT - sum(batch.kept for batch in self._batches)
            self._batches.append(_Batch(images[part], truths[part], left))
        self.nbytes = sum(batch.nbytes for batch in self._batches)

    def score(self, settings: EnsembleSettings) -> Tensor:
        """Competition mAP of each image, float64 ``[I]``."""
        return torch.cat([batch.score(settings) for batch in self._batches])


def _split(images: Sequence[ImageEvidence]) -> list[slice]:
    """Consecutive images that are settled together."""
    parts, start, instances, pixels = [], 0, 0, 0
    for index, image in enumerate(images):
        area = image.image_size[0] * image.image_size[1]
        if index > start and (instances + len(image) > _MAX_INSTANCES or pixels + area > _MAX_PIXELS):
            parts.append(slice(start, index))
            start, instances, pixels = index, 0, 0
        instances, pixels = instances + len(image), pixels + area
    return [*parts, slice(start, len(images))]


class _Batch:
    """Some images in one tall image."""

    def __init__(self, images: Sequence[ImageEvidence], truths: Sequence[CropMasks], most_kept: int):
        self._evidence, self._tops = stack_evidence(images)
        windows = [
            truth.windows + torch.tensor([0, int(top), 0, int(top)])
            for truth, top in zip(truths, self._tops[:-1], strict=True)
        ]
        values = torch.cat([truth.values for truth in truths])
        truth = CropMasks(torch.cat(windows), values, self._evidence.image_size)
        self._windows = self._evidence.evidence[0].windows
        self._pairs, self._truth = WindowPairs(self._windows, most_kept), TruthPixels(self._windows, truth)
        self.kept = self._pairs.kept
        votes = 2 * self._evidence.evidence[0].values.nbytes
        evidence = sum(part.values.nbytes for part in self._evidence.evidence)
        self.nbytes = evidence + votes + 8 * self.kept + self._truth.nbytes
        self._truth_areas = truth.areas().numpy()
        self._count = len(truths)
        self._truth_image = np.repeat(np.arange(len(truths)), [len(truth) for truth in truths])
        self._votes: dict[Hashable, CropMasks] = {}
        self._cuts: dict[Hashable, _Cut] = {}

    def score(self, settings: EnsembleSettings) -> Tensor:
        masks, places = self._resolve(settings)
        image = (torch.searchsorted(self._tops, masks.windows[:, 1].contiguous(), right=True) - 1).numpy()
        rows, columns, shared = (part.numpy() for part in self._truth.shared(masks, places))
        union = masks.areas().numpy()[rows] + self._truth_areas[columns] - shared
        predicted = np.bincount(image, minlength=self._count)
        true = np.bincount(self._truth_image, minlength=self._count)
        matched = [
            np.bincount(image[matched_rows(rows[close], columns[close])], minlength=self._count)
            for close in (20 * shared > k * union for k in TWENTIETHS)
        ]
        matched = torch.from_numpy(np.stack(matched, axis=1))
        counts = [matched, torch.from_numpy(predicted)[:, None] - matched, torch.from_numpy(true)[:, None] - matched]
        return precision(torch.stack(counts, dim=2)).mean(dim=1)

    def _resolve(self, settings: EnsembleSettings) -> tuple[CropMasks, Tensor]:
        """The masks of ``resolve``, from kept stages where only later ones changed, and the box of each."""
        cut = self._cut(settings)
        candidates = cut.candidates
        labels = candidates.labels
        chosen = candidates.scores >= settings.by_label("score_threshold", labels)
        thresholds = settings.by_label("nms_iou", labels)
        kept = candidates[suppress_masks(candidates.scores, *cut.overlaps, thresholds, chosen=chosen)]
        masks, index = settle_pixels(kept, settings)
        return masks, kept.places[index]

    def _cut(self, settings: EnsembleSettings) -> "_Cut":
        by_class = settings.by_class()
        # A score is never higher than that of its box, and boxes are sorted by theirs: only the first ones matter.
        reachable = int((self._evidence.scores >= min(one.score_threshold for one in by_class)).sum())
        key = (_vote_key(settings), tuple(one.mask_threshold for one in by_class))
        if key not in self._cuts or self._cuts[key].boxes < reachable:
            evidence = self._evidence.first(reachable)
            votes = self._vote(evidence, settings)
            made = make_candidates(votes, evidence, settings)
            values = votes.threshold(settings.by_label("mask_threshold", evidence.labels)).values
            self._cuts = _recent(self._cuts, key, _Cut(made, reachable, self._overlaps(made, values, reachable)))
        return self._cuts[key]

    def _overlaps(self, candidates: Candidates, values: Tensor, boxes: int) -> Overlaps:
        """What ``mask_overlaps`` finds, from the masks in the windows of the first boxes."""
        number = torch.full((boxes,), -1)
        number[candidates.places] = torch.arange(len(candidates.places))
        first, second, shared = self._pairs.shared(values, boxes)
        first, second, areas = number[first], number[second], candidates.masks.areas()
        iou = shared.double() / (areas[first] + areas[second] - shared)
        return torch.cat([first, second]), torch.cat([second, first]), torch.cat([iou, iou])

    def _vote(self, evidence: ImageEvidence, settings: EnsembleSettings) -> CropMasks:
        key = _vote_key(settings)
        if key not in self._votes or len(self._votes[key]) < len(evidence):
            self._votes = _recent(self._votes, key, cast_votes(evidence, settings))
        votes = self._votes[key]
        part = evidence.evidence[0]
        return CropMasks(part.windows, votes.values[: len(part.values)], votes.image_size)


def _vote_key(settings: EnsembleSettings) -> Hashable:
    """All that votes depend on."""
    by_class = tuple((tuple(one.normalized().items()), one.exponent) for one in settings.by_class())
    return settings.vote, tuple(sorted(settings.calibration.items(), key=lambda item: item[0])), by_class


def matched_rows(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Rows of a largest one-to-one matching in a list of distinct edges, in no particular order."""
    if len(rows) == 0:
        return rows
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    if alone.all():
        return rows
    row_ids, inner_rows = np.unique(rows[~alone], return_inverse=True)
    _, inner_columns = np.unique(columns[~alone], return_inverse=True)
    edges = csr_array((np.ones(len(inner_rows), dtype=np.int8), (inner_rows, inner_columns)))
    partners = maximum_bipartite_matching(edges, perm_type="column")
    return np.concatenate([rows[alone], row_ids[partners >= 0]])


@dataclass(frozen=True)
class _Cut:
    """Candidates of the first boxes, how many these are, and the candidates' overlaps."""

    candidates: Candidates
    boxes: int
    overlaps: Overlaps


def _recent(entries: dict[Hashable, Any], key: Hashable, value: Any) -> dict[Hashable, Any]:
    """The newest entry and, of the others, the one before it: a search rarely goes back further."""
    others = [(name, entry) for name, entry in entries.items() if name != key]
    return dict(others[-1:] + [(key, value)])
