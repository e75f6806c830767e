"""Small scenes and members that need no training."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from cellseg.ensemble import ImageEvidence, enlarge_boxes
from cellseg.members import build
from cellseg.structures import CropMasks
from cellseg.training.door import train

PROJECT = Path(__file__).resolve().parents[2]


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


@pytest.fixture
def combining(blobs: ModuleType) -> ModuleType:
    """The module of members with features and of a combiner: ``FeatureBlob``, ``MeanCombiner``."""
    import feature_member

    yield feature_member
    sys.modules.pop("feature_member", None)


@dataclass
class FusionProject:
    """A folder with scenes in ``data``, an ensemble config and a training config of its feature fusion.

    Attributes:
        root: the folder.
        scene: the module ``fusion_scene``.
    """

    root: Path
    scene: ModuleType

    def options(self, **changes: Any) -> dict[str, Any]:
        """``--cfg-options`` of a short training there."""
        values = dict(ensemble=str(self.root / "ensemble.py"), data_root=str(self.root / "data"), iterations=6)
        values |= dict(cache=None, width=8, feature_width=4, batch_size=16, warm_up=2)
        return values | changes

    def train(self, name: str, config: str = "small", resume: bool = False, **changes: Any) -> dict[str, Any]:
        """Train a config of ``configs/feature_fusion`` into the folder ``name``."""
        return train(
            PROJECT / "configs" / "feature_fusion" / f"{config}.py",
            work_dir=self.root / name,
            resume=resume,
            options=self.options(**changes),
        )

    def spec(self, name: str, **changes: Any) -> dict[str, Any]:
        """The trained fusion's entry in an ensemble config."""
        return dict(type="feature_fusion", work_dir=str(self.root / name)) | changes


@pytest.fixture(scope="session")
def fusion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of nine scenes in nine groups; not to be changed."""
    return _load_scene().write_folder(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture
def fusion_project(fusion_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FusionProject:
    """A working folder for trainings of the feature fusion; see ``FusionProject``."""
    scene = _load_scene()
    monkeypatch.setitem(build.MEMBER_TYPES, "scene", ("fusion_scene", "SceneMember"))
    monkeypatch.setitem(sys.modules, "fusion_scene", scene)
    scene.SceneMember.encoded = 0
    (tmp_path / "ensemble.py").write_text(scene.ENSEMBLE)
    (tmp_path / "data").symlink_to(fusion_folder)
    return FusionProject(tmp_path, scene)


def _load_scene() -> ModuleType:
    path = Path(__file__).parent / "fusion_scene.py"
    spec = importlib.util.spec_from_file_location("fusion_scene", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
