"""The detector as a member of the ensemble."""

import dataclasses
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config

from cellseg.errors import InputError, MissingFileError
from cellseg.members import build_member
from cellseg.members.yolox import YoloxMember, YoloxState
from cellseg.models.yolox.checkpoints import save_state
from cellseg.models.yolox.inference import detect
from cellseg.models.yolox.network import build_network
from cellseg.models.yolox.settings import read_settings

TESTS = Path(__file__).parents[1]
EXP = dict(width=0.125, strides=(4, 8, 16), image_scale=1.0, input_size=(96, 96), max_epoch=3)
EXP |= dict(warmup_epochs=1, no_aug_epochs=1)


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory):
    """What a training leaves, with random weights that answer everywhere."""
    folder = tmp_path_factory.mktemp("work")
    torch.manual_seed(0)
    network = build_network(read_settings(EXP), 2)
    for convolution in [*network.head.obj_preds, *network.head.cls_preds]:
        torch.nn.init.normal_(convolution.weight, std=5.0)
        torch.nn.init.zeros_(convolution.bias)
    prior = torch.rand(2, 32, 32)
    meta = dict(class_names=["disc", "bar"], engine="yolox", score=0.0, iteration=1, versions={}, shape_prior=prior)
    save_state(folder / "best.pth", {"state_dict": network.state_dict(), "meta": meta})
    Config(dict(engine="yolox", exp=EXP)).dump(folder / "config.py")
    return folder


@pytest.fixture
def member(work_dir):
    return build_member(dict(type="yolox", work_dir=str(work_dir)))


