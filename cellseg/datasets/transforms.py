"""Exact views of images with cells, and their form for mmdet and mmseg.

All geometry is one affine map from view pixels to image pixels, applied to the image and to every mask, so that neither
moves against the other. Pixel (x, y) covers [x, x+1) x [y, y+1): its centre, (x + 0.5, y + 0.5), is what is mapped.
"""

from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmengine.structures import InstanceData, PixelData

from cellseg.datasets.flows import cell_flows, warp_flow
from cellseg.io.images import read_image, to_rgb
from cellseg.structures import CropMasks


@TRANSFORMS.register_module()
class LoadCells(BaseTransform):
    """Read the image as uint8 RGB ``img``; masks and labels are in the item already."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        results["img"] = to_rgb(read_image(results["img_path"]))
        results["ori_shape"] = results["img_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadFlows(BaseTransform):
    """The flow field of the image's cells as ``flow``, float32 ``[H, W, 2]``, see ``cellseg.datasets.flows``.

    A field is computed when its image is first read, then kept; that takes two bytes a pixel.

    Args:
        enabled: whether there is a field at all; networks without flows need none.
    """

    # Directions are kept in whole steps of half a degree or less.
    STEPS = np.float32(127)

    def __init__(self, enabled: bool = True):
        self.enabled = enabled
        self._fields: dict[str, np.ndarray] = {}

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if self.enabled:
            key = results["img_path"]
            if key not in self._fields:
                self._fields[key] = np.round(cell_flows(results["cells"]) * self.STEPS).astype(np.int8)
            results["flow"] = self._fields[key].astype(np.float32) / self.STEPS
        return results


@TRANSFORMS.register_module()
class RandomView(BaseTransform):
    """A random window of the image, scaled, turned and mirrored.

    Args:
        size: height and width of the view in pixels.
        scale: range of the random scale, drawn log-uniformly.
        magnification: on top of the random scale; what the network's input is magnified by in inference, too.
        fill: grey value outside the image.
        least_area: cells of which fewer pixels are visible are left out.
    """

    def __init__(
        self,
        size: tuple[int, int],
        scale: tuple[float, float] = (0.8, 1.25),
        magnification: float = 1.0,
        fill: float = 128.0,
        least_area: int = 12,
    ):
        self.size = tuple(size)
        self.scale = scale
        self.magnification = magnification
        self.fill = fill
        self.least_area = least_area

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        height, width = results["img"].shape[:2]
        matrix = self.draw_matrix(height, width)
        results["img"] = warp(results["img"], matrix, self.size, fill=self.fill)
        results["masks"], results["labels"] = warp_cells(
            results.pop("cells"), results.pop("cell_labels"), matrix, self.size, self.least_area
        )
        if "flow" in results:
            results["flow"] = warp_flow(results["flow"], matrix, self.size)
        results["img_shape"] = self.size
        return results

    def draw_matrix(self, height: int, width: int) -> np.ndarray:
        """Random 2 x 3 map from view coordinates to image coordinates (x, y)."""
        low, high = np.log(self.scale[0]), np.log(self.scale[1])
        magnification = self.magnification * float(np.exp(np.random.uniform(low, high)))
        turn = dihedral_matrix(np.random.randint(8)) / magnification
        span_y, span_x = np.abs(turn[::-1, ::-1]) @ np.array(self.size, dtype=float)
        centre = np.array([_draw_centre(width, span_x), _draw_centre(height, span_y)])
        view_centre = np.array([self.size[1], self.size[0]]) / 2
        shift = centre - turn @ view_centre
        if magnification == 1.0:
            # Without scaling, whole pixels go to whole pixels: nothing is interpolated.
            shift = np.round(shift)
        return np.column_stack([turn, shift])


def _draw_centre(length: int, span: float) -> float:
    if span >= length:
        return length / 2
    return np.random.uniform(span / 2, length - span / 2)


def dihedral_matrix(index: int) -> np.ndarray:
    """One of the eight symmetries of the square as a 2 x 2 matrix over (x, y): four turns, then the same mirrored."""
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    matrix = np.linalg.matrix_power(quarter, index % 4)
    return matrix @ np.diag([-1.0, 1.0]) if index >= 4 else matrix


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], fill: float = 0.0) -> np.ndarray:
    """Resample linearly: view pixel centre c shows the image at ``matrix @ (c, 1)``.

    Args:
        image: ``[H, W]`` or ``[H, W, C]``, uint8 or float32.
        matrix: 2 x 3, from view coordinates to image coordinates.
        size: height and width of the view.
        fill: value outside the image.
    """
    turn, shift = matrix[:, :2], matrix[:, 2]
    # OpenCV's integer coordinates are pixel centres, ours lie half a pixel further.
    opencv = np.column_stack([turn, turn @ np.array([0.5, 0.5]) + shift - 0.5])
    return cv2.warpAffine(
        image,
        opencv,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(fill,) * 4,
    )


def warp_cells(
    cells: CropMasks, labels: torch.Tensor, matrix: np.ndarray, size: tuple[int, int], least_area: int
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of a view: uint8 ``[n, h, w]`` and int64 labels ``[n]`` of the cells of which enough is visible."""
    windows = cells.windows.numpy()
    corners = matrix @ np.array([[0, size[1], 0, size[1]], [0, 0, size[0], size[0]], [1, 1, 1, 1]], dtype=float)
    low, high = corners.min(axis=1), corners.max(axis=1)
    near = (
        (windows[:, 0] < high[0]) & (windows[:, 2] > low[0]) & (windows[:, 1] < high[1]) & (windows[:, 3] > low[1])
    ).nonzero()[0]
    masks = np.zeros((len(near), *size), dtype=np.uint8)
    for row, index in enumerate(near):
        crop = cells.crop(int(index)).numpy().astype(np.float32)
        local = matrix.copy()
        local[:, 2] -= windows[index, :2]
        masks[row] = warp(crop, local, size) > 0.5
    kept = masks.sum(axis=(1, 2), dtype=np.int64) >= least_area
    return masks[kept], labels.numpy()[near[kept]]


