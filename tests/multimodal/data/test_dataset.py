"""Data sets as trainings use them: all that is learned comes from training records, and equal sources are equal."""

import itertools
import json

import numpy as np
import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.data import MultimodalSamples, forget_multimodal_data, load_multimodal_data
from cellseg.multimodal.data.record import plain_text

GENERATED = dict(reader="generated", options=dict(count=60, noise=0.1))
CAPTIONED = dict(reader="generated", options=dict(count=60, task="captioning", outputs=5))


@pytest.fixture(autouse=True)
def forget():
    forget_multimodal_data()
    yield
    forget_multimodal_data()


@pytest.fixture
def labels(tmp_path, write_images, write_lines):
    """A table of 4 training rows and one row for each other split."""
    names = [f"{index}.png" for index in range(6)]
    write_images(names)
    rows = [
        dict(text="red box", label="10", y=1.0, split="train"),
        dict(text="blue box", label="9", y=3.0, split="train"),
        dict(text="blue disc", label="9", y=None, split="train"),
        dict(text="blue disc", label="9", y=5.0, split="train"),
        dict(text="unseen words", label="9", y=100.0, split="val"),
        dict(text="other words", label="11", y=100.0, split="test"),
    ]
    lines = [json.dumps({"id": str(n), "image": names[n], **row}) for n, row in enumerate(rows)]
    write_lines("data.jsonl", *lines)
    options = dict(targets=dict(classification="label", regression=["y"]))
    return dict(reader="table", data_root=str(tmp_path), options=options, image_size=[4, 4])


def test_what_a_table_gives(labels):
    data = load_multimodal_data(**labels)
    assert data.tasks == ("classification", "regression")
    assert [[record.id for record in data.records(split)] for split in ("train", "val", "test")] == [
        ["0", "1", "2", "3"],
        ["4"],
        ["5"],
    ]
    about = data.description
    assert about.class_names == ("9", "10", "11") and about.target_names == ("y",)
    assert (about.target_mean, about.target_std) == ((3.0,), (np.sqrt(8 / 3),))
    assert about.class_weights == (4 / (2 * 3), 4 / (2 * 1), 1.0)
    assert about.modalities["image"].shape == (3, 4, 4)


def test_words_come_from_training_texts_only(labels):
    words = load_multimodal_data(**labels).description.words()
    assert "blue" in words.pieces and "unseen" not in words.pieces
    assert words.decode(words.encode("blue words")) == "blue [UNK]"


def test_given_classes_keep_their_order(labels):
    assert load_multimodal_data(**labels, classes=["11", "10", "9"]).description.class_names == ("11", "10", "9")
    with pytest.raises(InputError) as error:
        load_multimodal_data(**labels, classes=["9", "10"])
    assert str(error.value).endswith("data.jsonl, line 6: label '11' outside the classes of classification (9, 10)")


def test_statistics_come_from_training_rows_only(tmp_path, write_lines):
    write_lines("t.csv", "id,x", "a,1", "b,3", "c,1000", "d,")
    write_lines("labels.csv", "id,label,split", "a,0,train", "b,1,train", "c,0,val")
    source = dict(
        reader="features", data_root=str(tmp_path), options=dict(tables=dict(lab="t.csv"), labels="labels.csv")
    )
    table = load_multimodal_data(**source).description.modalities["lab"]
    assert (table.mean, table.std, table.names) == ((2.0,), (1.0,), ("x",))


def test_answers_come_from_training_questions_only(tmp_path, write_images, write_json):
    names = write_images(["a.png", "b.png"]).iterdir()
    images = [{"id": n, "file_name": path.name} for n, path in enumerate(sorted(names))]
    asked = [("yes", 0), ("yes", 0), ("no", 0), ("maybe", 1)]
    questions = [{"id": n, "image_id": i, "question": "is it so", "answer": a} for n, (a, i) in enumerate(asked)]
    for image, split in zip(images, ("train", "val"), strict=True):
        image["split"] = split
    write_json("vqa.json", {"images": images, "annotations": questions})
    source = dict(reader="vqa", data_root=str(tmp_path), image_size=[4, 4])
    data = load_multimodal_data(**source)
    assert data.description.answers == ("yes", "no")
    sample = data.sample(data.records("val")[0])
    # Nothing to choose is right; it still counts as asked.
    assert sample["targets"]["vqa"]["values"].tolist() == [0, 0] and sample["sample"]["truth"]["vqa"] == ["maybe"]
    assert load_multimodal_data(**source, most_answers=2).description.answers == ("yes", "no")


