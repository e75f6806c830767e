"""``Instances``: its checks, indexing and JSON form."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg.errors import InputError
from cellseg.structures import CropMasks, Instances

NAMES = ("shsy5y", "astro", "cort")


def make(count=3, seed=0, size=(12, 15)):
    generator = torch.Generator().manual_seed(seed)
    masks = CropMasks.from_dense(torch.rand(count, *size, generator=generator) < 0.2)
    return Instances(
        boxes=masks.boxes() + 0.125,
        scores=torch.rand(count, generator=generator),
        labels=torch.randint(0, 3, (count,), generator=generator),
        masks=masks,
        image_size=size,
        class_names=NAMES,
    )


def unsure(instances):
    """The same with an uncertainty."""
    return replace(instances, uncertainty=torch.rand(len(instances), generator=torch.Generator().manual_seed(1)))


def assert_same(a, b):
    assert a.image_size == b.image_size and a.class_names == b.class_names
    for name in ("boxes", "scores", "labels"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert getattr(a, name).dtype == getattr(b, name).dtype
    assert torch.equal(a.masks.to_dense(), b.masks.to_dense())
    assert (a.uncertainty is None) == (b.uncertainty is None)
    if a.uncertainty is not None:
        assert torch.equal(a.uncertainty, b.uncertainty) and b.uncertainty.dtype == torch.float32


@given(st.integers(0, 6), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_json_and_back_keeps_every_number_and_pixel(count, seed):
    instances = make(count, seed)
    for one in (instances, unsure(instances)):
        assert_same(Instances.from_dict(json.loads(json.dumps(one.to_dict()))), one)
    assert "uncertainty" not in instances.to_dict()


def test_indexing_takes_every_part_along():
    instances = unsure(make(4))
    order = instances.scores.argsort(descending=True)
    cases = [
        (order, order.tolist()),
        (slice(1, 3), [1, 2]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        ([2, 2], [2, 2]),
        ([], []),
        (-1, [3]),
    ]
    for index, chosen in cases:
        part = instances[index]
        assert len(part) == len(chosen)
        for place, original in enumerate(chosen):
            assert torch.equal(part.boxes[place], instances.boxes[original])
            assert part.scores[place] == instances.scores[original]
            assert part.labels[place] == instances.labels[original]
            assert part.uncertainty[place] == instances.uncertainty[original]
            assert torch.equal(part.masks.crop(place), instances.masks.crop(original))


def test_devices(device):
    instances = make().to(device)
    assert instances.boxes.device == instances.masks.device == instances[0].labels.device == device
    assert_same(instances.to("cpu"), make())
    assert unsure(make()).to(device).uncertainty.device == device
    assert Instances.empty((3, 4), NAMES, device=device).scores.device == device


def test_no_instances():
    empty = Instances.empty((3, 4), list(NAMES))
    assert len(empty) == 0 and empty.boxes.shape == (0, 4) and empty.class_names == NAMES
    assert len(Instances.from_dict(empty.to_dict())) == 0
    assert Instances.from_dict(unsure(empty).to_dict()).uncertainty.shape == (0,)
    assert make()[1].uncertainty is None


def test_number_types_are_converted():
    masks = CropMasks.from_dense(torch.ones(1, 2, 2, dtype=torch.bool))
    instances = Instances(torch.tensor([[0, 0, 2, 2]]), [1], torch.tensor([0], dtype=torch.int32), masks, [2, 2], ["a"])
    assert instances.boxes.dtype == instances.scores.dtype == torch.float32
    assert instances.labels.dtype == torch.int64 and instances.image_size == (2, 2)


BAD_PARTS = [
    ("boxes", torch.zeros(2, 4), "boxes: expected shape [3, 4] as there are 3 masks, got [2, 4]"),
    ("boxes", torch.tensor([[0, 0, 1, 1], [0, 0, 1, float("nan")], [0, 0, 1, 1]]),
     "boxes: row 1 is [0.0, 0.0, 1.0, nan]: expected finite numbers"),
    ("boxes", torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [3, 0, 1, 1]]),
     "boxes: row 2 is [3.0, 0.0, 1.0, 1.0]: expected x0 <= x1 and y0 <= y1"),
    ("scores", torch.zeros(3, 1), "scores: expected shape [3] as there are 3 masks, got [3, 1]"),
    ("scores", torch.tensor([0.5, float("inf"), 0.5]), "scores: row 1 is inf: expected finite numbers"),
    ("labels", torch.zeros(4).long(), "labels: expected shape [3] as there are 3 masks, got [4]"),
    ("labels", torch.tensor([0, 3, 1]), "labels: row 1 is 3: expected a place in ['shsy5y', 'astro', 'cort']"),
    ("labels", torch.tensor([0, 1, -1]), "labels: row 2 is -1: expected a place in ['shsy5y', 'astro', 'cort']"),
    ("labels", torch.tensor([0.0, 1.0, 1.0]), "labels: expected whole numbers, got torch.float32"),
    ("uncertainty", torch.zeros(2), "uncertainty: expected shape [3] as there are 3 masks, got [2]"),
    ("uncertainty", torch.tensor([0, float("nan"), 0]), "uncertainty: row 1 is nan: expected finite numbers"),
    ("uncertainty", torch.tensor([0, 1, 1.5]), "uncertainty: row 2 is 1.5: expected 0 to 1"),
    ("uncertainty", torch.tensor([-0.5, 1, 0]), "uncertainty: row 0 is -0.5: expected 0 to 1"),
    ("image_size", (15, 12), "masks: expected image size (15, 12), got (12, 15)"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "value", "message"), BAD_PARTS)
def test_wrong_parts_are_refused(part, value, message):
    parts = vars(make()) | {part: value}
    with pytest.raises(InputError) as caught:
        Instances(**parts)
    assert str(caught.value) == message


ALL = "['boxes', 'class_names', 'image_size', 'labels', 'masks', 'scores']"
BAD_JSON = [
    ({"scores": None}, "scores: expected a list of numbers, got None"),
    ({"scores": ["a", 0, 0]}, "scores: expected a list of numbers, got ['a', 0, 0]"),
    ({"scores": [0.5, 0.5]}, "scores: expected shape [3] as there are 3 masks, got [2]"),
    ({"scores": [0.5, 0.5, 1e300]}, "scores: row 2 is inf: expected finite numbers"),
    ({"uncertainty": "low"}, "uncertainty: expected a list of numbers, got 'low'"),
    ({"uncertainty": [0.5]}, "uncertainty: expected shape [3] as there are 3 masks, got [1]"),
    ({"boxes": [[0, 0, 1, 1], [0, 0, 1]]}, "boxes: expected a list of numbers, got [[0, 0, 1, 1], [0, 0, 1]]"),
    ({"labels": [0, 1.5, 1]}, "labels: expected whole numbers, got torch.float32"),
    ({"labels": [0, 1, 10**30]}, f"labels: expected a list of numbers, got [0, 1, {10**30}]"),
    ({"class_names": "cort"}, "class_names: expected a list of texts, got 'cort'"),
    ({"masks": "1 2"}, "masks: expected a list of texts, got '1 2'"),
    ({"masks": ["", "1 2 3", ""]},
     "masks: instance 1: RLE pair 2: start '3' has no length (3 numbers, an odd count)"),
    ({"image_size": [12]}, "image size: expected (height, width) as whole numbers, got [12]"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD_JSON)
def test_wrong_json_is_refused(change, message):
    with pytest.raises(InputError) as caught:
        Instances.from_dict(make().to_dict() | change)
    assert str(caught.value) == message


def test_missing_and_unknown_keys_are_named():
    values = make().to_dict()
    values["mask"] = values.pop("masks")
    with pytest.raises(InputError) as caught:
        Instances.from_dict(values)
    assert str(caught.value) == (
        f"instances: expected the keys {ALL}, got ['boxes', 'class_names', 'image_size', 'labels', 'mask', 'scores']"
    )
    with pytest.raises(InputError, match=r"expected the keys .*, got \[1, 2\]"):
        Instances.from_dict([1, 2])


def test_probabilities_have_no_json_form():
    masks = CropMasks(torch.tensor([[0, 0, 1, 1]]), torch.tensor([0.5]), (2, 2))
    instances = Instances(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1).long(), masks, (2, 2), NAMES)
    with pytest.raises(InputError) as caught:
        instances.to_dict()
    assert str(caught.value) == "expected bool masks, which threshold() makes, got torch.float32 values"
