"""Feature maps of networks read in boxes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align

FEATURE_GRID = 7  # bins along each side of a box


@dataclass(frozen=True)
class FeatureLevel:
    """A feature map and where its cells lie on the image.

    Attributes:
        values: float ``[C, h, w]``.
        scale: cells per pixel of the image along x and y.
        origin: pixel coordinates (x, y) of the image at the map's top left corner.
    """

    values: Tensor
    scale: tuple[float, float]
    origin: tuple[float, float] = (0.0, 0.0)

    def pool(self, boxes: Tensor) -> Tensor:
        """Means over a grid of bins in each box: ROIAlign (He et al. 2017) with 2 x 2 samples in a bin.

        A sample at a cell's centre has the cell's value, between centres it is interpolated; beyond the outer centres
        the nearest one holds, and farther than a cell outside the map it is 0.

        Args:
            boxes: float32 ``[N, 4]``, xyxy in pixels of the image.

        Returns:
            float32 ``[N, C, 7, 7]`` on the map's device.
        """
        scale, origin = boxes.new_tensor(self.scale), boxes.new_tensor(self.origin)
        cells = ((boxes - origin.repeat(2)) * scale.repeat(2)).to(self.values)
        rois = torch.cat([cells.new_zeros(len(cells), 1), cells], dim=1)
        return roi_align(self.values[None], rois, FEATURE_GRID, sampling_ratio=2, aligned=True).float()
