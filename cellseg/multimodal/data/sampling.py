"""From a record to tensors: what a model is shown, what it should answer, and what its answer is scored with."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.multimodal.data.answers import normalise_answer, soft_scores
from cellseg.multimodal.data.description import NAMES_OF_TASK, DataDescription, ModalityDescription
from cellseg.multimodal.data.images import ImageAugmentation, ImageReader, standardise
from cellseg.multimodal.data.record import Record, plain_text
from cellseg.multimodal.data.statistics import CHANNEL_AXIS, check_shape, read_array
from cellseg.multimodal.data.tokenizer import PAD

Part = dict[str, Tensor]


class SampleMaker:
    """Makes samples as a description says.

    Args:
        description: of the data.
    """

    def __init__(self, description: DataDescription):
        self.description = description
        pictures = [entry for entry in description.modalities.values() if entry.kind == "image"]
        self._readers = {entry.shape: ImageReader(entry.shape[1:]) for entry in pictures}
        self._words = description.words() if description.tokenizer else None

    def make(self, record: Record, augmentation: ImageAugmentation | None = None) -> dict[str, Any]:
        """One sample.

        Args:
            record: with a drawn text where it is one for matching.
            augmentation: of its pictures; None for none.

        Returns:
            ``inputs``: by modality ``values``, ``present`` and, but for pictures, ``mask``; zeros where the record
            lacks it. ``targets``: by task ``values``, ``present`` and perhaps ``mask``; likewise. ``sample``: ``id``,
            ``group``, ``where`` and ``truth``, what answers are scored with: of named tasks the number of the name, of
            ``multilabel`` and ``regression`` a list of numbers, of ``vqa`` all answers, of ``captioning`` all captions,
            of ``matching`` whether it is a pair (``label``), the ``image``, the ``text`` and all its ``captions``.

        Raises:
            InputError: a picture or array that cannot be read, or a target outside the classes; names file and row.
        """
        modalities = self.description.modalities
        inputs = {name: self._input(record, name, entry, augmentation) for name, entry in modalities.items()}
        targets, truth = {}, {}
        for task in self.description.tasks:
            targets[task] = self._target(record, task)
            if record.targets.get(task) is not None:
                truth[task] = self._truth(record, task)
        sample = {"id": record.id, "group": record.group or "", "where": record.where, "truth": truth}
        return {"inputs": inputs, "targets": targets, "sample": sample}

    def _input(
        self, record: Record, name: str, entry: ModalityDescription, augmentation: ImageAugmentation | None
    ) -> Part:
        value = record.inputs.get(name)
        present = torch.tensor(value is not None)
        if entry.kind == "text":
            numbers = [PAD] if value is None else self._words.encode(value, self.description.max_length)
            mask = torch.full((len(numbers),), value is not None)
            return {"values": torch.tensor(numbers), "mask": mask, "present": present}
        if value is None:
            return {**_absent(entry), "present": present}
        if entry.kind == "image":
            return {"values": self._picture(value, entry, augmentation, record.where), "present": present}
        array = read_array(value, entry.kind, record.where)
        check_shape(array, entry.kind, entry.shape, record.where)
        values = standardise(torch.from_numpy(array), entry.mean, entry.std, CHANNEL_AXIS[entry.kind])
        if entry.kind == "tabular":
            return {"values": values.nan_to_num(0.0), "mask": ~values.isnan(), "present": present}
        # The axis along which rows may differ: steps of a sequence, frames of a volume.
        length = array.shape[0] if entry.kind == "sequence" else array.shape[1]
        return {"values": values, "mask": torch.ones(length, dtype=torch.bool), "present": present}

    def _picture(
        self, value: Path | np.ndarray, entry: ModalityDescription, augmentation: ImageAugmentation | None, where: str
    ) -> Tensor:
        if isinstance(value, Path):
            picture = torch.from_numpy(self._readers[entry.shape].read(value, where)).permute(2, 0, 1).float()
        else:
            array = read_array(value, "image", where)
            check_shape(array, "image", entry.shape, where)
            picture = torch.from_numpy(array)
        picture = standardise(picture, entry.mean, entry.std)
        return picture if augmentation is None else augmentation.apply(picture)

    def _target(self, record: Record, task: str) -> Part:
        value = record.targets.get(task)
        present = torch.tensor(value is not None)
        about = self.description
        if task in NAMES_OF_TASK:
            number = 0 if value is None else name_index(value, about.names_of(task), task, record.where)
            return {"values": torch.tensor(number), "present": present}
        if task == "vqa":
            scores = [0.0] * len(about.answers) if value is None else soft_scores(value, about.answers)
            return {"values": torch.tensor(scores), "present": present}
        if task == "matching":
            ids = [_content_number(record.inputs.get(name)) for name in ("image", "text")]
            return {"values": torch.tensor(float(bool(value))), "present": present, "ids": torch.tensor(ids)}
        if task == "captioning":
            numbers = [PAD] if value is None else self._words.encode(value, about.max_length)
            return {
                "values": torch.tensor(numbers),
                "mask": torch.full((len(numbers),), value is not None),
                "present": present,
            }
        count = len(about.label_names if task == "multilabel" else about.target_names)
        numbers = torch.full((count,), torch.nan) if value is None else torch.as_tensor(np.asarray(value, np.float32))
        return {"values": numbers.nan_to_num(0.0), "mask": ~numbers.isnan(), "present": present}

    def _truth(self, record: Record, task: str) -> Any:
        value = record.targets[task]
        if task in NAMES_OF_TASK:
            return name_index(value, self.description.names_of(task), task, record.where)
        if task == "vqa":
            return [normalise_answer(answer) for answer in value]
        if task == "captioning":
            return list(record.captions) or [value]
        if task == "matching":
            return {
                "label": int(value),
                "image": _content_name(record.inputs.get("image")),
                "text": plain_text(record.inputs.get("text", "")),
                "captions": [plain_text(caption) for caption in record.captions],
            }
        return [float(number) for number in value]


def name_index(name: str, names: tuple[str, ...], task: str, where: str) -> int:
    """Place of a name among those that a task knows.

    Raises:
        InputError: it is none of them.
    """
    if name not in names:
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise InputError(f"{where}: label {name!r} outside the classes of {task} ({shown})")
    return names.index(name)


def _absent(entry: ModalityDescription) -> Part:
    """Zeros in the form of a modality, one frame or step long."""
    if entry.kind == "image":
        return {"values": torch.zeros(entry.shape)}
    if entry.kind == "volume":
        return {"values": torch.zeros(entry.shape[0], 1, *entry.shape[1:]), "mask": torch.zeros(1, dtype=torch.bool)}
    shape = (1, *entry.shape) if entry.kind == "sequence" else entry.shape
    return {"values": torch.zeros(shape), "mask": torch.zeros(shape[0], dtype=torch.bool)}


def _content_name(value: Any) -> str:
    """Equal for equal contents: a text without capitals, a file's path, or a hash of numbers; empty for none."""
    if isinstance(value, np.ndarray):
        return sha256(value.tobytes()).hexdigest()
    return plain_text(value) if isinstance(value, str) else str(value or "")


def _content_number(value: Any) -> int:
    """The same as a number that fits int64."""
    return int.from_bytes(sha256(_content_name(value).encode()).digest()[:7], "big")
