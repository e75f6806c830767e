"""Training configs: loading, the user's options, and binding to a data folder."""

import ast
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from pprint import pformat
from typing import Any

from mmengine.config import Config

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError, MissingFileError

ENGINES = ("mmengine", "yolox")
_REPEATED = (int, float, str, list, tuple, type(None))  # what a placeholder of the config's own can stand for
_PLACEHOLDER = re.compile(r"\{\w+\}")


def read_config(path: str | Path) -> Config:
    """Read a config file. It is Python and gets executed: open only configs that you trust.

    Raises:
        MissingFileError: there is no such file.
        InputError: it cannot be read; the text says why.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such config file")
    try:
        return Config.fromfile(str(path))
    except Exception as error:  # a config is code of the user's: whatever it raises is an error in that file
        raise InputError(f"{path}: cannot be read as a config ({type(error).__name__}: {error})") from error


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a training config, apply ``--cfg-options`` and bind it to its data folder.

    Args:
        path: the config file.
        options: dotted keys and their values, over what the file says.

    Returns:
        The config with every placeholder replaced, see ``bind_data``.

    Raises:
        InputError: unknown engine, unknown option, too few iterations, or a data folder that cannot be used.
    """
    config = read_config(path)
    for key in options or {}:
        _require_known(config, key, path)
    # mmengine takes _delete_ out of the dicts that it merges: those of the caller stay as they are.
    try:
        config.merge_from_dict(deepcopy(dict(options or {})))
    except (AttributeError, TypeError, KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{path}: --cfg-options {' '.join(options)}: cannot be put into the config ({error}); one of them may "
            "stand in the way of another, and a dict cannot replace another kind of value"
        ) from error
    engine = config.get("engine")
    if engine not in ENGINES:
        raise InputError(f"{path}: engine = {engine!r} is none of {list(ENGINES)}; a training config names its engine")
    _check_length(config)
    return bind_data(config)


