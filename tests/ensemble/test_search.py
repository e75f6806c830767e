"""The search space, the evidence pool and the search itself."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from cellseg.ensemble import Ensemble, FusionOptions, Settings, uniform_settings
from cellseg.ensemble.evidence_pool import EvidencePool
from cellseg.ensemble.search import Search, scores_of
from cellseg.ensemble.search_space import SearchSpace, blend
from cellseg.errors import InputError
from cellseg.metrics import competition_map
from cellseg.structures import CropMasks

NAMES, TYPES = ("sharp", "shifted", "dim"), ("round", "long")
BASE = uniform_settings(NAMES, TYPES)


@pytest.fixture
def pool(blobs, members):
    """Six images, four of them of the type round."""
    filled = EvidencePool(members, FusionOptions())
    for seed in range(6):
        filled.add(*blobs.blob_image(seed), cell_type="round" if seed < 4 else "long")
    return filled


def test_points_and_settings_are_inverse():
    space = SearchSpace(NAMES, NAMES, frozenset(), 100)
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.uniform(space.lower, space.upper)
        settings = space.decode(x, BASE.general)
        again = space.decode(space.encode(settings), BASE.general)
        assert again.min_area == settings.min_area
        assert again.normalized() == pytest.approx(settings.normalized(), abs=1e-9)
        for name in ("exponent", "mask_threshold", "score_threshold", "nms_iou"):
            assert getattr(again, name) == pytest.approx(getattr(settings, name), abs=1e-9)


def test_small_weights_are_zero_unless_required():
    x = np.array([0.05, 0.5, 0.5, 1.0, 0.5, 0.3, 0.3, 0.0])
    free, bound = (SearchSpace(NAMES, NAMES, frozenset(required), 100) for required in ((), ("sharp",)))
    assert free.decode(x, BASE.general).weights == dict(sharp=0.0, shifted=0.5, dim=0.5)
    assert bound.decode(x, BASE.general).weights["sharp"] > 0
    x[:3] = 0
    assert set(free.decode(x, BASE.general).weights.values()) == {1 / 3}


def test_a_single_member_has_no_weights_to_search():
    space = SearchSpace(NAMES, ("dim",), frozenset(), 64)
    assert len(space.lower) == len(space.upper) == 4
    settings = space.decode(np.array([0.4, 0.2, 0.1, 3.0]), replace(BASE.general, exponent=0.7))
    assert settings == Settings(dict(sharp=0.0, shifted=0.0, dim=1.0), 0.7, 0.4, 0.2, 0.1, 9)


def test_blend():
    a = Settings(dict(x=2.0, y=0.0), exponent=0.0, mask_threshold=0.4, min_area=10)
    b = Settings(dict(x=1.0, y=1.0), exponent=1.0, mask_threshold=0.6, min_area=20)
    assert blend(a, b, 0.0) == replace(a, weights=dict(x=1.0, y=0.0))
    half = blend(a, b, 0.5)
    assert half.weights == dict(x=0.75, y=0.25) and half.exponent == 0.5 and half.min_area == 15
    assert half.mask_threshold == pytest.approx(0.5)


def test_the_pool_knows_whose_boxes_are_used(blobs, members):
    pool = EvidencePool(members, FusionOptions())
    assert pool.sources(NAMES) == ("sharp", "shifted")
    assert pool.sources(["dim", "shifted"]) == ("shifted",)
    assert pool.sources(["dim"]) == () and pool.required == frozenset()
    assert pool.covers(BASE.general) and not pool.covers(replace(BASE.general, weights=dict(sharp=0, shifted=0, dim=1)))
    many = [blobs.BlobMember(f"m{k}") for k in range(5)]
    assert EvidencePool(many, FusionOptions()).required == {f"m{k}" for k in range(5)}
    assert EvidencePool(many, FusionOptions(proposers=("m1", "m3"))).required == {"m1", "m3"}
    with pytest.raises(InputError, match="none of the members dim proposes boxes"):
        EvidencePool(members[2:], FusionOptions())


@pytest.mark.parametrize("voters", [NAMES, ("sharp",), ("shifted", "dim"), ("sharp", "shifted")])
def test_the_pool_scores_like_the_ensemble(blobs, members, pool, voters):
    settings = BASE.only(voters)
    expected = [
        competition_map([Ensemble(members, settings).predict(image).masks], [truth]).map
        for image, truth in map(blobs.blob_image, range(6))
    ]
    np.testing.assert_allclose(pool.score(settings).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(pool.score(settings, "long").numpy(), expected[4:], atol=1e-12)


def test_boxes_that_were_not_collected(blobs):
    many = [blobs.BlobMember(f"m{k}") for k in range(5)]
    pool = EvidencePool(many, FusionOptions())
    pool.add(*blobs.blob_image(0), cell_type="round")
    names = [member.name for member in many]
    some = uniform_settings(names, TYPES).only(["m0", "m1"])
    assert not pool.covers(some.general)
    with pytest.raises(InputError, match="was not collected"):
        pool.score(some)


@pytest.mark.parametrize("tuner", ["uniform", "random", "differential_evolution"])
def test_the_ensemble_is_never_worse_than_its_candidates(pool, tuner):
    spent = []
    search = Search(pool, BASE, tuner=tuner, budget=40, seed=1, progress=spent.append)
    tuned, alone = search.run()
    assert set(alone) == {"sharp", "shifted"}  # dim has no boxes of its own
    uniform = float(pool.score(BASE).mean())
    assert tuned.before == uniform
    assert tuned.after >= max(uniform, tuned.general, *(single.after for single in alone.values()))
    assert tuned.after == float(pool.score(tuned.settings).mean())
    for name, single in alone.items():
        assert single.after == float(pool.score(single.settings).mean()) >= single.before
        assert single.settings.general.normalized()[name] == 1.0
        assert tuned.settings.only([name]) == single.settings
        assert single.evaluations <= 20
    assert tuned.evaluations <= 40 and sum(spent) <= search.total()


def test_what_it_started_from_is_a_candidate_even_outside_the_box(pool):
    # No cell is smaller than half of the usual one, yet nothing better is in reach of the uniform tuner.
    start = replace(BASE, general=replace(BASE.general, min_area=60, score_threshold=0.0))
    search = Search(pool, start, tuner="uniform", budget=10)
    tuned, _ = search.run()
    assert tuned.after >= tuned.before == float(pool.score(start).mean())


@pytest.mark.parametrize("budget", [10, 11, 23, 47])
def test_the_budget_is_kept(pool, budget):
    tuned, alone = Search(pool, BASE, budget=budget).run()
    assert tuned.evaluations <= budget
    assert all(single.evaluations <= budget // 2 for single in alone.values())


def test_searching_helps(pool):
    tuned, _ = Search(pool, BASE, budget=120, seed=0).run()
    assert tuned.after > tuned.before + 0.03


def test_the_same_seed_gives_the_same_settings(pool):
    first, second = (Search(pool, BASE, budget=30, seed=4).run()[0] for _ in range(2))
    assert first == second


def test_types_with_enough_images_get_settings_of_their_own(blobs, members):
    pool = EvidencePool(members, FusionOptions())
    # The true cells of one type are larger than what is bright, those of the other smaller: no threshold suits both.
    for seed in range(8):
        image, truth = blobs.blob_image(seed)
        resize = ndimage.binary_dilation if seed < 4 else ndimage.binary_erosion
        dense = torch.from_numpy(np.stack([resize(mask) for mask in truth.to_dense().numpy()]))
        pool.add(cv2.GaussianBlur(image, (0, 0), 1.5), CropMasks.from_dense(dense), "round" if seed < 4 else "long")
    tuned, _ = Search(pool, BASE, budget=100, seed=0).run()
    assert tuned.settings.types and tuned.after > tuned.general
    assert set(tuned.settings.types) <= {"round", "long"}


def test_types_with_few_images_keep_the_general_settings(blobs, members):
    pool = EvidencePool(members, FusionOptions())
    for seed in range(6):
        pool.add(*blobs.blob_image(seed), cell_type="round" if seed < 3 else "long")
    tuned, alone = Search(pool, BASE, budget=40, seed=0).run()
    assert not tuned.settings.types and tuned.after == tuned.general
    rows = scores_of(tuned, alone)
    assert set(rows) == {"sharp", "shifted", "ensemble"} and rows["ensemble"]["after"] == round(tuned.after, 6)


def test_some_members_only(blobs, members):
    pool = EvidencePool(members[:2], FusionOptions())
    for seed in range(3):
        pool.add(*blobs.blob_image(seed), cell_type="round")
    tuned, _ = Search(pool, BASE, budget=20).run()
    assert tuned.settings.members == NAMES and tuned.settings.general.weights["dim"] == 0


def test_one_member_is_an_ensemble_too(blobs, members):
    pool = EvidencePool(members[:1], FusionOptions())
    pool.add(*blobs.blob_image(0), cell_type="round")
    tuned, alone = Search(pool, BASE, budget=20).run()
    assert not alone and tuned.after >= tuned.before and tuned.evaluations <= 20


def test_nothing_to_tune_on(members):
    with pytest.raises(InputError, match="no images to tune on"):
        Search(EvidencePool(members, FusionOptions()), BASE)


def test_too_small_a_budget(pool):
    with pytest.raises(InputError, match="budget 5: expected 10 or more"):
        Search(pool, BASE, budget=5)


def test_truths_without_cells(blobs, members):
    pool = EvidencePool(members, FusionOptions())
    image, truth = blobs.blob_image(0)
    pool.add(image, truth[:0], "round")
    assert pool.typical_cell() == 0
    tuned, _ = Search(pool, BASE, budget=20).run()
    assert torch.tensor(tuned.after) <= 1.0
