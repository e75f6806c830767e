"""Training samples: boxes that lie on their cells under every augmentation, and an order that can be continued."""

import runpy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError
from cellseg.models.yolox.data import (
    CellImages,
    CellMosaic,
    SampleOrder,
    ValidationImages,
    change_light,
    magnify,
    seeded,
    turn_matrix,
    warp,
)
from cellseg.models.yolox.settings import YoloxSettings

write_disc_folder = runpy.run_path(str(Path(__file__).parent / "disc_folder.py"))["write_disc_folder"]
PLAIN = YoloxSettings(
    max_epoch=30,
    image_scale=1.0,
    input_size=(96, 96),
    batch_size=4,
    turn_prob=0.0,
    flip_prob=0.0,
    light_prob=0.0,
    max_labels=50,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return DataFolder(write_disc_folder(tmp_path_factory.mktemp("discs")))


@pytest.fixture
def images(folder):
    def make(**changes):
        return CellImages(folder, 0, "train", replace(PLAIN, **changes))

    return make


def boxes_of(labels):
    """Rows (label, centre, size) of a sample as corners, without the padding."""
    labels = labels[labels[:, 3] > 0]
    return np.column_stack([labels[:, 1:3] - labels[:, 3:] / 2, labels[:, 1:3] + labels[:, 3:] / 2]), labels[:, 0]


def bright_boxes(image, threshold=95):
    """Boxes of the connected bright parts of a sample's image, from its pixels alone."""
    bright = (image.mean(axis=0) > threshold).astype(np.uint8)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(bright)
    kept = statistics[1:]
    kept = kept[kept[:, cv2.CC_STAT_AREA] >= 12]
    return np.column_stack([kept[:, 0], kept[:, 1], kept[:, 0] + kept[:, 2], kept[:, 1] + kept[:, 3]])


def clean(images):
    """Paint the cells flat, so that their edges can be read off: 114 outside as around the images."""
    for index, record in enumerate(images.records):
        picture = np.full((record.height, record.width, 3), 80, dtype=np.uint8)
        picture[record.masks.to_dense().any(dim=0).numpy()] = 200
        images._cache[index] = picture
    return images


def unmatched(found, expected, tolerance):
    """Boxes of ``found`` that no box of ``expected`` equals within a tolerance in pixels."""
    if not len(found):
        return found
    if not len(expected):
        return found
    distance = np.abs(found[:, None] - expected[None]).max(axis=2).min(axis=1)
    return found[distance > tolerance]


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(flip_prob=1.0),
        dict(turn_prob=1.0),
        dict(image_scale=2.0, input_size=(192, 192)),
        dict(image_scale=2.0, input_size=(96, 128), turn_prob=1.0),
        dict(image_scale=1.37, input_size=(160, 160), flip_prob=1.0),
        dict(image_scale=0.75),
        dict(image_scale=None, input_size=(128, 160), turn_prob=1.0),
    ],
    ids=lambda changes: ",".join(changes) or "plain",
)
def test_single_images_carry_exact_boxes(images, changes):
    data = CellMosaic(clean(images(mosaic_prob=0.0, **changes)))
    seen = 0
    for number in range(28):
        image, labels, size, _ = data[(True, number % 7, number)]
        assert image.shape == (3, *data.settings.input_size) == (3, *size)
        boxes, _ = boxes_of(labels)
        whole = (boxes[:, :2] > 1).all(axis=1) & (boxes[:, 2:] < np.array(size)[::-1] - 1).all(axis=1)
        assert boxes.min(initial=0) >= 0 and (boxes <= np.array([*size[::-1]] * 2)).all()
        assert len(unmatched(boxes[whole], bright_boxes(image, threshold=157), 1.01)) == 0
        seen += int(whole.sum())
    assert seen > 30


def test_plain_view_is_the_image_itself(images, folder):
    data = CellMosaic(images(mosaic_prob=0.0))
    image, labels, _, index = data[(True, 2, 0)]
    record = folder.load_split(0, "train")[2]
    assert index == 2
    np.testing.assert_array_equal(image.transpose(1, 2, 0), data._dataset.load_image(2))
    boxes, classes = boxes_of(labels)
    np.testing.assert_array_equal(boxes, record.masks.boxes().numpy())
    np.testing.assert_array_equal(classes, record.labels.numpy())


