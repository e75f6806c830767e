"""The configs of the visual-language model, its ablations and baselines, and of emotion: all build, all train."""

import socket
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

import cellseg.multimodal.training  # noqa: F401 - registers what configs name
from cellseg.multimodal.data import MultimodalSamples, collate_samples, forget_multimodal_data
from cellseg.multimodal.metrics.evaluator import TaskScores
from cellseg.training.config import load_config
from cellseg.training.door import train

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "multimodal"
FOLDERS = ("visual_language", "ablations", "emotion")
ALL = sorted(path for name in FOLDERS for path in (CONFIGS / name).glob("[a-z]*.py"))
FULL = [path for path in ALL if path.parent.name == "visual_language" and not path.stem.endswith("_small")]
SMALL = [path for path in ALL if path not in FULL]
FEW = {"source.options.count": 40, "batch_size": 4}
# The full size in all but the numbers of channels and layers.
THIN = {
    "model.encoders.text.hidden_size": 16,
    "model.encoders.text.num_attention_heads": 2,
    "model.encoders.text.intermediate_size": 16,
    "model.encoders.text.num_hidden_layers": 1,
    "model.fusion.width": 16,
    "model.fusion.heads": 2,
    "model.fusion.layers": 1,
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing here may look for anything outside of this machine."""

    def refuse(self, address):
        raise AssertionError(f"a connection to {address} was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: refuse(None, address))


def name_of(path):
    return f"{path.parent.name}/{path.stem}"


def test_every_task_has_its_configs():
    names = {name_of(path) for path in ALL}
    tasks = ("vqa", "classification", "matching", "captioning")
    assert {f"visual_language/{task}{size}" for task in tasks for size in ("", "_small")} <= names
    variants = ("full", "concat", "no_cbam", "image_only", "text_only", "lstm_attention", "ban", "dan", "m4c")
    assert {f"ablations/{task}_{variant}" for task in ("vqa", "captioning") for variant in variants} <= names
    single = ("image_only", "text_only")
    assert {f"ablations/matching_{variant}" for variant in variants if variant not in single} <= names
    assert {
        f"emotion/{name}" for name in ("audio", "face", "text", "early", "early_features", "cross", "late")
    } <= names


def test_the_pointer_points_at_words_of_the_prompt():
    config = load_config(CONFIGS / "ablations" / "captioning_m4c.py", FEW)
    head = MODELS.build(config.model).heads["captioning"]
    assert (type(head).__name__, head.copy) == ("PointerCaptioner", "text")


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_a_config_says_what_it_trains(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ") and first.endswith(".") and "generated data; " in first


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_a_config_builds_a_model_that_answers_its_data(path):
    config = load_config(path, {**FEW, **(THIN if path in FULL else {})})
    model = MODELS.build(config.model)
    source = config.train_dataloader.dataset.source
    samples = MultimodalSamples(source, "train")
    batch = collate_samples([samples[index] for index in range(4)])
    losses = model(**batch, mode="loss")
    assert losses and all(torch.isfinite(value).all() for value in losses.values())
    # What the best weights are chosen by is a score that the validation gives.
    model.eval()
    held_out = MultimodalSamples(source, "val", all_pairs=config.val_dataloader.dataset.get("all_pairs", False))
    evaluator = TaskScores()
    evaluator.dataset_meta = held_out.metainfo
    with torch.inference_mode():
        rows = range(min(len(held_out), 64))
        evaluator.process(None, model.test_step(collate_samples([held_out[index] for index in rows])))
    scores = evaluator.compute_metrics(evaluator.results)
    task = config.best_by.split("_")[0]
    assert task in model.heads and any(name.startswith(task) for name in scores)
    assert config.best_by in scores or len(held_out) > 64
    forget_multimodal_data()


def test_ablations_differ_from_the_full_model_in_what_they_say():
    sizes = {}
    for name in ("full", "concat", "no_cbam"):
        model = MODELS.build(load_config(CONFIGS / "ablations" / f"vqa_{name}.py", FEW).model)
        sizes[name] = sum(part.numel() for part in model.parameters())
        assert (type(model.encoders["image"].cbam).__name__ == "CBAM") == (name != "no_cbam")
        assert type(model.fusion).__name__ == ("ConcatFusion" if name == "concat" else "CrossAttentionFusion")
    # The same size, so that it is not the number of weights that tells them apart.
    assert sizes["concat"] == pytest.approx(sizes["full"], rel=0.03)
    for name, kept in (("image_only", "image"), ("text_only", "text")):
        model = MODELS.build(load_config(CONFIGS / "ablations" / f"vqa_{name}.py", FEW).model)
        assert model.modalities == (kept,)


def test_other_data_by_options(tmp_path):
    rows = [f"{word} day {number},{word}" for number in range(20) for word in ("good", "bad", "dull")]
    (tmp_path / "data.csv").write_text("\n".join(["words,emotion", *rows]) + "\n")
    options = {"reader": "table", "data_root": str(tmp_path), "source.options._delete_": True}
    columns = {"inputs": {"text": {"kind": "text", "column": "words"}}, "targets": {"classification": "emotion"}}
    options |= {f"source.options.{name}": value for name, value in columns.items()}
    model = load_config(CONFIGS / "emotion" / "text.py", options).model
    assert model.source.options == columns and model.source.reader == "table"
    assert MODELS.build(model).about["class_names"] == ["bad", "dull", "good"]


@pytest.mark.slow
@pytest.mark.parametrize("path", SMALL, ids=name_of)
def test_a_config_trains(path, tmp_path):
    options = {**FEW, "iterations": 2, "train_cfg.val_interval": 2, "default_hooks.checkpoint.interval": 2}
    result = train(path, tmp_path / "work", options=options)
    assert result["iteration"] == 2 and result["best_score"] is not None and (tmp_path / "work" / "best.pth").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("path", FULL, ids=name_of)
def test_a_full_config_trains(path, tmp_path):
    options = {**FEW, **THIN, "iterations": 2, "train_cfg.val_interval": 2, "default_hooks.checkpoint.interval": 2}
    result = train(path, tmp_path / "work", options={**options, "workers": 0})
    assert result["iteration"] == 2 and result["best_score"] is not None
