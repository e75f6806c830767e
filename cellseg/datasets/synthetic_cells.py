"""Shapes of synthetic cells: an exact outline and a map of how much each pixel delays the light."""

from typing import NamedTuple

import numpy as np


class Cell(NamedTuple):
    """One cell, centred in a small window.

    ``mask`` is bool [h, w]: the pixels whose centre lies inside the outline. ``phase`` is float32 [h, w]: the
    optical path through the cell in radians, 0 outside; a flat cell has less than 1, a round one several.
    """

    mask: np.ndarray
    phase: np.ndarray


def shsy5y_cell(rng: np.random.Generator) -> Cell:
    """A small cell, from round to a spindle with two or three drawn-out tips; about 225 pixels."""
    area = 225.0 * np.exp(rng.normal(0.0, 0.33))
    stretch = rng.uniform(1.0, 1.6)
    tips = rng.uniform(0.0, 0.8) if stretch > 1.25 else rng.uniform(0.0, 0.2)
    angles = np.linspace(0.0, 2.0 * np.pi, 96, endpoint=False)
    ellipse = 1.0 / np.sqrt((np.cos(angles) / stretch) ** 2 + (np.sin(angles) * stretch) ** 2)
    pear = 1.0 + rng.uniform(0.0, 0.35) * np.cos(angles)
    radii = ellipse * pear * (1.0 + tips * np.abs(np.cos(angles)) ** 12) * _ripple(rng, angles, 0.06)
    if rng.random() < 0.3:  # a third tip, to the side
        side = rng.uniform(1.0, 2.1)
        radii = radii * (1.0 + rng.uniform(0.3, 0.9) * np.exp(12.0 * (np.cos(angles - side) - 1.0)))
    depth, position = _polar_depth(_scaled_to(radii, area), rng.uniform(0.0, 2.0 * np.pi), rng)
    radius = np.sqrt(area / np.pi)
    height = rng.uniform(0.7, 1.3) if rng.random() < 0.85 else rng.uniform(1.6, 2.8)
    thickness = np.sqrt(np.clip(depth / (0.45 * radius), 0.0, 1.0)) * _nucleus(rng, position, 0.35 * radius)
    return Cell(depth > 0, (height * thickness).astype(np.float32))


def cort_cell(rng: np.random.Generator) -> Cell:
    """A small round body, so tall that its middle shines; about 240 pixels."""
    area = 240.0 * np.exp(rng.normal(-0.03, 0.25))
    angles = np.linspace(0.0, 2.0 * np.pi, 96, endpoint=False)
    stretch = rng.uniform(1.0, 1.3)
    radii = _ripple(rng, angles, 0.04) / np.sqrt((np.cos(angles) / stretch) ** 2 + (np.sin(angles) * stretch) ** 2)
    if rng.random() < 0.5:  # the foot of a neurite
        radii = radii * (1.0 + rng.uniform(0.2, 0.5) * np.exp(14.0 * (np.cos(angles - rng.uniform(0.0, 6.3)) - 1.0)))
    depth, _ = _polar_depth(_scaled_to(radii, area), rng.uniform(0.0, 2.0 * np.pi), rng)
    level = np.clip(depth / np.sqrt(area / np.pi), 0.0, 1.0)
    height = rng.uniform(3.6, 4.7)
    return Cell(depth > 0, (height * np.sqrt(level * (2.0 - level))).astype(np.float32))


def astro_cell(rng: np.random.Generator) -> Cell:
    """A large flat irregular body with thin, bent, tapering processes; about 906 pixels."""
    area = 906.0 * np.exp(rng.normal(0.0, 0.5))
    segments = _processes(rng)
    nominal = _capsule_depth(segments, 1.0)
    scale = np.sqrt(area / max(float((nominal[0] > 0).sum()), 1.0))
    depth, distance = _capsule_depth(segments, scale)
    reach = 11.0 * scale
    flat = rng.uniform(0.32, 0.6)
    height = flat + rng.uniform(0.25, 0.5) * np.exp(-((distance / (0.8 * reach)) ** 2))
    edge = np.clip(depth / 1.8, 0.0, 1.0)
    return Cell(depth > 0, (height * edge * (2.0 - edge)).astype(np.float32))


