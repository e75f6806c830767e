"""The ``source`` of a config: which data set, how it is split, and how it is turned into tensors."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from inspect import signature
from typing import Any

from cellseg.errors import InputError
from cellseg.multimodal.data.captions import read_captions, read_flickr30k, read_karpathy
from cellseg.multimodal.data.features import read_features
from cellseg.multimodal.data.generated import read_generated
from cellseg.multimodal.data.images import IMAGE_MEAN, IMAGE_STD
from cellseg.multimodal.data.questions import read_vqa
from cellseg.multimodal.data.record import TASKS, RecordSet
from cellseg.multimodal.data.table import read_table

READERS: dict[str, Callable[..., RecordSet]] = {
    "captions": read_captions,
    "karpathy": read_karpathy,
    "flickr30k": read_flickr30k,
    "vqa": read_vqa,
    "table": read_table,
    "features": read_features,
    "generated": read_generated,
}
# Those that give pictures with captions.
CAPTION_READERS = ("captions", "karpathy", "flickr30k")


@dataclass(frozen=True)
class Source:
    """Where data comes from and how it is used.

    Attributes:
        reader: one of ``READERS``.
        data_root: folder or file; None for generated data.
        options: of the reader, see its function.
        tasks: that are trained; None: those that the records have targets for, or captioning where they have captions.
        split_by: ``file``, ``group`` or None, see ``splits.assign_splits``.
        group_by: see there; None: as the reader thinks best.
        fractions: of the records that train, validate and test; they sum to 1.
        seed: of the split, of generated data and of wrong captions.
        image_size: height and width that pictures are resized to.
        image_mean, image_std: of red, green and blue, 0 to 255, that pictures are standardised with.
        max_length: most tokens of a text, begin and end included; the rest of a text is left out.
        vocabulary: most tokens that there are.
        tokenizer: a ``tokenizer.json`` that came with pretrained weights, or its folder, whose words and numbers are
            used as they are; None: a vocabulary is learnt from the training texts.
        most_answers: answers to choose from, the most frequent of the training.
        classes: names of the classes in their order; None: those that the records have, sorted.
        prompt: the text that asks for a caption where the data has no prompts; empty: captioning reads no text then.
        negatives: wrong captions for each true one, where texts are matched.
    """

    reader: str
    data_root: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None
    split_by: str | None = None
    group_by: tuple[str, ...] | None = None
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    image_size: tuple[int, int] = (64, 64)
    image_mean: tuple[float, float, float] = IMAGE_MEAN
    image_std: tuple[float, float, float] = IMAGE_STD
    max_length: int = 32
    vocabulary: int = 4000
    tokenizer: str | None = None
    most_answers: int = 1000
    classes: tuple[str, ...] | None = None
    prompt: str = "describe the picture"
    negatives: int = 1

    def key(self) -> str:
        """The source as JSON, with the order of its entries, which is that of modalities.

        Raises:
            InputError: an option is no plain value.
        """
        try:
            return json.dumps(asdict(self))
        except TypeError as error:
            raise InputError(f"source.options: expected plain values ({error})") from error

    def read(self) -> RecordSet:
        """The records.

        Raises:
            InputError, MissingFileError: what the reader refuses.
        """
        if self.reader == "generated":
            return read_generated(self.fractions, self.seed, **self.options)
        return READERS[self.reader](self.data_root, **self.options)


def parse_source(values: Mapping[str, Any]) -> Source:
    """The ``source`` of a config.

    Raises:
        InputError: an unknown, missing or unusable entry; names it.
    """
    known = [entry.name for entry in fields(Source)]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise InputError(f"source.{unknown[0]}: unknown; expected are {', '.join(known)}")
    if values.get("reader") not in READERS:
        raise InputError(f"source.reader: expected one of {', '.join(READERS)}, found {values.get('reader')!r}")
    source = Source(**{name: _plain(value) for name, value in values.items()})
    _check_texts(source)
    _check_numbers(source)
    _check_options(source)
    return source


def _plain(value: Any) -> Any:
    """Lists as tuples, and dicts of configs as plain ones."""
    if isinstance(value, Mapping):
        return {str(key): _listed(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    # Within options, lists stay lists: readers take either, and JSON makes no difference.
    if isinstance(value, Mapping):
        return {str(key): _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _check_texts(source: Source) -> None:
    for name in ("tasks", "group_by", "classes"):
        value = getattr(source, name)
        if value is not None and not (_texts(value) and len(set(value)) == len(value) > 0):
            raise InputError(f"source.{name}: expected a list of different texts or None, found {value!r}")
    unknown = [task for task in source.tasks or () if task not in TASKS]
    if unknown:
        raise InputError(f"source.tasks: {unknown[0]!r} is none of {', '.join(TASKS)}")
    if source.split_by not in (None, "file", "group"):
        raise InputError(f"source.split_by: expected 'file', 'group' or None, found {source.split_by!r}")
    for name in ("data_root", "tokenizer"):
        value = getattr(source, name)
        if value is not None and not isinstance(value, str):
            raise InputError(f"source.{name}: expected the path of a folder or file, found {value!r}")
    if not isinstance(source.prompt, str):
        raise InputError(f"source.prompt: expected a text, found {source.prompt!r}")


def _check_numbers(source: Source) -> None:
    for name, least in dict(seed=0, max_length=3, vocabulary=6, most_answers=2, negatives=0).items():
        value = getattr(source, name)
        if type(value) is not int or value < least:
            raise InputError(f"source.{name}: expected a whole number of at least {least}, found {value!r}")
    size = source.image_size
    if not isinstance(size, tuple) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise InputError(f"source.image_size: expected height and width in pixels, found {size!r}")
    for name in ("image_mean", "image_std", "fractions"):
        value = getattr(source, name)
        if not isinstance(value, tuple) or len(value) != 3 or not all(_number(item) and item >= 0 for item in value):
            raise InputError(f"source.{name}: expected three numbers of at least 0, found {value!r}")
    if 0 in source.image_std:
        raise InputError(f"source.image_std: expected numbers above 0, found {source.image_std!r}")
    if abs(sum(source.fractions) - 1) > 1e-6:
        raise InputError(f"source.fractions: expected numbers that sum to 1, found {source.fractions!r}")


def _check_options(source: Source) -> None:
    if not isinstance(source.options, Mapping):
        raise InputError(f"source.options: expected a dict, found {source.options!r}")
    if source.reader == "generated":
        if source.data_root is not None:
            raise InputError("source.data_root: generated data has none; set it to None")
        return
    known = [name for name in signature(READERS[source.reader]).parameters if name != "data_root"]
    unknown = [name for name in source.options if name not in known]
    if unknown:
        raise InputError(f"source.options.{unknown[0]}: unknown; the reader {source.reader!r} knows {', '.join(known)}")


def _texts(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, str) for item in value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
