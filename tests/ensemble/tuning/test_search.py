"""The search space, the evidence pool and the search itself."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from cellseg.ensemble import Ensemble, FusionOptions, Settings, uniform_settings
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.feature_fusion.combiner import Combiner
from cellseg.ensemble.tuning.journals import Journals
from cellseg.ensemble.tuning.search import Search, Tuned
from cellseg.ensemble.tuning.search_space import SearchSpace, blend, distance_from_equal
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
    search = Search(pool, BASE, tuner=tuner, budget=40, seed=1, progress=spent.append, shrinkage=0.0)
    outcome = search.run()
    tuned, alone, variants = outcome.ensemble, outcome.alone, outcome.variants
    assert set(alone) == {"sharp", "shifted"}  # dim has no boxes of its own
    assert set(variants) == {"uniform"} and list(outcome.rows) == ["sharp", "shifted", "uniform", "ensemble"]
    start = float(pool.score(BASE).mean())
    assert tuned.before == variants["uniform"].before == start
    others = [part.after for part in (*alone.values(), *variants.values())]
    assert tuned.after >= max(start, tuned.general, *others)
    assert tuned.after == float(pool.score(tuned.settings).mean())
    for name, single in alone.items():
        assert single.after == float(pool.score(single.settings).mean()) >= single.before
        assert single.settings.general.normalized()[name] == 1.0
        assert tuned.settings.only([name]) == single.settings
        assert single.evaluations <= 20
    uniform = variants["uniform"]
    assert set(uniform.settings.general.normalized().values()) == {1 / 3}
    assert all(set(part.normalized().values()) == {1 / 3} for part in uniform.settings.types.values())
    assert tuned.settings.variants == {"uniform": uniform.settings}
    assert uniform.after == float(pool.score(uniform.settings).mean()) and uniform.evaluations <= 20
    assert tuned.evaluations <= 40 and sum(spent) <= search.total()


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 5.0])
def test_with_its_penalty_the_ensemble_is_never_worse_than_its_candidates(pool, shrinkage):
    outcome = Search(pool, BASE, tuner="random", budget=40, seed=2, shrinkage=shrinkage).run()

    def worth(tuned):
        return tuned.after - shrinkage / len(pool) * distance_from_equal(tuned.settings.general, NAMES)

    assert worth(outcome.ensemble) >= max(map(worth, outcome.rows.values()))
    assert worth(outcome.ensemble) >= outcome.ensemble.before
    # What is told is the plain score.
    assert outcome.scores()["ensemble"]["after"] == round(float(pool.score(outcome.ensemble.settings).mean()), 6)


def test_the_margin_is_the_best_of_those_that_were_asked_for(blobs, members):
    margins = (0.0, 0.3, 0.6)
    pool = EvidencePool(members, FusionOptions(margin=0.1), margins)
    for seed in range(4):
        pool.add(*blobs.blob_image(seed), cell_type="round")
    spent = []
    search = Search(pool, BASE, tuner="random", budget=20, seed=2, progress=spent.append)
    tuned = search.run().ensemble
    scores = {}
    for margin in (None, *margins):
        settings = replace(tuned.settings, margin=margin)
        scores[margin] = float(pool.score(settings).mean())
        # The pool sees what the ensemble makes of the settings.
        image, truth = blobs.blob_image(1)
        found = Ensemble(members, settings, FusionOptions(margin=0.1)).predict(image)
        assert competition_map([found.masks], [truth]).map == pytest.approx(float(pool.score(settings)[1]))
    assert len(set(scores.values())) > 1
    assert tuned.after == max(scores.values()) == scores[tuned.settings.margin]
    assert tuned.evaluations <= 20 and sum(spent) <= search.total()
    # Members alone and variants keep the margin of the fusion.
    assert all(part.margin is None for part in (*tuned.settings.alone.values(), *tuned.settings.variants.values()))
    # Boxes of fewer members, with another margin, are asked for when somebody wants to know.
    fewer = replace(tuned.settings.only(["sharp", "dim"]), margin=0.3)
    found = Ensemble(members, fewer, FusionOptions(margin=0.1)).predict(blobs.blob_image(1)[0])
    asked = pool.subset([1]).score(fewer)
    assert competition_map([found.masks], [blobs.blob_image(1)[1]]).map == pytest.approx(float(asked))
    with pytest.raises(InputError, match="was not collected"):
        pool.score(replace(fewer, margin=0.2))


def test_a_margin_is_found_where_a_member_that_proposes_is_silent(blobs, members):
    """The search leaves one of the two detectors out; the margin is still chosen."""
    pool = EvidencePool(members, FusionOptions(margin=0.0), (0.5,))
    for seed in range(3):
        pool.add(*blobs.blob_image(seed), cell_type="round")
    search = Search(pool, BASE, tuner="uniform", budget=12)
    only = BASE.only(["sharp", "dim"])
    scores = {margin: float(pool.score(replace(only, margin=margin)).mean()) for margin in (None, 0.5)}
    chosen = search._choose_margin(Tuned(only, 0.0, 0.0, scores[None], 3))
    assert scores[0.5] != scores[None] and chosen.after == max(scores.values()) == scores[chosen.settings.margin]
    assert chosen.evaluations == 4


def test_distance_from_equal_weights():
    def settings(**weights):
        return Settings(weights)

    assert distance_from_equal(settings(a=2.0, b=2.0, c=0.0), "ab") == 0
    assert distance_from_equal(settings(a=3.0, b=0.0, c=0.0), "abc") == pytest.approx(1 - 1 / 3)
    assert distance_from_equal(settings(a=3.0, b=1.0), "ab") == pytest.approx(2 * 0.25**2)


def test_few_images_give_nearly_equal_weights_and_many_are_free(blobs, members):
    """One member is far better than the other; the same image again and again says so as clearly each time."""
    members = [blobs.BlobMember("sharp"), blobs.BlobMember("shifted", shift=3)]
    base = uniform_settings(("sharp", "shifted"), TYPES)
    weights = {}
    for count in (1, 40):
        pool = EvidencePool(members, FusionOptions())
        pool.add(*blobs.blob_image(0), cell_type="other")
        pool = pool.subset([0] * count)
        for shrinkage in (0.0, 2.0):
            found = Search(pool, base, budget=60, seed=0, shrinkage=shrinkage).run().ensemble.settings
            weights[count, shrinkage] = found.general.normalized()["sharp"]
    assert weights[1, 0.0] == weights[40, 0.0] > 0.65
    assert weights[1, 2.0] == pytest.approx(0.5, abs=0.1)
    assert weights[40, 2.0] > weights[1, 2.0] + 0.1


class Mean(Combiner):
    """The mean of its inputs; sure of everything."""

    name, inputs, uses_features, input_identities = "mean", ("sharp", "shifted"), False, {}
    class_names = TYPES

    def combine(self, boxes, labels, windows, evidence, confidence, features, image_key):
        values = torch.stack([evidence[name].values for name in self.inputs]).mean(0)
        return CropMasks(windows, values, evidence["sharp"].image_size), torch.ones(len(boxes))

    def identity(self):
        return {"type": "mean"}


def test_an_ensemble_with_a_combiner_is_tuned_without_it_too(blobs, members):
    pool = EvidencePool([*members, Mean()], FusionOptions())
    for seed in range(4):
        pool.add(*blobs.blob_image(seed), cell_type="round")
    names = (*NAMES, "mean")
    spent = []
    search = Search(pool, uniform_settings(names, TYPES), budget=24, seed=0, progress=spent.append)
    outcome = search.run()
    assert set(outcome.variants) == {"uniform", "vote"}
    assert outcome.variants["uniform"].settings.general.weights == dict(sharp=1.0, shifted=1.0, dim=1.0, mean=0.0)
    assert outcome.variants["vote"].settings.general.weights["mean"] == 0
    assert outcome.variants["vote"].evaluations <= 24 and sum(spent) <= search.total()
    assert set(outcome.alone) == {"sharp", "shifted", "mean"}  # a combiner alone has the boxes of its inputs


def test_a_search_that_was_stopped_goes_on(pool, tmp_path):
    def run(journals, stop=None):
        spent = []

        def progress(count):
            spent.append(count)
            if stop is not None and len(spent) == stop:
                raise KeyboardInterrupt

        return Search(pool, BASE, budget=30, seed=3, progress=progress, journals=journals).run(), len(spent)

    expected, whole = run(None)
    journals = Journals.open(tmp_path / "j", "key", resume=False)
    with pytest.raises(KeyboardInterrupt):
        run(journals, stop=whole // 2)
    assert any((tmp_path / "j").iterdir())
    found, left = run(Journals.open(tmp_path / "j", "key", resume=True))
    assert found == expected and left < whole * 0.65
    history = journals.values("ensemble")
    assert -min(history) <= expected.ensemble.after + 1e-12 and len(history) > 5
    # With another key, or without --resume, nothing is taken over.
    assert run(Journals.open(tmp_path / "j", "other", resume=True))[1] == whole
    assert run(Journals.open(tmp_path / "j", "other", resume=False))[1] == whole
    journals.remove()
    assert not (tmp_path / "j").exists()


def test_journals_leave_other_files_alone(tmp_path, capsys):
    journals = Journals.open(tmp_path / "j", "key", resume=True)
    assert "no journals of a tuning that was stopped; it starts anew" in capsys.readouterr().err
    first, second = journals.arguments("a/b"), journals.within("part 1").arguments("a b")
    assert first["journal"].parent == second["journal"].parent == tmp_path / "j"
    assert first["journal"] != second["journal"] and first["journal_key"] != second["journal_key"]
    (tmp_path / "j" / "notes.txt").write_text("mine")
    first["journal"].write_text("x")
    journals.remove()
    assert [path.name for path in (tmp_path / "j").iterdir()] == ["notes.txt"]


def test_what_it_started_from_is_a_candidate_even_outside_the_box(pool):
    # No cell is smaller than half of the usual one, yet nothing better is in reach of the uniform tuner.
    start = replace(BASE, general=replace(BASE.general, min_area=60, score_threshold=0.0))
    search = Search(pool, start, tuner="uniform", budget=10)
    tuned = search.run().ensemble
    assert tuned.after >= tuned.before == float(pool.score(start).mean())


@pytest.mark.parametrize("budget", [10, 11, 23, 47])
def test_the_budget_is_kept(pool, budget):
    outcome = Search(pool, BASE, budget=budget).run()
    assert outcome.ensemble.evaluations <= budget
    for part in (*outcome.alone.values(), *outcome.variants.values()):
        assert part.evaluations <= budget // 2


def test_searching_helps(pool):
    tuned = Search(pool, BASE, budget=120, seed=0).run().ensemble
    assert tuned.after > tuned.before + 0.03


def test_the_same_seed_gives_the_same_settings(pool):
    first, second = (Search(pool, BASE, budget=30, seed=4).run() for _ in range(2))
    assert first == second


def test_types_with_enough_images_get_settings_of_their_own(blobs, members):
    pool = EvidencePool(members, FusionOptions())
    # The true cells of one type are larger than what is bright, those of the other smaller: no threshold suits both.
    for seed in range(8):
        image, truth = blobs.blob_image(seed)
        resize = ndimage.binary_dilation if seed < 4 else ndimage.binary_erosion
        dense = torch.from_numpy(np.stack([resize(mask) for mask in truth.to_dense().numpy()]))
        pool.add(cv2.GaussianBlur(image, (0, 0), 1.5), CropMasks.from_dense(dense), "round" if seed < 4 else "long")
    tuned = Search(pool, BASE, budget=100, seed=0).run().ensemble
    assert tuned.settings.types and tuned.after > tuned.general
    assert set(tuned.settings.types) <= {"round", "long"}


def test_settings_of_a_type_are_drawn_towards_the_general_ones(pool, monkeypatch):
    """By the part 4 / (4 + images): round has four images of its own here, so it goes half of the way."""
    general = replace(BASE.general, mask_threshold=0.4, exponent=0.2)
    wanted = replace(general, mask_threshold=0.6, exponent=1.0)
    search = Search(pool, BASE, budget=40)
    monkeypatch.setattr(search, "_minimize", lambda *arguments: (wanted, 0.0, 7))
    drawn, spent = search._tune_type("x", "round", replace(BASE, general=general), 10, False)
    assert spent == 7 and drawn.general == general
    assert drawn.types["round"].mask_threshold == pytest.approx(0.5)
    assert drawn.types["round"].exponent == pytest.approx(0.6)


def test_types_with_few_images_keep_the_general_settings(blobs, members):
    pool = EvidencePool(members, FusionOptions())
    for seed in range(6):
        pool.add(*blobs.blob_image(seed), cell_type="round" if seed < 3 else "long")
    outcome = Search(pool, BASE, budget=40, seed=0).run()
    assert all(not part.settings.types and part.after == part.general for part in outcome.rows.values())


def test_some_members_only(blobs, members):
    pool = EvidencePool(members[:2], FusionOptions())
    for seed in range(3):
        pool.add(*blobs.blob_image(seed), cell_type="round")
    tuned = Search(pool, BASE, budget=20).run().ensemble
    assert tuned.settings.members == NAMES and tuned.settings.general.weights["dim"] == 0


def test_one_member_is_an_ensemble_too(blobs, members):
    pool = EvidencePool(members[:1], FusionOptions())
    pool.add(*blobs.blob_image(0), cell_type="round")
    outcome = Search(pool, BASE, budget=20).run()
    tuned = outcome.ensemble
    assert not outcome.alone and not outcome.variants
    assert tuned.after >= tuned.before and tuned.evaluations <= 20


def test_nothing_to_tune_on(members):
    with pytest.raises(InputError, match="no images to tune on"):
        Search(EvidencePool(members, FusionOptions()), BASE)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(budget=5), "budget 5: expected 10 or more"),
        (dict(shrinkage=-1.0), "shrinkage -1.0: expected a number of 0 or more"),
        (dict(shrinkage=float("nan")), "shrinkage nan: expected a number of 0 or more"),
        (dict(seed=-1), "seed -1: expected a whole number of 0 or more"),
        (dict(tuner="magic"), "tuner 'magic' is none of"),
    ],
)
def test_options_that_cannot_be_used(pool, options, message):
    with pytest.raises(InputError, match=message):
        Search(pool, BASE, **options)


@pytest.mark.parametrize("empty", ["truth", "boxes", "both"])
def test_images_without_cells_or_boxes(blobs, members, empty):
    pool = EvidencePool(members, FusionOptions())
    image, truth = blobs.blob_image(0)
    image = image if empty == "truth" else np.full_like(image, 50)
    pool.add(image, truth if empty == "boxes" else truth[:0], "round")
    assert pool.typical_cell() == (0 if empty != "boxes" else int(truth.areas().median()))
    tuned = Search(pool, BASE, budget=20).run().ensemble
    # Boxes where nothing is: the search silences them. Cells that nobody finds: 0. Nothing and nothing found: 1.
    assert tuned.after == (0.0 if empty == "boxes" else 1.0)


def test_the_pool_keeps_what_was_used_last_as_far_as_memory_allows(pool, monkeypatch):
    from cellseg.ensemble.evidence import pool as evidence_pool

    made = []
    evaluator = evidence_pool.Evaluator
    monkeypatch.setattr(evidence_pool, "Evaluator", lambda *given: made.append(1) or evaluator(*given))
    alone = [BASE.only([name]) for name in ("sharp", "shifted")]
    expected = [pool.score(one).tolist() for one in (BASE, *alone)]
    assert len(made) == 6  # two types of images, three sets of boxes
    assert [pool.score(one).tolist() for one in (BASE, *alone)] == expected and len(made) == 6
    assert pool.score(BASE, "long").tolist() == expected[0][4:] and len(made) == 6
    monkeypatch.setattr(evidence_pool, "_MAX_KEPT", 1)
    again = pool.subset(range(len(pool)))
    assert [again.score(one).tolist() for one in (BASE, *alone, BASE)] == [*expected, expected[0]]
    assert len(made) == 6 + 8 and len(again._evaluators) == 1
