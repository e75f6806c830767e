"""Small data folders of drawn cells, and facts made by hand."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cellseg.datasets.prepare import Options, prepare
from cellseg.datasets.sartorius import read_sartorius
from cellseg.multimodal.derive.facts import ImageFacts, make_instances
from cellseg.structures import CropMasks, Instances
from cellseg.structures.rle import encode_rle

SIZE = (48, 64)
# Type -> radii of its cells; the last is a thin one.
RADII = {"Big_one": (7, 7), "dot": (2, 2), "thin": (8, 2)}


def ellipse(centre: tuple[float, float], radii: tuple[float, float], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Bool mask of an ellipse; centre and radii are (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1


def draw_cells(kind: str, count: int, seed: int) -> list[np.ndarray]:
    """Masks of so many cells of a type; they may overlap."""
    rng = np.random.default_rng(seed)
    rx, ry = RADII[kind]
    return [ellipse((rng.uniform(rx, SIZE[1] - rx), rng.uniform(ry, SIZE[0] - ry)), (rx, ry)) for _ in range(count)]


def write_folder(root: Path, wells: dict[str, tuple[str, Sequence[int]]], folds: int = 3) -> Path:
    """A prepared data folder; ``wells``: of each well the type and the number of cells of each of its images."""
    (root / "images").mkdir(parents=True)
    rows = [("id", "annotation", "width", "height", "cell_type", "group")]
    for place, (well, (kind, counts)) in enumerate(wells.items()):
        for number, count in enumerate(counts):
            key = f"{well}{number}"
            masks = draw_cells(kind, count, seed=100 * place + number)
            image = np.full(SIZE, 60, np.uint8) + np.random.default_rng(place).integers(0, 9, SIZE, dtype=np.uint8)
            for mask in masks:
                image[mask] = 170
            Image.fromarray(image).save(root / "images" / f"{key}.png")
            rows += [(key, text, SIZE[1], SIZE[0], kind, well) for text in map(encode_rle, masks)]
            if not masks:
                rows.append((key, "", SIZE[1], SIZE[0], kind, well))
    with open(root / "train.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    prepare(read_sartorius(root / "train.csv", root / "images"), root / "data", Options(folds=folds))
    return root / "data"


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory) -> Path:
    """A data folder of 27 images of three types in nine wells, three of them without cells."""
    wells = {
        f"{kind[0]}{well}": (kind, counts)
        for kind, numbers in (
            ("Big_one", ((1, 3, 2), (4, 2, 7), (3, 6, 0))),
            ("dot", ((12, 2, 30), (6, 25, 15), (8, 0, 22))),
            ("thin", ((1, 4, 9), (5, 12, 0), (14, 3, 8))),
        )
        for well, counts in enumerate(numbers)
    }
    return write_folder(tmp_path_factory.mktemp("derive"), wells)


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory) -> Path:
    """A data folder whose only type is the one that says nothing, ``cell``."""
    root = tmp_path_factory.mktemp("plain")
    RADII["cell"] = (4, 3)
    return write_folder(root, {f"w{well}": ("cell", (well, 3 * well + 1)) for well in range(6)})


@pytest.fixture
def write_results(tmp_path) -> Callable[..., Path]:
    """Writes a results folder as ``ensemble_infer.py`` does."""

    def write(instances: dict[str, Instances], folder: str = "results") -> Path:
        root = tmp_path / folder
        (root / "instances").mkdir(parents=True)
        (root / "run.json").write_text(json.dumps({"tool": "ensemble_infer", "members": {"one": "abc"}}))
        for key, cells in instances.items():
            (root / "instances" / f"{key}.json").write_text(json.dumps({"source": "x", **cells.to_dict()}))
        return root

    return write


@pytest.fixture(scope="session")
def some_instances() -> Callable[..., Instances]:
    """Makes a cell of each named type, with scores."""

    def make(kinds: Sequence[str], class_names: Sequence[str] = ("Big_one", "dot", "thin"), seed: int = 0) -> Instances:
        masks = [draw_cells(kind, 1, seed + place)[0] for place, kind in enumerate(kinds)]
        dense = torch.from_numpy(np.stack(masks)) if masks else torch.zeros((0, *SIZE), dtype=torch.bool)
        labels = torch.tensor([list(class_names).index(kind) for kind in kinds], dtype=torch.int64)
        instances = make_instances(CropMasks.from_dense(dense), labels, class_names)
        instances.scores = torch.linspace(0.3, 0.9, len(kinds))
        return instances

    return make


@pytest.fixture(scope="session")
def make_facts() -> Callable[..., ImageFacts]:
    """Makes facts of an image of 100 x 200 pixels."""

    def make(key: str = "a", count: int = 12, covered: float = 0.3, **changes) -> ImageFacts:
        values = dict(
            key=key,
            height=100,
            width=200,
            count=count,
            type_counts={},
            covered_px=round(20_000 * covered) if count else 0,
            areas={f"p{level}": 10.0 * level for level in (10, 25, 50, 75, 90)} if count else {},
        )
        if count:
            values.update(roundness=0.8, eccentricity=0.5, elongated=0.0, touching=0.5, small=0.5, large=0.5)
        return ImageFacts(**{**values, **changes})

    return make
