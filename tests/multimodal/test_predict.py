"""A trained model as it is used: without the data, in words, and with modalities missing."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal import MultimodalModel
from cellseg.multimodal.data import (
    DataDescription,
    ModalityDescription,
    MultimodalSamples,
    Record,
    WordPieceTokenizer,
    collate_samples,
)
from cellseg.multimodal.predict import Predictor, load_trained
from cellseg.multimodal.training import multimodal_model_of
from cellseg.openmmlab import load_checkpoint_file
from cellseg.training.config import read_config
from cellseg.training.door import train

CONFIGS = runpy.run_path(str(Path(__file__).with_name("training_configs.py")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Work folder of a training that learned the parity of two rows of numbers."""
    folder = tmp_path_factory.mktemp("predict")
    path = CONFIGS["write_training_config"](folder, CONFIGS["TABLES"])
    train(path, folder / "work")
    return folder / "work"


@pytest.fixture(scope="module")
def predictor(trained):
    return load_trained(trained, device="cpu")


def test_it_answers_as_the_model_does_on_the_samples_of_its_data(predictor, trained):
    config = read_config(trained / "config.py")
    model = MODELS.build(config.model)
    model.load_state_dict(load_checkpoint_file(trained / "best.pth")["state_dict"])
    samples = MultimodalSamples(config.val_dataloader.dataset.source, "test")
    with torch.no_grad():
        expected = model.eval().val_step(collate_samples([samples[index] for index in range(len(samples))]))
    answers = predictor.predict(samples.records, batch_size=7)
    assert [answer["id"] for answer in answers] == [record.id for record in samples.records]
    for answer, wanted in zip(answers, expected, strict=False):
        found = answer["classification"]
        assert list(found["probabilities"]) == ["class 0", "class 1"]
        assert list(found["probabilities"].values()) == pytest.approx(
            wanted["classification"]["probabilities"], abs=1e-6
        )
        assert found["label"] == f"class {wanted['classification']['label']}"
    right = [
        a["classification"]["label"] == r.targets["classification"]
        for a, r in zip(answers, samples.records, strict=True)
    ]
    assert sum(right) >= 0.9 * len(right)


@pytest.mark.parametrize(("one", "two", "label"), [(1, 1, 0), (1, -1, 1), (-1, 1, 1), (-1, -1, 0)])
def test_numbers_may_be_lists_or_named(predictor, one, two, label):
    records = [
        {"id": "a", "one": [one, 0, 0], "two": np.array([two, 0.0, 0.0])},
        {"one": {"first": one, "noise 1": 0, "noise 2": 0}, "two": {"first": two, "noise 1": None}},
    ]
    first, second = predictor.predict(records)
    assert first["classification"]["label"] == second["classification"]["label"] == f"class {label}"
    assert (first["id"], second["id"]) == ("a", "1")


def test_a_modality_may_be_left_out(predictor):
    both, alone, none_given = predictor.predict(
        [{"one": [1, 0, 0], "two": [-1, 0, 0]}, {"one": [1, 0, 0]}, {"one": [1, 0, 0], "two": None}]
    )
    alone, none_given, both = (found["classification"]["probabilities"] for found in (alone, none_given, both))
    assert alone == pytest.approx(none_given, abs=1e-6) and alone != pytest.approx(both, abs=1e-6)


def test_the_batch_does_not_matter(predictor):
    records = [{"one": [value, 0, 0], "two": [1, 0, 0]} for value in (-1, 0.5, 1)]
    together = predictor.predict(records)
    for record, answer in zip(records, together, strict=True):
        alone = predictor.predict([record])[0]["classification"]["probabilities"]
        assert alone == pytest.approx(answer["classification"]["probabilities"], abs=1e-6)
    assert predictor.predict([]) == []


def test_other_weights_of_the_training_can_be_named(trained, predictor):
    last = load_trained(trained, trained / "iter_60.pth", device="cpu")
    records = [{"one": [1, 0, 0], "two": [1, 0, 0]}]
    assert (
        last.predict(records)[0]["classification"]["label"] == predictor.predict(records)[0]["classification"]["label"]
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"three": [1, 2, 3]}, "record 1: 'three' is no modality of the model; it has one, two"),
        ({"id": "x"}, "record 1: has no input; expected one or two"),
        ({"one": [1, 2]}, "record 1: a modality of kind tabular has the form [2], rows before it have [3]"),
        ({"one": ["a", 1, 2]}, "record 1: one: expected numbers, found ['a', 1, 2]"),
        ({"one": {"age": 3}}, "record 1: one: 'age' is none of first, noise 1, noise 2"),
        (3, "record 1: expected a Record or inputs by modality, found int"),
        (Record("r", {"one": np.ones(2)}), "record r: a modality of kind tabular has the form [2]"),
    ],
)
def test_records_that_cannot_be_used(predictor, record, message):
    with pytest.raises(InputError) as error:
        predictor.predict([record])
    assert str(error.value).startswith(message)


def test_devices_that_are_not_there(trained):
    with pytest.raises(InputError, match="--device gpu: expected cpu, cuda or cuda:N"):
        load_trained(trained, device="gpu")
    with pytest.raises(InputError, match="--device cuda:99: there is no such CUDA device; use cpu"):
        load_trained(trained, device="cuda:99")


