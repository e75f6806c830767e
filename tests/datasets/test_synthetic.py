"""Synthetic phase-contrast images: shapes as real, exact outlines, equal seeds make equal files."""

import csv
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from cellseg.datasets.sartorius import read_sartorius
from cellseg.datasets.synthetic import COLUMNS, KINDS, generate_image, write_sartorius_like
from cellseg.errors import InputError

FULL = (520, 704)
# Mean number of cells in a frame and mean area in pixels of the real data.
REAL = {"shsy5y": (337, 225), "astro": (80, 906), "cort": (34, 240)}


@pytest.fixture(scope="module")
def frames():
    """Eight full frames of each kind."""
    return {kind: [generate_image(kind, FULL, seed) for seed in range(8)] for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_as_many_and_as_large_as_real_ones(frames, kind):
    count, area = REAL[kind]
    counts = [len(frame.masks) for frame in frames[kind]]
    areas = np.concatenate([frame.masks.areas().numpy() for frame in frames[kind]])
    assert 0.6 * count < np.mean(counts) < 1.5 * count
    assert 0.85 * area < areas.mean() < 1.15 * area
    assert areas.min() >= 40


@pytest.mark.parametrize("kind", KINDS)
def test_background_is_mid_grey_with_dark_and_bright_parts(frames, kind):
    for image, _, label in frames[kind]:
        assert label == kind
        assert image.dtype == np.uint8 and image.shape == FULL
        assert 115 < image.mean() < 145
        assert 5 < image.std() < 35
        assert np.percentile(image, 0.1) < 105 and np.percentile(image, 99.9) > 150


@pytest.mark.parametrize("kind", KINDS)
def test_halo_is_brighter_than_rim_at_the_very_edge_of_the_truth(frames, kind):
    """The outline is where the picture has it: just inside is darker than just outside, on average by far."""
    differences = []
    for image, masks, _ in frames[kind]:
        cells = masks.to_dense().any(0).numpy().astype(np.uint8)
        inside = cells - cv2.erode(cells, np.ones((3, 3), np.uint8))
        outside = cv2.dilate(cells, np.ones((5, 5), np.uint8)) - cv2.dilate(cells, np.ones((3, 3), np.uint8))
        differences.append(image[outside > 0].mean() - image[inside > 0].mean())
    assert min(differences) > 6


def test_middle_of_cort_cells_shines(frames):
    for image, masks, _ in frames["cort"]:
        middle = cv2.erode(masks.to_dense().any(0).numpy().astype(np.uint8), np.ones((3, 3), np.uint8), iterations=4)
        assert image[middle > 0].mean() > image.mean() + 60


def test_only_astro_truths_overlap(frames):
    assert all(frame.masks.overlaps() for frame in frames["astro"])
    assert not any(frame.masks.overlaps() for kind in ("shsy5y", "cort") for frame in frames[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_every_mask_is_one_piece_inside_the_frame(kind):
    frame = generate_image(kind, (200, 256), 5)
    dense = frame.masks.to_dense().numpy()
    assert dense.shape == (len(frame.masks), 200, 256) and len(dense) > 0
    whole = ~(dense[:, [0, -1]].any((1, 2)) | dense[:, :, [0, -1]].any((1, 2)))
    pieces = [cv2.connectedComponents(mask.astype(np.uint8))[0] - 1 for mask in dense[whole]]
    assert set(pieces) == {1}


def test_equal_seeds_give_equal_images_and_others_do_not():
    first, again, other = (generate_image("astro", (128, 160), seed) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert first.masks.to_rle() == again.masks.to_rle()
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("kind", KINDS)
def test_small_frames_always_have_a_cell(kind):
    assert all(len(generate_image(kind, (64, 64), seed).masks) for seed in range(25))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("neuron", FULL, 0), "unknown synthetic cell type 'neuron': expected one of shsy5y, astro, cort"),
        (("cort", (63, 200), 0), "a synthetic image needs at least 64 x 64 pixels, not 200 x 63"),
        (("cort", FULL, -1), "a seed is a whole number from 0, not -1"),
    ],
)
def test_generate_image_names_what_is_wrong(arguments, message):
    with pytest.raises(InputError) as caught:
        generate_image(*arguments)
    assert str(caught.value) == message


def test_files_have_the_columns_of_the_real_data_and_can_be_read(tmp_path):
    csv_path, images = write_sartorius_like(tmp_path, num_images=9, height=128, width=160, images_per_well=2)
    with open(csv_path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["id"] for row in rows} == {path.stem for path in images.iterdir()}
    assert all(row["id"].startswith(f"synthetic_{row['cell_type']}_") for row in rows)
    assert {(row["width"], row["height"]) for row in rows} == {("160", "128")}
    source = read_sartorius(csv_path, images)
    assert source.class_names == ("astro", "cort", "shsy5y")
    assert len(source.images) == 9
    groups = [image.group for image in source.images]
    assert sorted(groups.count(group) for group in set(groups)) == [1, 1, 1, 2, 2, 2]


def test_files_hold_the_outlines_that_were_drawn(tmp_path):
    csv_path, images = write_sartorius_like(tmp_path, 1, 96, 96, seed=2, kinds=("astro",))
    with open(csv_path, newline="") as file:
        written = [row["annotation"] for row in csv.DictReader(file)]
    runs = [np.array(text.split(), int).reshape(-1, 2) for text in written]
    picture = np.asarray(Image.open(images / "synthetic_astro_0000.png"))
    assert picture.shape == (96, 96) and picture.dtype == np.uint8
    assert all(start >= 1 and start + length - 1 <= 96 * 96 for pairs in runs for start, length in pairs)
    covered = np.zeros(96 * 96, bool)
    for start, length in np.concatenate(runs):
        covered[start - 1 : start - 1 + length] = True
    edge = cv2.dilate(covered.reshape(96, 96).astype(np.uint8), np.ones((5, 5), np.uint8)) - covered.reshape(96, 96)
    assert picture[edge > 0].mean() > picture[covered.reshape(96, 96)].mean() + 5


def test_same_seed_writes_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        write_sartorius_like(tmp_path / folder, num_images=6, height=96, width=96, seed=4)
    names = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(names) == 7
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_wells_differ_in_looks_more_than_images_of_one_well(tmp_path):
    """The noise of a well is its own: images of one well share it, so grouped folds matter."""
    _, images = write_sartorius_like(tmp_path, num_images=16, height=128, width=128, kinds=("cort",))
    pictures = [np.asarray(Image.open(path), float) for path in sorted(images.iterdir())]
    noise = np.array([np.median(np.abs(np.diff(picture, axis=1))) for picture in pictures]).reshape(4, 4)
    assert noise.mean(1).std() > 2 * noise.std(1).mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 0}, "expected at least one image and one image a well, got 0 and 4"),
        ({"images_per_well": 0}, "expected at least one image and one image a well, got 60 and 0"),
        (
            {"kinds": ("cort", "cort")},
            "expected different synthetic cell types among shsy5y, astro, cort, got ['cort', 'cort']",
        ),
        ({"kinds": ("glia",)}, "expected different synthetic cell types among shsy5y, astro, cort, got ['glia']"),
        ({"seed": -2}, "a seed is a whole number from 0, not -2"),
    ],
)
def test_write_names_what_is_wrong_and_writes_nothing(tmp_path, options, message):
    with pytest.raises(InputError) as caught:
        write_sartorius_like(tmp_path / "out", **options)
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_is_fast(kind):
    generate_image(kind, (256, 256), 0)
    started = time.process_time()
    for seed in range(1, 6):
        generate_image(kind, (256, 256), seed)
    assert (time.process_time() - started) / 5 < 0.6  # a generous bound for busy machines
