from fractions import Fraction

import numpy as np
import pytest
import torch

from cellseg.errors import InputError
from cellseg.metrics import THRESHOLDS, competition_map
from cellseg.structures import CropMasks

THIRTEEN_BY_ELEVEN = (11, 13)


def score(dense, predictions, truths):
    return competition_map([dense.crops(predictions)], [dense.crops(truths)])


def check_against_reference(dense, cases):
    result = competition_map([dense.crops(p) for p, _ in cases], [dense.crops(t) for _, t in cases])
    expected = [dense.precisions(p, t) for p, t in cases]
    np.testing.assert_array_equal(result.per_image_threshold, [[float(value) for value in row] for row in expected])
    per_image = [sum(row) / 10 for row in expected]
    np.testing.assert_allclose(result.per_image, [float(value) for value in per_image], rtol=1e-14)
    assert result.map == pytest.approx(float(sum(per_image) / len(cases)), rel=1e-14)
    for index, threshold in enumerate(THRESHOLDS):
        mean = float(sum(row[index] for row in expected) / len(cases))
        assert result.ap[threshold] == pytest.approx(mean, rel=1e-14)
    return expected


@pytest.mark.parametrize("overlapping_truths", [False, True])
@pytest.mark.parametrize("overlapping_predictions", [False, True])
@pytest.mark.parametrize("seed", range(100))
def test_equals_slow_reference(dense, seed, overlapping_predictions, overlapping_truths):
    generator = np.random.default_rng([seed, overlapping_predictions, overlapping_truths])
    cases = []
    for _ in range(3):
        truths = dense.random(generator, overlapping_truths)
        cases.append((dense.disturbed(generator, truths, overlapping_predictions), truths))
    check_against_reference(dense, cases)


def test_reference_cases_are_worth_it(dense):
    """The random cases have scores between, ambiguous matches, IoU of exactly a threshold and images without cells."""
    generator = np.random.default_rng(0)
    values, ties, ambiguous, blank = set(), 0, 0, 0
    for _ in range(200):
        truths = dense.random(generator, overlapping=True)
        predictions = dense.disturbed(generator, truths, overlapping=True)
        ious = dense.ious(predictions, truths)
        ties += any(iou in {Fraction(k, 20) for k in range(10, 20)} for row in ious for iou in row)
        ambiguous += any(sum(iou > Fraction(1, 2) for iou in row) > 1 for row in ious)
        blank += len(truths) == 0
        values.update(dense.precisions(predictions, truths))
    assert len(values) > 10 and ties > 10 and ambiguous > 10 and blank > 10


@pytest.mark.parametrize("twentieths", range(10, 20))
def test_iou_of_exactly_a_threshold_is_no_match(dense, twentieths):
    """k of 20 pixels: matched at all thresholds below k/20 and not at k/20 itself."""
    truths = np.zeros((1, 4, 5), dtype=bool)
    truths[:] = True
    predictions = truths.copy().reshape(1, -1)
    predictions[0, twentieths:] = False
    result = score(dense, predictions.reshape(truths.shape), truths)
    assert result.per_image_threshold[0].tolist() == [1.0 if k < twentieths else 0.0 for k in range(10, 20)]


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        pytest.param([], [], 1.0, id="nothing to find, nothing found"),
        pytest.param([], [(0, 0, 3, 3)], 0.0, id="cells but no predictions"),
        pytest.param([(0, 0, 3, 3)], [], 0.0, id="predictions but no cells"),
        pytest.param([(0, 0, 3, 3)], [(5, 5, 8, 8)], 0.0, id="apart"),
        pytest.param([(0, 0, 3, 3)], [(0, 0, 3, 3)], 1.0, id="equal"),
        pytest.param([(0, 0, 3, 3)], [(0, 0, 3, 3), (5, 5, 8, 8)], 0.5, id="one of two cells"),
        pytest.param([(0, 0, 3, 3), (5, 5, 8, 8)], [(0, 0, 3, 3)], 0.5, id="one of two predictions"),
        pytest.param([(0, 0, 3, 3), (0, 0, 3, 3)], [(0, 0, 3, 3)], 0.5, id="a double prediction"),
        pytest.param([(0, 0, 3, 3)] * 2, [(0, 0, 3, 3)] * 2, 1.0, id="two equal cells, each predicted"),
        pytest.param([(0, 0, 4, 2)], [(0, 0, 4, 3)], 0.4, id="IoU 2/3 passes 0.50 to 0.65"),
    ],
)
def test_edge_cases(dense, predicted, true, expected):
    predictions, truths = dense.masks(*predicted), dense.masks(*true)
    assert score(dense, predictions, truths).map == pytest.approx(expected, abs=1e-15)
    check_against_reference(dense, [(predictions, truths)])


@pytest.mark.parametrize("seed", range(20))
def test_truth_against_itself_is_exactly_one(dense, seed):
    generator = np.random.default_rng(seed)
    truths = [dense.crops(dense.random(generator, overlapping=False)) for _ in range(7)]
    result = competition_map(truths, truths)
    assert result.map == 1.0
    assert list(result.ap.values()) == [1.0] * 10
    assert result.per_image.tolist() == [1.0] * 7