def test_folders_that_hold_no_training(tmp_path, trained):
    with pytest.raises(MissingFileError, match="no such work folder; give the one that tools/train.py wrote"):
        load_trained(tmp_path / "none")
    with pytest.raises(MissingFileError, match="config.py: no such config file"):
        load_trained(tmp_path)
    (tmp_path / "config.py").write_text("model = dict(type='FasterRCNN')\n")
    with pytest.raises(MissingFileError, match="best.pth: no such checkpoint"):
        load_trained(tmp_path)
    with pytest.raises(InputError, match="config.py: its model is no multimodal_model_of"):
        load_trained(tmp_path, trained / "best.pth")
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="other.pth: not the checkpoint of a multimodal model"):
        load_trained(trained, tmp_path / "other.pth")


def test_where_the_first_weights_came_from_need_not_exist_any_more(tmp_path):
    pytest.importorskip("transformers")
    source = dict(reader="generated", options=dict(kinds=["text"], count=20))
    sizes = dict(hidden_size=8, embedding_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8)
    text = dict(type="AlbertEncoder", vocab_size="{vocabulary_size}", pretrained=None, **sizes)
    head = dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}"))
    model = multimodal_model_of(source, encoders=dict(text=text), fusion=None, heads=head)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "best.pth")
    parts = dict(type="multimodal_model_of", source=source, fusion=None, heads=head)
    parts["encoders"] = dict(text={**text, "pretrained": str(tmp_path / "gone")})
    (tmp_path / "config.py").write_text(f"model = {parts!r}\n")
    answer = load_trained(tmp_path, device="cpu").predict([{"text": "the first is dark"}])[0]
    assert answer["classification"]["label"] in ("class 0", "class 1")


def test_weights_of_another_model_do_not_fit(tmp_path, trained):
    text = (trained / "config.py").read_text().replace("'width': 16", "'width': 24")
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(InputError, match="best.pth: does not fit the model of .*config.py: "):
        load_trained(tmp_path, trained / "best.pth")


def test_every_task_answers_in_words(tmp_path):
    words = WordPieceTokenizer.train(["describe the picture", "a red dog"], 60)
    description = DataDescription(
        tasks=("multilabel", "regression", "vqa", "captioning", "matching", "domain"),
        modalities={
            "image": ModalityDescription("image", (3, 8, 8), (0.0,) * 3, (255.0,) * 3),
            "text": ModalityDescription("text"),
        },
        label_names=("cough", "fever"),
        target_names=("height",),
        domains=("x", "y", "z"),
        answers=("yes", "no"),
        tokenizer=words.to_json(),
        max_length=8,
        prompt="describe the picture",
    )
    captioning = dict(type="CaptionTransformer", vocabulary_size=words.size, pad=0, begin=2, end=3, max_length=5)
    model = MultimodalModel(
        encoders=dict(
            image=dict(type="ConvEncoder", width=8, strides=(2, 2)),
            text=dict(type="LSTMEncoder", vocabulary_size=words.size, width=8),
        ),
        fusion=dict(type="ConcatFusion", width=8),
        heads=dict(
            multilabel=dict(type="FusedClassifier", num_classes=2, multi_label=True),
            regression=dict(type="FusedRegressor", outputs=1),
            vqa=dict(type="AnswerClassifier", num_answers=2),
            captioning=dict(**captioning, width=8, layers=1, heads=2),
            matching=dict(type="PairMatcher", embedding=4),
            domain=dict(type="FusedClassifier", num_classes=3),
        ),
    ).eval()
    Image.new("RGB", (20, 10), (200, 0, 0)).save(tmp_path / "a.png")
    asked, prompted = Predictor(model, description).predict(
        [{"image": tmp_path / "a.png", "text": "a dog"}, {"image": str(tmp_path / "a.png")}]
    )
    named = {name for name, value in asked["multilabel"]["probabilities"].items() if value >= 0.5}
    assert set(asked["multilabel"]["labels"]) == named
    assert set(asked["regression"]) == {"height"} and isinstance(asked["regression"]["height"], float)
    assert asked["vqa"]["answer"] in ("yes", "no") and 0 < asked["vqa"]["probability"] < 1
    assert isinstance(asked["captioning"]["text"], str) and asked["captioning"]["score"] <= 0
    assert set(asked["matching"]["embeddings"]) == {"image", "text"} and asked["domain"]["label"] in "xyz"
    # Without a text, the prompt asks for a caption.
    same = Predictor(model, description).predict([{"image": tmp_path / "a.png", "text": "describe the picture"}])[0]
    assert prompted["captioning"]["text"] == same["captioning"]["text"]
    assert prompted["regression"] == pytest.approx(same["regression"], abs=1e-5)
    assert prompted["regression"] != pytest.approx(asked["regression"], abs=1e-5)
    for record, message in (
        ({"image": str(tmp_path / "b.png")}, f"record 1: {tmp_path / 'b.png'}: no such file"),
        ({"text": " "}, "record 1: text: expected a text, found ' '"),
        ({"text": 3}, "record 1: text: expected a text, found 3"),
    ):
        with pytest.raises(InputError) as error:
            Predictor(model, description).predict([record])
        assert str(error.value) == message
