"""What the ensemble asks of a trained network."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from cellseg.structures import CropMasks


class Member(ABC):
    """A trained network that proposes boxes and answers for boxes, its own or foreign ones.

    Attributes:
        name: unique within an ensemble.
        class_names: cell types in the order of the labels.
        proposes: whether ``boxes`` may be called.
    """

    name: str
    class_names: tuple[str, ...]
    proposes: bool

    @abstractmethod
    def encode(self, image: np.ndarray) -> Any:
        """Run the costly part once for an image.

        Args:
            image: uint8 ``[H, W, 3]``, RGB (grey images have three equal channels).

        Returns:
            A state for the other methods; it has ``image_size`` (height, width).
        """

    @abstractmethod
    def boxes(self, state: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Proposed instances: boxes float32 ``[N, 4]`` (xyxy, pixels), scores float32 ``[N]`` in 0..1, labels."""

    @abstractmethod
    def evidence(
        self, state: Any, boxes: torch.Tensor, labels: torch.Tensor, windows: torch.Tensor
    ) -> tuple[CropMasks, torch.Tensor]:
        """Answer for each box: with which probability does a pixel of its window belong to its cell?

        Args:
            state: from ``encode``.
            boxes: float32 ``[N, 4]``, xyxy in pixels.
            labels: int64 ``[N]``, the cell type of each box.
            windows: int64 ``[N, 4]``, half-open, inside the image; each holds its box.

        Returns:
            Float32 probabilities in exactly these windows, and the member's confidence ``[N]`` in 0..1.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """JSON-able description that changes whenever the answers may change (hashes of weights and settings)."""
