"""Tables with a row a sample, and what is wrong with them."""

import json

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.data import load_multimodal_data
from cellseg.multimodal.data.table import read_table
from cellseg.multimodal.data.tokenizer import SEPARATOR, TEXTS_APART
from cellseg.multimodal.encoders import AlbertEncoder

HEADER = "id,file_name,text,label"


def rows(records):
    return [
        (
            record.id,
            {name: getattr(value, "name", value) for name, value in record.inputs.items()},
            record.targets,
            record.split,
            record.group,
        )
        for record in records.records
    ]


def test_usual_columns_are_known(tmp_path, write_images, write_lines):
    write_images(["a.png", "b.png"])
    path = write_lines("labels.csv", HEADER, "x,a.png,good day,positive", "y,b.png,,negative", "", "z,,bad day,")
    read = read_table(str(tmp_path))
    assert rows(read) == [
        ("x", {"image": "a.png", "text": "good day"}, {"classification": "positive"}, None, None),
        ("y", {"image": "b.png"}, {"classification": "negative"}, None, None),
        ("z", {"text": "bad day"}, {}, None, None),
    ]
    assert read.kinds == {"image": "image", "text": "text"} and read.group_by == ("image",)
    assert [record.where for record in read.records] == [f"{path}, line {line}" for line in (2, 3, 5)]


def test_jsonl_with_splits_and_groups(tmp_path, write_images, write_lines):
    write_images(["a.png"])
    lines = [
        {"image": "a.png", "text": "one", "label": 1, "split": "test", "plate": "B2"},
        {"text": "two", "label": 0, "split": "train", "plate": "B3"},
    ]
    write_lines("data.jsonl", json.dumps(lines[0]), "", json.dumps(lines[1]))
    read = read_table(str(tmp_path), columns={"group": "plate"})
    assert rows(read) == [
        ("0", {"image": "a.png", "text": "one"}, {"classification": "1"}, "test", "B2"),
        ("1", {"text": "two"}, {"classification": "0"}, "train", "B3"),
    ]
    assert read.group_by == ("group",) and read.records[1].where.endswith("data.jsonl, line 3")


def test_numbers_names_and_arrays(tmp_path, write_images, write_lines):
    write_images(["a.png"])
    np.save(tmp_path / "images" / "scan.npy", np.zeros((1, 2, 3, 3), np.float32))
    write_lines(
        "t.csv",
        "age,sex,picture,scan,height,weight,cough,fever,device",
        "30,,a.png,scan.npy,1.5,na,1,0,phone",
        "40,NaN,,,,,,1,",
    )
    read = read_table(
        str(tmp_path / "t.csv"),
        inputs={
            "clinical": ["age", "sex"],
            "face": {"kind": "image", "column": "picture"},
            "scan": {"kind": "volume", "column": "scan"},
        },
        targets={"regression": ["height", "weight"], "multilabel": ["cough", "fever"], "domain": "device"},
    )
    assert read.kinds == {"clinical": "tabular", "face": "image", "scan": "volume"}
    assert read.names == {
        "clinical": ("age", "sex"),
        "regression": ("height", "weight"),
        "multilabel": ("cough", "fever"),
    }
    assert read.group_by == ("image",)
    first = read.records[0]
    np.testing.assert_array_equal(first.inputs["clinical"], np.float32([30, np.nan]))
    np.testing.assert_array_equal(first.targets["regression"], np.float32([1.5, np.nan]))
    np.testing.assert_array_equal(first.targets["multilabel"], np.float32([1, 0]))
    assert first.targets["domain"] == "phone" and first.inputs["scan"].name == "scan.npy"


def test_a_row_that_shows_nothing_is_refused(tmp_path, write_lines):
    path = write_lines("labels.csv", "text,label", "good,1", ",0")
    with pytest.raises(InputError) as error:
        read_table(str(tmp_path))
    assert str(error.value) == f"{path}, line 3: has no input; expected text"


