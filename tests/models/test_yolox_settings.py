"""What ``exp=dict(...)`` may say."""

import pytest

from cellseg.errors import InputError
from cellseg.models.yolox.settings import read_settings, round_size

GOOD = dict(max_epoch=30)


def test_defaults_are_valid_and_lists_become_tuples():
    settings = read_settings({**GOOD, "input_size": [128, 160], "image_scale": 2, "strides": [4, 8, 16]})
    assert settings.input_size == (128, 160)
    assert settings.image_scale == 2.0 and isinstance(settings.image_scale, float)
    assert settings.strides == (4, 8, 16)
    assert settings.max_labels >= 2000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_epochs": 3}, "exp: unknown setting 'max_epochs'; the nearest known one is 'max_epoch'"),
        ({**GOOD, "mosaic_probs": 1}, "exp: unknown setting 'mosaic_probs'; the nearest known one is 'mosaic_prob'"),
        ({**GOOD, "num_classes": 3}, "exp: unknown setting 'num_classes'; the nearest known one is "),
        ({}, "exp: 'max_epoch' is missing"),
        ({"max_epoch": 0}, "exp: max_epoch = 0: expected at least 1"),
        ({"max_epoch": 2.5}, "exp: max_epoch = 2.5: expected an integer"),
        ({**GOOD, "epoch_iterations": 0}, "exp: epoch_iterations = 0: expected at least 1"),
        ({**GOOD, "epoch_iterations": "all"}, "exp: epoch_iterations = 'all': expected a number or None"),
        ({"max_epoch": True}, "exp: max_epoch = True: expected an integer"),
        ({**GOOD, "width": "wide"}, "exp: width = 'wide': expected a number"),
        ({**GOOD, "width": 0}, "exp: width = 0.0: expected more than 0"),
        ({**GOOD, "width": float("nan")}, "exp: width = nan: expected more than 0"),
        ({**GOOD, "ema": 1}, "exp: ema = 1: expected True or False"),
        ({**GOOD, "act": "gelu"}, "exp: act = 'gelu': expected one of ['silu', 'relu', 'lrelu']"),
        ({**GOOD, "strides": (2, 4, 8)}, "exp: strides = (2, 4, 8): expected one of [(4, 8, 16), (8, 16, 32)]"),
        ({**GOOD, "input_size": 256}, "exp: input_size = 256: expected a tuple of numbers"),
        ({**GOOD, "input_size": (250, 256)}, "exp: input_size = (250, 256): expected (height, width), each a multiple"),
        ({**GOOD, "input_size": (256,)}, "exp: input_size = (256,): expected (height, width), each a multiple of 32"),
        ({**GOOD, "flip_prob": 1.5}, "exp: flip_prob = 1.5: expected 0 to 1"),
        ({**GOOD, "least_visible": float("nan")}, "exp: least_visible = nan: expected 0 to 1"),
        ({**GOOD, "mosaic_scale": (1.5, 0.5)}, "exp: mosaic_scale = (1.5, 0.5): expected (least, largest), both above"),
        ({**GOOD, "test_size": (64, 64)}, "exp: test_size does nothing beside image_scale; set image_scale=None"),
        ({**GOOD, "start_size": (64, 64)}, "exp: start_size does nothing without grow_epochs"),
        (
            {**GOOD, "grow_epochs": 3, "input_size": (64, 64), "start_size": (96, 32)},
            "exp: start_size = (96, 32) is larger than input_size (64, 64)",
        ),
        (
            {"max_epoch": 20},
            "exp: warmup_epochs + no_aug_epochs = 20 leave no epoch of max_epoch = 20 for the training",
        ),
        ({**GOOD, "grow_epochs": 31}, "exp: grow_epochs = 31 exceeds max_epoch = 30"),
        ({**GOOD, "input_size": (96, 96), "multiscale_range": 3}, "exp: multiscale_range = 3 would shrink the input"),
    ],
)
def test_bad_settings_are_refused_by_name(values, message):
    with pytest.raises(InputError) as error:
        read_settings(values)
    assert str(error.value).startswith(message)


def test_magnification_is_fixed_or_fits_the_image():
    fixed = read_settings({**GOOD, "image_scale": 1.5})
    assert fixed.magnification(100, 300, training=True) == fixed.magnification(900, 10, training=False) == 1.5
    fitted = read_settings({**GOOD, "image_scale": None, "input_size": (64, 96), "test_size": (128, 128)})
    assert fitted.magnification(32, 96, training=True) == 1.0
    assert fitted.magnification(32, 96, training=False) == pytest.approx(128 / 96)


def test_first_size():
    assert read_settings(GOOD).first_size == (640, 640)
    assert read_settings({**GOOD, "grow_epochs": 2, "input_size": (224, 128)}).first_size == (round_size(112), 64)
    chosen = read_settings({**GOOD, "grow_epochs": 2, "start_size": (320, 64)})
    assert chosen.first_size == (320, 64)
