"""The config of a model reduced to some of its modalities: what one of them is worth alone, or all without one."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS

from cellseg.errors import InputError


def keep_modalities(parts: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, Any]:
    """Arguments of a model that has only some of the modalities.

    With one modality there is no fusion, and no head copies words of a text that is left out. Auxiliary losses are left
    out where they name a modality that is left out, or need several and there is one.

    Args:
        parts: arguments of ``MultimodalModel``, as configs.
        modalities: names of those to keep, at least one; their order is that of the encoders.

    Raises:
        InputError: a name twice, unknown, or none.
    """
    known = list(parts.get("encoders") or ())
    if isinstance(modalities, str) or not modalities or len(set(modalities)) < len(modalities):
        raise InputError(f"model.modalities: expected a list of different names, found {modalities!r}")
    for name in modalities:
        if name not in known:
            raise InputError(f"model.modalities: {name!r} has no encoder; the config encodes {', '.join(known)}")
    kept = [name for name in known if name in modalities]
    changed = {"encoders": {name: parts["encoders"][name] for name in kept}}
    if len(kept) == 1:
        changed["fusion"] = None
    if "heads" in parts:
        changed["heads"] = {task: _of_kept(head, kept) for task, head in parts["heads"].items()}
    if "auxiliary" in parts:
        changed["auxiliary"] = [one for one in parts["auxiliary"] if _still_fits(one, kept)]
    rates = parts.get("modality_dropout")
    if isinstance(rates, Mapping):
        changed["modality_dropout"] = {name: rate for name, rate in rates.items() if name in kept}
    return {**parts, **changed}


def _of_kept(head: Mapping[str, Any], kept: Sequence[str]) -> dict[str, Any]:
    """A head that copies words of a modality that is left out copies none."""
    return {**head, "copy": None} if head.get("copy") is not None and head["copy"] not in kept else dict(head)


def _still_fits(auxiliary: Mapping[str, Any], kept: Sequence[str]) -> bool:
    named = [auxiliary.get("modality"), *(auxiliary.get("modalities") or ())]
    kind = auxiliary.get("type")
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    there = all(name is None or name in kept for name in named)
    return there and len(kept) >= getattr(kind, "least_modalities", 1)