def test_pairs_of_image_and_text(tmp_path, write_images, write_lines):
    write_images(["a.png"])
    write_lines("pairs.jsonl", '{"image": "a.png", "text": "x", "label": 1}', '{"text": "y", "label": false}')
    read = read_table(str(tmp_path), "pairs.jsonl", targets={"matching": "label"})
    assert [record.targets for record in read.records] == [{"matching": True}, {"matching": False}]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        ([HEADER, "x,../a.png,t,p"], {}, ", line 2: file name '../a.png' leads out of "),
        ([HEADER, "x,b.png,t,p"], {}, ", line 2: {folder}/b.png: no such file"),
        ([HEADER, "x,a.png,  ,p"], {}, ", line 2: text is empty"),
        ([HEADER, "x,a.png,t"], {}, ", line 2: expected 4 fields as in the header, found 3"),
        ([HEADER, "x,a.png,t,p", "x,a.png,t,p"], {}, ", line 3: id 'x' stands in {path}, line 2 already"),
        ([HEADER, ",a.png,t,p"], {}, ", line 2: id is empty"),
        ([HEADER, "x,,t,p"], {}, ": modality 'image' is missing in all rows; leave it out"),
        ([HEADER], {}, ": holds no records"),
        ([""], {}, ": has no names of columns in its first line"),
        (["id,text,text,label", "x,a,b,c"], {}, ": column 'text' stands in the header twice"),
        (["id,score", "x,1"], {}, ": no column for an input in id, score; name them with options.inputs"),
        ([HEADER, 'x,a.png,"t,p'], {}, ": not a CSV file in UTF-8 (unexpected end of data)"),
        ([HEADER + ",split", "x,a.png,t,p,all"], {}, ", line 2: split 'all' is none of "),
        (
            [HEADER, "x,a.png,t,p"],
            {"targets": {"classification": "class"}},
            ": has no column 'class' (options.targets.classification); it has id, file_name, text, label",
        ),
        (
            [HEADER, "x,a.png,t,12a"],
            {"targets": {"regression": ["label"]}},
            ", line 2: label: expected a number, found '12a'",
        ),
        (
            [HEADER, "x,a.png,t,1_0"],
            {"targets": {"regression": ["label"]}},
            ", line 2: label: expected a number, found '1_0'",
        ),
        (
            [HEADER, "x,a.png,t,inf"],
            {"targets": {"regression": ["label"]}},
            ", line 2: label: expected a number, found 'inf'",
        ),
        (
            [HEADER, "x,a.png,t,2"],
            {"targets": {"multilabel": ["label"]}},
            ", line 2: label: label 2 outside the classes 0 and 1",
        ),
        (
            [HEADER, "x,a.png,t,yes"],
            {"targets": {"matching": "label"}},
            ", line 2: label: label 'yes' outside the classes 0 and 1",
        ),
    ],
)
def test_bad_tables(tmp_path, write_images, write_lines, lines, options, message):
    folder, path = write_images(["a.png"]), write_lines("labels.csv", *lines)
    with pytest.raises(InputError) as error:
        read_table(str(tmp_path), **options)
    assert str(error.value).startswith(f"{path}{message.format(path=path, folder=folder)}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ", line 2: not JSON (Expecting property name"),
        ("[1]", ", line 2: expected an object, found list"),
        ('{"text": ""}', ", line 2: text is empty"),
        ('{"text": 3}', ", line 2: text: expected a text, found 3"),
        ('{"text": "y", "label": ["a"]}', ", line 2: label: expected a name or number, found ['a']"),
        ('{"text": "y", "label": {"a": 1}}', ", line 2: label: expected a name or number, found {'a': 1}"),
    ],
)
def test_bad_lines_of_jsonl(tmp_path, write_lines, line, message):
    path = write_lines("data.jsonl", '{"text": "x", "label": "a"}', line)
    with pytest.raises(InputError) as error:
        read_table(str(tmp_path))
    assert str(error.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": {"face": "file_name"}}, "options.inputs.face: kind 'face' is none of image, volume, "),
        ({"inputs": {"text": ["a", 3]}}, "has no column 'a' (options.inputs.text)"),
        (
            {"inputs": {"image": {"kind": "image", "column": ["text"]}}, "targets": {"a": 1}},
            "options.targets.a: unknown",
        ),
        ({"inputs": {"text": {"kind": "text", "column": 3}}}, "options.inputs.text: expected a column, found 3"),
        ({"inputs": {"lab": {"kind": "tabular", "column": []}}}, "options.inputs.lab: expected a list of columns"),
        ({"targets": {"regression": 3}}, "options.targets.regression: expected a list of columns, found 3"),
        ({"targets": {"klass": "label"}}, "options.targets.klass: unknown; expected are classification, domain, "),
        ({"columns": {"name": "id"}}, "options.columns.name: unknown; expected are id, split, group"),
    ],
)
def test_bad_options(tmp_path, write_images, write_lines, options, message):
    write_images(["a.png"])
    write_lines("labels.csv", HEADER, "x,a.png,t,p")
    with pytest.raises(InputError) as error:
        read_table(str(tmp_path), **options)
    assert message in str(error.value)


def test_a_table_of_another_form(tmp_path, write_lines):
    path = write_lines("labels.tsv", "a")
    with pytest.raises(InputError) as error:
        read_table(str(path))
    assert str(error.value) == f"{path}: expected a .csv or .jsonl file"


def test_several_columns_can_be_one_text(tmp_path, write_lines):
    rows = ["how many?,look closely,few", ",only a hint,few", "why?,,many", ",,many"]
    write_lines("t.csv", "question,hint,label", *rows)
    words = {"kind": "text", "column": ["question", "hint"]}
    read = read_table(str(tmp_path / "t.csv"), inputs={"words": words, "text": "label"})
    found = [record.inputs.get("words") for record in read.records]
    assert found == [f"how many?{TEXTS_APART}look closely", f"{TEXTS_APART}only a hint", f"why?{TEXTS_APART}", None]
    assert read.names == {} and read.kinds["words"] == "text"
    with pytest.raises(InputError, match="has no column 'clue'"):
        read_table(str(tmp_path / "t.csv"), inputs={"words": {"kind": "text", "column": ["question", "clue"]}})


def test_albert_reads_the_second_text_as_its_second_segment(tmp_path, write_lines):
    rows = [f"how many {word}?,look at {word},{word}" for word in ("cells", "dogs") for _ in range(5)]
    write_lines("t.csv", "question,hint,label", *rows)
    text = {"kind": "text", "column": ["question", "hint"]}
    options = dict(inputs={"text": text}, targets={"classification": "label"})
    data = load_multimodal_data(reader="table", data_root=str(tmp_path / "t.csv"), options=options)
    numbers = data.sample(data.records("train")[0])["inputs"]["text"]["values"][None]
    sizes = dict(hidden_size=8, intermediate_size=8, embedding_size=8, num_hidden_layers=1, num_attention_heads=2)
    encoder = AlbertEncoder(separator=SEPARATOR, vocab_size=200, max_position_embeddings=64, **sizes)
    place = numbers[0].tolist().index(SEPARATOR)
    assert encoder.segments(numbers)[0].tolist() == [0] * (place + 1) + [1] * (numbers.shape[1] - place - 1)
    assert 4 < place < numbers.shape[1] - 3
