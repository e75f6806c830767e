"""Competition mAP of settings on collected evidence, as fast as a search needs it."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

from cellseg.ensemble.evidence import ImageEvidence, stack_evidence
from cellseg.ensemble.resolve import Candidates, cast_votes, make_candidates, settle_pixels
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.suppression import mask_overlaps, suppress_masks
from cellseg.metrics import shared_pixels
from cellseg.metrics.competition import precision
from cellseg.metrics.matching import TWENTIETHS
from cellseg.structures import CropMasks

# Images settled in one pass: enough to drown the cost of a call, few enough for memory.
_MAX_INSTANCES = 2000
_MAX_PIXELS = 1 << 23


class Evaluator:
    """Scores settings on images whose evidence and true cells are known.

    Images are stacked into tall ones and settled together. Votes are kept while only thresholds change, and masks with
    their overlaps while only what comes after them changes.

    Args:
        images: evidence of each image, at least one.
        truths: the true cells of each, bool.
    """

    def __init__(self, images: Sequence[ImageEvidence], truths: Sequence[CropMasks]):
        self._batches = [_Batch(images[part], truths[part]) for part in _split(images)]

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

    def __init__(self, images: Sequence[ImageEvidence], truths: Sequence[CropMasks]):
        self._evidence, self._tops = stack_evidence(images)
        windows = [
            truth.windows + torch.tensor([0, int(top), 0, int(top)])
            for truth, top in zip(truths, self._tops[:-1], strict=True)
        ]
        values = torch.cat([truth.values for truth in truths])
        self._truth = CropMasks(torch.cat(windows), values, self._evidence.image_size)
        self._truth_areas = self._truth.areas().numpy()
        self._count = len(truths)
        self._truth_image = np.repeat(np.arange(len(truths)), [len(truth) for truth in truths])
        self._votes: dict[Hashable, CropMasks] = {}
        self._cuts: dict[Hashable, _Cut] = {}

    def score(self, settings: EnsembleSettings) -> Tensor:
        masks = self._resolve(settings)
        image = (torch.searchsorted(self._tops, masks.windows[:, 1].contiguous(), right=True) - 1).numpy()
        rows, columns, shared = (part.numpy() for part in shared_pixels(masks, self._truth))
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

    def _resolve(self, settings: EnsembleSettings) -> CropMasks:
        """The masks of ``resolve``, from kept stages where only later ones changed."""
        cut = self._cut(settings)
        candidates = cut.candidates
        labels = candidates.labels
        chosen = candidates.scores >= settings.by_label("score_threshold", labels)
        overlaps = cut.overlaps(chosen)
        kept = suppress_masks(candidates.scores, *overlaps, settings.by_label("nms_iou", labels), chosen=chosen)
        return settle_pixels(candidates[kept], settings)[0]

    def _cut(self, settings: EnsembleSettings) -> "_Cut":
        by_class = settings.by_class()
        # A score is never higher than that of its box, and boxes are sorted by theirs: only the first ones matter.
        reachable = int((self._evidence.scores >= min(one.score_threshold for one in by_class)).sum())
        key = tuple((tuple(one.normalized().items()), one.exponent, one.mask_threshold) for one in by_class)
        if key not in self._cuts or self._cuts[key].boxes < reachable:
            evidence = self._evidence.first(reachable)
            made = make_candidates(self._vote(evidence, settings), evidence, settings)
            self._cuts = _recent(self._cuts, key, _Cut(made, reachable))
        return self._cuts[key]

    def _vote(self, evidence: ImageEvidence, settings: EnsembleSettings) -> CropMasks:
        key = tuple((tuple(one.normalized().items()), one.exponent) for one in settings.by_class())
        if key not in self._votes or len(self._votes[key]) < len(evidence):
            self._votes = _recent(self._votes, key, cast_votes(evidence, settings))
        votes = self._votes[key]
        windows = evidence.evidence[0].windows
        return CropMasks(windows, votes.values[: len(evidence.evidence[0].values)], votes.image_size)


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


class _Cut:
    """Candidates of the first boxes, with the overlaps of those that were asked for so far."""

    def __init__(self, candidates: Candidates, boxes: int):
        self.candidates = candidates
        self.boxes = boxes
        self._known: Tensor | None = None
        self._overlaps: tuple[Tensor, Tensor, Tensor] | None = None

    def overlaps(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Overlaps among (at least) the chosen candidates, in terms of all."""
        if self._overlaps is None or not self._known[chosen].all():
            index = chosen.nonzero()[:, 0]
            rows, columns, iou = mask_overlaps(self.candidates.masks[index])
            self._known, self._overlaps = chosen, (index[rows], index[columns], iou)
        return self._overlaps


def _recent(entries: dict[Hashable, Any], key: Hashable, value: Any) -> dict[Hashable, Any]:
    """The newest entry and, of the others, the one before it: a search rarely goes back further."""
    others = [(name, entry) for name, entry in entries.items() if name != key]
    return dict(others[-1:] + [(key, value)])
