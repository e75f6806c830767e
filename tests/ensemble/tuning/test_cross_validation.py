"""Cross-validation of the tuning itself, and the tuning of a pool."""

from dataclasses import replace

import numpy as np
import pytest

from cellseg.ensemble import FusionOptions, resolve, uniform_settings
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.matching.match import MatchOptions, match_instances
from cellseg.ensemble.tuning.cases import Case, base_scores, case_groups, difference_with_interval, mean_with_interval
from cellseg.ensemble.tuning.cross_validation import BEST_MEMBER, best_member, cross_validate, divide_groups
from cellseg.ensemble.tuning.pool_tuning import MATCHING, TuningOptions, matched_members, score_rows, tune_pool
from cellseg.ensemble.votes.calibration import calibrate_members
from cellseg.errors import InputError
from cellseg.metrics import competition_map

NAMES, TYPES = ("sharp", "shifted", "dim"), ("round", "long")
BASE = uniform_settings(NAMES, TYPES)
GROUPS = ["a", "b", "a", "c", "b", "c", "d", "d"]
KINDS = ["round", "round", "round", "round", "long", "long", "long", "long"]
OPTIONS = TuningOptions(budget=12, seed=1)


@pytest.fixture
def pool(blobs, members):
    filled = EvidencePool(members, FusionOptions())
    for seed, kind in enumerate(KINDS):
        filled.add(*blobs.blob_image(seed, height=64, width=64, cells=5, long=kind == "long"), cell_type=kind)
    return filled


def test_a_subset_scores_as_the_whole(pool):
    part = pool.subset([5, 0, 3])
    assert len(part) == 3 and part.types == ["long", "round", "round"] and part.type_counts() == dict(long=1, round=2)
    assert part.score(BASE).tolist() == pool.score(BASE)[[5, 0, 3]].tolist()
    assert part.truths[0] is pool.truths[5] and part.evidence(["sharp"])[1] is pool.evidence(["sharp"])[0]
    assert len(pool) == 8
    with pytest.raises(InputError, match="was not collected"):
        pool.evidence(["dim"])


def test_everything_is_tuned(pool):
    tuning = tune_pool(pool, BASE, replace(OPTIONS, calibrate=True))
    settings = tuning.settings
    assert settings.calibration == calibrate_members(pool.evidence(NAMES), pool.truths)
    assert settings.alone["sharp"].calibration == settings.variants["uniform"].calibration == settings.calibration
    assert matched_members(pool) == ["sharp", "shifted"]
    assert list(tuning.scores()) == ["sharp", "shifted", "uniform", MATCHING, "ensemble"]
    # The matching is of the members as they were tuned alone.
    parts = [pool.evidence([name]) for name in ("sharp", "shifted")]
    alone = [settings.alone[name] for name in ("sharp", "shifted")]
    found = [
        match_instances([resolve(a, alone[0]), resolve(b, alone[1])], options=settings.matching).masks
        for a, b in zip(*parts, strict=True)
    ]
    expected = competition_map(found, pool.truths)
    assert tuning.matching == pytest.approx(expected.map, abs=1e-12)
    rows = score_rows(pool, settings)
    assert set(rows) == {"sharp", "shifted", "uniform", MATCHING}
    assert rows[MATCHING].tolist() == expected.per_image.tolist()
    for name in ("sharp", "shifted", "uniform"):
        assert float(rows[name].mean()) == tuning.outcome.rows[name].after
    without = tune_pool(pool, BASE, OPTIONS)
    assert without.settings.calibration == {} and without.settings != settings


def test_what_is_not_searched_of_the_matching_stays(pool):
    given = MatchOptions(nms_iou=0.07, min_area=11, weights={"sharp": 0.0, "dim": 3.0})
    settings = tune_pool(pool, replace(BASE, matching=given), OPTIONS).settings
    assert (settings.matching.nms_iou, settings.matching.min_area) == (0.07, 11)
    # dim finishes no instances of its own, so nothing of it is matched.
    assert settings.matching.weights == {"sharp": 0.0}
    expected = [
        match_instances([resolve(image, settings.alone["shifted"])], options=replace(settings.matching, weights=None))
        for image in pool.evidence(["shifted"])
    ]
    score = competition_map([found.masks for found in expected], pool.truths)
    assert score_rows(pool, settings)[MATCHING].tolist() == score.per_image.tolist()
    with pytest.raises(InputError, match="the weights of sharp, shifted are all 0"):
        silent = replace(given, weights={"sharp": 0.0, "shifted": 0.0})
        tune_pool(pool, replace(BASE, matching=silent), OPTIONS)


def test_one_member_has_nothing_to_match(blobs, members):
    pool = EvidencePool([members[0], members[2]], FusionOptions())
    pool.add(*blobs.blob_image(0), cell_type="round")
    tuning = tune_pool(pool, BASE, OPTIONS)
    assert tuning.matching is None and tuning.settings.matching is None and MATCHING not in tuning.scores()


