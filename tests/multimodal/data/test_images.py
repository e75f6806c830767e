"""Pictures: read once, resized, standardised, varied only as asked."""

import numpy as np
import pytest
import torch
from PIL import Image

from cellseg.errors import InputError
from cellseg.multimodal.data.images import ImageAugmentation, ImageReader, resize, standardise


def numbered(height=4, width=6):
    """A picture in which every pixel is another one."""
    return torch.arange(3 * height * width, dtype=torch.float32).reshape(3, height, width) + 1


def test_pictures_are_read_in_the_asked_size(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:, 0] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = ImageReader((4, 4)).read(tmp_path / "a.png", "here")
    assert picture.shape == (4, 4, 3) and picture.dtype == np.uint8
    assert picture[0].tolist() == [[0, 0, 0], [0, 0, 0], [200, 0, 0], [200, 0, 0]]


def test_grey_pictures_have_three_equal_channels(tmp_path):
    Image.fromarray(np.array([[0, 90]], np.uint8)).save(tmp_path / "a.png")
    assert ImageReader((1, 2)).read(tmp_path / "a.png", "here").tolist() == [[[0] * 3, [90] * 3]]


def test_a_picture_is_read_once_and_the_oldest_is_forgotten(tmp_path, monkeypatch):
    reader = ImageReader((2, 2))
    for name in "abc":
        Image.fromarray(np.full((2, 2, 3), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(reader, "_most", 2)
    first = reader.read(tmp_path / "a.png", "here")
    reader.read(tmp_path / "b.png", "here")
    assert reader.read(tmp_path / "a.png", "here") is first
    reader.read(tmp_path / "c.png", "here")
    for name in "abc":
        (tmp_path / f"{name}.png").unlink()
    assert reader.read(tmp_path / "a.png", "here") is first and reader.read(tmp_path / "c.png", "here")[0, 0, 0] == 99
    with pytest.raises(InputError):
        reader.read(tmp_path / "b.png", "here")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no picture", "cannot be read as an image"), (b"", "the file is empty"), (None, "no such image file")],
)
def test_pictures_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        ImageReader((4, 4)).read(path, "labels.csv, line 2")
    assert str(error.value).startswith(f"labels.csv, line 2: {path}: {message}")


def test_shrinking_averages_and_enlarging_interpolates():
    checks = np.indices((8, 8)).sum(axis=0)[..., None] % 2 * np.full(3, 200)
    assert np.abs(resize(checks.astype(np.uint8), (4, 4)).astype(int) - 100).max() <= 1
    step = np.zeros((1, 2, 3), np.uint8)
    step[0, 1] = 100
    assert resize(step, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]


def test_standardising_by_channel():
    values = torch.tensor([[1.0, 3.0], [10.0, 30.0]])
    assert standardise(values, (2, 20), (1, 10)).tolist() == [[-1, 1], [-1, 1]]
    assert standardise(values, (1, 3), (1, 1), axis=1).tolist() == [[0, 0], [9, 27]]


def test_nothing_varies_that_was_not_asked_for():
    picture = numbered()
    for _ in range(20):
        assert torch.equal(ImageAugmentation().apply(picture), picture)


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)])
def test_flips(name, axis):
    torch.manual_seed(0)
    picture, augmentation = numbered(), ImageAugmentation(**{name: True})
    found = [augmentation.apply(picture) for _ in range(40)]
    mirrored = [torch.equal(other, picture.flip(axis)) for other in found]
    assert all(flip or torch.equal(other, picture) for flip, other in zip(mirrored, found, strict=True))
    assert 10 < sum(mirrored) < 30


def test_shifts_move_everything_together_and_fill_with_the_mean():
    torch.manual_seed(0)
    picture, augmentation = numbered(10, 10), ImageAugmentation(shift=0.3)
    moves = set()
    for _ in range(100):
        shifted = augmentation.apply(picture)
        kept = shifted[0].nonzero()
        row, column = kept[0].tolist()
        origin = int(shifted[0, row, column]) - 1
        down, right = row - origin // 10, column - origin % 10
        expected = torch.zeros_like(picture)
        for y in range(10):
            for x in range(10):
                if 0 <= y + down < 10 and 0 <= x + right < 10:
                    expected[:, y + down, x + right] = picture[:, y, x]
        assert torch.equal(shifted, expected)
        moves.add((down, right))
    assert {down for down, _ in moves} == {right for _, right in moves} == set(range(-3, 4))


def test_brightness_and_contrast():
    torch.manual_seed(0)
    picture = numbered()
    brighter = [ImageAugmentation(brightness=0.5).apply(picture) - picture for _ in range(50)]
    assert all(torch.allclose(change, change[0, 0, 0].expand_as(change), atol=1e-5) for change in brighter)
    values = [float(change[0, 0, 0]) for change in brighter]
    assert -0.5 <= min(values) < -0.3 and 0.3 < max(values) <= 0.5
    factors = [float((ImageAugmentation(contrast=0.2).apply(picture) / picture).mean()) for _ in range(50)]
    assert 0.8 <= min(factors) < 0.87 and 1.13 < max(factors) <= 1.2


def test_torchs_seed_decides():
    augmentation = ImageAugmentation(True, True, 0.2, 0.3, 0.3)

    def once():
        torch.manual_seed(5)
        return augmentation.apply(numbered())

    assert torch.equal(once(), once())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flip": True}, "augmentation.flip: unknown; expected are horizontal_flip, vertical_flip, shift, "),
        ({"horizontal_flip": 1}, "augmentation.horizontal_flip: expected True or False, found 1"),
        ({"shift": 1.5}, "augmentation.shift: expected 0 to 1, found 1.5"),
        ({"shift": True}, "augmentation.shift: expected 0 to 1, found True"),
        ({"contrast": -0.1}, "augmentation.contrast: expected 0 to 1, found -0.1"),
        ({"brightness": "x"}, "augmentation.brightness: expected 0 to inf, found 'x'"),
    ],
)
def test_bad_augmentations(values, message):
    with pytest.raises(InputError) as error:
        ImageAugmentation.parse(values)
    assert str(error.value).startswith(message)


def test_no_augmentation_is_none():
    assert ImageAugmentation.parse(None) is None and ImageAugmentation.parse({}) == ImageAugmentation()