@TRANSFORMS.register_module()
class WholeView(BaseTransform):
    """The whole image with its masks, for validation.

    Args:
        magnification: size of the view over that of the image; scores are counted in the view.
    """

    def __init__(self, magnification: float = 1.0):
        self.magnification = magnification

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        size = magnified_size(results["img"].shape[:2], self.magnification)
        results["masks"], results["labels"] = warp_cells(
            results.pop("cells"), results.pop("cell_labels"), magnifying_matrix(self.magnification), size, 1
        )
        if "flow" in results:
            results["flow"] = warp_flow(results["flow"], magnifying_matrix(self.magnification), size)
        results["img"] = magnify(results["img"], self.magnification)
        results["img_shape"] = results["ori_shape"] = size
        return results


def magnified_size(size: tuple[int, int], magnification: float) -> tuple[int, int]:
    """Height and width of a magnified image, rounded to whole pixels."""
    return max(1, round(size[0] * magnification)), max(1, round(size[1] * magnification))


def magnifying_matrix(magnification: float) -> np.ndarray:
    """Map from a magnified view to its image; the top left corners coincide."""
    return np.array([[1 / magnification, 0.0, 0.0], [0.0, 1 / magnification, 0.0]])


def magnify(image: np.ndarray, magnification: float) -> np.ndarray:
    """The image magnified as training and inference see it; 1 leaves it alone."""
    if magnification == 1:
        return image
    size = magnified_size(image.shape[:2], magnification)
    # A last row or column that lies half outside takes its nearest pixel's value.
    edged = cv2.copyMakeBorder(image, 0, 2, 0, 2, cv2.BORDER_REPLICATE)
    return warp(edged, magnifying_matrix(magnification), size)


