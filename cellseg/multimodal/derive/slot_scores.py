"""How right generated captions are: what they say, slot by slot, beside the facts of their images."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from cellseg.errors import InputError
from cellseg.io.files import read_json
from cellseg.multimodal.derive.dataset_files import CAPTIONS, FACTS, FORMAT
from cellseg.multimodal.derive.facts import ImageFacts, known_types
from cellseg.multimodal.derive.phrases import Slots, count_range, cover_range, parse_caption, slots_of
from cellseg.multimodal.metrics import bleu, caption_words, cider_d, rouge_l

SLOTS = tuple(field.name for field in fields(Slots))
_LISTED = 5


@dataclass(frozen=True)
class Described:
    """An image of a derived data set.

    Attributes:
        image_id: its number in the COCO files.
        split: ``train``, ``val`` or ``test``.
        facts: what is true of it.
    """

    image_id: int
    split: str
    facts: ImageFacts


def read_described(root: str | Path) -> tuple[tuple[str, ...], list[Described]]:
    """Types and images of a derived data set.

    Raises:
        MissingFileError: it has no ``facts.json``.
        InputError: the file is damaged; the text names the entry.
    """
    path = Path(root) / FACTS
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: not the facts of a derived data set (expected format {FORMAT!r})")
    names, entries = content.get("class_names"), content.get("images")
    if not isinstance(names, list) or not isinstance(entries, list):
        raise InputError(f"{path}: damaged, class_names or images are missing; run derive_text.py dataset again")
    images = []
    for number, entry in enumerate(entries):
        where = f"{path}: images[{number}]"
        facts = ImageFacts.from_dict(entry if isinstance(entry, dict) else {}, where)
        if type(entry.get("image_id")) is not int or not isinstance(entry.get("split"), str):
            raise InputError(f"{where}: lacks image_id or split; run derive_text.py dataset again")
        images.append(Described(entry["image_id"], entry["split"], facts))
    return known_types(names), images


def read_captions(path: str | Path, file_names: Mapping[str, int]) -> dict[int, str]:
    """Generated captions by number of the image.

    Args:
        path: a JSON list of ``{image_id, caption}``, as COCO has results, or of ``{image, caption}`` with a file name.
        file_names: number of each image by file name.

    Raises:
        MissingFileError: there is no such file.
        InputError: it has another form, or an image comes twice or is unknown; the text names the entry.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: expected a list of entries with image_id and caption")
    known = set(file_names.values())
    captions: dict[int, str] = {}
    for number, entry in enumerate(content):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("caption"), str):
            raise InputError(f"{where}: expected image_id and caption")
        image = entry.get("image_id", file_names.get(str(entry.get("image"))))
        if type(image) is not int or image not in known:
            raise InputError(f"{where}: no image {entry.get('image_id', entry.get('image'))!r} in the data set")
        if image in captions:
            raise InputError(f"{where}: a second caption of image {image}; give one for each")
        captions[image] = entry["caption"]
    if not captions:
        raise InputError(f"{path}: no captions")
    return captions


def score_captions(path: str | Path, root: str | Path) -> dict[str, Any]:
    """Score generated captions against a derived data set.

    Args:
        path: see ``read_captions``.
        root: folder of the data set.

    Returns:
        By split what ``score_slots`` gives, every split of which an image is described must be described whole; by slot
        beside it ``majority``, the accuracy of who always states what is most often true of the training images; and
        ``overlap`` with the captions of the data set: ``bleu1`` to ``bleu4``, ``cider`` (CIDEr-D), ``rouge`` (ROUGE-L).

    Raises:
        MissingFileError, InputError: a file is missing or damaged, or images of a split have no caption.
    """
    types, described = read_described(root)
    file_names, references = _read_references(Path(root) / CAPTIONS)
    captions = read_captions(path, file_names)
    splits: dict[str, list[Described]] = defaultdict(list)
    for image in described:
        splits[image.split].append(image)
    result = {}
    for split, images in splits.items():
        missing = [image.facts.key for image in images if image.image_id not in captions]
        if len(missing) == len(images):
            continue
        if missing:
            more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
            raise InputError(f"{path}: {split}: no caption of {', '.join(missing[:_LISTED])}{more}")
        result[split] = score_slots([(parse_caption(captions[image.image_id], types), image.facts) for image in images])
        for slot, accuracy in _majorities(splits["train"], images).items():
            result[split][slot]["majority"] = accuracy
        numbers = [image.image_id for image in images]
        result[split]["overlap"] = _overlap([captions[one] for one in numbers], [references[one] for one in numbers])
    return result


