"""Settings from a config or from ``weights.json``, checked key by key, and ``weights.json`` written."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellseg.ensemble.settings import EnsembleSettings, Settings
from cellseg.ensemble.votes.calibration import Calibration
from cellseg.ensemble.votes.claims import POLICIES
from cellseg.ensemble.votes.schemes import SCHEMES
from cellseg.errors import InputError
from cellseg.io.files import read_json, write_json

if TYPE_CHECKING:
    from cellseg.ensemble.matching.match import MatchOptions

FORMAT = 1
_PARTS = ("global", "types", "alone", "calibration", "variants", "matching")
_KEYS = ("format", "members", "class_names", *_PARTS, "provenance")

# Smallest and largest value of each number.
_RANGES = {
    "exponent": (0.0, math.inf),
    "mask_threshold": (0.0, 1.0),
    "score_threshold": (0.0, 1.0),
    "nms_iou": (0.0, 1.0),
    "min_area": (0.0, math.inf),
}
_LINE = {"slope": 0.0, "intercept": -math.inf}  # of a calibration, with the smallest value
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
    parts = {key: content[key] for key in _PARTS if key in content}
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
        content: ``global`` (attributes of ``Settings``, ``claim``, ``vote``, ``margin``), ``types`` (by cell type; what
            is left out is as in ``global``), ``calibration`` (by member: ``slope``, ``intercept``), ``alone`` (by
            member) and ``variants`` (by any name; in both ``global``, ``types`` and, where it differs, ``calibration``
            again), and ``matching`` (attributes of ``MatchOptions``). Weights left out are equal.
        members: names of the ensemble's members.
        class_names: names of its cell types.
        where: the file or config, for messages.

    Raises:
        InputError: names ``where`` and the key.
    """
    _check_keys(content, _PARTS, where)
    settings = _read_settings(content, members, class_names, {}, where)
    parts = {}
    for key in ("alone", "variants"):
        values = _mapping(content.get(key, {}), f"{where}: {key}")
        parts[key] = {name: _read_part(values[name], settings, f"{where}: {key}.{name}") for name in values}
    for name, part in parts["alone"].items():
        _check_alone(name, part, f"{where}: alone.{name}")
    if content.get("matching") is not None:
        parts["matching"] = _read_matching(content["matching"], members, f"{where}: matching")
    return replace(settings, **parts)


def _read_settings(
    content: Mapping[str, Any],
    members: Sequence[str],
    class_names: Sequence[str],
    calibration: Mapping[str, Calibration],
    where: str,
) -> EnsembleSettings:
    """Settings without others inside; ``calibration`` is that of what they stand in."""
    general = dict(_mapping(content.get("global", {}), f"{where}: global"))
    choices = {}
    for key, default, known in (("claim", "probability", POLICIES), ("vote", "mean", tuple(SCHEMES))):
        choices[key] = general.pop(key, default)
        if choices[key] not in known:
            raise InputError(f"{where}: global.{key}: {choices[key]!r} is none of {', '.join(known)}")
    if general.get("margin") is not None:
        choices["margin"] = _number(general["margin"], 0.0, 1.0, f"{where}: global.margin")
    general.pop("margin", None)
    base = _read(Settings(weights=dict.fromkeys(members, 1.0)), general, members, f"{where}: global")
    types = {}
    for name, values in _mapping(content.get("types", {}), f"{where}: types").items():
        if name not in class_names:
            raise InputError(f"{where}: types.{name}: unknown cell type; the ensemble has {', '.join(class_names)}")
        values = _mapping(values, f"{where}: types.{name}")
        types[name] = _read(base, values, members, f"{where}: types.{name}")
    if "calibration" in content:
        calibration = _read_calibration(content["calibration"], members, f"{where}: calibration")
    return EnsembleSettings(tuple(members), tuple(class_names), base, types, calibration=calibration, **choices)


def _read_part(values: Any, whole: EnsembleSettings, where: str) -> EnsembleSettings:
    values = _mapping(values, where)
    _check_keys(values, ("global", "types", "calibration"), where)
    return _read_settings(values, whole.members, whole.class_names, whole.calibration, where)


def _check_alone(name: str, settings: EnsembleSettings, where: str) -> None:
    if name not in settings.members:
        raise InputError(f"{where}: unknown member; the ensemble has {', '.join(settings.members)}")
    for part in (settings.general, *settings.types.values()):
        if [member for member, weight in part.weights.items() if weight > 0] != [name]:
            raise InputError(f"{where}: weights: every other member should have weight 0, found {dict(part.weights)}")


def _read_calibration(value: Any, members: Sequence[str], where: str) -> dict[str, Calibration]:
    found = {}
    for name, line in _mapping(value, where).items():
        place = f"{where}.{name}"
        if name not in members:
            raise InputError(f"{place}: unknown member; the ensemble has {', '.join(members)}")
        _check_keys(_mapping(line, place), _LINE, place, separator=".")
        missing = [key for key in _LINE if key not in line]
        if missing:
            raise InputError(f"{place}.{missing[0]}: missing")
        found[name] = Calibration(*(_number(line[key], low, math.inf, f"{place}.{key}") for key, low in _LINE.items()))
    return found


def _read_matching(value: Any, members: Sequence[str], where: str) -> "MatchOptions":
    # Imported only here: the settings of a vote need nothing of it.
    from cellseg.ensemble.matching.match import parse_match_options

    options = parse_match_options(_mapping(value, where), where)
    unknown = [name for name in options.weights or {} if name not in members]
    if unknown:
        raise InputError(f"{where}.weights: unknown members {unknown}; the ensemble has {', '.join(members)}")
    return options


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


def _check_keys(content: Mapping[str, Any], known: Iterable[str], where: str, separator: str = ": ") -> None:
    for key in content:
        if key not in known:
            raise InputError(f"{where}{separator}{key}: unknown key; known are {', '.join(known)}")