def picture(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def state_of(boxes, objectness, probabilities, size=(50, 60)):
    """A state as detections make it: labels and scores follow from objectness and probabilities."""
    boxes, objectness = torch.tensor(boxes).reshape(-1, 4).float(), torch.tensor(objectness)
    probabilities = torch.tensor(probabilities).reshape(-1, 2)
    best, labels = probabilities.max(dim=1)
    return YoloxState(size, boxes, objectness * best, labels, objectness, probabilities)


def test_is_built_from_its_entry(member):
    assert isinstance(member, YoloxMember)
    assert member.name == "yolox" and member.proposes
    assert member.class_names == ("disc", "bar")


@pytest.mark.parametrize("size", [(96, 96), (33, 250), (1, 1), (130, 70)])
def test_boxes_lie_in_images_of_any_size(member, size):
    state = member.encode(picture(size))
    boxes, scores, labels = member.boxes(state)
    assert state.image_size == size
    assert boxes.dtype == scores.dtype == torch.float32 and labels.dtype == torch.int64
    assert boxes.shape == (len(scores), 4) and len(scores) == len(labels)
    assert (boxes >= 0).all() and (boxes <= torch.tensor([size[1], size[0]] * 2)).all()
    assert (scores[:-1] >= scores[1:]).all() and (scores >= 0.02).all() and (scores <= 1).all()
    if min(size) > 30:
        assert len(boxes) > 10
        assert set(labels.tolist()) == {0, 1}


def test_same_image_same_boxes_and_colours_matter(member):
    image = picture((64, 64))
    first, again = member.encode(image), member.encode(image.copy())
    assert torch.equal(first.boxes, again.boxes) and torch.equal(first.scores, again.scores)
    swapped = member.encode(np.ascontiguousarray(image[:, :, ::-1]))
    assert not torch.equal(first.scores, swapped.scores)


def test_reads_blue_first_like_the_training(member):
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    image[..., 0] = 250
    seen = []
    member.network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    member.encode(image)
    assert [channel.max().item() for channel in seen[0][0]] == [0, 0, 250]


def test_options_reach_the_detection(work_dir):
    spec = dict(type="yolox", work_dir=str(work_dir))
    image = picture((96, 96))
    plain = build_member(spec).encode(image)
    floor = float(plain.scores.median())
    strict = build_member({**spec, "score_floor": floor}).encode(image)
    assert 0 < len(strict.boxes) < len(plain.boxes) and strict.scores.min() >= floor
    sparse = build_member({**spec, "nms_iou": 0.1}).encode(image)
    assert len(sparse.boxes) < len(plain.boxes)
    seen = []
    larger = build_member({**spec, "scale": 2.0})
    larger.network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    assert larger.encode(image).image_size == (96, 96)
    assert seen == [(1, 3, 192, 192)]


def test_evidence_is_the_prior_of_the_label_in_the_box(member):
    state = state_of([], [], [])
    boxes = torch.tensor([[10.0, 10.0, 42.0, 42.0], [5.0, 20.0, 21.0, 36.0]])
    windows = torch.tensor([[8, 8, 44, 44], [0, 15, 25, 40]])
    evidence, confidence = member.evidence(state, boxes, torch.tensor([1, 0]), windows)
    assert torch.equal(evidence.windows, windows) and evidence.dtype == torch.float32
    expected = torch.zeros(36, 36)
    expected[2:34, 2:34] = member.shape_prior[1]
    torch.testing.assert_close(evidence.crop(0), expected)
    # A box half the grid's size shows the mean of four cells at each pixel.
    halved = member.shape_prior[0].reshape(16, 2, 16, 2).mean(dim=(1, 3))
    torch.testing.assert_close(evidence.crop(1)[5:21, 5:21], halved)
    assert confidence.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("box", "label", "expected"),
    [
        ([10, 10, 30, 30], 0, 0.5 * 0.8),  # its own box exactly, not the better scored neighbour
        ([12, 12, 32, 32], 0, 0.9 * 1.0),
        ([10, 10, 30, 30], 1, 0.5 * 0.1),  # asked about a label that it does not prefer
        ([12, 12, 32, 32], 1, 0.9 * 0.2),
        ([10, 10, 30, 20], 0, 0.5 * 0.8),  # IoU just 0.5
        ([10, 10, 30, 19], 0, 0.0),
        ([40, 30, 50, 45], 1, 0.7 * 0.9),  # two at equal IoU: the better scored, whatever the other's label
        ([40, 30, 50, 45], 0, 0.7 * 0.3),
        ([0, 0, 5, 5], 0, 0.0),
    ],
)
def test_confidence_is_that_of_its_own_box_in_the_asked_label(member, box, label, expected):
    boxes = [[12, 12, 32, 32], [40, 30, 50, 45], [10, 10, 30, 30], [40, 30, 50, 45]]
    state = state_of(boxes, [0.9, 0.7, 0.5, 0.4], [[1.0, 0.2], [0.3, 0.9], [0.8, 0.1], [0.95, 0.05]])
    _, confidence = member.evidence(
        state, torch.tensor([box]).float(), torch.tensor([label]), torch.tensor([[0, 0, 60, 50]])
    )
    assert confidence.tolist() == pytest.approx([expected])


def test_detections_are_those_that_the_training_validates(member):
    image = picture((90, 70))
    expected = detect(member.network, np.ascontiguousarray(image[:, :, ::-1]), 1.0, 0.02, 0.65)
    assert len(expected.boxes) > 10
    for found, wanted in zip(member.boxes(member.encode(image)), expected, strict=True):
        assert torch.equal(found, wanted)


def test_scores_are_the_products_that_confidences_are_made_of(member):
    state = member.encode(picture((96, 96)))
    assert state.class_probabilities.shape == (len(state.boxes), 2) and state.objectness.shape == state.scores.shape
    best, labels = state.class_probabilities.max(dim=1)
    assert torch.equal(state.scores, state.objectness * best) and torch.equal(state.labels, labels)
    pixel = torch.tensor([[0, 0, 1, 1]]).repeat(len(state.boxes), 1)
    _, confidence = member.evidence(state, state.boxes, state.labels, pixel)
    same = torch.isclose(confidence, state.scores)
    # Two classes may have a box in the same place; then the better one stands for both.
    assert same.float().mean() > 0.9


