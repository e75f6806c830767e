"""Pictures of a report: an image and its outlined cells, small enough to stand in the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from cellseg.structures import Instances
from cellseg.visualization.overlays import PALETTE, draw_outlines

_STRETCH = (0.3, 99.7)  # percentiles of brightness that become black and white
_QUALITY = 85


@dataclass(frozen=True)
class PicturePair:
    """An image without and with outlines, as texts for ``src``.

    Attributes:
        plain, outlined: JPEG as data URLs.
        width, height: pixels of both.
    """

    plain: str
    outlined: str
    width: int
    height: int


def type_colors(class_names: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """A colour for each type; they repeat after as many as there are colours."""
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(class_names)}


def draw_pair(image: np.ndarray, instances: Instances, side: int, by_type: bool) -> PicturePair:
    """Draw an image for the page.

    Args:
        image: uint8 ``[H, W, 3]``.
        instances: its cells.
        side: of the longer side in pixels; small images are enlarged by whole numbers only.
        by_type: outlines in the colours of the types; else neighbours get different ones.
    """
    shown = _stretch(image)
    scale = side / max(image.shape[:2])
    colors = None
    if by_type:
        table = list(type_colors(instances.class_names).values())
        colors = [table[label] for label in instances.labels.tolist()] if len(instances) else None
    # Shrinking would thin a one-pixel line away; it is drawn so wide that more than one pixel is left.
    outlined = draw_outlines(shown, instances.masks, colors, width=max(1, round(1.4 / scale)))
    plain, outlined = _fit(shown, scale), _fit(outlined, scale)
    return PicturePair(_data_url(plain), _data_url(outlined), plain.shape[1], plain.shape[0])


def _stretch(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, _STRETCH)
    if high <= low:
        return image
    levels = (np.arange(256) - low) * (255.0 / (high - low))
    return np.rint(levels.clip(0, 255)).astype(np.uint8)[image]


def _fit(image: np.ndarray, scale: float) -> np.ndarray:
    if scale >= 1:
        times = int(scale)
        return np.repeat(np.repeat(image, times, axis=0), times, axis=1)
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _data_url(image: np.ndarray) -> str:
    file = io.BytesIO()
    # Thin coloured lines would bleed with the usual halved colour resolution.
    Image.fromarray(image).save(file, format="JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
