"""What the feature fusion learns from: true cells of boxes, and rows that belong together."""

import pytest
import torch

from cellseg.datasets.folder import DataFolder
from cellseg.ensemble import Ensemble, ImageEvidence, enlarge_boxes
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.cache import image_key
from cellseg.ensemble.feature_fusion.data import load_fusion_data, true_cells
from cellseg.io.images import read_image, to_rgb
from cellseg.structures import CropMasks

SIZE = (40, 60)


def rectangles(boxes):
    dense = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        dense[index, y0:y1, x0:x1] = True
    return CropMasks.from_dense(dense)


def evidence_of(boxes, masks):
    """Evidence of one member that says 0.9 inside the masks and 0.1 outside."""
    boxes = torch.tensor(boxes, dtype=torch.float32)
    windows = enlarge_boxes(boxes, 0.15, SIZE)
    said = rectangles(masks).rewindow(windows)
    count = len(boxes)
    return ImageEvidence(
        image_size=SIZE,
        class_names=("cell",),
        members=("a",),
        boxes=boxes,
        scores=torch.ones(count),
        labels=torch.zeros(count, dtype=torch.int64),
        evidence=(CropMasks(windows, torch.where(said.values, 0.9, 0.1), SIZE),),
        confidence=torch.ones(1, count),
    )


def test_a_box_belongs_to_the_cell_that_it_overlaps_most():
    truth = rectangles([[5, 5, 15, 15], [13, 5, 30, 15], [40, 20, 50, 30]])
    boxes = [[4, 5, 14, 15], [12, 4, 31, 15], [6, 5, 15, 14], [40, 5, 50, 15], [44, 20, 59, 39]]
    cells, matched = true_cells(evidence_of(boxes, boxes), truth)
    # Two boxes share the first cell; one lies beside all of them, one overlaps too little.
    assert matched.tolist() == [True, True, True, False, False]
    for index, cell in enumerate([0, 1, 0]):
        assert torch.equal(cells.crop(index), truth[cell].rewindow(cells.windows[index : index + 1]).crop(0))
    assert cells.areas()[3:].tolist() == [0, 0]


def test_the_mask_of_the_mean_counts_as_well_as_the_box():
    truth = rectangles([[10, 10, 14, 14], [30, 10, 50, 30]])
    # The first box is much larger than the cell that its mask finds; the mask of the second is not in its box's cell.
    evidence = evidence_of([[4, 4, 20, 20], [30, 10, 50, 30]], [[10, 10, 14, 15], [30, 10, 32, 12]])
    cells, matched = true_cells(evidence, truth)
    assert matched.tolist() == [True, True] and cells.areas().tolist() == [16, 400]


@pytest.mark.parametrize("boxes, cells", [(0, 1), (2, 0), (0, 0)])
def test_without_boxes_or_cells(boxes, cells):
    evidence = evidence_of([[4, 4, 20, 20], [30, 10, 50, 30]], [[4, 4, 20, 20], [30, 10, 50, 30]]).first(boxes)
    found, matched = true_cells(evidence, rectangles([[4, 4, 20, 20]])[torch.arange(cells)])
    assert len(found) == len(matched) == boxes and not matched.any() and not found.values.any()


@pytest.fixture
def load(fusion_project):
    def call(**changes):
        values = dict(ensemble=str(fusion_project.root / "ensemble.py"), ensemble_options=(), fold=0, split="val")
        values |= dict(data_root=str(fusion_project.root / "data"), inputs=None, use_features=True, parts=3)
        values |= dict(empty_weight=0.25, cache=None, device=None)
        load_fusion_data.cache_clear()
        return load_fusion_data(**{**values, **changes})

    return call


def test_rows_are_what_the_ensemble_sees(fusion_project, load):
    data = load()
    folder = DataFolder(fusion_project.root / "data")
    members = [fusion_project.scene.SceneMember("wide"), fusion_project.scene.SceneMember("narrow", kind="narrow")]
    first = 0
    for record in folder.load_split(0, "val"):
        image = to_rgb(read_image(folder.image_path(record.file_name)))
        seen = Ensemble(members).collect(image)
        rows = slice(first, first + len(seen))
        first += len(seen)
        assert (data.part[rows] == data.description.images[image_key(image)]).all()
        torch.testing.assert_close(data.confidence[rows], seen.confidence.T)
        features = Answers(members[0], image).features(seen.evidence[0].windows)
        assert torch.equal(data.features[rows].float(), features)
        mean = torch.stack([part.sums() / torch.diff(part.offsets) for part in seen.evidence], 1).float()
        torch.testing.assert_close(data.evidence[rows].float().mean(dim=(2, 3)), mean, atol=0.02, rtol=0)
    assert first == len(data) and (data.weight == 1).all()
    assert data.evidence.dtype == data.features.dtype == data.target.dtype == torch.float16
    # Some cells are whole discs, some are inner parts: 1 and 0.36 of what the wide member says.
    share = data.target.float().mean(dim=(1, 2)) / (data.evidence[:, 0] > 0.5).float().mean(dim=(1, 2))
    assert ((share - 1).abs() < 0.1).sum() + ((share - 0.36).abs() < 0.1).sum() == len(data)


def test_without_features_and_with_some_inputs(load):
    data = load(use_features=False)
    assert data.features.shape[1] == 0 and not data.description.uses_features
    data = load(inputs=("wide",))
    assert data.evidence.shape[1] == 1 and data.description.inputs == ("wide",)


def test_boxes_without_a_cell_have_less_weight(load, fusion_project, monkeypatch):
    kind = fusion_project.scene.SceneMember
    boxes = kind.boxes

    def with_one_more(self, state):
        found, scores, labels = boxes(self, state)
        more = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        return torch.cat([found, more]), torch.cat([scores, torch.tensor([0.2])]), torch.cat([labels, labels[:1]])

    monkeypatch.setattr(kind, "boxes", with_one_more)
    data = load(empty_weight=0.125)
    empty = data.weight == 0.125
    assert empty.sum() == 9 and (data.weight[~empty] == 1).all()
    assert (data.target[empty] == 0).all() and (data.target[~empty].flatten(1).amax(dim=1) > 0.9).all()


def test_the_last_result_is_kept(load, fusion_project):
    one = load()
    encoded = fusion_project.scene.SceneMember.encoded
    arguments = dict(ensemble=str(fusion_project.root / "ensemble.py"), ensemble_options=(), fold=0, split="val")
    arguments |= dict(data_root=str(fusion_project.root / "data"), inputs=None, use_features=True, parts=3)
    assert load_fusion_data(**arguments, empty_weight=0.25, cache=None, device=None) is one
    assert fusion_project.scene.SceneMember.encoded == encoded