INNER = torch.tensor([[30.0, 28.0, 50.0, 48.0], [20.5, 36.25, 39.0, 52.0], [31.3, 29.1, 33.9, 32.2]])


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_features_lie_where_the_boxes_do(work_dir, make_ramp, check_ramp, scale):
    member = build_member(dict(type="yolox", work_dir=str(work_dir), scale=scale))
    state = member.encode(picture((71, 93)))
    (level,) = state.levels
    seen = round(71 * scale), round(93 * scale)
    assert level.values.shape == (member.feature_channels, *(-(-side // 32) * 8 for side in seen))
    found = member.features(state, INNER)
    assert found.shape == (3, member.feature_channels, 7, 7) and found.std() > 0
    ramp = make_ramp(level.values, 4, (seen[1] / 93, seen[0] / 71))
    state = dataclasses.replace(state, levels=(level._replace(values=ramp),))
    check_ramp(member.features(state, INNER), INNER)
    assert member.features(state, INNER[:0]).shape == (0, member.feature_channels, 7, 7)


def test_features_are_the_necks_finest_output_of_the_same_run(member):
    image, runs = picture((64, 96)), []
    member.network.backbone.register_forward_hook(lambda _, inputs, levels: runs.append(levels[0]))
    state = member.encode(image)
    found = member.features(state, INNER)
    assert len(runs) == 1
    torch.testing.assert_close(found, torchvision.ops.roi_align(runs[0], [INNER], 7, 0.25, 2, aligned=True))


def test_features_of_tiles_come_from_the_tile_that_owns_the_boxs_centre(work_dir, make_ramp, check_ramp):
    # A tile of 1030 px has an own area of 518: its cells do not line up with those of the next.
    member = build_member(dict(type="yolox", work_dir=str(work_dir), tile=1030))
    state = member.encode(picture((40, 1100)))
    assert [level.core[::2] for level in state.levels] == [(-math.inf, 518), (518, 1036), (1036, math.inf)]
    starts = [0, 518 - 256, 1036 - 256]
    ramps = [make_ramp(level.values, 4, (1, 1), (start, 0)) for level, start in zip(state.levels, starts, strict=True)]
    for number, ramp in enumerate(ramps):
        ramp[2] = number
    levels = tuple(level._replace(values=ramp) for level, ramp in zip(state.levels, ramps, strict=True))
    boxes = torch.tensor([[500.0, 5, 530, 30], [510, 5, 525, 30], [511, 5, 525, 30], [1000, 8, 1090, 31], [3, 3, 9, 9]])
    found = member.features(dataclasses.replace(state, levels=levels), boxes)
    check_ramp(found, boxes)
    assert found[:, 2, 3, 3].tolist() == [0, 0, 1, 2, 0]


def test_nothing_asked(member):
    nothing = torch.zeros(0, 4)
    evidence, confidence = member.evidence(
        state_of([[1, 1, 9, 9]], [0.5], [[0.7, 0.2]]), nothing, torch.zeros(0, dtype=torch.int64), nothing.long()
    )
    assert len(evidence) == len(confidence) == 0 and evidence.dtype == torch.float32


def test_identity_changes_with_weights_and_options(work_dir, member, tmp_path):
    identity = member.identity()
    assert json.loads(json.dumps(identity)) == identity
    other = build_member(dict(type="yolox", work_dir=str(work_dir), score_floor=0.1)).identity()
    assert other != identity
    state = torch.load(work_dir / "best.pth", weights_only=True)
    state["meta"]["iteration"] = 2
    save_state(tmp_path / "best.pth", state)
    member.answers_version += 1
    assert member.identity() != identity
    changed = YoloxMember("yolox", work_dir / "config.py", tmp_path / "best.pth")
    assert changed.identity()["checkpoint"] != identity["checkpoint"]


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32), np.zeros((9, 9, 4), np.uint8), None]
)
def test_other_images_are_refused(member, image):
    with pytest.raises(InputError, match=r"member 'yolox': expected a uint8 image \[H, W, 3\]"):
        member.encode(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(score_floor=1.5), r"member 'yolox': score_floor = 1.5: expected 0 to 1"),
        (dict(nms_iou=-0.1), r"member 'yolox': nms_iou = -0.1: expected 0 to 1"),
        (dict(match_iou=float("nan")), r"member 'yolox': match_iou = nan: expected 0 to 1"),
        (dict(scale=0), r"member 'yolox': scale = 0: expected more than 0"),
        (dict(tile=100), r"member 'yolox': tile = 100: expected at least 1024"),
        (dict(floor=0.1), r"member 'yolox': unknown option 'floor'; yolox has checkpoint, config, .* views, work_dir"),
    ],
)
def test_bad_options(work_dir, options, message):
    with pytest.raises(InputError, match=message):
        build_member(dict(type="yolox", work_dir=str(work_dir), **options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="only machines without CUDA refuse")
def test_missing_device(work_dir):
    with pytest.raises(InputError, match="member 'yolox': device 'cuda': there is no such CUDA device; use 'cpu'"):
        build_member(dict(type="yolox", work_dir=str(work_dir), device="cuda"))


def test_files_that_do_not_fit(work_dir, tmp_path):
    def build(config=work_dir / "config.py", checkpoint=work_dir / "best.pth"):
        return YoloxMember("yolox", config, checkpoint)

    with pytest.raises(MissingFileError, match="none.pth"):
        build(checkpoint=tmp_path / "none.pth")
    Config(dict(engine="mmengine", model=dict())).dump(tmp_path / "other.py")
    with pytest.raises(InputError, match=r"other\.py: not the config of a YOLOX training"):
        build(config=tmp_path / "other.py")
    Config(dict(engine="yolox", exp={**EXP, "width": 0.25})).dump(tmp_path / "wide.py")
    with pytest.raises(InputError, match=r"best\.pth: its weights do not fit the network of .*wide\.py"):
        build(config=tmp_path / "wide.py")
    save_state(tmp_path / "plain.pth", {"model": {}})
    with pytest.raises(InputError, match=r"plain\.pth: not the best\.pth of a YOLOX training"):
        build(checkpoint=tmp_path / "plain.pth")


@pytest.mark.slow
def test_a_trained_member_finds_the_discs(tmp_path):
    from cellseg.datasets.folder import DataFolder
    from cellseg.io.images import read_image, to_rgb
    from cellseg.metrics import box_iou
    from cellseg.training.yolox_engine import train

    write_disc_folder = runpy.run_path(str(TESTS / "models" / "disc_folder.py"))["write_disc_folder"]
    folder = DataFolder(write_disc_folder(tmp_path / "data", train=16, val=4))
    exp = {**EXP, "width": 0.25, "batch_size": 4, "max_epoch": 40, "no_aug_epochs": 8, "eval_interval": 40}
    exp |= dict(optimizer="adamw", basic_lr_per_img=5e-4, norm_momentum=0.1)
    config = Config(dict(engine="yolox", data_root=str(folder.root), fold=0, exp=exp))
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    config.dump(work_dir / "config.py")
    train(config, work_dir)
    member = build_member(dict(type="yolox", work_dir=str(work_dir), score_floor=0.3))
    found = total = 0
    for record in folder.load_split(0, "val"):
        state = member.encode(to_rgb(read_image(folder.image_path(record.file_name))))
        boxes, _, labels = member.boxes(state)
        truth = record.masks.boxes()
        same = record.labels[:, None] == labels
        found += int(((box_iou(truth, boxes) > 0.6) & same).any(dim=1).sum())
        total += len(truth)
        _, confidence = member.evidence(state, truth, record.labels, truth.long())
        assert (confidence > 0.3).float().mean() > 0.7
    assert found >= 0.85 * total
