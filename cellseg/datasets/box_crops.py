"""Crops of boxes, with the class of every pixel: background, the box's own cell, neighbouring cells.

A crop shows a box, enlarged by a margin and stretched to a square, as ROIAlign would cut it out. So the box is the same
central square of every crop: that is how a network knows which cell is meant. One map takes crop pixels to image
pixels, for the image and for every mask.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, FUNCTIONS, TRANSFORMS
from mmengine.structures import PixelData

from cellseg.datasets.cells import CellDataset
from cellseg.datasets.transforms import LoadCells, dihedral_matrix, warp
from cellseg.errors import InputError
from cellseg.structures import CropMasks

BACKGROUND, CENTRAL, NEIGHBOUR = range(3)
NUM_CROP_CLASSES = 3
IGNORED = 255  # pixels outside the image: nothing is known there, and nobody asks


def enlarge(boxes: torch.Tensor, margin: float) -> torch.Tensor:
    """Boxes ``[N, 4]`` whose sides moved outwards by ``margin`` times their width or height; not clipped."""
    growth = (boxes[:, 2:] - boxes[:, :2]) * margin
    return torch.cat([boxes[:, :2] - growth, boxes[:, 2:] + growth], dim=1)


def crop_matrices(regions: torch.Tensor, size: int, symmetries: Sequence[int] | None = None) -> torch.Tensor:
    """Maps from the coordinates (x, y) of square crops to those of the image.

    Args:
        regions: float ``[N, 4]``, xyxy in pixels: what each crop shows.
        size: width and height of the crops.
        symmetries: which of the eight symmetries of the square each crop shows; None: all as they are.

    Returns:
        Float64 ``[N, 2, 3]``.
    """
    regions = regions.double()
    turns = np.stack([dihedral_matrix(index) for index in symmetries]) if symmetries is not None else np.eye(2)[None]
    pixel = (regions[:, 2:] - regions[:, :2]) / size
    linear = pixel[:, :, None] * torch.from_numpy(turns).to(regions.device)
    centre = (regions[:, :2] + regions[:, 2:]) / 2
    return torch.cat([linear, (centre - linear.sum(dim=2) * size / 2)[:, :, None]], dim=2)


def crop_points(matrices: torch.Tensor, size: int) -> torch.Tensor:
    """Image coordinates (x, y) of the centres of all crop pixels, float64 ``[N, S, S, 2]``."""
    ticks = torch.arange(size, dtype=torch.float64, device=matrices.device) + 0.5
    centres = torch.stack([ticks.expand(size, -1), ticks[:, None].expand(-1, size)], dim=2).reshape(-1, 2)
    points = centres @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]
    return points.reshape(len(matrices), size, size, 2)


def sample_crops(image: torch.Tensor, matrices: torch.Tensor, size: int) -> torch.Tensor:
    """Crops of an image, resampled linearly; beyond its edge the nearest pixel continues.

    Args:
        image: ``[C, H, W]``, uint8 or float32.
        matrices: float64 ``[N, 2, 3]`` of ``crop_matrices``, at least one.
        size: S.

    Returns:
        Float32 ``[N, C, S, S]``.
    """
    channels, height, width = image.shape
    # In double precision up to here: a float32 coordinate is not exact to a hundredth of a pixel in a very large image.
    limits = torch.tensor([width, height], dtype=torch.float64, device=matrices.device)
    grid = (crop_points(matrices, size) * 2 / limits - 1).float().reshape(1, -1, size, 2)
    crops = torch.nn.functional.grid_sample(
        image[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return crops[0].reshape(channels, -1, size, size).transpose(0, 1)


def crop_target(cells: CropMasks, index: int, covered: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Class of every crop pixel, as it lies in the image.

    A pixel belongs to whatever covers most of it, of the box's own cell, other cells and background; what several cells
    cover is the own cell's.

    Args:
        cells: all cells of the image, bool.
        index: the cell that the box means.
        covered: float32 ``[H, W]``, 1 where there is any cell.
        matrix: 2 x 3, from crop to image.
        size: S.

    Returns:
        Int64 ``[S, S]`` of ``BACKGROUND``, ``CENTRAL``, ``NEIGHBOUR`` and, outside the image, ``IGNORED``.
    """
    local = matrix.copy()
    local[:, 2] -= cells.windows[index, :2].numpy()
    own = warp(cells.crop(index).numpy().astype(np.float32), local, (size, size))
    any_cell = warp(covered, matrix, (size, size))
    shares = np.stack([own, any_cell - own, 1 - any_cell])
    target = np.array([CENTRAL, NEIGHBOUR, BACKGROUND])[shares.argmax(axis=0)]
    points = crop_points(torch.from_numpy(matrix[None]), size)[0].numpy()
    inside = ((points >= 0) & (points < covered.shape[::-1])).all(axis=2)
    return np.where(inside, target, IGNORED)