def test_captioning_encodes_the_prompt_alone():
    data = load_multimodal_data(**CAPTIONED, prompt="say what you see")
    words = data.description.words()
    for record in itertools.chain(data.records("train"), data.records("val")):
        sample = data.sample(record)
        assert words.decode(sample["inputs"]["text"]["values"].tolist()) == "say what you see"
        written = words.decode(sample["targets"]["captioning"]["values"].tolist())
        assert written in [plain_text(caption) for caption in sample["sample"]["truth"]["captioning"]]
    assert data.description.prompt == "say what you see"
    assert len(data.records("train")) > len(data.records("val")) == 6


def test_captioning_without_a_prompt_has_no_text_but_a_tokenizer():
    data = load_multimodal_data(**CAPTIONED, prompt="")
    assert list(data.description.modalities) == ["image"] and data.description.tokenizer


def test_captioning_shows_the_prompts_of_the_data(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png"])
    pictures = [{"id": 1, "file_name": "a.png", "split": "train"}, {"id": 2, "file_name": "b.png", "split": "val"}]
    prompts = ["how full?", "which cells?", "how full?", "which cells?"]
    entries = [
        {"image_id": index // 2 + 1, "caption": f"{prompt[:3]} reply", "prompt": prompt}
        for index, prompt in enumerate(prompts)
    ]
    write_json("captions.json", {"images": pictures, "annotations": entries})
    data = load_multimodal_data(reader="captions", data_root=str(tmp_path), image_size=[4, 4])
    words = data.description.words()
    for split in ("train", "val"):
        samples = [data.sample(record) for record in data.records(split)]
        assert [words.decode(sample["inputs"]["text"]["values"].tolist()) for sample in samples] == [
            "how full?",
            "which cells?",
        ]
        assert [sample["sample"]["truth"]["captioning"] for sample in samples] == [["how reply"], ["whi reply"]]
    with pytest.raises(InputError, match="captions that reply to a prompt .'how full.'. do not describe the picture"):
        load_multimodal_data(reader="captions", data_root=str(tmp_path), tasks=["matching"])


def test_the_usual_prompt_is_one_that_the_training_asks(tmp_path, write_images, write_json):
    write_images(["a.png", "b.png"])

    def usual(prompts, **source):
        entries = [
            {"image": "a.png", "caption": f"reply {index}", "prompt": text}
            if text
            else {"image": "a.png", "caption": "x"}
            for index, text in enumerate(prompts)
        ]
        write_json("captions.json", entries)
        forget_multimodal_data()
        source = dict(reader="captions", data_root=str(tmp_path), image_size=[4, 4], fractions=[1.0, 0.0, 0.0]) | source
        return load_multimodal_data(**source).description.prompt

    assert usual(["how many?", "how full?", "how full?"]) == "how full?"
    assert usual(["how full?", "how full?", None]) == "describe the picture"
    assert usual([None, None], prompt="") == ""


def test_matching_draws_other_wrong_texts_each_time_in_training_only():
    data = load_multimodal_data(**CAPTIONED, tasks=["matching"], seed=3)
    torch.manual_seed(0)

    def wrong(split):
        records = [record for record in data.records(split) if record.targets["matching"] is not True]
        samples = [data.sample(record)["sample"]["truth"]["matching"] for record in records]
        assert all(sample["label"] == 0 and sample["text"] not in sample["captions"] for sample in samples)
        return [sample["text"] for sample in samples]

    assert wrong("train") != wrong("train") and wrong("val") == wrong("val")
    torch.manual_seed(0)
    first = wrong("train")
    torch.manual_seed(0)
    assert wrong("train") == first
    # Each split knows its own captions only.
    val, train = (
        {plain_text(caption) for record in data.records(split) for caption in record.captions}
        for split in ("val", "train")
    )
    assert set(wrong("val")) <= val and val - train
    assert set().union(*(wrong("train") for _ in range(10))) <= train


def test_all_pairs_of_a_split():
    data = MultimodalSamples({**CAPTIONED, "tasks": ["matching"]}, "val", all_pairs=True)
    truths = [data[index]["sample"]["truth"]["matching"] for index in range(len(data))]
    texts = {truth["text"] for truth in truths}
    assert len({(truth["image"], truth["text"]) for truth in truths}) == len(truths) == 6 * len(texts)
    assert all(truth["label"] == (truth["text"] in truth["captions"]) for truth in truths)
    with pytest.raises(InputError, match="all_pairs: needs one of train, val, test and the task matching"):
        MultimodalSamples(CAPTIONED, "val", all_pairs=True)


def test_several_tasks_share_a_batch_shape():
    data = load_multimodal_data(**CAPTIONED, tasks=["captioning", "matching"])
    by_task = {}
    for record in data.records("train"):
        sample = data.sample(record)
        task = next(name for name, target in sample["targets"].items() if target["present"])
        by_task.setdefault(task, []).append(sample)
    assert set(by_task) == {"captioning", "matching"} and len(by_task["matching"]) == 2 * len(by_task["captioning"])


def test_equal_sources_are_read_once_until_forgotten():
    first = load_multimodal_data(**GENERATED)
    assert load_multimodal_data(**GENERATED) is first
    assert load_multimodal_data(**GENERATED, seed=1) is not first
    forget_multimodal_data()
    assert load_multimodal_data(**GENERATED) is not first


def test_the_order_of_modalities_is_the_configs():
    options = dict(count=20, kinds=dict(wave="sequence", lab="tabular"))
    assert list(load_multimodal_data(reader="generated", options=options).description.modalities) == ["wave", "lab"]


def test_samples_of_a_split():
    train = MultimodalSamples(GENERATED, "train", augmentation=dict(horizontal_flip=True))
    assert len(train) == 48 and train[3]["sample"]["id"] == "synthetic-000003"
    assert json.loads(json.dumps(train.metainfo))["description"]["class_names"] == ["class 0", "class 1"]
    with pytest.raises(InputError, match="augmentation: is for the training; leave it out of the split 'val'"):
        MultimodalSamples(GENERATED, "val", augmentation=dict(horizontal_flip=True))
    with pytest.raises(InputError, match="split 'all' is none of train, val, test"):
        MultimodalSamples(GENERATED, "all")


def test_flips_reach_the_pictures():
    torch.manual_seed(0)
    train = MultimodalSamples(GENERATED, "train", augmentation=dict(horizontal_flip=True))
    plain = MultimodalSamples(GENERATED, "train")[0]["inputs"]["image"]["values"]
    found = [train[0]["inputs"]["image"]["values"] for _ in range(12)]
    assert {torch.equal(picture, plain.flip(2)) for picture in found} == {True, False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(fractions=[0, 0.5, 0.5]), "generated data: no record is in the training split; change source.fractions"),
        (dict(tasks=["vqa"]), "generated data: source.tasks: no record of the training split has 'vqa'"),
        (dict(tasks=["captioning"]), "generated data: source.tasks: no record of the training split has 'captioning'"),
        (
            dict(options=dict(count=20, missing=dict(image=1.0), missing_in=["train"])),
            "generated data: modality 'image' is missing in all rows of the training split; leave it out",
        ),
    ],
)
def test_data_that_cannot_be_trained_on(changes, message):
    with pytest.raises(InputError) as error:
        load_multimodal_data(**{**GENERATED, **changes})
    assert str(error.value) == message


