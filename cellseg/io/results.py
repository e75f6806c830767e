"""Results out: label images, overlays and tables of cells, one file per image."""

import csv
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from cellseg.errors import InputError
from cellseg.io.files import atomic_path
from cellseg.structures import Instances

MAX_PNG_LABEL = 65_535
# Column of the cells table -> what it holds. Lengths and areas are in pixels of the input image; pixel (x, y) covers
# [x, x + 1) x [y, y + 1), so the centroid of the pixel in the upper left corner is (0.5, 0.5).
CELL_COLUMNS = {
    "id": "id of the image",
    "cell": "number of the cell in the image, from 1; its value in the label image",
    "type": "cell type",
    "score": "confidence, 0 to 1",
    "uncertainty": "disagreement of the members about the cell, 0 to 1; empty where none was measured",
    "area_px": "number of pixels",
    "centroid_x_px": "mean x of the cell's area",
    "centroid_y_px": "mean y of the cell's area",
    "box_x0_px": "left end of the box",
    "box_y0_px": "upper end of the box",
    "box_x1_px": "right end of the box, exclusive",
    "box_y1_px": "lower end of the box, exclusive",
    "perimeter_px": "length of the outline (Crofton's formula with four directions)",
    "eccentricity": "of the ellipse with the same second moments, 0 for a circle to 1 for a line",
    "solidity": "area divided by the area of the convex hull of its pixels' corners, 0 to 1",
    "mean_grey": "mean of the 8-bit image over the cell, colours averaged",
}


def write_label_image(stem: str | Path, instances: Instances) -> Path:
    """Write the label image: 0 is background, cell i of the instances (from 0) has the value i + 1.

    Up to 65,535 cells make a 16-bit PNG ``stem.png``, more a 32-bit TIFF ``stem.tif`` (compressed without loss).

    Args:
        stem: path without suffix.
        instances: bool masks without overlaps.

    Returns:
        The path that was written; a file of the other form at the same stem is removed.

    Raises:
        InputError: masks overlap.
    """
    labels = instances.masks.to_label_image().cpu().numpy()
    png, tiff = (Path(f"{stem}{suffix}") for suffix in (".png", ".tif"))
    if len(instances) <= MAX_PNG_LABEL:
        with atomic_path(png) as temporary:
            Image.fromarray(labels.astype(np.uint16)).save(temporary, format="PNG", compress_level=6)
        tiff.unlink(missing_ok=True)
        return png
    with atomic_path(tiff) as temporary:
        # Without metadata tifffile writes neither a date nor its version.
        tifffile.imwrite(
            temporary, labels.astype(np.uint32), compression="zlib", predictor=True, metadata=None, software=False
        )
    png.unlink(missing_ok=True)
    return tiff


def write_picture(path: str | Path, image: np.ndarray) -> None:
    """Write an 8-bit picture, for example an overlay, as PNG.

    Args:
        path: ends in ``.png``.
        image: uint8 [H, W] or [H, W, 3] RGB.

    Raises:
        InputError: another suffix, type or shape.
    """
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: pictures are written as .png files")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(f"{path}: expected a uint8 picture [H, W] or [H, W, 3], found {image.dtype} {image.shape}")
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(image)).save(temporary, format="PNG", compress_level=6)


def write_cells(path: str | Path, key: str, instances: Instances, image: np.ndarray) -> None:
    """Write the table of an image's cells as CSV; ``CELL_COLUMNS`` says what each column holds.

    Args:
        path: the CSV file.
        key: id of the image.
        instances: bool masks; a mask without pixels has its row with empty measurements.
        image: uint8 [H, W] or [H, W, 3], the image that was segmented.
    """
    rows = measure_cells(key, instances, image)
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(CELL_COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)


def measure_cells(key: str, instances: Instances, image: np.ndarray) -> list[dict[str, str | int | float | None]]:
    """Measure every cell of an image.

    Args:
        key: id of the image.
        instances: bool masks.
        image: uint8 [H, W] or [H, W, 3].

    Returns:
        One dict per cell with the keys of ``CELL_COLUMNS``; measurements of a mask without pixels are None, and
        so is an uncertainty that nobody measured.

    Raises:
        InputError: the image's size is not that of the instances.
    """
    if tuple(image.shape[:2]) != tuple(instances.image_size):
        raise InputError(
            f"{key}: the image is {image.shape[1]} x {image.shape[0]}, its cells belong to one of "
            f"{instances.image_size[1]} x {instances.image_size[0]}"
        )
    grey = image.mean(axis=2) if image.ndim == 3 else image
    masks = instances.masks.to("cpu")
    scores, labels = instances.scores.tolist(), instances.labels.tolist()
    unsure = [None] * len(scores) if instances.uncertainty is None else instances.uncertainty.tolist()
    rows = []
    for index, (x0, y0, x1, y1) in enumerate(masks.windows.tolist()):
        row = dict.fromkeys(CELL_COLUMNS)
        row.update(id=key, cell=index + 1, type=instances.class_names[labels[index]])
        row.update(score=scores[index], uncertainty=unsure[index])
        row.update(_measure(masks.crop(index).numpy(), grey[y0:y1, x0:x1], x0, y0))
        rows.append(row)
    return rows


def _measure(mask: np.ndarray, grey: np.ndarray, left: int, top: int) -> dict[str, int | float]:
    """The measurements of one mask whose window starts at (left, top)."""
    from skimage.measure import perimeter_crofton  # slow to import, and needed by few commands

    y, x = np.nonzero(mask)
    if len(x) == 0:
        return {"area_px": 0}
    return {
        "area_px": len(x),
        "centroid_x_px": left + float(x.mean()) + 0.5,
        "centroid_y_px": top + float(y.mean()) + 0.5,
        "box_x0_px": left + int(x.min()),
        "box_y0_px": top + int(y.min()),
        "box_x1_px": left + int(x.max()) + 1,
        "box_y1_px": top + int(y.max()) + 1,
        "perimeter_px": float(perimeter_crofton(np.pad(mask, 1), directions=4)),
        "eccentricity": _eccentricity(x, y),
        "solidity": _solidity(x, y),
        "mean_grey": float(grey[mask].mean()),
    }


def _eccentricity(x: np.ndarray, y: np.ndarray) -> float:
    # Each pixel is a square, whose own second moment is 1/12 in both directions: a single pixel is round.
    moments = np.cov(np.stack([x, y]).astype(float), bias=True) + np.eye(2) / 12.0
    short, long = np.linalg.eigvalsh(moments)
    return float(np.sqrt(max(1.0 - short / long, 0.0)))


def _solidity(x: np.ndarray, y: np.ndarray) -> float:
    corners = np.stack([x, y], axis=1).astype(np.int32)
    corners = np.concatenate([corners + offset for offset in ((0, 0), (1, 0), (0, 1), (1, 1))])
    return len(x) / cv2.contourArea(cv2.convexHull(corners))


def _text(value: str | int | float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
