"""Images of a derived data set with their facts, what captions of them should say, and captions that were generated."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cellseg.errors import InputError, MissingFileError
from cellseg.io.files import read_json
from cellseg.multimodal.derive.dataset_files import CAPTIONS, FACTS, FORMAT, PROMPTED
from cellseg.multimodal.derive.facts import ImageFacts, known_types
from cellseg.multimodal.derive.prompts import PROMPTS

_AGAIN = "run derive_text.py dataset again"
# An image, and the prompt that a caption of it replies to; None for a caption that says everything.
CaptionKey = tuple[int, str | None]


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


@dataclass
class Wanted:
    """What a caption is asked for.

    Attributes:
        image_id: of the image.
        prompt: that the caption replies to; None for one that says everything.
        kind: of the prompt, a key of ``PROMPTS``; empty without one.
        group: of the image; images of one group are no independent evidence.
        references: captions of the data set.
    """

    image_id: int
    prompt: str | None
    kind: str
    group: str
    references: list[str] = field(default_factory=list)


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
        raise InputError(f"{path}: damaged, class_names or images are missing; {_AGAIN}")
    images = []
    for number, entry in enumerate(entries):
        where = f"{path}: images[{number}]"
        facts = ImageFacts.from_dict(entry if isinstance(entry, dict) else {}, where)
        if type(entry.get("image_id")) is not int or not isinstance(entry.get("split"), str):
            raise InputError(f"{where}: lacks image_id or split; {_AGAIN}")
        images.append(Described(entry["image_id"], entry["split"], facts))
    return known_types(names), images


def read_wanted(root: str | Path, prompted: bool) -> tuple[dict[str, int], list[Wanted]]:
    """Numbers of the images of a derived data set by file name, and what captions of them are asked for.

    Args:
        root: folder of the data set.
        prompted: by prompts that ask for one thing or all (``prompts.json``), or for all (``captions.json``).

    Raises:
        MissingFileError: the file is missing; data sets of older versions have no ``prompts.json``.
        InputError: the file is damaged.
    """
    path = Path(root) / (PROMPTED if prompted else CAPTIONS)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file, data sets of older versions lack it; {_AGAIN}")
    content = read_json(path)
    try:
        names = {entry["file_name"]: entry["id"] for entry in content["images"]}
        groups = {entry["id"]: str(entry.get("group", entry["id"])) for entry in content["images"]}
        wanted: dict[CaptionKey, Wanted] = {}
        for number, group in groups.items() if not prompted else ():
            wanted[number, None] = Wanted(number, None, "", group)
        for entry in content["annotations"]:
            number, prompt, kind = entry["image_id"], None, ""
            if prompted:
                prompt, kind = entry["prompt"], entry["prompt_type"]
            if number not in groups or (prompted and kind not in PROMPTS):
                raise KeyError
            one = wanted.setdefault((number, prompt), Wanted(number, prompt, kind, groups[number]))
            one.references.append(entry["caption"])
    except (TypeError, KeyError):
        lacking = "captions lack image, prompt or prompt_type" if prompted else "captions lack an image"
        raise InputError(f"{path}: damaged, images lack file_name or id, or {lacking}; {_AGAIN}") from None
    return names, list(wanted.values())


def read_captions(path: str | Path, file_names: Mapping[str, int]) -> dict[CaptionKey, str]:
    """Generated captions by image and prompt.

    Args:
        path: a JSON list of ``{image_id, caption}``, as COCO has results, or of ``{image, caption}`` with a file name;
            all or none with a ``prompt``.
        file_names: number of each image by file name.

    Raises:
        MissingFileError: there is no such file.
        InputError: it has another form, or an image comes twice or is unknown; the text names the entry.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: expected a list of entries with image_id and caption")
    known = set(file_names.values())
    captions: dict[CaptionKey, str] = {}
    for number, entry in enumerate(content):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("caption"), str):
            raise InputError(f"{where}: expected image_id and caption")
        image = entry.get("image_id", file_names.get(str(entry.get("image"))))
        if type(image) is not int or image not in known:
            raise InputError(f"{where}: no image {entry.get('image_id', entry.get('image'))!r} in the data set")
        prompt = entry.get("prompt")
        if not (prompt is None or isinstance(prompt, str)):
            raise InputError(f"{where}: prompt: expected a text, found {prompt!r}")
        if (image, prompt) in captions:
            to = "" if prompt is None else f" to {prompt!r}"
            raise InputError(f"{where}: a second caption of image {image}{to}; give one for each")
        captions[image, prompt] = entry["caption"]
    if not captions:
        raise InputError(f"{path}: no captions")
    if len({prompt is None for _, prompt in captions}) > 1:
        raise InputError(f"{path}: some captions have a prompt and others none; score them in two files")
    return captions


def check_asked(path: str | Path, captions: Collection[CaptionKey], wanted: Collection[Wanted]) -> None:
    """Refuse replies to prompts that the data set does not have.

    Raises:
        InputError: names file, image and prompt.
    """
    known = {(one.image_id, one.prompt) for one in wanted}
    for image, prompt in captions:
        if (image, prompt) not in known:
            raise InputError(f"{path}: image {image}: the data set does not ask {prompt!r} of it")
