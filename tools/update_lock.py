#!/usr/bin/env python3
"""Write the lock file anew: the newest versions that fit ``setup.cfg`` and ``requirements/pins.txt``.

pip resolves (``--dry-run --report``), nothing is installed. Run it with Python 3.11 on Linux x86_64: ``make lock``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from setup_env import LOCK, LOCKED, ROOT, read_settings, uses_lock

PINS = "requirements/pins.txt"
# The same module without the window functions: it needs no libGL, which servers and containers lack. pip cannot be told
# that it satisfies a requirement of opencv-python, hence the exchange here and --no-deps where the lock is installed.
STAND_INS = {"opencv-python": "opencv-python-headless"}
BUILD_TOOLS = ("wheel",)  # yolox's build asks for it
HEADER = f"""\
# Exact versions for Python {LOCKED[0]}.{LOCKED[1]} on Linux x86_64, written by `make lock` from setup.cfg and {PINS}.
# Installed with --no-deps, so that opencv-python-headless can stand in for opencv-python: the same module cv2 without
# window functions, and without libGL, which a bare machine does not have.
"""


class LockError(Exception):
    """The lock cannot be written; its text says why."""


def requirements_of(root: Path) -> list[str]:
    """The requirement lines of ``setup.cfg``, those of the tests included."""
    settings = read_settings(root)
    text = settings["options"]["install_requires"] + settings["options.extras_require"]["test"]
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")] + list(BUILD_TOOLS)


def resolve(requirements: list[str], root: Path, *options: str) -> list[dict[str, Any]]:
    """What pip would install into an empty environment: the ``install`` list of its report.

    Raises:
        LockError: pip finds no versions that fit together; its own message is on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, "wanted.txt"), Path(folder, "report.json")
        wanted.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "--requirement", str(wanted), *options]
        if subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL).returncode != 0:
            raise LockError("pip cannot resolve the requirements of setup.cfg; its error stands above")
        return json.loads(report.read_text(encoding="utf-8"))["install"]


def lock_lines(installs: list[dict[str, Any]]) -> list[str]:
    """One requirement with its hash for every package of a report, ordered by name.

    Raises:
        LockError: a version exists on this machine only (``+cpu`` and the like), or a file has no sha256.
    """
    lines = {}
    for install in installs:
        name = re.sub(r"[-_.]+", "-", install["metadata"]["name"]).lower()
        version = install["metadata"]["version"]
        if "+" in version:
            raise LockError(f"{name} {version} is a local build, which other machines cannot install")
        digest = install["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if not digest:
            raise LockError(f"{name} {version}: pip's report has no sha256 of it")
        lines[name] = f"{name}=={version} \\\n    --hash=sha256:{digest}"
    return [lines[name] for name in sorted(lines)]


def exchange_stand_ins(installs: list[dict[str, Any]], root: Path) -> list[dict[str, Any]]:
    """The same report with each package of ``STAND_INS`` replaced by its stand-in of the same version."""
    versions = {install["metadata"]["name"]: install["metadata"]["version"] for install in installs}
    wanted = [f"{STAND_INS[name]}=={version}" for name, version in versions.items() if name in STAND_INS]
    kept = [install for install in installs if install["metadata"]["name"] not in STAND_INS]
    return kept + resolve(wanted, root, "--no-deps")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 when the lock is written, 2 with one line on stderr when it is left as it was."""
    parser = argparse.ArgumentParser(
        description="Write requirements/lock-py311-linux.txt anew.", epilog="example: make lock"
    )
    parser.parse_args(arguments)
    try:
        if not uses_lock(sys.version_info[:3]):
            raise LockError(f"the lock is for Python 3.11 on Linux x86_64, this is {sys.executable}")
        installs = resolve(requirements_of(ROOT), ROOT, "--constraint", PINS)
        lines = lock_lines(exchange_stand_ins(installs, ROOT))
    except LockError as error:
        print(f"update_lock: error: {error}", file=sys.stderr)
        return 2
    (ROOT / LOCK).write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"update_lock: {LOCK} holds {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
