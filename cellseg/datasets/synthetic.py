"""Synthetic phase-contrast images with exact outlines, in the form of the Sartorius data."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from cellseg.datasets.synthetic_cells import Cell, astro_cell, cort_cell, shsy5y_cell
from cellseg.datasets.synthetic_optics import Look, draw_look, picture
from cellseg.errors import InputError
from cellseg.io.files import atomic_path
from cellseg.structures import CropMasks

COLUMNS = (
    "id",
    "annotation",
    "width",
    "height",
    "cell_type",
    "plate_time",
    "sample_date",
    "sample_id",
    "elapsed_timedelta",
)
_REAL_AREA = 520 * 704  # the counts below are those of one real frame
_MARGIN = 72  # cells may reach this far out of the frame
_LEAST_VISIBLE = 40


@dataclass(frozen=True)
class Kind:
    """How one cell type grows: what a cell looks like, how many there are and how they lie.

    Args:
        draw: makes one cell.
        count: wanted number in a frame of 520 x 704 pixels, set so that the mean of what finds a place
            and shows in the frame is that of the real data (337, 80 and 34).
        spread: standard deviation of the logarithm of that number.
        cluster: mean number of cells in a clump; 0 scatters them evenly.
        cluster_width: standard deviation of a clump in pixels.
        overlap: largest part of a cell that may lie on cells placed before it.
        truth_overlaps: whether shared pixels belong to both cells in the truth, or to the first alone.
    """

    draw: Callable[[np.random.Generator], Cell]
    count: float
    spread: float
    cluster: float
    cluster_width: float
    overlap: float
    truth_overlaps: bool


KINDS = {
    "shsy5y": Kind(shsy5y_cell, 355.0, 0.35, 22.0, 27.0, 0.1, False),
    "astro": Kind(astro_cell, 68.0, 0.3, 5.0, 60.0, 0.3, True),
    "cort": Kind(cort_cell, 34.0, 0.35, 3.0, 30.0, 0.0, False),
}


class SyntheticImage(NamedTuple):
    """``image`` uint8 [H, W]; ``masks`` the truth, whose masks may overlap; ``label`` the cell type's name."""

    image: np.ndarray
    masks: CropMasks
    label: str


def generate_image(kind: str, size: tuple[int, int], seed: int, look: Look | None = None) -> SyntheticImage:
    """Draw one phase-contrast image of one cell type.

    Args:
        kind: one of ``KINDS``.
        size: (height, width) in pixels, each at least 64. Cells keep the size they have in the real data.
        seed: equal seeds give equal images.
        look: light, contrast, focus and noise; None draws them from the seed.

    Returns:
        The grey image, its truth (at least one cell) and the kind.
    """
    if kind not in KINDS:
        raise InputError(f"unknown synthetic cell type {kind!r}: expected one of {', '.join(KINDS)}")
    height, width = size
    if height < 64 or width < 64:
        raise InputError(f"a synthetic image needs at least 64 x 64 pixels, not {width} x {height}")
    if seed < 0:
        raise InputError(f"a seed is a whole number from 0, not {seed}")
    rng = np.random.default_rng([seed, *kind.encode()])
    look = draw_look(rng) if look is None else look
    padded = (height + 2 * _MARGIN, width + 2 * _MARGIN)
    phase = np.zeros(padded, np.float32)
    masks, windows = _grow(KINDS[kind], rng, phase, look)
    image = picture(kind, phase, windows, look, rng)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return SyntheticImage(np.ascontiguousarray(image), _truth(masks, windows, size), kind)


