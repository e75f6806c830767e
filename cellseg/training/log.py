"""One form of log and progress for every engine: a line on screen and in ``train.log``, rows in ``curves.csv``."""

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from cellseg.training.curves import CurveLog


class TrainingLog:
    """Averages the losses of an interval and reports them.

    Args:
        folder: the work folder.
        total: iterations of the whole training.
        interval: report every so many iterations.
        resume_from: iteration after which a resumed training continues; None starts afresh.
    """

    def __init__(self, folder: str | Path, total: int, interval: int = 20, resume_from: int | None = None):
        self.folder = Path(folder)
        self.total = total
        self.interval = interval
        self.curves = CurveLog(folder, resume_from)
        self._file = open(self.folder / "train.log", "w" if resume_from is None else "a", encoding="utf-8")
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0
        self._first = resume_from or 0
        self._started = time.monotonic()

    def step(self, iteration: int, losses: Mapping[str, float], learning_rate: float) -> None:
        """Take the losses of one iteration (counted from 1); report at the end of each interval."""
        for name, value in losses.items():
            self._sums[name] += float(value)
        self._count += 1
        if iteration % self.interval and iteration != self.total:
            return
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums.clear()
        self._count = 0
        self.curves.write(iteration, "train", {**means, "lr": learning_rate})
        parts = " ".join(f"{name.removeprefix('loss_')} {value:.4f}" for name, value in means.items())
        pace = (time.monotonic() - self._started) / max(1, iteration - self._first)
        left = pace * (self.total - iteration)
        self.say(
            f"train {iteration}/{self.total}  {parts}  lr {learning_rate:.2e}  {pace:.2f} s/it  left {_clock(left)}"
        )

    def score(self, iteration: int, scores: Mapping[str, float]) -> None:
        """Report validation scores."""
        self.curves.write(iteration, "val", scores)
        parts = " ".join(f"{name} {value:.4f}" for name, value in scores.items())
        self.say(f"val   {iteration}/{self.total}  {parts}")

    def say(self, text: str) -> None:
        """A line on screen and in the log file."""
        print(text, flush=True)
        self._file.write(text + "\n")
        self._file.flush()

    def close(self) -> None:
        """Flush and close the files."""
        self.curves.close()
        self._file.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
