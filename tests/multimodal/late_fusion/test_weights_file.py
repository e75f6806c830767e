"""The file of weights: there and back, and every entry that can be wrong."""

import json

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.late_fusion import FusionWeights, load_fusion_weights, save_fusion_weights

VALUES = {"global": np.array([0.25, 0.75]), "by class": np.array([[0.5, 0.1], [0.5, 0.9]])}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_weights_come_back_from_their_file(tmp_path, values):
    weights = FusionWeights(("b", "a"), ("x", "y"), values, "geometric")
    save_fusion_weights(tmp_path / "weights.json", weights, {"tuner": "aquila"})
    again, provenance = load_fusion_weights(tmp_path / "weights.json")
    assert (again.models, again.class_names, again.mean) == (weights.models, weights.class_names, weights.mean)
    assert again.values == pytest.approx(values) and provenance["tuner"] == "aquila"
    assert set(provenance["versions"]) == {"cellseg", "torch", "numpy", "scikit-learn"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "not a file of late fusion weights, as tools/tune_late_fusion.py writes it"),
        ({"kind": "boxes"}, "not a file of late fusion weights, as tools/tune_late_fusion.py writes it"),
        ({"note": 1}, "note: unknown key"),
        ({"mean": None}, "mean: missing"),
        ({"mean": "median"}, "mean: 'median' is none of arithmetic, geometric"),
        ({"models": []}, "models: expected a list of names, found []"),
        ({"weights": {"a": 1}}, "weights: expected one for each of a, b, found {'a': 1}"),
        ({"weights": {"a": -1, "b": 2}}, "weights.a: expected a number from 0 on, found -1"),
        ({"weights": {"a": True, "b": 2}}, "weights.a: expected a number from 0 on, found True"),
        ({"weights": {"a": 0, "b": 0}}, "weights: those of all models are 0"),
        ({"weights": {"a": {"x": 1}, "b": 2}}, "weights.a: expected one for each of x, y, found {'x': 1}"),
        ({"provenance": []}, "provenance: expected an object, found []"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, changes, message):
    path = tmp_path / "weights.json"
    save_fusion_weights(path, FusionWeights(("a", "b"), ("x", "y"), VALUES["global"]), {})
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(InputError) as error:
        load_fusion_weights(path)
    assert str(error.value) == f"{path}: {message}"