def test_an_empty_split_is_named():
    data = load_multimodal_data(**GENERATED, fractions=[0.5, 0.0, 0.5])
    with pytest.raises(InputError) as error:
        data.records("val")
    remedy = "change source.fractions or source.split_by"
    assert str(error.value) == f"generated data: no record is in the split 'val'; {remedy}"


def test_pictures_without_any_caption(tmp_path, write_images, write_json):
    write_images(["a.png"])
    write_json("captions.json", {"images": [{"id": 1, "file_name": "a.png"}], "annotations": []})
    with pytest.raises(InputError) as error:
        load_multimodal_data(reader="captions", data_root=str(tmp_path))
    assert str(error.value) == f"{tmp_path}: has pictures and no caption of any; nothing can be learnt from it"


def test_one_class_is_nothing_to_tell_apart(tmp_path, write_lines):
    path = write_lines("data.csv", "text,label", *["hello,greeting"] * 20)
    with pytest.raises(InputError) as error:
        load_multimodal_data(reader="table", data_root=str(tmp_path))
    assert str(error.value) == f"{path}: all records have the class 'greeting'; there is nothing to tell apart"


def test_records_without_any_target(tmp_path, write_lines):
    path = write_lines("data.csv", "text", "hello")
    with pytest.raises(InputError) as error:
        load_multimodal_data(reader="table", data_root=str(tmp_path))
    assert str(error.value) == f"{path}: no record has a target; name its column with source.options.targets"