def jitter_boxes(
    boxes: np.ndarray,
    generator: np.random.Generator,
    scale: tuple[float, float],
    shift: float,
    image_size: tuple[int, int],
) -> np.ndarray:
    """Boxes as detectors find them: a little off.

    Args:
        boxes: float ``[N, 4]``, xyxy, inside the image.
        generator: draws width, height and position independently.
        scale: range of the factors of width and height, drawn log-uniformly.
        shift: largest shift of the centre, as a part of width and height.
        image_size: (height, width); the boxes are clipped to it.

    Returns:
        Float64 ``[N, 4]``.
    """
    sizes, centres = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    half = sizes / 2 * np.exp(generator.uniform(*np.log(scale), sizes.shape))
    centres = centres + sizes * generator.uniform(-shift, shift, sizes.shape)
    limits = np.array([*image_size[::-1], *image_size[::-1]], dtype=float)
    return np.clip(np.concatenate([centres - half, centres + half], axis=1), 0, limits)


@DATASETS.register_module()
class BoxCropDataset(CellDataset):
    """Images of one split, each read once for several crops of jittered boxes of its cells.

    An item is a list with what the pipeline makes of each crop; ``collate_crops`` makes a batch of such lists. The
    pipeline gets ``img`` (uint8 ``[S, S, 3]``), ``target`` (see ``crop_target``), ``key`` and ``cell``.

    Nine of ten boxes that the small detectors of this project fuse for a cell (IoU above 0.5) have 0.74 to 1.29 times
    its true width and height, and lie within 0.13 of these from its centre: what the default jitter covers.

    Args:
        data_root, fold, split: as for ``CellDataset``.
        pipeline: transforms of one crop.
        size: S, pixels.
        margin: a crop shows the box enlarged by this part of its width and height on each side.
        crops_per_image: cells drawn from an image; in training, an image with fewer shows some of them again.
        scale, shift: see ``jitter_boxes``.
        turn: show each crop in one of the eight symmetries of the square.
        seed: None draws cells and jitter anew each time, for training. A number draws, for each image, always the same,
            and no cell twice: for validation.
        least_area: cells of fewer pixels are not drawn.

    Raises:
        InputError: an option out of its range, or no image with a cell.
    """

    def __init__(
        self,
        data_root: str,
        fold: int,
        split: str,
        pipeline: list,
        size: int,
        margin: float = 0.25,
        crops_per_image: int = 8,
        scale: tuple[float, float] = (0.74, 1.35),
        shift: float = 0.13,
        turn: bool = True,
        seed: int | None = None,
        least_area: int = 12,
        **kwargs,
    ):
        self.size = _whole("size", size, least=8)
        self.margin = check_margin("margin", margin)
        self.crops_per_image = _whole("crops_per_image", crops_per_image, least=1)
        self.scale = _check_scale(scale)
        if not (_is_number(shift) and 0 <= shift <= 0.5):
            raise InputError(f"shift = {shift!r}: expected a number from 0 to 0.5")
        self.shift = float(shift)
        self.turn = turn
        self.seed = None if seed is None else _whole("seed", seed, least=0)
        self.least_area = _whole("least_area", least_area, least=1)
        self._read = LoadCells()
        super().__init__(data_root, fold, split, pipeline, keep_empty=False, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        items = super().load_data_list()
        for item in items:
            item["usable"] = (item["cells"].areas() >= self.least_area).nonzero()[:, 0].numpy()
        items = [item for item in items if len(item["usable"])]
        if not items:
            raise InputError(
                f"{self.folder.root}: split {self.split!r} of fold {self.fold} has no cell of {self.least_area} pixels "
                "or more (least_area)"
            )
        return items

    def prepare_data(self, idx: int) -> list[Any]:
        """All crops of one image, through the pipeline."""
        item = self._read(self.get_data_info(idx))
        # The global generator is the one that a resumed training puts back.
        seed = np.random.randint(2**31) if self.seed is None else [self.seed, idx]
        generator = np.random.default_rng(seed)
        chosen = generator.permutation(item["usable"])
        # Twice the same cell would count twice in validation; in training it is another crop.
        chosen = np.resize(chosen, self.crops_per_image) if self.seed is None else chosen[: self.crops_per_image]
        return [self.pipeline(crop) for crop in self._crops(item, chosen, generator)]

    def _crops(self, item: dict[str, Any], chosen: np.ndarray, generator: np.random.Generator) -> list[dict[str, Any]]:
        cells, image_size = item["cells"], item["img"].shape[:2]
        boxes = jitter_boxes(cells.boxes().numpy()[chosen], generator, self.scale, self.shift, image_size)
        symmetries = generator.integers(0, 8, len(chosen)).tolist() if self.turn else None
        matrices = crop_matrices(enlarge(torch.from_numpy(boxes), self.margin), self.size, symmetries)
        image = torch.from_numpy(np.ascontiguousarray(item["img"].transpose(2, 0, 1)))
        images = sample_crops(image, matrices, self.size).round().byte().permute(0, 2, 3, 1).numpy()
        covered = np.zeros(image_size, dtype=np.float32)
        covered.reshape(-1)[cells.foreground_index()[1].numpy()] = 1
        return [
            dict(
                img=images[row],
                target=crop_target(cells, int(cell), covered, matrices[row].numpy(), self.size),
                key=item["key"],
                cell=int(cell),
            )
            for row, cell in enumerate(chosen)
        ]


@TRANSFORMS.register_module()
class PackCropMap(BaseTransform):
    """A crop for mmseg: the image, and ``target`` as the class of every pixel."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        from mmseg.structures import SegDataSample

        size = results["img"].shape[:2]
        sample = SegDataSample(
            metainfo=dict(key=results["key"], cell=results["cell"], ori_shape=size, img_shape=size, pad_shape=size)
        )
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(results["target"]).long()[None])
        image = np.ascontiguousarray(results["img"].transpose(2, 0, 1))
        return dict(inputs=torch.from_numpy(image), data_samples=sample)


@FUNCTIONS.register_module()
def collate_crops(items: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """One batch of the crops of several images."""
    return pseudo_collate([crop for item in items for crop in item])


def check_margin(name: str, value: Any) -> float:
    """A margin as a float.

    Raises:
        InputError: it is no number of 0 or more; the text begins with ``name``.
    """
    if not (_is_number(value) and 0 <= value <= 10):
        raise InputError(f"{name} = {value!r}: expected a number from 0 to 10")
    return float(value)


def _check_scale(scale: Any) -> tuple[float, float]:
    pair = tuple(scale) if isinstance(scale, list | tuple) else ()
    if len(pair) != 2 or not all(map(_is_number, pair)) or not 0 < pair[0] <= pair[1] < float("inf"):
        raise InputError(f"scale = {scale!r}: expected two numbers above 0, the smaller one first")
    return float(pair[0]), float(pair[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(name: str, value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise InputError(f"{name} = {value!r}: expected a whole number of at least {least}")
    return value
