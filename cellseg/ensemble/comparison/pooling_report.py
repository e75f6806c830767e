"""Pooled comparisons as a table, as plain values and as a plot."""

from pathlib import Path
from typing import Any

from cellseg.ensemble.comparison.pooling import Pool
from cellseg.visualization import ScoreRow, plot_scores


def pool_table(pool: Pool) -> str:
    """The pooled rows as a Markdown table, with a line that says what was pooled."""
    types = list(pool.rows[0].per_type)
    last = next(row.name for row in pool.rows if row.difference is None)
    header = ["", "mAP [95% interval]", "over seeds", "AP50", "AP75", *types, f"{last} minus this [95% interval]"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in pool.rows:
        values = [
            row.name,
            f"{row.map:.3f}" + _range(row.interval, ""),
            "" if row.spread is None else f"± {row.spread:.3f}",
            f"{row.ap50:.3f}",
            f"{row.ap75:.3f}",
            *(f"{row.per_type[kind]:.3f}" for kind in types),
            "" if row.difference is None else f"{row.difference:+.3f}" + _range(row.difference_interval, "+"),
        ]
        lines.append("| " + " | ".join(values) + " |")
    sets = "one set of images" if pool.folds == 1 else f"{pool.folds} sets of images"
    lines += ["", f"{pool.images} images of {pool.groups} groups in {sets}, seeds of each: {pool.seeds}."]
    choices = pool.rows[-1].chosen
    if choices is not None:
        counts = {name: choices.count(name) for name in dict.fromkeys(choices)}
        lines.append(
            "Best single member by the score on the tuning images: "
            + ", ".join(f"{name} in {count} of {len(choices)}" for name, count in counts.items())
            + "."
        )
    return "\n".join(lines)


def _range(interval: tuple[float, float] | None, sign: str) -> str:
    return "" if interval is None else f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]"


def pool_json(pool: Pool) -> dict[str, Any]:
    """The pooled rows as plain values."""
    return {
        "split": pool.split,
        "images": pool.images,
        "groups": pool.groups,
        "folds": pool.folds,
        "seeds": pool.seeds,
        "comparisons": [{"file": path, "sha256": digest} for path, digest in pool.files],
        "rows": [
            {
                "name": row.name,
                "map": row.map,
                "interval": _plain(row.interval),
                "spread": row.spread,
                "per_seed": list(row.per_seed),
                "ap50": row.ap50,
                "ap75": row.ap75,
                "per_type": dict(row.per_type),
                "difference": row.difference,
                "difference_interval": _plain(row.difference_interval),
                "chosen": None if row.chosen is None else list(row.chosen),
            }
            for row in pool.rows
        ],
    }


def _plain(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def plot_pool(pool: Pool, path: str | Path) -> None:
    """Plot the mAP of each row with its interval over groups, and a point for each seed."""
    rows = [ScoreRow(row.name, row.map, *(row.interval or (None, None)), points=row.per_seed) for row in pool.rows]
    plot_scores(rows, path, f"{pool.images} images of the {pool.split} split, {pool.seeds} seeds")
