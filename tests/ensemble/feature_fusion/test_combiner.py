"""Combiners in an ensemble: asked last, from their inputs' answers, cached, and refused where they do not fit."""

import pytest
import torch

from cellseg.ensemble import Ensemble, EnsembleSettings, FusionOptions, Settings, uniform_settings
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.cache import EvidenceCache, image_key
from cellseg.ensemble.evidence.collect import asked_members, box_sources, collect_evidence
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.provenance import describe_members
from cellseg.ensemble.tuning.search import Search
from cellseg.errors import InputError
from cellseg.metrics import competition_map

TYPES = ("round", "long")
NAMES = ("sharp", "shifted", "dim", "fused")


@pytest.fixture
def members(combining):
    """As everywhere else, with features, and a combiner of the first two that stands before them."""
    kind = combining.FeatureBlob
    plain = [
        kind("sharp", missed=0.4, seed=1),
        kind("shifted", shift=1, missed=0.1, seed=2),
        kind("dim", level=140.0, proposes=False),
    ]
    return [*plain, combining.MeanCombiner()]


def weights(**values):
    return EnsembleSettings(NAMES, TYPES, Settings(weights={name: values.get(name, 0.0) for name in NAMES}))


def names(members):
    return [member.name for member in members]


def test_inputs_of_a_voting_combiner_are_asked(members):
    assert names(asked_members(members, ["dim"])) == ["dim"]
    assert names(asked_members(members, ["fused"])) == ["sharp", "shifted", "fused"]
    assert names(asked_members(members, ["dim", "sharp", "fused"])) == ["sharp", "shifted", "dim", "fused"]


def test_its_boxes_are_those_of_its_inputs_where_nobody_else_has_any(members):
    active = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.bool)
    assert box_sources(active, members, FusionOptions()).tolist() == [
        [True, False],
        [True, True],
        [False, False],
        [False, False],
    ]
    only = FusionOptions(proposers=("shifted",))
    assert box_sources(active, members, only)[:, 0].tolist() == [False, True, False, False]
    with pytest.raises(InputError, match=r"type round: none of its members \(dim\) proposes boxes"):
        box_sources(torch.tensor([[0, 1], [0, 1], [1, 1], [0, 1]], dtype=torch.bool), members, FusionOptions())


@pytest.mark.parametrize("position", [0, 1, 3])
def test_it_is_asked_last_wherever_it_stands(blobs, members, position):
    image, _ = blobs.blob_image(0)
    combiner = members.pop()
    members.insert(position, combiner)
    answers = [Answers(member, image) for member in members]
    sources = torch.tensor([[member.proposes] * 2 for member in members])
    evidence = collect_evidence(answers, sources, FusionOptions(), image.shape[:2])
    assert evidence.members == tuple(names(members))
    rows = dict(zip(evidence.members, evidence.evidence, strict=True))
    mean = (rows["sharp"].values + rows["shifted"].values) / 2
    torch.testing.assert_close(rows["fused"].values, mean, atol=1e-5, rtol=0)
    trust = dict(zip(evidence.members, evidence.confidence, strict=True))
    torch.testing.assert_close(trust["fused"], (trust["sharp"] + trust["shifted"]) / 2)
    (asked,) = combiner.asked
    assert list(asked["evidence"]) == ["sharp", "shifted"] and asked["features"] == {}
    assert asked["image_key"] == image_key(image)


def test_boxes_and_evidence_of_the_others_are_as_without_it(blobs, members):
    image, _ = blobs.blob_image(0)
    with_it, without = Ensemble(members).collect(image), Ensemble(members[:3]).collect(image)
    assert torch.equal(with_it.boxes, without.boxes) and torch.equal(with_it.scores, without.scores)
    for index in range(3):
        assert torch.equal(with_it.evidence[index].values, without.evidence[index].values)


def test_features_are_read_only_where_they_are_used(blobs, combining, members):
    image, _ = blobs.blob_image(0)
    Ensemble(members).predict(image)
    assert members[0].pooled == 0
    members[3] = combining.MeanCombiner(uses_features=True)
    evidence = Ensemble(members).collect(image)
    assert members[0].pooled == members[1].pooled == 1 and members[2].pooled == 0
    (asked,) = members[3].asked
    windows = evidence.evidence[0].windows
    assert torch.equal(asked["features"]["sharp"], Answers(members[0], image).features(windows))
    assert torch.equal(evidence.confidence[3], asked["features"]["sharp"][:, 0].mean((1, 2)) / 255)


def test_its_answers_are_cached(blobs, combining, members, tmp_path):
    image, _ = blobs.blob_image(0)
    members[3] = combining.MeanCombiner(uses_features=True)
    fresh = Ensemble(members).predict(image).to_dict()
    cache = EvidenceCache(tmp_path)
    assert Ensemble(members, cache=cache).predict(image).to_dict() == fresh
    blobs.BlobMember.encoded = 0
    members[3].asked.clear()
    assert Ensemble(members, cache=cache).predict(image).to_dict() == fresh
    assert blobs.BlobMember.encoded == 0 and members[3].asked == []