def _check_length(config: Config) -> None:
    """Say which option a training is too short for; the schedules' own errors do not."""
    iterations, warm_up = config.get("iterations"), config.get("warm_up")
    if isinstance(iterations, int) and isinstance(warm_up, int) and iterations <= warm_up:
        raise InputError(
            f"{config.filename}: iterations = {iterations}: should be more than warm_up = {warm_up}, in which the "
            "learning rate rises; give a smaller warm_up, too"
        )


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` texts of ``--cfg-options`` as dotted keys with typed values (numbers, booleans, lists, strings)."""
    options = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise InputError(f"--cfg-options {pair}: expected KEY=VALUE")
        options[key] = _parse_value(text)
    return options


def _parse_value(text: str) -> Any:
    """A Python literal where the text is one (``3``, ``[1, 2]``, ``None``, ``true``), else the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _require_known(config: Config, key: str, path: str | Path) -> None:
    """Refuse an option whose parent does not exist, or is no dict: a typo would otherwise be kept and do nothing."""
    *parents, last = key.split(".")
    node: Any = config
    for depth, part in enumerate(parents):
        try:
            node = node[int(part)] if isinstance(node, Sequence) else node[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise InputError(f"{path}: --cfg-options {key}: there is no {'.'.join(parents[: depth + 1])}") from None
    if not isinstance(node, Mapping | Config):
        whole = ".".join(parents)
        raise InputError(f"{path}: --cfg-options {key}: {whole} is {node!r}; give its whole value, {whole}=...")
    if not parents and last not in node:
        raise InputError(f"{path}: --cfg-options {key}: the config has no {last!r}; it has {sorted(node.keys())}")


def bind_data(config: Config) -> Config:
    """Replace the placeholders of a config by what its data folder says.

    A config that names a data folder (``data_root``, ``fold``) need not know its classes, statistics or files. A string
    that is exactly one placeholder becomes the value with its type; within a longer string it becomes text.

    Placeholders: ``{data_root}``, ``{fold}``, ``{num_classes}`` (K cell types), ``{num_map_classes}`` (background, K
    types, rim), ``{map_class_weights}`` (1, and ``rim_weight`` for the rim), ``{class_names}``, ``{mean}`` and
    ``{std}`` (RGB, 0..255), ``{train_json}``, ``{val_json}``,
    ``{image_root}``; ``{NAME}`` repeats the config's own top-level number, text or list ``NAME``
    (``{seed}``, ``{iterations}``), so that ``--cfg-options NAME=...`` reaches every place that depends on it.

    A config with a ``reader`` trains a multimodal model, whose data is read later (``multimodal_model_of``). It has the
    placeholders ``{NAME}`` alone, also for its own top-level dicts (``{source}``); what else stands in its ``model``
    waits for the data.

    Raises:
        InputError: the config names no data folder, or one that cannot be used.
    """
    fold = config.get("fold", 0)
    if type(fold) is not int:
        raise InputError(f"{config.filename}: fold: expected a whole number, found {fold!r}")
    own = {f"{{{key}}}": value for key, value in config.items() if isinstance(value, _REPEATED)}
    if "reader" in config:
        return _bind_own(config, own)
    if "data_root" not in config:
        raise InputError(f"{config.filename}: the config has no data_root, the folder that tools/prepare_data.py wrote")
    if not isinstance(config.data_root, str):
        raise InputError(f"{config.filename}: data_root: expected the path of a folder, found {config.data_root!r}")
    folder = DataFolder(config.data_root)
    classes = list(folder.class_names)
    values = (
        own
        | {
            "{data_root}": str(config.data_root),
            "{fold}": fold,
            "{num_classes}": len(classes),
            "{num_map_classes}": len(classes) + 2,
            "{map_class_weights}": [1.0] * (len(classes) + 1) + [float(config.get("rim_weight", 1.0))],
            "{class_names}": classes,
            "{mean}": [round(float(value), 4) for value in folder.mean],
            "{std}": [round(float(value), 4) for value in folder.std],
            "{image_root}": str(Path(config.data_root) / "images"),
        }
        | {f"{{{name}_json}}": str(folder.split_file(fold, name)) for name in ("train", "val")}
    )
    return _bound(config, values)


def _bind_own(config: Config, own: Mapping[str, Any]) -> Config:
    """A multimodal config with its own values in place of their names."""
    # As in _bound, unknown ones wait here for that; dicts are repeated as they are once their own values are in.
    dicts = {key: value for key, value in config.to_dict().items() if isinstance(value, Mapping) and key != "model"}
    whole = {f"{{{key}}}": _replace(value, own, keep=True) for key, value in dicts.items()}
    return _bound(config, {**own, **whole}, late=("model",))


def _bound(config: Config, values: Mapping[str, Any], late: Sequence[str] = ()) -> Config:
    """A config with values in place of placeholders; what is unknown in the entries ``late`` stays."""
    try:
        bound = {key: _replace(item, values, keep=key in late) for key, item in config.to_dict().items()}
    except KeyError as error:
        raise InputError(f"{config.filename}: unknown placeholder {error.args[0]}") from None
    return Config(bound, filename=config.filename)


def _replace(value: Any, values: Mapping[str, Any], keep: bool = False) -> Any:
    if isinstance(value, str):
        if _PLACEHOLDER.fullmatch(value):
            return values.get(value, value) if keep else values[value]
        for name, replacement in values.items():
            # Within a text, a dict would be a mistake.
            value = value if isinstance(replacement, Mapping) else value.replace(name, str(replacement))
        return value
    if isinstance(value, Mapping):
        return {key: _replace(item, values, keep) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replace(item, values, keep) for item in value)
    return value


def write_config(config: Config, path: str | Path) -> None:
    """Write a bound config as one self-contained file.

    Its dicts keep their order, which mmengine's ``pretty_text`` does not: the order of a multimodal model's encoders
    is that of the columns of its fusion's weights.
    """
    from cellseg.io.files import write_text

    lines = [f"{key} = {pformat(value, width=116, sort_dicts=False)}\n" for key, value in config.to_dict().items()]
    write_text(path, "".join(lines))
