"""UPerNet as a member: maps, the segments made of them, and its answer for any box."""

import dataclasses

import numpy as np
import pytest
import torch

from cellseg.datasets.transforms import magnify
from cellseg.errors import InputError
from cellseg.members import build_member
from cellseg.members.upernet import UPerNetState, foreign_pixels, outlines, shrink_map
from cellseg.openmmlab import scope
from cellseg.structures import CropMasks

BOXES = torch.tensor(
    [[10.0, 8.0, 30.0, 28.0], [20.5, 36.25, 39.0, 52.0], [0.0, 0.0, 84.0, 70.0], [78.0, 60.0, 84.0, 70.0]]
)
WINDOWS = torch.tensor([[7, 5, 33, 31], [17, 33, 42, 55], [0, 0, 84, 70], [77, 58, 84, 70]])
LABELS = torch.tensor([0, 1, 0, 1])


@pytest.fixture(scope="module")
def work_dir(make_work_dir):
    return make_work_dir("upernet", rim_weight=4.0)


@pytest.fixture(scope="module")
def member(work_dir):
    return build_member(dict(type="upernet", work_dir=str(work_dir)))


@pytest.fixture(scope="module")
def state(member, image):
    return member.encode(image)


def state_of(probabilities, segments):
    """A state with a hand-made map ``[C, H, W]`` and segments."""
    state = UPerNetState(torch.as_tensor(probabilities, dtype=torch.float32), tuple(probabilities.shape[1:]))
    state.segments = torch.as_tensor(segments, dtype=torch.int64)
    return state


