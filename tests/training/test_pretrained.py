"""Weights to start from: which files mmengine's trainings take."""

import argparse

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal import MultimodalModel
from cellseg.training.mmengine_engine import load_fitting_weights


@pytest.fixture
def mixed(tmp_path):
    """A checkpoint with an object beside the weights of a layer, and that layer's weight."""
    weight = torch.rand(2, 3)
    torch.save({"state_dict": {"weight": weight}, "author": argparse.Namespace(name="x")}, tmp_path / "mixed.pth")
    return tmp_path / "mixed.pth", weight


def test_a_file_that_holds_more_than_weights_is_refused(mixed):
    layer = torch.nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    with pytest.raises(InputError, match=r"mixed\.pth: refused, because it holds more than weights.*use --unsafe-load"):
        load_fitting_weights(layer, mixed[0])
    assert torch.equal(layer.weight, before)


def test_the_user_can_allow_it(mixed):
    layer = torch.nn.Linear(3, 2)
    (note,) = load_fitting_weights(layer, mixed[0], unsafe=True)
    assert torch.equal(layer.weight, mixed[1])
    assert note == f"{mixed[0]}: 1 of 2 weights loaded; without a fitting one and random at first: bias"


def test_steps_and_statistics_of_another_training_are_not_taken(tmp_path):
    def build(mean, std, **about):
        return MultimodalModel(
            encoders={"lab": dict(type="TabularEncoder", num_features=2, width=8, kind="mlp")},
            fusion=None,
            heads={"regression": dict(type="FusedRegressor", outputs=1, mean=[mean], std=[std])},
            description=about,
        )

    other, model = build(1000.0, 50.0, unit="m"), build(3.0, 2.0, unit="s")
    other.training_steps += 600
    torch.save({"state_dict": other.state_dict()}, tmp_path / "other.pth")
    assert load_fitting_weights(model, tmp_path / "other.pth") == ()
    head = model.heads["regression"]
    assert model.training_steps == 0 and head.mean.tolist() == [3.0] and head.std.tolist() == [2.0]
    assert model.state_dict()["description"].equal(build(3.0, 2.0, unit="s").description)
    assert all(torch.equal(*pair) for pair in zip(other.parameters(), model.parameters(), strict=True))
