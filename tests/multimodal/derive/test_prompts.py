"""Prompts, and the captions that reply to them."""

import pytest

from cellseg.multimodal.derive.phrases import Slots, parse_caption, slots_of
from cellseg.multimodal.derive.prompts import PROMPTS, make_prompts, reply, wanted_slots

EVERYTHING = Slots(4, "dot", 3, "small", "apart", "compact")


@pytest.fixture
def full(make_facts):
    return make_facts(
        count=12, covered=0.15, type_counts={"dot": 12}, small=0.9, large=0.0, touching=0.1, elongated=0.1
    )


@pytest.mark.parametrize(
    "kind, slots",
    [
        ("count", Slots(count=4)),
        ("cell_type", Slots(cell_type="dot")),
        ("confluence", Slots(confluence=3)),
        ("looks", Slots(size="small", crowding="apart", shape="compact")),
        ("all", EVERYTHING),
    ],
)
def test_replies_say_just_what_is_asked_for(full, kind, slots):
    assert slots_of(full) == EVERYTHING
    assert wanted_slots(EVERYTHING, kind) == slots
    texts = reply(full, kind, 5, seed=0)
    assert 3 <= len(texts) <= 5 and len(set(texts)) == len(texts)
    assert {parse_caption(text, ["dot", "thin"]) for text in texts} == {slots}
    assert texts == reply(full, kind, 5, seed=0) and texts[:1] == reply(full, kind, 1, seed=0)
    assert texts != reply(full, kind, 5, seed=1)


def test_replies_as_they_read(full):
    assert {kind: reply(full, kind, 1, seed=3)[0] for kind in ("count", "cell_type", "confluence", "looks")} == {
        "count": "This picture contains between 11 and 20 cells.",
        "cell_type": "The cells are predominantly of type dot.",
        "confluence": "The confluence is between 10 and 20 percent.",
        "looks": "The majority of the cells is small. Most cells touch no other cell. "
        "Most cells are about as long as wide.",
    }


def test_every_kind_is_asked_once(full):
    prompts = list(make_prompts(full, seed=2))
    assert [prompt.kind for prompt in prompts] == list(PROMPTS)
    assert all(prompt.text in PROMPTS[prompt.kind].phrasings and prompt.key == full.key for prompt in prompts)
    asked = {tuple(prompt.text for prompt in make_prompts(full, seed)) for seed in range(30)}
    assert len(asked) > 10


@pytest.mark.parametrize("count", [0, 1])
def test_of_a_cell_or_none_nothing_is_said_of_most(make_facts, count):
    facts = make_facts(count=count, covered=0.1 * count, type_counts={"dot": count})
    assert [prompt.kind for prompt in make_prompts(facts)] == ["count", "all"]
    assert reply(facts, "looks", 5, seed=0) == []


def test_who_finds_no_cells_says_so(make_facts):
    facts = make_facts(count=0, covered=0.0, type_counts={"dot": 0})
    for kind in ("count", "confluence", "all"):
        texts = reply(facts, kind, 3, seed=0)
        assert texts and {parse_caption(text, ["dot"]) for text in texts} == {Slots(count=0, confluence=0)}


def test_what_is_not_known_is_not_asked(make_facts):
    facts = make_facts(count=4, covered=0.1, type_counts={}, small=0.5, large=0.0, touching=0.5, elongated=0.5)
    assert [prompt.kind for prompt in make_prompts(facts)] == ["count", "confluence", "all"]
    assert reply(facts, "cell_type", 5, seed=0) == []
