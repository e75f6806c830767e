"""Trainings through the door: what they learn and leave, resuming, and what they refuse."""

import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

from cellseg.errors import InputError
from cellseg.multimodal import read_description
from cellseg.multimodal.data import DataDescription, load_multimodal_data
from cellseg.multimodal.encoders.image import ConvEncoder
from cellseg.multimodal.training import model_for, model_of_data, multimodal_model_of
from cellseg.openmmlab import load_checkpoint_file
from cellseg.training.curves import read_curves
from cellseg.training.door import train

CONFIGS = runpy.run_path(str(Path(__file__).with_name("training_configs.py")))
TABLES, PICTURES = CONFIGS["TABLES"], CONFIGS["PICTURES"]


@pytest.fixture
def run(tmp_path):
    """Trains a config in the test's folder."""

    def call(text, name="work", resume=False, **options):
        path = CONFIGS["write_training_config"](tmp_path, text)
        return train(path, tmp_path / name, resume=resume, options=options)

    return call


def weights_of(path):
    return load_checkpoint_file(path)["state_dict"]


def scores_of(folder):
    scores = {}
    for _, phase, name, value in read_curves(folder / "curves.csv"):
        if phase == "val":
            scores[name] = value
    return scores


def test_a_training_learns_what_neither_modality_tells(run, tmp_path):
    result = run(TABLES)
    folder = tmp_path / "work"
    assert {"config.py", "best.pth", "curves.csv", "train.log"} <= {path.name for path in folder.iterdir()}
    scores = scores_of(folder)
    assert result["best_score"] == scores["classification_accuracy"] == 1.0
    assert {"classification_macro_f1", "classification_auc", "val_loss"} <= set(scores)
    assert scores["val_loss"] == pytest.approx(scores["loss_classification"]) and scores["val_loss"] < 0.1


def test_what_a_model_must_know_travels_with_its_weights(run, tmp_path):
    run(TABLES, iterations=2, **{"train_cfg.val_interval": 2})
    published = torch.load(tmp_path / "work" / "best.pth", weights_only=True)
    about = DataDescription.from_dict(read_description(published), "best.pth")
    assert about.class_names == ("class 0", "class 1") and list(about.modalities) == ["one", "two"]
    assert about.modalities["two"].names == ("first", "noise 1", "noise 2")
    assert published["meta"]["score_name"] == "classification_accuracy" and published["meta"]["class_names"] == []


def test_several_tasks_are_trained_and_scored_together(run, tmp_path):
    run(PICTURES)
    scores = scores_of(tmp_path / "work")
    names = {name for name in scores if "loss" not in name}
    assert {"captioning_bleu4", "captioning_cider", "captioning_rouge", "matching_accuracy", "matching_auc"} <= names
    assert "matching_embedding_image_to_text_top5" in names and "matching_image_to_text_top1" not in names
    losses = {name for _, phase, name, _ in read_curves(tmp_path / "work" / "curves.csv") if phase == "train"}
    assert {"loss_captioning", "loss_matching_probability", "loss_matching_embedding"} <= losses


def test_all_pairs_are_scored_where_a_config_asks_for_them(run, tmp_path):
    run(
        PICTURES,
        **{"val_dataloader.dataset.all_pairs": True},
        best_by="matching_image_to_text_top5",
        **{"source.tasks": ["matching"], "model.heads": dict(matching=dict(type="PairMatcher"))},
    )
    assert 0 <= scores_of(tmp_path / "work")["matching_text_to_image_top1"] <= 1


