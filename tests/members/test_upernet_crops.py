"""UPerNet on crops of boxes as a member: an oracle in the network's place shows that its geometry is exact."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from cellseg.datasets.box_crops import CENTRAL, crop_matrices, enlarge, sample_crops
from cellseg.errors import InputError
from cellseg.members import build_member
from cellseg.members.upernet_crops import UPerNetCropsMember
from cellseg.openmmlab import build_model, scope
from cellseg.structures import CropMasks
from cellseg.training.config import load_config, write_config

PROJECT = Path(__file__).resolve().parents[2]
BOXES = torch.tensor(
    [[10.0, 8.0, 30.0, 28.0], [20.5, 36.25, 39.0, 52.0], [0.0, 0.0, 84.0, 70.0], [78.0, 60.0, 84.0, 70.0]]
)
WINDOWS = torch.tensor([[7, 5, 33, 31], [17, 33, 42, 55], [0, 0, 84, 70], [77, 58, 84, 70]])
LABELS = torch.tensor([0, 1, 0, 1])


@pytest.fixture(scope="module")
def make_folder(tmp_path_factory):
    """Writes ``config.py`` and ``best.pth`` of the small network with random weights."""
    write = runpy.run_path(str(PROJECT / "tests" / "models" / "disc_folder.py"))["write_disc_folder"]
    data = write(tmp_path_factory.mktemp("discs"), train=2, val=1)

    def make(name="upernet_crops_small", **options):
        folder = tmp_path_factory.mktemp("work")
        config = load_config(PROJECT / "configs" / "upernet" / f"{name}.py", {"data_root": str(data), **options})
        torch.manual_seed(7)
        model = build_model(config.model, "mmseg")
        model.init_weights()
        # As initialised, the last layer says nearly the same everywhere.
        torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=1.5)
        write_config(config, folder / "config.py")
        torch.save({"state_dict": model.state_dict()}, folder / "best.pth")
        return folder

    return make


@pytest.fixture(scope="module")
def work_dir(make_folder):
    return make_folder()


def load(folder, **options):
    return UPerNetCropsMember("crops", str(folder / "config.py"), str(folder / "best.pth"), **options)


@pytest.fixture(scope="module")
def member(work_dir):
    return load(work_dir)


@pytest.fixture
def oracle(work_dir, monkeypatch):
    """A member whose network says that a pixel belongs to the central cell as far as it is bright."""
    member = load(work_dir)
    mean, std = member.model.data_preprocessor.mean, member.model.data_preprocessor.std

    def encode_decode(inputs, metas):
        share = ((inputs * std + mean).mean(dim=1) / 255).clamp(1e-6, 1 - 1e-6)
        logits = torch.full((len(inputs), 3, *inputs.shape[2:]), -30.0)
        logits[:, 0], logits[:, CENTRAL] = torch.log1p(-share), share.log()
        return logits

    monkeypatch.setattr(member.model, "encode_decode", encode_decode)
    return member


def disc_image(size, centre, radius, parts=8):
    """A bright disc on black as uint8 RGB; pixels on its edge are as bright as the part of them that it covers."""
    y, x = np.mgrid[: size[0] * parts, : size[1] * parts] / parts + 0.5 / parts
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
    shares = inside.reshape(size[0], parts, size[1], parts).mean(axis=(1, 3))
    return np.repeat((shares * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def window_of(box, size, margin):
    """Whole pixels around a box enlarged by a margin, inside the image."""
    grown = enlarge(torch.tensor([box]), margin)[0]
    low, high = grown[:2].floor().clamp(min=0), torch.minimum(grown[2:].ceil(), torch.tensor(size[::-1]))
    return torch.cat([low, high]).long()[None]


def moments(probabilities, window):
    """Area and centre of a probability map."""
    x0, y0, x1, y1 = window[0].tolist()
    total = float(probabilities.sum())
    x = (probabilities.sum(dim=0) * (torch.arange(x0, x1) + 0.5)).sum() / total
    y = (probabilities.sum(dim=1) * (torch.arange(y0, y1) + 0.5)).sum() / total
    return total, float(x), float(y)


@pytest.mark.parametrize(
    ("size", "centre", "radius", "box"),
    [
        # smaller than the crop (magnified), at whole and at broken coordinates, round and stretched
        ((80, 90), (40.0, 37.0), 12.0, [28.0, 25.0, 52.0, 49.0]),
        ((80, 90), (41.37, 36.81), 11.3, [30.07, 25.51, 52.67, 48.11]),
        ((80, 90), (41.37, 36.81), 8.0, [31.2, 27.55, 50.4, 47.9]),
        ((80, 90), (41.37, 36.81), 9.0, [30.25, 24.3, 54.85, 45.1]),
        # as large as the crop, and up to five times larger
        ((120, 130), (64.2, 58.9), 21.0, [42.9, 37.3, 85.5, 80.5]),
        ((300, 310), (151.3, 148.6), 100.0, [50.9, 48.1, 251.6, 249.3]),
        ((360, 360), (181.3, 178.6), 150.0, [31.0, 28.4, 331.3, 328.6]),
        # cut by one border of the image, and by two
        ((80, 90), (4.3, 37.7), 12.0, [0.0, 25.7, 16.3, 49.7]),
        ((80, 90), (86.8, 76.4), 10.0, [76.8, 66.4, 90.0, 80.0]),
        ((80, 90), (40.0, 2.6), 9.5, [30.45, 0.0, 49.55, 12.1]),
        ((200, 200), (196.0, 90.0), 80.0, [116.0, 10.0, 200.0, 170.0]),
    ],
)
def test_a_disc_keeps_its_area_and_centre(oracle, size, centre, radius, box):
    image = disc_image(size, centre, radius)
    window = window_of(box, size, 0.15)
    found, _ = oracle.evidence(oracle.encode(image), torch.tensor([box]), torch.tensor([0]), window)
    assert torch.equal(found.windows, window)
    x0, y0, x1, y1 = window[0].tolist()
    seen = torch.from_numpy(image[y0:y1, x0:x1, 0] / 255.0)
    true_area, true_x, true_y = moments(seen, window)
    if min(box[0], box[1], size[1] - box[2], size[0] - box[3]) > 0:
        assert true_area == pytest.approx(np.pi * radius**2, rel=2e-3)
        assert (true_x, true_y) == pytest.approx(centre, abs=0.01)
    area, x, y = moments(found.crop(0), window)
    assert area == pytest.approx(true_area, rel=0.01)
    assert (x, y) == pytest.approx((true_x, true_y), abs=0.1)
    # As a mask, too. Where the box is much larger than the crop, pixels between two samples are a matter of chance.
    mask, true_mask = found.crop(0) > 0.5, seen > 0.5
    assert int((mask & true_mask).sum()) > 0.98 * int((mask | true_mask).sum())


def test_an_image_shown_in_its_own_pixels_comes_back_unchanged(oracle):
    """A box whose crop has the pixels of the image: 64 px are 42 2/3 px and a quarter of it on each side."""
    image = np.repeat(np.random.default_rng(0).integers(1, 255, (90, 100, 1), dtype=np.uint8), 3, axis=2)
    window = torch.tensor([[30, 21, 94, 85]])
    side = 64 / 1.5
    box = torch.tensor([[30 + side / 4, 21 + side / 4, 94 - side / 4, 85 - side / 4]])
    found, _ = oracle.evidence(oracle.encode(image), box, torch.tensor([0]), window)
    np.testing.assert_allclose(found.crop(0), image[21:85, 30:94, 0] / 255.0, atol=1e-3)


def test_outside_the_crop_the_answer_is_zero(oracle):
    image = np.full((60, 70, 3), 255, dtype=np.uint8)
    box, window = torch.tensor([[20.0, 20.0, 32.0, 28.0]]), torch.tensor([[5, 6, 60, 50]])
    found, certainty = oracle.evidence(oracle.encode(image), box, torch.tensor([0]), window)
    expected = torch.zeros(60, 70)
    expected[18:30, 17:35] = 1  # a quarter of 12 and 8 on each side
    torch.testing.assert_close(found.crop(0), expected[6:50, 5:60], rtol=0, atol=1e-4)
    assert float(certainty[0]) == pytest.approx(1, abs=1e-4)


def test_certainty_is_the_mean_over_the_window(oracle):
    image = np.repeat(np.random.default_rng(0).integers(0, 256, (70, 84, 1), dtype=np.uint8), 3, axis=2)
    found, certainty = oracle.evidence(oracle.encode(image), BOXES, LABELS, WINDOWS)
    assert certainty.dtype == torch.float32 and certainty.shape == (4,)
    for index in range(4):
        assert float(certainty[index]) == pytest.approx(float((2 * found.crop(index) - 1).abs().mean()), rel=1e-5)


def test_answers_are_those_of_the_network_on_the_crops(member, image):
    found, certainty = member.evidence(member.encode(image), BOXES, LABELS, WINDOWS)
    assert torch.equal(found.windows, WINDOWS) and found.image_size == (70, 84)
    assert found.values.dtype == torch.float32
    assert 0 <= float(found.values.min()) and float(found.values.max()) <= 1 and found.values.std() > 0.05
    from mmseg.structures import SegDataSample

    regions = enlarge(BOXES, 0.25)
    crops = sample_crops(torch.from_numpy(image.transpose(2, 0, 1).copy()), crop_matrices(regions, 64), 64)
    samples = [SegDataSample(metainfo=dict(ori_shape=(64, 64), img_shape=(64, 64))) for _ in crops]
    with scope("mmseg"), torch.no_grad():
        answers = member.model.test_step(dict(inputs=list(crops), data_samples=samples))
    for index, answer in enumerate(answers):
        grid = answer.seg_logits.data.softmax(dim=0)[CENTRAL]
        x0, y0, x1, y1 = WINDOWS[index].tolist()
        for x, y in [(x0, y0), (x1 - 1, y1 - 1), ((x0 + x1) // 2, (y0 + y1) // 2)]:
            left, top, right, bottom = regions[index].tolist()
            u, v = (x + 0.5 - left) / (right - left) * 64 - 0.5, (y + 0.5 - top) / (bottom - top) * 64 - 0.5
            i, j = max(int(u), 0), max(int(v), 0)
            a, b = max(u, 0) - i, max(v, 0) - j
            k, m = min(i + 1, 63), min(j + 1, 63)
            upper = grid[j, i] * (1 - a) + grid[j, k] * a
            lower = grid[m, i] * (1 - a) + grid[m, k] * a
            assert float(found.crop(index)[y - y0, x - x0]) == pytest.approx(
                float(upper * (1 - b) + lower * b), abs=1e-4
            )


def test_a_crop_size_that_the_network_has_to_pad(make_folder, image):
    padded = load(make_folder(crop_size=56))
    assert padded.crop_size == 56
    shapes = []
    encode_decode = padded.model.encode_decode

    def watch(inputs, metas):
        shapes.append(tuple(inputs.shape))
        return encode_decode(inputs, metas)

    padded.model.encode_decode = watch
    found, _ = padded.evidence(padded.encode(image), BOXES, LABELS, WINDOWS)
    assert shapes == [(4, 3, 64, 64)]
    assert found.values.isfinite().all() and len(found.values) == sum(
        (x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in WINDOWS.tolist()
    )


@pytest.mark.parametrize("boxes_at_once", [1, 3, 4, 500])
def test_parts_change_nothing(work_dir, member, image, boxes_at_once):
    calls = []
    other = load(work_dir, boxes_at_once=boxes_at_once)
    encode_decode = other.model.encode_decode
    other.model.encode_decode = lambda inputs, metas: calls.append(len(inputs)) or encode_decode(inputs, metas)
    found, certainty = other.evidence(other.encode(image), BOXES, LABELS, WINDOWS)
    expected, expected_certainty = member.evidence(member.encode(image), BOXES, LABELS, WINDOWS)
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=1e-5)
    torch.testing.assert_close(certainty, expected_certainty, rtol=0, atol=1e-5)
    assert sum(calls) == 4 and max(calls) == min(boxes_at_once, 4)


def test_each_box_is_answered_by_itself(member, image):
    state = member.encode(image)
    together, certainty = member.evidence(state, BOXES, LABELS, WINDOWS)
    order = torch.tensor([2, 0, 3, 1])
    shuffled, _ = member.evidence(state, BOXES[order], LABELS[order], WINDOWS[order])
    for place, index in enumerate(order.tolist()):
        torch.testing.assert_close(shuffled.crop(place), together.crop(index), rtol=0, atol=1e-5)
    # Whatever type a box is said to have, and whatever window is asked for, its cell stays the same.
    moved = WINDOWS.clone()
    moved[:, :2] = (moved[:, :2] - 3).clamp(min=0)
    again, _ = member.evidence(state, BOXES, 1 - LABELS, moved)
    torch.testing.assert_close(again.rewindow(WINDOWS).values, together.values, rtol=0, atol=1e-5)


def test_same_image_same_answers(member, image):
    first, second = (member.evidence(member.encode(one), BOXES, LABELS, WINDOWS) for one in (image, image.copy()))
    assert torch.equal(first[0].values, second[0].values) and torch.equal(first[1], second[1])


def test_a_state_is_the_image_of_its_time(member):
    """Read-only, reversed or later overwritten arrays do no harm."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (70, 84, 3), dtype=np.uint8)
    state = member.encode(image[:, ::-1])
    expected, _ = member.evidence(member.encode(np.ascontiguousarray(image[:, ::-1])), BOXES, LABELS, WINDOWS)
    image[:] = 0
    assert state.image_size == (70, 84) and state.image.dtype == np.uint8
    assert torch.equal(member.evidence(state, BOXES, LABELS, WINDOWS)[0].values, expected.values)
    grey = np.broadcast_to(rng.integers(0, 256, (70, 84, 1), dtype=np.uint8), (70, 84, 3))
    assert len(member.evidence(member.encode(grey), BOXES, LABELS, WINDOWS)[0]) == 4


