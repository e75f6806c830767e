"""What tasks make of records: prompts without captions, pairs, wrong captions that are never true."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cellseg.errors import InputError
from cellseg.multimodal.data.forming import CaptionPool, form_records, pair_all
from cellseg.multimodal.data.record import Record

PICTURES = [
    Record("a", {"image": Path("a.png")}, captions=("a cat", "a pet"), where="images[0]"),
    Record("b", {"image": Path("b.png")}, captions=("a dog", "A  PET"), where="images[1]"),
    Record("c", {"image": Path("c.png")}, captions=("a house",), where="images[2]"),
    Record("d", {"image": Path("d.png")}, where="images[3]"),
]
TRUE = {"a.png": {"a cat", "a pet"}, "b.png": {"a dog", "a pet"}, "c.png": {"a house"}}


def test_captioning_shows_the_prompt_and_never_a_caption():
    formed = form_records(PICTURES, ["captioning"], True, "say what you see")
    assert [(record.id, record.targets) for record in formed] == [
        ("a#captioning-0", {"captioning": "a cat"}),
        ("a#captioning-1", {"captioning": "a pet"}),
        ("b#captioning-0", {"captioning": "a dog"}),
        ("b#captioning-1", {"captioning": "A  PET"}),
        ("c#captioning-0", {"captioning": "a house"}),
    ]
    assert all(record.inputs == {"image": Path(f"{record.id[0]}.png"), "text": "say what you see"} for record in formed)
    assert formed[1].captions == ("a cat", "a pet")


def test_validation_asks_once_for_each_picture():
    formed = form_records(PICTURES, ["captioning"], False, "")
    assert [record.id for record in formed] == ["a#captioning-0", "b#captioning-0", "c#captioning-0"]
    assert all("text" not in record.inputs for record in formed)


def test_a_text_of_the_record_itself_does_not_enter_captioning():
    record = Record("a", {"image": Path("a.png"), "text": "a cat"}, captions=("a cat",))
    assert [formed.inputs for formed in form_records([record], ["captioning"], True, "")] == [{"image": Path("a.png")}]


@pytest.mark.parametrize("usual", ["say what you see", ""])
def test_a_prompt_of_the_record_replaces_the_usual_one(usual):
    records = [replace(PICTURES[0], prompt="how many?"), PICTURES[1]]
    formed = form_records(records, ["captioning"], True, usual)
    assert [record.inputs.get("text") for record in formed] == ["how many?"] * 2 + [usual or None] * 2


def test_matching_pairs_in_validation_are_fixed_and_right():
    formed = form_records(PICTURES, ["matching"], False, negatives=3, seed=4)
    assert formed == form_records(PICTURES, ["matching"], False, negatives=3, seed=4)
    assert formed != form_records(PICTURES, ["matching"], False, negatives=3, seed=5)
    labels = Counter(record.targets["matching"] for record in formed)
    assert labels == {True: 5, False: 15} and len({record.id for record in formed}) == 20
    for record in formed:
        plain = " ".join(record.inputs["text"].lower().split())
        assert (plain in TRUE[record.inputs["image"].name]) == record.targets["matching"]


def test_wrong_captions_of_the_training_are_drawn_later():
    formed = form_records(PICTURES, ["matching"], True, negatives=1)
    later = [record for record in formed if record.targets["matching"] is None]
    assert len(later) == 5 and all("text" not in record.inputs for record in later)
    assert [record.targets["matching"] for record in form_records(PICTURES, ["matching"], True, negatives=0)] == [
        True
    ] * 5


def test_every_other_caption_is_equally_likely_and_no_equal_one_is_drawn():
    pool = CaptionPool(PICTURES)
    drawn = Counter(pool.show_wrong(PICTURES[1], (index + 0.5) / 300).inputs["text"] for index in range(300))
    assert drawn == {"a cat": 150, "a house": 150}
    assert pool.show_wrong(PICTURES[1], 1 - 1e-12).inputs["text"] in TRUE["a.png"] | TRUE["c.png"]
    wrong = pool.show_wrong(PICTURES[0], 0.0)
    assert wrong.targets == {"matching": False} and wrong.inputs["image"] == Path("a.png")


def test_without_another_caption_there_is_no_wrong_one():
    same = [Record(name, {}, captions=("a cat",), where=f"row {name}") for name in "ab"]
    with pytest.raises(InputError) as error:
        form_records(same, ["matching"], False)
    assert str(error.value) == "row a: matching needs a caption that is not true of it, and there is no other"


def test_targets_of_other_tasks_are_left_out():
    record = Record("a", {"text": "x"}, {"classification": "k", "domain": "d"})
    other = Record("b", {"text": "y"}, {"domain": "d"})
    formed = form_records([record, other], ["classification"], True)
    assert [(found.id, found.targets) for found in formed] == [("a", {"classification": "k"})]
    pair = Record("c", {"text": "y"}, {"matching": False})
    assert form_records([pair], ["matching"], True) == [pair]


def test_several_tasks_of_one_picture():
    formed = form_records(PICTURES[:1], ["captioning", "matching"], False, "say", negatives=0)
    assert [(record.id, record.inputs["text"]) for record in formed] == [
        ("a#captioning-0", "say"),
        ("a#matching-0", "a cat"),
        ("a#matching-1", "a pet"),
    ]


def test_every_picture_with_every_caption():
    formed = pair_all(PICTURES)
    found = {
        (record.inputs["image"].name, record.inputs["text"].lower()): record.targets["matching"] for record in formed
    }
    assert len(formed) == len(found) == 3 * 4
    assert found == {(image, text): text in TRUE[image] for image in TRUE for text in set().union(*TRUE.values())}
    with pytest.raises(InputError, match="all_pairs: the records of this split have no captions to match"):
        pair_all(PICTURES[3:])
