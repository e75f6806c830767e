"""What a trained model says of the samples of one split, with what is true and with their groups."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellseg.errors import InputError
from cellseg.multimodal.data import DataDescription, MultimodalData, Record, collate_samples, load_multimodal_data
from cellseg.multimodal.data.source import parse_source
from cellseg.multimodal.data.splits import group_records
from cellseg.multimodal.predict import Predictor, load_trained

# What ``data.forming`` puts behind the id of the record that a sample was formed from.
_FORMED = re.compile(r"#(captioning|matching|pair)-.*$")


@dataclass(frozen=True)
class Row:
    """One sample and one task.

    Attributes:
        id: of the sample.
        group: samples of one group are no independent evidence.
        prediction: of the task's head.
        truth: as ``SampleMaker.make`` gives it.
        text: what the sample says, empty without a text.
        question_type: what kind of question that is, where the data says so.
    """

    id: str
    group: str
    prediction: Mapping[str, Any]
    truth: Any
    text: str = ""
    question_type: str = ""


@dataclass(frozen=True)
class SplitPredictions:
    """What a model says of one split.

    Attributes:
        description: of the data.
        rows: by task.
        pairs: every picture with every caption, of the task ``matching``, where the validation does so too.
        features: by sample id, the fused representation, where it was asked for.
    """

    description: DataDescription
    rows: Mapping[str, Sequence[Row]]
    pairs: Sequence[Row] = ()
    features: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A trained model beside the data that it was trained on.

    Attributes:
        predictor: the model.
        data: of its config's source.
        groups: of the records of the data, by id.
        all_pairs: whether its validation matches every picture with every caption.
    """

    predictor: Predictor
    data: MultimodalData
    groups: Mapping[str, str]
    all_pairs: bool


def open_trained(work_dir: str | Path, device: str | None = None, unsafe_load: bool = False) -> Trained:
    """A trained model and its data; arguments as ``load_trained``.

    Raises:
        InputError, MissingFileError: what ``load_trained`` and the reader refuse, or data that is not what the model
            was trained on any more.
    """
    # Not before: configs are read with the training's own tools, which this module otherwise does without.
    from cellseg.training.config import read_config

    work_dir = Path(work_dir)
    predictor = load_trained(work_dir, device=device, unsafe_load=unsafe_load)
    config = read_config(work_dir / "config.py")
    source = config.model.to_dict()["source"]
    data = load_multimodal_data(**source)
    other = predictor.description.differences(data.description)
    if other:
        raise InputError(
            f"{work_dir}: the data is not what the model was trained on (different: {', '.join(other)}); "
            "restore it or train again"
        )
    pairs = bool(config.get("val_dataloader", {}).get("dataset", {}).get("all_pairs", False))
    return Trained(predictor, data, groups_of(source), pairs)


def groups_of(source: Mapping[str, Any]) -> dict[str, str]:
    """By record id the group of the records that a split must keep together, named after its first record.

    Args:
        source: of a config.
    """
    parsed = parse_source(source)
    found = parsed.read()
    groups = group_records(found.records, parsed.group_by or found.group_by)
    return {found.records[index].id: found.records[group[0]].id for group in groups for index in group}


def predict_split(trained: Trained, split: str, features: bool = False, batch_size: int = 32) -> SplitPredictions:
    """Answers of a model to all samples of a split.

    Args:
        trained: the model and its data.
        split: ``train``, ``val`` or ``test``.
        features: whether its fused representation is wanted too.
        batch_size: samples at once.

    Raises:
        InputError: nothing in the split.
    """
    heads = trained.predictor.model.heads
    rows, vectors = defaultdict(list), {}
    for record, sample, answer, vector in _answers(trained, trained.data.records(split), features, batch_size):
        for task in (task for task in heads if task in sample["truth"]):
            rows[task].append(_row(record, trained.groups, answer[task], sample["truth"][task]))
        if vector is not None:
            vectors[record.id] = vector
    pairs = []
    if trained.all_pairs and "matching" in heads:
        for record, sample, answer, _ in _answers(trained, trained.data.all_pairs(split), False, batch_size):
            pairs.append(_row(record, trained.groups, answer["matching"], sample["truth"]["matching"]))
    return SplitPredictions(trained.data.description, dict(rows), pairs, vectors)


def _answers(
    trained: Trained, records: Sequence[Record], features: bool, batch_size: int
) -> Iterator[tuple[Record, Mapping[str, Any], Mapping[str, Any], np.ndarray | None]]:
    model = trained.predictor.model
    for start in range(0, len(records), batch_size):
        part = records[start : start + batch_size]
        # Wrong captions that are still to be drawn come from torch's generator: the same ones each time.
        with torch.random.fork_rng(devices=()), torch.inference_mode():
            torch.manual_seed(start)
            batch = model.data_preprocessor(collate_samples([trained.data.sample(record) for record in part]), False)
            answers = model(**batch, mode="predict")
            pooled = model.represent(batch["inputs"]).pooled.float().cpu().numpy() if features else None
        for index, record in enumerate(part):
            yield record, batch["samples"][index], answers[index], None if pooled is None else pooled[index]


def _row(record: Record, groups: Mapping[str, str], prediction: Mapping[str, Any], truth: Any) -> Row:
    text = record.inputs.get("text", "")
    group = groups[record_of(record.id)]
    return Row(record.id, group, prediction, truth, text if isinstance(text, str) else "", record.question_type)


def record_of(sample: str) -> str:
    """Id of the record that a sample was formed from."""
    return _FORMED.sub("", sample)
