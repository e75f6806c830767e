"""Small scenes and members that need no training."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from cellseg.ensemble import ImageEvidence, enlarge_boxes
from cellseg.structures import CropMasks


@pytest.fixture
def blobs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the members that see bright blobs: ``BlobMember``, ``blob_image``."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import blob_member

    blob_member.BlobMember.encoded = 0
    yield blob_member
    sys.modules.pop("blob_member", None)


@pytest.fixture
def members(blobs: ModuleType) -> list:
    """Three members: two detectors, of which one misses cells and one is displaced, and one without boxes."""
    return [
        blobs.BlobMember("sharp", missed=0.4, seed=1),
        blobs.BlobMember("shifted", shift=1, missed=0.1, seed=2),
        blobs.BlobMember("dim", level=140.0, proposes=False),
    ]


@pytest.fixture(scope="session")
def random_boxes() -> Callable[..., tuple[torch.Tensor, ...]]:
    """Makes boxes around common centres: boxes, scores (all different), labels, members."""

    def make(seed: int, count: int, members: int = 3, classes: int = 2, cells: int = 8) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        centre = torch.rand(cells, 2, generator=generator) * 60
        size = torch.rand(cells, 2, generator=generator) * 15 + 5
        cell = torch.randint(0, cells, (count,), generator=generator)
        middle = centre[cell] + torch.randn(count, 2, generator=generator) * 1.5
        half = (size[cell] / 2 + torch.randn(count, 2, generator=generator)).clamp(min=0.5)
        scores = (torch.randperm(1000, generator=generator)[:count] + 1) / 1001
        labels = torch.randint(0, classes, (count,), generator=generator)
        return (
            torch.cat([middle - half, middle + half], 1),
            scores,
            labels,
            torch.randint(0, members, (count,), generator=generator),
        )

    return make


@pytest.fixture(scope="session")
def random_evidence() -> Callable[..., ImageEvidence]:
    """Makes the evidence of an image: discs that overlap, each member noisy in its own way."""

    def make(
        seed: int, count: int = 6, members: tuple[str, ...] = ("a", "b", "c"), size: tuple[int, int] = (40, 50)
    ) -> ImageEvidence:
        generator = torch.Generator().manual_seed(seed)
        height, width = size
        centre = torch.rand(count, 2, generator=generator) * torch.tensor([width - 12.0, height - 12.0]) + 6
        radius = torch.rand(count, generator=generator) * 4 + 3
        boxes = torch.cat([centre - radius[:, None], centre + radius[:, None]], 1).clamp(min=0)
        boxes = torch.minimum(boxes, torch.tensor([width, height, width, height]))
        windows = enlarge_boxes(boxes, 0.15, size)
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        evidence = []
        for _ in members:
            crops = []
            for (x0, y0, x1, y1), middle, r in zip(windows.tolist(), centre, radius, strict=True):
                distance = ((x - middle[0]) ** 2 + (y - middle[1]) ** 2).sqrt()[y0:y1, x0:x1]
                crops.append(torch.sigmoid((r - distance) * 1.5 + torch.randn(distance.shape, generator=generator)))
            evidence.append(CropMasks.from_crops(crops, windows, size).values.float())
        return ImageEvidence(
            image_size=size,
            class_names=("round", "long"),
            members=members,
            boxes=boxes,
            scores=torch.rand(count, generator=generator).sort(descending=True).values,
            labels=torch.randint(0, 2, (count,), generator=generator),
            evidence=tuple(CropMasks(windows, values, size) for values in evidence),
            confidence=torch.rand(len(members), count, generator=generator),
        )

    return make
