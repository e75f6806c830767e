"""The journals of all searches of a tuning, in one folder: what a tuning that was stopped continues from."""

import re
import sys
from pathlib import Path
from typing import Any

from cellseg.ensemble.provenance import hash_json

_SUFFIX = ".journal"


class Journals:
    """A journal for each search, named by its label.

    Args:
        folder: made when it is needed.
        key: what every value depends on, JSON-able: journals written with another key are not continued.
        part: of the tuning, for the names.
    """

    def __init__(self, folder: str | Path, key: Any, part: str = ""):
        self.folder, self.key, self.part = Path(folder), key, part

    @classmethod
    def open(cls, folder: str | Path, key: Any, resume: bool) -> "Journals":
        """Those of a tuning that starts: earlier ones are gone on with, or removed."""
        journals = cls(folder, key)
        if not resume:
            journals.remove()
        elif not any(journals.folder.glob(f"*{_SUFFIX}")):
            print(f"{journals.folder}: no journals of a tuning that was stopped; it starts anew", file=sys.stderr)
        return journals

    def within(self, part: str) -> "Journals":
        """Journals of a part of the tuning, in the same folder."""
        return Journals(self.folder, self.key, part)

    def arguments(self, label: str) -> dict[str, Any]:
        """Arguments of ``tuners.minimize`` for the search of this label."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return {"journal": self._path(label), "journal_key": hash_json([self.key, self.part, label])}

    def values(self, label: str) -> list[float]:
        """Value of each evaluation so far of the search of this label, in order."""
        lines = self._path(label).read_text(encoding="ascii").splitlines()
        return [float.fromhex(line.split(" ")[0]) for line in lines[1:]]

    def remove(self) -> None:
        """Remove the journals, and the folder if nothing else is in it."""
        for path in self.folder.glob(f"*{_SUFFIX}"):
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, label: str) -> Path:
        # Member names may hold anything; the hash keeps names apart that look alike without it.
        name = re.sub(r"[^A-Za-z0-9]+", "_", f"{self.part} {label}").strip("_")
        return self.folder / f"{name}.{hash_json([self.part, label])[:8]}{_SUFFIX}"
