"""Pictures with questions: VQA v2's two files, and a single file with images and annotations."""

import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellseg.errors import InputError
from cellseg.io.files import read_json
from cellseg.multimodal.data.captions import group_of_pictures, read_pictures
from cellseg.multimodal.data.files import (
    by_split,
    file_in,
    find_file,
    find_images,
    open_root,
    pair_by_split,
    read_entries,
    require,
)
from cellseg.multimodal.data.record import Record, RecordSet, require_text

KINDS = {"image": "image", "text": "text"}
SINGLE_FILES = ("vqa.json", "questions.json")
COCO_NAME = "COCO_{data_subtype}_{image_id:012d}.jpg"


def read_vqa(
    data_root: str | None,
    annotations: str | Mapping | None = None,
    questions: str | Mapping | None = None,
    images: str | Mapping | None = None,
    image_name: str = COCO_NAME,
) -> RecordSet:
    """Questions about pictures with the answers of one annotator or several.

    Args:
        data_root: the folder, or the single file.
        annotations: VQA v2's annotations, or the single file with ``images`` and ``annotations`` (``image_id``,
            ``question``, ``answer`` or ``answers``); or one for each split. None: a usual name of the single file.
            Their ``question_type`` is read where they have one.
        questions: VQA v2's questions, or one for each split; None: the single form.
        images: folder of the images, or one for each split; None: ``images`` where it exists.
        image_name: of VQA v2, how an image's file is called, made of ``{image_id}`` and ``{data_subtype}``.

    Raises:
        InputError, MissingFileError: what cannot be used; names file and entry.
    """
    root = open_root(data_root)
    records = []
    answered, asked, folders = (
        by_split(value, option)
        for value, option in ((annotations, "annotations"), (questions, "questions"), (images, "images"))
    )
    for split, answer_file, question_file in pair_by_split(answered, asked, "questions"):
        _, _, folder = pair_by_split({split: None}, folders, "images")[0]
        pictures = find_images(root, folder)
        path = find_file(root, answer_file, SINGLE_FILES, "annotations")
        if question_file is None:
            records.extend(_read_single(path, pictures, split))
        else:
            asked_in = find_file(root, question_file, (), "questions")
            records.extend(_read_pair(asked_in, path, pictures, image_name, split))
    return RecordSet(records, KINDS, group_by=group_of_pictures(records), where=str(root)).check()


def _read_single(path: Path, images: Path, split: str | None) -> Iterator[Record]:
    content = read_json(path)
    pictures = read_pictures(content, path, images, split)
    for index, (where, entry) in enumerate(read_entries(content, "annotations", path)):
        image = str(require(entry, "image_id", where))
        if image not in pictures:
            raise InputError(f"{where}: question without image: image_id {image} is not among the images")
        text = require_text(entry.get("question"), where, "question")
        yield replace(
            pictures[image],
            id=str(entry.get("id", f"{split or 'question'}-{index}")),
            inputs={**pictures[image].inputs, "text": text},
            targets={"vqa": _answers(entry, where)},
            where=where,
            question_type=_question_type(entry),
        )


def _read_pair(
    questions: Path, annotations: Path, images: Path, image_name: str, split: str | None
) -> Iterator[Record]:
    _check_template(image_name)
    answers, kinds, about = {}, {}, {}
    answer_content, question_content = read_json(annotations), read_json(questions)
    for where, entry in read_entries(answer_content, "annotations", annotations):
        identity = str(require(entry, "question_id", where))
        answers[identity], kinds[identity] = _answers(entry, where), _question_type(entry)
        about[identity] = entry.get("image_id")
    subtype = str(question_content.get("data_subtype", "")) if isinstance(question_content, Mapping) else ""
    for where, entry in read_entries(question_content, "questions", questions):
        identity, image = str(require(entry, "question_id", where)), require(entry, "image_id", where)
        if type(image) is not int:
            raise InputError(f"{where}: image_id: expected a whole number, found {image!r}")
        if identity not in answers:
            raise InputError(f"{where}: question {identity} has no answer in {annotations}")
        name = image_name.format(image_id=image, data_subtype=subtype)
        text = require_text(entry.get("question"), where, "question")
        inputs = {"image": file_in(images, name, where), "text": text}
        targets = {"vqa": answers[identity]}
        if about[identity] is not None and str(about[identity]) != str(image):
            raise InputError(f"{where}: asks about image {image}, and {annotations} answers about {about[identity]!r}")
        yield Record(identity, inputs, targets, split=split, where=where, question_type=kinds[identity])


def _check_template(image_name: str) -> None:
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(image_name) if name is not None}
        sound = "image_id" in fields and fields <= {"image_id", "data_subtype"}
        image_name.format(image_id=1, data_subtype="val2014")
    except (ValueError, KeyError, IndexError):
        sound = False
    if not sound:
        raise InputError(
            f"options.image_name: expected a name made of {{image_id}} and {{data_subtype}}, found {image_name!r}"
        )


def _question_type(entry: Mapping[str, Any]) -> str:
    """Nothing is learned from it, so that one in another form is as good as none."""
    kind = entry.get("question_type")
    return kind.strip() if isinstance(kind, str) else ""


def _answers(entry: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """All annotators' answers: texts, or VQA v2's objects with ``answer``."""
    if "answers" not in entry:
        return (require_text(require(entry, "answer", where), where, "answer"),)
    answers = entry["answers"]
    if not isinstance(answers, list) or not answers:
        raise InputError(f"{where}: answers: expected a list, found {answers!r}")
    texts = [answer.get("answer") if isinstance(answer, Mapping) else answer for answer in answers]
    # VQA v2 has annotators who left the field empty beside nine who did not.
    given = tuple(text for text in texts if not isinstance(text, str) or text.strip())
    return tuple(require_text(text, where, "answer") for text in given or texts)