@TRANSFORMS.register_module()
class RandomLight(BaseTransform):
    """Random brightness, contrast, blur and noise: what differs between microscopes and wells.

    Args:
        brightness: largest shift in grey values.
        contrast: range of the factor around the image's mean.
        blur: largest standard deviation of a Gaussian blur in pixels, applied to half of the views; 0 for none.
        noise: largest standard deviation of added noise in grey values.
    """

    def __init__(
        self, brightness: float = 16, contrast: tuple[float, float] = (0.75, 1.33), blur: float = 0.7, noise: float = 4
    ):
        self.brightness = brightness
        self.contrast = contrast
        self.blur = blur
        self.noise = noise

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        image = results["img"].astype(np.float32)
        mean = image.mean()
        factor = np.exp(np.random.uniform(*np.log(self.contrast)))
        image = (image - mean) * factor + mean + np.random.uniform(-self.brightness, self.brightness)
        if self.blur and np.random.rand() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), np.random.uniform(0.2, self.blur))
        if self.noise:
            # One draw for the three channels keeps grey images grey.
            grain = np.random.standard_normal(image.shape[:2]).astype(np.float32)
            image += grain[..., None] * np.random.uniform(0, self.noise)
        results["img"] = np.clip(image, 0, 255).round().astype(np.uint8)
        return results


def _image_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _meta(results: dict[str, Any]) -> dict[str, Any]:
    keys = ("img_path", "img_id", "key", "ori_shape", "img_shape")
    return {key: results[key] for key in keys} | {"scale_factor": (1.0, 1.0)}


@TRANSFORMS.register_module()
class PackInstances(BaseTransform):
    """For mmdet: boxes (half-open), labels and bitmap masks of every instance."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        from mmdet.structures import DetDataSample
        from mmdet.structures.mask import BitmapMasks

        masks = results["masks"]
        sample = DetDataSample(metainfo=_meta(results))
        sample.gt_instances = InstanceData(
            bboxes=CropMasks.from_dense(torch.from_numpy(masks).bool()).boxes(),
            labels=torch.as_tensor(results["labels"], dtype=torch.int64),
            masks=BitmapMasks(masks, *masks.shape[1:]),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
        return dict(inputs=_image_tensor(results["img"]), data_samples=sample)


@TRANSFORMS.register_module()
class PackClassMap(BaseTransform):
    """For mmseg: class of every pixel: 0 background, 1 .. K the cell types, K + 1 the rim of a cell.

    The rim (pixels of a cell within ``rim`` pixels of something that is not this cell) separates touching cells;
    a network learns it as a class of its own, and 1 - background is still the whole cell.

    Args:
        num_classes: K.
        rim: width of the rim in pixels; 0 for none.
    """

    def __init__(self, num_classes: int, rim: int = 2):
        self.num_classes = num_classes
        self.rim = rim

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        from mmseg.structures import SegDataSample

        height, width = results["img"].shape[:2]
        classes = class_map(results["masks"], results["labels"], (height, width), self.num_classes, self.rim)
        sample = SegDataSample(metainfo=_meta(results))
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(classes)[None])
        if "flow" in results:
            sample.gt_flow = PixelData(data=torch.from_numpy(np.ascontiguousarray(results["flow"].transpose(2, 0, 1))))
        return dict(inputs=_image_tensor(results["img"]), data_samples=sample)


def class_map(masks: np.ndarray, labels: np.ndarray, size: tuple[int, int], num_classes: int, rim: int) -> np.ndarray:
    """Semantic map, int64 ``[h, w]``, of dense masks ``[n, h, w]``; where masks overlap, the smaller cell is on top."""
    instance = np.zeros(size, dtype=np.float32)  # OpenCV's filters know no int32; float32 is exact up to 2**24
    areas = masks.sum(axis=(1, 2), dtype=np.int64)
    for index in np.argsort(-areas, kind="stable"):
        instance[masks[index] > 0] = index + 1
    classes = np.concatenate([[0], labels + 1]).astype(np.int64)[instance.astype(np.int64)]
    if rim:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
        edge = cv2.dilate(instance, disc) != cv2.erode(instance, disc)
        classes[edge & (instance > 0)] = num_classes + 1
    return classes
