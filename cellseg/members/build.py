"""From an entry of an ensemble config to a member."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from cellseg.errors import InputError
from cellseg.members.base import Member

# Imported on demand: a YOLOX-only ensemble should not wait for mmdet and mmseg.
MEMBER_TYPES = {
    "yolox": ("cellseg.members.yolox", "YoloxMember"),
    "mask_rcnn": ("cellseg.members.mask_rcnn", "MaskRCNNMember"),
    "upernet": ("cellseg.members.upernet", "UPerNetMember"),
    "upernet_crops": ("cellseg.members.upernet_crops", "UPerNetCropsMember"),
    "feature_fusion": ("cellseg.ensemble.feature_fusion.member", "FeatureFusionMember"),
}


def member_class(kind: str) -> type[Member]:
    """The class of a key of ``MEMBER_TYPES``; importing it may take seconds."""
    module, name = MEMBER_TYPES[kind]
    return getattr(import_module(module), name)


def build_member(spec: Mapping[str, Any]) -> Member:
    """Build a member from its entry in an ensemble config.

    Args:
        spec: ``type`` (a key of ``MEMBER_TYPES``) and the keyword arguments of that member: ``name`` (default: the
            type), ``work_dir`` (a training's folder, meaning its ``config.py`` and ``best.pth``) or ``config`` and
            ``checkpoint``, ``device``, and the member's own options.

    Raises:
        InputError: unknown type or option, or a file that cannot be used.
    """
    options = dict(spec)
    kind = options.pop("type", None)
    if kind not in MEMBER_TYPES:
        raise InputError(f"member {dict(spec)}: type {kind!r} is none of {sorted(MEMBER_TYPES)}")
    options.setdefault("name", kind)
    if work_dir := options.pop("work_dir", None):
        options.setdefault("config", f"{work_dir}/config.py")
        options.setdefault("checkpoint", f"{work_dir}/best.pth")
    missing = [key for key in ("config", "checkpoint") if not options.get(key)]
    if missing:
        raise InputError(f"member {options['name']!r}: give work_dir, or config and checkpoint (missing: {missing})")
    _check_device(options)
    chosen = member_class(kind)
    known = signature(chosen).parameters
    if unknown := [key for key in options if key not in known]:
        expected = ", ".join(sorted({*known, "type", "views", "work_dir"}))
        raise InputError(f"member {options['name']!r}: unknown option {unknown[0]!r}; {kind} has {expected}")
    try:
        return chosen(**options)
    except TypeError as error:
        if "missing" in str(error):
            raise InputError(f"member {options['name']!r}: {error}") from error
        raise


def _check_device(options: Mapping[str, Any]) -> None:
    import torch

    text = options.get("device", "cpu")
    try:
        device = torch.device(text)
    except (RuntimeError, TypeError):
        raise InputError(f"member {options['name']!r}: device {text!r}: expected cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"member {options['name']!r}: device {text!r}: there is no such CUDA device; use 'cpu'")
