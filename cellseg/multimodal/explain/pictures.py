"""Weights drawn over pictures and volumes, as PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from cellseg.errors import InputError
from cellseg.io.files import atomic_path

COLORS = "magma"
_DPI = 110
_PANEL = 2.2  # inches along a side
_OPACITY = 0.6


def draw_maps(
    picture: np.ndarray, maps: Tensor, titles: Sequence[str], out: str | Path, columns: int = 4, title: str = ""
) -> None:
    """Draw the picture alone and then under each map; equal colours are equal weights in all panels.

    Args:
        picture: uint8 ``[H, W]`` or ``[H, W, 3]`` (RGB).
        maps: float ``[N, H, W]``; what is negative is drawn as 0.
        titles: one line above each map.
        out: PNG file to write.
        columns: panels in a row.
        title: a line above all of them.

    Raises:
        InputError: no map, sizes or numbers that do not fit, values that are not finite, or another suffix.
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)):
        raise InputError(f"picture: expected uint8 [H, W] or [H, W, 3], found {picture.dtype} {list(picture.shape)}")
    weights = _weights(maps, 3)
    if not len(weights) or weights.shape[1:] != picture.shape[:2]:
        raise InputError(f"maps: expected [N, {picture.shape[0]}, {picture.shape[1]}], found {list(weights.shape)}")
    if len(titles) != len(weights):
        raise InputError(f"titles: expected {len(weights)}, one for each map, found {len(titles)}")
    if columns < 1:
        raise InputError(f"columns: expected 1 or more, found {columns}")
    rows = -(-(len(weights) + 1) // columns)
    width = min(columns, len(weights) + 1)
    figure = Figure(figsize=(_PANEL * width + 0.8, (_PANEL + 0.25) * rows), dpi=_DPI, layout="constrained")
    panels = figure.subplots(rows, width, squeeze=False).flatten()
    for panel in panels:
        panel.set_axis_off()
    _draw(panels[0], picture)
    highest = _highest(weights)
    for panel, values, name in zip(panels[1:], weights, titles, strict=False):
        drawn = _draw(panel, picture, values, highest, name)
    figure.colorbar(drawn, ax=list(panels), shrink=0.8)
    _save(figure, out, title)


def draw_volume(volume: np.ndarray, weights: Tensor, out: str | Path, title: str = "") -> None:
    """Draw the three planes of a volume through its most important voxel, under their weights.

    Args:
        volume: numbers ``[D, H, W]``; the darkest is drawn black, the brightest white.
        weights: float ``[D, H, W]``; what is negative is drawn as 0.
        out: PNG file to write.
        title: a line above the planes.

    Raises:
        InputError: sizes that do not fit, values that are not finite, or another suffix.
    """
    values = _weights(weights, 3)
    if values.shape != volume.shape or not values.size:
        raise InputError(f"weights: expected {list(volume.shape)} as the volume, found {list(values.shape)}")
    grey = _grey(volume)
    center = np.unravel_index(values.argmax(), values.shape)
    figure = Figure(figsize=(_PANEL * 3 + 0.8, _PANEL + 0.25), dpi=_DPI, layout="constrained")
    panels = figure.subplots(1, 3)
    for axis, (panel, name) in enumerate(zip(panels, ("depth", "row", "column"), strict=True)):
        panel.set_axis_off()
        plane, over = (each.take(center[axis], axis=axis) for each in (grey, values))
        drawn = _draw(panel, plane, over, _highest(values), f"{name} {center[axis]}")
    figure.colorbar(drawn, ax=list(panels), shrink=0.8)
    _save(figure, out, title)


def _weights(maps: Tensor, dimensions: int) -> np.ndarray:
    weights = maps.detach().float().cpu().numpy()
    if weights.ndim != dimensions or not np.isfinite(weights).all():
        raise InputError(f"weights: expected {dimensions} dimensions of finite numbers, found {list(weights.shape)}")
    return weights.clip(min=0)


def _highest(weights: np.ndarray) -> float:
    return float(weights.max()) or 1.0


def _grey(volume: np.ndarray) -> np.ndarray:
    volume = volume.astype(np.float64)
    if not np.isfinite(volume).all():
        raise InputError("volume: expected finite numbers")
    spread = volume.max() - volume.min()
    return ((volume - volume.min()) / (spread or 1.0) * 255).round().astype(np.uint8)


def _draw(
    axes: Axes, picture: np.ndarray, weights: np.ndarray | None = None, highest: float = 1.0, title: str = ""
) -> AxesImage:
    drawn = axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    # A word may hold dollar signs, which mean no formula.
    axes.set_title(title, fontsize=8, parse_math=False)
    if weights is None:
        return drawn
    return axes.imshow(weights, cmap=COLORS, vmin=0, vmax=highest, alpha=_OPACITY, interpolation="nearest")


def _save(figure: Figure, out: str | Path, title: str) -> None:
    if Path(out).suffix.lower() != ".png":
        raise InputError(f"{out}: pictures are written as .png files")
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    FigureCanvasAgg(figure)  # without pyplot: no display and no state shared between pictures
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
