"""Averaging over views: exact for members that see mirrored images as they see images, and a plain mean for others."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import ndimage

from cellseg.ensemble import Ensemble, enlarge_boxes
from cellseg.ensemble.evidence.averaging import AveragedMember, build_averaged
from cellseg.errors import InputError
from cellseg.members import Member, build
from cellseg.members.views import parse_views
from cellseg.structures import CropMasks

SIZES = [(61, 84), (40, 40), (33, 9), (1, 1), (1, 12)]


@dataclass
class MapState:
    """Probability of foreground ``[H, W]``."""

    likely: np.ndarray
    image_size: tuple[int, int]


class ThresholdMember(Member):
    """Cells are where the image is bright on average over ``reach`` pixels around.

    All numbers are quotients of sums of whole numbers, so a mirrored or turned image gives exactly the mirrored or
    turned answers, unless ``shift`` moves them to the right.
    """

    proposes, class_names, feature_channels = True, ("small", "large"), 1

    def __init__(self, name="threshold", reach=1, shift=0, fixed_input=False):
        self.name, self.reach, self.shift, self.fixed_input = name, reach, shift, fixed_input

    def encode(self, image):
        assert image.dtype == np.uint8 and image.shape[2] == 3
        padded = np.pad(image[:, :, 0].astype(np.int64), self.reach, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * self.reach + 1,) * 2)
        likely = windows.sum(axis=(2, 3)) / (255 * (2 * self.reach + 1) ** 2)
        return MapState(np.roll(likely, self.shift, axis=1).astype(np.float32), image.shape[:2])

    def boxes(self, state):
        parts, count = ndimage.label(state.likely > 0.5)
        boxes, scores = [], []
        for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            boxes.append([columns.start, rows.start, columns.stop, rows.stop])
            levels = np.sort(state.likely[parts == number])  # in an order that no view changes
            scores.append(float(levels.mean()))
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        large = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1) > 8
        return boxes, torch.tensor(scores, dtype=torch.float32), large.long()

    def evidence(self, state, boxes, labels, windows):
        parts = [torch.from_numpy(state.likely[y0:y1, x0:x1].copy()) for x0, y0, x1, y1 in windows.tolist()]
        trust = [float(part.amax()) if part.numel() else 0.0 for part in parts]
        values = torch.cat([part.reshape(-1) for part in parts]) if parts else torch.zeros(0)
        return CropMasks(windows, values, state.image_size), torch.tensor(trust)

    def features(self, state, boxes):
        return torch.full((len(boxes), 1, 7, 7), float(state.likely[0, 0]))

    def identity(self):
        return dict(name=self.name, reach=self.reach, shift=self.shift)


def averaged(views, **options):
    return AveragedMember(ThresholdMember(**options), parse_views(views, "test"))


def picture(size, seed=0, cells=8):
    """Bright discs of different brightness on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    grey = rng.integers(0, 90, size)
    for centre_y, centre_x in rng.uniform(0, size, (cells, 2)):
        inside = np.hypot(y - centre_y, x - centre_x) < rng.uniform(3, 8)
        grey[inside] = rng.integers(150, 255) + rng.integers(-20, 1, int(inside.sum()))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def asked(size, seed=1, count=9):
    """Boxes in and beyond the borders, their windows, and some that are empty."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(-4, [size[1] + 4, size[0] + 4], (count, 2, 2)), axis=1).reshape(count, 4)
    boxes = torch.from_numpy(corners).float()
    boxes = torch.cat([boxes, torch.tensor([[0.0, 0, 0, 0], [0, 0, size[1], size[0]], [900.0, 900, 910, 910]])])
    return boxes, torch.zeros(len(boxes), dtype=torch.int64), enlarge_boxes(boxes, 0.15, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("views", ["mirrors", "turns", "dihedral"])
def test_averaging_changes_nothing_for_a_member_that_mirrors_with_the_image(views, size):
    image, bare, member = picture(size), ThresholdMember(), averaged(views)
    state, plain = member.encode(image), bare.encode(image)
    assert state.image_size == size
    boxes, scores, labels = bare.boxes(plain)
    order = scores.sort(descending=True, stable=True).indices
    for found, expected in zip(member.boxes(state), (boxes, scores, labels), strict=True):
        assert torch.equal(found, expected[order]) and found.dtype == expected.dtype
    question = asked(size)
    found, expected = member.evidence(state, *question), bare.evidence(plain, *question)
    assert torch.equal(found[0].windows, question[2]) and found[0].image_size == size
    assert torch.equal(found[0].values, expected[0].values) and found[0].dtype == torch.float32
    assert torch.equal(found[1], expected[1]) and found[1].dtype == torch.float32


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("views", ["mirrors", "dihedral"])
def test_averaging_moves_no_mask_of_an_ensemble(views, seed):
    image = picture((83, 120), seed, cells=14)
    expected = Ensemble([ThresholdMember()]).predict(image)
    found = Ensemble([averaged(views)]).predict(image)
    assert len(expected) > 4
    assert found.masks.to_rle() == expected.masks.to_rle()
    assert torch.equal(found.boxes, expected.boxes) and torch.equal(found.scores, expected.scores)
    assert torch.equal(found.labels, expected.labels)


def flipped_mean(image, read):
    """Mean of what ``read`` says about an image and its three mirror images, mirrored back."""
    total = np.zeros(image.shape[:2])
    for axes in ((), (1,), (0,), (0, 1)):
        total += np.flip(read(np.ascontiguousarray(np.flip(image, axes))), axes)
    return total / 4


def test_evidence_and_confidence_are_means_over_the_views():
    image, bare, member = picture((61, 84)), ThresholdMember(shift=2), averaged("mirrors", shift=2)
    boxes, labels, windows = asked((61, 84))
    evidence, confidence = member.evidence(member.encode(image), boxes, labels, windows)
    expected = flipped_mean(image, lambda seen: bare.encode(seen).likely)
    assert abs(expected - bare.encode(image).likely).max() > 0.1, "the views differ"
    for index, (x0, y0, x1, y1) in enumerate(windows.tolist()):
        np.testing.assert_allclose(evidence.crop(index).numpy(), expected[y0:y1, x0:x1], atol=1e-6)
    trust = torch.zeros(len(boxes))
    for view in member.views:
        question = view.boxes_to_view(boxes, (61, 84)), labels, view.windows_to_view(windows, (61, 84))
        trust += bare.evidence(bare.encode(view.apply(image)), *question)[1]
    torch.testing.assert_close(confidence, trust / 4)


def test_boxes_of_displaced_views_meet_in_the_middle():
    """Each view sees the cell 2 px to the right of itself: mirrored back, that is left, and the mean is where it is."""
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    image[10:30, 20:40] = 255
    bare, member = ThresholdMember(reach=0, shift=2), averaged("mirrors", reach=0, shift=2)
    assert bare.boxes(bare.encode(image))[0].tolist() == [[22, 10, 42, 30]]
    boxes, scores, labels = member.boxes(member.encode(image))
    assert boxes.tolist() == [[20, 10, 40, 30]] and scores.tolist() == [1] and labels.tolist() == [1]


class Scripted(ThresholdMember):
    """Gives these boxes for one view after another: ``(boxes, scores)`` each; all of the first type."""

    def __init__(self, answers):
        super().__init__()
        self.answers = answers

    def encode(self, image):
        return image.shape[:2]

    def boxes(self, state):
        boxes, scores = self.answers.pop(0)
        return torch.tensor(boxes).reshape(-1, 4).float(), torch.tensor(scores), torch.zeros(len(scores)).long()


def ask(*answers, size=(50, 60), views=("identity", "mirror_x")):
    member = AveragedMember(Scripted(list(answers)), parse_views(views, "test"))
    return member.boxes(member.encode(np.zeros((*size, 3), dtype=np.uint8)))


def test_scores_are_means_over_the_views_and_0_where_a_view_found_nothing():
    boxes, scores, _ = ask(([[10, 10, 20, 20], [40, 30, 50, 45]], [0.9, 0.6]), ([[40, 10, 50, 20]], [0.5]))
    assert boxes.tolist() == [[10, 10, 20, 20], [40, 30, 50, 45]]
    assert scores.tolist() == pytest.approx([0.7, 0.3])


def test_a_second_box_of_the_same_cell_does_not_lower_its_score():
    boxes, scores, _ = ask(([[10, 10, 30, 30], [10, 10, 30, 28]], [0.9, 0.1]), ([[30, 10, 50, 30]], [0.7]))
    assert scores.tolist() == pytest.approx([0.8])
    assert boxes[0].tolist() == pytest.approx([10, 10, 30, 30 - 2 * 0.1 / 1.7])


def test_nothing_found_in_any_view():
    boxes, scores, labels = ask(([], []), ([], []))
    assert boxes.shape == (0, 4) and len(scores) == len(labels) == 0


def test_boxes_of_scaled_views_are_cut_at_the_image():
    # 7 x 9 px, half as large: 4 x 4 px, which stand for 8 x 8.
    boxes, _, _ = ask(
        ([], []), ([[0, 0, 4, 4], [3.5, 0, 4, 4]], [0.9, 0.8]), size=(7, 7), views=("identity", "scale_0.5")
    )
    assert boxes.tolist() == [[0, 0, 7, 7]]


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        ([[0, 0, float("nan"), 5]], [0.5], "member threshold: gave boxes that are not finite; check its checkpoint"),
        ([[0, 0, float("inf"), 5]], [0.5], "member threshold: gave boxes that are not finite; check its checkpoint"),
        ([[0, 0, 5, 5]], [float("nan")], "member threshold: fuse_boxes: score 0 is nan; expected 0..1; check its"),
    ],
)
def test_broken_answers_name_the_member(boxes, scores, message):
    with pytest.raises(InputError) as error:
        ask((boxes, scores), ([], []))
    assert str(error.value).startswith(message)


def test_a_soft_disc_is_the_same_at_every_scale():
    size, centre, radius = (64, 81), (33.3, 27.8), 10.0
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    disc = 255 / (1 + np.exp((np.hypot(x - centre[0], y - centre[1]) - radius) / 1.5))
    image = np.repeat(disc.round().astype(np.uint8)[:, :, None], 3, axis=2)
    views = ["identity", "scale_0.8", "mirror_x+scale_1.25", "turn_90+scale_1.5", "transpose+scale_0.5"]
    member, bare = averaged(views, reach=0), ThresholdMember(reach=0)
    question = torch.tensor([[23.3, 17.8, 43.3, 37.8]]), torch.tensor([0]), torch.tensor([[8, 2, 60, 54]])
    state = member.encode(image)
    found, expected = (m.evidence(s, *question)[0].crop(0) for m, s in ((member, state), (bare, bare.encode(image))))
    x, y = x[2:54, 8:60], y[2:54, 8:60]
    middle = [float((found.numpy() * axis).sum() / found.sum()) for axis in (x, y)]
    assert np.hypot(middle[0] - centre[0], middle[1] - centre[1]) < 0.05
    assert float(found.sum()) == pytest.approx(float(expected.sum()), rel=0.01)
    assert int((found > 0.5).sum()) == pytest.approx(np.pi * radius**2, rel=0.01)
    assert not torch.equal(found, expected)
    (box,) = member.boxes(state)[0]
    torch.testing.assert_close(box, torch.tensor([23.3, 17.8, 43.3, 37.8]), atol=0.6, rtol=0)


def test_features_are_those_of_the_image_as_it_is():
    image = picture((20, 30))
    image[0, 0], image[0, -1] = 200, 10
    member = averaged(["mirror_x", "identity"], reach=0)
    assert member.feature_channels == 1
    found = member.features(member.encode(image), torch.zeros(2, 4))
    assert found.shape == (2, 1, 7, 7) and (found == np.float32(200 / 255)).all()


def test_identity_tells_views_and_members_apart():
    plain = ThresholdMember().identity()
    names = ["none", "mirrors", "dihedral", ["identity", "mirror_x"], ["identity", "scale_1.25"]]
    found = [averaged(views).identity() for views in names] + [averaged("mirrors", shift=1).identity(), plain]
    assert all(one != other for i, one in enumerate(found) for other in found[:i])
    assert averaged("mirrors").identity() == averaged("mirrors").identity()
    newer = averaged("mirrors")
    newer.answers_version += 1
    assert newer.identity() != found[1]


def test_scales_are_refused_where_they_would_do_nothing():
    with pytest.raises(InputError) as error:
        averaged(["identity", "mirror_x+scale_1.25"], name="fitted", fixed_input=True)
    assert str(error.value) == (
        "member 'fitted': views: mirror_x+scale_1.25 would do nothing, because its network sees every image at the "
        "same size; leave scales out"
    )
    assert averaged("dihedral", fixed_input=True)
    with pytest.raises(InputError, match="'identity' is missing"):
        AveragedMember(ThresholdMember(), parse_views("mirrors", "x")[1:])


@pytest.fixture
def known_types(blobs, monkeypatch):
    monkeypatch.setitem(build.MEMBER_TYPES, "blob", ("blob_member", "BlobMember"))
    return blobs


SPEC = dict(type="blob", work_dir="w", missed=0.5)


def test_members_are_averaged_as_their_entry_says(known_types):
    member = build_averaged({**SPEC, "views": "mirrors", "name": "b"})
    assert isinstance(member, AveragedMember) and isinstance(member.member, known_types.BlobMember)
    assert [view.name for view in member.views] == ["identity", "mirror_x", "mirror_y", "turn_180"]
    assert member.name == "b" and member.class_names == member.member.class_names and member.proposes
    image = known_types.blob_image(0)[0]
    known_types.BlobMember.encoded = 0
    member.encode(image)
    assert known_types.BlobMember.encoded == 4


@pytest.mark.parametrize("views", [{}, {"views": "none"}, {"views": None}, {"views": ["identity"]}])
def test_without_views_a_member_stays_as_it_is(known_types, views):
    assert isinstance(build_averaged(SPEC | views), known_types.BlobMember)


def test_a_member_that_averages_its_maps_gets_the_views_itself(known_types, monkeypatch):
    monkeypatch.setattr(known_types.BlobMember, "averages_views", True, raising=False)
    seen = []
    build_averaged(SPEC | dict(views="mirrors"), lambda spec: seen.append(dict(spec)))
    assert seen == [SPEC | dict(views="mirrors")]


def test_other_builders_get_the_entry_without_views(known_types):
    seen = []

    def builder(spec):
        seen.append(dict(spec))
        return ThresholdMember()

    assert isinstance(build_averaged(SPEC | dict(views="turns"), builder), AveragedMember)
    assert seen == [SPEC]


def test_entries_that_cannot_be_averaged(known_types, monkeypatch):
    with pytest.raises(InputError, match="member 'b': views = 'mirror': expected none, mirrors, turns, dihedral"):
        build_averaged(SPEC | dict(views="mirror", name="b"))
    with pytest.raises(InputError, match="type 'cellpose' is none of"):
        build_averaged(dict(type="cellpose", work_dir="w", views="mirrors"))
    monkeypatch.setattr(known_types.BlobMember, "combine", lambda *_: None, raising=False)
    with pytest.raises(InputError, match="member 'blob': views: it reads other members' answers; give views to those"):
        build_averaged(SPEC | dict(views="mirrors"))
