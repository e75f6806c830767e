"""Convex outlines of cells, from which boxes stay exact under affine maps and crops.

A box turned by ten degrees and boxed again is up to a third too large in area; the extreme points of the cell itself
give the right box. The convex hull has the same extreme points in every direction, and far fewer vertices.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from cellseg.structures import CropMasks


class Outlines:
    """Convex polygons of the cells of one view.

    Args:
        points: float ``[P, 2]``, vertices (x, y) of all polygons, one polygon after another, each in order. Pixel
            (x, y) covers [x, x+1) x [y, y+1).
        owners: int64 ``[P]``, ascending: the polygon of each vertex, 0 to N - 1. A polygon may have no vertex left.
        labels: int64 ``[N]``, cell types.
        whole_areas: float ``[N]``, area of the whole polygons before any crop, in this view's pixels.
    """

    def __init__(self, points: np.ndarray, owners: np.ndarray, labels: np.ndarray, whole_areas: np.ndarray):
        self.points = points
        self.owners = owners
        self.labels = labels
        self.whole_areas = whole_areas

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_masks(cls, masks: CropMasks, labels: np.ndarray) -> "Outlines":
        """Hulls of the masks' pixel squares; masks without a true pixel are left out."""
        hulls, kept = [], []
        for index, (x0, y0, _, _) in enumerate(masks.windows.tolist()):
            hull = _hull(masks.crop(index).cpu().numpy())
            if hull is not None:
                hulls.append(hull + (x0, y0))
                kept.append(index)
        points = np.concatenate(hulls) if hulls else np.zeros((0, 2))
        owners = np.repeat(np.arange(len(hulls)), [len(hull) for hull in hulls])
        outlines = cls(points.astype(float), owners, np.asarray(labels, dtype=np.int64)[kept], np.zeros(len(hulls)))
        outlines.whole_areas = outlines.areas()
        return outlines

    @classmethod
    def cat(cls, parts: Sequence["Outlines"]) -> "Outlines":
        """All polygons of several views in one."""
        counts = np.cumsum([0, *(len(part) for part in parts)])
        return cls(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.owners + start for part, start in zip(parts, counts, strict=False)]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.whole_areas for part in parts]),
        )

    def affine(self, matrix: np.ndarray) -> "Outlines":
        """Map every point (x, y) to ``matrix @ (x, y, 1)``, matrix 2 x 3."""
        points = self.points @ matrix[:, :2].T + matrix[:, 2]
        scale = abs(np.linalg.det(matrix[:, :2]))
        return Outlines(points, self.owners, self.labels, self.whole_areas * scale)

    def clip(self, x0: float, y0: float, x1: float, y1: float) -> "Outlines":
        """The parts inside a rectangle."""
        points, owners = self.points, self.owners
        for axis, bound, sign in ((0, x0, 1), (1, y0, 1), (0, x1, -1), (1, y1, -1)):
            points, owners = _clip_half_plane(points, owners, axis, bound, sign)
        return Outlines(points, owners, self.labels, self.whole_areas)

    def areas(self) -> np.ndarray:
        """Area of each polygon, float ``[N]``."""
        ahead = self.points[_successors(self.owners)]
        cross = self.points[:, 0] * ahead[:, 1] - ahead[:, 0] * self.points[:, 1]
        return np.abs(np.bincount(self.owners, weights=cross, minlength=len(self))) / 2

    def targets(self, least_visible: float) -> np.ndarray:
        """Tight boxes and labels, float ``[n, 5]`` (x0, y0, x1, y1, label), of the cells that are visible enough.

        Args:
            least_visible: smallest part of a cell's whole area that must be left.
        """
        visible = self.areas() >= np.maximum(least_visible * self.whole_areas, 1e-6)
        starts = _starts(self.owners)
        boxes = np.zeros((len(self), 4))
        if len(starts):
            boxes[self.owners[starts], :2] = np.minimum.reduceat(self.points, starts)
            boxes[self.owners[starts], 2:] = np.maximum.reduceat(self.points, starts)
        return np.column_stack([boxes, self.labels])[visible]


def _hull(mask: np.ndarray) -> np.ndarray | None:
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = np.concatenate([np.column_stack([x, y]) for x in (first, last) for y in (rows, rows + 1)])
    return cv2.convexHull(corners.astype(np.int32))[:, 0].astype(float)


def _starts(owners: np.ndarray) -> np.ndarray:
    """Index of the first vertex of each polygon that has one."""
    return np.flatnonzero(np.diff(owners, prepend=-1))


def _successors(owners: np.ndarray) -> np.ndarray:
    """Index of the vertex after each one, the last of a polygon being followed by its first."""
    following = np.arange(1, len(owners) + 1)
    starts = _starts(owners)
    following[np.append(starts[1:], len(owners))[: len(starts)] - 1] = starts
    return following


def _clip_half_plane(
    points: np.ndarray, owners: np.ndarray, axis: int, bound: float, sign: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sutherland and Hodgman's clipping (1974) of all polygons at once against one side of a rectangle."""
    distance = sign * (points[:, axis] - bound)
    if (distance >= 0).all():
        return points, owners
    following = _successors(owners)
    inside = distance >= 0
    crossing = inside != inside[following]
    gap = np.where(crossing, distance - distance[following], 1.0)
    cuts = points + (distance / gap)[:, None] * (points[following] - points)
    cuts[:, axis] = bound
    # Each edge leaves its first vertex if that is inside, then its cut if it crosses: the order stays a polygon's.
    kept = np.column_stack([inside, crossing]).ravel()
    return np.stack([points, cuts], axis=1).reshape(-1, 2)[kept], np.repeat(owners, 2)[kept]
