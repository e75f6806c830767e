"""Weights to start from: which files mmengine's trainings take."""

import argparse

import pytest
import torch

from cellseg.errors import InputError
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
