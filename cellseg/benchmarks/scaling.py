"""How the ensemble's cost grows with the cells of an image, against a cost that is linear in them."""

import statistics
import time
from typing import Any, NamedTuple

import numpy as np

from cellseg.benchmarks.pipeline import write_rows
from cellseg.benchmarks.simulated import simulate_evidence
from cellseg.benchmarks.subjects import Scale
from cellseg.ensemble import ImageEvidence

# Cells of an image, as parts of what the user asks for: 100, 200, 400, 800, 1600.
PARTS = (0.25, 0.5, 1.0, 2.0, 4.0)
_REPEATS = 7


class Inputs(NamedTuple):
    """An image with many cells, and many images with few; both have equally many cells and are equally large."""

    crowded: ImageEvidence
    sparse: list[ImageEvidence]


def make_inputs(scale: Scale) -> Inputs:
    """One image with 4 times the cells asked for, 16 images with a quarter."""
    few, many = (part_of(scale, PARTS[index]) for index in (0, -1))
    count = many.instances // few.instances
    return Inputs(simulate_evidence(0, many), [simulate_evidence(seed, few) for seed in range(count)])


def part_of(scale: Scale, part: float) -> Scale:
    """A scale with that part of the cells, at least one."""
    return Scale(max(1, round(scale.instances * part)), scale.height, scale.width)


def run_cellseg(inputs: Inputs) -> list[list[str]]:
    """Texts of the cells of one image."""
    return [write_rows(inputs.crowded)]


def run_alternative(inputs: Inputs) -> list[list[str]]:
    """Texts of as many cells in many images."""
    return [write_rows(evidence) for evidence in inputs.sparse]


def find_difference(ours: list[list[str]], theirs: list[list[str]]) -> str:
    """What is wrong with the results: an image without rows."""
    return "" if all(ours) and all(theirs) else "an image has no rows"


def measure_more(scale: Scale) -> dict[str, Any]:
    """Times by number of cells, and the slope of their logarithms: 1 is linear, 2 quadratic.

    The image is as large for few cells as for many, so these overlap more: what grows is their density.
    """
    images = [simulate_evidence(0, part_of(scale, part)) for part in PARTS]
    seconds: list[list[float]] = [[] for _ in images]
    for _ in range(_REPEATS):
        for times, evidence in zip(seconds, images, strict=True):
            begin = time.process_time()
            write_rows(evidence)
            times.append(time.process_time() - begin)
    counts, medians = [len(evidence) for evidence in images], [statistics.median(times) for times in seconds]
    slope = np.polyfit(np.log(counts), np.log(medians), 1)[0]
    return {
        "exponent": round(float(slope), 3),
        "milliseconds": {str(count): round(1000 * median, 2) for count, median in zip(counts, medians, strict=True)},
    }
