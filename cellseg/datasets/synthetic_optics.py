"""How a phase-contrast microscope shows synthetic cells: halos, uneven light, dirt, blur and noise."""

from dataclasses import dataclass

import cv2
import numpy as np

_TWO_PI = 2.0 * np.pi


@dataclass(frozen=True)
class Look:
    """What the images of one well share.

    Args:
        contrast: grey levels of one unit of phase.
        halo: share of a cell's phase that comes back as light around it.
        halo_width: standard deviation of the halo in pixels.
        light: grey levels between the brightest and the darkest side, before texture.
        light_angle: direction of the brighter side in radians.
        brightness: grey level of the empty background.
        defocus: standard deviation of the blur in pixels.
        noise: standard deviation of the camera noise in grey levels.
        debris: specks in 10,000 pixels.
        density: factor on the number of cells.
    """

    contrast: float
    halo: float
    halo_width: float
    light: float
    light_angle: float
    brightness: float
    defocus: float
    noise: float
    debris: float
    density: float


def draw_look(rng: np.random.Generator) -> Look:
    """Draw the properties of a well."""
    return Look(
        contrast=rng.uniform(70.0, 120.0),
        halo=rng.uniform(0.8, 1.05),
        halo_width=rng.uniform(4.0, 6.5),
        light=rng.uniform(4.0, 22.0),
        light_angle=rng.uniform(0.0, _TWO_PI),
        brightness=rng.uniform(119.0, 131.0),
        defocus=rng.uniform(0.5, 1.0),
        noise=rng.uniform(1.5, 4.0),
        debris=rng.uniform(1.0, 7.0),
        density=rng.uniform(0.75, 1.25),
    )


def picture(
    kind: str, phase: np.ndarray, windows: list[tuple[int, int, int, int]], look: Look, rng: np.random.Generator
) -> np.ndarray:
    """The camera image of a field of cells.

    The phase ring of the microscope turns delay into darkness, sin of it for tall cells, which so become
    bright again in the middle; and it takes away what varies slowly, which comes back as a bright halo
    around every dark body and lifts the middle of large flat ones towards the background.

    Args:
        kind: cell type; cort cells get neurites.
        phase: float32 [H, W] delay by the cells alone, in radians.
        windows: (x0, y0, x1, y1) of the cells.
        look: the well.
        rng: the source of texture, dirt and noise.

    Returns:
        uint8 [H, W].
    """
    height, width = phase.shape
    inside = np.minimum(phase, 1.0)
    total = phase * (1.0 + 0.2 * _grain(rng, phase.shape, 1.3)) + 0.10 * inside * _grain(rng, phase.shape, 0.7)
    if kind == "cort":
        total = total + _neurites(rng, phase.shape, windows)
    total = total + _debris(rng, phase.shape, look.debris)
    total = total + 0.015 * _grain(rng, phase.shape, 2.2)  # the dish itself
    low = np.minimum(total, 1.4)
    near = cv2.GaussianBlur(low, (0, 0), 0.4 * look.halo_width)
    far = cv2.GaussianBlur(near, (0, 0), 2.0 * look.halo_width)
    signal = -np.sin(np.clip(total, -1.5, 4.9)) - 0.9 * low + look.halo * (1.9 * near + 0.3 * far)
    image = look.brightness + look.contrast * signal + _light(rng, (height, width), look)
    image += _floaters(rng, phase.shape)
    image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), look.defocus)
    image += look.noise * rng.standard_normal((height, width), dtype=np.float32)
    return np.rint(image.clip(0.0, 255.0)).astype(np.uint8)


def _grain(rng: np.random.Generator, size: tuple[int, int], width: float) -> np.ndarray:
    """Smooth noise of unit variance whose spots are about ``width`` pixels wide."""
    noise = cv2.GaussianBlur(rng.standard_normal(size, dtype=np.float32), (0, 0), width)
    return noise * np.float32(2.0 * np.sqrt(np.pi) * width)


def _light(rng: np.random.Generator, size: tuple[int, int], look: Look) -> np.ndarray:
    """Uneven light: a slope, a vignette and slow waves, in grey levels around 0."""
    height, width = size
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    slope = np.float32(np.cos(look.light_angle)) * x + np.float32(np.sin(look.light_angle)) * y
    vignette = np.float32(1.0 / 3.0) - (x * x + y * y) / 2.0
    waves = cv2.resize(rng.standard_normal((6, 6), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.float32(look.light) * (0.5 * slope + 0.35 * vignette + 0.12 * waves)


def _debris(rng: np.random.Generator, size: tuple[int, int], density: float) -> np.ndarray:
    """Specks on the dish, alone and in crumbs, far smaller than cells; phase in radians."""
    height, width = size
    canvas = np.zeros(size, np.uint8)
    for _ in range(rng.poisson(density * height * width / 1e4)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        level = int(rng.integers(70, 255))
        for _ in range(int(rng.integers(1, 4))):
            centre = (int((x + rng.normal(0, 2.0)) * 16), int((y + rng.normal(0, 2.0)) * 16))
            axes = (int(rng.uniform(0.5, 1.7) * 16), int(rng.uniform(0.4, 1.1) * 16))
            cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, level, -1, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) * np.float32(1.1 / 255.0)


def _neurites(rng: np.random.Generator, size: tuple[int, int], windows: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Long thin bent fibres from the cells and from cells elsewhere; phase in radians."""
    height, width = size
    starts = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in windows for _ in range(int(rng.integers(1, 4)))]
    starts += [(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(height * width // 6000)]
    canvas = np.zeros(size, np.uint8)
    for start in starts:
        steps = int(rng.integers(8, 32))
        angles = rng.uniform(0, _TWO_PI) + np.cumsum(rng.normal(0.0, 0.22, steps))
        path = np.asarray(start) + np.cumsum(4.0 * np.stack([np.cos(angles), np.sin(angles)], 1), axis=0)
        points = np.rint(path * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [points], False, int(rng.integers(70, 190)), 1, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) * np.float32(0.8 / 255.0)


def _floaters(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Things far out of focus: pale rings around bright or dark spots, in grey levels."""
    height, width = size
    image = np.zeros(size, np.float32)
    for _ in range(rng.poisson(height * width / 1.2e5)):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(8.0, 30.0)
        half = int(radius + 8)
        x0, y0 = max(int(x) - half, 0), max(int(y) - half, 0)
        x1, y1 = min(int(x) + half, width), min(int(y) + half, height)
        away = np.hypot(np.arange(x0, x1)[None, :] - x, np.arange(y0, y1)[:, None] - y)
        ring = np.exp(-(((away - radius) / 2.5) ** 2)) - 0.5 * np.exp(-(((away - radius + 5.0) / 2.5) ** 2))
        image[y0:y1, x0:x1] += (rng.uniform(2.0, 7.0) * (ring + 0.15 * (away < radius))).astype(np.float32)
    return image
