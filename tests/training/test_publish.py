"""The published checkpoint: weights and where they come from."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.training.publish import package_versions, publish_checkpoint


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_without_the_optimizer(tmp_path, key):
    weights = {"a.weight": torch.rand(3, 2, requires_grad=True), "a.count": torch.tensor(4)}
    torch.save({key: weights, "optimizer": {"lr": 1}, "meta": {"iter": 40}}, tmp_path / "iter_40.pth")
    publish_checkpoint(tmp_path / "iter_40.pth", tmp_path / "best.pth", {"class_names": ["round"], "score": 0.5})
    found = torch.load(tmp_path / "best.pth", weights_only=True)
    assert found.keys() == {"state_dict", "meta"}
    assert found["state_dict"].keys() == weights.keys()
    assert all(torch.equal(found["state_dict"][name], value) for name, value in weights.items())
    assert not any(value.requires_grad for value in found["state_dict"].values())
    assert found["meta"] == {
        "iteration": 40,
        "class_names": ["round"],
        "score": 0.5,
        "versions": package_versions(),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pth", "iter_40.pth"]


def test_versions_name_what_decides_the_numbers():
    assert package_versions()["torch"].startswith(torch.__version__.partition("+")[0])
    assert {"mmdet", "mmsegmentation", "numpy"} <= package_versions().keys()


def test_a_damaged_source_leaves_the_old_result(tmp_path):
    (tmp_path / "iter_1.pth").write_bytes(b"PK\x03\x04 cut")
    (tmp_path / "best.pth").write_bytes(b"old")
    with pytest.raises(InputError, match="iter_1.pth"):
        publish_checkpoint(tmp_path / "iter_1.pth", tmp_path / "best.pth", {})
    assert (tmp_path / "best.pth").read_bytes() == b"old"
