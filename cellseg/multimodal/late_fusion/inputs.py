"""What the command of late fusion is given: models as work folders or files, and features of their samples."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.late_fusion.classical import FeatureSamples
from cellseg.multimodal.late_fusion.probabilities import ProbabilityTable, probabilities_of, read_probabilities

TRAIN = "train"


def parse_model(text: str) -> tuple[str, Path]:
    """Name and path of ``NAME=PATH``, or of ``PATH``, whose last part then is the name.

    Raises:
        InputError: an empty name or path.
    """
    name, separator, path = text.partition("=")
    if not separator:
        name, path = Path(text).stem if Path(text).is_file() else Path(text).name, text
    if not name or not path:
        raise InputError(f"{text!r}: expected NAME=PATH, or the path of a work folder or file")
    return name, Path(path)


def of_seed(text: str, seed: int) -> str:
    """``NAME=PATH`` of the training of one seed, where ``text`` names a folder of trainings of several.

    Raises:
        MissingFileError: there is no folder ``seed-N`` in it.
    """
    name, path = parse_model(text)
    folder = path / f"seed-{seed}"
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: --seeds: no such work folder; tools/compare_models.py trains with seeds")
    return f"{name}={folder}"


def read_models(
    texts: Sequence[str],
    splits: Sequence[str],
    task: str = "classification",
    features: bool = False,
    device: str | None = None,
    unsafe_load: bool = False,
) -> list[ProbabilityTable]:
    """Tables of the models that a command names.

    Args:
        texts: each ``NAME=PATH`` or ``PATH`` of a work folder, or of an npz or csv file.
        splits: that the models of work folders answer.
        task, device, unsafe_load: see ``probabilities_of``.
        features: whether work folders also answer the training split, with what they make of it.

    Raises:
        InputError, MissingFileError: what cannot be used.
    """
    tables = []
    for text in texts:
        name, path = parse_model(text)
        if path.is_dir():
            if not (path / "config.py").is_file() and any(path.glob("seed-*")):
                raise InputError(
                    f"{path}: holds trainings of several seeds; name one of them, or say which with --seeds"
                )
            wanted = [TRAIN, *splits] if features else splits
            tables.append(probabilities_of(path, wanted, task, name, features, device, unsafe_load))
        elif path.is_file():
            tables.append(read_probabilities(path, name))
        else:
            raise MissingFileError(f"{path}: no such work folder or file")
    return tables


def read_feature_samples(path: str | Path, table: ProbabilityTable) -> FeatureSamples:
    """A feature table (npz, csv, jsonl or parquet with ids, see ``data.features``) for a model's samples.

    Raises:
        InputError, MissingFileError: a file that cannot be used, rows that are no vectors, or one that is missing.
    """
    from cellseg.multimodal.data.features import read_feature_table

    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: --features: no such file")
    read = read_feature_table(path)
    if read.kind != "tabular":
        raise InputError(f"{path}: --features: expected a vector a sample, found {read.kind}s")
    missing = [identity for identity in table.ids if identity not in read.values]
    if missing:
        raise InputError(f"{path}: --features: has no row of the sample {missing[0]!r}")
    values = np.array([read.values[identity] for identity in table.ids], dtype=np.float64)
    return FeatureSamples.of(replace(table, name=path.stem), values)