def _read_references(path: Path) -> tuple[dict[str, int], dict[int, list[str]]]:
    """Numbers of images by file name, and captions by number."""
    content = read_json(path)
    try:
        names = {entry["file_name"]: entry["id"] for entry in content["images"]}
        references: dict[int, list[str]] = {number: [] for number in names.values()}
        for entry in content["annotations"]:
            references[entry["image_id"]].append(entry["caption"])
    except (TypeError, KeyError):
        raise InputError(
            f"{path}: damaged, images lack file_name or id, or captions an image; run derive_text.py dataset again"
        ) from None
    return names, references


def _majorities(train: Sequence[Described], images: Sequence[Described]) -> dict[str, float | None]:
    """By slot the accuracy of the value that is most often true in training, of equally frequent ones the smallest."""
    found = {}
    for slot in SLOTS:
        known = [[getattr(slots_of(image.facts), slot) for image in part] for part in (train, images)]
        often, true = ([value for value in part if value is not None] for part in known)
        most = min(set(often), key=lambda value: (-often.count(value), value), default=None)
        found[slot] = _ratio(true.count(most), len(true))
    return found


def _overlap(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Scores of the words of captions; see ``metrics``."""
    words = [caption_words(text) for text in captions]
    true = [[caption_words(text) for text in row] for row in references]
    scores = {f"bleu{length}": value for length, value in enumerate(bleu(words, true), 1)}
    scores |= {"cider": float(np.mean(cider_d(words, true))), "rouge": float(np.mean(rouge_l(words, true)))}
    return {name: round(float(value), 4) for name, value in scores.items()}


def score_slots(said: Sequence[tuple[Slots, ImageFacts]]) -> dict[str, Any]:
    """Compare what captions say with what is true.

    Args:
        said: the slots of each caption and the facts of its image.

    Returns:
        ``images``, and by slot: ``true`` (images of which something is true), ``stated`` (captions that say
        something), ``right``, ``accuracy`` (right of those with a truth; saying nothing is wrong), ``precision``
        (right of those stated). For ``count`` and ``confluence`` also the ``error`` of what is stated: how many cells,
        or percent of the area, the truth lies outside of the stated bucket, as ``mean`` and ``median``. A ratio with
        nothing below the line is None.
    """
    result: dict[str, Any] = {"images": len(said)}
    for slot in SLOTS:
        pairs = [(getattr(slots, slot), getattr(slots_of(facts), slot)) for slots, facts in said]
        true = sum(truth is not None for _, truth in pairs)
        stated = sum(text is not None for text, _ in pairs)
        right = sum(text is not None and text == truth for text, truth in pairs)
        result[slot] = {
            "true": true,
            "stated": stated,
            "right": right,
            "accuracy": _ratio(right, true),
            "precision": _ratio(right, stated),
        }
    result["count"]["error"] = _errors(
        _outside(facts.count, *count_range(slots.count)) for slots, facts in said if slots.count is not None
    )
    result["confluence"]["error"] = _errors(
        _outside(100 * facts.confluence, *cover_range(slots.confluence))
        for slots, facts in said
        if slots.confluence is not None
    )
    return result


def _outside(value: float, low: float, high: float | None) -> float:
    """How far a value lies outside of a range; None is a range without end."""
    return max(low - value, 0 if high is None else value - high, 0)


def _errors(values: Iterable[float]) -> dict[str, float | None]:
    values = list(values)
    if not values:
        return {"mean": None, "median": None}
    return {"mean": round(float(np.mean(values)), 4), "median": round(float(np.median(values)), 4)}


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
