"""Losses and scores of a training as CSV rows and TensorBoard events, whichever engine trains."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cellseg.errors import InputError
from cellseg.io.files import atomic_path

COLUMNS = ("iteration", "phase", "name", "value")


class CurveLog:
    """Append-only log ``curves.csv`` of one training, with the same values in TensorBoard's form.

    A row is ``iteration,phase,name,value``, phase being ``train`` or ``val``. A resumed training drops the
    rows that its predecessor wrote after the checkpoint, so that each iteration stands in the file once.

    Args:
        folder: the work folder; TensorBoard events go to ``folder/tensorboard``.
        resume_from: keep rows up to this iteration; None starts afresh.
    """

    def __init__(self, folder: str | Path, resume_from: int | None = None):
        self.path = Path(folder) / "curves.csv"
        kept = [row for row in read_curves(self.path) if row[0] <= resume_from] if resume_from is not None else []
        self._rewrite(kept)
        from torch.utils.tensorboard import SummaryWriter

        self._kept = {row[:2] for row in kept}
        purge = None if resume_from is None else resume_from + 1
        self._events = SummaryWriter(str(Path(folder) / "tensorboard"), purge_step=purge)

    def write(self, iteration: int, phase: str, values: Mapping[str, float]) -> None:
        """Add one row per value; values that are not finite are kept, so that a diverging run shows it.

        A resumed training repeats a validation that its predecessor may have finished: its rows replace those.
        """
        if (iteration, phase) in self._kept:
            self._kept.remove((iteration, phase))
            self._rewrite([row for row in read_curves(self.path) if row[:2] != (iteration, phase)])
        with open(self.path, "a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for name, value in values.items():
                writer.writerow((iteration, phase, name, repr(float(value))))
                if math.isfinite(value):
                    self._events.add_scalar(f"{phase}/{name}", float(value), iteration)

    def _rewrite(self, rows: Sequence[tuple[int, str, str, float]]) -> None:
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)

    def close(self) -> None:
        """Flush TensorBoard's events."""
        self._events.close()


def read_curves(path: str | Path) -> list[tuple[int, str, str, float]]:
    """Rows of a ``curves.csv``; a torn last row (the process was killed while writing) is left out.

    Raises:
        InputError: a row is none of a training's; the text names the line.
    """
    path = Path(path)
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]  # half a number can look like a whole one
    rows = []
    for number, row in enumerate(csv.reader(complete.splitlines()), start=1):
        if row == list(COLUMNS):
            continue
        try:
            iteration, phase, name, value = row
            rows.append((int(iteration), phase, name, float(value)))
        except ValueError:
            raise InputError(f"{path}: line {number}: expected {','.join(COLUMNS)}, found {','.join(row)!r}") from None
    return rows