def test_no_boxes_no_evidence(member, image):
    none = torch.zeros(0, 4)
    found, certainty = member.evidence(member.encode(image), none, LABELS[:0], none.long())
    assert isinstance(found, CropMasks) and found.dtype == torch.float32
    assert len(found) == 0 and found.image_size == (70, 84) and certainty.shape == (0,)


def test_an_empty_window_has_no_pixels_and_no_certainty(member, image):
    windows = torch.tensor([[0, 0, 0, 0], [7, 5, 33, 31]])
    found, certainty = member.evidence(member.encode(image), BOXES[:2], LABELS[:2], windows)
    assert torch.diff(found.offsets).tolist() == [0, 26 * 26]
    assert certainty[0] == 0 and certainty[1] > 0


@pytest.mark.parametrize("size", [(16, 200), (1, 1), (33, 31)])
def test_images_of_any_size(member, size):
    image = np.full((*size, 3), 128, dtype=np.uint8)
    window = torch.tensor([[0, 0, size[1], size[0]]])
    found, _ = member.evidence(member.encode(image), window.float(), torch.tensor([0]), window)
    assert found.crop(0).shape == size and found.values.isfinite().all()


def test_it_proposes_nothing(member, image):
    assert member.proposes is False
    with pytest.raises(InputError, match="^member 'crops' answers for the boxes of others and proposes none; add a"):
        member.boxes(member.encode(image))


