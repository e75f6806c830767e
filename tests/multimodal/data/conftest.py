"""Small data sets in the forms that readers know."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Writes pictures of one colour each into a folder; the n-th is 10 n bright. Returns the folder."""

    def write(names: Sequence[str], folder: str = "images", size: tuple[int, int] = (4, 6)) -> Path:
        for index, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*size, 3), 10 * index, np.uint8)).save(path)
        return tmp_path / folder

    return write


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Writes a value as JSON below the test's folder."""

    def write(name: str, value: Any) -> Path:
        (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines of text below the test's folder."""

    def write(name: str, *lines: str) -> Path:
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return tmp_path / name

    return write
