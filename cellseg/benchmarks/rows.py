"""From subjects to rows: starts the measuring processes, computes the ratios and prints them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    """What was measured of one subject.

    Attributes:
        subject: what was measured.
        seconds, alternative_seconds: of both sides, those of the alternative for all of its work.
        peak_bytes, alternative_peak_bytes: of both sides.
        more: values that this subject has besides.
    """

    subject: Subject
    seconds: float
    alternative_seconds: float
    peak_bytes: int
    alternative_peak_bytes: int
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def time_ratio(self) -> float:
        """How many times faster cellseg is, or how many times more the other work takes; two digits, as in the JSON."""
        return round(self.alternative_seconds / self.seconds, 2)

    @property
    def memory_ratio(self) -> float:
        """How many times less memory cellseg takes; two digits, as in the JSON."""
        ratio = max(self.alternative_peak_bytes, SMALLEST_INCREASE) / max(self.peak_bytes, SMALLEST_INCREASE)
        return round(ratio, 2)

    def to_dict(self) -> dict[str, Any]:
        """The row for JSON."""
        return {
            "name": self.subject.name,
            "alternative": self.subject.alternative,
            "time_ratio": self.time_ratio,
            "memory_ratio": self.memory_ratio,
            "milliseconds": round(1000 * self.seconds, 2),
            "alternative_milliseconds": round(1000 * self.alternative_seconds, 2),
            "peak_mib": round(self.peak_bytes / _MIB, 1),
            "alternative_peak_mib": round(self.alternative_peak_bytes / _MIB, 1),
            "same_work": self.subject.same_work,
            "more": dict(self.more),
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
            rows.append(Row(subject, times.cellseg, times.alternative / subject.part, *sizes, times.more))
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
    lines.append(f"{'':17}{'cellseg':>23}{'alternative':>24}{'faster':>10}{'smaller':>10}")
    for row in rows:
        ours = f"{_time(row.seconds)} {row.peak_bytes / _MIB:7.1f} MiB"
        theirs = f"{_time(row.alternative_seconds)} {row.alternative_peak_bytes / _MIB:7.1f} MiB"
        lines.append(f"{row.subject.name:17}{ours:>23}{theirs:>24}{row.time_ratio:>9.1f}x{row.memory_ratio:>9.1f}x")
    lines.append("")
    for row in rows:
        text = f"{row.subject.name}: {row.subject.work}, against {row.subject.alternative}"
        if not row.subject.same_work:
            text += f"; {100 * row.seconds / row.alternative_seconds:.1f}% of its time"
        lines.append(text)
        lines += [f"  {name}: {_text(value)}" for name, value in row.more.items()]
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:8.1f} ms" if seconds < 60 else f"{seconds / 60:7.1f} min"


def _text(value: Any) -> str:
    return ", ".join(f"{key}: {entry}" for key, entry in value.items()) if isinstance(value, Mapping) else str(value)
