import numpy as np
import pytest

from cellseg.datasets.statistics import count_sizes, describe_classes, mean_and_std, pixel_sums


def test_mean_and_std_are_those_of_all_pixels_together():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (30, 40, 3), dtype=np.uint8), rng.integers(90, 120, (17, 5, 3), dtype=np.uint8)]
    mean, std = mean_and_std(pixel_sums(image) for image in images)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]).astype(float)
    assert mean == pytest.approx(pixels.mean(0), abs=1e-4)
    assert std == pytest.approx(pixels.std(0), abs=1e-4)


def test_grey_images_count_for_each_colour_and_flat_ones_do_not_divide_by_zero():
    mean, std = mean_and_std([pixel_sums(np.full((4, 4), 100, np.uint8))])
    assert mean == [100.0] * 3
    assert std == [1.0] * 3


def test_classes():
    labels = [np.array([0, 0, 1]), np.array([0]), np.zeros(0, np.int64)]
    areas = [np.array([10, 20, 5]), np.array([60]), np.zeros(0, np.int64)]
    described = describe_classes(("a", "b", "c"), labels, areas)
    assert described["a"] == {
        "images": 2,
        "instances": 3,
        "per_image_mean": 1.5,
        "per_image_max": 2,
        "area_mean": 30.0,
        "area_median": 20.0,
    }
    assert (described["b"]["images"], described["b"]["instances"]) == (1, 1)
    assert described["c"]["instances"] == 0


def test_sizes_are_listed_with_the_commonest_first():
    assert count_sizes([(1, 2), (3, 4), (3, 4)]) == [
        {"height": 3, "width": 4, "images": 2},
        {"height": 1, "width": 2, "images": 1},
    ]
