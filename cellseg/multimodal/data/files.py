"""Files that a data set names: found below its folder and nowhere else, and JSON with entries that are checked."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cellseg.errors import InputError, MissingFileError

IMAGE_FOLDERS = ("images", "flickr30k-images")


def open_root(data_root: str | Path | None) -> Path:
    """The folder of a data set.

    Raises:
        InputError: none given.
        MissingFileError: it does not exist.
    """
    if data_root is None:
        raise InputError("source.data_root: this reader needs the folder or file of a data set")
    path = Path(data_root)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder; set data_root to the data set's")
    return path


def find_file(root: Path, name: str | None, candidates: tuple[str, ...], option: str) -> Path:
    """The file that holds the rows of a data set.

    Args:
        root: the file itself, or the folder it lies in.
        name: its name in that folder; None: the first of ``candidates`` that exists.
        candidates: usual names.
        option: what the user sets to name it, for the message.

    Raises:
        MissingFileError: it does not exist.
    """
    if root.is_file():
        return root
    names = candidates if name is None else (name,)
    for candidate in names:
        path = root / candidate
        if path.is_file():
            return path
    raise MissingFileError(f"{root / names[0]}: no such file; name it with options.{option}")


def find_images(root: Path, name: str | None) -> Path:
    """The folder that image names are relative to: ``name``, else a usual one, else the data set's own.

    Raises:
        MissingFileError: there is no folder ``name``.
    """
    root = root.parent if root.is_file() else root
    if name is None:
        return next((root / usual for usual in IMAGE_FOLDERS if (root / usual).is_dir()), root)
    if not (root / name).is_dir():
        raise MissingFileError(f"{root / name}: no such folder; name the folder of the images with options.images")
    return root / name


def file_in(folder: Path, name: Any, where: str) -> Path:
    """The file with this relative name in a folder.

    Raises:
        InputError: no name, or one that leads out of the folder, also by a link.
        MissingFileError: there is no such file.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"{where}: file name {name!r} is not a name")
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
        raise InputError(f"{where}: file name {name!r} leads out of {folder}; expected a path inside it")
    path = folder.joinpath(*parts.parts)
    if not path.is_file():
        raise MissingFileError(f"{where}: {path}: no such file")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{where}: {path} is a link that leads out of {folder}; copy what it points to")
    return path


def read_entries(content: Any, key: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of the list ``key`` in a JSON object, with their places for messages.

    Raises:
        InputError: there is no such list, or an entry of it is no object.
    """
    entries = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a JSON object with the list {key!r}")
    yield from numbered(entries, key, path)


def numbered(entries: list, key: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Entries of a JSON list with their places for messages; errors as ``read_entries``."""
    for index, entry in enumerate(entries):
        where = f"{path}, {key}[{index}]"
        if not isinstance(entry, Mapping):
            raise InputError(f"{where}: expected an object, found {type(entry).__name__}")
        yield where, entry


def require(entry: Mapping[str, Any], key: str, where: str) -> Any:
    """An entry's value.

    Raises:
        InputError: it has none.
    """
    if entry.get(key) is None:
        raise InputError(f"{where}: has no {key!r}")
    return entry[key]


def by_split(value: Any, option: str) -> dict[str | None, Any]:
    """An option that is one file, or one for each split: by split, None where it is one for all.

    Raises:
        InputError: another form, or an unknown split.
    """
    if value is None or isinstance(value, str):
        return {None: value}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value.values()):
        raise InputError(f"options.{option}: expected a name, or a name for each of train, val, test; found {value!r}")
    unknown = sorted(set(value) - {"train", "val", "test"})
    if unknown or not value:
        raise InputError(f"options.{option}: expected a name for each of train, val, test; found {sorted(value)}")
    return dict(value)


def pair_by_split(first: dict[str | None, Any], second: dict[str | None, Any], option: str) -> list[tuple]:
    """(split, first, second) of every split of ``first``; a ``second`` for all splits serves each.

    Raises:
        InputError: ``second`` lacks a split that ``first`` has.
    """
    pairs = []
    for split, value in first.items():
        if split not in second and None not in second:
            raise InputError(f"options.{option}: has no entry for {split or 'all splits'}")
        pairs.append((split, value, second.get(split, second.get(None))))
    return pairs