def _processes(rng: np.random.Generator) -> np.ndarray:
    """Tapered segments [K, 6] (x, y, radius at either end): a body of a few lobes, and bent arms."""
    segments = []
    axis = rng.uniform(0.0, 2.0 * np.pi)
    half = rng.uniform(1.0, 10.0)
    body = rng.uniform(7.0, 10.5)
    along = np.array([np.cos(axis), np.sin(axis)])
    segments.append((*(-half * along), body * rng.uniform(0.6, 1.0), *(half * along), body * rng.uniform(0.6, 1.0)))
    arms = int(rng.integers(2, 7))
    starts = axis + (np.arange(arms) + rng.uniform(-0.35, 0.35, arms)) * (2.0 * np.pi / arms)
    for angle in starts:
        here = half * along * np.cos(angle - axis)
        radius = rng.uniform(3.0, 7.0)
        length = rng.uniform(9.0, 24.0)
        steps = 3
        for step in range(steps):
            angle += rng.normal(0.0, 0.35)
            there = here + length / steps * np.array([np.cos(angle), np.sin(angle)]) * (1.6 if step == 0 else 1.0)
            next_radius = max(radius * rng.uniform(0.45, 0.8), 1.0)
            segments.append((*here, radius, *there, next_radius))
            here, radius = there, next_radius
    return np.array(segments)


def _capsule_depth(segments: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth below the surface of a union of tapered segments, and distance from the origin, in pixels."""
    scaled = segments * scale
    reach = np.abs(scaled[:, [0, 1, 3, 4]]).max() + scaled[:, [2, 5]].max()
    half = int(np.ceil(reach)) + 2
    grid = np.arange(-half, half + 1, dtype=np.float32)
    x, y = grid[None, :], grid[:, None]
    weight = np.zeros((len(grid), len(grid)), np.float32)
    softness = np.float32(1.3)  # rounds the corners between the parts, as a membrane does
    for x0, y0, r0, x1, y1, r1 in scaled.astype(np.float32):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, np.float32(1e-6)), 0.0, 1.0)
        away = np.sqrt((x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2)
        weight += np.exp(np.clip((r0 + along * (r1 - r0) - away) / softness, -30.0, 30.0))
    return softness * np.log(weight + np.float32(1e-12)), np.sqrt(x * x + y * y)


def _polar_depth(radii: np.ndarray, turn: float, rng: np.random.Generator) -> tuple[np.ndarray, tuple]:
    """Depth in pixels below an outline given by its radius at equally spaced angles, and pixel coordinates."""
    half = int(np.ceil(radii.max())) + 2
    grid = np.arange(-half, half + 1, dtype=np.float64)
    x = grid[None, :] + rng.uniform(-0.5, 0.5)
    y = grid[:, None] + rng.uniform(-0.5, 0.5)
    distance = np.sqrt(x * x + y * y)
    place = (np.arctan2(y, x) + turn) / (2.0 * np.pi) * len(radii)
    outline = np.interp(place, np.arange(len(radii)), radii, period=len(radii))
    return outline - distance, (x, y)


def _ripple(rng: np.random.Generator, angles: np.ndarray, size: float) -> np.ndarray:
    waves = np.arange(2, 7)[:, None]
    strength = rng.normal(0.0, size, (5, 1)) / (waves / 2.0)
    return np.clip(1.0 + (strength * np.cos(waves * angles + rng.uniform(0.0, 6.3, (5, 1)))).sum(0), 0.6, 1.5)


def _scaled_to(radii: np.ndarray, area: float) -> np.ndarray:
    return radii * np.sqrt(area / (np.pi * np.mean(radii**2)))


def _nucleus(rng: np.random.Generator, position: tuple, radius: float) -> np.ndarray:
    """A slightly thicker spot off the middle, as a factor."""
    x, y = position
    x0, y0 = rng.uniform(-0.6, 0.6, 2) * radius
    return 1.0 + rng.uniform(0.1, 0.4) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / radius**2)
