"""``comparison.json`` as ``tools/compare.py`` writes it, read back and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cellseg.errors import InputError
from cellseg.io.files import file_hash, read_json

MEMBER, VARIANT, VOTE, MATCHING, ENSEMBLE = "member", "variant", "vote", "matching", "ensemble"
KINDS = (MEMBER, VARIANT, VOTE, MATCHING, ENSEMBLE)
PER_IMAGE = ("per_image", "per_image_ap50", "per_image_ap75")
_REMEDY = "write it anew with tools/compare.py"


@dataclass(frozen=True)
class StoredRow:
    """Scores of one row.

    Attributes:
        name: of the row.
        kind: one of ``KINDS``.
        validation: mAP on the tuning images; None where it is not known.
        per_image: competition mAP of each image.
        per_image_ap50, per_image_ap75: its precision at IoU 0.50 and 0.75.
    """

    name: str
    kind: str
    validation: float | None
    per_image: tuple[float, ...]
    per_image_ap50: tuple[float, ...]
    per_image_ap75: tuple[float, ...]


@dataclass(frozen=True)
class StoredComparison:
    """A comparison that was written earlier.

    Attributes:
        path: of the file, as it was given.
        sha256: of the file.
        split: that was scored.
        images: their names.
        groups, cell_types: of each image.
        rows: the ensemble last.
    """

    path: str
    sha256: str
    split: str
    images: tuple[str, ...]
    groups: tuple[str, ...]
    cell_types: tuple[str, ...]
    rows: tuple[StoredRow, ...]

    def row(self, name: str) -> StoredRow:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    def best_single(self) -> StoredRow | None:
        """The member with the best score on the tuning images, the first of equal ones; None where one has none."""
        members = [row for row in self.rows if row.kind == MEMBER]
        if not members or any(row.validation is None for row in members):
            return None
        return max(members, key=lambda row: row.validation)

    def reordered(self, images: Sequence[str]) -> "StoredComparison":
        """The same with its images in another order."""
        place = {key: index for index, key in enumerate(self.images)}
        order = [place[key] for key in images]
        rows = tuple(
            replace(row, **{name: tuple(getattr(row, name)[index] for index in order) for name in PER_IMAGE})
            for row in self.rows
        )
        groups, types = (tuple(values[index] for index in order) for values in (self.groups, self.cell_types))
        return replace(self, images=tuple(images), groups=groups, cell_types=types, rows=rows)


def read_comparison(path: str | Path) -> StoredComparison:
    """Read a ``comparison.json``.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no comparison, or lacks what is needed; names file and key.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("rows"), list) or "images" not in content:
        raise InputError(f"{path}: not a comparison; {_REMEDY}")
    images = _texts(content, "images", None, path)
    if not images or len(set(images)) != len(images):
        raise InputError(f"{path}: images: expected different names, at least one; {_REMEDY}")
    rows = tuple(_row(row, number, len(images), path) for number, row in enumerate(content["rows"]))
    names = [row.name for row in rows]
    if len(set(names)) != len(names) or not rows or rows[-1].kind != ENSEMBLE:
        raise InputError(f"{path}: rows: expected different names with the ensemble last, found {names}; {_REMEDY}")
    if not isinstance(content.get("split"), str):
        raise InputError(f"{path}: split: expected a text, found {content.get('split')!r}; {_REMEDY}")
    return StoredComparison(
        path=str(path),
        sha256=file_hash(path),
        split=content["split"],
        images=images,
        groups=_texts(content, "groups", len(images), path),
        cell_types=_texts(content, "cell_types", len(images), path),
        rows=rows,
    )


def _row(value: Any, number: int, images: int, path: str | Path) -> StoredRow:
    place = f"{path}: rows[{number}]"
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or value.get("kind") not in KINDS:
        raise InputError(f"{place}: expected an object with a name and a kind ({', '.join(KINDS)}); {_REMEDY}")
    scores = {name: _scores(value.get(name), images, f"{place}.{name}") for name in PER_IMAGE}
    validation = value.get("validation")
    if validation is not None:
        (validation,) = _scores([validation], 1, f"{place}.validation")
    return StoredRow(value["name"], value["kind"], validation, **scores)


def _scores(value: Any, count: int, place: str) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count:
        found = f"{len(value)} values" if isinstance(value, list) else "none"
        raise InputError(f"{place}: expected a score for each of {count} images, found {found}; {_REMEDY}")
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
            raise InputError(f"{place}: expected numbers from 0 to 1, found {number!r}; {_REMEDY}")
    return tuple(float(number) for number in value)


def _texts(content: dict[str, Any], key: str, count: int | None, path: str | Path) -> tuple[str, ...]:
    value = content.get(key)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InputError(f"{path}: {key}: expected a list of texts; {_REMEDY}")
    if count is not None and len(value) != count:
        raise InputError(f"{path}: {key}: {len(value)} for {count} images; {_REMEDY}")
    return tuple(value)
