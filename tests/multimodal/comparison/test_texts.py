"""Answers and captions of a training as files."""

import json

import pytest

from cellseg.multimodal.comparison.predictions import Row, SplitPredictions
from cellseg.multimodal.comparison.texts import write_texts
from cellseg.multimodal.data import DataDescription, WordPieceTokenizer

WORDS = WordPieceTokenizer.train(["two red cells"], 100)
ABOUT = DataDescription(
    tasks=("vqa", "captioning"), modalities={}, answers=("yes", "no"), tokenizer=WORDS.to_json(), max_length=12
)


def asked(*names):
    return [Row(name, "g", {"answer": index % 2}, ["yes"]) for index, name in enumerate(names)]


def shown(*names, prompt=""):
    return [Row(name, "g", {"tokens": WORDS.encode("two red cells", 12)}, ["a cell"], prompt) for name in names]


def load(path):
    return json.loads(path.read_text())


def test_both_files(tmp_path):
    # Of the training split there is a sample for each caption of an image.
    rows = {"vqa": asked("7", "12"), "captioning": shown("3#captioning-0", "3#captioning-1", "0#captioning-0")}
    written = write_texts(tmp_path, SplitPredictions(ABOUT, rows), "val")
    assert [path.name for path in written] == ["answers_val.json", "captions_val.json"]
    assert load(written[0]) == [{"question_id": 7, "answer": "yes"}, {"question_id": 12, "answer": "no"}]
    assert load(written[1]) == [{"image_id": image, "caption": "two red cells"} for image in (3, 0)]


def test_replies_name_their_prompts(tmp_path):
    rows = shown("3#prompt-0#captioning-0", "3#prompt-1#captioning-0", prompt="how many?") + shown("4#captioning-0")
    (path,) = write_texts(tmp_path, SplitPredictions(ABOUT, {"captioning": rows}), "val")
    replies = [{"image_id": 3, "prompt": "how many?", "caption": "two red cells"}] * 2
    assert load(path) == [*replies, {"image_id": 4, "caption": "two red cells"}]


@pytest.mark.parametrize("name", ["x-3", "07", "-1", "1.5", "", "\u0663"])
def test_other_ids_than_whole_numbers_are_not_written(tmp_path, name):
    rows = {"vqa": asked("7", name), "captioning": shown("a.png#captioning-0")}
    assert write_texts(tmp_path, SplitPredictions(ABOUT, rows), "test") == []
    assert list(tmp_path.iterdir()) == []


def test_other_tasks_write_nothing(tmp_path):
    rows = {"classification": [Row("1", "g", {"label": 0}, 0)]}
    assert write_texts(tmp_path, SplitPredictions(ABOUT, rows), "test") == []