def cells_map(size, cells, rim=0.9, interior=0.95, outside=0.05):
    """Probabilities of background, two types and rim of rectangles ``(y0, x0, y1, x1, type)`` with a rim of 2 px."""
    values = np.full((4, *size), outside / 3)
    values[0] = 1 - outside
    for y0, x0, y1, x1, kind in cells:
        values[:, y0:y1, x0:x1] = (1 - rim) / 3
        values[3, y0:y1, x0:x1] = rim
        values[:, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = (1 - interior) / 3
        values[1 + kind, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = interior
    return torch.from_numpy(values).float()


def test_the_map_is_that_of_mmseg_with_the_rim_at_its_true_odds(member, state, image):
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=dict(ori_shape=(70, 84), img_shape=(70, 84)))
    with scope("mmseg"), torch.no_grad():
        inputs = dict(inputs=[torch.from_numpy(image.transpose(2, 0, 1).copy())], data_samples=[sample])
        logits = member.model.test_step(inputs)[0].seg_logits.data
    odds = logits.double().exp()
    odds[3] /= 4.0
    torch.testing.assert_close(state.probabilities.double(), odds / odds.sum(dim=0), rtol=1e-4, atol=1e-5)
    assert state.image_size == (70, 84) and state.probabilities.shape == (4, 70, 84)
    assert state.probabilities[0].std() > 0.05


def test_same_image_same_answers(member, state, image):
    again = member.encode(image.copy())
    assert torch.equal(again.probabilities, state.probabilities) and torch.equal(again.segments, state.segments)
    first, second = (member.evidence(one, BOXES, LABELS, WINDOWS) for one in (state, again))
    assert torch.equal(first[0].values, second[0].values) and torch.equal(first[1], second[1])
    for one, other in zip(member.boxes(state), member.boxes(again), strict=True):
        assert torch.equal(one, other)


def flipped_mean(member, image, flips):
    """Mean of the maps of flipped images, each flipped back, in this order."""
    total = 0.0
    for axes in flips:
        total = total + member.encode(np.flip(image, axes).copy()).probabilities.flip([axis + 1 for axis in axes])
    return total / len(flips)


@pytest.mark.parametrize(
    ("views", "flips"),
    [
        ("none", [()]),
        (["identity", "mirror_x"], [(), (1,)]),
        ("mirrors", [(), (1,), (0,), (0, 1)]),
    ],
)
def test_mirrored_views_are_the_mean_of_the_mirrored_maps(work_dir, member, image, views, flips):
    found = build_member(dict(type="upernet", work_dir=str(work_dir), views=views)).encode(image)
    assert torch.equal(found.probabilities, flipped_mean(member, image, flips))
    assert torch.equal(found.segments, member.split(found.probabilities))


def test_turned_views_are_the_mean_of_the_turned_maps(work_dir, member, image):
    found = build_member(dict(type="upernet", work_dir=str(work_dir), views="dihedral")).encode(image)
    assert found.probabilities.shape == (4, 70, 84)
    total = torch.zeros(4, 70, 84)
    for mirrored in (image, image[:, ::-1]):
        for turns in range(4):
            values = member.encode(np.rot90(mirrored, turns).copy()).probabilities
            values = torch.rot90(values, -turns, (1, 2))
            total += values if mirrored is image else values.flip(2)
    torch.testing.assert_close(found.probabilities, total / 8, rtol=1e-5, atol=1e-6)


def test_scaled_views_are_the_mean_of_the_maps_at_their_magnifications(work_dir, make_work_dir, member, image):
    views = ["identity", "mirror_x", "scale_1.25"]
    found = build_member(dict(type="upernet", work_dir=str(work_dir), views=views)).encode(image)
    larger = make_work_dir("upernet", rim_weight=4.0, magnification=1.25)
    scaled = build_member(dict(type="upernet", work_dir=str(larger))).encode(image).probabilities
    expected = flipped_mean(member, image, [(), (1,)]) * 2 / 3 + scaled / 3
    torch.testing.assert_close(found.probabilities, expected, rtol=1e-5, atol=1e-6)


def test_without_views_it_is_the_member_that_looks_once(work_dir, member, image):
    averaged = build_member(dict(type="upernet", work_dir=str(work_dir), views="mirrors"))
    bare = averaged.without_views()
    assert bare.identity() == member.identity() != averaged.identity()
    assert torch.equal(bare.encode(image).probabilities, member.encode(image).probabilities)
    assert not torch.equal(averaged.encode(image).probabilities, member.encode(image).probabilities)
    assert member.without_views() is member


@pytest.mark.parametrize("views", ["mirrors", "dihedral"])
def test_a_mirrored_image_gives_the_mirrored_map(work_dir, image, views):
    member = build_member(dict(type="upernet", work_dir=str(work_dir), views=views))
    # Padding would lie on another side of a mirrored image: take one that needs none.
    whole = image[:64, :80]
    for axis in (1, 0):
        found = member.encode(np.ascontiguousarray(np.flip(whole, axis))).probabilities.flip(axis + 1)
        torch.testing.assert_close(found, member.encode(whole).probabilities, rtol=1e-4, atol=1e-5)


def test_unmirrored_maps_are_not_symmetric(member, image):
    whole = image[:64, :80]
    found = member.encode(np.ascontiguousarray(whole[:, ::-1])).probabilities.flip(2)
    assert (found - member.encode(whole).probabilities).abs().max() > 0.01


def test_views_are_checked_before_anything_is_loaded():
    with pytest.raises(InputError, match="member 'upernet': views = 'mirror': expected none, mirrors, turns, dihedral"):
        build_member(dict(type="upernet", work_dir="nowhere", views="mirror"))


def test_a_training_on_box_crops_is_refused(make_work_dir, tmp_path):
    folder = make_work_dir("upernet")
    (tmp_path / "config.py").write_text((folder / "config.py").read_text() + "crop_size = 64\n")
    spec = dict(type="upernet", config=str(tmp_path / "config.py"), checkpoint=str(folder / "best.pth"))
    with pytest.raises(InputError, match="trained on box crops; its type is 'upernet_crops'"):
        build_member(spec)


def test_flows_beside_the_classes_change_no_probability(make_work_dir, image):
    flow = {"flows": True, "model.type": "FlowSegmentor", "model.decode_head.type": "FlowUPerHead"}
    member = build_member(dict(type="upernet", work_dir=str(make_work_dir("upernet", **flow))))
    head = member.model.decode_head
    before = member.encode(image).probabilities
    assert before.shape[0] == len(member.class_names) + 2 and head.conv_flow.out_channels == 2
    torch.nn.init.constant_(head.conv_flow.bias, 100.0)
    assert torch.equal(member.encode(image).probabilities, before)


INNER = torch.tensor([[10.0, 8.0, 30.0, 28.0], [20.5, 36.25, 39.0, 52.0], [11.3, 9.1, 13.9, 12.2]])


@pytest.mark.parametrize("magnification", [1.0, 1.5])
def test_features_lie_where_the_boxes_do(make_work_dir, image, make_ramp, check_ramp, magnification):
    member = build_member(
        dict(type="upernet", work_dir=str(make_work_dir("upernet", magnification=magnification)), views="mirrors")
    )
    state = member.encode(image)
    padded = [-(-round(side * magnification) // 16) * 16 for side in (70, 84)]
    strides = {side // cells for side, cells in zip(padded, state.level.values.shape[1:], strict=True)}
    assert len(strides) == 1 and [cells * min(strides) for cells in state.level.values.shape[1:]] == padded
    found = member.features(state, INNER)
    assert found.shape == (3, member.feature_channels, 7, 7) and found.std() > 0
    ramp = make_ramp(state.level.values, min(strides), (magnification, magnification))
    state.level = dataclasses.replace(state.level, values=ramp)
    check_ramp(member.features(state, INNER), INNER)


def test_features_are_what_the_classes_are_made_of(work_dir, member, state, image, monkeypatch):
    """For the image as it is, whatever views the map is averaged over, and of the same run."""
    averaged = build_member(
        dict(type="upernet", work_dir=str(work_dir), views=["mirror_x", "scale_1.25", "identity", "turn_90"])
    )
    runs = []
    averaged.model.backbone.register_forward_pre_hook(lambda *_: runs.append(1))
    seen = averaged.encode(image)
    assert len(runs) == 4
    assert torch.equal(averaged.features(seen, INNER), member.features(state, INNER)) and len(runs) == 4
    with scope("mmseg"), torch.no_grad():
        head = member.model.decode_head
        logits = torch.nn.functional.interpolate(head.conv_seg(state.level.values[None]), (80, 96), mode="bilinear")
    probabilities = (logits[0, :, :70, :84] - member.log_weights).softmax(dim=0)
    torch.testing.assert_close(probabilities, state.probabilities)


@pytest.mark.parametrize("magnification", [0.5, 1.5, 2.0, 2.3])
@pytest.mark.parametrize("size", [(9, 12), (10, 7)])
def test_shrinking_a_map_reads_it_at_the_pixel_centres(magnification, size):
    large = (round(size[0] * magnification), round(size[1] * magnification))
    rng = np.random.default_rng(0)
    values = rng.random((2, *large), dtype=np.float32)
    found = shrink_map(torch.from_numpy(values), magnification, size)
    assert found.shape == (2, *size)
    for y in range(size[0]):
        for x in range(size[1]):
            row = min(max((y + 0.5) * magnification - 0.5, 0), large[0] - 1)
            column = min(max((x + 0.5) * magnification - 0.5, 0), large[1] - 1)
            top, left = int(row), int(column)
            bottom, right = min(top + 1, large[0] - 1), min(left + 1, large[1] - 1)
            dy, dx = row - top, column - left
            upper = values[:, top, left] * (1 - dx) + values[:, top, right] * dx
            lower = values[:, bottom, left] * (1 - dx) + values[:, bottom, right] * dx
            assert found[:, y, x].numpy() == pytest.approx(upper * (1 - dy) + lower * dy, abs=1e-5)


def test_a_map_that_was_not_magnified_stays():
    values = torch.rand(3, 8, 9)
    assert shrink_map(values, 1.0, (8, 9)) is values


def test_magnified_answers_come_back_in_pixels_of_the_image(make_work_dir, member, image):
    twice = build_member(
        dict(type="upernet", work_dir=str(make_work_dir("upernet", rim_weight=4.0, magnification=2.0)))
    )
    found, expected = twice.encode(image), member.encode(magnify(image, 2.0))
    assert found.image_size == (70, 84) and found.probabilities.shape == (4, 70, 84)
    # The centre of a pixel is the corner of four magnified ones.
    mean = expected.probabilities.reshape(4, 70, 2, 84, 2).mean(dim=(2, 4))
    torch.testing.assert_close(found.probabilities, mean, rtol=1e-5, atol=1e-6)
    assert found.segments.shape == (70, 84)


def test_touching_cells_are_split_at_their_rims(member):
    cells = [(4, 4, 20, 20, 0), (4, 20, 20, 36, 1), (26, 10, 40, 30, 0)]
    segments = member.split(cells_map((50, 50), cells)).numpy()
    assert segments.dtype == np.int64 and len(np.unique(segments)) == 4
    for y0, x0, y1, x1, _ in cells:
        assert len(np.unique(segments[y0:y1, x0:x1])) == 1, "one segment fills each cell, rim included"
    drawn = np.zeros((50, 50), dtype=bool)
    for y0, x0, y1, x1, _ in cells:
        drawn[y0:y1, x0:x1] = True
    assert np.array_equal(segments > 0, drawn)


def test_a_map_of_background_has_no_segments(member):
    state = state_of(cells_map((20, 20), []), member.split(cells_map((20, 20), [])))
    assert not state.segments.any()
    boxes, scores, labels = member.boxes(state)
    assert boxes.shape == (0, 4) and len(scores) == len(labels) == 0


def test_small_seeds_are_dropped(work_dir):
    cells = [(4, 4, 11, 11, 0), (20, 20, 40, 40, 0)]  # the interior of the first has 3 x 3 px
    for least, count in ((9, 2), (10, 1)):
        spec = dict(type="upernet", work_dir=str(work_dir), least_seed=least, seed_blur=0.01)
        segments = build_member(spec).split(cells_map((50, 50), cells))
        assert len(segments[segments > 0].unique()) == count


def test_thresholds_decide_on_seeds_and_extent(work_dir):
    cells = [(4, 4, 20, 20, 0), (26, 10, 40, 30, 0)]
    values = cells_map((50, 50), cells)
    values[:, 26:40, 10:30] = torch.tensor([0.4, 0.6, 0.0, 0.0])[:, None, None]

    def segments(**options):
        member = build_member(dict(type="upernet", work_dir=str(work_dir), seed_blur=0.01, **options))
        return member.split(values)

    assert segments(seed_threshold=0.7).max() == 1 and segments(seed_threshold=0.5).max() == 2
    assert (segments(seed_threshold=0.5, foreground_threshold=0.7)[26:40, 10:30] > 0).all(), "a seed is never cut away"


def test_blurring_joins_seeds_across_a_pixel_of_doubt(work_dir):
    values = cells_map((30, 30), [(4, 4, 26, 26, 0)])
    values[:, 4:26, 15] = torch.tensor([0.0, 0.6, 0.0, 0.4])[:, None]
    counts = [
        int(build_member(dict(type="upernet", work_dir=str(work_dir), seed_blur=blur)).split(values).max())
        for blur in (0.01, 1.5)
    ]
    assert counts == [2, 1]


def test_boxes_types_and_scores_of_segments(member):
    cells = [(4, 4, 20, 20, 0), (4, 20, 20, 36, 1), (26, 10, 40, 30, 1)]
    values = cells_map((50, 50), cells)
    segments = np.zeros((50, 50), dtype=np.int64)
    for number, (y0, x0, y1, x1, _) in enumerate(cells, start=1):
        segments[y0:y1, x0:x1] = number
    state = state_of(values, segments)
    boxes, scores, labels = member.boxes(state)
    assert boxes.tolist() == [[x0, y0, x1, y1] for y0, x0, y1, x1, _ in cells]
    assert labels.tolist() == [0, 1, 1]
    for number, score in enumerate(scores.tolist(), start=1):
        own = segments == number
        edge = [
            (y, x)
            for y, x in np.argwhere(own)
            if any(segments[y + dy, x + dx] != number for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)))
        ]
        foreground = np.mean([1 - float(values[0, y, x]) for y, x in np.argwhere(own)])
        interior = max(float(values[1, y, x] + values[2, y, x]) for y, x in np.argwhere(own))
        rim = np.mean([float(values[3, y, x]) for y, x in edge])
        assert score == pytest.approx((foreground * interior * rim) ** (1 / 3), rel=1e-5)


def test_outlines_are_the_pixels_with_another_beside_them():
    rng = np.random.default_rng(2)
    segments = np.kron(rng.integers(0, 4, (6, 7)), np.ones((3, 2), dtype=np.int64))
    expected = np.zeros(segments.shape, dtype=bool)
    for y in range(segments.shape[0]):
        for x in range(segments.shape[1]):
            beside = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            near = [segments[p] for p in beside if 0 <= p[0] < segments.shape[0] and 0 <= p[1] < segments.shape[1]]
            expected[y, x] = segments[y, x] > 0 and any(value != segments[y, x] for value in near)
    assert np.array_equal(outlines(torch.from_numpy(segments)).numpy(), expected)


def plain_foreign(segments, box, window):
    """Foreign pixels of one box, segment by segment."""
    x0, y0, x1, y1 = window
    inside = np.zeros(segments.shape, dtype=bool)
    for y in range(y0, y1):
        for x in range(x0, x1):
            inside[y, x] = box[0] <= x + 0.5 < box[2] and box[1] <= y + 0.5 < box[3]
    shares = {k: (inside & (segments == k)).sum() for k in np.unique(segments[y0:y1, x0:x1]) if k > 0}
    out = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for k, share in shares.items():
        if share < 0.5 * (segments == k).sum() and share < max(shares.values()):
            out |= segments[y0:y1, x0:x1] == k
    return out


@pytest.mark.parametrize("seed", range(8))
def test_foreign_pixels_equal_a_plain_count(seed):
    rng = np.random.default_rng(seed)
    segments = np.kron(rng.integers(0, 7, (5, 6)), np.ones((6, 5), dtype=np.int64))
    height, width = segments.shape
    corner = rng.uniform(0, [width - 8, height - 8], (5, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 8, (5, 2))], axis=1).astype(np.float32)
    windows = np.concatenate([np.floor(boxes[:, :2]) - 2, np.ceil(boxes[:, 2:]) + 2], axis=1).astype(np.int64)
    windows = np.clip(windows, 0, [width, height, width, height])
    areas = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
    canvas = CropMasks(torch.from_numpy(windows), torch.zeros(int(areas.sum())), (height, width))
    found = foreign_pixels(torch.from_numpy(segments), torch.from_numpy(boxes), *canvas.pixel_index())
    expected = np.concatenate([plain_foreign(segments, *pair).ravel() for pair in zip(boxes, windows, strict=True)])
    assert np.array_equal(found.numpy(), expected)
    assert 0 < expected.sum() < len(expected)


def test_a_neighbour_does_not_join_the_cell_but_a_split_cell_stays_whole(member):
    segments = np.zeros((40, 40), dtype=np.int64)
    segments[10:20, 5:15], segments[10:20, 15:30] = 1, 2  # a cell and its neighbour
    segments[25:35, 5:13], segments[25:35, 13:20] = 3, 4  # two halves of one cell
    state = state_of(cells_map((40, 40), [(10, 5, 20, 30, 0), (25, 5, 35, 20, 0)]), segments)
    boxes = torch.tensor([[5.0, 10.0, 16.0, 20.0], [5.0, 25.0, 20.0, 35.0]])
    windows = torch.tensor([[3, 8, 18, 22], [3, 23, 22, 37]])
    evidence, _ = member.evidence(state, boxes, torch.tensor([0, 0]), windows)
    first, second = evidence.to_dense()
    assert (first[10:20, 15:18] == 0).all() and (first[10:20, 5:15] > 0.9).all()
    assert torch.equal(second[23:37, 3:22], state.foreground[23:37, 3:22])


def test_evidence_is_one_minus_background_except_in_foreign_segments(member, state):
    evidence, certainty = member.evidence(state, BOXES, LABELS, WINDOWS)
    assert torch.equal(evidence.windows, WINDOWS) and evidence.image_size == (70, 84)
    assert evidence.values.dtype == certainty.dtype == torch.float32 and certainty.shape == (4,)
    segments = state.segments.numpy()
    for i, (x0, y0, x1, y1) in enumerate(WINDOWS.tolist()):
        foreground = 1 - state.probabilities[0, y0:y1, x0:x1]
        foreign = torch.from_numpy(plain_foreign(segments, BOXES[i].tolist(), WINDOWS[i].tolist()))
        assert torch.equal(evidence.crop(i), torch.where(foreign, 0.0, foreground))
        assert float(certainty[i]) == pytest.approx(float((2 * foreground - 1).abs().mean()), rel=1e-5)


def test_no_boxes_no_evidence(member, state):
    none = torch.zeros(0, 4)
    evidence, certainty = member.evidence(state, none, LABELS[:0], none.long())
    assert len(evidence) == 0 and evidence.image_size == (70, 84) and certainty.shape == (0,)


@pytest.mark.parametrize("size", [(16, 200), (1, 1), (33, 31)])
def test_images_of_any_size(member, size):
    state = member.encode(np.full((*size, 3), 128, dtype=np.uint8))
    assert state.probabilities.shape == (4, *size) and state.segments.shape == size
    torch.testing.assert_close(state.probabilities.sum(dim=0), torch.ones(size))
    boxes, scores, _ = member.boxes(state)
    assert (boxes <= torch.tensor([size[1], size[0]] * 2)).all() and (scores <= 1).all()
    window = torch.tensor([[0, 0, size[1], size[0]]])
    evidence, _ = member.evidence(state, window.float(), torch.tensor([0]), window)
    assert evidence.crop(0).shape == size
