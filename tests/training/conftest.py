"""A data folder of discs and bars, and tools/train.py as a user calls it."""

import importlib.util
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: 8 training images (the last without cells) and 4 for validation, 96 x 96 px, two types."""
    write = runpy.run_path(str(PROJECT / "tests" / "models" / "disc_folder.py"))["write_disc_folder"]
    return write(tmp_path_factory.mktemp("discs"))


@pytest.fixture
def train_tool(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Runs ``tools/train.py`` in this process; returns exit code, stdout, stderr."""
    spec = importlib.util.spec_from_file_location("tool_train", PROJECT / "tools" / "train.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = tool.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def write_config(tmp_path: Path, discs: Path) -> Callable[[str], Path]:
    """Writes a config with the data folder of discs and the given lines; returns its path."""

    def write(text: str = "", name: str = "tiny.py") -> Path:
        path = tmp_path / name
        path.write_text(f"engine = 'mmengine'\ndata_root = {str(discs)!r}\nfold = 0\n{text}\n")
        return path

    return write
