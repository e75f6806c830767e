"""Effects: one thing changed at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellseg.ensemble import FusionOptions, Settings, uniform_settings
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.tuning.cases import Case, change_all
from cellseg.ensemble.tuning.effects import FUSION, MEMBER, SCHEME, STAGE, Effect, measure_effects
from cellseg.ensemble.votes.calibration import Calibration
from cellseg.ensemble.votes.resolve import cast_votes, settle_pixels
from cellseg.ensemble.votes.resolve import make_candidates as made
from cellseg.ensemble.votes.suppression import mask_nms
from cellseg.metrics import competition_map

NAMES, TYPES = ("sharp", "shifted", "dim"), ("round", "long")
GROUPS = ["a", "b", "c", "a"]
SETTINGS = replace(
    uniform_settings(NAMES, TYPES, exponent=0.7, score_threshold=0.45, nms_iou=0.2, min_area=40),
    types={"long": Settings(dict(sharp=1.0, shifted=3.0, dim=1.0), 0.5, 0.6, 0.5, 0.2, 10)},
    calibration={"dim": Calibration(2.0, 0.5)},
)


@pytest.fixture
def pool(blobs, members):
    filled = EvidencePool(members, FusionOptions())
    for seed in range(4):
        filled.add(*blobs.blob_image(seed, height=72, width=80, cells=6), cell_type="round" if seed < 2 else "long")
    return filled


@pytest.fixture
def cases(pool):
    """Two parts with settings of their own."""
    other = change_all(SETTINGS, mask_threshold=0.4)
    return [Case(pool.subset([0, 2]), SETTINGS, (0, 2)), Case(pool.subset([3, 1]), other, (3, 1))]


def find(effects, kind):
    return {effect.name: effect for effect in effects if effect.kind == kind}


def with_as_many(case, pool, settings):
    """Plain reading: other settings, cut so that of each type as many masks pass in all images as did before."""
    before, after = [[], []], [[], []]
    for store, images, part in (
        (before, case.evidence(), case.settings),
        (after, Case(pool, settings, case.images).evidence(), settings),
    ):
        for image in images:
            candidates = made(cast_votes(image, part), image, part)
            for label, score in zip(candidates.labels.tolist(), candidates.scores.tolist(), strict=True):
                store[label].append(score)
    types = {}
    for label, name in enumerate(TYPES):
        wanted = sum(score >= case.settings.by_class()[label].score_threshold for score in before[label])
        ranked = sorted(after[label], reverse=True)
        threshold = 0.0 if wanted >= len(ranked) else ranked[wanted - 1] if wanted else 1.5
        types[name] = replace(settings.by_class()[label], score_threshold=threshold)
    return replace(settings, types=types)


def check(effect, cases, change, as_many=False):
    """The effect is what scoring with changed settings by hand gives."""
    changed = []
    for case in cases:
        settings = change(case.settings)
        changed += case.pool.score(with_as_many(case, case.pool, settings) if as_many else settings).tolist()
    base = [value for case in cases for value in case.pool.score(case.settings).tolist()]
    assert effect.map == pytest.approx(np.mean(changed), abs=1e-12)
    assert effect.gain == pytest.approx(np.mean(base) - np.mean(changed), abs=1e-12)
    assert effect.interval[0] <= effect.gain <= effect.interval[1] and effect.note == ""


def test_members_are_left_out_with_their_boxes(cases):
    found = find(measure_effects(cases, GROUPS), MEMBER)
    assert list(found) == list(NAMES)
    for name, effect in found.items():

        def silenced(part, name=name):
            return replace(part, weights={**part.weights, name: 0.0})

        check(
            effect,
            cases,
            lambda settings: replace(
                settings,
                general=silenced(settings.general),
                types={kind: silenced(part) for kind, part in settings.types.items()},
            ),
            as_many=True,
        )
    assert found["dim"].map != found["sharp"].map


def test_stages_are_switched_off(cases):
    found = find(measure_effects(cases, GROUPS), STAGE)
    off = {
        "confidence exponent": lambda s: change_all(s, exponent=0.0),
        "calibration": lambda s: replace(s, calibration={}),
        "settings by cell type": lambda s: replace(s, types={}),
        "score threshold": lambda s: change_all(s, score_threshold=0.0),
        "mask NMS": lambda s: change_all(s, nms_iou=1.0),
        "holes filled": lambda s: change_all(s, fill_holes=False),
        "largest part only": lambda s: change_all(s, largest_part=False),
        "least area": lambda s: change_all(s, min_area=0),
        "claim probability, not score": lambda s: replace(s, claim="score"),
        "claim probability, not small_first": lambda s: replace(s, claim="small_first"),
        "claim probability, not probability_score": lambda s: replace(s, claim="probability_score"),
    }
    assert set(found) == {*off, "rescoring"}
    for name, change in off.items():
        check(found[name], cases, change)


def test_other_votes(cases):
    found = find(measure_effects(cases, GROUPS), SCHEME)
    assert set(found) == {f"mean, not {name}" for name in ("median", "majority", "log_odds", "staple")}
    for name, effect in found.items():
        check(effect, cases, lambda settings, name=name: replace(settings, vote=name.split()[-1]), as_many=True)
    case = replace(cases[0], settings=replace(SETTINGS, vote="median"))
    assert set(find(measure_effects([case], GROUPS), SCHEME)) == {
        f"median, not {name}" for name in ("mean", "majority", "log_odds", "staple")
    }


def test_without_rescoring_as_many_masks_pass_the_threshold(pool):
    """The plain reading: rank the masks of each type by the scores of their boxes, keep as many as before."""
    case = Case(pool, SETTINGS, (0, 1, 2, 3))
    images = pool.evidence(NAMES)
    rows = []
    for number, image in enumerate(images):
        candidates = made(cast_votes(image, SETTINGS), image, SETTINGS)
        for index in range(len(candidates.masks)):
            label = int(candidates.labels[index])
            box_score = float(image.scores[int(candidates.places[index])])
            passes = float(candidates.scores[index]) >= SETTINGS.by_class()[label].score_threshold
            rows.append((number, index, label, box_score, passes))
    kept = set()
    for label in (0, 1):
        mine = sorted((row for row in rows if row[2] == label), key=lambda row: -row[3])
        count = sum(row[4] for row in mine)
        kept |= {row[:2] for row in mine if count and row[3] >= mine[count - 1][3]}
    masks = []
    for number, image in enumerate(images):
        candidates = made(cast_votes(image, SETTINGS), image, SETTINGS)
        candidates = replace(candidates, scores=image.scores[candidates.places])
        chosen = torch.tensor([index for where, index in sorted(kept) if where == number], dtype=torch.int64)
        candidates = candidates[chosen]
        candidates = candidates[mask_nms(candidates.masks, candidates.scores, 0.2)]
        masks.append(settle_pixels(candidates, SETTINGS)[0])
    found = find(measure_effects([case], GROUPS), STAGE)["rescoring"]
    assert found.map == pytest.approx(competition_map(masks, pool.truths).map, abs=1e-12)


def test_what_is_not_there_is_not_listed(pool):
    plain = uniform_settings(NAMES, TYPES, exponent=0.0, nms_iou=1.0, fill_holes=False, largest_part=False)
    found = find(measure_effects([Case(pool, plain, (0, 1, 2, 3))], GROUPS), STAGE)
    assert set(found) == {
        "rescoring",
        "score threshold",
        *(f"claim probability, not {n}" for n in ("probability_score", "score", "small_first")),
    }


def test_one_member_cannot_be_left_out(blobs):
    pool = EvidencePool([blobs.BlobMember("sharp")], FusionOptions())
    pool.add(*blobs.blob_image(0), cell_type="round")
    alone = uniform_settings(["sharp"], TYPES)
    assert not find(measure_effects([Case(pool, alone, (0,))], ["a"]), MEMBER)


def test_scores_on_another_scale_change_nothing(pool, blobs, members):
    """A fusion that divides scores by the number of members moves all of them; the threshold moves along."""
    halved = EvidencePool(members, FusionOptions(rule="box_and_model_avg", method="wbf"))
    for seed in range(4):
        halved.add(*blobs.blob_image(seed, height=72, width=80, cells=6), cell_type="round" if seed < 2 else "long")
    case = Case(pool, SETTINGS, (0, 1, 2, 3), {"another rule": halved})
    found = find(measure_effects([case], GROUPS), FUSION)["another rule"]
    assert found.map == pytest.approx(float(halved.score(with_as_many(case, halved, SETTINGS)).mean()))


def test_where_only_one_member_votes_the_others_replace_it(pool):
    case = Case(pool, SETTINGS.only(["sharp"]), (0, 1, 2, 3))
    found = find(measure_effects([case], GROUPS), MEMBER)["sharp"]
    others = dict(sharp=0.0, shifted=1.0, dim=1.0)
    check(
        found,
        [case],
        lambda settings: replace(
            settings,
            general=replace(settings.general, weights=others),
            types={"long": replace(settings.types["long"], weights=others)},
        ),
        as_many=True,
    )


def test_the_only_member_with_boxes_cannot_be_left_out(pool):
    two = uniform_settings(NAMES, TYPES).only(["shifted", "dim"])
    two = replace(two, general=replace(two.general, weights=dict(sharp=0.0, shifted=1.0, dim=1.0)))
    found = find(measure_effects([Case(pool, two, (0, 1, 2, 3))], GROUPS), MEMBER)
    assert set(found) == {"shifted", "dim"} and found["dim"].map is not None
    assert found["shifted"].map is None and found["shifted"].gain is None
    assert found["shifted"].verdict == "not measured: the evidence of boxes from these members was not collected"


def test_what_was_tuned_for_one_member_alone_is_not_its_effect(pool):
    """Of two members one is left: with the ensemble's thresholds, not with its own."""
    two = uniform_settings(NAMES, TYPES).only(["sharp", "shifted"])
    own = change_all(two.only(["sharp"]), score_threshold=0.99)
    case = Case(pool, replace(two, alone={"sharp": own}), (0, 1, 2, 3))
    found = find(measure_effects([case], GROUPS), MEMBER)["shifted"]
    expected = with_as_many(case, pool, two.only(["sharp"]))
    assert found.map == pytest.approx(float(pool.score(expected).mean()))


@pytest.mark.parametrize(
    "gain, interval, verdict",
    [
        (0.1, (0.05, 0.15), "pays"),
        (-0.1, (-0.15, -0.05), "does not pay"),
        (0.1, (-0.05, 0.15), "open"),
        (0.0, (0.0, 0.0), "makes no difference"),
        (0.1, None, "pays"),
        (-0.1, None, "does not pay"),
        (0.0, None, "makes no difference"),
        (None, None, "why"),
    ],
)
def test_verdicts(gain, interval, verdict):
    assert Effect(STAGE, "x", 0.5, gain, interval, "why" if gain is None else "").verdict == verdict
