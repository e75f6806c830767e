"""What ``exp=dict(...)`` of a YOLOX config may say, checked by name, type and range."""

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from cellseg.errors import InputError

SIZE_STEP = 32  # every input side is a multiple of it: the coarsest stride of the standard network


@dataclass(frozen=True)
class YoloxSettings:
    """Settings of network, images, augmentation, schedule and test.

    Names and meanings are those of the package's Exp wherever it has them; defaults differ where cells differ from
    street scenes. Sizes are (height, width) in pixels.

    Attributes:
        depth, width: factors of the number of layers and channels.
        act: activation: ``silu``, ``relu`` or ``lrelu``.
        depthwise: depthwise convolutions (the package's nano networks).
        strides: pixels between the cells of the three prediction grids, (8, 16, 32) or, for small cells, (4, 8, 16).
        image_scale: magnification of every image before the network, in training as in use; None fits images into
            ``input_size`` (training) and ``test_size`` instead, whatever magnification that takes.
        input_size: training window after magnification; larger images are cropped to it.
        test_size: only with ``image_scale=None``; default ``input_size``.
        max_labels: boxes kept of one training sample.
        mosaic_prob, mosaic_scale, degrees, translate, shear: four images in one sample, then a random affine map.
        enable_mixup, mixup_prob, mixup_scale: blend a second image into a mosaic.
        flip_prob: mirror left to right.
        turn_prob: turn by a random multiple of 90 degrees.
        light_prob: random contrast and brightness.
        hsv_prob: the package's colour jitter, for coloured images.
        least_visible: smallest visible part of a cell's area for which its box is kept.
        max_epoch, batch_size: length of the training; images of a step over all devices.
        epoch_iterations: steps of an epoch; None makes an epoch show every image once.
        warmup_epochs, warmup_lr, basic_lr_per_img, min_lr_ratio, scheduler: learning rate; it is
            ``basic_lr_per_img * batch_size`` after the warm-up.
        optimizer: ``sgd`` (the package's) or ``adamw`` (learns faster where there are few steps).
        weight_decay, momentum: of the optimizer; AdamW takes ``momentum`` as its first beta.
        norm_momentum: of the running statistics of batch normalisation; short trainings need a larger one.
        no_aug_epochs: epochs at the end without mosaic and with the additional L1 loss.
        grow_epochs, start_size: in the first epochs the input grows from ``start_size`` to ``input_size``; None
            starts at half of it.
        multiscale_range: after growing, the input varies by up to so many times 32 pixels.
        ema: evaluate and keep the moving average of the weights.
        data_num_workers, seed: loader processes; seed of weights and samples.
        eval_interval: epochs between two validations; the last epoch is always validated.
        print_interval: iterations between two lines of the log.
        save_history_ckpt: keep a checkpoint of each validated epoch, not only the latest.
        test_conf, nmsthre: score floor and IoU threshold of the suppression in validation.
    """

    max_epoch: int
    depth: float = 0.33
    width: float = 0.50
    act: str = "silu"
    depthwise: bool = False
    strides: tuple[int, ...] = (8, 16, 32)

    image_scale: float | None = 1.0
    input_size: tuple[int, int] = (640, 640)
    test_size: tuple[int, int] | None = None
    max_labels: int = 2000

    mosaic_prob: float = 1.0
    mosaic_scale: tuple[float, float] = (0.5, 1.5)
    degrees: float = 10.0
    translate: float = 0.1
    shear: float = 2.0
    enable_mixup: bool = False
    mixup_prob: float = 1.0
    mixup_scale: tuple[float, float] = (0.5, 1.5)
    flip_prob: float = 0.5
    turn_prob: float = 1.0
    light_prob: float = 1.0
    hsv_prob: float = 0.0
    least_visible: float = 0.2

    batch_size: int = 8
    epoch_iterations: int | None = None
    warmup_epochs: int = 5
    warmup_lr: float = 0.0
    basic_lr_per_img: float = 0.01 / 64
    min_lr_ratio: float = 0.05
    scheduler: str = "yoloxwarmcos"
    optimizer: str = "sgd"
    weight_decay: float = 5e-4
    momentum: float = 0.9
    norm_momentum: float = 0.03
    no_aug_epochs: int = 15
    grow_epochs: int = 0
    start_size: tuple[int, int] | None = None
    multiscale_range: int = 0
    ema: bool = True

    data_num_workers: int = 0
    seed: int = 0
    eval_interval: int = 10
    print_interval: int = 10
    save_history_ckpt: bool = False
    test_conf: float = 0.01
    nmsthre: float = 0.65

    def __post_init__(self) -> None:
        _check(self)

    @property
    def mosaic_epochs(self) -> int:
        """Epochs before mosaic is switched off."""
        return self.max_epoch - self.no_aug_epochs

    @property
    def first_size(self) -> tuple[int, int]:
        """Input size of the first iteration."""
        if not self.grow_epochs:
            return self.input_size
        return self.start_size or tuple(round_size(side / 2) for side in self.input_size)

    def magnification(self, height: int, width: int, training: bool) -> float:
        """Factor by which an image is magnified before the network sees it."""
        if self.image_scale is not None:
            return self.image_scale
        fit = self.input_size if training else self.test_size or self.input_size
        return min(fit[0] / height, fit[1] / width)


