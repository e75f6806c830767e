"""Is the default tuner the best one for ensembles? Measured on the tuning of a synthetic ensemble."""

import numpy as np
import pytest
import torch

from cellseg.ensemble import ImageEvidence, enlarge_boxes, uniform_settings
from cellseg.ensemble.tuners import DEFAULT_TUNER, TUNERS, minimize
from cellseg.ensemble.tuning.evaluator import Evaluator
from cellseg.ensemble.tuning.search_space import SearchSpace
from cellseg.structures import CropMasks

MEMBERS, SIZE, CELLS, DOUBLES = ("close", "rough", "wild"), 160, 14, 9


def scene(seed: int) -> tuple[ImageEvidence, CropMasks]:
    """Ellipses; boxes a little off, some twice; three members whose outlines are ever worse."""
    rng = np.random.default_rng(seed)
    centre, radii = rng.uniform(20, SIZE - 20, (CELLS, 2)), rng.uniform(8, 18, (CELLS, 2))
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5

    def ellipse(middle, radius):
        return ((x - middle[0]) / radius[0]) ** 2 + ((y - middle[1]) / radius[1]) ** 2

    truth = CropMasks.from_dense(torch.from_numpy(np.stack([ellipse(*e) < 1 for e in zip(centre, radii, strict=True)])))
    which = np.concatenate([np.arange(CELLS), rng.integers(0, CELLS, DOUBLES)])
    middle = centre[which] + np.where(np.arange(len(which)) < CELLS, 1, 4)[:, None] * rng.normal(size=(len(which), 2))
    radius = radii[which] * rng.normal(1, 0.08, (len(which), 2))
    scores = np.where(np.arange(len(which)) < CELLS, rng.uniform(0.5, 1, len(which)), rng.uniform(0, 0.6, len(which)))
    order = np.argsort(-scores)
    boxes = torch.from_numpy(np.concatenate([middle - radius, middle + radius], 1)[order]).float().clamp(0, SIZE)
    windows = enlarge_boxes(boxes, 0.15, (SIZE, SIZE))
    evidence = []
    for noise in (0.3, 1.3, 2.3):
        crops = []
        for (x0, y0, x1, y1), index in zip(windows.tolist(), order, strict=True):
            inside = 4 * (1 - ellipse(middle[index] + rng.normal(size=2) * noise, radius[index]))[y0:y1, x0:x1]
            crops.append(torch.from_numpy(inside + rng.normal(size=inside.shape) * noise).sigmoid().float())
        evidence.append(CropMasks.from_crops(crops, windows, (SIZE, SIZE)))
    return (
        ImageEvidence(
            image_size=(SIZE, SIZE),
            class_names=("cell",),
            members=MEMBERS,
            boxes=boxes,
            scores=torch.from_numpy(scores[order]).float(),
            labels=torch.zeros(len(order), dtype=torch.int64),
            evidence=tuple(evidence),
            confidence=torch.from_numpy(rng.uniform(0.5, 1, (len(MEMBERS), len(order)))).float(),
        ),
        truth,
    )


def best_score(tuner: str, seed: int, budget: int) -> float:
    """Competition mAP that a tuner reaches on four images."""
    scorer = Evaluator(*zip(*[scene(4 * seed + index) for index in range(4)], strict=True))
    base = uniform_settings(MEMBERS, ("cell",))
    space = SearchSpace(MEMBERS, MEMBERS, frozenset(), 200)

    def objective(x):
        settings = uniform_settings(MEMBERS, ("cell",))
        return -float(scorer.score(type(settings)(MEMBERS, ("cell",), space.decode(x, base.general))).mean())

    start = [space.encode(base.general)]
    return -minimize(objective, space.lower, space.upper, tuner, budget, seed=seed, initial=start).value


@pytest.mark.slow
@pytest.mark.parametrize("budget", [100, 250])
def test_the_default_tuner_measures_best(budget):
    means = {tuner: np.mean([best_score(tuner, seed, budget) for seed in range(3)]) for tuner in TUNERS}
    print("competition mAP reached, mean over three problems:", means)
    assert max(means, key=means.get) == DEFAULT_TUNER
