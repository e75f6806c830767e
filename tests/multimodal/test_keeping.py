"""Models of some of their modalities: what stays of a config, and that it trains and predicts so."""

from pathlib import Path

import pytest
from mmengine.registry import MODELS

from cellseg.errors import InputError
from cellseg.multimodal.comparison.trainings import plan_runs
from cellseg.multimodal.data import load_multimodal_data
from cellseg.multimodal.keeping import keep_modalities
from cellseg.multimodal.predict import load_trained
from cellseg.multimodal.training import model_for
from cellseg.training.config import load_config
from cellseg.training.door import train

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "multimodal"
PARTS = dict(
    encoders=dict(snp={"type": "A"}, clinical={"type": "B"}, mri={"type": "C"}),
    fusion=dict(type="GatedFusion"),
    heads=dict(classification={"type": "D"}),
    modality_dropout=dict(snp=0.2, mri=0.1),
    auxiliary=[
        dict(type="TableReconstruction", modality="snp"),
        dict(type="ModalityContrast", modalities=["snp", "mri"]),
        dict(type="ModalityContrast", name="all"),
        dict(type="DomainAdversary", modality="mri"),
        dict(type="InvariantRisk", task="classification"),
    ],
)


def kept(modalities):
    """Encoders, whether they are fused, what training hides, and the auxiliaries that stay, by place."""
    parts = keep_modalities(PARTS, modalities)
    stay = [PARTS["auxiliary"].index(one) for one in parts["auxiliary"]]
    return list(parts["encoders"]), parts["fusion"] is not None, parts["modality_dropout"], stay


def test_what_stays():
    assert kept(["mri", "snp", "clinical"]) == (
        ["snp", "clinical", "mri"],
        True,
        PARTS["modality_dropout"],
        [*range(5)],
    )
    assert kept(["mri", "clinical"]) == (["clinical", "mri"], True, {"mri": 0.1}, [2, 3, 4])
    assert kept(["snp"]) == (["snp"], False, {"snp": 0.2}, [0, 4])
    assert kept(["clinical"]) == (["clinical"], False, {}, [4])
    assert keep_modalities({"encoders": PARTS["encoders"]}, ["mri"]) == {
        "encoders": {"mri": {"type": "C"}},
        "fusion": None,
    }


def test_words_of_a_text_that_is_left_out_are_not_copied():
    parts = dict(encoders=dict(image={}, text={}), fusion={}, heads=dict(captioning={"type": "E", "copy": "text"}))
    assert keep_modalities(parts, ["image"])["heads"] == {"captioning": {"type": "E", "copy": None}}
    assert keep_modalities(parts, ["image", "text"])["heads"] == parts["heads"]
    few = {"source.options.count": 40, "model.modalities": ["image"]}
    config = load_config(CONFIGS / "ablations" / "captioning_m4c.py", few)
    assert MODELS.build(config.model).heads["captioning"].copy is None


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        ([], "model.modalities: expected a list of different names, found []"),
        ("mri", "model.modalities: expected a list of different names, found 'mri'"),
        (["mri", "mri"], "model.modalities: expected a list of different names, found ['mri', 'mri']"),
        (["mir"], "model.modalities: 'mir' has no encoder; the config encodes snp, clinical, mri"),
    ],
)
def test_modalities_that_cannot_be_kept(modalities, message):
    with pytest.raises(InputError) as error:
        keep_modalities(PARTS, modalities)
    assert str(error.value) == message


def test_every_modality_of_every_system_can_be_kept_alone():
    for path in sorted((CONFIGS / "related").glob("*.py")):
        parts = load_config(path, {"source.options.count": 60}).model.to_dict()
        description = load_multimodal_data(**parts.pop("source")).description
        parts.pop("type")
        for name in parts["encoders"]:
            assert model_for(description, {**parts, "modalities": [name]}).modalities == (name,)


def test_a_training_with_one_modality_predicts_from_it(tmp_path):
    path = CONFIGS / "related" / "alzheimer_synthetic.py"
    options = {"source.options.count": 60, "iterations": 2, "train_cfg.val_interval": 2, "model.modalities": ["snp"]}
    train(path, tmp_path / "work", options=options)
    predictor = load_trained(tmp_path / "work", device="cpu")
    assert predictor.model.modalities == ("snp",)
    assert [part.name for part in predictor.model.auxiliary] == ["reconstruction_snp"]


def test_each_modality_alone_is_a_row_of_a_comparison(tmp_path):
    paths = [CONFIGS / "related" / "earthquake_synthetic.py", CONFIGS / "emotion" / "audio.py"]
    runs = plan_runs(paths, [4], tmp_path, {"iterations": 3}, alone=True)
    names = ["earthquake_synthetic", "earthquake_synthetic_waveform_only", "earthquake_synthetic_ground_motion_only"]
    assert [run.name for run in runs] == [*names, "audio"]
    assert [run.options.get("model.modalities") for run in runs] == [None, ["waveform"], ["ground_motion"], None]
    assert all(run.options["iterations"] == 3 and run.options["seed"] == 4 for run in runs)
    assert runs[1].work_dir == tmp_path / "runs" / names[1] / "seed-4"
