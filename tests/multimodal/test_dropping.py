"""Modalities that are taken from samples: what stays, and how often."""

import pytest
import torch

from cellseg.multimodal.dropping import drop_modalities, drop_one


@pytest.mark.parametrize("seed", range(5))
def test_dropping_leaves_one_of_those_that_are_there(seed):
    torch.manual_seed(seed)
    present = {name: torch.rand(4000) < 0.7 for name in "abc"}
    kept = drop_modalities(present, {"a": 0.9, "b": 0.9, "c": 0.3})
    before, after = torch.stack(list(present.values())), torch.stack(list(kept.values()))
    assert not (after & ~before).any()
    assert (after.any(0) == before.any(0)).all()
    several = before.sum(0) == 3
    # a stays by itself (0.1), or is drawn when all are lost (0.9 x 0.9 x 0.3, one of three).
    assert after[0, several].float().mean().item() == pytest.approx(0.1 + 0.243 / 3, abs=0.04)
    assert after[2, several].float().mean().item() == pytest.approx(0.7 + 0.243 / 3, abs=0.05)
    everything = drop_modalities(present, dict.fromkeys("abc", 1.0))
    assert (torch.stack(list(everything.values())).sum(0) == before.any(0)).all()
    assert drop_modalities(present, dict.fromkeys("abc", 0.0)) == present


def test_drop_one_takes_each_with_equal_chance():
    torch.manual_seed(0)
    present = {name: torch.rand(6000) < 0.7 for name in "abc"}
    left, rows = drop_one(present)
    before, after = torch.stack(list(present.values())), torch.stack(list(left.values()))
    assert (rows == (before.sum(0) > 1)).all()
    assert (before.sum(0) - after.sum(0) == rows.int()).all() and not (after & ~before).any()
    taken = (before & ~after)[:, before.all(0)].float().mean(1)
    assert taken.tolist() == pytest.approx([1 / 3] * 3, abs=0.04)