def test_order_of_masks_and_images_does_not_matter(dense):
    generator = np.random.default_rng(3)
    truths = [dense.random(generator, overlapping=True) for _ in range(6)]
    predictions = [dense.disturbed(generator, t, overlapping=True) for t in truths]
    plain = competition_map([dense.crops(p) for p in predictions], [dense.crops(t) for t in truths])
    turned = competition_map([dense.crops(p[::-1]) for p in predictions], [dense.crops(t[::-1]) for t in truths])
    assert torch.equal(turned.counts, plain.counts)
    backwards = competition_map([dense.crops(p) for p in predictions[::-1]], [dense.crops(t) for t in truths[::-1]])
    assert torch.equal(backwards.counts, plain.counts.flip(0))


class TestPublicVersions:
    """Public versions of this metric, where they differ from this one, and by how much."""

    @staticmethod
    def public_counts(iou: np.ndarray, threshold: float, how: str) -> tuple[int, int, int]:
        """TP, FP, FN as the usual notebooks count them; ``iou`` has a row per cell, a column per prediction."""
        matches = iou > threshold
        per_cell = matches.sum(axis=1)
        true_positives = (per_cell == 1) if how == "== 1" else (per_cell >= 1)
        return int(true_positives.sum()), int((matches.sum(axis=0) == 0).sum()), int((per_cell == 0).sum())

    def public_map(self, dense, cases, how: str, pooled: bool) -> float:
        per_threshold = []
        for k in range(10, 20):
            counts = np.array(
                [
                    self.public_counts(np.array(dense.ious(t, p), float).reshape(len(t), len(p)), k / 20, how)
                    for p, t in cases
                ]
            )
            totals = counts.sum(axis=0)[None] if pooled else counts
            sums = totals.sum(axis=1)
            per_threshold.append(np.where(sums > 0, totals[:, 0] / np.maximum(sums, 1), 1.0).mean())
        return float(np.mean(per_threshold))

    @pytest.mark.parametrize("how", ["== 1", ">= 1"])
    def test_same_where_nothing_overlaps(self, dense, how):
        generator = np.random.default_rng(1)
        truths = [dense.random(generator, overlapping=False) for _ in range(40)]
        cases = [(dense.disturbed(generator, t, overlapping=False), t) for t in truths]
        ours = competition_map([dense.crops(p) for p, _ in cases], [dense.crops(t) for _, t in cases]).map
        # The float comparison iou > k / 20 of the notebooks is exact here: fractions become the nearest floats.
        assert self.public_map(dense, cases, how, pooled=False) == pytest.approx(ours, rel=1e-14)
        assert 0.1 < ours < 0.9

    def test_one_prediction_on_two_overlapping_cells(self, dense):
        """``>= 1`` pays one prediction twice; one-to-one pairs count it once and the other cell as missed."""
        predictions, truths = dense.masks((0, 0, 8, 1)), dense.masks((0, 0, 7, 1), (1, 0, 8, 1))
        iou = np.array(dense.ious(truths, predictions), float)
        assert self.public_counts(iou, 0.5, ">= 1") == (2, 0, 0)
        assert self.public_counts(iou, 0.5, "== 1") == (2, 0, 0)
        assert score(dense, predictions, truths).counts[0, 0].tolist() == [1, 0, 1]

    def test_two_overlapping_predictions_on_one_cell(self, dense):
        """``== 1`` counts the cell neither as found nor as missed; ``>= 1`` misses that one prediction is too many."""
        predictions, truths = dense.masks((0, 0, 7, 1), (1, 0, 8, 1)), dense.masks((0, 0, 8, 1))
        iou = np.array(dense.ious(truths, predictions), float)
        assert self.public_counts(iou, 0.5, "== 1") == (0, 0, 0)
        assert self.public_counts(iou, 0.5, ">= 1") == (1, 0, 0)
        assert score(dense, predictions, truths).counts[0, 0].tolist() == [1, 1, 0]

    def test_pooled_over_images(self, dense):
        """Pooling lets an image with many cells weigh more than one with few; here every image weighs the same."""
        many = dense.masks(*[(2 * i, 2 * j, 2 * i + 1, 2 * j + 1) for i in range(6) for j in range(5)])
        few = dense.masks((0, 0, 3, 3))
        cases = [(many, many), (few[:0], few)]
        ours = competition_map([dense.crops(p) for p, _ in cases], [dense.crops(t) for _, t in cases]).map
        assert ours == 0.5
        assert self.public_map(dense, cases, ">= 1", pooled=False) == 0.5
        assert self.public_map(dense, cases, ">= 1", pooled=True) == pytest.approx(30 / 31)


def test_refuses_what_cannot_be_scored():
    blank = CropMasks.empty(THIRTEEN_BY_ELEVEN)
    with pytest.raises(InputError, match="predictions of 1 images and truths of 2 cannot be compared"):
        competition_map([blank], [blank, blank])
    with pytest.raises(InputError, match="no images to score"):
        competition_map([], [])
    with pytest.raises(InputError, match=r"image 1: masks of different image sizes .*\(11, 13\) and \(5, 5\)"):
        competition_map([blank, blank], [blank, CropMasks.empty((5, 5))])
