"""Names from annotation files that become paths: checked before anything is opened or written."""

import os
import unicodedata
from pathlib import Path, PurePosixPath

from cellseg.errors import InputError, MissingFileError
from cellseg.io.images import IMAGE_SUFFIXES

_FORBIDDEN = set('/\\:*?"<>|')
_LONGEST = 200  # bytes; file systems stop at 255, and suffixes are still to be added


def check_key(key: str) -> str:
    """The key itself, when it can name a file on every system.

    Raises:
        InputError: it is empty, leads elsewhere, or holds characters that file names cannot have.
    """
    if not key:
        raise InputError("the id is empty")
    if key in (".", "..") or "/" in key or "\\" in key:
        raise InputError(f"id {key!r} is a path; an id is a plain name")
    if key[0] == "." or key != key.strip() or key[-1] == ".":
        raise InputError(f"id {key!r} starts or ends with a dot or space")
    if any(sign in _FORBIDDEN or unicodedata.category(sign).startswith("C") for sign in key):
        raise InputError(f"id {key!r} holds characters that a file name cannot have")
    if len(key.encode("utf-8")) > _LONGEST:
        raise InputError(f"id {key[:30]!r}... is longer than {_LONGEST} bytes")
    return key


def key_of_file(file_name: str) -> str:
    """Key of an image named by a relative path: folders joined with ``__``, suffix dropped.

    Raises:
        InputError: the name is absolute, has ``..`` in it, or makes no usable key.
    """
    parts = _relative_parts(file_name)
    return check_key("__".join((*parts[:-1], Path(parts[-1]).stem)))


class ImageFolder:
    """The images of an input folder, found by id or by relative name, never outside of the folder.

    Args:
        root: the folder; it may itself be a link.
        recursive: look into the folders inside as well when an image is searched by id.

    Raises:
        MissingFileError: there is no such folder.
    """

    def __init__(self, root: str | Path, recursive: bool = False):
        self.root = Path(root)
        if not self.root.is_dir():
            raise MissingFileError(f"{self.root}: no such folder of images")
        self._by_stem: dict[str, list[Path]] = {}
        walker = os.walk(self.root) if recursive else [next(os.walk(self.root), (self.root, [], []))]
        for folder, inner, names in walker:
            inner.sort()
            for name in sorted(names):
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                    self._by_stem.setdefault(Path(name).stem, []).append(Path(folder) / name)

    def stems(self) -> list[str]:
        """Ids of all images here, sorted."""
        return sorted(self._by_stem)

    def find(self, key: str) -> Path:
        """The image file whose name without suffix is ``key``.

        Raises:
            InputError: none, several, or one that leads out of the folder; the text is a reason.
        """
        found = self._by_stem.get(key, [])
        if not found:
            raise InputError(f"no image file {key}.png (or {', '.join(IMAGE_SUFFIXES[1:])}) in {self.root.name}/")
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(self.root)) for path in found)
            raise InputError(f"several image files have this id: {names}; keep one")
        return self._inside(found[0])

    def resolve(self, file_name: str) -> Path:
        """The image file with this relative path.

        Raises:
            InputError: the name is absolute, climbs with ``..``, does not exist, or leads out through a link.
        """
        path = self.root.joinpath(*_relative_parts(file_name))
        if not path.is_file():
            raise InputError(f"no image file {file_name} in {self.root.name}/")
        return self._inside(path)

    def _inside(self, path: Path) -> Path:
        return check_inside(self.root, path)


def check_inside(root: Path, path: Path) -> Path:
    """``path`` itself, which lies below ``root`` by name, when it still does so after following links.

    Raises:
        InputError: a link leads out of ``root``.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{path.relative_to(root)} is a link that leads out of {root.name}/; copy what it points to")
    return path


def _relative_parts(file_name: str) -> tuple[str, ...]:
    if not isinstance(file_name, str) or not file_name or "\0" in file_name:
        raise InputError(f"file name {file_name!r} is not a name")
    path = PurePosixPath(file_name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or not path.parts:
        raise InputError(f"file name {file_name!r} leads out of the image folder; expected a path inside it")
    return path.parts