def test_an_ensemble_config_can_name_it(work_dir):
    member = build_member(dict(type="upernet_crops", work_dir=str(work_dir), boxes_at_once=32))
    assert isinstance(member, UPerNetCropsMember)
    assert (member.name, member.class_names) == ("upernet_crops", ("disc", "bar"))
    assert (member.crop_size, member.margin, member.boxes_at_once) == (64, 0.25, 32)


def test_identity_is_that_of_files_and_version(work_dir, member, make_folder, monkeypatch):
    first = member.identity()
    assert first == load(work_dir, boxes_at_once=7).identity(), "parts are no part of the answer"
    assert first["answers_version"] == 1 and first["name"] == "crops"
    assert first["config"] != load(make_folder(crop_margin=0.3)).identity()["config"]
    monkeypatch.setattr(UPerNetCropsMember, "answers_version", 2)
    assert first != member.identity()


def test_the_margin_of_the_training_counts(make_folder, member, image):
    other = load(make_folder(crop_margin=0.5))
    assert other.margin == 0.5
    found, _ = other.evidence(other.encode(image), BOXES, LABELS, WINDOWS)
    expected, _ = member.evidence(member.encode(image), BOXES, LABELS, WINDOWS)
    assert (found.values - expected.values).abs().max() > 0.01


