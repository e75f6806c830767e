"""Pictures with captions: COCO's json, a flat list, Karpathy's json, Flickr30k's token file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellseg.errors import InputError
from cellseg.io.files import read_json
from cellseg.multimodal.data.files import (
    by_split,
    file_in,
    find_file,
    find_images,
    numbered,
    open_root,
    pair_by_split,
    read_entries,
    require,
)
from cellseg.multimodal.data.record import Record, RecordSet, read_split, require_text

KINDS = {"image": "image"}
# Captions of one picture by the prompt that they reply to; None where the file names none.
Captions = dict[str | None, list[str]]
# Between the id of a picture and the number of the prompt.
_PROMPT_APART = "#prompt-"
CAPTION_FILES = ("captions.json", "annotations.json")
KARPATHY_FILES = ("dataset_coco.json", "dataset_flickr30k.json", "dataset.json")
TOKEN_FILES = ("results_20130124.token", "results.token", "Flickr8k.token.txt", "captions.token")


def read_captions(
    data_root: str | None, annotations: str | Mapping | None = None, images: str | Mapping | None = None
) -> RecordSet:
    """COCO's caption json (``images``, ``annotations``), or a flat list of ``{image, caption}``.

    A caption may have the ``prompt`` that it replies to, which captioning then reads instead of ``source.prompt``.

    Args:
        data_root: the folder, or the json file itself.
        annotations: the json's name, or one for each split; None: a usual name.
        images: the folder of the images, or one for each split; None: ``images`` where it exists, else the json's own.

    Returns:
        A record an image, with all its captions; of an image with prompts a record for each of these.

    Raises:
        InputError, MissingFileError: what cannot be used; names file and entry.
    """
    root = open_root(data_root)
    records = []
    for split, name, folder in pair_by_split(
        by_split(annotations, "annotations"), by_split(images, "images"), "images"
    ):
        path = find_file(root, name, CAPTION_FILES, "annotations")
        content = read_json(path)
        read = _read_flat if isinstance(content, list) else _read_coco
        records.extend(read(content, path, find_images(root, folder), split))
    return RecordSet(records, KINDS, group_by=group_of_pictures(records), where=str(root)).check()


def group_of_pictures(records: Sequence[Record]) -> tuple[str, ...]:
    """How pictures are grouped: by their group where they have one (all must, then), else each for itself."""
    return ("group",) if any(record.group is not None for record in records) else ("image",)


def _read_coco(content: Any, path: Path, images: Path, split: str | None) -> list[Record]:
    pictures = read_pictures(content, path, images, split)
    captions: dict[str, Captions] = {identity: {} for identity in pictures}
    for where, entry in read_entries(content, "annotations", path):
        identity = str(require(entry, "image_id", where))
        if identity not in captions:
            raise InputError(f"{where}: caption without image: image_id {identity} is not among the images")
        _add_caption(captions[identity], entry, where)
    return [record for identity, picture in pictures.items() for record in _by_prompt(picture, captions[identity])]


def _add_caption(captions: Captions, entry: Mapping[str, Any], where: str) -> None:
    prompt = None if entry.get("prompt") is None else require_text(entry["prompt"], where, "prompt")
    captions.setdefault(prompt, []).append(require_text(entry.get("caption"), where, "caption"))


def _by_prompt(picture: Record, captions: Captions) -> Iterator[Record]:
    """The picture with its captions, and once more with those that reply to each of its prompts."""
    if None in captions or not captions:
        yield replace(picture, captions=tuple(captions.get(None, ())))
    prompts = [prompt for prompt in captions if prompt is not None]
    for number, prompt in enumerate(prompts):
        yield replace(
            picture,
            id=f"{picture.id}{_PROMPT_APART}{number}",
            captions=tuple(captions[prompt]),
            prompt=prompt,
        )


def picture_of(record: str) -> str:
    """Id of the picture of a record that :func:`read_captions` gave."""
    return record.partition(_PROMPT_APART)[0]


def read_pictures(content: Any, path: Path, images: Path, split: str | None) -> dict[str, Record]:
    """The entries of the list ``images`` in COCO's form, by id, as records of an image alone.

    Args:
        content: of the json.
        path: the json, for messages.
        images: folder that file names are relative to.
        split: of all of them; None: what the entries say (``split``), if they do.

    Raises:
        InputError, MissingFileError: an id twice, or an image that cannot be used; names the entry.
    """
    pictures: dict[str, Record] = {}
    for where, entry in read_entries(content, "images", path):
        identity = str(require(entry, "id", where))
        if identity in pictures:
            raise InputError(f"{where}: id {identity!r} stands in {pictures[identity].where} already")
        own = read_split(entry["split"], where) if split is None and entry.get("split") is not None else split
        group = entry.get("group")
        pictures[identity] = Record(
            id=identity,
            inputs={"image": file_in(images, require(entry, "file_name", where), where)},
            split=own,
            group=None if group is None else str(group),
            where=where,
        )
    return pictures


def _read_flat(content: list, path: Path, images: Path, split: str | None) -> list[Record]:
    rows: dict[str, tuple[str, str | None, Captions]] = {}
    for where, entry in numbered(content, "", path):
        name = entry.get("image")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{where}: caption without image")
        own = read_split(entry["split"], where) if entry.get("split") is not None else split
        _, first, captions = rows.setdefault(name, (where, own, {}))
        if first != own:
            raise InputError(f"{where}: image {name!r} is in two splits, {first} and {own}")
        _add_caption(captions, entry, where)
    return [
        record
        for name, (where, own, captions) in rows.items()
        for record in _by_prompt(_record(name, file_in(images, name, where), [], own, where), captions)
    ]


def read_karpathy(data_root: str | None, annotations: str | None = None, images: str | None = None) -> RecordSet:
    """Karpathy's json of COCO or Flickr30k, with its splits (``restval`` belongs to the training).

    Args and errors as ``read_captions``.
    """
    root = open_root(data_root)
    path, folder = find_file(root, annotations, KARPATHY_FILES, "annotations"), find_images(root, images)
    records = []
    for where, entry in read_entries(read_json(path), "images", path):
        name = require(entry, "filename", where)
        name = f"{entry['filepath']}/{name}" if entry.get("filepath") else name
        sentences = require(entry, "sentences", where)
        if not isinstance(sentences, list) or not all(isinstance(sentence, Mapping) for sentence in sentences):
            raise InputError(f"{where}: sentences: expected a list of objects")
        captions = [
            require_text(sentence.get("raw"), f"{where}, sentences[{index}]", "raw")
            for index, sentence in enumerate(sentences)
        ]
        split = read_split(require(entry, "split", where), where)
        identity = str(entry.get("cocoid", entry.get("imgid", name)))
        records.append(_record(identity, file_in(folder, name, where), captions, split, where))
    return RecordSet(records, KINDS, group_by=("image",), where=str(path)).check()


def read_flickr30k(data_root: str | None, annotations: str | None = None, images: str | None = None) -> RecordSet:
    """Flickr30k's (and Flickr8k's) token file: lines ``NAME.jpg#0<TAB>CAPTION``.

    Args and errors as ``read_captions``.
    """
    root = open_root(data_root)
    path, folder = find_file(root, annotations, TOKEN_FILES, "annotations"), find_images(root, images)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error
    rows: dict[str, tuple[str, list[str]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        place, tab, caption = line.partition("\t")
        name, hash_sign, count = place.rpartition("#")
        if not tab or not hash_sign or not count.strip().isdigit():
            raise InputError(f"{where}: expected NAME#NUMBER, a tab and a caption, found {line[:60]!r}")
        rows.setdefault(name, (where, []))[1].append(require_text(caption, where, "caption"))
    records = [
        _record(name, file_in(folder, name, where), captions, None, where) for name, (where, captions) in rows.items()
    ]
    return RecordSet(records, KINDS, group_by=("image",), where=str(path)).check()


def _record(identity: str, image: Path, captions: list[str], split: str | None, where: str) -> Record:
    return Record(identity, {"image": image}, captions=tuple(captions), split=split, where=where)