@pytest.mark.slow
def test_the_same_training_gives_the_same_weights(run, tmp_path):
    short = dict(iterations=4, **{"train_cfg.val_interval": 4})
    for name in ("one", "two"):
        run(PICTURES, name, **short)
    one, two = (weights_of(tmp_path / name / "best.pth") for name in ("one", "two"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_resumed_training_ends_like_an_undisturbed_one(run, tmp_path):
    options = {
        "iterations": 6,
        "train_cfg.val_interval": 6,
        "default_hooks.checkpoint.interval": 3,
        "default_hooks.checkpoint.max_keep_ckpts": -1,
    }
    # Wrong captions are drawn anew each time, so this needs the random states to be put back.
    run(PICTURES, "whole", **options)
    whole, part = tmp_path / "whole", tmp_path / "part"
    shutil.copytree(whole, part)
    for path in [part / "best.pth", part / "iter_6.pth", *part.glob("best_*.pth")]:
        path.unlink()
    (part / "last_checkpoint").write_text(str(part / "iter_3.pth"))
    run(PICTURES, "part", resume=True, **options)
    expected, found = weights_of(whole / "best.pth"), weights_of(part / "best.pth")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not torch.equal(weights_of(part / "iter_3.pth")["fusion.join.weight"], found["fusion.join.weight"])


def test_a_training_is_not_resumed_with_other_data(run, tmp_path):
    short = {"iterations": 2, "train_cfg.val_interval": 2, "default_hooks.checkpoint.interval": 2}
    run(TABLES, **short)
    with pytest.raises(InputError) as error:
        run(TABLES, resume=True, **{**short, "iterations": 4, "source.options.noise": 0.4})
    assert str(error.value) == (
        f"{tmp_path / 'work'}: --resume: the training began with other data (different: modalities); "
        "start afresh with --overwrite"
    )


def test_a_table_of_files_trains(run, tmp_path):
    rows = [{"text": f"{word} day", "label": word, "age": age} for age in range(20) for word in ("good", "bad")]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = """
reader = "table"
source = dict(options=dict(inputs=dict(text="text", clinical=["age"])), group_by=["row"])
model = dict(
    encoders=dict(
        text=dict(type="LSTMEncoder", vocabulary_size="{vocabulary_size}", width=8),
        clinical=dict(type="TabularEncoder", num_features="{num_features}", width=8, kind="mlp"),
    ),
    fusion=dict(type="ConcatFusion", width=8),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}")),
)
iterations = 2
train_cfg = dict(val_interval=2)
"""
    assert run(text, data_root=str(tmp_path))["iteration"] == 2


def test_the_weights_of_classes_reach_the_head():
    source = dict(reader="generated", options=dict(count=30, kinds=["tabular"]))
    encoders = dict(tabular=dict(type="TabularEncoder", num_features="{num_features}", width=8, kind="mlp"))
    head = dict(type="FusedClassifier", num_classes="{num_classes}", class_weights="{class_weights}")
    model = multimodal_model_of(source, encoders=encoders, fusion=None, heads=dict(classification=head))
    weights = load_multimodal_data(**source).description.class_weights
    assert model.heads["classification"].class_weights.tolist() == pytest.approx(list(weights)) and len(weights) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model.heads.classification.num_classes": "{num_answers}"},
            "model.heads.classification.num_classes: the data has no {num_answers}; it has class_weights, num_",
        ),
        ({"source.vocabulery": 30}, "source.vocabulery: unknown; expected are reader, data_root, options, "),
        ({"source.options.count": 3}, "options.count: expected 10 or more, found 3"),
        ({"reader": "xml"}, "source.reader: expected one of captions, "),
        (
            {"source": {"_delete_": True, "reader": "table", "data_root": "no/where"}},
            "no/where: no such file or folder; set data_root to the data set's",
        ),
        (
            {"model.heads.classification.multi_label": True, "model.heads.classification.class_weights": None},
            "model.heads.classification.multi_label: expected False, as a sample has one class",
        ),
        ({"iterations": 0}, "train_cfg.max_iters: expected a whole number of at least 1, found 0"),
        (
            {"train_cfg.max_iters": float("inf")},
            "train_cfg.max_iters: expected a whole number of at least 1, found inf",
        ),
        (
            {"train_cfg.max_iters": float("nan")},
            "train_cfg.max_iters: expected a whole number of at least 1, found nan",
        ),
        ({"train_cfg.val_interval": 0}, "train_cfg.val_interval: expected a whole number of at least 1, found 0"),
        ({"train_cfg.val_interval": 2.5}, "train_cfg.val_interval: expected a whole number of at least 1, found 2.5"),
        (
            {"model.encoders.one.num_features": 5},
            "model.encoders.one: TabularEncoder cannot read the one of generated record 1 (tabular, [3]): ",
        ),
        (
            {"model.encoders.two": {"_delete_": True, "type": "ConvEncoder", "width": 16}},
            "model.encoders.two: ConvEncoder cannot read the two of generated record 1 (tabular, [3]): ",
        ),
        ({"augmentation": {"turn": True}}, "augmentation.turn: unknown; expected are horizontal_flip, "),
        ({"model.description": {}}, "model.description: follows from the data; leave it out"),
    ],
)
def test_mistakes_in_a_config_are_one_line(run, options, message):
    with pytest.raises(InputError) as error:
        run(TABLES, **options)
    config, place, mistake = str(error.value).partition("tiny.py: ")
    assert (mistake if place else config).startswith(message) and "\n" not in str(error.value)


def test_a_model_without_a_head_for_the_data(run):
    heads = dict(_delete_=True, regression=dict(type="FusedRegressor", outputs=1))
    with pytest.raises(InputError, match="model.heads.regression: the data has no 'regression'; it has classification"):
        run(TABLES, iterations=2, **{"model.heads": heads})
    with pytest.raises(InputError, match="the model has no head for a task of the validation samples"):
        run(TABLES, iterations=2, **{"model.heads": heads, "source.tasks": ["classification"]})


def test_an_encoder_of_nothing_is_named(run):
    misspelt = dict(type="TabularEncoder", num_features=3, width=16, kind="mlp")
    with pytest.raises(InputError, match="model.encoders.tow: the data has no 'tow'; it has one, two"):
        run(TABLES, iterations=2, **{"model.encoders.tow": misspelt})


def test_a_description_alone_builds_the_model_again():
    source = dict(reader="generated", options=dict(count=30, kinds=["tabular"]))
    parts = dict(
        encoders=dict(tabular=dict(type="TabularEncoder", num_features="{num_features}", width=8, kind="mlp")),
        fusion=None,
        heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}")),
    )
    first = multimodal_model_of(source, **parts)
    again = model_for(DataDescription.from_dict(first.about, "here"), parts)
    again.load_state_dict(first.state_dict())
    assert again.about == first.about


@MODELS.register_module()
class DrawingEncoder(ConvEncoder):
    """One that draws random numbers whenever it reads."""

    def forward(self, values, mask=None):
        return super().forward(values + 0 * torch.rand(()), mask)


def test_trying_the_encoders_leaves_the_generator_of_the_training_alone():
    source = dict(reader="generated", options=dict(count=40, kinds=["image"]), image_size=[16, 16])
    parts = dict(
        encoders=dict(image=dict(type="DrawingEncoder", width=8, strides=(2,))),
        fusion=None,
        heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}")),
    )
    torch.manual_seed(0)
    model_for(load_multimodal_data(**source).description, parts)
    expected = torch.get_rng_state()
    torch.manual_seed(0)
    model = model_of_data(source, parts)
    assert torch.equal(torch.get_rng_state(), expected) and model.training