def write_sartorius_like(
    folder: str | Path,
    num_images: int = 60,
    height: int = 520,
    width: int = 704,
    seed: int = 0,
    images_per_well: int = 4,
    kinds: Sequence[str] = tuple(KINDS),
) -> tuple[Path, Path]:
    """Write synthetic images and their outlines as the Sartorius data comes: ``train.csv`` and PNG files.

    Images of one well (the column ``sample_id``) share light, contrast, focus and noise, as neighbouring
    fields of a real well do, so that folds must be grouped by it to be honest.

    Args:
        folder: receives ``train.csv`` and ``images/``.
        num_images: how many images, spread evenly over the kinds.
        height, width: image size in pixels.
        seed: equal seeds give equal files, byte for byte.
        images_per_well: images with the same ``sample_id``.
        kinds: cell types, names of ``KINDS``.

    Returns:
        The paths of the CSV file and of the image folder.
    """
    if num_images < 1 or images_per_well < 1:
        raise InputError(f"expected at least one image and one image a well, got {num_images} and {images_per_well}")
    if not kinds or len(set(kinds)) != len(kinds) or not set(kinds) <= set(KINDS):
        raise InputError(f"expected different synthetic cell types among {', '.join(KINDS)}, got {list(kinds)}")
    if seed < 0:
        raise InputError(f"a seed is a whole number from 0, not {seed}")
    csv_path, images = Path(folder) / "train.csv", Path(folder) / "images"
    rows = []
    for number in tqdm(range(num_images), desc="synthetic images", disable=None):
        kind, position = kinds[number % len(kinds)], number // len(kinds)
        well = position // images_per_well
        look = draw_look(np.random.default_rng([seed, well, *kind.encode()]))
        made = generate_image(kind, (height, width), seed * 1_000_003 + position, look)
        key = f"synthetic_{kind}_{position:04d}"
        with atomic_path(images / f"{key}.png") as temporary:
            Image.fromarray(made.image).save(temporary, format="PNG", compress_level=6)
        rows += [(key, rle, width, height, kind, *_plate(kind, well, position)) for rle in made.masks.to_rle()]
    with atomic_path(csv_path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(sorted(rows, key=lambda row: row[0]))
    return csv_path, images


def _plate(kind: str, well: int, position: int) -> tuple[str, str, str, str]:
    """Plate time, date, sample and elapsed time, in the form of the real columns."""
    hour = 2 * (position % 12)
    sample = f"{kind}[synthetic]_{'ABCDEFGH'[well % 8]}{well // 8 + 1}_Vessel-0_Ph_1"
    return f"{hour:02d}h00m00s", "2000-01-01", sample, f"0 days {hour:02d}:00:00"


def _grow(
    kind: Kind, rng: np.random.Generator, phase: np.ndarray, look: Look
) -> tuple[list[np.ndarray], list[tuple[int, int, int, int]]]:
    """Place cells one by one on the padded field, adding to its phase; masks and windows of those that fit."""
    height, width = phase.shape
    field = (height - _MARGIN) * (width - _MARGIN)  # half of the margin on every side counts as grown over
    mean = kind.count * look.density * field / _REAL_AREA
    count = max(int(round(mean * np.exp(rng.normal(0.0, kind.spread) - kind.spread**2 / 2))), 3)
    centres = _positions(kind, rng, count, (height, width))
    taken = np.zeros((height, width), bool)
    masks, windows = [], []
    for x, y in centres:
        cell = kind.draw(rng)
        window = _find_place(kind, rng, cell, (x, y), taken)
        if window is None:
            continue
        x0, y0, x1, y1 = window
        mask = cell.mask if kind.truth_overlaps else _uncovered(cell.mask, taken[y0:y1, x0:x1])
        phase[y0:y1, x0:x1] += cell.phase
        taken[y0:y1, x0:x1] |= cell.mask
        masks.append(mask)
        windows.append(window)
    return masks, windows


def _uncovered(mask: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """What of a mask no earlier cell has; where the earlier ones cut it into pieces, the largest piece."""
    free = mask & ~taken
    if free.sum() == mask.sum():
        return free
    _, pieces, statistics, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    if len(statistics) <= 2:
        return free
    return pieces == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))


def _positions(kind: Kind, rng: np.random.Generator, count: int, size: tuple[int, int]) -> np.ndarray:
    """Wanted centres (x, y), [count, 2], around the middles of clumps; the first lies in the frame."""
    height, width = size
    low, high = np.array([_MARGIN / 2.0] * 2), np.array([width - _MARGIN / 2.0, height - _MARGIN / 2.0])
    clumps = max(int(round(count / max(kind.cluster, 1.0))), 1)
    middles = rng.uniform(low, high, (clumps, 2))
    shares = rng.dirichlet(np.full(clumps, 2.0))
    chosen = middles[rng.choice(clumps, count, p=shares)]
    points = chosen + rng.normal(0.0, kind.cluster_width, (count, 2))
    points[0] = rng.uniform(0.4, 0.6, 2) * (width, height)
    outside = ((points < low) | (points > high)).any(1)
    points[outside] = rng.uniform(low, high, (int(outside.sum()), 2))
    return points


def _find_place(
    kind: Kind, rng: np.random.Generator, cell: Cell, centre: tuple[float, float], taken: np.ndarray
) -> tuple[int, int, int, int] | None:
    """The window (x0, y0, x1, y1) near a wanted centre where the cell overlaps others little enough."""
    height, width = cell.mask.shape
    area = cell.mask.sum()
    for attempt in range(14):
        x, y = np.asarray(centre) + rng.normal(0.0, 3.0 + 3.0 * attempt, 2)
        x0, y0 = int(round(x - width / 2)), int(round(y - height / 2))
        if x0 < 0 or y0 < 0 or x0 + width > taken.shape[1] or y0 + height > taken.shape[0]:
            continue
        if (cell.mask & taken[y0 : y0 + height, x0 : x0 + width]).sum() <= kind.overlap * area:
            return x0, y0, x0 + width, y0 + height
    return None


def _truth(masks: list[np.ndarray], windows: list[tuple[int, int, int, int]], size: tuple[int, int]) -> CropMasks:
    """Masks cut to the frame; what shows too little of itself there is no cell to find."""
    height, width = size
    crops, kept = [], []
    for mask, (x0, y0, x1, y1) in zip(masks, windows, strict=True):
        left, top = max(x0 - _MARGIN, 0), max(y0 - _MARGIN, 0)
        right, bottom = min(x1 - _MARGIN, width), min(y1 - _MARGIN, height)
        if left >= right or top >= bottom:
            continue
        crop = mask[top + _MARGIN - y0 : bottom + _MARGIN - y0, left + _MARGIN - x0 : right + _MARGIN - x0]
        if crop.sum() >= _LEAST_VISIBLE:
            crops.append(torch.from_numpy(np.ascontiguousarray(crop)))
            kept.append((left, top, right, bottom))
    return CropMasks.from_crops(crops, torch.tensor(kept, dtype=torch.int64), size).tight()
