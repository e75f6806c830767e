"""Which rows a comparison has, and what they find, where a combiner is among the members."""

from dataclasses import replace

import pytest
import torch

from cellseg.ensemble import FusionOptions, uniform_settings
from cellseg.ensemble.comparison.rows import RowPredictor, plan_rows
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.matching.match import MatchOptions
from cellseg.ensemble.pipeline import Ensemble


@pytest.fixture
def members(combining):
    kind = combining.FeatureBlob
    plain = [kind("sharp", missed=0.4, seed=1), kind("shifted", shift=1, seed=2), kind("dim", proposes=False)]
    return [*plain, combining.MeanCombiner()]


@pytest.fixture
def settings(members):
    base = uniform_settings([member.name for member in members], members[0].class_names)
    weights = dict(sharp=1.0, shifted=1.0, dim=0.0, fused=0.0)
    plain = replace(base, general=replace(base.general, weights=weights))
    alone = replace(base, general=replace(base.general, weights=dict.fromkeys(weights, 0.0) | {"fused": 1.0}))
    wide = replace(base, margin=0.4)
    return replace(base, variants={"plain": plain, "fused alone": alone, "wide": wide}, matching=MatchOptions())


def test_only_members_with_boxes_work_alone(members, settings):
    plans = plan_rows(members, settings)
    assert [(plan.name, plan.kind) for plan in plans] == [
        ("sharp", "member"),
        ("shifted", "member"),
        ("plain", "variant"),
        ("fused alone", "variant"),
        ("wide", "variant"),
        ("matching", "matching"),
        ("ensemble", "ensemble"),
    ]


def test_one_member_with_boxes_is_matched_with_nobody(members, settings):
    names = [plan.name for plan in plan_rows([members[0], *members[2:]], replace(settings, variants={}))]
    assert names == ["sharp", "ensemble"]


def test_rows_are_what_the_pipeline_makes(blobs, combining, members, settings):
    image, _ = blobs.blob_image(3)
    plans = plan_rows(members, settings)
    predictor = RowPredictor(plans, members, FusionOptions(), MatchOptions())
    combining.FeatureBlob.encoded = 0
    found = predictor.predict(image.shape[:2], lambda member: Answers(member, image))
    # The member without weight in "plain" is asked for the ensemble; the combiner sees no image.
    assert combining.FeatureBlob.encoded == 3
    for plan in plans:
        if plan.settings is not None:
            expected = Ensemble(members, plan.settings, FusionOptions()).predict(image)
            assert len(expected) > 3 and torch.equal(found[plan.name].scores, expected.scores), plan.name
            assert torch.equal(found[plan.name].masks.to_dense(), expected.masks.to_dense())
