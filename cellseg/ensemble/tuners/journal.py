"""The journal of a search: every evaluation on disk, so that a search that was stopped goes on where it stopped.

A journal is a text file. The first line says which search it belongs to (JSON), each further line is one evaluation:
the value and the coordinates as hexadecimal floats, which lose nothing. A search is a sequence of points that follows
from its arguments and the values so far; replaying the values therefore replays the search.
"""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cellseg.errors import InputError
from cellseg.io.files import write_text

_FORMAT = 1


class Diverged(Exception):
    """The journal belongs to a search that took another course; the search must start anew."""


class Journal:
    """Evaluations of one search, those known from an earlier run first.

    Args:
        path: the file; it is made where there is none. One process at a time may use it.
        search: what the sequence of points depends on, JSON-able. A file of another search is discarded with a note on
            stderr. A torn last line, of a run that was killed while it wrote, is left out.

    Attributes:
        replayed: how many values came from the file.

    Raises:
        InputError: the path is a folder.
    """

    def __init__(self, path: str | os.PathLike, search: dict[str, Any]):
        self._path = Path(path)
        if self._path.is_dir():
            raise InputError(f"{path}: is a folder; the journal needs the path of a file")
        self._header = json.dumps({"format": _FORMAT, **search}, sort_keys=True)
        self._known = self._load()
        self.replayed = 0

    def replay(self, x: np.ndarray) -> float | None:
        """The value at the next point of the search, None where it is not known yet.

        Raises:
            Diverged: another point follows in the file. The file is discarded.
        """
        if self.replayed == len(self._known):
            return None
        point, value = self._known[self.replayed]
        if point != x.tolist():
            self._discard(f"its evaluation {self.replayed + 1} is of another point")
            raise Diverged
        self.replayed += 1
        return value

    def record(self, x: np.ndarray, value: float) -> None:
        """Append an evaluation; it is handed to the system before this returns."""
        # Opened for each line: an evaluation takes far longer, and a search that ends by an error leaves nothing open.
        with open(self._path, "a", encoding="ascii", newline="") as file:
            file.write(" ".join(float(number).hex() for number in (value, *x)) + "\n")

    def _load(self) -> list[tuple[list[float], float]]:
        """The evaluations in the file; leaves a file to which lines can be appended."""
        if not self._path.exists():
            write_text(self._path, self._header + "\n")
            return []
        # What is no text becomes characters that no line may have.
        text = self._path.read_bytes().decode("ascii", errors="replace")
        header, *lines = text.split("\n")
        if header != self._header or not lines:
            self._discard(_difference(header, self._header))
            return []
        torn = lines.pop()  # what follows the last line end: nothing, or a torn line
        try:
            known = [_parse(line) for line in lines]
        except ValueError:
            self._discard("it is damaged")
            return []
        if torn:
            write_text(self._path, text[: -len(torn)])
        return known

    def _discard(self, reason: str) -> None:
        print(f"note: {self._path}: the journal is discarded, {reason}; the search starts anew", file=sys.stderr)
        write_text(self._path, self._header + "\n")
        self._known = []


def _parse(line: str) -> tuple[list[float], float]:
    value, *x = (float.fromhex(word) for word in line.split(" "))
    if math.isnan(value) or not x:
        raise ValueError(line)
    return x, value


def _difference(header: str, expected: str) -> str:
    try:
        found, wanted = json.loads(header), json.loads(expected)
        names = sorted(name for name in wanted if found.get(name) != wanted[name])
    except (ValueError, AttributeError):
        return "it is damaged"
    return f"it is of a search with other {', '.join(names)}" if names else "it is damaged"
