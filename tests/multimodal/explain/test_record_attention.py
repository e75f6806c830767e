"""Attention of one record, from files to a picture."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

import cellseg.multimodal.encoders
import cellseg.multimodal.fusion
import cellseg.multimodal.heads.classification
import cellseg.multimodal.model  # noqa: F401
from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.data import DataDescription, ModalityDescription, WordPieceTokenizer
from cellseg.multimodal.explain import attention_between, draw_maps, draw_record_attention, maps_over_picture
from cellseg.multimodal.predict import Predictor

WORDS = WordPieceTokenizer.train(["are there red cells", "large"], 100)


def make_predictor(fusion, size=(16, 24), texts=("text",)):
    torch.manual_seed(0)
    text = dict(type="TextTransformerEncoder", vocabulary_size=WORDS.size, width=16, layers=1, heads=2, max_length=6)
    model = MODELS.build(
        dict(
            type="MultimodalModel",
            encoders=dict(image=dict(type="ConvEncoder", width=16, strides=(2, 4)), **{name: text for name in texts}),
            fusion=dict(width=16, **fusion),
            heads=dict(classification=dict(type="FusedClassifier", num_classes=2)),
        )
    )
    modalities = {"image": ModalityDescription("image", (3, *size), (0.0,) * 3, (255.0,) * 3)}
    modalities |= {name: ModalityDescription("text") for name in texts}
    about = DataDescription(
        ("classification",), modalities, class_names=("no", "yes"), tokenizer=WORDS.to_json(), max_length=6
    )
    return Predictor(model.eval(), about)


ATTENDS = dict(type="CrossAttentionFusion", layers=2, heads=2)


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cells.png")
    return tmp_path / "cells.png"


@pytest.mark.parametrize("layer", [0, -1])
def test_it_draws_the_words_of_the_record_alone(picture, tmp_path, layer):
    predictor = make_predictor(ATTENDS)
    record = {"id": "a", "image": picture, "text": "are there red cells"}
    answer = draw_record_attention(predictor, record, tmp_path / "drawn.png", layer=layer)
    assert answer == predictor.predict([record])[0] and answer["id"] == "a"
    # The same, step by step: 6 tokens are the most, of which begin and end are no words.
    with torch.no_grad():
        fused = predictor.model.represent(predictor.inputs([record]))
    weights = attention_between(fused.attention, "text", "image", layer)
    assert weights.shape == (1, 2, 6, 6)
    maps = maps_over_picture(weights, (2, 3), (40, 60))[0, 1:5]
    draw_maps(np.asarray(Image.open(picture)), maps, ["are", "there", "red", "cells"], tmp_path / "expected.png")
    assert (tmp_path / "drawn.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_later_pieces_of_a_word_are_marked():
    words = WordPieceTokenizer(["are", "red", "##ish", "cells"])
    assert words.tokens(words.encode("are reddish redish cells", 12)) == [
        "[BEGIN]",
        "are",
        "[UNK]",
        "red",
        "##ish",
        "cells",
        "[END]",
    ]


@pytest.mark.parametrize(
    ("fusion", "texts", "shown", "options", "message"),
    [
        (dict(type="ConcatFusion"), ("text",), "text", {}, "there are none .this fusion does not attend"),
        (ATTENDS, ("text",), "text", dict(layer=2), "no attention text<-image in layer 2; there are "),
        (ATTENDS, ("text",), "", {}, "record 1: has no text to draw attention of; it has image"),
        (ATTENDS, ("text",), "text", dict(image="photo"), "record 1: has no image 'photo' to draw attention of"),
    ],
)
def test_what_cannot_be_drawn(picture, tmp_path, fusion, texts, shown, options, message):
    record = {"image": picture} | ({shown: "red cells"} if shown else {})
    with pytest.raises(InputError, match=message):
        draw_record_attention(make_predictor(fusion, texts=texts), record, tmp_path / "out.png", **options)
    assert not (tmp_path / "out.png").exists()


def test_of_several_texts_one_is_named(picture, tmp_path):
    predictor = make_predictor(dict(type="CrossAttentionFusion", layers=1, heads=2), texts=("name", "keywords"))
    record = {"image": picture, "name": "red cells", "keywords": "large"}
    with pytest.raises(InputError, match="record 1: has several kinds of text to draw attention of"):
        draw_record_attention(predictor, record, tmp_path / "out.png")
    draw_record_attention(predictor, record, tmp_path / "out.png", text="keywords")
    with torch.no_grad():
        fused = predictor.model.represent(predictor.inputs([record]))
    maps = maps_over_picture(attention_between(fused.attention, "keywords", "image"), (2, 3), (40, 60))[0, 1:2]
    draw_maps(np.asarray(Image.open(picture)), maps, ["large"], tmp_path / "expected.png")
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_a_picture_that_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match="record 1: .*none.png: no such file"):
        draw_record_attention(make_predictor(ATTENDS), {"image": "none.png", "text": "red"}, tmp_path / "out.png")
