"""Contrast between modalities: pairs of modalities, samples that have both, what it teaches."""

from itertools import combinations

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.auxiliary import ModalityContrast


def test_mean_over_pairs_of_modalities(build, batch):
    model = build(auxiliary=[{"type": "ModalityContrast", "width": 4, "temperature": 0.5}]).train()
    absent = {"table": [0, 1], "text": [1, 2, 3, 4, 5]}
    data = batch(absent=absent)
    found = model(**data, mode="loss")["loss_modality_contrast"]
    fused = model.represent(data["inputs"])
    losses = []
    for first, second in combinations(("table", "wave", "text"), 2):
        rows = [row for row in range(6) if row not in absent.get(first, []) + absent.get(second, [])]
        if len(rows) < 2:
            continue
        vectors = []
        for name in (first, second):
            spots = model.auxiliary[0].project[name](fused.encoded[name].pooled[rows])
            vectors.append(spots / spots.norm(dim=1, keepdim=True))
        logits = vectors[0] @ vectors[1].t() / 0.5
        both = logits.log_softmax(1).diagonal() + logits.log_softmax(0).diagonal()
        losses.append(-both.mean() / 2)
    assert len(losses) == 1
    torch.testing.assert_close(found, losses[0])
    everything = model(**batch(), mode="loss")["loss_modality_contrast"]
    everything.backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in model.auxiliary[0].project.values())


def test_nothing_to_compare(build, batch):
    model = build(auxiliary=[{"type": "ModalityContrast", "modalities": ["table", "text"]}]).train()
    assert "loss_modality_contrast" not in model(**batch(absent={"table": [0, 1, 2, 3, 4]}), mode="loss")
    assert "wave" not in model.auxiliary[0].project


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["a"]}, "modalities: expected at least two different ones to compare, found ['a']"),
        ({"modalities": ["a", "a"]}, "modalities: expected at least two different ones to compare, found ['a', 'a']"),
        ({"modalities": ["a", "c"]}, "modalities: 'c' has no encoder; the model encodes a, b"),
        ({"temperature": 0}, "temperature: expected a number above 0, found 0"),
        ({"width": 0}, "width: expected a whole number of at least 1, found 0"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        ModalityContrast(4, {}, {"a": 3, "b": 4}, **options)
    assert str(caught.value) == message
