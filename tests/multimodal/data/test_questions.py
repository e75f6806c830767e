"""Questions about pictures in two forms, and what is wrong with them."""

import copy

import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.data.questions import read_vqa

SINGLE = {
    "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png", "split": "val"}],
    "annotations": [
        {"id": 30, "image_id": 1, "question": "what is it?", "answer": "a cat"},
        {"id": 31, "image_id": 2, "question": "how many ?", "answers": ["2", "two", "3"]},
    ],
}
QUESTIONS = {
    "data_subtype": "val2014",
    "questions": [
        {"question_id": 421, "image_id": 42, "question": "Is it red?"},
        {"question_id": 422, "image_id": 42, "question": "How many?"},
    ],
}
ANNOTATIONS = {
    "annotations": [
        {"question_id": 422, "multiple_choice_answer": "2", "answers": [{"answer": "2"}, {"answer": ""}]},
        {"question_id": 421, "answers": [{"answer": "yes"}, {"answer": "no"}]},
    ]
}


def rows(records):
    return [
        (record.id, record.inputs["image"].name, record.inputs["text"], record.targets["vqa"], record.split)
        for record in records.records
    ]


def test_the_single_file(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png"])
    path = write_json("vqa.json", SINGLE)
    read = read_vqa(str(tmp_path))
    assert rows(read) == [
        ("30", "a.png", "what is it?", ("a cat",), None),
        ("31", "b.png", "how many ?", ("2", "two", "3"), "val"),
    ]
    assert read.kinds == {"image": "image", "text": "text"} and read.group_by == ("image",)
    assert read.records[1].where == f"{path}, annotations[1]"


def test_kinds_of_questions_are_read_where_there_are_any(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png", "COCO_val2014_000000000042.jpg"])
    single, answers = copy.deepcopy((SINGLE, ANNOTATIONS))
    single["annotations"][1]["question_type"] = " count "
    single["annotations"].append({**SINGLE["annotations"][0], "id": 32, "question_type": 7})
    write_json("vqa.json", single)
    assert [record.question_type for record in read_vqa(str(tmp_path)).records] == ["", "count", ""]
    answers["annotations"][0]["question_type"] = "how many"
    write_json("q.json", QUESTIONS)
    write_json("a.json", answers)
    read = read_vqa(str(tmp_path), annotations="a.json", questions="q.json")
    assert {record.id: record.question_type for record in read.records} == {"421": "", "422": "how many"}


def test_the_two_files_of_vqa_v2(tmp_path, write_images, write_json):
    write_images(["COCO_val2014_000000000042.jpg"], "val2014")
    write_json("q.json", QUESTIONS)
    write_json("a.json", ANNOTATIONS)
    read = read_vqa(str(tmp_path), annotations="a.json", questions="q.json", images="val2014")
    name = "COCO_val2014_000000000042.jpg"
    # An annotator who left the field empty is none.
    assert rows(read) == [("421", name, "Is it red?", ("yes", "no"), None), ("422", name, "How many?", ("2",), None)]


def test_two_files_for_each_split_and_other_names(tmp_path, write_images, write_json):
    write_images(["42.png"], "one")
    write_images(["42.png"], "two")
    for split, number in (("train", 0), ("val", 1000)):
        shifted = copy.deepcopy((QUESTIONS, ANNOTATIONS))
        for entry in (*shifted[0]["questions"], *shifted[1]["annotations"]):
            entry["question_id"] += number
        write_json(f"q_{split}.json", shifted[0])
        write_json(f"a_{split}.json", shifted[1])
    read = read_vqa(
        str(tmp_path),
        annotations={"train": "a_train.json", "val": "a_val.json"},
        questions={"train": "q_train.json", "val": "q_val.json"},
        images={"train": "one", "val": "two"},
        image_name="{image_id}.png",
    )
    found = [(record.id, record.split, record.inputs["image"].parent.name) for record in read.records]
    assert found == [
        ("421", "train", "one"),
        ("422", "train", "one"),
        ("1421", "val", "two"),
        ("1422", "val", "two"),
    ]


@pytest.mark.parametrize(
    ("key", "index", "entry", "message"),
    [
        (
            "annotations",
            0,
            {"image_id": 3},
            "annotations[0]: question without image: image_id 3 is not among the images",
        ),
        ("annotations", 0, {"image_id": None}, "annotations[0]: has no 'image_id'"),
        ("annotations", 0, {"question": " "}, "annotations[0]: question is empty"),
        ("annotations", 0, {"answer": ""}, "annotations[0]: answer is empty"),
        ("annotations", 0, {"answer": None}, "annotations[0]: has no 'answer'"),
        ("annotations", 0, {"answer": True}, "annotations[0]: answer: expected a text, found True"),
        ("annotations", 1, {"answers": []}, "annotations[1]: answers: expected a list, found []"),
        ("annotations", 1, {"answers": "yes"}, "annotations[1]: answers: expected a list, found 'yes'"),
        ("annotations", 1, {"answers": ["", " "]}, "annotations[1]: answer is empty"),
        ("annotations", 1, {"answers": ["2", 2]}, "annotations[1]: answer: expected a text, found 2"),
        ("annotations", 1, {"id": 30}, "annotations[1]: id '30' stands in {path}, annotations[0] already"),
        ("images", 0, {"file_name": "../a.png"}, "images[0]: file name '../a.png' leads out of "),
        ("images", 1, {"id": 1}, "images[1]: id '1' stands in {path}, images[0] already"),
    ],
)
def test_bad_single_files(tmp_path, write_images, write_json, key, index, entry, message):
    write_images(["a.png", "b.png"])
    content = copy.deepcopy(SINGLE)
    content[key][index].update(entry)
    path = write_json("vqa.json", content)
    with pytest.raises(InputError) as error:
        read_vqa(str(tmp_path))
    assert str(error.value).startswith(f"{path}, {message.format(path=path)}")


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"question_id": 9}, {}, "{path}, questions[0]: question 9 has no answer in {answers}"),
        ({"image_id": "42"}, {}, "{path}, questions[0]: image_id: expected a whole number, found '42'"),
        ({"image_id": 43}, {}, "{path}, questions[0]: {folder}/COCO_val2014_000000000043.jpg: no such file"),
        ({"question": ""}, {}, "{path}, questions[0]: question is empty"),
        ({}, {"image_name": "x.jpg"}, "options.image_name: expected a name made of {{image_id}} and {{data_subtype}}"),
        ({}, {"image_name": "{image_id.__class__}"}, "options.image_name: expected a name made of "),
        ({}, {"image_name": "{image_id"}, "options.image_name: expected a name made of "),
        ({}, {"image_name": "{0}{image_id}"}, "options.image_name: expected a name made of "),
        ({}, {"image_name": "../{image_id}.jpg"}, "{path}, questions[0]: file name '../42.jpg' leads out of "),
        ({}, {"questions": "none.json"}, "{root}/none.json: no such file; name it with options.questions"),
    ],
)
def test_bad_pairs_of_files(tmp_path, write_images, write_json, changes, options, message):
    folder = write_images(["COCO_val2014_000000000042.jpg"])
    content = copy.deepcopy(QUESTIONS)
    content["questions"][0].update(changes)
    path, answers = write_json("q.json", content), write_json("a.json", ANNOTATIONS)
    with pytest.raises(InputError) as error:
        read_vqa(str(tmp_path), annotations="a.json", **{"questions": "q.json", **options})
    expected = message.format(path=path, answers=answers, folder=folder, root=tmp_path)
    assert str(error.value).startswith(expected)


def test_answers_about_another_picture(tmp_path, write_images, write_json):
    write_images(["COCO_val2014_000000000042.jpg", "COCO_val2014_000000000043.jpg"])
    content = copy.deepcopy(QUESTIONS)
    content["questions"][0]["image_id"] = 43
    given = copy.deepcopy(ANNOTATIONS)
    for entry in given["annotations"]:
        entry["image_id"] = 42
    path, answers = write_json("q.json", content), write_json("a.json", given)
    with pytest.raises(InputError) as error:
        read_vqa(str(tmp_path), annotations="a.json", questions="q.json")
    assert str(error.value) == f"{path}, questions[0]: asks about image 43, and {answers} answers about 42"


def test_no_file_at_all(tmp_path):
    with pytest.raises(MissingFileError, match="vqa.json: no such file; name it with options.annotations"):
        read_vqa(str(tmp_path))
