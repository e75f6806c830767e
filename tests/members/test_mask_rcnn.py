"""Mask R-CNN as a member: its own detections, and its mask head asked about any box."""

import numpy as np
import pytest
import torch
import torchvision

from cellseg.datasets.transforms import magnify
from cellseg.members import build_member, mask_rcnn
from cellseg.openmmlab import scope


@pytest.fixture(scope="module")
def work_dir(make_work_dir):
    return make_work_dir("mask_rcnn")


@pytest.fixture(scope="module")
def member(work_dir):
    return build_member(dict(type="mask_rcnn", work_dir=str(work_dir)))


@pytest.fixture(scope="module")
def twice(make_work_dir):
    """The same weights, seeing images twice as large."""
    return build_member(dict(type="mask_rcnn", work_dir=str(make_work_dir("mask_rcnn", magnification=2.0))))


@pytest.fixture(scope="module")
def state(member, image):
    return member.encode(image)


BOXES = torch.tensor(
    [[10.0, 8.0, 30.0, 28.0], [20.5, 36.25, 39.0, 52.0], [0.0, 0.0, 84.0, 70.0], [78.0, 60.0, 84.0, 70.0]]
)
WINDOWS = torch.tensor([[7, 5, 33, 31], [17, 33, 42, 55], [0, 0, 84, 70], [77, 58, 84, 70]])
LABELS = torch.tensor([0, 1, 0, 1])


def test_boxes_are_those_of_mmdet(member, state, image):
    from mmdet.structures import DetDataSample

    boxes, scores, labels = member.boxes(state)
    sample = DetDataSample(metainfo=dict(ori_shape=(70, 84), img_shape=(70, 84), scale_factor=(1.0, 1.0)))
    with scope("mmdet"), torch.no_grad():
        inputs = dict(inputs=[torch.from_numpy(image.transpose(2, 0, 1).copy())], data_samples=[sample])
        expected = member.model.test_step(inputs)[0].pred_instances
    wide = ((expected.bboxes[:, 2:] - expected.bboxes[:, :2]) >= 1).all(dim=1)
    assert len(boxes) > 20
    assert torch.equal(boxes, expected.bboxes[wide])
    assert torch.equal(scores, expected.scores[wide]) and torch.equal(labels, expected.labels[wide])


def test_masks_are_those_of_mmdet(work_dir, image):
    from mmdet.structures import DetDataSample

    member = build_member(dict(type="mask_rcnn", work_dir=str(work_dir), mask_margin=0.0))
    sample = DetDataSample(metainfo=dict(ori_shape=(70, 84), img_shape=(70, 84), scale_factor=(1.0, 1.0)))
    with scope("mmdet"), torch.no_grad():
        inputs = dict(inputs=[torch.from_numpy(image.transpose(2, 0, 1).copy())], data_samples=[sample])
        expected = member.model.test_step(inputs)[0].pred_instances
    boxes, labels = expected.bboxes[:30], expected.labels[:30]
    whole = torch.tensor([[0, 0, 84, 70]]).repeat(30, 1)
    evidence, _ = member.evidence(member.encode(image), boxes, labels, whole)
    found = evidence.to_dense() > 0.5
    # mmdet blends the outermost half cell of the 28 x 28 grid with zeros, this member holds its value.
    agree = (found == expected.masks[:30]).float().mean()
    inner = expected.masks[:30] & ~found
    assert agree > 0.97 and not inner.any()


def test_proposals_lie_in_the_image(member, state):
    boxes, scores, labels = member.boxes(state)
    assert boxes.dtype == scores.dtype == torch.float32 and labels.dtype == torch.int64
    assert boxes.shape == (len(scores), 4) and len(labels) == len(scores)
    assert (boxes >= 0).all() and (boxes <= torch.tensor([84.0, 70.0, 84.0, 70.0])).all()
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 1).all()
    assert (scores >= 0.05).all() and (scores <= 1).all() and set(labels.tolist()) <= {0, 1}


