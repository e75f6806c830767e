"""What the ensemble asks of a trained network."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from cellseg.members.pooling import FEATURE_GRID
from cellseg.structures import CropMasks


class Member(ABC):
    """A trained network that proposes boxes and answers for boxes, its own or foreign ones.

    Attributes:
        name: unique within an ensemble.
        class_names: cell types in the order of the labels.
        proposes: whether ``boxes`` may be called.
        feature_channels: C of ``features``; 0 where a member has none to give.
        answers_version: part of ``identity``. Raise it whenever a change of the member's code changes its answers for
            the same weights and options, or answers of the old code are taken from the cache on disk.
        averages_views: whether it takes the option ``views`` and averages over views itself, where the mean of its maps
            is worth more than the mean of its answers.
        fixed_input: whether every image is brought to one size before the network sees it, so that a scaled view would
            show it nothing new.
    """

    name: str
    class_names: tuple[str, ...]
    proposes: bool
    feature_channels: int = 0
    answers_version: int = 1
    averages_views: bool = False
    fixed_input: bool = False

    def without_views(self) -> "Member":
        """The same member that looks at an image once; itself where it does so anyway."""
        return self

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

    def features(self, state: Any, boxes: torch.Tensor) -> torch.Tensor:
        """What the network's finest feature map shows in each box.

        Args:
            state: from ``encode``; the network does not run again.
            boxes: float32 ``[N, 4]``, xyxy in pixels.

        Returns:
            float32 ``[N, C, 7, 7]`` with C = ``feature_channels``, rows from top to bottom.
        """
        return torch.zeros(len(boxes), 0, FEATURE_GRID, FEATURE_GRID)

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """JSON-able description that changes whenever the answers may change.

        Hashes of the weights, the settings, and ``answers_version``.
        """
