"""Questions answered, and captions written, from predicted cells."""

import csv
import json
import shutil

import pytest

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError
from cellseg.multimodal.derive.answer_scores import read_answers, read_questions, score_answers
from cellseg.multimodal.derive.answering import answer_dataset
from cellseg.multimodal.derive.dataset import DatasetOptions, derive_dataset
from cellseg.multimodal.derive.facts import true_instances
from cellseg.multimodal.derive.slot_scores import EVERY, SLOTS, score_captions

OF_TYPES = {"cell_type", "type_count", "has_type"}


@pytest.fixture(scope="module")
def derived(data_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("answering") / "text"
    derive_dataset(data_folder, out, DatasetOptions(images=False, seed=3))
    return out


@pytest.fixture(scope="module")
def true_cells(data_folder):
    """True cells of every test image by its id."""
    folder = DataFolder(data_folder)
    return {record.key: true_instances(record, folder.class_names) for record in folder.load_split(0, "test")}


@pytest.fixture
def write_table(tmp_path):
    """Writes a submission; unlike the package's own it may have overlaps, as true cells do."""

    def write(cells, name="sub.csv"):
        rows = [("id", "predicted")]
        for key, instances in cells.items():
            rows += [(key, text) for text in instances.masks.to_rle()] or [(key, "")]
        with open(tmp_path / name, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        return tmp_path / name

    return write


@pytest.fixture
def scored(derived, tmp_path):
    """Answers from a submission, and their scores and those of the captions on the test split."""

    def score(submission):
        out = tmp_path / "out"
        result = answer_dataset(derived, submission, out, overwrite=out.exists())
        questions = read_questions(derived / "vqa.json")
        answers = score_answers(questions, read_answers(out / "answers.json", questions))
        captions = score_captions(out / "captions.json", derived)
        assert list(captions) == ["test"]
        return result, {kind: values["answers"] for kind, values in answers["test"].items()}, captions["test"]

    return score


def load(path):
    return json.loads(path.read_text())


def test_true_cells_answer_everything(derived, true_cells, write_results, scored, tmp_path):
    result, answers, slots = scored(write_results(true_cells))
    assert OF_TYPES | {"count", "confluence", "more_than", "covers"} <= set(answers)
    assert set(answers.values()) == {1.0}
    assert all(slots[slot]["accuracy"] in (1.0, None) and slots[slot]["precision"] in (1.0, None) for slot in SLOTS)
    assert slots["count"]["accuracy"] == slots["cell_type"]["accuracy"] == 1.0
    assert result.images == len(true_cells) and result.answered == result.questions > 50
    assert result.types == ("Big_one", "dot", "thin")
    # Each caption is the first one that the data set has of the image.
    first = {}
    for entry in load(derived / "splits" / "test" / "captions.json")["annotations"]:
        first.setdefault(entry["image_id"], entry["caption"])
    written = load(tmp_path / "out" / "captions.json")
    assert {entry["image_id"]: entry["caption"] for entry in written} == first


def test_replies_to_prompts(derived, true_cells, write_results, write_table, tmp_path):
    def replies(submission, name):
        answer_dataset(derived, submission, tmp_path / name)
        return score_captions(tmp_path / name / "replies.json", derived)["test"]["replies"]

    assert {one["accuracy"] for one in replies(write_results(true_cells), "true").values()} == {1.0}
    # What is not known is not said; a description lacks it, and the reply to who asks for it is empty.
    untyped = replies(write_table(true_cells), "untyped")
    assert untyped["cell_type"]["accuracy"] == 0.0 and untyped["count"]["accuracy"] == 1.0
    assert 0.0 < untyped[EVERY]["accuracy"] < 1.0
    few = {key: cells[::3] for key, cells in true_cells.items()}
    missed = replies(write_results(few, "few_cells"), "few")
    assert missed["count"]["accuracy"] < 0.6 and missed["cell_type"]["accuracy"] > 0.6


def test_a_table_without_types_leaves_questions_about_them_out(true_cells, write_table, scored):
    result, answers, slots = scored(write_table(true_cells))
    assert {kind for kind, value in answers.items() if value == 1.0} == set(answers) - OF_TYPES - {"all"}
    assert {answers[kind] for kind in OF_TYPES} == {0.0}
    assert result.types == () and result.answered < result.questions
    assert slots["cell_type"]["stated"] == 0 and slots["confluence"]["accuracy"] == 1.0


def test_missing_cells_are_missed(true_cells, write_results, scored):
    _, answers, slots = scored(write_results({key: cells[::3] for key, cells in true_cells.items()}))
    assert slots["count"]["accuracy"] < 0.6 and slots["count"]["error"]["mean"] > 1
    assert answers["count"] < 0.6 and answers["more_than"] < 1.0
    assert answers["cell_type"] == 1.0  # a third of the cells still shows which type they are of


def test_the_table_of_a_results_folder_has_its_types(true_cells, write_results, write_table, scored):
    root = write_results(true_cells)
    table = write_table(true_cells, "results/submission.csv")
    assert set(scored(table)[1].values()) == {1.0}
    # An image that the segmentation skipped has an empty row and no file.
    key = max(true_cells, key=lambda name: len(true_cells[name]))
    (root / "instances" / f"{key}.json").unlink()
    with pytest.raises(
        InputError, match=f"submission.csv: other cells of '{key}' than in .*instances, which has their"
    ):
        scored(table)
    write_table({**true_cells, key: true_cells[key][:0]}, "results/submission.csv")
    assert scored(table)[0].types == ("Big_one", "dot", "thin")
    write_table({**true_cells, key: true_cells[key][:1]}, "results/submission.csv")
    with pytest.raises(InputError, match="move the table elsewhere to do without types, or give the folder"):
        scored(table)
    assert scored(table.rename(table.parent.parent / "elsewhere.csv"))[0].types == ()


def test_one_type_needs_no_folder(plain_folder, write_table, tmp_path):
    derive_dataset(plain_folder, tmp_path / "text", DatasetOptions(images=False))
    records = DataFolder(plain_folder).load_split(0, "val")
    table = write_table({record.key: true_instances(record, ("cell",)) for record in records})
    result = answer_dataset(tmp_path / "text", table, tmp_path / "out", "val")
    assert result.answered == result.questions > 0


def test_only_the_split_is_answered(derived, true_cells, write_results, tmp_path):
    root = write_results(true_cells)
    answer_dataset(derived, root, tmp_path / "out")
    own = {entry["id"] for entry in load(derived / "splits" / "test" / "vqa.json")["annotations"]}
    assert {entry["question_id"] for entry in load(tmp_path / "out" / "answers.json")} == own
    with pytest.raises(
        InputError, match="nothing about the image .* and .* more; choose a --split that it covers, or s"
    ):
        answer_dataset(derived, root, tmp_path / "other", "train")
    with pytest.raises(
        InputError, match="facts.json: no images of the split 'dev'; choose another --split .there are: "
    ):
        answer_dataset(derived, root, tmp_path / "other", "dev")
    assert not (tmp_path / "other").exists()


def test_only_answers_are_replaced(derived, true_cells, write_results, tmp_path):
    root, out = write_results(true_cells), tmp_path / "out"
    answer_dataset(derived, root, out)
    before = (out / "answers.json").read_bytes()
    with pytest.raises(InputError, match="out: exists; choose another --out, or replace it with --overwrite"):
        answer_dataset(derived, root, out)
    answer_dataset(derived, root, out, overwrite=True)
    assert (out / "answers.json").read_bytes() == before
    with pytest.raises(InputError, match="text: holds .*, so --overwrite leaves it alone"):
        answer_dataset(derived, root, derived, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "results"]


@pytest.mark.parametrize(
    "name, change, message",
    [
        (
            "vqa.json",
            {"question_value": None},
            r"has no question_value, which older versions did not write; run derive_t",
        ),
        (
            "vqa.json",
            {"question_type": "color"},
            "question_type 'color' is none of cell_type, count, .*; run derive_text",
        ),
        (
            "vqa.json",
            {"question_type": "covers", "question_value": "much"},
            "question_value 'much': expected a whole number; run derive_text.py dataset again",
        ),
        ("derived.json", {"format": "other"}, "derived.json: not the summary of a derived data set"),
        (
            "derived.json",
            {"size_limits": {"small": 3}},
            "derived.json: damaged, size_limits or options.seed cannot be us",
        ),
        (
            "derived.json",
            {"options": None},
            "derived.json: damaged, size_limits or options.seed cannot be used; run deri",
        ),
        (
            "facts.json",
            {"split": "val"},
            r"vqa.json: question \d+: image \d+ is not among those of facts.json; run deriv",
        ),
    ],
)
def test_data_sets_that_cannot_be_used(derived, true_cells, write_results, tmp_path, name, change, message):
    root = shutil.copytree(derived, tmp_path / "text")
    content = load(root / name)
    if name == "derived.json":
        content.update(change)
    elif name == "vqa.json":
        content["annotations"][-1].update(change)  # the last split is the test
    else:
        asked = load(root / "vqa.json")["annotations"][-1]["image_id"]
        next(entry for entry in content["images"] if entry["image_id"] == asked).update(change)
    (root / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        answer_dataset(root, write_results(true_cells), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "text"]