def test_the_floor_cuts_the_proposals(work_dir, member, state, image):
    _, scores, _ = member.boxes(state)
    floor = float(scores.median())
    high = build_member(dict(type="mask_rcnn", work_dir=str(work_dir), score_floor=floor))
    _, kept, _ = high.boxes(high.encode(image))
    assert 0 < len(kept) < len(scores) and (kept > floor).all()
    assert torch.equal(kept, scores[scores > floor])


def test_evidence_lies_in_the_windows(member, state):
    evidence, confidence = member.evidence(state, BOXES, LABELS, WINDOWS)
    assert torch.equal(evidence.windows, WINDOWS) and evidence.image_size == (70, 84)
    assert evidence.values.dtype == confidence.dtype == torch.float32 and confidence.shape == (4,)
    assert (evidence.values >= 0).all() and (evidence.values <= 1).all()
    assert (confidence > 0).all() and (confidence < 1).all()
    # The mask head saw a box that is 5% larger on each side: nothing beyond it.
    first = evidence.crop(0)
    assert (first[:2] == 0).all() and (first[2:-2, 2:-2] > 0).all() and (first[:, -2:] == 0).all()


def test_evidence_is_the_mask_heads_grid_in_the_enlarged_box(member, state, monkeypatch):
    """With a grid that rises from left to right, a pixel's value says where in the box the head saw it."""
    seen = []

    def ramp(features, rois):
        seen.append(rois.clone())
        return {"mask_preds": torch.linspace(-3, 3, 28).expand(len(rois), 1, 28, 28)}

    monkeypatch.setattr(member.model.roi_head, "_mask_forward", ramp)
    box, window = torch.tensor([[20.0, 10.0, 40.0, 30.0]]), torch.tensor([[15, 5, 45, 35]])
    evidence, _ = member.evidence(state, box, torch.tensor([0]), window)
    assert torch.allclose(seen[0], torch.tensor([[0.0, 19.0, 9.0, 41.0, 31.0]]))
    row = evidence.crop(0)[10]
    for column, value in enumerate(row.tolist()):
        x = 15 + column + 0.5
        cell = min(max((x - 19) / 22 * 28 - 0.5, 0), 27)
        expected = 1 / (1 + np.exp(-(-3 + 6 * cell / 27))) if 19 <= x < 41 else 0.0
        # Between two cells, the line of the sigmoid and not the sigmoid of the line.
        assert value == pytest.approx(expected, abs=2e-3)


def test_class_specific_heads_answer_for_the_given_type(member, state, monkeypatch):
    head = member.model.roi_head

    def by_class(features, rois):
        return {"mask_preds": torch.tensor([-2.0, 2.0]).reshape(1, 2, 1, 1).expand(len(rois), 2, 28, 28)}

    monkeypatch.setattr(head, "_mask_forward", by_class)
    monkeypatch.setattr(head.mask_head, "class_agnostic", False)
    evidence, _ = member.evidence(state, BOXES, LABELS, WINDOWS)
    likely = [evidence.crop(i).max().item() for i in range(4)]
    assert likely == pytest.approx([1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))] * 2)


def test_confidence_is_the_heads_score_of_the_given_box_and_type(member, state):
    boxes = BOXES[:1].repeat(2, 1)
    _, confidence = member.evidence(state, boxes, torch.tensor([0, 1]), WINDOWS[:1].repeat(2, 1))
    with scope("mmdet"), torch.no_grad():
        rois = torch.cat([torch.zeros(1, 1), BOXES[:1]], dim=1)
        scores = member.model.roi_head._bbox_forward(state.features, rois)["cls_score"].softmax(dim=1)[0]
    assert confidence.tolist() == pytest.approx(scores[:2].tolist()) and confidence[0] != confidence[1]


def test_many_boxes_are_asked_in_parts(member, state, monkeypatch):
    boxes, windows, labels = BOXES.repeat(3, 1), WINDOWS.repeat(3, 1), LABELS.repeat(3)
    whole, _ = member.evidence(state, boxes, labels, windows)
    monkeypatch.setattr(mask_rcnn, "BOXES_AT_ONCE", 5)
    parts, _ = member.evidence(state, boxes, labels, windows)
    torch.testing.assert_close(parts.values, whole.values, rtol=1e-5, atol=1e-6)


