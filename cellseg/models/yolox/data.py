"""Training samples and validation images of a data folder, in the form that the package's trainer takes.

The package scales a box by its own factor and the image to whole pixels, maps boxes half a pixel beside the pixels they
belong to, and re-boxes turned boxes; here image and outlines go through one map, and boxes are taken at the end.

Networks see blue, green, red (the order of the package's own checkpoints), 0..255, nothing normalised. Grey images have
three equal channels.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch.utils.data import Sampler
from yolox.data import MosaicDetection, TrainTransform
from yolox.data.data_augment import get_affine_matrix
from yolox.data.datasets import Dataset
from yolox.data.datasets.mosaicdetection import get_mosaic_coordinate

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError
from cellseg.io.images import read_image, to_rgb
from cellseg.models.yolox.outlines import Outlines
from cellseg.models.yolox.settings import YoloxSettings

FILL = 114  # grey value around images, the package's
CACHE_BYTES = 2**28  # images of a data set up to this size stay in memory
CONTRAST = (0.75, 1.33)
BRIGHTNESS = 16


class CellImages(Dataset):
    """Images of one split of a data folder with their cells.

    Args:
        folder: the data folder.
        fold, split: which images.
        settings: magnification, window and augmentation.
    """

    def __init__(self, folder: DataFolder, fold: int, split: str, settings: YoloxSettings):
        super().__init__(settings.input_size)
        self.settings = settings
        self.records = folder.load_split(fold, split)
        self.paths = [folder.image_path(record.file_name) for record in self.records]
        self.outlines = [Outlines.from_masks(record.masks, record.labels.numpy()) for record in self.records]
        if not any(len(outlines) for outlines in self.outlines):
            raise InputError(
                f"{folder.root}: split {split!r} of fold {fold} has no cells; prepare the data differently"
            )
        pixels = sum(record.height * record.width for record in self.records)
        self._cache: dict[int, np.ndarray] | None = {} if 3 * pixels <= CACHE_BYTES else None

    def __len__(self) -> int:
        return len(self.records)

    def load_image(self, index: int) -> np.ndarray:
        """uint8 ``[H, W, 3]`` as stored, blue first; not to be written to."""
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        image = np.ascontiguousarray(to_rgb(read_image(self.paths[index]))[:, :, ::-1])
        record = self.records[index]
        if image.shape[:2] != (record.height, record.width):
            raise InputError(
                f"{self.paths[index]}: {image.shape[1]} x {image.shape[0]} pixels, annotated as {record.width} x "
                f"{record.height}; run tools/prepare_data.py to write the data folder anew"
            )
        if self._cache is not None:
            self._cache[index] = image
        return image

    def view(self, index: int) -> tuple[np.ndarray, Outlines]:
        """A random window of the magnified image, turned at random; at most ``input_size`` large."""
        image = self.load_image(index)
        outlines = self.outlines[index]
        image, factors = magnify(image, self.settings.magnification(*image.shape[:2], training=True))
        turns = random.randrange(4) if random.random() < self.settings.turn_prob else 0
        limits = self.settings.input_size[:: -1 if turns % 2 else 1]
        height, width = (min(side, limit) for side, limit in zip(image.shape[:2], limits, strict=True))
        top, left = random.randint(0, image.shape[0] - height), random.randint(0, image.shape[1] - width)
        image = image[top : top + height, left : left + width]
        to_window = np.array([[factors[0], 0, -left], [0, factors[1], -top]], dtype=float)
        outlines = outlines.affine(to_window).clip(0, 0, width, height)
        return np.rot90(image, turns), outlines.affine(turn_matrix(turns, height, width))

    def load_anno(self, index: int) -> np.ndarray:
        """Boxes and labels of a whole image, ``[N, 5]``: the package asks whether there are any."""
        return self.outlines[index].targets(0.0)

    def pull_item(self, index: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int], np.ndarray]:
        """A view on grey ground of the full input size, its boxes and labels ``[N, 5]``, its size, its index."""
        image, outlines = self.view(index)
        canvas = np.full((*self.settings.input_size, 3), FILL, dtype=np.uint8)
        canvas[: image.shape[0], : image.shape[1]] = image
        return canvas, outlines.targets(self.settings.least_visible), canvas.shape[:2], np.array([index])


class CellMosaic(MosaicDetection):
    """The package's mosaic, mixup and flip, over ``CellImages``; every sample is a function of the seed and its number.

    An index is (mosaic on, image, number of the sample in the whole training), as ``SampleOrder`` gives it.
    """

    def __init__(self, images: CellImages):
        settings = images.settings
        super().__init__(
            images,
            settings.input_size,
            preproc=TrainTransform(settings.max_labels, settings.flip_prob, settings.hsv_prob),
            degrees=settings.degrees,
            translate=settings.translate,
            mosaic_scale=settings.mosaic_scale,
            mixup_scale=settings.mixup_scale,
            shear=settings.shear,
            enable_mixup=settings.enable_mixup,
            mosaic_prob=settings.mosaic_prob,
            mixup_prob=settings.mixup_prob,
        )
        self.settings = settings

    def __getitem__(self, sample: tuple[bool, int, int]) -> tuple[np.ndarray, np.ndarray, tuple[int, int], int]:
        """One training sample.

        Returns:
            Image float32 ``[3, H, W]``; targets float32 ``[max_labels, 5]``, rows (label, centre x, centre y, width,
            height) and zeros after the last; image size; index of the (first) image.
        """
        mosaic, index, number = sample
        with seeded(self.settings.seed, number):
            if mosaic and random.random() < self.mosaic_prob:
                image, targets = self._mosaic(index)
                if self.enable_mixup and len(targets) and random.random() < self.mixup_prob:
                    image, targets = self.mixup(image, targets, self.input_dim)
            else:
                image, targets, _, _ = self._dataset.pull_item(index)
            if random.random() < self.settings.light_prob:
                image = change_light(image)
            tensor, labels = self.preproc(image, targets, self.input_dim)
        return tensor, labels, tensor.shape[1:], index

    def _mosaic(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.input_dim
        canvas = np.full((2 * height, 2 * width, 3), FILL, dtype=np.uint8)
        centre_y = int(random.uniform(0.5 * height, 1.5 * height))
        centre_x = int(random.uniform(0.5 * width, 1.5 * width))
        parts = []
        others = [random.randint(0, len(self) - 1) for _ in range(3)]
        for place, other in enumerate([index, *others]):
            image, outlines = self._dataset.view(other)
            (left, top, right, bottom), window = get_mosaic_coordinate(
                canvas, place, centre_x, centre_y, image.shape[1], image.shape[0], height, width
            )
            canvas[top:bottom, left:right] = image[window[1] : window[3], window[0] : window[2]]
            parts.append(outlines.clip(*window).affine(shift_matrix(left - window[0], top - window[1])))
        matrix, _ = get_affine_matrix((width, height), self.degrees, self.translate, self.scale, self.shear)
        outlines = Outlines.cat(parts).affine(matrix).clip(0, 0, width, height)
        return warp(canvas, matrix, (height, width)), outlines.targets(self.settings.least_visible)


class SampleOrder(Sampler):
    """Endless batches of (mosaic on, image, number of the sample); every image comes once before any comes again.

    Where it starts is all that a resumed training needs to go on as if it had never stopped.

    Args:
        images: number of images.
        settings: batch size, seed, and when mosaic ends.
        start_epoch: epochs that are over already.
        rank, world_size: this process takes its part of each batch.
    """

    def __init__(self, images: int, settings: YoloxSettings, start_epoch: int = 0, rank: int = 0, world_size: int = 1):
        self.images = images
        self.settings = settings
        self.start_epoch = start_epoch
        self.rank = rank
        self.world_size = world_size
        self._round = (-1, np.zeros(0, dtype=int))

    def __len__(self) -> int:
        """Iterations of an epoch."""
        return self.settings.epoch_iterations or -(-self.images // self.settings.batch_size)

    def __iter__(self) -> Iterator[list[tuple[bool, int, int]]]:
        part = self.settings.batch_size // self.world_size
        iteration = self.start_epoch * len(self)
        while True:
            mosaic = iteration < self.settings.mosaic_epochs * len(self)
            first = iteration * self.settings.batch_size + self.rank * part
            yield [(mosaic, self._image(number), number) for number in range(first, first + part)]
            iteration += 1

    def _image(self, number: int) -> int:
        round_number, place = divmod(number, self.images)
        if self._round[0] != round_number:
            generator = np.random.default_rng((self.settings.seed, round_number))
            self._round = (round_number, generator.permutation(self.images))
        return int(self._round[1][place])


class ValidationImages(torch.utils.data.Dataset):
    """Whole images with their index, blue first, uint8 ``[H, W, 3]``; this process's part of the split."""

    def __init__(self, images: CellImages, rank: int = 0, world_size: int = 1):
        self.images = images
        self.indices = range(rank, len(images), world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> tuple[np.ndarray, int]:
        return self.images.load_image(self.indices[item]), self.indices[item]


def magnify(image: np.ndarray, factor: float) -> tuple[np.ndarray, tuple[float, float]]:
    """Scale an image to whole pixels; returns it and its exact factors along x and y."""
    height, width = image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (width, height):
        return image, (1.0, 1.0)
    # Averaging the covered area avoids moire where pixels are thrown away.
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=method), (size[0] / width, size[1] / height)


