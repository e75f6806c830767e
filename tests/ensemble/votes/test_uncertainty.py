"""Disagreement of the members: constructed cases, and the formula for dense masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellseg.ensemble import (
    Calibration,
    EnsembleSettings,
    ImageEvidence,
    Settings,
    disagreement,
    resolve,
    uniform_settings,
)
from cellseg.structures import CropMasks

TYPES = ("round", "long")


def squares(*lefts, soft=False):
    """The evidence of one box, in which each member sees a square of 10 x 10 with its left end there."""
    values = []
    for left in lefts:
        crop = torch.zeros(20, 60)
        crop[5:15, left : left + 10] = 1.0
        values.append((crop * 0.8 + 0.1 if soft else crop).flatten())
    window = torch.tensor([[0, 0, 60, 20]])
    members = tuple("abcdef"[: len(lefts)])
    return ImageEvidence(
        image_size=(20, 60),
        class_names=TYPES,
        members=members,
        boxes=window.float(),
        scores=torch.ones(1),
        labels=torch.zeros(1, dtype=torch.int64),
        evidence=tuple(CropMasks(window, part, (20, 60)) for part in values),
        confidence=torch.full((len(lefts), 1), 0.5),
    )


def of(evidence, **weights):
    settings = uniform_settings(evidence.members, TYPES)
    if weights:
        settings = replace(settings, general=replace(settings.general, weights=weights))
    return disagreement(evidence, settings).item()


@pytest.mark.parametrize("soft", [False, True])
def test_members_that_agree_are_certain(soft):
    assert of(squares(7, 7, 7, soft=soft)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("lefts", [(0, 20), (0, 20, 40)])
def test_members_that_see_different_things_are_not(lefts):
    assert of(squares(*lefts)) == pytest.approx(1, abs=1e-6)


def test_it_grows_as_one_member_moves_away():
    values = [of(squares(5, 5, 5 + shift)) for shift in range(12)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(values[:11]) > 0).all() and values[11] == pytest.approx(values[10])
    # Two of the three pairs share nothing then.
    assert values[11] == pytest.approx(2 / 3)


def test_weights_decide_whose_opinion_counts():
    evidence = squares(5, 5, 30)
    assert of(evidence, a=1.0, b=1.0, c=0.0) == pytest.approx(0, abs=1e-6)
    assert of(evidence, a=1.0, b=1.0, c=0.1) < of(evidence, a=1.0, b=1.0, c=1.0)
    assert of(evidence, a=1.0, b=0.0, c=1.0) == pytest.approx(1)


def test_confidences_count_as_in_the_vote():
    evidence = squares(5, 5, 30)
    doubtful = replace(evidence, confidence=torch.tensor([[0.5], [0.5], [0.0]]))
    settings = uniform_settings("abc", TYPES)
    assert disagreement(doubtful, settings).item() == pytest.approx(0, abs=1e-6)
    ignored = replace(settings, general=replace(settings.general, exponent=0.0))
    assert disagreement(doubtful, ignored).item() == pytest.approx(2 / 3)
    louder = replace(settings, calibration={"c": Calibration(1.0, 2.0)})
    assert disagreement(evidence, louder).item() > disagreement(evidence, settings).item()


def test_nobody_to_disagree():
    assert disagreement(squares(5), uniform_settings("a", TYPES)).tolist() == [0]
    evidence, settings = squares(5, 30), uniform_settings("ab", TYPES)
    assert disagreement(evidence, settings.only(["a"])).tolist() == [0]
    silent = replace(evidence, confidence=torch.tensor([[0.5], [0.0]]))
    assert disagreement(silent, settings).tolist() == [0]


def reference(evidence, settings):
    """Pair by pair on dense arrays, cell by cell."""
    dense = [masks.to_dense().double().numpy() for masks in evidence.evidence]
    result = []
    for i, label in enumerate(evidence.labels.tolist()):
        one = settings.by_class()[label]
        shares = [
            one.weights[name] * float(evidence.confidence[m, i]) ** one.exponent
            for m, name in enumerate(evidence.members)
        ]
        agreement = total = 0.0
        for m in range(len(dense)):
            for n in range(m):
                union = np.maximum(dense[m][i], dense[n][i]).sum()
                agreement += shares[m] * shares[n] * np.minimum(dense[m][i], dense[n][i]).sum() / union
                total += shares[m] * shares[n]
        result.append(1 - agreement / total)
    return result


@pytest.mark.parametrize("seed", range(4))
def test_the_formula(random_evidence, seed):
    evidence = random_evidence(seed, count=9)
    general = Settings(weights=dict(a=1.0, b=2.0, c=0.5), exponent=0.7)
    settings = EnsembleSettings(
        ("a", "b", "c"), TYPES, general, {"long": replace(general, weights=dict(a=1.0, b=0.0, c=1.0))}
    )
    values = disagreement(evidence, settings)
    np.testing.assert_allclose(values.numpy(), reference(evidence, settings), atol=1e-6)
    chosen = torch.tensor([4, 0, 7])
    assert torch.equal(disagreement(evidence, settings, chosen), values[chosen])
    order = [2, 0, 1]
    other = replace(
        evidence,
        members=("c", "a", "b"),
        evidence=tuple(evidence.evidence[m] for m in order),
        confidence=evidence.confidence[order],
    )
    torch.testing.assert_close(disagreement(other, settings), values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scheme", ["mean", "median", "staple"])
def test_resolve_gives_it_to_every_instance(random_evidence, scheme):
    evidence = random_evidence(3, count=14, size=(36, 40))
    settings = replace(
        uniform_settings(("a", "b", "c"), TYPES, score_threshold=0.1, min_area=20, nms_iou=0.2), vote=scheme
    )
    instances = resolve(evidence, settings)
    assert 0 < len(instances) < 14 and ((instances.uncertainty > 0) & (instances.uncertainty < 1)).all()
    # The box that an instance came from is the one whose window holds it with this score.
    everything = disagreement(evidence, settings)
    assert set(instances.uncertainty.tolist()) <= set(everything.tolist())
    for box, value in zip(instances.boxes, instances.uncertainty, strict=True):
        windows = evidence.evidence[0].windows[everything == value]
        assert ((windows[:, :2] <= box[:2]) & (windows[:, 2:] >= box[2:])).all()


def test_resolve_without_anybody_to_disagree(random_evidence):
    settings = uniform_settings(("a", "b", "c"), TYPES, score_threshold=0.0)
    alone = resolve(random_evidence(0), settings.only(["b"]))
    assert len(alone) and not alone.uncertainty.any()
    assert resolve(random_evidence(0, count=0), settings).uncertainty.tolist() == []
