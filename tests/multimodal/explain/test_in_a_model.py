"""Explanations of a trained model in which one quadrant of the picture decides, and words say nothing."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

import cellseg.multimodal.encoders
import cellseg.multimodal.fusion
import cellseg.multimodal.heads.classification
import cellseg.multimodal.model  # noqa: F401
from cellseg.multimodal.explain import (
    draw_attention,
    grad_cam,
    layer_named,
    modality_importance,
    region_importance,
    region_map,
)


def batch(count, generator):
    """Pictures of four grey quadrants; the class is whether the lower left one is bright."""
    bright = torch.randint(2, (count, 2, 2), generator=generator).float()
    values = bright.repeat_interleave(8, 1).repeat_interleave(8, 2).unsqueeze(1).expand(-1, 3, -1, -1)
    values = values + 0.1 * torch.randn(count, 3, 16, 16, generator=generator)
    words = torch.randint(4, 9, (count, 3), generator=generator)
    everywhere = torch.ones(count, dtype=torch.bool)
    inputs = dict(
        image=dict(values=values, present=everywhere),
        text=dict(values=words, mask=torch.ones_like(words, dtype=torch.bool), present=everywhere),
    )
    return inputs, dict(kind=dict(values=bright[:, 1, 0].long(), present=everywhere))


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="MultimodalModel",
            encoders=dict(
                image=dict(type="ConvEncoder", width=16, strides=(2, 4), position_size=2),
                text=dict(type="TextTransformerEncoder", vocabulary_size=9, width=16, layers=1, heads=2),
            ),
            fusion=dict(type="CrossAttentionFusion", width=16, layers=1, heads=2, dropout=0.0),
            heads=dict(kind=dict(type="FusedClassifier", num_classes=2)),
        )
    )
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(80):
        inputs, targets = batch(32, generator)
        optimizer.zero_grad()
        sum(model(inputs, targets, mode="loss").values()).backward()
        optimizer.step()
    inputs, targets = batch(100, generator)
    labels = targets["kind"]["values"]

    def accuracy(given):
        return (model(given, mode="tensor")["kind"].argmax(1) == labels).float().mean().item()

    return model.eval(), inputs, labels, accuracy


def test_what_matters_is_found(trained):
    _, inputs, _, accuracy = trained
    assert accuracy(inputs) > 0.97
    found = modality_importance(accuracy, inputs, repeats=4)
    assert found["image"].mean > 0.35 and abs(found["text"].mean) < 0.03
    drops = region_map(region_importance(accuracy, inputs, "image", (2, 2), repeats=4))
    assert drops[1, 0] > 0.35 and drops.flatten()[[0, 1, 3]].abs().max() < 0.1


def test_attention_and_grad_cam_can_be_drawn(trained, tmp_path):
    model, inputs, labels, _ = trained
    first = {name: {key: part[:4] for key, part in content.items()} for name, content in inputs.items()}
    maps = grad_cam(
        lambda: model(first)["kind"][torch.arange(4), labels[:4]], layer_named(model, "encoders.image.features")
    )
    assert maps.shape == (4, 2, 2) and maps.isfinite().all()
    picture = np.zeros((64, 48, 3), np.uint8)
    with torch.no_grad():
        fused = model.represent(first)
    grid = model.encoders["image"].grid(16, 16)
    draw_attention(fused, 3, picture, ["is", "it", "bright"], grid, tmp_path / "attention.png")
    assert (tmp_path / "attention.png").stat().st_size > 1000
