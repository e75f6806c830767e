"""A data set ready for training: records by split, what a model must know of them, and samples."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellseg.errors import InputError
from cellseg.multimodal.data.answers import collect_answers
from cellseg.multimodal.data.description import NAMES_OF_TASK, DataDescription, ModalityDescription
from cellseg.multimodal.data.forming import CaptionPool, form_records, pair_all
from cellseg.multimodal.data.images import ImageAugmentation
from cellseg.multimodal.data.record import SPLITS, Record, RecordSet
from cellseg.multimodal.data.sampling import SampleMaker, name_index
from cellseg.multimodal.data.source import CAPTION_READERS, Source, parse_source
from cellseg.multimodal.data.splits import assign_splits
from cellseg.multimodal.data.statistics import describe_arrays
from cellseg.multimodal.data.tokenizer import TextTokenizer, WordPieceTokenizer
from cellseg.multimodal.data.tokenizer_file import FileTokenizer


class MultimodalData:
    """Records of a source by split, formed for its tasks.

    Args:
        source: what is read and how.

    Attributes:
        source: as given.
        description: what a model must know of the data; everything in it that is learned comes from training records.

    Raises:
        InputError, MissingFileError: the data cannot be used; names file and row.
    """

    def __init__(self, source: Source):
        self.source = source
        self._set = source.read()
        group_by = source.group_by or self._set.group_by
        splits = assign_splits(
            self._set.records, source.split_by, group_by, source.fractions, source.seed, self._set.where
        )
        if not splits["train"]:
            raise InputError(f"{self._set.where}: no record is in the training split; change source.fractions")
        self._splits = splits
        self.tasks = _tasks(source, self._set)
        self._check_tasks()
        self._formed: dict[str, list[Record]] = {}
        self.description = self._describe()
        self._check_labels()
        self._maker = SampleMaker(self.description)
        self._pool = CaptionPool(splits["train"])

    def records(self, split: str) -> list[Record]:
        """The records of a split, one for each task and caption (see ``forming``).

        Raises:
            InputError: no such split, or nothing in it.
        """
        if split not in SPLITS:
            raise InputError(f"split {split!r} is none of {', '.join(SPLITS)}")
        if split not in self._formed:
            formed = form_records(
                self._splits[split],
                self.tasks,
                training=split == "train",
                prompt=self.source.prompt,
                negatives=self.source.negatives,
                seed=self.source.seed,
            )
            if not formed:
                remedy = "change source.fractions or source.split_by"
                raise InputError(f"{self._set.where}: no record is in the split {split!r}; {remedy}")
            self._formed[split] = formed
        return self._formed[split]

    def all_pairs(self, split: str) -> list[Record]:
        """Every picture of a split with every caption of it, for the task ``matching``; see ``forming.pair_all``."""
        if split not in SPLITS or "matching" not in self.tasks:
            raise InputError(f"all_pairs: needs one of {', '.join(SPLITS)} and the task matching in source.tasks")
        return pair_all(self._splits[split])

    def sample(self, record: Record, augmentation: ImageAugmentation | None = None) -> dict[str, Any]:
        """``inputs``, ``targets`` and ``sample`` of a record, see ``SampleMaker.make``.

        A wrong caption that is still to be drawn comes from the training records, by torch's global generator.
        """
        if "matching" in record.targets and record.targets["matching"] is None:
            record = self._pool.show_wrong(record, float(torch.rand((), dtype=torch.float64)))
        return self._maker.make(record, augmentation)

    def _check_tasks(self) -> None:
        train = self._splits["train"]
        for task in self.tasks:
            if not any(task in record.targets or (record.captions and _captioned(task)) for record in train):
                raise InputError(f"{self._set.where}: source.tasks: no record of the training split has {task!r}")
        prompted = next((record for record in self._set.records if record.prompt), None)
        if "matching" in self.tasks and prompted is not None:
            raise InputError(
                f"{prompted.where}: source.tasks: captions that reply to a prompt ({prompted.prompt!r}) do not "
                "describe the picture, which 'matching' needs; give captions without prompts, or leave it out"
            )

    def _check_labels(self) -> None:
        for records in self._splits.values():
            for record in records:
                for task in (task for task in self.tasks if task in NAMES_OF_TASK and task in record.targets):
                    name_index(record.targets[task], self.description.names_of(task), task, record.where)
        names = self.description.class_names
        if "classification" in self.tasks and len(names) < 2:
            raise InputError(
                f"{self._set.where}: all records have the class {names[0]!r}; there is nothing to tell apart"
            )

    def _describe(self) -> DataDescription:
        source, train = self.source, self._splits["train"]
        records = self._set.records
        texts = list(_texts(self.records("train"), train, self.tasks))
        names = {
            attribute: _names(records, task, source.classes if task == "classification" else None)
            for task, attribute in NAMES_OF_TASK.items()
            if task in self.tasks
        }
        mean, std = _target_statistics(train) if "regression" in self.tasks else ((), ())
        answers = (record.targets["vqa"] for record in train if "vqa" in record.targets)
        return DataDescription(
            tasks=self.tasks,
            modalities=self._describe_modalities(),
            **names,
            label_names=self._set.names.get("multilabel", ()) if "multilabel" in self.tasks else (),
            target_names=self._set.names.get("regression", ()) if "regression" in self.tasks else (),
            class_weights=_class_weights(train, names.get("class_names", ())),
            target_mean=mean,
            target_std=std,
            answers=collect_answers(answers, source.most_answers) if "vqa" in self.tasks else (),
            tokenizer=_tokenizer(texts, source).to_json() if texts else "",
            max_length=source.max_length if texts else 0,
            prompt=self._usual_prompt(),
        )

    def _usual_prompt(self) -> str:
        """What captions are asked for with where nothing else is said: what the training asks most often."""
        asked = [record.inputs.get("text", "") for record in self.records("train") if "captioning" in record.targets]
        if self.source.prompt in asked or not asked:
            return self.source.prompt if asked else ""
        counts = Counter(asked)
        return min(counts, key=lambda text: (-counts[text], text))

    def _describe_modalities(self) -> dict[str, ModalityDescription]:
        kinds = dict(self._set.kinds)
        if any(isinstance(record.inputs.get("text"), str) for record in self.records("train")):
            kinds.setdefault("text", "text")
        if "matching" in self.tasks and any(record.captions for record in self._splits["train"]):
            kinds.setdefault("text", "text")
        return {name: self._describe_modality(name, kind) for name, kind in kinds.items()}

    def _describe_modality(self, name: str, kind: str) -> ModalityDescription:
        train = self.records("train") if kind == "text" else self._splits["train"]
        first = next((record.inputs[name] for record in train if name in record.inputs), None)
        if first is None:
            raise InputError(
                f"{self._set.where}: modality {name!r} is missing in all rows of the training split; leave it out"
            )
        if kind == "text":
            return ModalityDescription(kind)
        if kind == "image" and isinstance(first, Path):
            return ModalityDescription(
                kind, (3, *self.source.image_size), self.source.image_mean, self.source.image_std
            )
        return describe_arrays(train, name, kind, self._set.names.get(name, ()))


def load_multimodal_data(**source: Any) -> MultimodalData:
    """The data of a config's ``source``; the last two are kept in memory, until ``forget_multimodal_data``.

    Args:
        **source: see ``Source``.

    Raises:
        InputError, MissingFileError: an entry or a file that cannot be used; names it.
    """
    return _load(parse_source(source).key())


def forget_multimodal_data() -> None:
    """Read everything anew from now on, because files may have changed."""
    _load.cache_clear()


@lru_cache(maxsize=2)
def _load(key: str) -> MultimodalData:
    return MultimodalData(parse_source(json.loads(key)))


def _tasks(source: Source, records: RecordSet) -> tuple[str, ...]:
    if source.tasks is not None:
        return source.tasks
    found = {task: None for record in records.records for task in record.targets}
    if not found and any(record.captions for record in records.records):
        return ("captioning",)
    if not found:
        if source.reader in CAPTION_READERS:
            raise InputError(f"{records.where}: has pictures and no caption of any; nothing can be learnt from it")
        raise InputError(f"{records.where}: no record has a target; name its column with source.options.targets")
    return tuple(found)


def _captioned(task: str) -> bool:
    return task in ("captioning", "matching")


def _texts(formed: Sequence[Record], train: Sequence[Record], tasks: Sequence[str]) -> Iterable[str]:
    """All texts that the training shows or wants written."""
    for record in formed:
        yield from (value for value in record.inputs.values() if isinstance(value, str))
    if any(_captioned(task) for task in tasks):
        for record in train:
            yield from record.captions


def _tokenizer(texts: Sequence[str], source: Source) -> TextTokenizer:
    if source.tokenizer is not None:
        return FileTokenizer.read(source.tokenizer)
    return WordPieceTokenizer.train(texts, source.vocabulary)


def _names(records: Sequence[Record], task: str, given: tuple[str, ...] | None) -> tuple[str, ...]:
    found = {record.targets[task] for record in records if task in record.targets}
    if given is not None:
        return given
    # Whole numbers in their order, so that class 10 does not stand before class 2.
    return tuple(sorted(found, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))


def _class_weights(train: Sequence[Record], names: Sequence[str]) -> tuple[float, ...]:
    counts = Counter(record.targets["classification"] for record in train if "classification" in record.targets)
    there = [name for name in names if counts[name]]
    total = sum(counts[name] for name in there)
    return tuple(total / (len(there) * counts[name]) if counts[name] else 1.0 for name in names)


def _target_statistics(train: Sequence[Record]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    numbers = np.array([record.targets["regression"] for record in train if "regression" in record.targets], float)
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, numbers, 0).sum(axis=0) / count
    std = np.sqrt(np.where(known, (numbers - mean) ** 2, 0).sum(axis=0) / count)
    return tuple(mean.tolist()), tuple(np.where(std > 1e-12, std, 1.0).tolist())