def test_combiners_are_no_single_members(pool, members):
    """What a combiner says rests on all its inputs."""
    tuning = tune_pool(pool, BASE, OPTIONS)
    worst, best = sorted(("sharp", "shifted"), key=lambda name: tuning.outcome.alone[name].after)
    assert best_member(pool, tuning) == best
    next(member for member in members if member.name == best).inputs = (worst,)
    assert best_member(pool, tuning) == worst and matched_members(pool) == [worst]


def test_images_are_scored_with_settings_that_never_saw_their_group(pool):
    spent = []
    found = cross_validate(pool, GROUPS, BASE, OPTIONS, 4, spent.append)
    part = np.array(found.part)
    assert sorted(set(found.part)) == [0, 1, 2, 3]
    assert all(len({found.part[i] for i in range(8) if GROUPS[i] == group}) == 1 for group in "abcd")
    assert list(found.rows) == ["sharp", "shifted", "uniform", MATCHING, BEST_MEMBER, "ensemble"]
    assert sum(spent) > 0 and found.groups == tuple(GROUPS)
    for number, case in enumerate(found.cases):
        seen, unseen = (np.flatnonzero(mask).tolist() for mask in (part != number, part == number))
        assert list(case.images) == unseen
        tuning = tune_pool(pool.subset(seen), BASE, OPTIONS)
        assert case.settings == tuning.settings
        scores = {name: row.tolist() for name, row in score_rows(pool.subset(unseen), tuning.settings).items()}
        scores["ensemble"] = pool.subset(unseen).score(tuning.settings).tolist()
        best = max(("sharp", "shifted"), key=lambda name: tuning.outcome.alone[name].after)
        assert found.best_members[number] == best
        scores[BEST_MEMBER] = scores[best]
        assert {name: [row[i] for i in unseen] for name, row in found.rows.items()} == scores


def test_the_table_has_paired_differences(pool):
    found = cross_validate(pool, GROUPS, BASE, OPTIONS, 4)
    rows = {row.name: row for row in found.table()}
    best = np.array(found.rows["ensemble"])
    for name, row in rows.items():
        values = np.array(found.rows[name])
        assert row.map == pytest.approx(values.mean()) and row.interval[0] <= row.map <= row.interval[1]
        if name == "ensemble":
            assert row.difference is None and row.difference_interval is None
        else:
            assert row.difference == pytest.approx((best - values).mean())
            assert row.difference_interval[0] <= row.difference <= row.difference_interval[1]


def test_groups_are_divided_evenly():
    part = divide_groups([f"g{i}" for i in range(12)], ["round", "long"] * 6, 3)
    assert np.bincount(part).tolist() == [4, 4, 4]
    assert all(sorted(np.arange(12)[part == k] % 2) == [0, 0, 1, 1] for k in range(3))


@pytest.mark.parametrize(
    "groups, parts, message",
    [
        ("abcd", 1, "--cross-validate 1: expected 2 or more parts, or 0 for no cross-validation"),
        ("abcd", -2, "--cross-validate -2: expected 2 or more parts"),
        (
            "aabb",
            3,
            "--cross-validate 3 needs images of 3 groups or more, because a group is never divided; .* 2:",
        ),
        ("abab", 2, "--cross-validate 2 needs images of 4 groups or more"),
        ("", 3, "there are 0"),
    ],
)
def test_too_few_groups(groups, parts, message):
    with pytest.raises(InputError, match=message):
        divide_groups(list(groups), ["round"] * len(groups), parts)


def test_intervals_need_two_groups():
    assert mean_with_interval([0.5, 1.0], ["a", "a"]) == (0.75, None)
    assert difference_with_interval([0.5, 1.0], [0.0, 0.5], ["a", "a"]) == (0.5, None)
    mean, (low, high) = mean_with_interval([0.0, 1.0], ["a", "b"])
    assert (mean, low, high) == (0.5, 0.0, 1.0)
    assert difference_with_interval([0.2, 0.4], [0.1, 0.1], ["a", "b"])[1] == pytest.approx((0.1, 0.3))


def test_cases_keep_images_and_groups_together(pool):
    cases = [Case(pool.subset([6, 1]), BASE, (6, 1)), Case(pool.subset([3]), BASE.only(["sharp"]), (3,))]
    assert case_groups(cases, GROUPS) == ["d", "b", "c"]
    assert cases[0].voters() == list(NAMES) and cases[1].voters() == ["sharp"]
    expected = [*pool.score(BASE)[[6, 1]].tolist(), float(pool.score(BASE.only(["sharp"]))[3])]
    assert base_scores(cases) == expected
