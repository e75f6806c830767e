"""Scores of many settings on the same evidence, as a search asks for them, against doing everything for each."""

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from cellseg.benchmarks.simulated import CLASS_NAMES, MEMBERS, simulate_evidence, simulate_truth
from cellseg.benchmarks.subjects import TUNING_PART, Scale
from cellseg.ensemble import EnsembleSettings, ImageEvidence, Settings, resolve
from cellseg.ensemble.tuners import minimize
from cellseg.ensemble.tuning.evaluator import Evaluator
from cellseg.ensemble.tuning.search_space import SearchSpace
from cellseg.metrics import competition_map
from cellseg.structures import CropMasks

_STEP = round(1 / TUNING_PART)


class Inputs(NamedTuple):
    """Evidence and true cells of the images, and the settings in the order in which a search tries them."""

    images: list[ImageEvidence]
    truths: list[CropMasks]
    candidates: list[EnsembleSettings]


def counts(scale: Scale) -> tuple[int, int, int]:
    """Images, cells in each and settings: 40, 120 and 300 where 400 cells are asked for."""
    return max(2, scale.instances // 10), max(2, scale.instances * 3 // 10), max(_STEP, scale.instances * 3 // 4)


def make_inputs(scale: Scale) -> Inputs:
    """Settings as the default tuner asks for them one after another, on its way to a point drawn at random."""
    number, cells, tries = counts(scale)
    images = [simulate_evidence(seed, Scale(cells, scale.height, scale.width), len(MEMBERS)) for seed in range(number)]
    truths = [simulate_truth(seed, evidence) for seed, evidence in enumerate(images)]
    base = Settings(dict.fromkeys(MEMBERS, 1.0))
    space = SearchSpace(MEMBERS, MEMBERS, frozenset(), max_area=60)
    wanted = np.random.default_rng(0).uniform(space.lower, space.upper)
    candidates: list[EnsembleSettings] = []

    def distance(x: np.ndarray) -> float:
        candidates.append(EnsembleSettings(MEMBERS, CLASS_NAMES, space.decode(x, base)))
        return float(np.square((x - wanted) / (space.upper - space.lower)).sum())

    minimize(distance, space.lower, space.upper, budget=tries, seed=0, initial=[space.encode(base)])
    return Inputs(images, truths, candidates)


def make_memory_inputs(scale: Scale) -> Inputs:
    """The same with the first settings only: what is kept from one to the next is soon as large as it gets."""
    inputs = make_inputs(scale)
    return inputs._replace(candidates=inputs.candidates[: 2 * _STEP])


def run_cellseg(inputs: Inputs) -> list[Tensor]:
    """The score of each image with each of the settings."""
    evaluator = Evaluator(inputs.images, inputs.truths)
    return [evaluator.score(settings) for settings in inputs.candidates]


def run_alternative(inputs: Inputs) -> list[Tensor]:
    """The same for a part of the settings, image by image. Frozen."""
    scores = []
    for settings in inputs.candidates[::_STEP]:
        found = [resolve(evidence, settings).masks for evidence in inputs.images]
        scores.append(competition_map(found, inputs.truths).per_image)
    return scores


def find_difference(ours: list[Tensor], theirs: list[Tensor]) -> str:
    """Which image scores differently with which settings, in words; '' for none."""
    for index, (our_scores, their_scores) in enumerate(zip(ours[::_STEP], theirs, strict=True)):
        different = (our_scores - their_scores).abs() > 1e-12
        if different.any():
            image = int(different.nonzero()[0, 0])
            scores = f"{our_scores[image]:.6f} and {their_scores[image]:.6f}"
            return f"image {image} scores {scores} with settings {index * _STEP}"
    return ""


def measure_more(scale: Scale) -> dict[str, Any]:
    """How much there was to do."""
    number, cells, tries = counts(scale)
    return {"images": number, "cells_per_image": cells, "members": len(MEMBERS), "evaluations": tries}
