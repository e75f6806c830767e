"""The description: with the weights, read without the model, refused where it is none."""

import pytest
import torch

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.description import pack_description, read_description, unpack_description


def test_description_travels_with_the_weights(build, tmp_path):
    description = {"classes": ["gut", "schlecht", "größer"], "mean": [0.5, 1e-3], "tokenizer": '{"a": 1}'}
    model = build(description=description)
    assert model.about == description
    path = tmp_path / "model.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    for source in (path, str(path), torch.load(path, weights_only=True), model.state_dict()):
        assert read_description(source) == description
    assert model.description.dtype == torch.uint8
    wrapped = {f"module.{name}": value for name, value in model.state_dict().items()}
    assert read_description({"state_dict": wrapped}) == description
    # Weights of another training do not bring its description along.
    other = build(seed=1, description={"classes": ["x"]})
    other.load_state_dict(model.state_dict())
    assert read_description(other.state_dict()) == other.about == {"classes": ["x"]}
    torch.testing.assert_close(other.encoders["wave"].layer.weight, model.encoders["wave"].layer.weight)
    assert read_description(build().state_dict()) == {}


def test_description_is_what_json_makes_of_it():
    packed = pack_description({"size": (32, 32), 3: "three"})
    assert unpack_description(packed, "here") == {"size": [32, 32], "3": "three"}


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": {1, 2}}, {"a": torch.zeros(1)}])
def test_descriptions_of_other_things_are_refused(build, value):
    with pytest.raises(InputError, match=r"^description: expected plain values that JSON can hold \("):
        build(description=value)


@pytest.mark.parametrize("content", [None, torch.zeros(3), torch.tensor([123, 1], dtype=torch.uint8), 3])
def test_other_checkpoints_are_refused(tmp_path, content):
    with pytest.raises(InputError) as caught:
        read_description({"state_dict": {} if content is None else {"description": content}})
    assert str(caught.value) == "checkpoint: not the checkpoint of a multimodal model (no description in it)"
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, path)
    with pytest.raises(InputError) as caught:
        read_description(path)
    assert str(caught.value) == f"{path}: not the checkpoint of a multimodal model (no description in it)"
    listed = torch.tensor(list(b"[1]"), dtype=torch.uint8)
    with pytest.raises(InputError, match="^checkpoint: the description in it is damaged; train again$"):
        read_description({"description": listed})
    with pytest.raises(MissingFileError):
        read_description(tmp_path / "none.pth")
