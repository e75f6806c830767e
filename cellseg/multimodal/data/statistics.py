"""Shape, mean and standard deviation of a modality over the training rows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cellseg.errors import InputError
from cellseg.multimodal.data.description import ModalityDescription
from cellseg.multimodal.data.record import Record

DIMENSIONS = {"image": 3, "volume": 4, "sequence": 2, "tabular": 1}
_FORMS = {
    "image": "[3, height, width]",
    "volume": "[channels, frames, height, width]",
    "sequence": "[steps, channels]",
    "tabular": "[features]",
}
# Where the channels, or features, stand.
CHANNEL_AXIS = {"image": 0, "volume": 0, "sequence": 1, "tabular": 0}


def read_array(value: np.ndarray | Path, kind: str, where: str) -> np.ndarray:
    """A row's numbers, float32 in the form of its kind.

    Args:
        value: the numbers, or the path of a ``.npy`` file with them.
        kind: ``image``, ``volume``, ``sequence`` or ``tabular``.
        where: file and row, for messages.

    Raises:
        InputError: another form, or a file that cannot be read.
    """
    array = _load(value, where) if isinstance(value, Path) else np.asarray(value)
    if array.dtype.kind not in "fiub" or array.ndim != DIMENSIONS[kind] or 0 in array.shape:
        found = f"{array.dtype} {list(array.shape)}"
        raise InputError(f"{where}: expected numbers {_FORMS[kind]} for a modality of kind {kind}, found {found}")
    array = array.astype(np.float32)
    if np.isinf(array).any() or (kind != "tabular" and np.isnan(array).any()):
        raise InputError(f"{where}: a modality of kind {kind} holds values that are not finite")
    return array


def _load(path: Path, where: str) -> np.ndarray:
    if path.suffix.lower() != ".npy":
        raise InputError(f"{where}: {path}: expected a .npy file")
    try:
        # Without pickles: a file of numbers must not be able to run code.
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        # numpy would advise to load what may run code.
        reason = "" if "allow_pickle" in str(error) else f" ({error})"
        raise InputError(
            f"{where}: {path}: cannot be read as a .npy file of plain numbers{reason}; write it with numpy.save"
        ) from error


def shape_of(array: np.ndarray, kind: str) -> tuple[int, ...]:
    """What all rows of a modality have in common, see ``ModalityDescription``."""
    if kind == "sequence":
        return (array.shape[1],)
    return (array.shape[0], *array.shape[2:]) if kind == "volume" else array.shape


def describe_arrays(records: Iterable[Record], name: str, kind: str, names: Sequence[str]) -> ModalityDescription:
    """Statistics over the rows that have the modality.

    Args:
        records: of the training.
        name: of the modality.
        kind: ``image``, ``volume``, ``sequence`` or ``tabular``.
        names: of the features of a tabular one.

    Raises:
        InputError: no row has it, or rows differ in their shape.
    """
    shape: tuple[int, ...] | None = None
    for record in (record for record in records if name in record.inputs):
        array = read_array(record.inputs[name], kind, record.where)
        if shape is None:
            shape = shape_of(array, kind)
            count, total, square = (np.zeros(shape[0]) for _ in range(3))
        check_shape(array, kind, shape, record.where)
        # In double precision, because sums of squares lose digits far from zero.
        values = _flat(array, kind).astype(np.float64)
        known = ~np.isnan(values)
        values = np.where(known, values, 0.0)
        count += known.sum(axis=1)
        total += values.sum(axis=1)
        square += (values**2).sum(axis=1)
    if shape is None:
        raise InputError(f"modality {name!r} is missing in all rows of the training split; leave it out")
    mean = total / np.maximum(count, 1)
    variance = np.maximum(square / np.maximum(count, 1) - mean**2, 0.0)
    # What never varies must not be blown up when it does at inference.
    std = np.where(variance > 1e-12 * (1 + mean**2), np.sqrt(variance), 1.0)
    return ModalityDescription(kind, shape, _rounded(mean), _rounded(std), tuple(names))


def check_shape(array: np.ndarray, kind: str, shape: tuple[int, ...], where: str) -> None:
    """Refuse a row that differs from the others.

    Raises:
        InputError: names ``where``.
    """
    if shape_of(array, kind) != tuple(shape):
        found = list(shape_of(array, kind))
        raise InputError(f"{where}: a modality of kind {kind} has the form {found}, rows before it have {list(shape)}")


def _flat(array: np.ndarray, kind: str) -> np.ndarray:
    """``[channels, values]``."""
    return np.moveaxis(array, CHANNEL_AXIS[kind], 0).reshape(array.shape[CHANNEL_AXIS[kind]], -1)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(np.float32(value)) for value in values)
