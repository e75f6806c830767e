"""From subjects to rows: starts the measuring processes, computes the ratios and prints them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from tqdm import tqdm

from cellseg.benchmarks.subjects import Scale, Subject
from cellseg.errors import CellsegError

# The system counts a process' memory with an error of some dozen pages: less than this is taken for this much.
SMALLEST_INCREASE = 1 << 19

_MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """What was measured of one subject: seconds and bytes of both sides."""

    subject: Subject
    seconds: float
    alternative_seconds: float
    peak_bytes: int
    alternative_peak_bytes: int

    @property
    def time_ratio(self) -> float:
        """How many times faster cellseg is."""
        return self.alternative_seconds / self.seconds

    @property
    def memory_ratio(self) -> float:
        """How many times less memory cellseg takes."""
        return max(self.alternative_peak_bytes, SMALLEST_INCREASE) / max(self.peak_bytes, SMALLEST_INCREASE)

    def to_dict(self) -> dict[str, Any]:
        """The row for JSON."""
        return {
            "name": self.subject.name,
            "alternative": self.subject.alternative,
            "time_ratio": round(self.time_ratio, 2),
            "memory_ratio": round(self.memory_ratio, 2),
        }


def measure_rows(subjects: Sequence[Subject], scale: Scale, repeats: int | None = None) -> list[Row]:
    """Measure the subjects one after another.

    Args:
        subjects: what to measure.
        scale: how much each has to do.
        repeats: how often each side is timed; None for the subject's own number.

    Raises:
        CellsegError: the two sides compute different things, or a measuring process died.
    """
    rows = []
    with tqdm(total=3 * len(subjects), desc="benchmarks", unit="measurement", disable=None) as bar:
        for subject in subjects:
            with _advancing(bar, f"{subject.name}: time"):
                times = _in_new_process("measure_times", subject.name, scale, repeats or subject.repeats)
            sizes = []
            for side in ("cellseg", "alternative"):
                with _advancing(bar, f"{subject.name}: memory of {side}"):
                    sizes.append(_in_new_process("measure_memory", subject.name, side, scale))
            rows.append(Row(subject, *times, *sizes))
    return rows


@contextmanager
def _advancing(bar: tqdm, text: str) -> Iterator[None]:
    bar.set_postfix_str(text)
    yield
    bar.update()


def _in_new_process(function: str, name: str, *arguments: Any) -> Any:
    """Result of a function of :mod:`~cellseg.benchmarks.measure` in a process that has done nothing before."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_call, function, name, *arguments).result()
        except (BrokenProcessPool, MemoryError):
            raise CellsegError(
                f"{name}: the measuring process ran out of memory or was killed; dense masks of 400 instances on "
                "520 x 704 take 3 GB, --instances and --image-size make it less"
            ) from None


def _call(function: str, *arguments: Any) -> Any:
    # Imported only there: this process stays small and starts at once.
    from cellseg.benchmarks import measure

    run: Callable[..., Any] = getattr(measure, function)
    try:
        return run(*arguments)
    except RuntimeError as error:
        # torch has no exception of its own for this.
        if "allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise


def format_rows(rows: Sequence[Row], scale: Scale) -> str:
    """The table for people, with a line of explanation for each row."""
    lines = [f"{scale.instances} instances, image of {scale.height} x {scale.width} (height x width), one thread", ""]
    lines.append(f"{'':17}{'cellseg':>20}{'alternative':>23}{'faster':>10}{'smaller':>10}")
    for row in rows:
        ours = f"{1000 * row.seconds:8.1f} ms {row.peak_bytes / _MIB:7.1f} MiB"
        theirs = f"{1000 * row.alternative_seconds:8.1f} ms {row.alternative_peak_bytes / _MIB:7.1f} MiB"
        lines.append(f"{row.subject.name:17}{ours:>20}{theirs:>23}{row.time_ratio:>9.1f}x{row.memory_ratio:>9.1f}x")
    lines.append("")
    for row in rows:
        lines.append(f"{row.subject.name}: {row.subject.work}, against {row.subject.alternative}")
    return "\n".join(lines) + "\n"
