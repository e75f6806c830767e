"""Accuracy of answers and of what needs no image."""

import json

import pytest

from cellseg.errors import InputError
from cellseg.multimodal.derive.answer_scores import Asked, read_answers, read_questions, score_answers
from cellseg.multimodal.derive.tables import answer_table

ROWS = [
    # number, split, kind, question, answer
    (1, "train", "color", "which color?", "red"),
    (2, "train", "color", "which color?", "red"),
    (3, "train", "color", "which color?", "blue"),
    (4, "train", "color", "what hue?", "blue"),
    (5, "train", "many", "how many?", "two"),
    (6, "train", "many", "how many?", "one"),
    (7, "val", "color", "which color?", "red"),
    (8, "val", "color", "what hue?", "red"),
    (9, "val", "color", "never asked?", "blue"),
    (10, "val", "many", "how many?", "one"),
    (11, "val", "new", "which shape?", "blue"),
]
QUESTIONS = [Asked(*row) for row in ROWS]


def test_baselines_by_hand():
    scores = score_answers(QUESTIONS)
    # blue and red are equally frequent in training, as are one and two: the alphabet decides.
    assert scores["val"]["all"] == {"questions": 5, "majority": 0.4, "question_only": 0.8, "answers": None}
    assert scores["val"]["color"] == {"questions": 3, "majority": 0.3333, "question_only": 0.6667, "answers": None}
    assert scores["val"]["many"]["question_only"] == 1.0
    assert scores["val"]["new"] == {"questions": 1, "majority": 1.0, "question_only": 1.0, "answers": None}
    assert scores["train"]["all"]["question_only"] == pytest.approx(4 / 6, abs=1e-4)
    assert list(scores) == ["train", "val"] and list(scores["val"]) == ["all", "color", "many", "new"]


def test_answers_of_a_model():
    scores = score_answers(QUESTIONS, {7: "red", 8: "red", 9: "red", 10: "one"})
    assert scores["val"]["color"]["answers"] == 0.6667
    assert scores["val"]["new"]["answers"] == 0.0  # not answered
    assert scores["train"]["all"]["answers"] is None  # this split was not answered
    assert "  color" in answer_table(scores) and "0.667" in answer_table(scores)


def test_answers_of_another_spelling():
    asked = [Asked(1, "train", "", "which type?", "a round"), Asked(2, "train", "", "how confluent?", "none")]
    assert score_answers(asked, {1: "round", 2: "0"})["train"]["all"]["answers"] == 1.0
    assert score_answers(asked, {1: "long", 2: ""})["train"]["all"]["answers"] == 0.0


def test_no_training_questions():
    with pytest.raises(InputError, match="no questions of the split train, which the baselines learn from"):
        score_answers([question for question in QUESTIONS if question.split == "val"])


@pytest.fixture
def write(tmp_path):
    def dump(value, name="vqa.json"):
        path = tmp_path / name
        path.write_text(json.dumps(value))
        return path

    return dump


IMAGES = [{"id": 4, "split": "train"}, {"id": 5, "split": "val"}]
ENTRY = {"id": 1, "image_id": 5, "question": "How  Many? ", "answer": "Two", "question_type": "count"}


def test_reading(write):
    assert read_questions(write({"images": IMAGES, "annotations": [ENTRY]})) == [
        Asked(1, "val", "count", "how many?", "two", image_id=5)
    ]
    valued = {**ENTRY, "question_type": "has_type", "question_value": "big one"}
    assert read_questions(write({"images": IMAGES, "annotations": [valued]}))[0].value == "big one"
    path = write([{"question_id": 1, "answer": " TWO"}], "answers.json")
    assert read_answers(path, [Asked(1, "val", "", "", "")]) == {1: "two"}


@pytest.mark.parametrize(
    "content, message",
    [
        ([], "not a single VQA file"),
        ({"images": IMAGES}, "not a single VQA file"),
        ({"images": [{"split": "val"}], "annotations": []}, r"images\[0\] has no whole number as id"),
        ({"images": [{"id": 1}], "annotations": []}, r"images\[0\] has no split; baselines are learnt on train"),
        ({"images": IMAGES, "annotations": [3]}, r"annotations\[0\]: expected id, image_id, question and answer"),
        ({"images": IMAGES, "annotations": [{**ENTRY, "answer": " "}]}, "expected id, image_id, question and answer"),
        ({"images": IMAGES, "annotations": [{**ENTRY, "image_id": 9}]}, "image_id 9 is not among the images"),
        ({"images": IMAGES, "annotations": [{**ENTRY, "image_id": [5]}]}, "is not among the images"),
        ({"images": IMAGES, "annotations": [ENTRY, ENTRY]}, r"annotations\[1\]: id 1 is used twice"),
    ],
)
def test_questions_that_cannot_be_used(write, content, message):
    with pytest.raises(InputError, match=message):
        read_questions(write(content))


@pytest.mark.parametrize(
    "content, message",
    [
        ({}, "expected a list of entries with question_id and answer"),
        ([{"question_id": 1}], "entry 0: expected question_id and answer"),
        ([{"question_id": 2, "answer": "x"}], "entry 0: no question 2 in the file of the questions"),
        ([{"question_id": 1, "answer": "x"}] * 2, "entry 1: a second answer to question 1"),
    ],
)
def test_answers_that_cannot_be_used(write, content, message):
    with pytest.raises(InputError, match=message):
        read_answers(write(content, "answers.json"), [Asked(1, "val", "", "", "")])
