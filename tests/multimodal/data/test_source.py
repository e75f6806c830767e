"""The source of a config: what it may say, and what is refused by name."""

import pytest

from cellseg.errors import InputError
from cellseg.multimodal.data.source import READERS, Source, parse_source


def test_lists_of_configs_become_tuples_and_the_key_knows_every_entry():
    source = parse_source(dict(reader="vqa", data_root="d", group_by=["sentence"], image_size=[32, 128]))
    assert source == Source("vqa", "d", group_by=("sentence",), image_size=(32, 128))
    assert parse_source(dict(reader="vqa", data_root="d")).key() != source.key()
    assert (
        parse_source(dict(reader="vqa", data_root="d", group_by=("sentence",), image_size=(32, 128))).key()
        == source.key()
    )


def test_every_reader_of_the_list_can_be_asked_for():
    assert set(READERS) == {"captions", "karpathy", "flickr30k", "vqa", "table", "features", "generated"}
    for reader in READERS:
        assert parse_source(dict(reader=reader)).reader == reader


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"reader": "xml"},
            "source.reader: expected one of captions, karpathy, flickr30k, vqa, table, features, generated",
        ),
        ({"reader": None}, "source.reader: expected one of "),
        ({"split": "train"}, "source.split: unknown; expected are reader, data_root, options, "),
        ({"tasks": ["singing"]}, "source.tasks: 'singing' is none of classification, "),
        ({"tasks": "vqa"}, "source.tasks: expected a list of different texts or None, found 'vqa'"),
        ({"tasks": []}, "source.tasks: expected a list of different texts or None, found ()"),
        ({"classes": ["a", "a"]}, "source.classes: expected a list of different texts or None"),
        ({"group_by": [3]}, "source.group_by: expected a list of different texts or None"),
        ({"split_by": "id"}, "source.split_by: expected 'file', 'group' or None, found 'id'"),
        ({"data_root": 3}, "source.data_root: expected the path of a folder or file, found 3"),
        ({"prompt": None}, "source.prompt: expected a text, found None"),
        ({"seed": -1}, "source.seed: expected a whole number of at least 0, found -1"),
        ({"seed": True}, "source.seed: expected a whole number of at least 0, found True"),
        ({"max_length": 2}, "source.max_length: expected a whole number of at least 3, found 2"),
        ({"vocabulary": 5}, "source.vocabulary: expected a whole number of at least 6, found 5"),
        ({"most_answers": 1}, "source.most_answers: expected a whole number of at least 2, found 1"),
        ({"negatives": 0.5}, "source.negatives: expected a whole number of at least 0, found 0.5"),
        ({"image_size": 64}, "source.image_size: expected height and width in pixels, found 64"),
        ({"image_size": [64, 0]}, "source.image_size: expected height and width in pixels, found (64, 0)"),
        ({"image_std": [1, 0, 1]}, "source.image_std: expected numbers above 0, found (1, 0, 1)"),
        ({"image_mean": [1, 2]}, "source.image_mean: expected three numbers of at least 0, found (1, 2)"),
        ({"fractions": [0.8, 0.3, 0.1]}, "source.fractions: expected numbers that sum to 1, found (0.8, 0.3, 0.1)"),
        ({"fractions": [1.2, -0.1, -0.1]}, "source.fractions: expected three numbers of at least 0"),
        ({"options": ["a"]}, "source.options: expected a dict, found ('a',)"),
        ({"options": {"file": "a"}}, "source.options.file: unknown; the reader 'vqa' knows annotations, questions, "),
        ({"reader": "generated", "data_root": "d"}, "source.data_root: generated data has none; set it to None"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(InputError) as error:
        parse_source({"reader": "vqa", **values})
    assert str(error.value).startswith(message)


def test_options_are_plain_values():
    with pytest.raises(InputError, match="source.options: expected plain values"):
        parse_source(dict(reader="vqa", options={"images": {1, 2}})).key()
