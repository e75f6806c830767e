"""tools/setup_env.py: what it says when it cannot work, and when it decides to install again. Nothing is installed."""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

PROJECT = Path(__file__).resolve().parent.parent
VERSION = (3, 11, 7)
FILES = ("setup.cfg", "pyproject.toml", "requirements/lock-py311-linux.txt", "requirements/yolox.txt")


@pytest.fixture
def setup_env() -> ModuleType:
    specification = importlib.util.spec_from_file_location("setup_env", PROJECT / "tools" / "setup_env.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def on_linux(setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is for Linux; its handling is tested everywhere."""
    monkeypatch.setattr(setup_env, "uses_lock", lambda version: version[:2] == (3, 11))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project folder with what the script reads."""
    folder = tmp_path / "project"
    for name in (*FILES, "tools/setup_env.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    return folder


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """An empty folder to use as the whole path of programs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    return folder


def add_program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def add_python(folder: Path, name: str, version: str, has_venv: str = "true", has_headers: str = "true") -> None:
    """An interpreter that answers the script's question and can do nothing else."""
    add_program(folder, name, f"""echo '["/nowhere/{name}", [{version}], {has_venv}, {has_headers}]'""")


def add_compiler(folder: Path) -> None:
    add_program(folder, "g++", "exit 1")


def run_script(root: Path, programs: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script as ``make env`` starts it, with nothing on the path but ``programs``."""
    environment = {"PATH": str(programs), "HOME": str(root), **variables}
    command = [sys.executable, str(root / "tools" / "setup_env.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def make_venv(setup_env: ModuleType, root: Path, version: tuple[int, ...] = VERSION) -> Path:
    """A folder that looks like a complete environment."""
    venv = root / ".venv"
    (venv / "bin").mkdir(parents=True)
    add_program(venv / "bin", "python", "exit 0")
    (venv / "pyvenv.cfg").write_text(f"home = /nowhere\nversion = {'.'.join(map(str, version))}\n")
    setup_env.stamp_path(root).write_text(setup_env.stamp_of(root, version))
    return venv


PYTHON_NEEDED = "setup_env: error: Python 3.11 is needed (3.10 and 3.12 work too): "
NAME_ONE = ". Install it or name one: PYTHON=/path/to/python3.11\n"


@pytest.mark.parametrize(
    ("pythons", "fault"),
    [
        ([], "none of these runs: python3.11 python3 python3.12 python3.10"),
        ([("python3", "3, 13, 1")], "python3 is 3.13.1"),
        ([("python3", "3, 9, 18"), ("python3.10", "3, 14, 0")], "python3 is 3.9.18; python3.10 is 3.14.0"),
        (
            [("python3.11", "3, 11, 2", "false")],
            "python3.11 has no venv module (Debian: apt install python3.11-venv)",
        ),
        (
            [("python3", "3, 12, 1", "true", "false")],
            "python3 has no Python.h, needed to compile yolox (Debian: apt install python3.12-dev)",
        ),
    ],
)
def test_no_usable_python_is_one_line(root: Path, programs: Path, pythons: list[tuple[str, ...]], fault: str) -> None:
    for python in pythons:
        add_python(programs, *python)
    add_compiler(programs)
    result = run_script(root, programs)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == PYTHON_NEEDED + fault + NAME_ONE


def test_python_that_is_named_and_wrong(root: Path, programs: Path) -> None:
    add_python(programs, "python3.11", "3, 11, 7")
    add_python(programs, "other", "3, 8, 1")
    result = run_script(root, programs, PYTHON="other")
    assert (result.returncode, result.stderr) == (2, f"{PYTHON_NEEDED}other is 3.8.1{NAME_ONE}")


def test_shim_that_fails_is_passed_over(setup_env: ModuleType, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_program(programs, "python3.11", "echo 'python3.11: command not found' >&2; exit 127")
    add_python(programs, "python3", "3, 12, 4")
    monkeypatch.setenv("PATH", str(programs))
    assert setup_env.find_python({}) == ("python3", "/nowhere/python3", (3, 12, 4), True, True)


def test_python_3_11_comes_first(setup_env: ModuleType, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_python(programs, "python3", "3, 12, 4")
    add_python(programs, "python3.11", "3, 11, 9")
    monkeypatch.setenv("PATH", str(programs))
    assert setup_env.find_python({}).name == "python3.11"
    assert setup_env.find_python({"PYTHON": "python3"}).version == (3, 12, 4)


def test_probe_of_a_virtual_environment_names_the_python_below_it(setup_env: ModuleType) -> None:
    interpreter = setup_env.probe(sys.executable)
    assert interpreter.version == sys.version_info[:3]
    assert Path(interpreter.path).exists()
    assert PROJECT / ".venv" not in Path(interpreter.path).parents


def test_no_compiler_is_one_line(root: Path, programs: Path) -> None:
    add_python(programs, "python3.11", "3, 11, 7")
    result = run_script(root, programs)
    expected = "no C++ compiler (g++, c++, clang++) is installed, yolox needs one (Debian: apt install g++)"
    assert (result.returncode, result.stderr) == (2, f"setup_env: error: {expected}\n")
    assert not (root / ".venv").exists()
    assert "(my-c++)" in run_script(root, programs, CXX="my-c++ -O2").stderr


def test_no_space_is_one_line(
    setup_env: ModuleType,
    root: Path,
    programs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_python(programs, "python3.11", "3, 11, 7")
    add_compiler(programs)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3.14e9))
    assert setup_env.main([], root, {"PYTHON": str(programs / "python3.11"), "PATH": str(programs)}) == 2
    expected = f"setup_env: error: the environment needs 12 GB on the disk of {root}, 3.1 GB are free\n"
    assert capsys.readouterr().err == expected


def test_space_of_the_old_environment_counts(
    setup_env: ModuleType, root: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_compiler(programs)
    make_venv(setup_env, root)
    monkeypatch.setattr(setup_env, "SPACE_NEEDED", 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(setup_env.SetupError, match="0.0 GB are free"):
        setup_env.check_machine(root, {"PATH": str(programs)})
    (root / ".venv" / "large").write_bytes(b"x" * 1000)
    setup_env.check_machine(root, {"PATH": str(programs)})


def test_folder_that_cannot_be_written_is_one_line(root: Path, programs: Path) -> None:
    (root / ".venv.lock").mkdir()  # stands for missing rights, which root would not notice
    result = run_script(root, programs)
    expected = f"setup_env: error: {root} cannot be written (Is a directory): work in a copy that is yours\n"
    assert (result.returncode, result.stderr) == (2, expected)


def test_missing_lock_file_is_one_line(setup_env: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_venv(setup_env, root)
    (root / "requirements" / "yolox.txt").unlink()
    assert setup_env.main([], root, {}) == 2
    expected = f"setup_env: error: {root / 'requirements' / 'yolox.txt'}: No such file or directory\n"
    assert capsys.readouterr().err == expected


class TestFreshness:
    def test_complete_environment_is_left_alone(self, setup_env: ModuleType, root: Path, programs: Path) -> None:
        make_venv(setup_env, root)
        result = run_script(root, programs)  # no Python on the path, no compiler: nothing of it is looked for
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")

    @pytest.mark.usefixtures("on_linux")
    @pytest.mark.parametrize("name", FILES[1:])
    def test_changed_file(self, setup_env: ModuleType, root: Path, name: str) -> None:
        make_venv(setup_env, root)
        assert setup_env.is_fresh(root, {})
        with open(root / name, "a", encoding="utf-8") as handle:
            handle.write("# changed\n")
        assert not setup_env.is_fresh(root, {})

    @pytest.mark.parametrize(
        ("old", "new", "fresh"),
        [
            ("scipy>=1.11", "scipy>=1.12", False),
            ("pytest-xdist>=3.5", "pytest-xdist>=3.6", False),
            ("testpaths = tests", "testpaths = checks", True),
            ("keywords = microscopy", "keywords = telescopes", True),
        ],
    )
    def test_setup_cfg_counts_where_it_says_what_to_install(
        self, setup_env: ModuleType, root: Path, old: str, new: str, fresh: bool
    ) -> None:
        make_venv(setup_env, root)
        text = (root / "setup.cfg").read_text()
        assert old in text
        (root / "setup.cfg").write_text(text.replace(old, new))
        assert setup_env.is_fresh(root, {}) is fresh

    def test_lock_is_of_no_concern_to_other_pythons(self, setup_env: ModuleType, root: Path) -> None:
        make_venv(setup_env, root, (3, 12, 1))
        (root / FILES[2]).write_text("")
        assert setup_env.is_fresh(root, {})

    def test_moved_project(self, setup_env: ModuleType, root: Path) -> None:
        make_venv(setup_env, root)
        moved = root.rename(root.with_name("moved"))
        assert not setup_env.is_fresh(moved, {})

    def test_removed_interpreter(self, setup_env: ModuleType, root: Path) -> None:
        python = make_venv(setup_env, root) / "bin" / "python"
        python.unlink()
        python.symlink_to("/nowhere/python3.11")
        assert not setup_env.is_fresh(root, {})

    @pytest.mark.parametrize("stamp", ["", "incomplete\n", None])
    def test_no_stamp(self, setup_env: ModuleType, root: Path, stamp: str | None) -> None:
        make_venv(setup_env, root)
        setup_env.stamp_path(root).unlink()
        if stamp is not None:
            setup_env.stamp_path(root).write_text(stamp)
        assert not setup_env.is_fresh(root, {})

    def test_other_python_is_wanted(self, setup_env: ModuleType, root: Path, programs: Path) -> None:
        make_venv(setup_env, root)
        add_python(programs, "same", "3, 11, 7")
        add_python(programs, "other", "3, 12, 1")
        assert setup_env.is_fresh(root, {"PYTHON": str(programs / "same")})
        assert not setup_env.is_fresh(root, {"PYTHON": str(programs / "other")})
        assert not setup_env.is_fresh(root, {"PYTHON": str(programs / "missing")})


@pytest.mark.usefixtures("on_linux")
class TestInstall:
    """The order of events, with programs that only write down how they are called."""

    @pytest.fixture
    def environment(self, programs: Path, tmp_path: Path, setup_env: ModuleType) -> dict[str, str]:
        """A Python 3.11 whose ``-m venv`` makes an environment, whose pip ends with the codes in ``codes``."""
        calls = tmp_path / "calls"
        (tmp_path / "codes").write_text("")
        pip = (
            f'echo "pip $*" >> {calls}; codes={tmp_path}/codes; code=$(head -n 1 $codes); sed -i 1d $codes; '
            '[ "${code:-0}" -lt 0 ] && kill "$code" $$; exit "${code:-0}"'
        )
        venv = (
            f'echo "venv" >> {calls}; mkdir -p "$3/bin"; cp {programs}/pip "$3/bin/python"; '
            'echo "version = 3.11.7" > "$3/pyvenv.cfg"; exit 0'
        )
        add_program(programs, "pip", pip)
        question = f"""echo '["{programs}/python3.11", [3, 11, 7], true, true]'"""
        add_program(programs, "python3.11", f'if [ "$2" = venv ]; then {venv}; fi; {question}')
        add_compiler(programs)
        setup_env.PAUSES = (0.0, 0.0)
        return {"PYTHON": str(programs / "python3.11"), "PATH": f"{programs}:{os.environ['PATH']}"}

    @staticmethod
    def calls(tmp_path: Path) -> list[str]:
        lines = (tmp_path / "calls").read_text().splitlines()
        (tmp_path / "calls").unlink()
        return [line.replace("pip -m pip ", "").replace(" --quiet", "") for line in lines]

    LOCKED = "install --no-deps -r requirements/lock-py311-linux.txt"
    YOLOX = "install --no-build-isolation --no-deps -r requirements/yolox.txt"
    SELF = "install --no-build-isolation --no-deps -e ."

    @pytest.fixture(autouse=True)
    def much_space(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1e12))

    def test_new_environment(
        self, setup_env: ModuleType, root: Path, environment: dict[str, str], tmp_path: Path
    ) -> None:
        assert setup_env.main([], root, environment) == 0
        assert self.calls(tmp_path) == ["venv", self.LOCKED, self.YOLOX, self.SELF]
        assert setup_env.is_fresh(root, environment)
        assert not (root / ".venv" / "tmp").exists()

    def test_changed_lock_completes_the_environment(
        self, setup_env: ModuleType, root: Path, environment: dict[str, str], tmp_path: Path
    ) -> None:
        setup_env.main([], root, environment)
        self.calls(tmp_path)
        with open(root / FILES[2], "a", encoding="utf-8") as handle:
            handle.write("# changed\n")
        assert setup_env.main([], root, environment) == 0
        assert self.calls(tmp_path) == [self.LOCKED, self.YOLOX, self.SELF]

    def test_broken_off_environment_is_made_anew(
        self, setup_env: ModuleType, root: Path, environment: dict[str, str], tmp_path: Path
    ) -> None:
        make_venv(setup_env, root)
        (root / ".venv" / "half").mkdir()
        setup_env.stamp_path(root).write_text(setup_env.INCOMPLETE)
        assert setup_env.main([], root, environment) == 0
        assert self.calls(tmp_path)[0] == "venv"
        assert not (root / ".venv" / "half").exists()

    def test_download_that_breaks_off_is_tried_again(
        self, setup_env: ModuleType, root: Path, environment: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "codes").write_text("1\n2\n0\n")
        assert setup_env.main([], root, environment) == 0
        assert self.calls(tmp_path) == ["venv", *[self.LOCKED] * 3, self.YOLOX, self.SELF]

    def test_download_that_never_comes(
        self,
        setup_env: ModuleType,
        root: Path,
        environment: dict[str, str],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "codes").write_text("0\n1\n1\n1\n")
        assert setup_env.main([], root, environment) == 2
        printed = capsys.readouterr()
        assert printed.err == (
            "setup_env: error: building yolox failed 3 times; "
            "pip's last error stands above (network? disk? compiler?)\n"
        )
        assert printed.out.count("pip failed with exit code 1; trying again in 0 seconds") == 2
        assert self.calls(tmp_path) == ["venv", self.LOCKED, *[self.YOLOX] * 3]
        assert setup_env.main([], root, environment) == 0  # and goes on with the environment as it is
        assert self.calls(tmp_path) == [self.LOCKED, self.YOLOX, self.SELF]

    def test_killed_pip_leaves_an_environment_that_is_made_anew(
        self,
        setup_env: ModuleType,
        root: Path,
        environment: dict[str, str],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "codes").write_text("-9\n")
        assert setup_env.main([], root, environment) == 2
        assert "pip was ended by signal 9 while installing the locked packages" in capsys.readouterr().err
        assert self.calls(tmp_path) == ["venv", self.LOCKED]
        assert setup_env.main([], root, environment) == 0
        assert self.calls(tmp_path)[0] == "venv"

    @pytest.mark.parametrize(
        ("found", "removed"),
        [
            (["opencv_python"], ["uninstall --yes opencv_python"]),
            (["opencv_python", "opencv_python_headless"], ["uninstall --yes opencv_python opencv_python_headless"]),
            (["opencv_python_headless"], []),
        ],
    )
    def test_opencv_of_another_kind_is_removed_first(
        self,
        setup_env: ModuleType,
        root: Path,
        environment: dict[str, str],
        tmp_path: Path,
        programs: Path,
        found: list[str],
        removed: list[str],
    ) -> None:
        venv = make_venv(setup_env, root)
        shutil.copy(programs / "pip", venv / "bin" / "python")
        for name in found:
            (venv / f"lib/python3.11/site-packages/{name}-5.0.0.dist-info").mkdir(parents=True)
        setup_env.stamp_path(root).unlink()
        assert setup_env.main([], root, environment) == 0
        assert self.calls(tmp_path) == [*removed, self.LOCKED, self.YOLOX, self.SELF]


def test_other_pythons_get_the_ranges(setup_env: ModuleType) -> None:
    steps = [step.arguments for step in setup_env.plan(PROJECT, (3, 12, 1))]
    assert steps == [
        ("setuptools>=70.1,<81", "wheel"),
        ("--no-build-isolation", "-e", ".[test]"),
        ("--no-build-isolation", "--no-deps", "-r", "requirements/yolox.txt"),
    ]
