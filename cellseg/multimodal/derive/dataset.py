"""A data set of images and texts from a data folder: captions, questions and pairs, complete or absent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import cellseg
from cellseg.datasets.folder import SPLITS, SUMMARY_FILE, DataFolder
from cellseg.datasets.records import ImageRecord
from cellseg.datasets.staging import staging
from cellseg.errors import InputError
from cellseg.io.files import file_hash
from cellseg.multimodal.derive.dataset_files import FORMAT, Texts, check_out, write_files
from cellseg.multimodal.derive.facts import (
    ImageFacts,
    SizeLimits,
    known_types,
    measure_facts,
    size_limits,
    true_instances,
)
from cellseg.multimodal.derive.pairs import make_pairs
from cellseg.multimodal.derive.phrases import TRAITS, caption, check_types, hash_number, slots_of
from cellseg.multimodal.derive.prompts import make_prompts, reply
from cellseg.multimodal.derive.questions import ask, balance, count_answers
from cellseg.multimodal.derive.sources import Predictions
from cellseg.structures import Instances


@dataclass(frozen=True)
class DatasetOptions:
    """How the texts are made.

    Attributes:
        fold: of the data folder.
        splits: some of ``train``, ``val``, ``test``; empty: all that the folder has.
        captions: how many different ones an image gets at most, and a prompt about it.
        seed: decides between phrasings, and which questions and values are chosen.
        images: whether the images are copied beside the texts.
        official: whether the questions are also written as the two files that VQA v2 has for each split.
    """

    fold: int = 0
    splits: tuple[str, ...] = ()
    captions: int = 5
    seed: int = 0
    images: bool = True
    official: bool = False

    def check(self) -> None:
        """Raise InputError for a value that cannot be used."""
        if self.captions < 1:
            raise InputError(f"--captions {self.captions}: expected 1 or more")
        wrong = [name for name in self.splits if name not in SPLITS]
        if wrong or len(set(self.splits)) < len(self.splits):
            raise InputError(f"--splits {' '.join(self.splits)}: expected some of {', '.join(SPLITS)}, each once")


def derive_dataset(
    root: str | Path,
    out: str | Path,
    options: DatasetOptions | None = None,
    submission: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write texts about the images of a data folder.

    Args:
        root: the data folder.
        out: folder to write, complete or not at all.
        options: None for the defaults.
        submission: predicted cells instead of the true ones, see ``Predictions.open``.
        overwrite: replace ``out`` if it holds such a data set.

    Returns:
        The content of ``derived.json``.

    Raises:
        MissingFileError: the data folder or a file of it does not exist.
        InputError: an option, a file or ``out`` cannot be used, or images of one group lie in different splits.
    """
    options = options or DatasetOptions()
    options.check()
    out = Path(out)
    check_out(out, overwrite)
    folder = DataFolder(root)
    predictions = None if submission is None else Predictions.open(submission, folder.class_names)
    class_names = folder.class_names if predictions is None else predictions.class_names
    types = known_types(class_names)
    check_types(types)
    splits = options.splits or (SPLITS if folder.folds > 1 else SPLITS[:2])
    records = {split: folder.load_split(options.fold, split) for split in splits}
    _check_groups(folder.root, records)
    limits = _limits(folder, options.fold, records.get("train"))
    texts = Texts()
    for split, images in records.items():
        facts = _measure(images, folder, predictions, limits, split)
        _write_about(texts, split, images, facts, folder.image_ids(options.fold, split), types, options)
    summary = {
        "format": FORMAT,
        "class_names": list(class_names),
        "size_limits": None if limits is None else asdict(limits),
        "source": "truth" if predictions is None else "predictions",
        "options": {**asdict(options), "splits": list(splits)},
        "splits": texts.splits,
        "provenance": {
            "cellseg": cellseg.__version__,
            "data_sha256": file_hash(folder.root / SUMMARY_FILE),
            **({} if predictions is None else predictions.provenance),
        },
    }
    with staging(out) as scratch:
        write_files(scratch, texts, summary, folder, options.images, options.official)
    return summary


def _check_groups(root: Path, records: Mapping[str, Sequence[ImageRecord]]) -> None:
    home: dict[str, str] = {}
    for split, images in records.items():
        for image in images:
            if home.setdefault(image.group, split) != split:
                raise InputError(
                    f"{root}: group {image.group!r} has images in {home[image.group]} and {split}; prepare it anew"
                )