@pytest.mark.parametrize("value", [0, -3, 2.0, "8", True])
def test_other_numbers_of_boxes_at_once_are_refused(work_dir, value):
    with pytest.raises(InputError) as caught:
        load(work_dir, boxes_at_once=value)
    assert str(caught.value) == f"member 'crops': boxes_at_once = {value!r}: expected a whole number of at least 1"


def with_config(work_dir, folder, change):
    """The same weights with a changed config."""
    (folder / "config.py").write_text(change((work_dir / "config.py").read_text()))
    (folder / "best.pth").write_bytes((work_dir / "best.pth").read_bytes())
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("crop_size = 64\n", ""),
            "member 'crops' needs a training on crops of boxes, whose config has crop_size and crop_margin; train one "
            "with configs/upernet/upernet_crops_small.py",
        ),
        (lambda text: text + "crop_size = 64.5\n", "crop_size = 64.5: expected a whole number of at least 1"),
        (lambda text: text + "crop_margin = -1\n", "crop_margin = -1: expected a number from 0 to 10"),
        (
            lambda text: text + "default_scope = 'mmdet'\n",
            "member 'crops' needs a config with default_scope = 'mmseg', this one has 'mmdet'",
        ),
    ],
)
def test_configs_of_other_trainings_are_refused(work_dir, tmp_path, change, message):
    folder = with_config(work_dir, tmp_path, change)
    with pytest.raises(InputError) as caught:
        load(folder)
    assert str(caught.value) == f"{folder}/config.py: {message}"


def test_a_network_with_other_classes_is_refused(make_folder, tmp_path):
    folder = make_folder(**{"model.decode_head.num_classes": 4})
    with pytest.raises(InputError) as caught:
        load(folder)
    assert str(caught.value) == (
        f"{folder}/config.py: member 'crops': expected a network with 3 classes (background, the central cell, "
        "neighbours), this one has 4"
    )
