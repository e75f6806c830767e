"""Small data sets on disk."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellseg.structures.rle import encode_rle


@pytest.fixture
def write_cells(tmp_path) -> Callable[..., tuple[Path, Path]]:
    """Writes ``train.csv`` and ``images/`` with square cells in Sartorius form; returns both paths."""

    def write(
        wells: dict[str, list[str]],
        size: tuple[int, int] = (24, 32),
        columns: tuple[str, ...] = ("id", "annotation", "width", "height", "cell_type", "sample_id"),
        folder: Path = tmp_path,
    ) -> tuple[Path, Path]:
        """``wells``: image ids of each well; the type is what precedes the first _ of the well's name."""
        (folder / "images").mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        rows = []
        for well, keys in wells.items():
            for number, key in enumerate(keys):
                image = rng.integers(100, 140, size, dtype=np.uint8)
                for x, y in ((2, 2), (14, 3), (20, 12))[: 1 + number % 3]:
                    mask = np.zeros(size, bool)
                    mask[y : y + 6, x : x + 8] = True
                    image[mask] += 60
                    values = dict(id=key, annotation=encode_rle(mask), width=size[1], height=size[0])
                    values.update(cell_type=well.split("_")[0], sample_id=well, group=well, plate="1")
                    rows.append([values[name] for name in columns])
                Image.fromarray(image).save(folder / "images" / f"{key}.png")
        with open(folder / "train.csv", "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *rows])
        return folder / "train.csv", folder / "images"

    return write


@pytest.fixture
def six_wells(write_cells) -> tuple[Path, Path]:
    """Twelve images of two types in six wells."""
    return write_cells(
        {f"{kind}_{well}": [f"{kind}{well}{n}" for n in "xy"] for kind in ("astro", "cort") for well in "ABC"}
    )
