"""A small data folder and an ensemble that needs no training, for the tools that run ensembles."""

import csv
import importlib.util
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

PROJECT = Path(__file__).resolve().parents[2]

ENSEMBLE = """
data_root = "data/blobs"
fold = 0
members = [
    dict(type="blob", name="sharp", missed=0.4, seed=1, work_dir="x", class_names=("a_round", "b_long")),
    dict(type="blob", name="shifted", shift=1, missed=0.1, seed=2, work_dir="x", class_names=("a_round", "b_long")),
    dict(type="blob", name="dim", level=140.0, proposes=False, work_dir="x", class_names=("a_round", "b_long")),
]
fusion = dict(method="wbf", iou_threshold=0.5)
settings = dict(mask_threshold=0.55, score_threshold=0.2)
"""


def load_tool(name: str) -> ModuleType:
    """A script of ``tools/`` as a module."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", PROJECT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """``load_tool``, for test modules."""
    return load_tool


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], Namespace]:
    """``parse(command)``: what the tool's own parser makes of a command, without running it."""

    def parsed(command: Sequence[str]) -> Namespace:
        tool = load_tool(command[0].removesuffix(".py"))
        seen = []
        monkeypatch.setattr(
            tool, "run_command", lambda parser, run, arguments=None: seen.append(parser.parse_args(arguments))
        )
        tool.main(list(command[1:]))
        return seen[0]

    return parsed


@dataclass
class BlobProject:
    """A folder with ``ensemble.py`` and ``data/blobs`` in which tools are run.

    Attributes:
        root: the folder, which is the working folder.
        blobs: the module of the members.
        call: runs ``call(tool, *arguments)`` in this process; returns exit code, stdout, stderr.
    """

    root: Path
    blobs: ModuleType
    call: Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def blob_module() -> ModuleType:
    """``tests/ensemble/blob_member.py``."""
    path = PROJECT / "tests" / "ensemble" / "blob_member.py"
    spec = importlib.util.spec_from_file_location("tools_blob_member", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tools_blob_member"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def blob_data(blob_module, tmp_path_factory) -> Path:
    """A prepared data folder of 12 images, 6 of round and 6 of long cells, in 6 groups and 3 folds."""
    folder = tmp_path_factory.mktemp("blob_data")
    (folder / "images").mkdir()
    rows = [("id", "annotation", "width", "height", "cell_type", "group")]
    for number in range(12):
        long = number % 2 == 1
        image, masks = blob_module.blob_image(number, long=long)
        key = f"{'long' if long else 'round'}{number}"
        Image.fromarray(image[:, :, 0]).save(folder / "images" / f"{key}.png")
        kind, group = ("b_long", "a_round")[not long], f"g{number // 4}{long}"
        rows += [(key, text, 128, 96, kind, group) for text in masks.to_rle()]
    with open(folder / "train.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    arguments = ["sartorius", "--csv", str(folder / "train.csv"), "--images", str(folder / "images")]
    arguments += ["--out", str(folder / "blobs"), "--folds", "3", "--group", "group"]
    assert load_tool("prepare_data").main(arguments) == 0
    return folder / "blobs"


@pytest.fixture
def blob_project(blob_module, blob_data, tmp_path, monkeypatch, capsys) -> BlobProject:
    """A working folder with an ensemble config and data; see ``BlobProject``."""
    from cellseg.members import build

    monkeypatch.setitem(build.MEMBER_TYPES, "blob", ("tools_blob_member", "BlobMember"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ensemble.py").write_text(ENSEMBLE)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "blobs").symlink_to(blob_data)
    blob_module.BlobMember.encoded = 0

    def call(tool: str, *arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = load_tool(tool).main([str(argument) for argument in arguments])
        except SystemExit as ended:  # how argparse ends
            code = ended.code
        return code, *capsys.readouterr()

    return BlobProject(tmp_path, blob_module, call)
