"""The systems that this part covers, as configs on synthetic data: they build and train, and fusion pays."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

import cellseg.openmmlab  # noqa: F401
from cellseg.errors import InputError
from cellseg.multimodal.auxiliary import FeatureImputer
from cellseg.multimodal.data import collate_samples, load_multimodal_data
from cellseg.multimodal.explain import grad_cam, layer_named
from cellseg.multimodal.fusion.by_name import FUSIONS
from cellseg.multimodal.predict import load_trained
from cellseg.training.config import load_config
from cellseg.training.door import train

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "multimodal" / "related"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.py"))
FEW = {"source.options.count": 60}
WANTED = {
    "alzheimer",
    "cough_devices",
    "cough_diagnosis",
    "earthquake",
    "galaxies",
    "lung_nodules",
    "periapical",
    "protein_features",
    "remote_sensing",
    "remote_sensing_cross_modality",
    "remote_sensing_encoder_decoder",
    "sacroiliac",
    "sinkholes",
}


def built(name, **options):
    """Config, model and a training batch of a config with few records."""
    config = load_config(FOLDER / f"{name}_synthetic.py", {**FEW, **options})
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    data = load_multimodal_data(**config.source)
    return config, model, data


def batch_of(data, split="train", count=24):
    return collate_samples([data.sample(record) for record in data.records(split)[:count]])


def losses_of(model, batch):
    return model.train()(batch["inputs"], batch["targets"], mode="loss")


def test_every_system_has_a_config_that_says_that_it_is_synthetic():
    assert set(CONFIGS) == {f"{name}_synthetic" for name in WANTED}
    for name in CONFIGS:
        assert (FOLDER / f"{name}.py").read_text(encoding="utf-8").startswith("# Synthetic stand-in for ")


@pytest.mark.parametrize("name", [name.removesuffix("_synthetic") for name in CONFIGS])
def test_every_part_of_a_config_learns(name):
    config, model, data = built(name)
    losses = losses_of(model, batch_of(data))
    wanted = {f"loss_{task}" for task in model.heads} | {f"loss_{part.name}" for part in model.auxiliary}
    assert set(losses) == wanted and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    still = {key for key, value in model.named_parameters() if value.grad is None}
    # Attention regression reads the tokens of a fusion, not what it joins.
    assert still == ({"fusion.join.weight", "fusion.join.bias"} if name == "galaxies" else set())
    assert config.best_by.partition("_")[0] in model.heads
    answers = model.eval().val_step(batch_of(data, "val"))
    assert all(task in answers[0] for task in model.heads)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_trains(name, tmp_path):
    options = {**FEW, "iterations": 2, "train_cfg.val_interval": 2, "batch_size": 16}
    result = train(FOLDER / f"{name}.py", tmp_path / "work", options=options)
    assert result["iteration"] == 2 and (tmp_path / "work" / "best.pth").is_file()


@pytest.mark.parametrize("fusion", ["early", "middle", "late", "cross", "encoder_decoder"])
def test_the_fusion_of_remote_sensing_is_an_option(fusion):
    _, model, data = built("remote_sensing", fusion=fusion)
    assert type(model.fusion) is FUSIONS[fusion]
    assert losses_of(model, batch_of(data))["loss_classification"].isfinite()
    with pytest.raises(InputError) as error:
        built("remote_sensing", fusion="sideways")
    assert str(error.value).startswith("fusion 'sideways': unknown; expected one of bilinear, concat, cross, ")


def test_cross_modality_has_the_height_map_in_training_only():
    _, _, data = built("remote_sensing_cross_modality")
    shares = {
        split: batch_of(data, split, 6)["inputs"]["height"]["present"].float().mean().item()
        for split in ("train", "val", "test")
    }
    assert shares == {"train": 1.0, "val": 0.0, "test": 0.0}


def test_missing_spectra_are_generated_from_the_picture():
    _, model, data = built("galaxies")
    batch = batch_of(data, count=40)
    absent = ~batch["inputs"]["spectrum"]["present"]
    assert 5 < int(absent.sum()) < 30
    seen = {}
    model.fusion.register_forward_pre_hook(lambda _, given: seen.update(tokens=given[0], present=given[1]))
    with torch.no_grad():
        model.eval()(batch["inputs"])
        # Another picture gives other features of the spectrum that is not there.
        before = seen["tokens"]["spectrum"].values[absent]
        batch["inputs"]["photometry"]["values"] = batch["inputs"]["photometry"]["values"].flip(0)
        model(batch["inputs"])
    assert isinstance(model.auxiliary[0], FeatureImputer) and seen["present"]["spectrum"].all()
    assert seen["tokens"]["spectrum"].mask[absent].sum(dim=1).eq(4).all()
    assert not torch.equal(before, seen["tokens"]["spectrum"].values[absent])


def test_single_frames_are_repeated():
    _, model, data = built("lung_nodules")
    frames = [record.inputs["ct"].shape[1] for record in data.records("train")]
    assert set(frames) == {1, 8} and 0.15 < frames.count(1) / len(frames) < 0.45
    with pytest.raises(InputError) as error:
        built("lung_nodules", **{"source.options.single_frames": 2})
    assert str(error.value) == "options.single_frames: expected 0 to 1, found 2"
    one = next(record for record in data.records("train") if record.inputs["ct"].shape[1] == 1)
    values = collate_samples([data.sample(one)])["inputs"]["ct"]["values"]
    encoder = model.encoders["ct"].eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(values).values, encoder(values.expand(-1, -1, 8, -1, -1)).values)


def test_grad_cam_of_a_slope_map():
    _, model, data = built("sinkholes")
    inputs = batch_of(data, count=4)["inputs"]
    layer = layer_named(model.eval(), "encoders.slope.features")
    maps = grad_cam(lambda: model(inputs)["classification"][:, 1], layer)
    assert maps.shape == (4, *model.encoders["slope"].grid(32, 32)) and maps.ge(0).all() and maps.any()


# What the trainings below change: fewer records and steps.
SMALL = {
    "source.options.count": 700,
    "source.fractions": (0.7, 0.1, 0.2),
    "iterations": 120,
    "train_cfg.val_interval": 60,
}
# Every system whose signal needs both modalities: these, and what else its training changes.
PARITY = {
    "cough_devices": (("cough", "demographics"), {}),
    "cough_diagnosis": (("cough", "symptoms"), {"iterations": 240}),
    "earthquake": (("waveform", "ground_motion"), {}),
    "lung_nodules": (("ct", "patient"), {}),
    "periapical": (("radiograph", "patient"), {"source.options.outputs": 2}),
    "protein_features": (("physicochemical", "graph"), {}),
    "remote_sensing": (("hyperspectral", "height"), {}),
    "remote_sensing_encoder_decoder": (("hyperspectral", "height"), {"source.options.outputs": 2}),
    "sacroiliac": (("mri", "laboratory"), {}),
    "sinkholes": (("rgb", "slope"), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PARITY)
def test_fusion_beats_either_modality_alone(name, tmp_path):
    """The classes follow from what both modalities show together, so one alone is worth a guess."""
    path = FOLDER / f"{name}_synthetic.py"
    modalities, own = PARITY[name]
    task = load_config(path).best_by.partition("_")[0]
    # Of several labels each is there or not.
    labels = 2 if task == "multilabel" else load_config(path, own).source.options.get("outputs", 2)

    def accuracy(seed, *shown):
        options = {**SMALL, **own, "seed": seed, "model.modalities": list(shown)}
        folder = tmp_path / f"{seed}-{'-'.join(shown)}"
        result = train(path, folder, options=options)
        predictor = load_trained(folder, device="cpu")
        data = load_multimodal_data(**load_config(path, options).source)

        def share_right(split):
            records = data.records(split)
            answers = predictor.predict([{name: record.inputs[name] for name in shown} for record in records])
            right = [
                _right(answer[task], record.targets[task]) for answer, record in zip(answers, records, strict=True)
            ]
            return float(np.mean(right))

        # What is loaded is what was validated.
        if load_config(path).best_by == f"{task}_accuracy":
            assert share_right("val") == pytest.approx(result["best_score"])
        return share_right("test")

    # Labels that were drawn at random are right as often as a guess.
    possible = 1 - load_config(path, own).source.options.get("label_noise", 0.0) * (1 - 1 / labels)
    for seed in range(3):
        both = accuracy(seed, *modalities)
        alone = max(accuracy(seed, modality) for modality in modalities)
        assert both > 0.9 * possible and alone < 1 / labels + 0.15, (seed, both, alone)


def _right(answer, truth):
    """Whether the class is the true one, or the share of labels that are right."""
    if "label" in answer:
        return answer["label"] == truth
    given = [name in answer["labels"] for name in answer["probabilities"]]
    return np.equal(given, np.asarray(truth) > 0.5).mean()