def turn_matrix(turns: int, height: int, width: int) -> np.ndarray:
    """Map of points that goes with ``np.rot90(image, turns)`` of an image of this size, 2 x 3."""
    return np.array(
        [
            [[1, 0, 0], [0, 1, 0]],
            [[0, 1, 0], [-1, 0, width]],
            [[-1, 0, width], [0, -1, height]],
            [[0, -1, height], [1, 0, 0]],
        ][turns],
        dtype=float,
    )


def shift_matrix(x: float, y: float) -> np.ndarray:
    """Map of points that moves them by (x, y), 2 x 3."""
    return np.array([[1, 0, x], [0, 1, y]], dtype=float)


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample so that the image's point p comes to ``matrix @ (p, 1)`` of a window of this size."""
    # OpenCV's integer coordinates are pixel centres, ours lie half a pixel further.
    shift = matrix[:, :2] @ (0.5, 0.5) + matrix[:, 2] - 0.5
    opencv = np.column_stack([matrix[:, :2], shift])
    return cv2.warpAffine(image, opencv, dsize=size[::-1], borderValue=(FILL,) * 3)


def change_light(image: np.ndarray) -> np.ndarray:
    """Random contrast around the mean and random brightness, the same for all channels: grey stays grey."""
    factor = np.exp(random.uniform(*np.log(CONTRAST)))
    mean = image.mean()
    values = (np.arange(256) - mean) * factor + mean + random.uniform(-BRIGHTNESS, BRIGHTNESS)
    return cv2.LUT(image, np.clip(np.round(values), 0, 255).astype(np.uint8))


@contextmanager
def seeded(seed: int, number: int) -> Iterator[None]:
    """Let the global generators, which the package draws from, start from (seed, number) inside the block."""
    states = random.getstate(), np.random.get_state()
    start = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    random.seed(start)
    np.random.seed(start)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def one_thread_per_worker(_: int) -> None:
    """Loader processes leave the cores to the network."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
