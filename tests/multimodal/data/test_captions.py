"""Pictures with captions in four forms, and what is wrong with them."""

import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.data.captions import picture_of, read_captions, read_flickr30k, read_karpathy
from cellseg.multimodal.data.splits import group_records

COCO = {
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
    "annotations": [
        {"image_id": 9, "caption": " a dog "},
        {"image_id": 7, "caption": "a cat"},
        {"image_id": 9, "caption": "an animal"},
    ],
}
FLAT = [{"image": "a.png", "caption": "a cat"}, {"image": "b.png", "caption": "a dog"}]
FLAT += [{"image": "a.png", "caption": "an animal"}]
KARPATHY = {
    "images": [
        {"filename": "a.png", "split": "restval", "cocoid": 5, "sentences": [{"raw": "a cat"}, {"raw": "A pet."}]},
        {"filename": "b.png", "split": "val", "imgid": 3, "sentences": [{"raw": "a dog"}]},
    ]
}


def changed(value, path, new):
    """A copy of a JSON value with one entry replaced, or left out where ``new`` is ``...``."""
    key, *rest = path
    copy = list(value) if isinstance(value, list) else dict(value)
    if new is ... and not rest:
        del copy[key]
    else:
        copy[key] = changed(value[key], rest, new) if rest else new
    return copy


def rows(records):
    return [(record.id, record.inputs["image"].name, record.captions, record.split) for record in records.records]


def test_coco_captions(tmp_path, write_images, write_json):
    folder, path = write_images(["a.png", "b.png"]), write_json("captions.json", COCO)
    read = read_captions(str(tmp_path))
    assert rows(read) == [("7", "a.png", ("a cat",), None), ("9", "b.png", ("a dog", "an animal"), None)]
    assert read.kinds == {"image": "image"} and read.group_by == ("image",)
    assert read.records[1].where == f"{path}, images[1]" and read.records[0].inputs["image"].parent == folder
    assert rows(read_captions(str(path))) == rows(read)