def _limits(folder: DataFolder, fold: int, train: Sequence[ImageRecord] | None) -> SizeLimits | None:
    """Sizes come from the true training cells, whatever is written about."""
    train = folder.load_split(fold, "train") if train is None else train
    return size_limits([area for record in train for area in record.masks.areas().tolist() if area])


def _measure(
    records: Sequence[ImageRecord],
    folder: DataFolder,
    predictions: Predictions | None,
    limits: SizeLimits | None,
    split: str,
) -> dict[str, ImageFacts]:
    if predictions is not None:
        predictions.check_keys([record.key for record in records], "choose --splits that it covers")

    def cells(record: ImageRecord) -> Instances:
        if predictions is None:
            return true_instances(record, folder.class_names)
        return predictions.load(record.key, (record.height, record.width))

    progress = tqdm(records, desc=split, unit="image", disable=None)
    return {record.key: measure_facts(record.key, cells(record), limits) for record in progress}


def make_captions(facts: ImageFacts, count: int, seed: int) -> list[str]:
    """Different captions of an image: the first says everything, the others leave some traits out.

    Args:
        facts: of the image.
        count: how many at most; there are fewer where the phrasings run out.
        seed: decides between phrasings.
    """
    slots = slots_of(facts)
    texts: list[str] = []
    for attempt in range(10 * count):
        said = asdict(slots)
        for trait in TRAITS if attempt else ():
            if hash_number("trait", seed, facts.key, attempt, trait) % 2:
                said[trait] = None
        text = caption(type(slots)(**said), seed, facts.key, attempt)
        if text not in texts:
            texts.append(text)
        if len(texts) == count:
            break
    return texts


def _write_about(
    texts: Texts,
    split: str,
    records: Sequence[ImageRecord],
    facts: Mapping[str, ImageFacts],
    image_ids: Mapping[str, int],
    types: Sequence[str],
    options: DatasetOptions,
) -> None:
    """Add all texts about the images of a split."""
    asked = [item for one in facts.values() for item in ask(one, types, options.seed)]
    kept = balance(asked, options.seed)
    pairs = make_pairs(facts, options.seed)
    images = {record.key: _image_entry(record, image_ids[record.key], split) for record in records}
    texts.images += images.values()
    texts.facts += facts.values()
    written = [(key, text) for key, one in facts.items() for text in make_captions(one, options.captions, options.seed)]
    texts.captions += [
        {"id": number, "image_id": image_ids[key], "caption": text}
        for number, (key, text) in enumerate(written, len(texts.captions) + 1)
    ]
    prompts = [prompt for one in facts.values() for prompt in make_prompts(one, options.seed)]
    replies = [
        (prompt, text)
        for prompt in prompts
        for text in reply(facts[prompt.key], prompt.kind, options.captions, options.seed)
    ]
    texts.prompted += [
        {
            "id": number,
            "image_id": image_ids[prompt.key],
            "prompt": prompt.text,
            "prompt_type": prompt.kind,
            "caption": text,
        }
        for number, (prompt, text) in enumerate(replies, len(texts.prompted) + 1)
    ]
    texts.questions += [
        {
            "id": number,
            "image_id": image_ids[item.key],
            "question": item.text,
            "answer": item.answer,
            "question_type": item.kind,
            "question_value": item.value,
        }
        for number, item in enumerate(kept, len(texts.questions) + 1)
    ]
    texts.pairs += [
        {
            "id": f"{split} {number}",
            "image": images[pair.key]["file_name"],
            "text": pair.text,
            "label": pair.label,
            "fact": pair.fact,
            "split": split,
            "group_id": images[pair.key]["group"],
        }
        for number, pair in enumerate(pairs, 1)
    ]
    texts.splits[split] = {
        "images": len(records),
        "groups": len({record.group for record in records}),
        "captions": len(written),
        "prompts": len(prompts),
        "questions": count_answers(asked, kept),
        "pairs": dict(sorted(Counter(pair.fact for pair in pairs).items())),
    }


def _image_entry(record: ImageRecord, image_id: int, split: str) -> dict[str, Any]:
    return {
        "id": image_id,
        "file_name": record.file_name,
        "width": record.width,
        "height": record.height,
        "split": split,
        "group": record.group,
    }
