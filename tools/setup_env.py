#!/usr/bin/env python3
"""Make or refresh the environment in ``.venv``; does nothing when it is up to date.

Runs on the system's Python with nothing installed. Python 3.11 on Linux x86_64 gets the exact versions of
``requirements/lock-py311-linux.txt``; other interpreters get what fits the ranges of ``setup.cfg``.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 10), (3, 11), (3, 12))
LOCKED = (3, 11)
LOCK = "requirements/lock-py311-linux.txt"
YOLOX = "requirements/yolox.txt"
CANDIDATES = ("python3.11", "python3", "python3.12", "python3.10")
SPACE_NEEDED = 12e9  # bytes: 6.5 GB installed, and the wheels while they are unpacked, and pip's cache of them
PAUSES = (5.0, 20.0)  # seconds between the three tries of a step
INCOMPLETE = "incomplete\n"
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

# What a candidate interpreter says about itself. From inside a virtual environment it names the Python that made it,
# because that one is still there when `.venv` is emptied.
PROBE = """
import json, os, sys, sysconfig
try:
    import ensurepip, venv
    has_venv = True
except ImportError:
    has_venv = False
path = getattr(sys, "_base_executable", sys.executable)
has_headers = os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h"))
print(json.dumps([path, sys.version_info[:3], has_venv, has_headers]))
"""


class SetupError(Exception):
    """Something the user must put right; its text is the one line that is printed."""


class Interpreter(NamedTuple):
    """A Python that can be run."""

    name: str  # as it was asked for
    path: str
    version: tuple[int, ...]
    has_venv: bool
    has_headers: bool

    def fault(self) -> str:
        """Why the environment cannot be built with it; empty when it can."""
        minor = ".".join(map(str, self.version[:2]))
        if self.version[:2] not in SUPPORTED:
            return f"{self.name} is {'.'.join(map(str, self.version))}"
        if not self.has_venv:
            return f"{self.name} has no venv module (Debian: apt install python{minor}-venv)"
        if not self.has_headers:
            return f"{self.name} has no Python.h, needed to compile yolox (Debian: apt install python{minor}-dev)"
        return ""


class Step(NamedTuple):
    """One run of pip."""

    title: str
    arguments: tuple[str, ...]


def probe(name: str) -> Interpreter | None:
    """Run an interpreter; None when there is none of that name or it does not work (a version manager's empty shim)."""
    try:
        answer = subprocess.run([name, "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        path, version, has_venv, has_headers = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Interpreter(name, path, tuple(version), has_venv, has_headers)


def find_python(environment: Mapping[str, str]) -> Interpreter:
    """The interpreter to build the environment with.

    Args:
        environment: ``PYTHON`` in it names the interpreter; otherwise the first usable one on the path is taken,
            3.11 before the others.

    Raises:
        SetupError: there is none, with what is wrong with each.
    """
    names = [environment["PYTHON"]] if environment.get("PYTHON") else CANDIDATES
    faults = []
    for interpreter in filter(None, map(probe, names)):
        fault = interpreter.fault()
        if not fault:
            if faults:
                say(f"passing over: {'; '.join(faults)}")
            return interpreter
        faults.append(fault)
    found = "; ".join(faults) or f"none of these runs: {' '.join(names)}"
    raise SetupError(
        f"Python 3.11 is needed (3.10 and 3.12 work too): {found}. Install it or name one: PYTHON=/path/to/python3.11"
    )


def uses_lock(version: tuple[int, ...]) -> bool:
    return version[:2] == LOCKED and sys.platform == "linux" and platform.machine() == "x86_64"


def read_settings(root: Path) -> configparser.ConfigParser:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_string((root / "setup.cfg").read_text(encoding="utf-8"))
    return settings


def plan(root: Path, version: tuple[int, ...]) -> list[Step]:
    """The runs of pip that fill the environment of a Python of this version."""
    yolox = Step("building yolox", ("--no-build-isolation", "--no-deps", "-r", YOLOX))
    if uses_lock(version):
        return [
            Step("installing the locked packages", ("--no-deps", "-r", LOCK)),
            yolox,
            Step("installing cellseg", ("--no-build-isolation", "--no-deps", "-e", ".")),
        ]
    requirements = read_settings(root)["options"]["install_requires"].split()
    setuptools = next(line for line in requirements if line.startswith("setuptools"))
    return [
        Step("installing the build tools", (setuptools, "wheel")),
        Step("installing what fits setup.cfg", ("--no-build-isolation", "-e", ".[test]")),
        yolox,
    ]


def stamp_of(root: Path, version: tuple[int, ...]) -> str:
    """Digest of everything the environment follows from; written into it when it is complete.

    The path is part of it because an environment does not survive being moved.
    """
    settings = read_settings(root)
    parts = [str(root), sys.platform, platform.machine(), repr(version), repr(plan(root, version))]
    parts += [repr(sorted(settings[name].items())) for name in sorted(settings) if name.startswith("options")]
    files = ["pyproject.toml", YOLOX] + ([LOCK] if uses_lock(version) else [])
    parts += [(root / name).read_text(encoding="utf-8") for name in files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest() + "\n"


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def venv_version(venv: Path) -> tuple[int, ...] | None:
    """Python's version as the environment's own file says it; None when there is no usable environment."""
    if not (venv / "bin" / "python").exists():  # also when it points to an interpreter that was removed
        return None
    for line in read_text(venv / "pyvenv.cfg").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "version":
            return tuple(int(number) for number in value.strip().split(".")[:3])
    return None


def is_fresh(root: Path, environment: Mapping[str, str]) -> bool:
    """Whether ``.venv`` is complete, of the wanted Python, and made from the files as they are now."""
    version = venv_version(root / ".venv")
    if version is None or read_text(stamp_path(root)) != stamp_of(root, version):
        return False
    if not environment.get("PYTHON"):
        return True
    wanted = probe(environment["PYTHON"])
    return wanted is not None and wanted.version == version


def stamp_path(root: Path) -> Path:
    return root / ".venv" / "cellseg-stamp"


def size_of(folder: Path) -> int:
    """Bytes in a folder, 0 when it does not exist."""
    return sum(
        entry.stat().st_size
        for parent, _, names in os.walk(folder)
        for entry in (Path(parent, name) for name in names)
        if not entry.is_symlink()
    )


def check_machine(root: Path, environment: Mapping[str, str]) -> None:
    """Find out before anything is downloaded what would stop the installation at its end.

    Raises:
        SetupError: there is no compiler, or too little space.
    """
    compilers = [environment["CXX"].split()[0]] if environment.get("CXX") else ["g++", "c++", "clang++"]
    if not any(shutil.which(name, path=environment.get("PATH")) for name in compilers):
        tried = ", ".join(compilers)
        raise SetupError(f"no C++ compiler ({tried}) is installed, yolox needs one (Debian: apt install g++)")
    free = shutil.disk_usage(root).free + size_of(root / ".venv")
    if free < SPACE_NEEDED:
        raise SetupError(
            f"the environment needs {SPACE_NEEDED / 1e9:.0f} GB on the disk of {root}, {free / 1e9:.1f} GB are free"
        )


def run_pip(root: Path, step: Step, environment: Mapping[str, str]) -> int:
    """Run one step of the plan; returns pip's exit code (negative: the signal that ended it)."""
    # The temporary folder of the machine may be a small one in memory.
    temporary = root / ".venv" / "tmp"
    temporary.mkdir(exist_ok=True)
    variables = {**environment, "TMPDIR": str(temporary), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    command = [str(root / ".venv" / "bin" / "python"), "-m", "pip", "install", *step.arguments]
    if not sys.stdout.isatty():
        command.append("--quiet")
    try:
        return subprocess.run(command, cwd=root, env=variables, stdin=subprocess.DEVNULL).returncode
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def run_step(root: Path, step: Step, environment: Mapping[str, str]) -> None:
    """Run one step, again after a pause when it fails: most failures are downloads that break off.

    Raises:
        SetupError: it failed three times, or pip was killed.
    """
    for pause in (*PAUSES, None):
        say(step.title)
        code = run_pip(root, step, environment)
        if code == 0:
            return
        if code < 0:
            raise SetupError(f"pip was ended by signal {-code} while {step.title} (too little memory?)")
        if pause is not None:
            say(f"pip failed with exit code {code}; trying again in {pause:.0f} seconds")
            time.sleep(pause)
    # An orderly failure leaves whole packages behind: the next run goes on from there.
    stamp_path(root).unlink()
    tries = len(PAUSES) + 1
    raise SetupError(f"{step.title} failed {tries} times; pip's last error stands above (network? disk? compiler?)")


def prepare_venv(root: Path, interpreter: Interpreter) -> None:
    """Leave a ``.venv`` to install into: the one that is there if it is sound, else a new one."""
    venv = root / ".venv"
    sound = venv_version(venv) == interpreter.version and read_text(stamp_path(root)) != INCOMPLETE
    venv.mkdir(exist_ok=True)
    if not sound:
        empty(venv)
    # Until the real stamp replaces it: an installation that is cut short may leave half a package.
    stamp_path(root).write_text(INCOMPLETE, encoding="utf-8")
    if not sound:
        say(f"creating .venv with {interpreter.path}; about 3 GB are downloaded, then 6.5 GB installed")
        if subprocess.run([interpreter.path, "-m", "venv", str(venv)], stdin=subprocess.DEVNULL).returncode != 0:
            raise SetupError(f"{interpreter.path} -m venv {venv} failed; its error stands above")


def empty(folder: Path) -> None:
    """Remove what is in a folder; the folder stays, it may be a link to a larger disk."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove_opencv_twin(root: Path, environment: Mapping[str, str]) -> None:
    """Remove ``opencv-python``, whose files would be mixed with those of the locked headless build."""
    packages = (root / ".venv").glob("lib/python*/site-packages/opencv_python*-*.dist-info")
    names = sorted(package.name.partition("-")[0] for package in packages)
    if "opencv_python" in names:  # removing it takes files of the headless build along, so that one goes too
        command = [str(root / ".venv" / "bin" / "python"), "-m", "pip", "uninstall", "--yes", "--quiet", *names]
        subprocess.run(command, env=dict(environment), check=False)


def install(root: Path, environment: Mapping[str, str]) -> None:
    """Make ``.venv`` complete, or raise SetupError."""
    interpreter = find_python(environment)
    check_machine(root, environment)
    if not uses_lock(interpreter.version):
        say(f"{interpreter.name} is not Python 3.11 on Linux x86_64: versions come from the ranges of setup.cfg")
    prepare_venv(root, interpreter)
    if uses_lock(interpreter.version):
        remove_opencv_twin(root, environment)
    for step in plan(root, interpreter.version):
        run_step(root, step, environment)
    partial = stamp_path(root).with_suffix(".part")
    partial.write_text(stamp_of(root, interpreter.version), encoding="utf-8")
    os.replace(partial, stamp_path(root))


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Wait until no other run of this script works on the same folder."""
    try:
        handle = open(root / ".venv.lock", "w", encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{root} cannot be written ({error.strerror}): work in a copy that is yours") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(f"setup_env: {text}", flush=True)


def main(arguments: list[str] | None = None, root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> int:
    """Returns the exit code: 0 when ``.venv`` is complete, 2 with one line on stderr when something stops it."""
    parser = argparse.ArgumentParser(
        description="Make or refresh .venv. The variable PYTHON names the interpreter to use.",
        epilog="example:\n  PYTHON=python3.12 python3 tools/setup_env.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    try:
        if is_fresh(root, environment):
            return 0
        with only_one(root):
            if not is_fresh(root, environment):
                install(root, environment)
                say("the environment is ready")
    except SetupError as error:
        print(f"setup_env: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except OSError as error:
        print(f"setup_env: error: {error.filename or root}: {error.strerror or error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("setup_env: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
