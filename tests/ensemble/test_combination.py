"""Two ways to combine members: a vote on common boxes, or matching of what each finds alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellseg.ensemble import Ensemble, FusionOptions, uniform_settings
from cellseg.ensemble.combination import COMBINATIONS
from cellseg.ensemble.matching.match import MatchOptions, match_instances
from cellseg.errors import InputError


@pytest.fixture
def image(blobs):
    return blobs.blob_image(3)[0]


@pytest.fixture
def detectors(blobs):
    return [
        blobs.BlobMember("sharp", missed=0.4, seed=1),
        blobs.BlobMember("shifted", shift=1, missed=0.1, seed=2),
        blobs.BlobMember("third", shift=-1, missed=0.3, seed=5),
    ]


def settings_for(members, **options):
    return uniform_settings([member.name for member in members], members[0].class_names, **options)


def same(a, b) -> bool:
    return a.to_dict() == b.to_dict()


def nearly_same(a, b) -> bool:
    """The same masks and labels; scores but for rounding, as sums in another order have it."""
    near = len(a) == len(b) and torch.allclose(a.scores, b.scores, rtol=0, atol=1e-6)
    return near and torch.equal(a.labels, b.labels) and torch.equal(a.masks.to_dense(), b.masks.to_dense())


def test_matching_is_of_what_each_member_finds_alone(detectors, image):
    settings = settings_for(detectors, score_threshold=0.1)
    alone = {member.name: settings.only([member.name]) for member in detectors}
    alone["third"] = replace(alone["third"], general=replace(alone["third"].general, mask_threshold=0.7))
    settings = replace(settings, alone=alone)
    found = [Ensemble([member], settings.only([member.name])).predict(image) for member in detectors]
    assert [len(one) for one in found] != [len(found[0])] * 3
    matched = Ensemble(detectors, settings, combine="match").predict(image)
    assert same(matched, match_instances(found)) and 0 < len(matched) < 9
    options = MatchOptions(rule="any", mask_threshold=0.3)
    other = Ensemble(detectors, replace(settings, matching=options), combine="match").predict(image)
    assert same(other, match_instances(found, None, options)) and len(other) > len(matched)


def test_weights_of_matching_go_by_name(detectors, image, blobs):
    settings = settings_for(detectors, score_threshold=0.1)
    found = [Ensemble([member], settings.only([member.name])).predict(image) for member in detectors]
    options = MatchOptions(weights=dict(third=0, shifted=3))
    blobs.BlobMember.encoded = 0
    ensemble = Ensemble(detectors, replace(settings, matching=options), combine="match")
    assert same(ensemble.predict(image), match_instances(found, [1, 3, 0]))
    assert blobs.BlobMember.encoded == 2  # one that does not count is not asked


def test_weights_of_the_vote_do_not_matter_to_matching(detectors, image):
    settings = settings_for(detectors, score_threshold=0.1)
    alone = {member.name: settings.only([member.name]) for member in detectors}
    tuned = replace(settings.general, weights=dict(sharp=0.0, shifted=0.9, third=0.1))
    expected = Ensemble(detectors, settings, combine="match").predict(image)
    assert same(
        Ensemble(detectors, replace(settings, general=tuned, alone=alone), combine="match").predict(image), expected
    )


def test_some_of_the_members_can_be_matched(detectors, image):
    settings = replace(settings_for(detectors), matching=MatchOptions(rule="any", weights=dict(third=2, sharp=0.5)))
    chosen = detectors[1:]
    relevant = COMBINATIONS["match"].relevant(settings, [member.name for member in chosen])
    assert relevant.matching.weights == dict(shifted=1.0, third=2.0) and list(relevant.alone) == ["shifted", "third"]
    found = [Ensemble([member], settings.only([member.name])).predict(image) for member in chosen]
    expected = match_instances(found, [1, 2], MatchOptions(rule="any"))
    for given in (settings, relevant):
        assert same(Ensemble(chosen, given, combine="match").predict(image), expected)


def test_what_results_of_a_vote_depend_on(detectors):
    settings = replace(settings_for(detectors), matching=MatchOptions(rule="all"))
    settings = replace(settings, alone=dict(sharp=settings.only(["sharp"])), variants=dict(uniform=settings))
    names = [member.name for member in detectors]
    assert COMBINATIONS["vote"].relevant(settings, names) == settings_for(detectors)
    assert COMBINATIONS["vote"].relevant(settings, ["sharp"]).general.weights == dict(sharp=1, shifted=0, third=0)


def test_cached_answers_give_the_same(detectors, image, tmp_path, blobs):
    from cellseg.ensemble.evidence.cache import EvidenceCache

    expected = Ensemble(detectors, combine="match").predict(image)
    cache = EvidenceCache(tmp_path)
    for encoded in (3, 0):
        blobs.BlobMember.encoded = 0
        assert same(Ensemble(detectors, cache=cache, combine="match").predict(image), expected)
        assert blobs.BlobMember.encoded == encoded


def test_fusion_applies_to_each_member_alone(detectors, image):
    fusion = FusionOptions(one_type=True, across_classes=True)
    found = [Ensemble([member], settings_for([member]), fusion).predict(image) for member in detectors]
    assert same(Ensemble(detectors, fusion=fusion, combine="match").predict(image), match_instances(found))


@pytest.mark.parametrize("combine", ["vote", "match"])
def test_the_margin_of_settings_comes_before_that_of_the_fusion(detectors, image, combine):
    settings = settings_for(detectors)
    alone = {member.name: settings.only([member.name]) for member in detectors}
    plain, wide = (
        replace(settings, margin=margin, alone={name: replace(part, margin=margin) for name, part in alone.items()})
        for margin in (None, 0.0)
    )
    expected = Ensemble(detectors, plain, FusionOptions(margin=0.0), combine=combine).predict(image)
    assert same(Ensemble(detectors, wide, FusionOptions(margin=0.3), combine=combine).predict(image), expected)
    if combine == "vote":
        windows = [Ensemble(detectors, part, FusionOptions(margin=0.3)).collect(image) for part in (plain, wide)]
        assert (windows[0].evidence[0].window_sizes()[0] > windows[1].evidence[0].window_sizes()[0]).all()


def test_members_that_cannot_be_matched(members, detectors):
    with pytest.raises(InputError, match=r"member dim: proposes no boxes, .* leave it out, or let the members vote"):
        Ensemble(members, combine="match")
    with pytest.raises(InputError, match="combine: 'mix' is none of vote, match"):
        Ensemble(detectors, combine="mix")
    settings = settings_for(detectors)
    with pytest.raises(InputError, match="matching.weights: no member 'fourth'; there are sharp, shifted, third"):
        Ensemble(detectors, replace(settings, matching=MatchOptions(weights=dict(fourth=1))), combine="match")
    with pytest.raises(InputError, match="matching.weights: the weights of sharp are all 0"):
        Ensemble(detectors[:1], replace(settings, matching=MatchOptions(weights=dict(sharp=0))), combine="match")


def test_matched_members_have_no_evidence_in_common(detectors, image):
    with pytest.raises(InputError, match="no evidence in common; they must vote"):
        Ensemble(detectors, combine="match").collect(image)
    assert len(Ensemble(detectors).collect(image).members) == 3


def test_an_image_without_cells(detectors):
    dark = np.zeros((50, 60, 3), np.uint8)
    matched = Ensemble(detectors, combine="match").predict(dark)
    assert len(matched) == 0 and matched.image_size == (50, 60)


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("combine", ["vote", "match"])
def test_an_ensemble_of_copies_is_like_one_of_them(blobs, image, combine, copies):
    def ensemble(count):
        return Ensemble([blobs.BlobMember(f"m{k}", missed=0.2, seed=3) for k in range(count)], combine=combine)

    one, several = ensemble(1).predict(image), ensemble(copies).predict(image)
    assert len(one) > 4 and nearly_same(several, one)


@pytest.mark.parametrize("combine", ["vote", "match"])
def test_the_order_of_members_does_not_matter(detectors, image, combine):
    settings = settings_for(detectors)
    found = Ensemble(detectors, settings, combine=combine).predict(image)
    assert nearly_same(Ensemble(detectors[::-1], settings, combine=combine).predict(image), found)


def test_a_member_of_weight_zero_is_as_if_it_were_not_there(members, detectors, image):
    settings = uniform_settings([member.name for member in detectors], detectors[0].class_names)
    weights = dict.fromkeys(settings.members, 1.0) | {detectors[0].name: 0.0}
    silent = replace(settings, general=replace(settings.general, weights=weights))
    without = uniform_settings([member.name for member in detectors[1:]], detectors[0].class_names)
    expected = Ensemble(detectors[1:], without).predict(image)
    assert same(Ensemble(detectors, silent).predict(image), expected)
    assert not same(Ensemble(detectors, settings).predict(image), expected)
