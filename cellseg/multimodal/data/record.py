"""One record of a multimodal data set: what is shown, what is true, and where it was read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cellseg.errors import InputError

KINDS = ("image", "volume", "sequence", "text", "tabular")
TASKS = (
    "classification",
    "multilabel",
    "regression",
    "vqa",
    "matching",
    "captioning",
    "domain",
    "environment",
)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Record:
    """One row of a data set.

    Attributes:
        id: unique within the data set.
        inputs: by modality; a modality that this row lacks is not in it. Of an image the path or float
            ``[3, H, W]``; of a volume the path of a ``.npy`` file or float ``[C, D, H, W]``; of a sequence such a path
            or float ``[T, C]``; of a text the text; of a tabular modality float ``[F]`` with NaN where unknown.
        targets: by task; a task that this row does not answer is not in it. ``classification``, ``domain``,
            ``environment``: a name; ``multilabel`` (0 or 1) and ``regression``: float ``[K]`` with NaN where unknown;
            ``vqa``: the answers of all annotators; ``captioning``: a caption; ``matching``: whether text and image
            belong together, None for a wrong text that is still to be drawn.
        captions: everything that is true of the image, as captions.
        split: ``train``, ``val`` or ``test`` where the file says so.
        group: what must not be torn apart by a split, where the file says so.
        where: file and row, for messages.
        question_type: what kind of question the text asks, where the file says so.
        prompt: what the captions reply to, where the file says so: ``captioning`` shows it in place of the one prompt
            of all records.
    """

    id: str
    inputs: Mapping[str, Any]
    targets: Mapping[str, Any] = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    where: str = ""
    question_type: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class RecordSet:
    """What a reader gives.

    Attributes:
        records: in the order of the file.
        kinds: of each modality, one of ``KINDS``.
        names: of the features of each tabular modality, and of the numbers of ``multilabel`` and ``regression``.
        group_by: how records are grouped for splitting where the user does not say (see ``splits``).
        where: the file or folder, for messages.
    """

    records: Sequence[Record]
    kinds: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group_by: tuple[str, ...] = ("row",)
    where: str = ""

    def check(self) -> "RecordSet":
        """The set itself, when it can be used.

        Raises:
            InputError: no records, an id twice, or a modality that no row has; names file and row.
        """
        if not self.records:
            raise InputError(f"{self.where}: holds no records")
        seen: dict[str, str] = {}
        for record in self.records:
            if record.id in seen:
                raise InputError(f"{record.where}: id {record.id!r} stands in {seen[record.id]} already")
            seen[record.id] = record.where
            if not record.inputs:
                raise InputError(f"{record.where}: has no input; expected {' or '.join(self.kinds)}")
        for name in self.kinds:
            if not any(name in record.inputs for record in self.records):
                raise InputError(f"{self.where}: modality {name!r} is missing in all rows; leave it out")
        return self


def plain_text(text: str) -> str:
    """A text without differences that nobody means: letters' case and blanks."""
    return " ".join(text.casefold().split())


def require_text(value: Any, where: str, name: str) -> str:
    """A text that says something, without the blanks around it.

    Raises:
        InputError: no text, or an empty one; names ``where``.
    """
    if not isinstance(value, str):
        raise InputError(f"{where}: {name}: expected a text, found {value!r}")
    if not value.strip():
        raise InputError(f"{where}: {name} is empty")
    return value.strip()


def read_split(value: Any, where: str) -> str:
    """``train``, ``val`` or ``test`` of the names that files use for them (``restval`` trains, ``dev`` validates).

    Raises:
        InputError: another name.
    """
    known = {"train": "train", "restval": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
    known["test"] = "test"
    name = str(value).strip().lower()
    if name not in known:
        raise InputError(f"{where}: split {value!r} is none of {', '.join(known)}")
    return known[name]
