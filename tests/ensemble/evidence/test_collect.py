"""Asking members: sources of boxes, the cache, and answers that cannot be used."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellseg.ensemble import Ensemble, EnsembleSettings, FusionOptions, Settings, enlarge_boxes, uniform_settings
from cellseg.ensemble.evidence.cache import EvidenceCache, hash_key
from cellseg.ensemble.evidence.collect import Answers, box_sources, collect_evidence
from cellseg.ensemble.evidence.image_type import vote_type
from cellseg.errors import InputError
from cellseg.structures import CropMasks

TYPES = ("round", "long")


def names(table, members):
    return [[member.name for member, used in zip(members, column, strict=True) if used] for column in table.T]


def test_sources_are_the_detectors_with_a_weight(members):
    active = torch.ones(3, 2, dtype=torch.bool)
    assert names(box_sources(active, members, FusionOptions()), members) == [["sharp", "shifted"]] * 2
    active[0, 1] = False
    assert names(box_sources(active, members, FusionOptions()), members) == [["sharp", "shifted"], ["shifted"]]
    chosen = FusionOptions(proposers=("sharp",))
    assert names(box_sources(active, members, chosen), members) == [["sharp"], ["shifted"]]
    assert names(box_sources(active, members, FusionOptions(weights={"sharp": 0.0})), members) == [["shifted"]] * 2


def test_nobody_proposes(members):
    active = torch.tensor([[True, False], [True, False], [True, True]])
    with pytest.raises(InputError, match=r"type long: none of its members \(dim\) proposes boxes"):
        box_sources(active, members, FusionOptions())


def test_members_without_weight_are_not_asked_and_give_no_boxes(blobs, members):
    image, _ = blobs.blob_image(0)
    weights = dict(sharp=1.0, shifted=0.0, dim=1.0)
    settings = EnsembleSettings(("sharp", "shifted", "dim"), TYPES, Settings(weights=weights))
    evidence = Ensemble(members, settings).collect(image)
    assert evidence.members == ("sharp", "dim") and blobs.BlobMember.encoded == 2
    assert evidence.confidence.shape == (2, len(evidence))
    alone = Ensemble([members[0], members[2]]).collect(image)
    assert torch.equal(evidence.boxes, alone.boxes) and torch.equal(evidence.scores, alone.scores)


def test_weights_by_type_decide_about_the_boxes_of_that_type(blobs, members):
    image, _ = blobs.blob_image(0)
    everybody = dict.fromkeys(("sharp", "shifted", "dim"), 1.0)
    settings = EnsembleSettings(
        tuple(everybody),
        TYPES,
        Settings(weights=everybody),
        {"long": Settings(weights=dict(sharp=1.0, shifted=0.0, dim=1.0))},
    )
    mixed = Ensemble(members, settings).collect(image)
    full = Ensemble(members).collect(image)
    sharp = Ensemble(members, settings.only(["sharp", "dim"])).collect(image)
    for label, other in ((0, full), (1, sharp)):
        mine, theirs = mixed.labels == label, other.labels == label
        assert torch.equal(mixed.boxes[mine], other.boxes[theirs]) and len(mixed.boxes[mine])
        assert torch.equal(mixed.scores[mine], other.scores[theirs])
    assert (mixed.scores[:-1] >= mixed.scores[1:]).all()


def test_one_type_per_image(blobs, members):
    image, _ = blobs.blob_image(0)
    mixed = Ensemble(members).collect(image)
    assert set(mixed.labels.tolist()) == {0, 1}
    single = Ensemble(members, fusion=FusionOptions(one_type=True, across_classes=True)).collect(image)
    found = [member.boxes(member.encode(image)) for member in members if member.proposes]
    assert set(single.labels.tolist()) == {vote_type([(scores, labels) for _, scores, labels in found], 2)}
    # A member that has no say in the vote of pixels has none here either.
    settings = uniform_settings(("sharp", "shifted", "dim"), TYPES).only(["sharp", "dim"])
    alone = Ensemble(members, settings, FusionOptions(one_type=True, across_classes=True)).collect(image)
    assert set(alone.labels.tolist()) == {vote_type([found[0][1:]], 2)}


def test_boxes_that_cannot_reach_the_threshold_are_left_out(blobs, members):
    image, _ = blobs.blob_image(0)
    low, high = (uniform_settings(("sharp", "shifted", "dim"), TYPES, score_threshold=t) for t in (0.0, 0.45))
    all_boxes, some = (Ensemble(members, settings).collect(image) for settings in (low, high))
    assert 0 < len(some) < len(all_boxes)
    # The result is that of all boxes.
    assert Ensemble(members, high).resolve(all_boxes).to_dict() == Ensemble(members, high).predict(image).to_dict()


def test_windows_have_the_margin(blobs, members):
    image, _ = blobs.blob_image(0)
    evidence = Ensemble(members, fusion=FusionOptions(margin=0.4)).collect(image)
    assert torch.equal(evidence.evidence[0].windows, enlarge_boxes(evidence.boxes, 0.4, (96, 128)))


def test_the_cache_spares_the_networks_and_changes_nothing(blobs, members, tmp_path):
    image, _ = blobs.blob_image(0)
    without = Ensemble(members).predict(image).to_dict()
    cache = EvidenceCache(tmp_path)
    first = Ensemble(members, cache=cache).predict(image).to_dict()
    blobs.BlobMember.encoded = 0
    second = Ensemble(members, cache=cache).predict(image).to_dict()
    assert blobs.BlobMember.encoded == 0
    assert without == first == second


def test_the_cache_asks_again_when_anything_changes(blobs, members, tmp_path):
    image, _ = blobs.blob_image(0)
    cache = EvidenceCache(tmp_path)
    Ensemble(members, cache=cache).predict(image)
    other_image = image.copy()
    other_image[0, 0] += 1
    changed = [blobs.BlobMember("sharp", missed=0.4, seed=5), *members[1:]]
    for ensemble, picture in (
        (Ensemble(members, cache=cache), other_image),
        (Ensemble(changed, cache=cache), image),
        (Ensemble(members, fusion=FusionOptions(margin=0.3), cache=cache), image),
        (Ensemble(members, fusion=FusionOptions(method="nms"), cache=cache), image),
    ):
        blobs.BlobMember.encoded = 0
        fresh = Ensemble(ensemble.members, fusion=ensemble.fusion).predict(picture).to_dict()
        asked = blobs.BlobMember.encoded
        assert ensemble.predict(picture).to_dict() == fresh
        assert blobs.BlobMember.encoded > asked


def test_damaged_cache_files_are_written_anew(blobs, members, tmp_path):
    image, _ = blobs.blob_image(0)
    cache = EvidenceCache(tmp_path)
    expected = Ensemble(members, cache=cache).predict(image).to_dict()
    files = sorted(tmp_path.rglob("*.npz"))
    assert len(files) == 5  # boxes of two, evidence of three
    for number, path in enumerate(files):
        content = path.read_bytes()
        path.write_bytes((b"", b"no archive", content[: len(content) // 2])[number % 3])
    assert Ensemble(members, cache=cache).predict(image).to_dict() == expected
    blobs.BlobMember.encoded = 0
    Ensemble(members, cache=cache).predict(image)
    assert blobs.BlobMember.encoded == 0


def test_a_damaged_file_never_raises_and_is_never_taken_for_another(tmp_path):
    cache = EvidenceCache(tmp_path)
    arrays = dict(values=np.arange(50, dtype=np.float32), boxes=np.ones((3, 4), np.float32))
    cache.store("tier", "a" * 64, arrays)
    (path,) = tmp_path.rglob("*.npz")
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        read = cache.load("tier", "a" * 64)
        # Bytes that mean nothing, such as the time of writing, may be anything.
        if read is not None and read.keys() == arrays.keys():
            assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
    with open(path, "wb") as file:
        np.save(file, arrays["values"])
    assert cache.load("tier", "a" * 64) is None


def test_keys_tell_arrays_apart():
    row = np.zeros((1, 4), np.float32)
    keys = {hash_key("a", part) for part in (row, row.T, row.astype(np.float64), row[:0], [0, 0, 0, 0])}
    assert len(keys) == 5
    assert hash_key({"x": 1, "y": 2}) == hash_key({"y": 2, "x": 1})


def test_evidence_is_rounded_to_sixteen_bits(blobs, members):
    image, _ = blobs.blob_image(0)
    boxes = torch.tensor([[10.0, 10.0, 40.0, 30.0]])
    windows = enlarge_boxes(boxes, 0.15, (96, 128))
    raw, _ = members[0].evidence(members[0].encode(image), boxes, torch.zeros(1, dtype=torch.int64), windows)
    kept, _ = Answers(members[0], image).evidence(boxes, torch.zeros(1, dtype=torch.int64), windows)
    assert (raw.values - kept.values).abs().max() <= 0.5 / 65535 + 1e-7
    levels = kept.values.double() * 65535
    assert (levels - levels.round()).abs().max() < 1e-2


class Broken:
    """A member that answers as it is told."""

    name, class_names, proposes = "broken", TYPES, True

    def __init__(self, boxes=None, scores=None, labels=None, values=None, confidence=None, moved=0):
        self.answer = (
            torch.tensor([[1.0, 1, 9, 9]]) if boxes is None else boxes,
            torch.tensor([0.9]) if scores is None else scores,
            torch.tensor([0]) if labels is None else labels,
        )
        self.values, self.confidence, self.moved = values, confidence, moved

    def encode(self, image):
        return None

    def boxes(self, state):
        return self.answer

    def evidence(self, state, boxes, labels, windows):
        count = int(((windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])).sum())
        values = torch.full((count,), 0.7 if self.values is None else self.values)
        confidence = torch.full((len(boxes),), 0.5) if self.confidence is None else self.confidence
        return CropMasks(windows + self.moved, values, (20, 20)), confidence

    def identity(self):
        return {}


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(boxes=torch.zeros(1, 3)), r"expected boxes \[N, 4\], scores \[N\] and labels \[N\], found"),
        (dict(scores=torch.ones(2)), r"expected boxes \[N, 4\], scores \[N\] and labels \[N\], found"),
        (dict(boxes=torch.tensor([[0.0, 0, float("nan"), 4]])), "member broken: gave boxes that are not finite"),
        (dict(scores=torch.tensor([float("nan")])), "member broken: scores: expected values in 0..1, found nan"),
        (dict(scores=torch.tensor([1.5])), "member broken: scores: expected values in 0..1, found 1.5"),
        (dict(labels=torch.tensor([2])), r"member broken: gave labels outside 0..1"),
        (dict(values=float("nan")), "member broken: evidence: expected values in 0..1, found nan"),
        (dict(values=-0.5), "member broken: evidence: expected values in 0..1, found -0.5"),
        (dict(confidence=torch.ones(2)), "member broken: expected a confidence for each of 1 boxes, found"),
        (dict(confidence=torch.tensor([float("inf")])), "member broken: confidence: expected values in 0..1"),
        (dict(moved=1), "member broken: its evidence is not in the windows that were asked for"),
    ],
)
def test_answers_that_cannot_be_used(options, message):
    with pytest.raises(InputError, match=message):
        Ensemble([Broken(**options)]).predict(np.zeros((20, 20, 3), np.uint8))


def test_rounding_outside_the_range_is_forgiven():
    instances = Ensemble([Broken(values=1.00001, scores=torch.tensor([1.00001]))]).predict(
        np.zeros((20, 20, 3), np.uint8)
    )
    assert instances.scores.tolist() == [1.0]


def test_boxes_are_clipped_and_those_outside_dropped():
    boxes = torch.tensor([[-5.0, -5, 10, 10], [30, 30, 40, 40], [5, 5, 5, 9]])
    member = Broken(boxes=boxes, scores=torch.full((3,), 0.9), labels=torch.zeros(3, dtype=torch.int64))
    evidence = Ensemble([member]).collect(np.zeros((20, 20, 3), np.uint8))
    assert evidence.boxes.tolist() == [[0, 0, 10, 10]]


def test_no_boxes_at_all(blobs):
    ensemble = Ensemble([blobs.BlobMember("one"), blobs.BlobMember("two")])
    instances = ensemble.predict(np.zeros((30, 40, 3), np.uint8))
    assert len(instances) == 0 and instances.image_size == (30, 40)


@pytest.mark.parametrize("image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((5, 5, 4), np.uint8)])
def test_other_images_are_refused(members, image):
    with pytest.raises(InputError, match=r"expected uint8 \[H, W, 3\]"):
        Ensemble(members).collect(image)


def test_members_that_do_not_fit_together(blobs, members):
    with pytest.raises(InputError, match="at least one member"):
        Ensemble([])
    with pytest.raises(InputError, match="the name sharp stands twice"):
        Ensemble([members[0], members[0]])
    other = blobs.BlobMember("other")
    other.class_names = ("long", "round")
    with pytest.raises(InputError, match=r"member other knows the types \['long', 'round'\], sharp knows"):
        Ensemble([members[0], other])
    with pytest.raises(InputError, match="the settings give a weight to missing, and no such member is there"):
        Ensemble([members[0]], uniform_settings(("sharp", "missing"), TYPES))
    with pytest.raises(InputError, match="settings are for the types"):
        Ensemble([members[0]], uniform_settings(("sharp",), ("x",)))
    with pytest.raises(InputError, match="none of its members"):
        Ensemble([members[2]])


@pytest.mark.parametrize("chosen", [["sharp"], ["shifted"], ["sharp", "dim"], ["shifted", "dim"], ["sharp", "shifted"]])
def test_any_subset_of_members_works(blobs, members, chosen):
    image, truth = blobs.blob_image(1)
    settings = uniform_settings(("sharp", "shifted", "dim"), TYPES).only(chosen)
    instances = Ensemble(members, settings).predict(image)
    assert 3 <= len(instances) <= len(truth) and not instances.masks.overlaps()


def test_collecting_for_a_tuner_leaves_nothing_out(blobs, members):
    image, _ = blobs.blob_image(0)
    answers = [Answers(member, image) for member in members]
    sources = torch.tensor([[True, True], [False, False], [False, False]])
    evidence = collect_evidence(answers, sources, FusionOptions(skip_score=0.0), (96, 128))
    assert len(evidence) == len(members[0].boxes(members[0].encode(image))[0])
    assert evidence.members == ("sharp", "shifted", "dim")
    assert replace(evidence, members=("x", "y", "z")).first(2).boxes.shape == (2, 4)
