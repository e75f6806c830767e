"""tools/update_lock.py, and that the lock in the project is what setup.cfg asks for."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parent.parent
LOCK = PROJECT / "requirements" / "lock-py311-linux.txt"


@pytest.fixture
def update_lock(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PROJECT / "tools"))
    for name in ("setup_env", "update_lock"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("update_lock")


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    """Versions of the lock by name."""
    return dict(re.findall(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}$", LOCK.read_text(), re.MULTILINE))


def package(name: str, version: str, digest: str = "0" * 64) -> dict[str, Any]:
    """An entry of pip's report."""
    return {
        "metadata": {"name": name, "version": version},
        "download_info": {"archive_info": {"hashes": {"sha256": digest} if digest else {}}},
    }


def test_lock_satisfies_setup_cfg(update_lock: ModuleType, locked: dict[str, str]) -> None:
    requirements = [Requirement(line) for line in update_lock.requirements_of(PROJECT)]
    assert len(requirements) > 20
    for requirement in requirements:
        name = update_lock.STAND_INS.get(requirement.name, requirement.name)
        assert requirement.specifier.contains(locked[name]), f"{requirement}: run `make lock`"


def test_lock_keeps_the_pins(update_lock: ModuleType, locked: dict[str, str]) -> None:
    pins = [line for line in (PROJECT / update_lock.PINS).read_text().splitlines() if not line.startswith("#")]
    assert pins == [f"{name}=={locked[name]}" for name in ("torch", "torchvision")]


def test_lock_can_be_installed_elsewhere() -> None:
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    assert "://" not in "".join(lines)
    for requirement, digest in zip(lines[::2], lines[1::2], strict=True):
        assert re.fullmatch(r"[a-z0-9-]+==[\w.-]+ \\", requirement)
        assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", digest)


def test_every_locked_package_is_in_the_list_of_licences(locked: dict[str, str]) -> None:
    words = set(re.findall(r"[a-z0-9-]+", (PROJECT / "THIRD_PARTY.md").read_text()))
    assert sorted({*locked, "yolox"} - words) == []


def test_lines_are_normalised_and_ordered(update_lock: ModuleType) -> None:
    lines = update_lock.lock_lines([package("Typing_Extensions", "4.1"), package("absl-py", "2.0", "f" * 64)])
    assert lines == [
        f"absl-py==2.0 \\\n    --hash=sha256:{'f' * 64}",
        f"typing-extensions==4.1 \\\n    --hash=sha256:{'0' * 64}",
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (package("torch", "2.13.0+cpu"), "torch 2.13.0+cpu is a local build, which other machines cannot install"),
        (package("torch", "2.13.0", ""), "torch 2.13.0: pip's report has no sha256 of it"),
    ],
)
def test_what_cannot_be_locked(update_lock: ModuleType, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(update_lock.LockError) as caught:
        update_lock.lock_lines([entry])
    assert str(caught.value) == message


class TestMain:
    @pytest.fixture(autouse=True)
    def scratch_project(self, update_lock: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "requirements").mkdir()
        (tmp_path / "setup.cfg").write_text((PROJECT / "setup.cfg").read_text())
        monkeypatch.setattr(update_lock, "ROOT", tmp_path)
        monkeypatch.setattr(update_lock, "uses_lock", lambda version: True)

    def test_writes_the_lock_with_the_stand_in(
        self, update_lock: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def resolve(requirements: list[str], root: Path, *options: str) -> list[dict[str, Any]]:
            asked.append((requirements, options))
            if "--no-deps" in options:
                return [package("opencv-python-headless", "5.0")]
            return [package("tqdm", "4.0"), package("opencv-python", "5.0")]

        monkeypatch.setattr(update_lock, "resolve", resolve)
        assert update_lock.main([]) == 0
        assert asked[0] == (update_lock.requirements_of(PROJECT), ("--constraint", "requirements/pins.txt"))
        assert asked[1] == (["opencv-python-headless==5.0"], ("--no-deps",))
        text = (tmp_path / update_lock.LOCK).read_text()
        assert re.findall(r"^[\w.-]+==\S+", text, re.MULTILINE) == ["opencv-python-headless==5.0", "tqdm==4.0"]

    def test_old_lock_stays_when_pip_cannot_resolve(
        self, update_lock: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
    ) -> None:
        (tmp_path / update_lock.LOCK).write_text("old\n")
        monkeypatch.setattr(update_lock.sys, "executable", "/bin/false")
        assert update_lock.main([]) == 2
        assert "pip cannot resolve the requirements of setup.cfg" in capsys.readouterr().err
        assert (tmp_path / update_lock.LOCK).read_text() == "old\n"
