"""Both sides of every benchmark compute the same, and a difference would be seen."""

import importlib

import numpy as np
import pytest
import torch

from cellseg.benchmarks import cells, competition_map, notebook, rle, voting
from cellseg.benchmarks.subjects import LARGEST_BOX, SMALLEST_BOX, SUBJECTS, Scale, find_subjects
from cellseg.errors import InputError
from cellseg.structures import CropMasks

SMALL = Scale(30, 70, 90)
SCALES = [Scale(1, 60, 60), SMALL, Scale(60, 130, 64)]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SUBJECTS)
def test_both_sides_compute_the_same(name, scale):
    subject = importlib.import_module(f"cellseg.benchmarks.{name}")
    inputs = subject.make_inputs(scale)
    assert subject.find_difference(subject.run_cellseg(inputs), subject.run_alternative(inputs)) == ""


def test_boxes_have_the_promised_sides_and_crowd():
    windows = torch.from_numpy(cells.random_windows(np.random.default_rng(0), Scale()))
    sides = windows[:, 2:] - windows[:, :2]
    assert (sides.min(), sides.max()) == (SMALLEST_BOX, LARGEST_BOX)
    assert (windows.amin(0) >= 0).all() and (windows[:, 2:].amax(0) <= torch.tensor([704, 520])).all()


def test_votes_need_no_rounding():
    inputs = voting.make_inputs(SMALL)
    assert ((inputs.weights[:, None] * inputs.confidence).sum(0) == 1).all()
    assert ((inputs.confidence > 0) & (inputs.confidence <= 1)).all()
    for masks in inputs.evidence:
        assert ((masks.values * 2**20) % 1 == 0).all()


def test_voting_is_about_contested_pixels():
    inputs = voting.make_inputs(SMALL)
    masks, dense = voting.run_cellseg(inputs), voting.run_alternative(inputs)
    wanted = torch.stack([masks.to_dense() for masks in inputs.evidence]).mean(0) > voting.THRESHOLD
    assert (wanted.sum(0) > 1).sum() > 100
    assert masks.areas().sum() > 500 and not masks.overlaps()

    masks.values[masks.values.nonzero()[0]] = False
    assert voting.find_difference(masks, dense) == "1 pixels of 1 masks differ"


def test_rle_reports_a_difference():
    inputs = rle.make_inputs(SMALL)
    (texts, masks), theirs = rle.run_cellseg(inputs), rle.run_alternative(inputs)
    assert all(texts) and masks.areas().min() > 20
    changed = [*texts[:3], "1 1", *texts[4:]]
    assert rle.find_difference((changed, masks), theirs).startswith("the text of mask 3 is '1 1' on one side, ")
    moved = CropMasks.from_rle(changed, masks.image_size)
    assert rle.find_difference((texts, moved), theirs) == "mask 3 is decoded to different pixels"


def test_competition_map_covers_all_thresholds():
    inputs = competition_map.make_inputs(Scale(60, 200, 240))
    assert (len(inputs.predictions), len(inputs.truths)) == (60, 57)
    for texts in (inputs.predictions, inputs.truths):
        assert all(texts) and not CropMasks.from_rle(texts, inputs.image_size).overlaps()
    precisions = competition_map.run_cellseg(inputs)
    assert precisions[0] > 0.5 and precisions[-1] < 0.5 and (np.diff(precisions) <= 0).all()

    theirs = competition_map.run_alternative(inputs)
    theirs[4] += 1e-12
    assert competition_map.find_difference(precisions, theirs).startswith("precisions [")


def test_notebook_code():
    mask = np.array([[1, 1, 0], [0, 1, 1]], np.uint8)
    assert notebook.encode_mask(mask) == "1 2 5 2"
    assert (notebook.decode_mask("1 2 5 2", 2, 3) == mask).all()
    assert notebook.encode_mask(np.zeros((2, 2), np.uint8)) == ""


def test_find_subjects():
    assert [subject.name for subject in find_subjects([])] == ["voting", "rle", "competition_map"]
    assert [subject.name for subject in find_subjects(["rle", "voting", "rle"])] == ["rle", "voting"]
    with pytest.raises(InputError, match="^unknown benchmark 'speed': choose from voting, rle, competition_map$"):
        find_subjects(["rle", "speed"])
