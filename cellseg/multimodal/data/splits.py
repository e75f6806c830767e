"""Which records train, validate and test: as their file says, or by groups that stay together."""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cellseg.errors import InputError
from cellseg.multimodal.data.record import SPLITS, Record, plain_text

_LAST_NUMBER = re.compile(r"-\d+$")


def assign_splits(
    records: Sequence[Record],
    split_by: str | None,
    group_by: Sequence[str],
    fractions: Sequence[float],
    seed: int,
    where: str = "",
) -> dict[str, list[Record]]:
    """Records by split, in the order of the file.

    Args:
        records: of a data set.
        split_by: ``file``: as each record says. ``group``: by groups. None: as the records say, by groups if none does.
        group_by: what records of one split have in common; records that agree in any of these stay together:
            ``row`` (each for itself), ``image`` (any image file, of whatever modality; a record without one stands for
            itself), ``sentence`` (the text, or any caption), ``presentation`` (the image's name without its last
            number: ``dev-12-0.png`` and ``dev-12-3.png`` are one), ``group``, ``domain``, ``environment``.
        fractions: of the records that train, validate and test; groups are never cut, so it comes out near to that.
        seed: of the order of the groups.
        where: file, for messages.

    Raises:
        InputError: an unknown way, or a record without what it is to be split by, such as one of few without a split.
    """
    said = [record.split is not None for record in records]
    if split_by == "file" or (split_by is None and any(said)):
        if not all(said):
            others = ", and others have one; fill it in, or" if any(said) else ";"
            raise InputError(f"{records[said.index(False)].where}: has no split{others} use source.split_by='group'")
        return {split: [record for record in records if record.split == split] for split in SPLITS}
    groups = group_records(records, group_by)
    ordered = sorted(groups, key=lambda group: records[group[0]].id)
    random.Random(seed).shuffle(ordered)
    chosen = _fill(ordered, fractions)
    return {split: [records[index] for index in sorted(chosen[split])] for split in SPLITS}


def group_records(records: Sequence[Record], group_by: Sequence[str]) -> list[list[int]]:
    """Numbers of the records that must stay together, in the order of the file; arguments as ``assign_splits``."""
    unknown = [name for name in group_by if name not in _VALUES]
    if unknown or not group_by:
        found = repr(unknown[0]) if unknown else "nothing"
        raise InputError(f"source.group_by: expected some of {', '.join(_VALUES)}, found {found}")
    for name in group_by:
        if name in _OF_IMAGES and records and not any(_VALUES[name](record) for record in records):
            raise InputError(f"{records[0].where}: has no image file to be grouped by; choose another source.group_by")
    leader = list(range(len(records)))
    first: dict[tuple[str, str], int] = {}
    for index, record in enumerate(records):
        for name in group_by:
            for value in _VALUES[name](record):
                other = first.setdefault((name, value), index)
                leader[_find(leader, index)] = _find(leader, other)
    members: dict[int, list[int]] = defaultdict(list)
    for index in range(len(records)):
        members[_find(leader, index)].append(index)
    return list(members.values())


def _find(leader: list[int], index: int) -> int:
    while leader[index] != index:
        leader[index] = leader[leader[index]]
        index = leader[index]
    return index


def _fill(groups: Sequence[Sequence[int]], fractions: Sequence[float]) -> dict[str, list[int]]:
    """Group after group to the split in which its middle falls."""
    total = sum(len(group) for group in groups)
    ends = [sum(fractions[: place + 1]) * total for place in range(len(SPLITS))]
    chosen: dict[str, list[int]] = {split: [] for split in SPLITS}
    before = 0
    for group in groups:
        middle = before + len(group) / 2
        place = next((place for place, end in enumerate(ends) if middle < end), None)
        # Rounding can leave the last group beyond the last end.
        last = max(place for place, fraction in enumerate(fractions) if fraction > 0)
        chosen[SPLITS[last if place is None else place]].extend(group)
        before += len(group)
    return chosen


def _images(record: Record) -> list[str]:
    return [str(value) for value in record.inputs.values() if isinstance(value, Path)]


def _presentations(record: Record) -> list[str]:
    return [_LAST_NUMBER.sub("", str(Path(image).with_suffix(""))) for image in _images(record)]


def _sentences(record: Record) -> list[str]:
    texts = [value for value in record.inputs.values() if isinstance(value, str)]
    if not texts and not record.captions:
        raise InputError(f"{record.where}: has no text to be grouped by; choose another source.group_by")
    return [plain_text(text) for text in (*texts, *record.captions)]


def _named(name: str) -> Callable[[Record], list[str]]:
    def value(record: Record) -> list[str]:
        found = record.group if name == "group" else record.targets.get(name)
        if found is None:
            raise InputError(f"{record.where}: has no {name} to be grouped by; choose another source.group_by")
        return [str(found)]

    return value


_VALUES: Mapping[str, Callable[[Record], list[str]]] = {
    "row": lambda record: [record.id],
    "image": _images,
    "sentence": _sentences,
    "presentation": _presentations,
    "group": _named("group"),
    "domain": _named("domain"),
    "environment": _named("environment"),
}
_OF_IMAGES = ("image", "presentation")
