"""What a report says beside the scores: members are asked once more, about other boxes and windows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cellseg.datasets.folder import DataFolder
from cellseg.datasets.records import ImageRecord
from cellseg.ensemble.boxes.checks import METHODS
from cellseg.ensemble.boxes.options import FusionOptions
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.feature_fusion.combiner import Combiner
from cellseg.ensemble.tuning.cases import Case
from cellseg.ensemble.tuning.effects import Effect, measure_effects
from cellseg.ensemble.tuning.images import read_images
from cellseg.ensemble.tuning.oracle import Ceiling, ask_about_truth, measure_ceilings
from cellseg.ensemble.tuning.reliability import Reliability, measure_reliability
from cellseg.members import Member

# Of windows that a report compares: none of the cell's surroundings, the usual one, much of them.
MARGINS = (0.0, 0.15, 0.3)


@dataclass(frozen=True)
class Measured:
    """What is measured for a report beside the tuning, with settings that were tuned without the images where there is
    a cross-validation, else with those that were tuned on them."""

    effects: Sequence[Effect]
    ceilings: Sequence[Ceiling]
    reliability: Reliability


def measure_cases(
    cases: Sequence[Case],
    groups: Sequence[str],
    members: Sequence[Member],
    folder: DataFolder,
    records: Sequence[ImageRecord],
    cache: EvidenceCache | None = None,
) -> Measured:
    """Effects, ceilings and reliability of tuned settings.

    Args:
        cases: images with the settings to score them with; each image is in one case at most.
        groups: the group of each image, in the order of ``records``.
        members: of the ensemble.
        folder: where the images are.
        records: of all images.
        cache: where answers are kept.
    """
    true_boxes: dict[int, ImageEvidence] = {}
    own = {case.pool.options.with_margin(case.settings.margin).margin for case in cases}
    margins = [margin for margin in MARGINS if own != {margin}]
    asked = [_ask_again(case, members, folder, records, cache, true_boxes, margins) for case in cases]
    return Measured(
        measure_effects(asked, groups), measure_ceilings(asked, groups, true_boxes), measure_reliability(asked)
    )


def fusion_changes(
    members: Sequence[Member], options: FusionOptions, margins: Sequence[float] = ()
) -> Mapping[str, tuple[list[Member], FusionOptions]]:
    """Members and fusion options with one thing changed, by what is changed; only what is there can be.

    Args:
        members: of the ensemble.
        options: as they are.
        margins: of the windows, for a change each.
    """
    same = list(members)
    changes = {}
    for method in METHODS:
        if method != options.method:
            # Soft-NMS lowers the scores of doubles and drops none: those below what is looked at would fill the memory.
            least = options.skip_score if method == "soft_nms" else None
            own = {"method": method, "rule": None, "decay": None, "sigma": None, "min_score": least}
            changes[f"boxes by {options.method}, not {method}"] = (same, replace(options, **own))
    for margin in margins:
        changes[f"margin as it is, not {margin:g}"] = (same, replace(options, margin=margin))
    if options.one_type:
        changes["one type in an image"] = (same, replace(options, one_type=False))
    bare = [member.without_views() for member in members]
    # A combiner was trained on the answers of the members as they are.
    if bare != same and not any(isinstance(member, Combiner) for member in members):
        changes["views of an image"] = (bare, options)
    return changes


def _ask_again(
    case: Case,
    members: Sequence[Member],
    folder: DataFolder,
    records: Sequence[ImageRecord],
    cache: EvidenceCache | None,
    true_boxes: dict[int, ImageEvidence],
    margins: Sequence[float],
) -> Case:
    """The case with what its images look like under other fusions, and where its margin is not that of the fusion
    options, with evidence that was collected as if it were; ``true_boxes`` gets an entry for each image."""
    options = case.pool.options.with_margin(case.settings.margin)
    pool, settings = case.pool, case.settings
    if options.margin != pool.options.margin:
        pool = EvidencePool(members, options)
        settings = replace(settings, margin=None)
    others = {
        name: EvidencePool(changed, fusion, voters=[case.voters()])
        for name, (changed, fusion) in fusion_changes(members, options, margins).items()
    }
    fresh = [*others.values(), *([] if pool is case.pool else [pool])]
    for index, (record, image) in zip(
        case.images, read_images(folder, [records[index] for index in case.images], "ask again"), strict=True
    ):
        ask = _one_look(image, cache)
        with torch.inference_mode():
            for part in fresh:
                part.add(image, record.masks, record.cell_type, ask=ask)
            true_boxes[index] = ask_about_truth(
                [ask(member) for member in members], image.shape[:2], record.masks, record.labels, options
            )
    return Case(pool, settings, case.images, others)


def _one_look(image: np.ndarray, cache: EvidenceCache | None) -> Callable[[Member], Answers]:
    """What members say about an image; each looks at it once, whatever it is asked."""
    known: dict[int, Answers] = {}

    def ask(member: Member) -> Answers:
        if id(member) not in known:
            known[id(member)] = Answers(member, image, cache)
        return known[id(member)]

    return ask
