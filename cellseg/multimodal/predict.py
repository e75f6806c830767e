"""A trained multimodal model as it is used: records in, answers in words out; the training's data is not needed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellseg.errors import InputError, MissingFileError
from cellseg.machine import find_device
from cellseg.multimodal.data import DataDescription, Record, collate_samples
from cellseg.multimodal.data.sampling import SampleMaker
from cellseg.multimodal.data.tokenizer import TEXTS_APART
from cellseg.multimodal.description import unpack_description
from cellseg.multimodal.model import MultimodalModel
from cellseg.multimodal.values import Fused
from cellseg.openmmlab import load_checkpoint_file

_ARRAYS = ("sequence", "volume")


def load_trained(
    work_dir: str | Path, checkpoint: str | Path | None = None, device: str | None = None, unsafe_load: bool = False
) -> "Predictor":
    """The model that a training left.

    Args:
        work_dir: of the training. Its ``config.py`` is Python and gets executed: open only folders that you trust.
        checkpoint: the weights; None: its ``best.pth``.
        device: for torch; None: a CUDA device where there is one.
        unsafe_load: load the checkpoint even if it holds more than weights; it can then run any code.

    Raises:
        MissingFileError: a file does not exist.
        InputError: it is not the training of a multimodal model, or its files do not fit each other.
    """
    # Not before: configs are read with the training's own tools, which this module otherwise does without.
    from cellseg.training.config import read_config

    place, work_dir = find_device(device), Path(work_dir)
    if not work_dir.is_dir():
        raise MissingFileError(f"{work_dir}: no such work folder; give the one that tools/train.py wrote")
    config = read_config(work_dir / "config.py")
    path = work_dir / "best.pth" if checkpoint is None else Path(checkpoint)
    content = load_checkpoint_file(path, unsafe=unsafe_load)
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    description = DataDescription.from_dict(unpack_description(weights.get("description"), str(path)), str(path))
    model = _build(config.get("model"), description, config.filename)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        first = [line.strip() for line in str(error).splitlines() if line.strip()][:2][-1]
        raise InputError(f"{path}: does not fit the model of {config.filename}: {first}") from error
    return Predictor(model.to(place).eval(), description)


def _build(parts: Any, description: DataDescription, where: str) -> MultimodalModel:
    from cellseg.multimodal.training import MODEL_TYPE, model_for

    if not isinstance(parts, Mapping) or parts.get("type") != MODEL_TYPE:
        raise InputError(f"{where}: its model is no {MODEL_TYPE}; give the work folder of a multimodal training")
    parts = {key: value for key, value in parts.items() if key not in ("type", "source")}
    # Where the training took its first weights from need not exist any more.
    parts["encoders"] = {name: {**part, **_no_weights(part)} for name, part in parts.get("encoders", {}).items()}
    return model_for(description, parts)


def _no_weights(part: Mapping[str, Any]) -> dict[str, None]:
    return {"pretrained": None} if "pretrained" in part else {}


class Predictor:
    """A trained model with what it knows of its data.

    Args:
        model: in evaluation mode.
        description: of the data that it was trained on.
    """

    def __init__(self, model: MultimodalModel, description: DataDescription):
        self.model = model
        self.description = description
        self._maker = SampleMaker(description)

    def predict(
        self, records: Sequence[Record | Mapping[str, Any]], batch_size: int = 32, allow_empty: bool = False
    ) -> list[dict[str, Any]]:
        """Answer every task for some records.

        Args:
            records: each a ``Record``, or by modality what is shown, with ``id`` if wanted: the path of an image or of
                a ``.npy`` file, a text (or the list of texts that are one input), an array, of a tabular modality
                numbers (a list, or by name; None where unknown). A modality may be left out.
            batch_size: records at once.
            allow_empty: whether a record may have none of the model's modalities; the answer is what the model says
                when it sees nothing.

        Returns:
            By record ``id`` and by task: classification ``label`` and ``probabilities`` by name; multilabel ``labels``
            and ``probabilities`` by name; regression the numbers by name; vqa ``answer`` and ``probability``;
            captioning ``text`` and ``score``; matching ``probability`` and ``embeddings``.

        Raises:
            InputError, MissingFileError: a record that cannot be used; names it.
        """
        read = [self._read(record, index, allow_empty) for index, record in enumerate(records)]
        answers: list[dict[str, Any]] = []
        for start in range(0, len(read), batch_size):
            answers.extend(self.predict_fused(read[start : start + batch_size])[0])
        return answers

    def predict_fused(self, records: Sequence[Record]) -> tuple[list[dict[str, Any]], Fused]:
        """Answers to records of :meth:`read`, all at once, and what the fusion made of them, with its attention."""
        inputs = self._collate(records)
        with torch.inference_mode():
            fused = self.model.represent(inputs)
            answers = {task: head.predict(fused) for task, head in self.model.heads.items()}
        rows = [
            {"id": record.id, **{task: self._in_words(task, answer[index]) for task, answer in answers.items()}}
            for index, record in enumerate(records)
        ]
        return rows, fused

    def inputs(self, records: Sequence[Record | Mapping[str, Any]]) -> dict[str, dict[str, Tensor]]:
        """Records as the model takes them: by modality ``values``, ``present`` and perhaps ``mask``, on its device.

        Args:
            records: as :meth:`predict` takes them; all are one batch.

        Raises:
            InputError, MissingFileError: a record that cannot be used; names it.
        """
        return self._collate([self.read(record, index) for index, record in enumerate(records)])

    def read(self, record: Record | Mapping[str, Any], index: int = 0) -> Record:
        """A record of what a user gives.

        Args:
            record: see :meth:`predict`.
            index: its place, for messages.

        Raises:
            InputError, MissingFileError: it cannot be used; names it.
        """
        return self._read(record, index, allow_empty=False)

    def _collate(self, records: Sequence[Record]) -> dict[str, dict[str, Tensor]]:
        batch = collate_samples([self._maker.make(record) for record in records])
        return self.model.data_preprocessor({"inputs": batch["inputs"]}, False)["inputs"]

    def _read(self, record: Record | Mapping[str, Any], index: int, allow_empty: bool) -> Record:
        if isinstance(record, Record):
            read = Record(record.id, record.inputs, where=record.where or f"record {record.id}")
        else:
            read = self._from_mapping(record, f"record {index + 1}", index)
        self._check_names(read.inputs, read.where)
        known = self._known()
        prompted = self.description.prompt and "captioning" in self.model.heads and "text" not in read.inputs
        if prompted and "text" in known:
            read = Record(read.id, {**read.inputs, "text": self.description.prompt}, where=read.where)
        if not allow_empty and not any(name in read.inputs for name in known):
            raise InputError(f"{read.where}: has no input; expected {' or '.join(known)}")
        return read

    def _known(self) -> list[str]:
        return [name for name in self.model.modalities if name in self.description.modalities]

    def _check_names(self, names: Iterable[str], where: str) -> None:
        for name in names:
            if name not in self.description.modalities:
                raise InputError(f"{where}: {name!r} is no modality of the model; it has {', '.join(self._known())}")

    def _from_mapping(self, values: Mapping[str, Any], where: str, index: int) -> Record:
        if not isinstance(values, Mapping):
            raise InputError(f"{where}: expected a Record or inputs by modality, found {type(values).__name__}")
        self._check_names([name for name in values if name != "id"], where)
        inputs = {
            name: self._value(name, value, where)
            for name, value in values.items()
            if name != "id" and value is not None
        }
        return Record(str(values.get("id", index)), inputs, where=where)

    def _value(self, name: str, value: Any, where: str) -> Any:
        entry = self.description.modalities.get(name)
        kind = None if entry is None else entry.kind
        if kind == "text" and isinstance(value, list | tuple) and value:
            return TEXTS_APART.join("" if one is None else self._value(name, one, where) for one in value)
        if kind == "text":
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"{where}: {name}: expected a text, found {value!r}")
            return value
        if isinstance(value, str | Path) and kind in ("image", *_ARRAYS):
            if not Path(value).is_file():
                raise MissingFileError(f"{where}: {value}: no such file")
            return Path(value)
        if kind == "tabular" and isinstance(value, Mapping):
            unknown = sorted(set(value) - set(entry.names))
            if unknown:
                raise InputError(f"{where}: {name}: {unknown[0]!r} is none of {', '.join(entry.names)}")
            value = [value.get(feature) for feature in entry.names]
        try:
            return np.asarray(value, np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: {name}: expected numbers, found {value!r}") from error

    def _in_words(self, task: str, answer: Mapping[str, Any]) -> Any:
        about = self.description
        if task == "regression":
            return dict(zip(about.target_names, answer["value"], strict=True))
        if task == "vqa":
            return {"answer": about.answers[answer["answer"]], "probability": max(answer["probabilities"])}
        if task == "captioning":
            return {"text": about.words().decode(answer["tokens"]), "score": answer["score"]}
        if task == "matching":
            return dict(answer)
        names = about.label_names if task == "multilabel" else about.names_of(task)
        chosen = {"labels": [names[place] for place in answer["labels"]]} if "labels" in answer else {}
        chosen = chosen or {"label": names[answer["label"]]}
        return {**chosen, "probabilities": dict(zip(names, answer["probabilities"], strict=True))}
