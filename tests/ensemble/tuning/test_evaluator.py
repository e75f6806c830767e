"""Scores of a search against the plain way: resolve image by image, then the competition mAP."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from cellseg.ensemble import SCHEMES, Calibration, EnsembleSettings, Settings, resolve
from cellseg.ensemble.evidence.values import stack_evidence
from cellseg.ensemble.tuning import evaluator
from cellseg.ensemble.tuning.evaluator import Evaluator, matched_rows
from cellseg.metrics import competition_map
from cellseg.structures import CropMasks

MEMBERS, TYPES = ("a", "b", "c"), ("round", "long")


def settings(seed: int, base: EnsembleSettings | None = None, **options) -> EnsembleSettings:
    """Random settings, by type too; with ``base`` only the thresholds after the masks differ."""
    rng = np.random.default_rng(seed)

    def draw(old: Settings | None) -> Settings:
        late = dict(score_threshold=0.4 * rng.random(), nms_iou=0.6 * rng.random(), min_area=int(rng.integers(30)))
        if old:
            return replace(old, **late)
        weights = dict(zip(MEMBERS, rng.random(3).tolist(), strict=True))
        return Settings(weights=weights, exponent=rng.random(), mask_threshold=0.3 + 0.4 * rng.random(), **late)

    long = draw(base.types["long"] if base else None)
    return EnsembleSettings(MEMBERS, TYPES, draw(base.general if base else None), {"long": long}, **options)


LOUD = {"a": Calibration(0.4, 1.5), "c": Calibration(3.0, 0.0)}


@pytest.fixture
def images(random_evidence):
    """Images of different sizes, one without boxes and one without cells."""
    sizes = [(40, 50), (30, 36), (40, 50), (20, 60), (50, 30)]
    evidence = [random_evidence(k, count=[12, 8, 0, 10, 9][k], size=size) for k, size in enumerate(sizes)]
    truths = [one.evidence[0].threshold(0.5) for one in evidence]
    truths[2] = random_evidence(9, count=3, size=(40, 50)).evidence[1].threshold(0.5)
    truths[3] = CropMasks.empty(sizes[3])
    return evidence, truths


def expected(images, chosen):
    return [
        competition_map([resolve(evidence, chosen).masks], [truth]).map for evidence, truth in zip(*images, strict=True)
    ]


@pytest.mark.parametrize("calibration", [{}, LOUD])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_scores_like_one_image_after_another(images, scheme, calibration):
    scorer = Evaluator(*images)
    for seed in range(3):
        chosen = settings(seed, vote=scheme, calibration=calibration)
        np.testing.assert_allclose(scorer.score(chosen).numpy(), expected(images, chosen), atol=1e-12)


def test_votes_are_kept_for_one_scheme_and_calibration_only(images):
    scorer = Evaluator(*images)
    scores = []
    for scheme in (*SCHEMES, *SCHEMES):
        for calibration in ({}, LOUD, {"a": Calibration(0.4, 1.4), "c": LOUD["c"]}):
            chosen = settings(5, vote=scheme, calibration=calibration)
            scores.append(scorer.score(chosen).mean().item())
            assert scores[-1] == pytest.approx(np.mean(expected(images, chosen)), abs=1e-12)
    assert len(set(scores)) > len(SCHEMES)


def test_a_search_does_not_pay_for_uncertainty(images, monkeypatch):
    resolving = importlib.import_module("cellseg.ensemble.votes.resolve")
    monkeypatch.setattr(resolving, "disagreement", lambda *given: pytest.fail("measured"))
    Evaluator(*images).score(settings(0))


@pytest.mark.parametrize("limit", [2000, 15, 1])
def test_scores_are_those_of_one_image_after_another(images, limit, monkeypatch):
    monkeypatch.setattr(evaluator, "_MAX_INSTANCES", limit)
    scorer = Evaluator(*images)
    for seed in range(8):
        chosen = settings(seed)
        np.testing.assert_allclose(scorer.score(chosen).numpy(), expected(images, chosen), atol=1e-12)


def test_all_positions_kept_together_stay_below_the_limit(images, monkeypatch):
    monkeypatch.setattr(evaluator, "_MAX_INSTANCES", 1)
    every = Evaluator(*images)
    kept = [batch.kept for batch in every._batches]
    assert len(kept) == 5 and sum(one > 0 for one in kept) > 2
    # Room for the first of them and no more.
    monkeypatch.setattr(evaluator, "MOST_KEPT", next(one for one in kept if one))
    scorer = Evaluator(*images)
    assert 0 < sum(batch.kept for batch in scorer._batches) <= evaluator.MOST_KEPT
    assert every.nbytes - scorer.nbytes == 8 * (sum(kept) - sum(batch.kept for batch in scorer._batches))
    for seed in range(3):
        np.testing.assert_allclose(scorer.score(settings(seed)).numpy(), expected(images, settings(seed)), atol=1e-12)


def test_kept_stages_change_nothing(images):
    scorer = Evaluator(*images)
    first, second = settings(0), settings(1)
    # Back and forth between two votes, with thresholds that rise and fall.
    for seed in range(12):
        chosen = settings(seed, first if seed % 3 else second)
        np.testing.assert_allclose(scorer.score(chosen).numpy(), expected(images, chosen), atol=1e-12)


def test_votes_are_not_cast_again_for_thresholds(images, monkeypatch):
    calls = []
    cast = evaluator.cast_votes
    monkeypatch.setattr(evaluator, "cast_votes", lambda *given: calls.append(1) or cast(*given))
    scorer = Evaluator(*images)
    base = replace(settings(0), types={})
    low = replace(base.general, score_threshold=0.0)
    for change in (dict(), dict(score_threshold=0.3), dict(nms_iou=0.2), dict(min_area=9), dict(mask_threshold=0.4)):
        scorer.score(replace(base, general=replace(low, **change)))
    assert len(calls) == 1
    scorer.score(replace(base, general=replace(low, exponent=2.0)))
    assert len(calls) == 2
    for change in (dict(vote="median"), dict(vote="median", calibration=LOUD)):
        scorer.score(replace(base, general=low, **change))
    assert len(calls) == 4


def test_truths_that_overlap_are_matched_one_to_one():
    edges = np.array([[0, 0], [0, 1], [1, 0], [2, 2], [3, 3], [4, 3]]).T
    assert sorted(matched_rows(*edges)) in ([0, 1, 2, 3], [0, 1, 2, 4])
    assert len(matched_rows(np.zeros(0, int), np.zeros(0, int))) == 0


def test_stacked_images_keep_their_order_within_equal_scores(random_evidence):
    parts = [replace(random_evidence(k, count=4), scores=torch.full((4,), 0.5)) for k in range(3)]
    stacked, tops = stack_evidence(parts)
    assert tops.tolist() == [0, 40, 80, 120] and stacked.image_size == (120, 50)
    assert torch.equal(stacked.labels, torch.cat([part.labels for part in parts]))
    shifted = parts[2].evidence[1].windows + torch.tensor([0, 80, 0, 80])
    assert torch.equal(stacked.evidence[1].windows[8:], shifted)
