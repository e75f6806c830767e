"""Both sides of every benchmark compute the same, and a difference would be seen."""

import importlib

import numpy as np
import pytest
import torch

from cellseg.benchmarks import cells, competition_map, notebook, pipeline, rle, scaling, simulated, tuning, voting
from cellseg.benchmarks.subjects import LARGEST_BOX, SMALLEST_BOX, SUBJECTS, Scale, find_subjects
from cellseg.ensemble import resolve, uniform_settings
from cellseg.errors import InputError
from cellseg.metrics import competition_map as competition_score
from cellseg.structures import CropMasks

SMALL = Scale(30, 70, 90)
SCALES = [Scale(1, 60, 60), SMALL, Scale(60, 130, 64)]


def uniform(evidence):
    return uniform_settings(evidence.members, evidence.class_names, score_threshold=0.1, min_area=10)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", [name for name in SUBJECTS if name != "pipeline"])
def test_both_sides_compute_the_same(name, scale):
    subject = importlib.import_module(f"cellseg.benchmarks.{name}")
    inputs = subject.make_inputs(scale)
    assert subject.find_difference(subject.run_cellseg(inputs), subject.run_alternative(inputs)) == ""


def test_simulated_cells_are_found_by_most_members():
    scale = Scale(30, 280, 360)
    evidence = simulated.simulate_evidence(3, scale, members=4)
    assert evidence.members == ("yolox", "mask_rcnn", "upernet", "upernet_b") and len(evidence) == 30
    assert (evidence.scores.diff() <= 0).all() and evidence.confidence.shape == (4, 30)
    truth = simulated.simulate_truth(3, evidence)
    assert 10 < len(truth) < 30 and not truth.overlaps() and (truth.areas() > 0).all()
    score = competition_score([resolve(evidence, uniform(evidence)).masks], [truth])
    assert 0.1 < score.map < 0.95
    again = simulated.simulate_evidence(3, scale, members=4)
    assert torch.equal(again.evidence[2].values, evidence.evidence[2].values)
    assert not torch.equal(again.evidence[2].values, evidence.evidence[1].values)
    image = simulated.draw_image(evidence)
    inside = evidence.evidence[0].threshold(0.9).to_dense().any(0).numpy()
    assert image.shape == (280, 360, 3) and image[inside].mean() > image[~inside].mean() + 40


@pytest.fixture(scope="module")
def inference():
    """Inputs of ``pipeline`` for a few cells, with its untrained members."""
    return pipeline.make_inputs(SMALL)


def test_untrained_members_are_those_of_the_small_configs(inference):
    assert [member.name for member in inference.members] == ["yolox", "mask_rcnn", "upernet"]
    for member in inference.members:
        assert member.class_names == simulated.CLASS_NAMES
    mask_rcnn, upernet = inference.members[1:]
    assert mask_rcnn.model.backbone.depth == 10 and upernet.model.backbone.depth == 18


def test_the_pipeline_ends_with_rows(inference):
    rows = pipeline.run_cellseg(inference)
    masks = CropMasks.from_rle(rows, (70, 90))
    expected = resolve(inference.evidence, uniform(inference.evidence)).masks
    assert torch.equal(masks.to_dense(), expected.to_dense()) and len(masks) > 8


def test_members_answer_for_all_boxes(inference):
    found = pipeline.run_alternative(inference)
    assert len(found) == 3
    for masks, confidence in found:
        assert torch.equal(masks.windows, inference.evidence.evidence[0].windows) and len(confidence) == 30


def test_wrong_results_of_the_pipeline_are_told(inference):
    rows, found = pipeline.run_cellseg(inference), pipeline.run_alternative(inference)
    assert pipeline.find_difference([*rows, rows[0]], found) == "rows of the submission overlap"
    assert pipeline.find_difference(rows[:2], found) == "2 rows for 30 boxes"
    moved = (found[0][0][:29], found[0][1][:29])
    assert pipeline.find_difference(rows, [found[1], moved]) == "members answered for other windows"


def test_scaling_compares_equally_many_cells():
    inputs = scaling.make_inputs(Scale(40, 130, 120))
    assert len(inputs.crowded) == 160 == sum(len(evidence) for evidence in inputs.sparse)
    assert len(inputs.sparse) == 16
    assert scaling.find_difference([["1 1"]], [["1 1"], []]) == "an image has no rows"


def test_the_exponent_of_growth(monkeypatch):
    clock = [0.0]

    def quadratic(evidence):
        clock[0] += 1e-4 * len(evidence) ** 2

    monkeypatch.setattr(scaling, "write_rows", quadratic)
    monkeypatch.setattr(scaling.time, "process_time", lambda: clock[0])
    more = scaling.measure_more(Scale(40, 70, 90))
    assert more["exponent"] == pytest.approx(2.0, abs=1e-3)
    assert more["milliseconds"] == {"10": 10.0, "20": 40.0, "40": 160.0, "80": 640.0, "160": 2560.0}


def test_tuning_has_the_promised_size_and_the_order_of_a_search():
    assert tuning.counts(Scale()) == (40, 120, 300)
    inputs = tuning.make_inputs(SMALL)
    assert (len(inputs.images), len(inputs.truths), len(inputs.candidates)) == (3, 3, 22)
    assert tuning.measure_more(SMALL) == dict(images=3, cells_per_image=9, members=4, evaluations=22)
    # Equal weights first, as in every search; then points of the tuner, which comes closer to what it looks for.
    first, *others = (settings.general for settings in tuning.make_inputs(Scale(80, 70, 90)).candidates)
    assert set(first.normalized().values()) == {0.25}
    thresholds = np.array([settings.score_threshold for settings in others])
    assert len(set(thresholds)) > 40 and thresholds[-15:].std() < thresholds[:15].std()


def test_memory_of_tuning_is_that_of_fewer_settings():
    inputs, fewer = tuning.make_inputs(SMALL), tuning.make_memory_inputs(SMALL)
    assert fewer.candidates == inputs.candidates[:20] and len(fewer.images) == len(inputs.images)


def test_tuning_reports_a_difference():
    inputs = tuning.make_inputs(SMALL)
    ours, theirs = tuning.run_cellseg(inputs), tuning.run_alternative(inputs)
    assert (len(ours), len(theirs)) == (22, 3) and len({float(scores.mean()) for scores in ours}) > 8
    theirs[1][2] += 1e-9
    assert tuning.find_difference(ours, theirs).startswith(
        "image 2 scores 0."
    ) and "settings 10" in tuning.find_difference(ours, theirs)


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
    names = ["voting", "rle", "competition_map", "pipeline", "scaling", "tuning"]
    assert [subject.name for subject in find_subjects([])] == names
    assert [subject.name for subject in find_subjects(["rle", "voting", "rle"])] == ["rle", "voting"]
    with pytest.raises(
        InputError,
        match="^unknown benchmark 'speed': choose from voting, rle, competition_map, pipeline, scaling, tuning$",
    ):
        find_subjects(["rle", "speed"])