def test_splits_and_groups_that_coco_entries_say(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png"])
    content = changed(COCO, ["images", 0], {"id": 7, "file_name": "a.png", "split": "test", "group": 3})
    write_json("captions.json", content)
    # One of two has a group; what belongs to the other is for the user to say.
    assert read_captions(str(tmp_path)).group_by == ("group",)
    write_json("captions.json", changed(content, ["images", 1], {"id": 9, "file_name": "b.png", "group": "B1"}))
    read = read_captions(str(tmp_path))
    assert [(record.split, record.group) for record in read.records] == [("test", "3"), (None, "B1")]
    assert read.group_by == ("group",)


def test_a_file_for_each_split(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png"], "train_images")
    write_images(["c.png"], "val_images")
    write_json("one.json", COCO)
    write_json("two.json", [{"image": "c.png", "caption": "a bird"}])
    files, folders = {"train": "one.json", "val": "two.json"}, {"train": "train_images", "val": "val_images"}
    read = read_captions(str(tmp_path), files, folders)
    assert [(name, split) for _, name, _, split in rows(read)] == [
        ("a.png", "train"),
        ("b.png", "train"),
        ("c.png", "val"),
    ]


def test_the_flat_list(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png"])
    path = write_json("captions.json", FLAT)
    read = read_captions(str(tmp_path))
    assert rows(read) == [("a.png", "a.png", ("a cat", "an animal"), None), ("b.png", "b.png", ("a dog",), None)]
    assert read.records[1].where == f"{path}, [1]"


def test_karpathys_splits(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png"])
    write_json("dataset.json", KARPATHY)
    assert rows(read_karpathy(str(tmp_path))) == [
        ("5", "a.png", ("a cat", "A pet."), "train"),
        ("3", "b.png", ("a dog",), "val"),
    ]


def test_captions_that_reply_to_prompts(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png"])
    write_json("captions.json", changed(COCO, ["annotations", 2, "prompt"], " how  tame? "))
    read = read_captions(str(tmp_path))
    assert [(record.id, record.prompt, record.captions) for record in read.records] == [
        ("7", "", ("a cat",)),
        ("9", "", ("a dog",)),
        ("9#prompt-0", "how  tame?", ("an animal",)),
    ]
    # What asks is no text of the picture itself.
    assert read.kinds == {"image": "image"} and all(record.inputs.keys() == {"image"} for record in read.records)
    assert [picture_of(record.id) for record in read.records] == ["7", "9", "9"]
    write_json("captions.json", [{**entry, "prompt": f"{index % 2}?"} for index, entry in enumerate(FLAT)])
    read = read_captions(str(tmp_path))
    assert [(record.id, record.prompt, record.captions) for record in read.records] == [
        ("a.png#prompt-0", "0?", ("a cat", "an animal")),
        ("b.png#prompt-0", "1?", ("a dog",)),
    ]
    assert [group_records(read.records, read.group_by)] == [[[0], [1]]]


def test_replies_of_one_picture_stay_together(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png"])
    write_json("captions.json", [{**entry, "prompt": f"{index}?"} for index, entry in enumerate(FLAT)])
    read = read_captions(str(tmp_path))
    assert group_records(read.records, read.group_by) == [[0, 1], [2]]


def test_karpathys_folders(tmp_path, write_images, write_json):
    write_images(["val2014/a.png", "val2014/b.png"])
    content = changed(KARPATHY, ["images", 0, "filepath"], "val2014")
    write_json("dataset_coco.json", changed(content, ["images", 1, "filepath"], "val2014"))
    assert [record.inputs["image"].parent.name for record in read_karpathy(str(tmp_path)).records] == ["val2014"] * 2


def test_flickrs_token_file(tmp_path, write_images, write_lines):
    write_images(["1000.png", "1001.png"], "flickr30k-images")
    lines = ["1000.png#0\tTwo dogs .", "1000.png#1\tSome\tpets", "", "1001.png#0\tA man ."]
    path = write_lines("results_20130124.token", *lines)
    read = read_flickr30k(str(tmp_path))
    assert rows(read) == [
        ("1000.png", "1000.png", ("Two dogs .", "Some\tpets"), None),
        ("1001.png", "1001.png", ("A man .",), None),
    ]
    assert read.records[1].where == f"{path}, line 4"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(COCO, ["annotations", 1, "image_id"], 8), "annotations[1]: caption without image: image_id 8 is not"),
        (changed(COCO, ["annotations", 1, "image_id"], ...), "annotations[1]: has no 'image_id'"),
        (changed(COCO, ["annotations", 2, "caption"], " "), "annotations[2]: caption is empty"),
        (changed(COCO, ["annotations", 2, "prompt"], ""), "annotations[2]: prompt is empty"),
        (changed(COCO, ["annotations", 2, "prompt"], 3), "annotations[2]: prompt: expected a text, found 3"),
        (changed(FLAT, [1, "prompt"], " "), "[1]: prompt is empty"),
        (changed(COCO, ["annotations", 2, "caption"], ...), "annotations[2]: caption: expected a text, found None"),
        (changed(COCO, ["annotations"], ...), "expected a JSON object with the list 'annotations'"),
        (changed(COCO, ["annotations", 0], 3), "annotations[0]: expected an object, found int"),
        (changed(COCO, ["images", 1, "id"], 7), "images[1]: id '7' stands in {path}, images[0] already"),
        (changed(COCO, ["images", 1, "file_name"], "../b.png"), "images[1]: file name '../b.png' leads out of "),
        (changed(COCO, ["images", 1, "file_name"], "x.png"), "images[1]: {folder}/x.png: no such file"),
        (changed(COCO, ["images", 1, "split"], "x"), "images[1]: split 'x' is none of "),
        ({}, "expected a JSON object with the list 'images'"),
        (3, "expected a JSON object with the list 'images'"),
        (changed(FLAT, [1, "image"], ...), "[1]: caption without image"),
        (changed(FLAT, [1, "image"], ""), "[1]: caption without image"),
        (changed(FLAT, [1, "image"], "/a.png"), "[1]: file name '/a.png' leads out of "),
        (changed(FLAT, [1, "caption"], ""), "[1]: caption is empty"),
        (changed(FLAT, [2, "split"], "val"), "[2]: image 'a.png' is in two splits, None and val"),
        ([], "holds no records"),
    ],
)
def test_bad_caption_files(tmp_path, write_images, write_json, content, message):
    folder, path = write_images(["a.png", "b.png"]), write_json("captions.json", content)
    with pytest.raises(InputError) as error:
        read_captions(str(tmp_path))
    assert message.format(path=path, folder=folder) in str(error.value)
    assert str(error.value).startswith(str(path if content != [] else tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(KARPATHY, ["images", 0, "split"], ...), "images[0]: has no 'split'"),
        (changed(KARPATHY, ["images", 0, "split"], "all"), "images[0]: split 'all' is none of train, restval, "),
        (changed(KARPATHY, ["images", 0, "sentences", 1, "raw"], ""), "images[0], sentences[1]: raw is empty"),
        (changed(KARPATHY, ["images", 0, "sentences"], "x"), "images[0]: sentences: expected a list of objects"),
        (changed(KARPATHY, ["images", 0, "filename"], "../a.png"), "images[0]: file name '../a.png' leads out of "),
        (changed(KARPATHY, ["images", 1, "imgid"], 5), "images[1]: id '5' stands in {path}, images[0] already"),
    ],
)
def test_bad_karpathy_files(tmp_path, write_images, write_json, content, message):
    write_images(["a.png", "b.png"])
    path = write_json("dataset.json", content)
    with pytest.raises(InputError) as error:
        read_karpathy(str(tmp_path))
    assert str(error.value).startswith(f"{path}, {message.format(path=path)}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png A dog", "line 2: expected NAME#NUMBER, a tab and a caption, found 'a.png A dog'"),
        ("a.png\tA dog", "line 2: expected NAME#NUMBER, a tab and a caption"),
        ("a.png#x\tA dog", "line 2: expected NAME#NUMBER, a tab and a caption"),
        ("a.png#1\t  ", "line 2: caption is empty"),
        ("../a.png#0\tA dog", "line 2: file name '../a.png' leads out of "),
        ("b.png#0\tA dog", "line 2: {folder}/b.png: no such file"),
    ],
)
def test_bad_token_files(tmp_path, write_images, write_lines, line, message):
    folder, path = write_images(["a.png"]), write_lines("results.token", "a.png#0\tA dog", line)
    with pytest.raises(InputError) as error:
        read_flickr30k(str(tmp_path))
    assert str(error.value).startswith(f"{path}, {message.format(folder=folder)}")


def test_a_token_file_of_another_encoding(tmp_path, write_images):
    write_images(["a.png"])
    (tmp_path / "results.token").write_bytes(b"a.png#0\tcaf\xe9\n")
    with pytest.raises(InputError, match="results.token: not a text file in UTF-8"):
        read_flickr30k(str(tmp_path))


@pytest.mark.parametrize("read", [read_captions, read_karpathy, read_flickr30k])
def test_missing_files(tmp_path, read):
    with pytest.raises(MissingFileError, match="no such file; name it with options.annotations"):
        read(str(tmp_path))
    with pytest.raises(MissingFileError, match="no such file or folder"):
        read(str(tmp_path / "nowhere"))
