"""The tables of a comparison, in Markdown and as plain values."""

from collections.abc import Mapping, Sequence
from typing import Any

from cellseg.multimodal.comparison.compare import Cell, ComparisonRow
from cellseg.multimodal.comparison.scores import KIND_ACCURACY, SMALLER_IS_BETTER


def comparison_table(rows: Sequence[ComparisonRow], about: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """For each task a table of scores, and one of differences from the first row; of questions of known kinds two more.

    Args:
        rows: see ``compare.compare_runs``.
        about: likewise.
        seeds: of the trainings.
    """
    parts = [
        f"Split {about['split']!r}; seeds {', '.join(map(str, seeds))}: mean ± standard deviation over trainings. "
        f"Differences from {rows[0].name} with 95% intervals (paired bootstrap over groups; they say how much other "
        "samples would change, not other trainings)."
    ]
    tasks = dict.fromkeys(task for row in rows for task in row.cells)
    for task in tasks:
        own = [row for row in rows if task in row.cells]
        found = list(dict.fromkeys(name for row in own for name in row.cells[task]))
        names = [name for name in found if not name.startswith(KIND_ACCURACY)]
        size = ""
        if task in about["samples"]:
            size = f" ({about['samples'][task]} samples in {about['groups'][task]} groups)"
        scores = [
            [row.name, _count(row.weights), *(_value(row.cells[task].get(name)) for name in names)] for row in own
        ]
        parts.append(f"## {task}{size}")
        parts.append(_markdown(["", "weights", *(_title(name) for name in names)], scores))
        differences = [[row.name, *(_apart(row.cells[task].get(name)) for name in names)] for row in own]
        shown = [line for line in differences if any(line[1:])]
        if shown:
            parts.append(_markdown([f"- {rows[0].name}", *(_title(name) for name in names)], shown))
        kinds = [name for name in found if name.startswith(KIND_ACCURACY)]
        if kinds:
            parts += _kind_tables(own, task, kinds, about)
    return "\n\n".join(parts)


def _kind_tables(rows: Sequence[ComparisonRow], task: str, names: Sequence[str], about: Mapping[str, Any]) -> list[str]:
    """Accuracy by kind of question: kinds may be many, so they stand below each other and models side by side."""
    kinds = [name.removeprefix(KIND_ACCURACY) for name in names]
    asked = [str(about.get("questions", {}).get(kind, "")) for kind in kinds]
    scores = [
        [kind, count, *(_value(row.cells[task].get(name)) for row in rows)]
        for kind, count, name in zip(kinds, asked, names, strict=True)
    ]
    parts = [_markdown(["accuracy by kind", "questions", *(row.name for row in rows)], scores)]
    others = [row for row in rows if any(_apart(row.cells[task].get(name)) for name in names)]
    if others:
        first = rows[0].name
        differences = [
            [kind, *(_apart(row.cells[task].get(name)) for row in others)]
            for kind, name in zip(kinds, names, strict=True)
        ]
        parts.append(_markdown(["accuracy by kind", *(f"{row.name} - {first}" for row in others)], differences))
    return parts


def comparison_values(rows: Sequence[ComparisonRow], about: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """The same as plain values, for JSON; arguments as ``comparison_table``."""
    return {
        "about": {**about, "seeds": list(seeds), "reference": rows[0].name},
        "rows": [
            {
                "name": row.name,
                "weights": row.weights,
                "scores": {
                    task: {name: _cell_values(cell) for name, cell in cells.items()}
                    for task, cells in row.cells.items()
                },
            }
            for row in rows
        ],
    }


def _cell_values(cell: Cell) -> dict[str, Any]:
    difference = None if cell.difference is None else [round(value, 6) for value in cell.difference]
    return {"values": list(cell.values), "mean": cell.mean, "spread": cell.spread, "difference": difference}


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _title(name: str) -> str:
    return f"{name} (smaller is better)" if name in SMALLER_IS_BETTER else name


def _count(weights: int | None) -> str:
    return "" if weights is None else f"{weights / 1e6:.2f} M"


def _value(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return f"{cell.mean:.4f}" + ("" if cell.spread is None else f" ± {cell.spread:.4f}")


def _apart(cell: Cell | None) -> str:
    if cell is None or cell.difference is None:
        return ""
    value, low, high = cell.difference
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"
