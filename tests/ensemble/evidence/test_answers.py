"""One member's answers: features, and what the cache may hold and may not."""

import numpy as np
import pytest
import torch

from cellseg.ensemble import enlarge_boxes
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.cache import EvidenceCache, image_key
from cellseg.errors import InputError

BOXES = torch.tensor([[10.0, 10.0, 40.0, 30.0], [50.5, 20.0, 61.0, 33.0]])
LABELS = torch.tensor([0, 1])
WINDOWS = enlarge_boxes(BOXES, 0.15, (96, 128))


@pytest.fixture
def member(combining):
    return combining.FeatureBlob("sharp")


@pytest.fixture
def image(blobs):
    return blobs.blob_image(0)[0]


def ask(member, image, folder=None):
    """All that a member says, as one list of tensors."""
    answers = Answers(member, image, EvidenceCache(folder) if folder else None)
    masks, confidence = answers.evidence(BOXES, LABELS, WINDOWS)
    return [*answers.boxes(), masks.values, confidence, answers.features(WINDOWS)]


def same(one, other):
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def test_features_are_read_in_the_windows(member, image):
    features = Answers(member, image).features(WINDOWS)
    assert features.shape == (2, 2, 7, 7) and features.dtype == torch.float32
    for window, found in zip(WINDOWS.tolist(), features, strict=True):
        x0, y0, x1, y1 = window
        assert float(found[0].mean()) == pytest.approx(image[y0:y1, x0:x1].mean(), abs=4)
        assert torch.equal(found[1], -found[0])


def test_cached_answers_are_those_of_the_network(member, image, tmp_path, blobs):
    fresh = ask(member, image)
    assert same(ask(member, image, tmp_path), fresh)
    blobs.BlobMember.encoded = member.pooled = 0
    assert same(ask(member, image, tmp_path), fresh)
    assert blobs.BlobMember.encoded == member.pooled == 0
    assert {path.parent.parent.name for path in tmp_path.rglob("*.npz")} == {"boxes", "evidence", "features"}


def test_features_take_two_bytes_and_stay_finite(member, image, tmp_path):
    member.spoil = lambda values: values * 1e9
    found = Answers(member, image, EvidenceCache(tmp_path)).features(WINDOWS)
    assert found.abs().max() == 65504
    (path,) = tmp_path.rglob("features/*/*.npz")
    assert np.load(path)["features"].dtype == np.float16
    member.spoil = lambda values: values / 3
    assert torch.equal(
        Answers(member, image).features(WINDOWS), Answers(member, image).features(WINDOWS).half().float()
    )


def test_other_windows_have_other_features(member, image, tmp_path):
    answers = Answers(member, image, EvidenceCache(tmp_path))
    one, other = answers.features(WINDOWS), answers.features(WINDOWS + 1)
    assert not torch.equal(one, other) and torch.equal(answers.features(WINDOWS), one)
    assert answers.features(WINDOWS[:0]).shape == (0, 2, 7, 7)


def test_a_member_without_features(blobs, image):
    assert Answers(blobs.BlobMember(), image).features(WINDOWS).shape == (2, 0, 7, 7)
    assert blobs.BlobMember.encoded == 0


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda values: values[:1], r"member sharp: expected features \[2, 2, 7, 7\], found \[1, 2, 7, 7\]"),
        (lambda values: values[:, :, :5], r"member sharp: expected features \[2, 2, 7, 7\], found \[2, 2, 5, 7\]"),
        (lambda values: values * float("nan"), "member sharp: gave features that are not finite; check its checkpoint"),
        (lambda values: values / 0, "member sharp: gave features that are not finite; check its checkpoint"),
    ],
)
def test_features_that_cannot_be_used(member, image, spoil, message, tmp_path):
    member.spoil = spoil
    with pytest.raises(InputError, match=message):
        Answers(member, image, EvidenceCache(tmp_path)).features(WINDOWS)
    assert not list(tmp_path.rglob("*.npz"))


def first(arrays):
    return next(iter(arrays))


def nan_at_first(values):
    values = values.copy()
    values.reshape(-1)[0] = np.nan
    return values


DAMAGE = {
    "another shape": lambda arrays: {**arrays, first(arrays): arrays[first(arrays)][:-1]},
    "another type": lambda arrays: {name: values.astype(np.float64) for name, values in arrays.items()},
    "NaN": lambda arrays: {
        name: nan_at_first(values) if values.dtype.kind == "f" else values for name, values in arrays.items()
    },
    "out of range": lambda arrays: {
        name: values + 7 if name in ("scores", "labels", "confidence") else values for name, values in arrays.items()
    },
    "an array more": lambda arrays: {**arrays, "more": np.zeros(3)},
    "an array less": lambda arrays: dict(list(arrays.items())[1:]),
    "objects": lambda arrays: {name: values.astype(str) for name, values in arrays.items()},
}


CASES = [(tier, kind) for tier in ("boxes", "evidence", "features") for kind in DAMAGE]
CASES.remove(("features", "out of range"))  # they have no range


@pytest.mark.parametrize("tier, kind", CASES)
def test_what_the_cache_holds_is_checked(member, image, tmp_path, tier, kind):
    expected = ask(member, image, tmp_path)
    (path,) = tmp_path.rglob(f"{tier}/*/*.npz")
    good = {name: values for name, values in np.load(path).items()}
    damaged = DAMAGE[kind](good)
    np.savez(path, **damaged)
    assert same(ask(member, image, tmp_path), expected)
    repaired = np.load(path)
    assert set(repaired.files) == set(good) and all(np.array_equal(repaired[name], good[name]) for name in good)


def test_values_that_are_not_finite_are_never_stored(member, image, tmp_path, monkeypatch):
    answers = Answers(member, image, EvidenceCache(tmp_path))
    monkeypatch.setattr(member, "boxes", lambda state: (BOXES / 0, torch.ones(2), LABELS))
    with pytest.raises(InputError, match="member sharp: gave boxes that are not finite"):
        answers.boxes()
    monkeypatch.setattr(member, "evidence", lambda *question: (blank(float("nan")), torch.ones(2)))
    with pytest.raises(InputError, match="member sharp: evidence: expected values in 0..1, found nan"):
        answers.evidence(BOXES, LABELS, WINDOWS)
    assert not list(tmp_path.rglob("*.npz"))


def blank(value):
    from cellseg.structures import CropMasks

    pixels = int((WINDOWS[:, 2:] - WINDOWS[:, :2]).prod(dim=1).sum())
    return CropMasks(WINDOWS, torch.full((pixels,), value), (96, 128))


def test_the_key_of_an_image_is_that_of_its_content(image):
    assert image_key(image) == image_key(np.asfortranarray(image)) and len(image_key(image)) == 64
    other = image.copy()
    other[3, 4, 1] ^= 1
    assert len({image_key(part) for part in (image, other, image[:, :-1], image.astype(np.int16))}) == 4


def test_only_combiners_combine(member, image):
    with pytest.raises(InputError, match="member sharp: is no combiner"):
        Answers(member, image).combined(BOXES, LABELS, WINDOWS, {}, {})
