"""The loss of an encoder-decoder fusion inside a model."""

import pytest
import torch

from cellseg.errors import InputError

LOSS = [{"type": "FusionReconstruction", "weight": 0.5}]


def test_trains_what_the_fusion_rebuilds(build, batch):
    fusion = {"type": "EncoderDecoderFusion", "width": 12, "dropout": 0.0}
    model, data = build(fusion=fusion, auxiliary=LOSS).train(), batch(absent={"wave": [2]})
    loss = model(**data, mode="loss")["loss_fusion_reconstruction"]
    fused = model.represent(data["inputs"])
    errors = []
    for name, rebuilt in fused.reconstruction.items():
        rows = [row for row in range(6) if (name, row) != ("wave", 2)]
        errors.append((rebuilt - fused.encoded[name].pooled)[rows].square().mean())
    torch.testing.assert_close(loss, 0.5 * sum(errors) / 3)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.fusion.decode.parameters())


def test_other_fusions_are_refused(build, batch):
    with pytest.raises(InputError) as caught:
        build(auxiliary=LOSS).train()(**batch(), mode="loss")
    assert str(caught.value) == (
        "fusion_reconstruction: the fusion rebuilds nothing; use EncoderDecoderFusion or leave it out"
    )
