"""Parts in one model: all encoders, fusions, heads and auxiliaries together, and what does not fit."""

import json

import pytest
import torch
from torch import nn

from cellseg.errors import InputError
from cellseg.multimodal import MultimodalModel
from cellseg.multimodal.fusion import FUSIONS


def every_kind(count):
    """A batch of all kinds of modalities, some absent, and targets of all kinds."""
    torch.manual_seed(0)
    inputs = {
        "image": {"values": torch.randn(count, 3, 32, 32)},
        "volume": {"values": torch.randn(count, 1, 4, 16, 16)},
        "wave": {"values": torch.randn(count, 24, 2), "mask": torch.arange(24) < torch.randint(8, 25, (count, 1))},
        "text": {"values": torch.randint(1, 20, (count, 6)), "mask": torch.arange(6) < torch.randint(2, 7, (count, 1))},
        "table": {"values": torch.randn(count, 5), "mask": torch.rand(count, 5) < 0.8},
    }
    for number, part in enumerate(inputs.values()):
        part["present"] = torch.arange(count) % 6 != number
        for key in ("values", "mask"):
            if key in part:
                part[key][~part["present"]] = 0
    targets = {
        "mood": {"values": torch.randint(3, (count,))},
        "signs": {"values": torch.randint(2, (count, 4)).float()},
        "size": {"values": torch.randn(count, 2)},
        "answer": {"values": torch.rand(count, 7)},
        "match": {"values": torch.randint(2, (count,)).float(), "ids": torch.randint(4, (count, 2))},
        "domain": {"values": torch.randint(2, (count,))},
        "environment": {"values": torch.arange(count) % 2},
    }
    for part in targets.values():
        part["present"] = torch.rand(count) < 0.9
    return {"inputs": inputs, "targets": targets}


EVERY_ENCODER = {
    "image": {"type": "ConvEncoder", "width": 16},
    "volume": {"type": "VolumeEncoder", "width": 8},
    "wave": {"type": "SequenceEncoder", "in_channels": 2, "width": 16},
    "text": {"type": "TextTransformerEncoder", "vocabulary_size": 20, "width": 16, "layers": 1},
    "table": {"type": "TabularEncoder", "num_features": 5, "width": 16},
}
EVERY_HEAD = {
    "mood": {"type": "FusedClassifier", "num_classes": 3},
    "signs": {"type": "FusedClassifier", "num_classes": 4, "multi_label": True},
    "size": {"type": "AttentionRegressor", "outputs": 2, "width": 16},
    "answer": {"type": "AnswerClassifier", "num_answers": 7},
    "match": {"type": "PairMatcher", "embedding": 8},
}
EVERY_AUXILIARY = [
    {"type": "DomainAdversary", "domains": 2},
    {"type": "InvariantRisk", "task": "mood"},
    {"type": "TableReconstruction", "modality": "table", "features": 5},
    {"type": "SequenceReconstruction", "modality": "wave", "features": 2},
    {"type": "ModalityContrast"},
    {"type": "Consistency"},
    {"type": "FeatureImputer", "length": 3},
]


# One name of each; the last one in mixed precision too.
KINDS = sorted({kind: name for name, kind in FUSIONS.items()}.values())


@pytest.mark.parametrize(("name", "mixed"), [(name, False) for name in KINDS] + [(KINDS[-1], True)])
def test_all_parts_work_together(name, mixed):
    torch.manual_seed(0)
    fusion = {"type": "fusion_by_name", "name": name, "width": 16}
    auxiliary = EVERY_AUXILIARY + [{"type": "FusionReconstruction"}] * (name == "encoder_decoder")
    model = MultimodalModel(EVERY_ENCODER, fusion, EVERY_HEAD, auxiliary, modality_dropout=0.2).train()
    data = every_kind(12)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        losses = model(**data, mode="loss")
        total, _ = model.parse_losses(losses)
    tasks = [f"loss_{task}" for task in ("mood", "signs", "size", "answer")]
    names = {*tasks, "loss_match_probability", "loss_match_embedding"}
    assert losses.keys() == names | {f"loss_{auxiliary.name}" for auxiliary in model.auxiliary}
    total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert all(any(p.grad is not None for p in part.parameters()) for part in model.encoders.values())
    with torch.no_grad():
        rows = model.eval()(**data, mode="predict")
    assert len(rows) == 12 and all(row.keys() == {*EVERY_HEAD, "sample"} for row in rows)
    json.dumps(rows, allow_nan=False)


class NeedsSound(nn.Module):
    modalities = ("sound",)

    def __init__(self, channels, token_channels):
        super().__init__()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": {}}, "heads: expected at least one task"),
        ({"encoders": {}}, "encoders: expected at least one"),
        (
            {"heads": {"sample": {"type": "FusedClassifier", "num_classes": 2}}},
            "heads: a task cannot be called 'sample', which predictions hold besides the tasks",
        ),
        ({"loss_weights": {"moo": 1.0}}, "loss_weights: 'moo' is no task of the model; it has mood, age"),
        ({"loss_weights": {"mood": -1}}, "loss_weights.mood: expected a number of at least 0, found -1"),
        (
            {"fusion": None},
            'fusion: 3 modalities (table, wave, text) need one; give, for example, dict(type="ConcatFusion", width=64)',
        ),
        (
            {"heads": {"mood": {"type": NeedsSound}}},
            "heads.mood: needs the modality 'sound', and the model encodes table, wave, text; add an encoder for it",
        ),
        (
            {"auxiliary": [{"type": "ModalityContrast"}] * 2},
            "auxiliary: two losses are called 'modality_contrast'; give one another name",
        ),
        (
            {"auxiliary": [{"type": "ModalityContrast", "name": "mood"}]},
            "auxiliary: two losses are called 'mood'; give one another name",
        ),
        ({"modality_dropout": 1.5}, "modality_dropout: expected numbers from 0 to 1, found 1.5"),
        (
            {"modality_dropout": {"sound": 0.1}},
            "modality_dropout: 'sound' has no encoder; the model encodes table, wave, text",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(build, changes, message):
    with pytest.raises(InputError) as caught:
        build(**changes)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["a.b", "keys"])
def test_names_that_torch_keeps_are_refused(build, name):
    with pytest.raises(InputError, match=rf"^encoders: '{name}' cannot be a name here \(.*\); choose another$"):
        build(encoders={name: {"type": "DoubleTable"}})
