"""Calibration: what it finds in simulated confidences, and what it never does."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellseg.ensemble import (
    Calibration,
    ImageEvidence,
    calibrate_members,
    expected_calibration_error,
    fit_calibration,
)
from cellseg.ensemble.votes.calibration import calibrate, correct_masks
from cellseg.errors import InputError
from cellseg.metrics import mask_iou
from cellseg.structures import CropMasks


def simulate(slope, intercept, count, seed=0):
    """Confidences, and outcomes that come true with the probability that the calibrated confidence states."""
    rng = np.random.default_rng(seed)
    confidence = torch.from_numpy(rng.uniform(0.02, 0.98, count))
    likely = torch.sigmoid(slope * torch.logit(confidence) + intercept)
    return confidence, torch.from_numpy(rng.random(count)) < likely


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, 0.5), (2.0, -1.0), (1.0, 1.5)])
def test_a_known_line_is_found(slope, intercept):
    found = fit_calibration(*simulate(slope, intercept, 20_000))
    assert found.slope == pytest.approx(slope, abs=0.08)
    assert found.intercept == pytest.approx(intercept, abs=0.08)


@pytest.mark.parametrize("seed", range(4))
def test_it_lowers_the_error_on_other_data(seed):
    found = fit_calibration(*simulate(0.5, -0.8, 400, seed))
    confidence, correct = simulate(0.5, -0.8, 4000, seed + 100)
    before, after = (expected_calibration_error(c, correct) for c in (confidence, found.apply(confidence)))
    assert after < 0.5 * before


def test_the_fit_is_the_best_line():
    """Against a search through all lines near by; the pull towards the identity counts like the text says."""
    confidence, correct = simulate(0.6, 0.4, 60)
    found = fit_calibration(confidence, correct)

    def loss(slope, intercept):
        p = torch.sigmoid(slope * torch.logit(confidence) + intercept)
        likelihood = torch.where(correct, p, 1 - p).log().sum().item()
        return -likelihood + 2 * ((slope - 1) ** 2 + intercept**2)

    best = loss(found.slope, found.intercept)
    for slope in np.linspace(found.slope - 0.1, found.slope + 0.1, 9):
        for intercept in np.linspace(found.intercept - 0.1, found.intercept + 0.1, 9):
            assert loss(slope, intercept) >= best - 1e-6


def test_few_data_hardly_move_it():
    many, few = (fit_calibration(*simulate(0.2, 1.5, count)) for count in (5000, 4))
    assert math.hypot(few.slope - 1, few.intercept) < 0.6 < math.hypot(many.slope - 1, many.intercept)


def test_confidence_against_the_truth_loses_its_slope_not_its_order():
    confidence, correct = simulate(-1.0, 0.0, 3000)
    found = fit_calibration(confidence, correct)
    assert found.slope == 0


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [([], []), ([0.2, 0.9], [True, True]), ([0.2, 0.9], [False, False]), ([0.0, 0.0], [True, False])],
)
def test_without_anything_to_learn_from_it_is_the_identity(confidence, correct):
    found = fit_calibration(torch.tensor(confidence), torch.tensor(correct, dtype=torch.bool))
    assert found == Calibration(1.0, 0.0)
    values = torch.tensor([0.0, 1e-7, 0.3, 1.0])
    assert torch.equal(found.apply(values), values)


def test_a_group_counts_like_ten():
    confidence, correct = simulate(0.3, 1.0, 10)
    repeated = fit_calibration(confidence.repeat(50), correct.repeat(50), torch.zeros(500, dtype=torch.int64))
    once = fit_calibration(confidence, correct)
    assert repeated.slope == pytest.approx(once.slope, abs=1e-4)
    assert repeated.intercept == pytest.approx(once.intercept, abs=1e-4)
    apart = fit_calibration(confidence.repeat(50), correct.repeat(50))
    assert abs(apart.intercept) > abs(once.intercept) + 0.1


@given(st.floats(0, 5), st.floats(-5, 5), st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_order_and_range_stay(slope, intercept, values):
    values = torch.tensor(sorted(values), dtype=torch.float32)
    calibrated = Calibration(slope, intercept).apply(values)
    assert calibrated.dtype == torch.float32
    assert (torch.diff(calibrated) >= 0).all() and ((calibrated >= 0) & (calibrated <= 1)).all()
    assert not calibrated[values == 0].any()


def test_apply_is_the_line_on_the_logit():
    values = torch.tensor([[0.2, 0.5], [0.0, 1.0]])
    expected = [
        [1 / (1 + math.exp(-(2 * math.log(0.25) + 1))), 1 / (1 + math.exp(-1))],
        [0.0, 1 / (1 + math.exp(-(2 * math.log(0.9999 / 0.0001) + 1)))],
    ]
    torch.testing.assert_close(Calibration(2.0, 1.0).apply(values), torch.tensor(expected), rtol=0, atol=1e-6)


def test_members_without_a_calibration_keep_their_confidence():
    confidence = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    calibrated = calibrate(confidence, ("a", "b", "c"), {"b": Calibration(0.5, 1.0)})
    assert torch.equal(calibrated[::2], confidence[::2])
    assert torch.equal(calibrated[1], Calibration(0.5, 1.0).apply(confidence[1]))
    assert calibrate(confidence, ("a", "b", "c"), {"d": Calibration(0.5, 1.0)}) is confidence


@pytest.mark.parametrize("line", [(-0.1, 0.0), (math.nan, 0.0), (1.0, math.inf)])
def test_lines_that_are_none(line):
    with pytest.raises(InputError, match="expected a finite slope of 0 or more and a finite intercept"):
        Calibration(*line)


@pytest.mark.parametrize(
    ("confidence", "correct", "groups", "message"),
    [
        ([0.5], [True, False], None, "should have one shape [N], found [[1], [2], [1]]"),
        ([0.5, 0.1], [True, False], [1], "should have one shape [N], found [[2], [2], [1]]"),
        ([0.5, math.nan], [True, False], None, "confidences should lie in 0..1"),
        ([0.5, 1.1], [True, False], None, "confidences should lie in 0..1"),
    ],
)
def test_bad_data(confidence, correct, groups, message):
    groups = None if groups is None else torch.tensor(groups)
    with pytest.raises(InputError) as caught:
        fit_calibration(torch.tensor(confidence), torch.tensor(correct), groups)
    assert message in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_correct_masks_have_an_iou_above_one_half(random_evidence, seed):
    evidence = random_evidence(seed, count=15)
    truths = random_evidence(seed, count=15, members=("a",)).evidence[0].threshold(0.8)
    for masks in evidence.evidence:
        expected = mask_iou(masks.threshold(0.5), truths).max(1).values > 0.5
        assert torch.equal(correct_masks(masks, truths), expected) and expected.any() and not expected.all()


def test_an_iou_of_one_half_is_not_above_it():
    window = torch.tensor([[0, 0, 4, 1]])
    truth = CropMasks(window, torch.tensor([True, True, False, False]), (1, 4))
    half = CropMasks(window, torch.tensor([0.9, 0.9, 0.9, 0.9]), (1, 4))
    more = CropMasks(window, torch.tensor([0.9, 0.9, 0.9, 0.5]), (1, 4))
    assert [bool(correct_masks(masks, truth)) for masks in (half, more)] == [False, True]


def scenes(count, seed=0):
    """Images with one member that is right with its confidence c, and one that is with the square root of c."""
    rng = np.random.default_rng(seed)
    images, truths = [], []
    for _ in range(count):
        corner = torch.from_numpy(rng.integers(0, 30, (20, 2)))
        windows = torch.cat([corner, corner + 6], 1)
        confidence = torch.from_numpy(rng.uniform(0.02, 0.98, (2, 20))).float()
        right = torch.from_numpy(rng.random((2, 20))) < torch.stack([confidence[0], confidence[1].sqrt()])
        evidence = tuple(CropMasks(windows, row.float().repeat_interleave(36), (40, 40)) for row in right)
        labels = torch.zeros(20, dtype=torch.int64)
        images.append(
            ImageEvidence(
                (40, 40), ("cell",), ("a", "b"), windows.float(), torch.ones(20), labels, evidence, confidence
            )
        )
        truths.append(CropMasks(windows, torch.ones(720, dtype=torch.bool), (40, 40)))
    return images, truths


def test_members_are_calibrated_on_images():
    found = calibrate_members(*scenes(80))
    images, truths = scenes(40, seed=1)
    assert list(found) == ["a", "b"]
    for index, name in enumerate(found):
        confidence = torch.cat([image.confidence[index] for image in images])
        correct = torch.cat(
            [correct_masks(image.evidence[index], truth) for image, truth in zip(images, truths, strict=True)]
        )
        before = expected_calibration_error(confidence, correct)
        after = expected_calibration_error(found[name].apply(confidence), correct)
        assert after < 0.06 and (name == "a" or after < before / 2)


def test_images_without_cells_or_boxes_are_data_too(random_evidence):
    images = [random_evidence(0, count=0), random_evidence(1, count=8)]
    found = calibrate_members(images, [CropMasks.empty((40, 50))] * 2)
    assert found == dict.fromkeys("abc", Calibration())  # nobody was ever right


def test_images_that_do_not_fit_together(random_evidence):
    image, truth = random_evidence(0), CropMasks.empty((40, 50))
    with pytest.raises(InputError, match="expected images with their truths, found 0 and 0"):
        calibrate_members([], [])
    with pytest.raises(InputError, match="expected images with their truths, found 1 and 2"):
        calibrate_members([image], [truth, truth])
    other = replace(image, members=("a", "b", "d"))
    with pytest.raises(InputError, match="images have evidence of a, b, c and of a, b, d"):
        calibrate_members([image, other], [truth, truth])