def test_same_image_same_answers(member, state, image):
    again = member.encode(image.copy())
    for first, second in zip(member.boxes(state), member.boxes(again), strict=True):
        assert torch.equal(first, second)
    first, second = (member.evidence(one, BOXES, LABELS, WINDOWS) for one in (state, again))
    assert torch.equal(first[0].values, second[0].values) and torch.equal(first[1], second[1])


def test_no_boxes_no_evidence(member, state):
    none = torch.zeros(0, 4)
    evidence, confidence = member.evidence(state, none, LABELS[:0], none.long())
    assert len(evidence) == 0 and evidence.image_size == (70, 84) and confidence.shape == (0,)


def test_magnified_answers_come_back_in_pixels_of_the_image(member, twice, image):
    large = magnify(image, 2.0)
    expected, state = member.encode(large), twice.encode(image)
    assert state.image_size == (70, 84)
    found, scores, labels = twice.boxes(state)
    own, own_scores, own_labels = member.boxes(expected)
    # A box of one pixel of the magnified image is half a pixel here, and is left out.
    wide = ((own[:, 2:] - own[:, :2]) >= 2).all(dim=1)
    assert torch.equal(found, own[wide] / 2) and torch.equal(scores, own_scores[wide])
    assert torch.equal(labels, own_labels[wide])
    evidence, confidence = twice.evidence(state, BOXES, LABELS, WINDOWS)
    larger, same = member.evidence(expected, BOXES * 2, LABELS, WINDOWS * 2)
    assert torch.equal(confidence, same)
    crop = larger.crop(2)
    # The centre of a pixel is the corner of four magnified ones; a cell of the mask head's grid is three pixels wide.
    mean = (crop[::2, ::2] + crop[1::2, ::2] + crop[::2, 1::2] + crop[1::2, 1::2]) / 4
    difference = evidence.crop(2) - mean
    displaced = evidence.crop(2)[:, 1:] - mean[:, :-1]
    ratio = float(displaced.abs().mean() / difference.abs().mean())
    assert ratio > 10, ratio


@pytest.mark.parametrize("size", [(16, 200), (1, 1), (33, 31)])
def test_images_of_any_size(member, size):
    state = member.encode(np.full((*size, 3), 128, dtype=np.uint8))
    boxes, _, _ = member.boxes(state)
    assert (boxes <= torch.tensor([size[1], size[0]] * 2)).all()
    window = torch.tensor([[0, 0, size[1], size[0]]])
    evidence, _ = member.evidence(state, window.float(), torch.tensor([0]), window)
    assert evidence.crop(0).shape == size


INNER = torch.tensor([[10.0, 8.0, 30.0, 28.0], [20.5, 36.25, 39.0, 52.0], [11.3, 9.1, 13.9, 12.2]])


@pytest.mark.parametrize("name", ["member", "twice"])
def test_features_lie_where_the_boxes_do(request, image, make_ramp, check_ramp, name):
    member = request.getfixturevalue(name)
    state = member.encode(image)
    (stride, *_), level = member.model.roi_head.bbox_roi_extractor.featmap_strides, state.features[0]
    seen = [-(-side * member.magnification // 16) * 16 for side in (70, 84)]
    assert [side * stride for side in level.shape[2:]] == seen, "the finest level, of the padded image"
    found = member.features(state, INNER)
    assert found.shape == (3, member.feature_channels, 7, 7) and found.dtype == torch.float32
    ramp = make_ramp(level[0], stride, (member.magnification, member.magnification))
    state.features = (ramp[None], *state.features[1:])
    check_ramp(member.features(state, INNER), INNER)


def test_features_need_no_second_run(member, state, monkeypatch):
    monkeypatch.setattr(member.model, "extract_feat", None)
    level = state.features[0]
    expected = torchvision.ops.roi_align(
        level, [INNER], 7, 1 / member.model.roi_head.bbox_roi_extractor.featmap_strides[0], 2, aligned=True
    )
    torch.testing.assert_close(member.features(state, INNER), expected)
    assert expected.std() > 0
    assert member.features(state, INNER[:0]).shape == (0, member.feature_channels, 7, 7)
