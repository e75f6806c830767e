"""Batches: filled up to the longest, and without tasks that nobody has a target of."""

import pytest
import torch
from mmengine.registry import FUNCTIONS

from cellseg.multimodal.data.collate import collate_samples


def item(length, frames, present=True, label=None, identity="a"):
    inputs = {
        "text": dict(
            values=torch.arange(1, length + 1), mask=torch.ones(length, dtype=torch.bool), present=torch.tensor(present)
        ),
        "scan": dict(
            values=torch.full((1, frames, 2, 2), float(frames)),
            mask=torch.ones(frames, dtype=torch.bool),
            present=torch.tensor(True),
        ),
    }
    target = dict(values=torch.tensor(label or 0), present=torch.tensor(label is not None))
    return {"inputs": inputs, "targets": {"classification": target}, "sample": {"id": identity}}


def test_everything_is_as_long_as_the_longest():
    batch = collate_samples([item(2, 3, label=1), item(4, 1, False), item(1, 2, label=2, identity="c")])
    text, scan = batch["inputs"]["text"], batch["inputs"]["scan"]
    assert text["values"].tolist() == [[1, 2, 0, 0], [1, 2, 3, 4], [1, 0, 0, 0]]
    assert text["mask"].tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]
    assert text["present"].tolist() == [True, False, True]
    assert scan["values"].shape == (3, 1, 3, 2, 2) and scan["mask"].sum(dim=1).tolist() == [3, 1, 2]
    assert scan["values"][:, 0, :, 0, 0].tolist() == [[3, 3, 3], [1, 0, 0], [2, 2, 0]]
    target = batch["targets"]["classification"]
    assert target["values"].tolist() == [1, 0, 2] and target["present"].tolist() == [True, False, True]
    assert [sample["id"] for sample in batch["samples"]] == ["a", "a", "c"]


def test_a_task_without_any_target_is_left_out():
    assert collate_samples([item(1, 1), item(2, 1)])["targets"] == {}


def test_configs_can_name_it():
    assert FUNCTIONS.get("collate_samples") is collate_samples


@pytest.mark.parametrize("count", [1, 4])
def test_equal_samples_are_stacked_as_they_are(count):
    batch = collate_samples([item(3, 2, label=1)] * count)
    assert batch["inputs"]["text"]["values"].tolist() == [[1, 2, 3]] * count
