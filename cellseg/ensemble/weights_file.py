"""Settings from a config or from ``weights.json``, checked key by key, and ``weights.json`` written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from cellseg.ensemble.claims import POLICIES
from cellseg.ensemble.settings import EnsembleSettings, Settings
from cellseg.errors import InputError
from cellseg.io.files import read_json, write_json

FORMAT = 1
_KEYS = ("format", "members", "class_names", "global", "types", "alone", "provenance")

# Smallest and largest value of each number.
_RANGES = {
    "exponent": (0.0, math.inf),
    "mask_threshold": (0.0, 1.0),
    "score_threshold": (0.0, 1.0),
    "nms_iou": (0.0, 1.0),
    "min_area": (0.0, math.inf),
}
_SWITCHES = ("fill_holes", "largest_part")


def load_weights(
    path: str | Path, members: Sequence[str], class_names: Sequence[str]
) -> tuple[EnsembleSettings, dict[str, Any]]:
    """Read a weights file written for these members and cell types.

    Returns:
        The settings, and the provenance that stands in the file.

    Raises:
        MissingFileError: there is no such file.
        InputError: a wrong format, other members or types, or a value that cannot be used; names file and key.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: format: expected {FORMAT} (a file of tools/tune_ensemble.py), found {found!r}")
    _check_keys(content, _KEYS, str(path))
    for key, expected in (("members", members), ("class_names", class_names)):
        found = content.get(key)
        if not isinstance(found, list) or (sorted(map(str, found)) if key == "members" else found) != (
            sorted(expected) if key == "members" else list(expected)
        ):
            raise InputError(f"{path}: {key}: the ensemble has {list(expected)}, the file is for {found}; tune again")
    provenance = content.get("provenance", {})
    if not isinstance(provenance, dict):
        raise InputError(f"{path}: provenance: expected an object, found {provenance!r}")
    if "global" not in content:
        raise InputError(f"{path}: global: missing")
    parts = {key: content[key] for key in ("global", "types", "alone") if key in content}
    return parse_settings(parts, members, class_names, str(path)), provenance


def save_weights(path: str | Path, settings: EnsembleSettings, provenance: Mapping[str, Any]) -> None:
    """Write ``weights.json``."""
    head = {"format": FORMAT, "members": list(settings.members), "class_names": list(settings.class_names)}
    write_json(path, head | settings.to_dict() | {"provenance": dict(provenance)})


def parse_settings(
    content: Mapping[str, Any], members: Sequence[str], class_names: Sequence[str], where: str
) -> EnsembleSettings:
    """Settings from plain values.

    Args:
        content: ``global`` (attributes of ``Settings``, and ``claim``), ``types`` (by cell type; what is left out is as
            in ``global``) and ``alone`` (by member: ``global`` and ``types`` again). Weights left out are equal.
        members: names of the ensemble's members.
        class_names: names of its cell types.
        where: the file or config, for messages.

    Raises:
        InputError: names ``where`` and the key.
    """
    _check_keys(content, ("global", "types", "alone"), where)
    general = dict(_mapping(content.get("global", {}), f"{where}: global"))
    claim = general.pop("claim", "probability")
    if claim not in POLICIES:
        raise InputError(f"{where}: global.claim: {claim!r} is none of {', '.join(POLICIES)}")
    base = _read(Settings(weights=dict.fromkeys(members, 1.0)), general, members, f"{where}: global")
    types = {}
    for name, values in _mapping(content.get("types", {}), f"{where}: types").items():
        if name not in class_names:
            raise InputError(f"{where}: types.{name}: unknown cell type; the ensemble has {', '.join(class_names)}")
        values = _mapping(values, f"{where}: types.{name}")
        types[name] = _read(base, values, members, f"{where}: types.{name}")
    alone = {}
    for name, values in _mapping(content.get("alone", {}), f"{where}: alone").items():
        alone[name] = _read_alone(name, values, members, class_names, f"{where}: alone.{name}")
    return EnsembleSettings(tuple(members), tuple(class_names), base, types, claim, alone)


def _read_alone(
    name: str, values: Any, members: Sequence[str], class_names: Sequence[str], where: str
) -> EnsembleSettings:
    if name not in members:
        raise InputError(f"{where}: unknown member; the ensemble has {', '.join(members)}")
    values = _mapping(values, where)
    _check_keys(values, ("global", "types"), where)
    settings = parse_settings(values, members, class_names, where)
    for part in (settings.general, *settings.types.values()):
        if [member for member, weight in part.weights.items() if weight > 0] != [name]:
            raise InputError(f"{where}: weights: every other member should have weight 0, found {dict(part.weights)}")
    return settings


def _read(base: Settings, values: Mapping[str, Any], members: Sequence[str], where: str) -> Settings:
    _check_keys(values, [entry.name for entry in fields(Settings)], where, separator=".")
    changes: dict[str, Any] = {}
    for key, value in values.items():
        place = f"{where}.{key}"
        if key == "weights":
            changes[key] = _read_weights(value, members, place)
        elif key in _SWITCHES:
            if not isinstance(value, bool):
                raise InputError(f"{place}: expected true or false, found {value!r}")
            changes[key] = value
        else:
            low, high = _RANGES[key]
            changes[key] = _number(value, low, high, place)
            if key == "min_area":
                if changes[key] != int(changes[key]):
                    raise InputError(f"{place}: expected whole pixels, found {value!r}")
                changes[key] = int(changes[key])
    return replace(base, **changes)


def _read_weights(value: Any, members: Sequence[str], place: str) -> dict[str, float]:
    value = _mapping(value, place)
    unknown = [name for name in value if name not in members]
    missing = [name for name in members if name not in value]
    if unknown or missing:
        wrong = f"unknown members {unknown}" if unknown else f"no weight for {missing}"
        raise InputError(f"{place}: {wrong}; the ensemble has {', '.join(members)}")
    weights = {name: _number(value[name], 0.0, math.inf, f"{place}.{name}") for name in members}
    if not any(weights.values()):
        raise InputError(f"{place}: the weights are all 0")
    return weights


def _number(value: Any, low: float, high: float, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{place}: expected a number, found {value!r}")
    if not low <= value <= high:
        bounds = f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
        raise InputError(f"{place}: expected {bounds}, found {value!r}")
    return float(value)


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{place}: expected names with values, found {value!r}")
    return value


def _check_keys(content: Mapping[str, Any], known: Sequence[str], where: str, separator: str = ": ") -> None:
    for key in content:
        if key not in known:
            raise InputError(f"{where}{separator}{key}: unknown key; known are {', '.join(known)}")
