"""The files of a derived data set: COCO captions, with prompts and without, questions in VQA form, pairs, facts."""

import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError
from cellseg.io.files import write_json, write_text
from cellseg.multimodal.derive.facts import ImageFacts
from cellseg.multimodal.derive.questions import YES_NO

FORMAT = "cellseg derived text 1"
SUMMARY = "derived.json"
CAPTIONS = "captions.json"
PROMPTED = "prompts.json"
QUESTIONS = "vqa.json"
PAIRS = "pairs.jsonl"
FACTS = "facts.json"
IMAGES = "images"
SPLITS = "splits"
OFFICIAL = "vqa_v2"
_FILES = {SUMMARY, CAPTIONS, PROMPTED, QUESTIONS, PAIRS, FACTS, IMAGES, SPLITS, OFFICIAL}
_HUMAN_ANSWERS = 10  # that the official form has for every question


@dataclass
class Texts:
    """Everything about the images of all splits; images are in the order of the splits and of their files.

    Attributes:
        images: COCO image entries, with ``split`` and ``group``.
        facts: of each image.
        captions: COCO caption entries.
        prompted: such entries with the ``prompt`` that they reply to, and its ``prompt_type``.
        questions: entries with ``question``, ``answer``, ``question_type`` and ``question_value``, the type or number
            that it asks about.
        pairs: rows with ``image``, ``text``, ``label``, and the ``fact`` in question.
        splits: numbers about each split.
    """

    images: list[dict[str, Any]] = field(default_factory=list)
    facts: list[ImageFacts] = field(default_factory=list)
    captions: list[dict[str, Any]] = field(default_factory=list)
    prompted: list[dict[str, Any]] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)


def check_out(out: Path, overwrite: bool, own: Collection[str] = _FILES, mark: str = SUMMARY) -> None:
    """Refuse a folder that may not be written.

    Args:
        out: the folder.
        overwrite: whether it may be there already.
        own: names of what may then be in it.
        mark: the one of them that must be.

    Raises:
        InputError: it is there without ``overwrite``, or holds files of another origin.
    """
    if not out.is_symlink() and (not out.exists() or (out.is_dir() and not any(out.iterdir()))):
        return
    if out.is_symlink() or not out.is_dir():
        raise InputError(f"{out}: exists and is not a folder; choose another --out")
    if not overwrite:
        raise InputError(f"{out}: exists; choose another --out, or replace it with --overwrite")
    foreign = sorted(path.name for path in out.iterdir() if path.name not in own)
    if foreign or not (out / mark).is_file():
        found = f"holds {', '.join(foreign[:5])}" if foreign else f"has no {mark}"
        raise InputError(f"{out}: {found}, so --overwrite leaves it alone; choose another --out")


def write_files(
    out: Path, texts: Texts, summary: Mapping[str, Any], folder: DataFolder, copy_images: bool, official: bool
) -> None:
    """Write the data set into an empty folder.

    Args:
        out: the folder.
        texts: what is written.
        summary: content of ``derived.json``.
        folder: where the images are.
        copy_images: into ``images/``.
        official: write the questions also as the two files that VQA v2 has for each split.
    """
    _write_coco(out, texts.images, texts)
    for split in texts.splits:
        _write_coco(out / SPLITS / split, [image for image in texts.images if image["split"] == split], texts)
    write_text(out / PAIRS, "".join(json.dumps(pair, sort_keys=True) + "\n" for pair in texts.pairs))
    facts = [
        {"image_id": image["id"], "split": image["split"], **one.to_dict()}
        for image, one in zip(texts.images, texts.facts, strict=True)
    ]
    write_json(out / FACTS, {"format": FORMAT, "class_names": summary["class_names"], "images": facts})
    if official:
        _write_official(out / OFFICIAL, texts)
    if copy_images:
        (out / IMAGES).mkdir()
        for image in texts.images:
            shutil.copyfile(folder.image_path(image["file_name"]), out / IMAGES / image["file_name"])
    write_json(out / SUMMARY, summary)


def _write_coco(out: Path, images: list[dict[str, Any]], texts: Texts) -> None:
    """Captions, replies to prompts and questions of some images."""
    head = {"info": {"description": "texts derived from segmentations"}, "licenses": [], "images": images}
    write_json(out / CAPTIONS, {**head, "annotations": _about(images, texts.captions)})
    write_json(out / PROMPTED, {**head, "annotations": _about(images, texts.prompted)})
    write_json(out / QUESTIONS, {**head, "annotations": _about(images, texts.questions)})


def _about(images: Iterable[Mapping[str, Any]], entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    chosen = {image["id"] for image in images}
    return [entry for entry in entries if entry["image_id"] in chosen]


def _write_official(out: Path, texts: Texts) -> None:
    """Questions and annotations of each split as VQA v2 has them, with ten equal answers for each question."""
    for split in texts.splits:
        mine = _about([image for image in texts.images if image["split"] == split], texts.questions)
        head = {"info": {"description": "questions derived from segmentations"}, "data_subtype": split}
        asked = [
            {"question_id": entry["id"], "image_id": entry["image_id"], "question": entry["question"]} for entry in mine
        ]
        answered = [_official_answer(entry) for entry in mine]
        write_json(out / f"questions_{split}.json", {**head, "task_type": "Open-Ended", "questions": asked})
        write_json(out / f"annotations_{split}.json", {**head, "annotations": answered})


def _official_answer(entry: Mapping[str, Any]) -> dict[str, Any]:
    answer = {"answer": entry["answer"], "answer_confidence": "yes"}
    kind = entry["question_type"]
    return {
        "question_id": entry["id"],
        "image_id": entry["image_id"],
        "question_type": kind,
        "answer_type": "yes/no" if kind in YES_NO else "other",
        "multiple_choice_answer": entry["answer"],
        "answers": [{**answer, "answer_id": number} for number in range(1, _HUMAN_ANSWERS + 1)],
    }