@pytest.mark.parametrize(
    "changes",
    [
        dict(degrees=0.0, shear=0.0, translate=0.0, mosaic_scale=(1.0, 1.0)),
        dict(degrees=0.0, shear=0.0, translate=0.2, mosaic_scale=(0.6, 1.8)),
        dict(degrees=30.0, shear=5.0, turn_prob=1.0, flip_prob=0.5),
        dict(image_scale=2.0, input_size=(128, 128), degrees=15.0),
    ],
    ids=["places", "scales", "turns", "windows"],
)
def test_mosaic_boxes_lie_on_their_cells(images, changes):
    data = CellMosaic(clean(images(**changes)))
    errors = []
    for number in range(15):
        image, labels, size, _ = data[(True, number % 7, number)]
        boxes, _ = boxes_of(labels)
        found = bright_boxes(image, threshold=140)
        inside = (found[:, :2] > 1).all(axis=1) & (found[:, 2:] < np.array(size)[::-1] - 1).all(axis=1)
        for box in found[inside]:
            if len(boxes):
                errors.append((boxes - box)[np.abs(boxes - box).max(axis=1).argmin()])
    errors = np.array(errors)
    assert len(errors) > 40
    close = np.abs(errors).max(axis=1) < 1.5
    assert close.mean() > 0.85
    # No side is off on average: half a pixel would show here.
    assert np.abs(errors[close].mean(axis=0)).max() < 0.35


def test_no_box_is_dropped_at_120():
    # What the package does in mosaic, and why max_labels exists.
    from yolox.data import TrainTransform

    targets = np.zeros((700, 5))
    targets[:, :2] = np.stack(np.meshgrid(np.arange(35), np.arange(20)), -1).reshape(-1, 2) * 6
    targets[:, 2:4] = targets[:, :2] + 5
    image = np.zeros((128, 224, 3), dtype=np.uint8)
    kept = TrainTransform(YoloxSettings(max_epoch=30).max_labels, 0.0, 0.0)(image, targets, (128, 224))[1]
    assert (kept[:, 3] > 0).sum() == 700


def test_max_labels_reaches_the_mosaic(images):
    assert CellMosaic(images(max_labels=2345)).preproc.max_labels == 2345


def test_samples_depend_on_seed_and_number_alone(images):
    data = CellMosaic(images(turn_prob=1.0, flip_prob=0.5, light_prob=1.0, hsv_prob=0.5, enable_mixup=True))
    first = data[(True, 3, 77)]
    np.random.seed(99)
    data[(True, 1, 5)]
    again = data[(True, 3, 77)]
    other = data[(True, 3, 78)]
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_seeded_gives_the_generators_back():
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    with seeded(1, 2):
        inside = np.random.rand()
    assert np.random.rand() == expected != inside


def test_mixup_adds_the_second_images_cells(images):
    plain = CellMosaic(images(mosaic_prob=1.0))
    mixed = CellMosaic(images(mosaic_prob=1.0, enable_mixup=True))
    counts = [[(data[(True, 0, number)][1][:, 3] > 0).sum() for number in range(8)] for data in (plain, mixed)]
    assert sum(counts[1]) > sum(counts[0])


def test_order_shows_every_image_once_a_round():
    order = SampleOrder(10, replace(PLAIN, batch_size=4))
    assert len(order) == 3
    batches = iter(order)
    samples = [sample for _ in range(10) for sample in next(batches)]
    assert [number for _, _, number in samples] == list(range(40))
    for start in range(0, 40, 10):
        assert sorted(index for _, index, _ in samples[start : start + 10]) == list(range(10))
    assert [index for _, index, _ in samples[:10]] != [index for _, index, _ in samples[10:20]]


def test_order_continues_at_an_epoch():
    whole, rest = iter(SampleOrder(10, PLAIN)), iter(SampleOrder(10, PLAIN, start_epoch=2))
    for _ in range(6):
        next(whole)
    assert [next(rest) for _ in range(7)] == [next(whole) for _ in range(7)]


def test_epochs_of_a_chosen_length_still_show_every_image_once_a_round():
    order = SampleOrder(10, replace(PLAIN, epoch_iterations=7), start_epoch=1)
    assert len(order) == 7
    batches = iter(order)
    samples = [sample for _ in range(5) for sample in next(batches)]
    assert samples[0][2] == 28
    assert sorted(index for _, index, _ in samples[2:12]) == list(range(10))


def test_order_is_shared_by_processes():
    whole = next(iter(SampleOrder(10, PLAIN)))
    parts = [next(iter(SampleOrder(10, PLAIN, rank=rank, world_size=2))) for rank in range(2)]
    assert parts[0] + parts[1] == whole


