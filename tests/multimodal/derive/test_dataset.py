"""A derived data set as a whole: forms, splits, truth of all texts, bytes."""

import json
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError
from cellseg.io.submission import write_predictions
from cellseg.multimodal.data.captions import read_captions
from cellseg.multimodal.data.questions import read_vqa
from cellseg.multimodal.data.table import read_table
from cellseg.multimodal.derive.dataset import DatasetOptions, derive_dataset, make_captions
from cellseg.multimodal.derive.dataset_files import check_out
from cellseg.multimodal.derive.facts import ImageFacts, SizeLimits, measure_facts, true_instances
from cellseg.multimodal.derive.phrases import parse_caption, slots_of
from cellseg.multimodal.derive.prompts import PROMPTS, wanted_slots
from cellseg.multimodal.derive.questions import ask

TYPES = ("Big_one", "dot", "thin")


@pytest.fixture(scope="module")
def derived(data_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("derived") / "text"
    summary = derive_dataset(data_folder, out, DatasetOptions(official=True))
    return out, summary


def load(out, name):
    return json.loads((out / name).read_text())


def snapshot(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_facts_are_those_of_the_true_masks(data_folder, derived):
    out, summary = derived
    folder = DataFolder(data_folder)
    limits = SizeLimits(**summary["size_limits"])
    stored = {entry["key"]: entry for entry in load(out, "facts.json")["images"]}
    records = {split: folder.load_split(0, split) for split in ("train", "val", "test")}
    assert len(stored) == 27
    for split, images in records.items():
        for record in images:
            facts = measure_facts(record.key, true_instances(record, folder.class_names), limits)
            assert ImageFacts.from_dict(stored[record.key], "x") == facts
            assert stored[record.key]["split"] == split
    areas = sorted(area for record in records["train"] for area in record.masks.areas().tolist())
    below = sum(area < limits.small for area in areas) / len(areas)
    assert 0.2 < below < 0.4


def test_captions_say_what_is_true(derived):
    out, _ = derived
    content = load(out, "captions.json")
    facts = {entry["image_id"]: ImageFacts.from_dict(entry, "x") for entry in load(out, "facts.json")["images"]}
    number = Counter()
    for entry in content["annotations"]:
        said, true = parse_caption(entry["caption"], TYPES), slots_of(facts[entry["image_id"]])
        assert (said.count, said.cell_type, said.confluence) == (true.count, true.cell_type, true.confluence)
        for trait in ("size", "crowding", "shape"):
            assert getattr(said, trait) in (None, getattr(true, trait))
        number[entry["image_id"]] += 1
        # The first caption of an image says everything.
        assert number[entry["image_id"]] > 1 or said == true
    assert set(number) == set(facts)
    assert all(count == 5 or facts[image].count == 0 for image, count in number.items())
    assert len({entry["id"] for entry in content["annotations"]}) == len(content["annotations"])
    texts = [(entry["image_id"], entry["caption"]) for entry in content["annotations"]]
    assert len(set(texts)) == len(texts)


def test_replies_say_what_the_prompt_asks_for(derived):
    out, summary = derived
    facts = {entry["image_id"]: ImageFacts.from_dict(entry, "x") for entry in load(out, "facts.json")["images"]}
    asked = defaultdict(set)
    for entry in load(out, "prompts.json")["annotations"]:
        kind = entry["prompt_type"]
        assert entry["prompt"] in PROMPTS[kind].phrasings
        said, wanted = parse_caption(entry["caption"], TYPES), wanted_slots(slots_of(facts[entry["image_id"]]), kind)
        # Who says that there are no cells says that they cover nothing.
        assert said == (wanted if wanted.count != 0 else replace(wanted, confluence=0))
        asked[entry["image_id"]].add((kind, entry["prompt"]))
    assert set(asked) == set(facts)
    assert sum(split["prompts"] for split in summary["splits"].values()) == sum(map(len, asked.values()))
    for image, prompts in asked.items():
        kinds = {kind for kind, _ in prompts}
        assert len(kinds) == len(prompts) and {"count", "all"} <= kinds
        assert (len(kinds) > 2) == (facts[image].count > 1)
    parts = [load(out, f"splits/{name}/prompts.json")["annotations"] for name in ("train", "val", "test")]
    assert sorted(entry["id"] for part in parts for entry in part) == list(range(1, sum(map(len, parts)) + 1))


def test_questions_have_true_answers_and_are_balanced(derived):
    out, summary = derived
    facts = {entry["image_id"]: ImageFacts.from_dict(entry, "x") for entry in load(out, "facts.json")["images"]}
    split = {entry["image_id"]: entry["split"] for entry in load(out, "facts.json")["images"]}
    true = {
        image: {(item.text, item.kind, item.value): item.answer for item in ask(one, TYPES)}
        for image, one in facts.items()
    }
    counts = Counter()
    for entry in load(out, "vqa.json")["annotations"]:
        asked = (entry["question"], entry["question_type"], entry["question_value"])
        assert true[entry["image_id"]][asked] == entry["answer"]
        counts[split[entry["image_id"]], entry["question_type"], entry["answer"]] += 1
    for name in ("train", "val", "test"):
        for kind in ("has_type", "more_than", "covers"):
            assert counts[name, kind, "yes"] == counts[name, kind, "no"]
        kept = {kind: values["kept"] for kind, values in summary["splits"][name]["questions"].items()}
        assert sum(kept.values()) == sum(number for (of, _, _), number in counts.items() if of == name)
    assert counts["train", "has_type", "yes"] > 5 and counts["train", "count", "2 to 5"] > 0


def test_groups_stay_in_one_split(derived):
    out, summary = derived
    images = load(out, "captions.json")["images"]
    home = {}
    for image in images:
        assert home.setdefault(image["group"], image["split"]) == image["split"]
    assert Counter(image["split"] for image in images) == {
        name: split["images"] for name, split in summary["splits"].items()
    }
    for name in ("train", "val", "test"):
        part = load(out, f"splits/{name}/captions.json")
        assert {image["file_name"] for image in part["images"]} == {
            image["file_name"] for image in images if image["split"] == name
        }
        assert {entry["image_id"] for entry in part["annotations"]} == {image["id"] for image in part["images"]}


def test_the_readers_of_this_package_read_it(derived):
    out, _ = derived
    home = {str(image["id"]): (image["split"], image["group"]) for image in load(out, "captions.json")["images"]}
    captions = read_captions(out)
    assert {record.id: (record.split, record.group) for record in captions.records} == home
    questions = read_vqa(out)
    assert len(questions.records) == len(load(out, "vqa.json")["annotations"])
    assert {(record.split, record.group) for record in questions.records} <= set(home.values())
    pairs = read_table(out, table="pairs.jsonl", columns={"id": "id", "split": "split", "group": "group_id"})
    rows = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
    assert [record.inputs["text"] for record in pairs.records] == [row["text"] for row in rows]
    assert sum(row["label"] for row in rows) * 2 == len(rows) > 40


def test_the_official_form_has_the_same_questions(derived):
    out, _ = derived
    single = {entry["id"]: entry for entry in load(out, "vqa.json")["annotations"]}
    seen = []
    for name in ("train", "val", "test"):
        asked, answered = load(out, f"vqa_v2/questions_{name}.json"), load(out, f"vqa_v2/annotations_{name}.json")
        for question, annotation in zip(asked["questions"], answered["annotations"], strict=True):
            entry = single[question["question_id"]]
            assert annotation["question_id"] == entry["id"]
            assert (question["image_id"], question["question"]) == (entry["image_id"], entry["question"])
            assert annotation["multiple_choice_answer"] == entry["answer"]
            assert [answer["answer"] for answer in annotation["answers"]] == [entry["answer"]] * 10
            yes_no = entry["answer"] in ("yes", "no")
            assert annotation["answer_type"] == ("yes/no" if yes_no else "other")
            seen.append(entry["id"])
    assert sorted(seen) == sorted(single)


def test_the_same_bytes_every_time(data_folder, derived, tmp_path):
    out, _ = derived
    derive_dataset(data_folder, tmp_path / "again", DatasetOptions(official=True))
    assert snapshot(tmp_path / "again") == snapshot(out)
    derive_dataset(data_folder, tmp_path / "other", DatasetOptions(official=True, seed=1))
    assert snapshot(tmp_path / "other")["captions.json"] != snapshot(out)["captions.json"]
    assert str(tmp_path) not in (out / "derived.json").read_text()


def test_images_lie_beside_the_texts_unless_refused(data_folder, derived, tmp_path):
    out, _ = derived
    images = load(out, "captions.json")["images"]
    for image in images:
        assert (out / "images" / image["file_name"]).read_bytes() == (
            data_folder / "images" / image["file_name"]
        ).read_bytes()
    derive_dataset(data_folder, tmp_path / "bare", DatasetOptions(images=False, splits=("test",), captions=2))
    assert not (tmp_path / "bare" / "images").exists() and not (tmp_path / "bare" / "vqa_v2").exists()
    entries = load(tmp_path / "bare", "captions.json")
    assert {image["split"] for image in entries["images"]} == {"test"}
    assert max(Counter(entry["image_id"] for entry in entries["annotations"]).values()) == 2


def test_without_types_nothing_is_said_about_them(plain_folder, tmp_path):
    summary = derive_dataset(plain_folder, tmp_path / "out")
    kinds = {kind for split in summary["splits"].values() for kind in split["questions"]}
    assert not kinds & {"cell_type", "has_type", "type_count"} and {"count", "confluence"} <= kinds
    assert all("type" not in entry["caption"] for entry in load(tmp_path / "out", "captions.json")["annotations"])
    facts = {pair for split in summary["splits"].values() for pair in split["pairs"]}
    assert "count" in facts and "cell_type" not in facts


def test_about_predictions(data_folder, derived, write_results, some_instances, tmp_path):
    folder = DataFolder(data_folder)
    test = folder.load_split(0, "test")
    write_predictions(tmp_path / "sub.csv", {record.key: record.masks[:1] for record in test})
    options = DatasetOptions(splits=("test",))
    summary = derive_dataset(data_folder, tmp_path / "sub", options, tmp_path / "sub.csv")
    assert summary["source"] == "predictions" and summary["class_names"] == ["cell"]
    # What small means follows from the true training cells all the same.
    assert summary["size_limits"] == derived[1]["size_limits"]
    counts = {entry["key"]: entry["count"] for entry in load(tmp_path / "sub", "facts.json")["images"]}
    assert counts == {record.key: min(len(record.masks), 1) for record in test}
    results = write_results({record.key: some_instances(["dot", "dot", "thin"]) for record in test})
    derive_dataset(data_folder, tmp_path / "res", options, results)
    entries = load(tmp_path / "res", "facts.json")["images"]
    assert all(entry["type_counts"] == {"Big_one": 0, "dot": 2, "thin": 1} for entry in entries)


def test_predictions_must_cover_the_splits(data_folder, tmp_path):
    (tmp_path / "sub.csv").write_text("id,predicted\nB00,\n")
    with pytest.raises(InputError, match="sub.csv: nothing about the image .*; choose --splits that it covers"):
        derive_dataset(data_folder, tmp_path / "out", submission=tmp_path / "sub.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sub.csv"]


def test_a_group_in_two_splits_is_refused(data_folder, tmp_path):
    import shutil

    shutil.copytree(data_folder, tmp_path / "data")
    path = tmp_path / "data" / "splits" / "fold0" / "val.json"
    content = json.loads(path.read_text())
    group = DataFolder(data_folder).load_split(0, "train")[0].group
    content["images"][0]["group"] = group
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"group '{group}' has images in train and val; prepare it anew"):
        derive_dataset(tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_overwriting_replaces_a_data_set_and_nothing_else(data_folder, plain_folder, tmp_path):
    out = tmp_path / "out"
    derive_dataset(data_folder, out)
    before = snapshot(out)
    with pytest.raises(InputError, match="out: exists; choose another --out, or replace it with --overwrite"):
        derive_dataset(plain_folder, out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="out: holds notes.txt, so --overwrite leaves it alone"):
        derive_dataset(plain_folder, out, overwrite=True)
    (out / "notes.txt").unlink()
    assert snapshot(out) == before
    derive_dataset(plain_folder, out, overwrite=True)
    derive_dataset(plain_folder, tmp_path / "fresh")
    assert snapshot(out) == snapshot(tmp_path / "fresh")


def test_what_may_not_be_written(tmp_path):
    (tmp_path / "empty").mkdir()
    check_out(tmp_path / "empty", overwrite=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: exists and is not a folder"):
        check_out(tmp_path / "file", overwrite=True)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "images").mkdir()
    with pytest.raises(InputError, match="has no derived.json, so --overwrite leaves it alone"):
        check_out(tmp_path / "images", overwrite=True)


@pytest.mark.parametrize(
    "options, message",
    [
        (DatasetOptions(captions=0), "--captions 0: expected 1 or more"),
        (DatasetOptions(splits=("all",)), "--splits all: expected some of train, val, test, each once"),
        (DatasetOptions(splits=("val", "val")), "--splits val val: expected some of"),
        (DatasetOptions(fold=9), "fold 9 does not exist"),
    ],
)
def test_options_that_cannot_be_used(data_folder, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        derive_dataset(data_folder, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_captions_of_an_image_differ(make_facts):
    facts = make_facts(small=1.0, touching=1.0, elongated=1.0)
    texts = make_captions(facts, 8, seed=0)
    assert len(set(texts)) == len(texts) == 8
    said = [parse_caption(text, ()) for text in texts]
    assert said[0] == slots_of(facts) and len(set(said)) > 2
    assert len(make_captions(make_facts(count=0), 9, seed=0)) == 4  # there are no more ways to say it