def read_settings(values: Mapping[str, Any]) -> YoloxSettings:
    """Settings from ``exp=dict(...)``.

    Raises:
        InputError: an unknown name (the text names the nearest known one), a missing one, or a value of the wrong type
            or out of range.
    """
    known = {field.name: field for field in fields(YoloxSettings)}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise InputError(f"exp: unknown setting {name!r}; the nearest known one is {near!r}")
    for name, field in known.items():
        if field.default is MISSING and name not in values:
            raise InputError(f"exp: {name!r} is missing")
    return YoloxSettings(**{name: _convert(name, value, known[name].type) for name, value in values.items()})


def round_size(side: float) -> int:
    """The nearest usable side of an input."""
    return max(SIZE_STEP, round(side / SIZE_STEP) * SIZE_STEP)


def _convert(name: str, value: Any, kind: Any) -> Any:
    """The value in the type of its field; command lines and configs write tuples as lists and floats as integers."""
    if value is None and kind in (int | None, float | None, tuple[int, int] | None):
        return None
    if kind in (float, float | None) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (int, int | None) and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in (bool, str) and isinstance(value, kind):
        return value
    expected = {int: "an integer", float: "a number", bool: "True or False", str: "a text"}
    if kind == tuple[int, ...] or "tuple" in str(kind):
        number = float if "float" in str(kind) else int
        if isinstance(value, list | tuple) and all(_is_number(item, number) for item in value):
            return tuple(number(item) for item in value)
        raise InputError(f"exp: {name} = {value!r}: expected a tuple of numbers")
    raise InputError(f"exp: {name} = {value!r}: expected {expected.get(kind, 'a number or None')}")


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)


def _check(settings: YoloxSettings) -> None:
    _check_ranges(settings)
    _check_choices(settings)
    for name in ("input_size", "test_size", "start_size"):
        size = getattr(settings, name)
        if size is not None and (len(size) != 2 or min(size) < SIZE_STEP or any(side % SIZE_STEP for side in size)):
            raise InputError(f"exp: {name} = {size}: expected (height, width), each a multiple of {SIZE_STEP}")
    for name in ("mosaic_scale", "mixup_scale"):
        pair = getattr(settings, name)
        if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
            raise InputError(f"exp: {name} = {pair}: expected (least, largest), both above 0")
    _check_combinations(settings)


def _check_ranges(settings: YoloxSettings) -> None:
    limits = dict.fromkeys(("max_epoch", "batch_size", "max_labels", "eval_interval", "print_interval"), (1, None))
    limits |= dict.fromkeys(("warmup_epochs", "no_aug_epochs", "grow_epochs", "multiscale_range"), (0, None))
    limits |= dict.fromkeys(("data_num_workers", "seed", "weight_decay", "warmup_lr"), (0, None))
    limits |= dict.fromkeys(("mosaic_prob", "mixup_prob", "flip_prob", "turn_prob", "light_prob", "hsv_prob"), (0, 1))
    limits |= dict.fromkeys(("least_visible", "min_lr_ratio", "test_conf", "nmsthre", "momentum"), (0, 1))
    limits |= dict.fromkeys(("translate", "norm_momentum"), (0, 1))
    limits |= {"epoch_iterations": (1, None), "degrees": (0, 180), "shear": (0, 60)}
    for name, (least, most) in limits.items():
        value = getattr(settings, name)
        if value is None:
            continue
        if not value >= least or (most is not None and value > most):
            span = f"at least {least}" if most is None else f"{least} to {most}"
            raise InputError(f"exp: {name} = {value}: expected {span}")
    for name in ("depth", "width", "image_scale", "basic_lr_per_img"):
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise InputError(f"exp: {name} = {value}: expected more than 0")


def _check_choices(settings: YoloxSettings) -> None:
    choices = {
        "act": ("silu", "relu", "lrelu"),
        "scheduler": ("yoloxwarmcos", "warmcos", "cos"),
        "optimizer": ("sgd", "adamw"),
        "strides": ((4, 8, 16), (8, 16, 32)),
    }
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise InputError(f"exp: {name} = {getattr(settings, name)!r}: expected one of {list(allowed)}")


def _check_combinations(settings: YoloxSettings) -> None:
    if settings.test_size is not None and settings.image_scale is not None:
        raise InputError("exp: test_size does nothing beside image_scale; set image_scale=None to fit images into it")
    if settings.start_size is not None and not settings.grow_epochs:
        raise InputError("exp: start_size does nothing without grow_epochs")
    if settings.start_size and any(a > b for a, b in zip(settings.start_size, settings.input_size, strict=True)):
        raise InputError(f"exp: start_size = {settings.start_size} is larger than input_size {settings.input_size}")
    if settings.warmup_epochs + settings.no_aug_epochs >= settings.max_epoch:
        raise InputError(
            f"exp: warmup_epochs + no_aug_epochs = {settings.warmup_epochs + settings.no_aug_epochs} leave no epoch of "
            f"max_epoch = {settings.max_epoch} for the training itself"
        )
    if settings.grow_epochs > settings.max_epoch:
        raise InputError(f"exp: grow_epochs = {settings.grow_epochs} exceeds max_epoch = {settings.max_epoch}")
    if settings.multiscale_range * SIZE_STEP >= min(settings.input_size):
        raise InputError(f"exp: multiscale_range = {settings.multiscale_range} would shrink the input to nothing")
