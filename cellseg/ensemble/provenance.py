"""Where results come from: versions and members, without times or places."""

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import cellseg
from cellseg.members import Member

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "mmengine",
    "mmdet",
    "mmsegmentation",
    "yolox",
)


def versions() -> dict[str, str]:
    """Versions of this package and of those that results depend on."""
    found = {"cellseg": cellseg.__version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_members(members: Sequence[Member]) -> dict[str, str]:
    """A hash of each member's identity, by name: it changes when the member's answers may change."""
    return {member.name: hash_json(member.identity()) for member in members}


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON-able value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
