"""Tables of class probabilities of models that know different things."""

import numpy as np
import pytest

from cellseg.multimodal.late_fusion import ProbabilityTable

CLASSES = ("bad", "good", "so so")


@pytest.fixture
def table():
    """A function that makes the table of a model; it is right more often the larger ``skill`` is."""

    def make(name="one", skill=1.0, count=60, seed=0, **changes):
        labels = np.random.default_rng(99).integers(3, size=count)
        random = np.random.default_rng(seed)
        logits = random.normal(size=(count, 3))
        logits[np.arange(count), labels] += skill
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        values = dict(
            name=name,
            class_names=CLASSES,
            ids=tuple(f"s{index}" for index in range(count)),
            splits=tuple(("train", "val", "test")[index % 3] for index in range(count)),
            labels=labels,
            groups=tuple(f"g{index // 3}" for index in range(count)),
            probabilities=probabilities,
        )
        return ProbabilityTable(**{**values, **changes})

    return make
