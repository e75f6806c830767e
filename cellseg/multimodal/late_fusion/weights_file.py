"""The file of late fusion weights: written with where they come from, read with every entry checked."""

import math
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import cellseg
from cellseg.errors import InputError
from cellseg.io.files import read_json, write_json
from cellseg.multimodal.late_fusion.combine import MEANS, FusionWeights, on_simplex

FORMAT = 1
KIND = "late_fusion"
_KEYS = ("format", "kind", "models", "class_names", "mean", "weights", "provenance")
_PACKAGES = ("torch", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of this package and of those that the weights depend on."""
    found = {"cellseg": cellseg.__version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def save_fusion_weights(path: str | Path, weights: FusionWeights, provenance: Mapping[str, Any]) -> None:
    """Write weights, and how they were found."""
    content = {
        "format": FORMAT,
        "kind": KIND,
        "models": list(weights.models),
        "class_names": list(weights.class_names),
        "mean": weights.mean,
        "weights": weights.to_dict(),
        "provenance": {**provenance, "versions": versions()},
    }
    write_json(path, content)


def load_fusion_weights(path: str | Path) -> tuple[FusionWeights, dict[str, Any]]:
    """Read a file of ``save_fusion_weights``.

    Returns:
        The weights, and the provenance that stands in the file.

    Raises:
        MissingFileError: there is no such file.
        InputError: something else stands there; names file and key.
    """
    content = read_json(path)
    if not isinstance(content, dict) or (content.get("format"), content.get("kind")) != (FORMAT, KIND):
        raise InputError(f"{path}: not a file of late fusion weights, as tools/tune_late_fusion.py writes it")
    for key in [key for key in (*content, *_KEYS) if (key in content) != (key in _KEYS)]:
        raise InputError(f"{path}: {key}: {'unknown key' if key in content else 'missing'}")
    models, classes = (_names(content[key], f"{path}: {key}") for key in ("models", "class_names"))
    if content["mean"] not in MEANS:
        raise InputError(f"{path}: mean: {content['mean']!r} is none of {', '.join(MEANS)}")
    if not isinstance(content["provenance"], dict):
        raise InputError(f"{path}: provenance: expected an object, found {content['provenance']!r}")
    rows = _values(content["weights"], models, f"{path}: weights")
    if any(isinstance(row, Mapping) for row in rows):
        pairs = zip(models, rows, strict=True)
        rows = [_values(row, classes, f"{path}: weights.{model}") for model, row in pairs]
        numbers = [[_number(value, f"{path}: weights") for value in row] for row in rows]
    else:
        numbers = [_number(value, f"{path}: weights.{model}") for model, value in zip(models, rows, strict=True)]
    values = np.array(numbers, dtype=np.float64)
    if (values.sum(axis=0) == 0).any():
        raise InputError(f"{path}: weights: those of all models are 0")
    return FusionWeights(models, classes, on_simplex(values), content["mean"]), content["provenance"]


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise InputError(f"{where}: expected a list of names, found {value!r}")
    return tuple(value)


def _values(value: Any, names: Sequence[str], where: str) -> list[Any]:
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise InputError(f"{where}: expected one for each of {', '.join(names)}, found {value!r}")
    return [value[name] for name in names]


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"{where}: expected a number from 0 on, found {value!r}")
    return float(value)
