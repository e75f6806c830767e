"""Ceilings, on scenes small enough to see what should come out."""

import pytest
import torch

from cellseg.ensemble import FusionOptions, ImageEvidence, resolve, uniform_settings
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.tuning.cases import Case
from cellseg.ensemble.tuning.oracle import (
    CEILINGS,
    ask_about_truth,
    measure_ceilings,
    with_perfect_claims,
    with_perfect_selection,
    with_true_boxes,
    with_true_masks,
)
from cellseg.metrics import competition_map
from cellseg.structures import CropMasks

SIZE = (12, 20)
SETTINGS = uniform_settings(("m",), ("cell",), score_threshold=0.4, nms_iou=0.5)


def rectangles(*boxes):
    """True cells: half-open rectangles x0, y0, x1, y1."""
    masks = torch.zeros((len(boxes), *SIZE), dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return CropMasks.from_dense(masks)


def evidence(boxes, scores, values):
    """One member that says for each box one number everywhere in it."""
    windows = torch.tensor(boxes).reshape(-1, 4)
    crops = [torch.full((y1 - y0, x1 - x0), value) for (x0, y0, x1, y1), value in zip(boxes, values, strict=True)]
    masks = CropMasks.from_crops(crops, windows, SIZE) if crops else CropMasks.empty(SIZE, torch.float32)
    count = len(boxes)
    return ImageEvidence(
        SIZE,
        ("cell",),
        ("m",),
        windows.float(),
        torch.tensor(scores),
        torch.zeros(count, dtype=torch.int64),
        (CropMasks(masks.windows, masks.values.float(), SIZE),),
        torch.ones(1, count),
    )


def same(found, expected):
    """The same masks, in whatever order."""
    assert sorted(found.tight().to_rle()) == sorted(expected.to_rle())


def test_true_masks_replace_what_good_boxes_hold():
    truth = rectangles((1, 1, 7, 7), (12, 2, 18, 8), (8, 9, 12, 12))
    # The first box is a little off, the second far too small, the third has too low a score.
    image = evidence([(1, 1, 8, 7), (12, 2, 15, 6), (8, 9, 12, 12)], [0.9, 0.8, 0.3], [0.9, 0.9, 0.9])
    same(with_true_masks(image, truth, SETTINGS), rectangles((1, 1, 7, 7), (12, 2, 15, 6)))
    # Of two good boxes for one cell, mask NMS leaves one.
    twice = evidence([(1, 1, 8, 7), (1, 1, 7, 8)], [0.9, 0.8], [0.9, 0.9])
    same(with_true_masks(twice, truth, SETTINGS), rectangles((1, 1, 7, 7)))


def test_true_masks_keep_their_holes_and_parts():
    dense = torch.zeros((1, *SIZE), dtype=torch.bool)
    dense[0, 1:8, 1:8] = True
    dense[0, 4, 4] = False
    dense[0, 1:8, 2] = False
    truth = CropMasks.from_dense(dense)
    image = evidence([(1, 1, 8, 8)], [0.9], [0.9])
    same(with_true_masks(image, truth, SETTINGS), truth)
    assert not torch.equal(resolve(image, SETTINGS).masks.to_dense(), dense)


def test_contested_pixels_go_to_their_true_owner():
    truth = rectangles((1, 1, 8, 7), (8, 1, 16, 7))
    # Both want the columns 6 to 9; the one with the higher vote is wrong about 8 and 9, the other about 6 and 7.
    image = evidence([(1, 1, 10, 7), (6, 1, 16, 7)], [0.9, 0.8], [0.9, 0.7])
    same(resolve(image, SETTINGS).masks, rectangles((1, 1, 10, 7), (10, 1, 16, 7)))
    same(with_perfect_claims(image, truth, SETTINGS), truth)
    # Pixels of nobody are claimed as always.
    small = rectangles((1, 1, 5, 7), (11, 1, 16, 7))
    same(with_perfect_claims(image, small, SETTINGS), rectangles((1, 1, 10, 7), (10, 1, 16, 7)))
    same(with_perfect_claims(image, rectangles(), SETTINGS), rectangles((1, 1, 10, 7), (10, 1, 16, 7)))


@pytest.mark.parametrize("claim", ["probability", "probability_score", "score", "small_first"])
def test_a_true_owner_gets_its_pixels_under_every_policy(claim):
    from dataclasses import replace

    truth = rectangles((1, 1, 8, 7), (8, 1, 16, 7))
    image = evidence([(1, 1, 10, 7), (6, 1, 16, 7)], [0.9, 0.8], [0.7, 0.9])
    same(with_perfect_claims(image, truth, replace(SETTINGS, claim=claim)), truth)


def test_perfect_selection_takes_the_best_mask_of_each_cell():
    truth = rectangles((1, 1, 7, 7), (12, 2, 18, 8))
    boxes = [(1, 1, 9, 7), (1, 1, 7, 6), (12, 2, 18, 8), (14, 9, 18, 12)]
    # A poor and a good mask of the first cell, a mask of the second whose score is too low, an invented one.
    image = evidence(boxes, [0.9, 0.8, 0.1, 0.7], [0.9] * 4)
    same(with_perfect_selection(image, truth, SETTINGS), rectangles((1, 1, 7, 6), (12, 2, 18, 8)))
    assert len(with_perfect_selection(image, rectangles(), SETTINGS)) == 0


def test_true_boxes_all_stay():
    truth = rectangles((1, 1, 7, 7), (12, 2, 18, 8))
    image = evidence([(1, 1, 7, 7), (12, 2, 18, 8)], [0.1, 0.2], [0.9, 0.6])
    same(with_true_boxes(image, SETTINGS), truth)


@pytest.mark.parametrize("function", [with_true_masks, with_perfect_claims, with_perfect_selection])
@pytest.mark.parametrize("cells", [0, 1])
def test_without_boxes_there_is_nothing(function, cells):
    truth = rectangles(*[(1, 1, 7, 7)] * cells)
    assert len(function(evidence([], [], []), truth, SETTINGS)) == 0


def test_members_answer_for_the_boxes_of_the_true_cells(blobs, members):
    image, truth = blobs.blob_image(3)
    empty = CropMasks.from_dense(torch.zeros((1, 96, 128), dtype=torch.bool))
    labels = torch.arange(len(truth) + 1) % 2
    answers = [Answers(member, image) for member in members]
    cells = CropMasks.cat([empty, truth])
    found = ask_about_truth(answers, image.shape[:2], cells, labels, FusionOptions(margin=0.2))
    assert torch.equal(found.boxes, truth.boxes()) and found.labels.tolist() == labels[1:].tolist()
    assert found.scores.tolist() == [1.0] * len(truth) and found.members == ("sharp", "shifted", "dim")
    for index, member in enumerate(members):
        expected, confidence = member.evidence(
            member.encode(image), found.boxes, found.labels, found.evidence[0].windows
        )
        assert (found.evidence[index].values - expected.values).abs().max() < 1e-4
        assert torch.allclose(found.confidence[index], confidence)


def test_ceilings_lie_above_the_ensemble(blobs, members):
    pool = EvidencePool(members, FusionOptions())
    images = [blobs.blob_image(seed) for seed in range(4)]
    for image, truth in images:
        pool.add(image, truth, "round")
    true_boxes = {
        index: ask_about_truth(
            [Answers(member, image) for member in members],
            image.shape[:2],
            truth,
            torch.zeros(len(truth), dtype=torch.int64),
            FusionOptions(),
        )
        for index, (image, truth) in enumerate(images)
    }
    settings = uniform_settings(("sharp", "shifted", "dim"), ("round", "long"), score_threshold=0.5)
    cases = [Case(pool.subset([2, 0]), settings, (2, 0)), Case(pool.subset([3, 1]), settings, (3, 1))]
    found = measure_ceilings(cases, ["a", "b", "a", "c"], true_boxes)
    assert [ceiling.name for ceiling in found] == list(CEILINGS)
    base = float(pool.score(settings).mean())
    for ceiling in found:
        assert ceiling.loss == pytest.approx(ceiling.map - base) and ceiling.interval[0] <= ceiling.loss
        assert ceiling.loss >= -1e-9
    by_name = {ceiling.name: ceiling for ceiling in found}
    order = [(2, 0), (3, 1)]
    masks = [with_true_boxes(true_boxes[index], settings) for part in order for index in part]
    truths = [images[index][1] for part in order for index in part]
    assert by_name["true boxes"].map == pytest.approx(competition_map(masks, truths).map)
    # The members miss cells, so boxes are worth something here.
    assert by_name["true boxes"].loss > 0.05
