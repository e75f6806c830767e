"""What a training leaves for others: weights without the optimizer, and where they come from."""

import io
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from cellseg.io.files import atomic_path

PACKAGES = ("torch", "torchvision", "mmengine", "mmcv-lite", "mmdet", "mmsegmentation", "yolox", "numpy")


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a network's numbers; those not installed are left out."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def publish_checkpoint(source: Path, target: Path, meta: Mapping[str, Any]) -> None:
    """Write ``target`` with the weights of ``source`` and ``meta``; it loads with ``weights_only=True``.

    Args:
        source: a checkpoint of an engine, holding ``state_dict`` (mmengine) or ``model`` (yolox).
        target: the file to write, complete or not at all.
        meta: plain values (numbers, strings, lists) about the training; package versions are added.
    """
    from cellseg.openmmlab.checkpoints import load_checkpoint_file

    checkpoint = load_checkpoint_file(source)
    weights = checkpoint.get("state_dict", checkpoint.get("model"))
    iteration = checkpoint.get("meta", {}).get("iter") if "meta" in checkpoint else None
    published = {
        "state_dict": {key: value.detach().cpu() for key, value in weights.items()},
        "meta": {"iteration": iteration, "versions": package_versions(), **meta},
    }
    # torch stores the name of the file it writes to: through memory, equal weights make equal files.
    buffer = io.BytesIO()
    torch.save(published, buffer)
    with atomic_path(target) as temporary:
        temporary.write_bytes(buffer.getvalue())