@pytest.mark.parametrize(
    "voting", [dict(fused=1.0), dict(fused=1.0, dim=1.0), dict(fused=1.0, sharp=2.0), dict(fused=1.0, shifted=1.0)]
)
def test_inputs_without_weight_stay_its_inputs(blobs, members, voting):
    image, truth = blobs.blob_image(1)
    ensemble = Ensemble(members, weights(**voting))
    evidence = ensemble.collect(image)
    assert set(evidence.members) == {"sharp", "shifted", *voting}
    # Their own votes and boxes do not count.
    detectors = {"sharp", "shifted"} & set(voting) or {"sharp", "shifted"}
    boxes = Ensemble(members[:3], uniform_settings(NAMES[:3], TYPES).only(detectors)).collect(image).boxes
    assert torch.equal(evidence.boxes, boxes)
    found = ensemble.predict(image)
    assert 3 <= len(found) <= len(truth) and not found.masks.overlaps()


def test_a_combiner_without_weight_is_not_asked(blobs, members):
    image, _ = blobs.blob_image(0)
    settings = weights(sharp=1.0, shifted=1.0, dim=1.0)
    assert Ensemble(members, settings).predict(image).to_dict() == Ensemble(members[:3]).predict(image).to_dict()
    assert members[3].asked == []


def test_missing_inputs_are_named(combining, members):
    message = r"member fused: combines sharp, shifted; shifted is not among the members \(sharp, dim\): add it"
    for build in (Ensemble, lambda part: EvidencePool(part, FusionOptions())):
        with pytest.raises(InputError, match=message):
            build([members[0], members[2], members[3]])
    chain = [*members, combining.MeanCombiner("above", ("sharp", "fused"))]
    with pytest.raises(InputError, match="member above: combines sharp, fused; fused is not among the members"):
        Ensemble(chain)


def test_inputs_of_another_training_are_refused(blobs, combining, members):
    known = describe_members(members[:2])
    members[3] = combining.MeanCombiner(input_identities=known)
    Ensemble(members)
    members[1] = combining.FeatureBlob("shifted", shift=2, missed=0.1, seed=2)
    message = "member fused: was trained with another checkpoint or other options of shifted; train it again"
    for build in (Ensemble, lambda part: EvidencePool(part, FusionOptions())):
        with pytest.raises(InputError, match=message):
            build(members)
    # Without a vote it does not matter.
    Ensemble(members, weights(sharp=1.0, shifted=1.0))


def test_settings_have_to_know_the_inputs(members):
    with pytest.raises(InputError, match="the settings do not know shifted, which a combiner among them reads"):
        Ensemble(members, uniform_settings(("sharp", "fused"), TYPES))


@pytest.mark.parametrize("call", ["boxes", "evidence"])
def test_it_has_no_answers_of_its_own(members, call):
    arguments = dict(boxes=(None,), evidence=(None, None, None, None))[call]
    with pytest.raises(InputError, match="member fused: .* sharp, shifted"):
        getattr(members[3], call)(*arguments)


@pytest.mark.parametrize("values", [float("nan"), 1.5])
def test_what_it_says_is_checked(blobs, members, values, monkeypatch):
    image, _ = blobs.blob_image(0)
    combine = members[3].combine

    def spoilt(*question):
        masks, confidence = combine(*question)
        masks.values.fill_(values)
        return masks, confidence

    monkeypatch.setattr(members[3], "combine", spoilt)
    with pytest.raises(InputError, match="member fused: evidence: expected values in 0..1"):
        Ensemble(members).predict(image)


# -- tuning ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(blobs, members):
    filled = EvidencePool(members, FusionOptions())
    for seed in range(4):
        filled.add(*blobs.blob_image(seed), cell_type="round")
    return filled


def test_the_pool_collects_no_boxes_for_it(pool, members):
    assert pool.sources(NAMES) == pool.sources(["fused"]) == ("sharp", "shifted")
    assert pool.sources(["fused", "sharp"]) == ("sharp",) and pool.sources(["dim"]) == ()
    # One answer for each of the three sets of boxes and four images.
    assert len(members[3].asked) == 3 * 4


def test_combiners_do_not_count_as_members_with_boxes(combining):
    many = [combining.FeatureBlob(f"m{index}") for index in range(4)]
    many += [combining.MeanCombiner("fused", ("m0", "m1")), combining.MeanCombiner("other", ("m2", "m3"))]
    pool = EvidencePool(many, FusionOptions())
    assert pool.required == frozenset()
    settings = uniform_settings([member.name for member in many], TYPES)
    for voters in (["m0"], ["m1", "m3"], ["fused"], ["other"], ["m2", "fused"], ["fused", "other", "m0", "m1", "m2"]):
        assert pool.covers(settings.only(voters).general), voters


@pytest.mark.parametrize("voters", [NAMES, ("fused",), ("fused", "dim"), ("shifted", "fused"), ("sharp", "shifted")])
def test_the_pool_scores_like_the_ensemble(blobs, members, pool, voters):
    settings = uniform_settings(NAMES, TYPES).only(voters)
    expected = [
        competition_map([Ensemble(members, settings).predict(image).masks], [truth]).map
        for image, truth in map(blobs.blob_image, range(4))
    ]
    assert pool.score(settings).tolist() == pytest.approx(expected, abs=1e-12)


def test_tuning_with_a_combiner(pool):
    found = Search(pool, uniform_settings(NAMES, TYPES), tuner="random", budget=20, seed=1).run()
    assert set(found.alone) == {"sharp", "shifted", "fused"}
    assert found.alone["fused"].settings.general.normalized() == dict(sharp=0, shifted=0, dim=0, fused=1)
    for tuned in found.rows.values():
        assert float(pool.score(tuned.settings).mean()) == pytest.approx(tuned.after)