def test_mosaic_ends_with_the_last_epochs():
    settings = replace(PLAIN, max_epoch=4, no_aug_epochs=2, warmup_epochs=1)
    batches = iter(SampleOrder(8, settings))
    assert [next(batches)[0][0] for _ in range(8)] == [True] * 4 + [False] * 4


@pytest.mark.parametrize("turns", range(4))
def test_turn_matrix_follows_rot90(turns):
    image = np.zeros((5, 9), np.uint8)
    image[1, 6] = 1
    turned = np.rot90(image, turns)
    x, y = turn_matrix(turns, 5, 9) @ (6.5, 1.5, 1)
    assert turned[int(y), int(x)] == 1
    assert (x % 1, y % 1) == (0.5, 0.5)


def test_warp_moves_pixel_centres():
    image = np.full((20, 20, 3), 114, np.uint8)
    image[4:8, 6:10] = 255
    matrix = np.array([[2.0, 0, 3], [0, 2.0, -1]])
    warped = warp(image, matrix, (40, 40)).mean(axis=2) - 114
    y, x = np.mgrid[:40, :40] + 0.5
    centre = np.array([(x * warped).sum(), (y * warped).sum()]) / warped.sum()
    np.testing.assert_allclose(centre, matrix @ (8, 6, 1), atol=0.05)


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.77, 1.6, 3.0])
def test_magnify_tells_its_exact_factors(factor):
    image = np.zeros((51, 87, 3), np.uint8)
    magnified, (along_x, along_y) = magnify(image, factor)
    assert magnified.shape[:2] == (round(51 * factor), round(87 * factor))
    assert (87 * along_x, 51 * along_y) == pytest.approx(magnified.shape[1::-1])


def test_light_keeps_grey_grey_and_stays_in_range():
    image = np.random.default_rng(0).integers(0, 256, (30, 30, 1), dtype=np.uint8).repeat(3, axis=2)
    with seeded(0, 0):
        changed = change_light(image)
    assert changed.dtype == np.uint8 and not np.array_equal(changed, image)
    np.testing.assert_array_equal(changed[..., 0], changed[..., 2])


def test_colours_are_blue_first(folder, tmp_path):
    from PIL import Image

    path = folder.image_path("image_00.png")
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[..., 0] = 200
    copy = write_disc_folder(tmp_path / "coloured")
    Image.fromarray(picture).save(copy / "images" / path.name)
    stored = CellImages(DataFolder(copy), 0, "train", PLAIN).load_image(0)
    assert stored[0, 0].tolist() == [0, 0, 200]


def test_image_of_another_size_is_named(tmp_path):
    from PIL import Image

    copy = write_disc_folder(tmp_path / "resized")
    Image.new("L", (90, 96)).save(copy / "images" / "image_03.png")
    images = CellImages(DataFolder(copy), 0, "train", PLAIN)
    with pytest.raises(InputError, match=r"image_03\.png: 90 x 96 pixels, annotated as 96 x 96"):
        images.load_image(3)


def test_split_without_cells_is_refused(tmp_path):
    copy = write_disc_folder(tmp_path / "empty", train=1)
    with pytest.raises(InputError, match="split 'train' of fold 0 has no cells"):
        CellImages(DataFolder(copy), 0, "train", PLAIN)


def test_large_sets_are_read_again_each_time(images, monkeypatch):
    monkeypatch.setattr("cellseg.models.yolox.data.CACHE_BYTES", 10)
    uncached = images()
    assert uncached._cache is None
    np.testing.assert_array_equal(uncached.load_image(1), images().load_image(1))


def test_validation_images_are_whole_and_shared(images):
    parts = [ValidationImages(images(), rank, 3) for rank in range(3)]
    assert sorted(index for part in parts for _, index in (part[i] for i in range(len(part)))) == list(range(8))
    assert parts[0][0][0].shape == (96, 96, 3)


def test_targets_fill_the_loader(images):
    from torch.utils.data import DataLoader

    data = CellMosaic(images())
    batch, targets, _, _ = next(iter(DataLoader(data, batch_sampler=SampleOrder(8, PLAIN))))
    assert batch.shape == (4, 3, 96, 96) and batch.dtype == torch.float32 and batch.max() > 100
    assert targets.shape == (4, 50, 5) and targets.dtype == torch.float32
