"""Buckets and phrases: what a caption says is read back from it."""

from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg.errors import InputError
from cellseg.multimodal.derive import phrases
from cellseg.multimodal.derive.phrases import (
    COUNT_STARTS,
    COVER_STARTS,
    QUESTIONS,
    TRAITS,
    Slots,
    caption,
    check_types,
    choose,
    count_bucket,
    count_name,
    count_range,
    cover_bucket,
    cover_name,
    cover_range,
    parse_caption,
    question,
    slots_of,
    spoken,
)

LAST_COUNT, LAST_COVER = len(COUNT_STARTS) - 1, len(COVER_STARTS)


def test_every_count_lies_in_its_bucket_and_in_no_other():
    ranges = [count_range(bucket) for bucket in range(LAST_COUNT + 1)]
    for count in [*range(600), 10_000]:
        inside = [
            place for place, (low, high) in enumerate(ranges) if low <= count <= (count if high is None else high)
        ]
        assert inside == [count_bucket(count)]


def test_every_share_lies_in_its_bucket():
    assert (cover_bucket(0, 1000), cover_range(0)) == (0, (0, 0))
    for covered in range(1, 1001):
        bucket = cover_bucket(covered, 1000)
        low, high = cover_range(bucket)
        share = Fraction(100 * covered, 1000)
        assert bucket > 0 and low <= share and (share < high or share == high == 100)


@pytest.mark.parametrize("covered, bucket", [(0, 0), (1, 1), (4, 1), (5, 2), (10, 3), (79, 6), (80, 7), (100, 7)])
def test_shares_on_an_edge_belong_to_the_upper_bucket(covered, bucket):
    assert cover_bucket(covered, 100) == bucket


def test_names_of_buckets():
    names = ["0", "1", "2 to 5", "6 to 10", "11 to 20", "21 to 50", "51 to 100", "101 to 200", "201 to 500"]
    assert [count_name(bucket) for bucket in range(LAST_COUNT + 1)] == [*names, "more than 500"]
    names = ["none", "under 5 percent", "5 to 10 percent", "10 to 20 percent", "20 to 40 percent", "40 to 60 percent"]
    names += ["60 to 80 percent", "80 percent or more"]
    assert [cover_name(bucket) for bucket in range(LAST_COVER + 1)] == names


@st.composite
def slots_and_types(draw):
    """What captions can say, and the types that there are."""
    names = draw(
        st.lists(
            st.one_of(
                st.text("abÄ_-. 1[]", min_size=1, max_size=6),
                st.sampled_from(
                    ["small", "no cells", "5 to 10 percent", "most cells", "neuron", "neuron like", "cell"]
                ),
            ),
            unique_by=spoken,
            max_size=5,
        ).map(lambda names: [name for name in names if spoken(name)])
    )
    count = draw(st.integers(0, LAST_COUNT))
    if count == 0:
        return Slots(count=0, confluence=0), names
    cell_type = draw(st.sampled_from([None, *names]))
    cover = draw(st.one_of(st.none(), st.integers(1, LAST_COVER)))
    traits = {}
    if count > 1:
        traits = {trait: draw(st.sampled_from([None, *values])) for trait, values in TRAITS.items()}
    return Slots(count, cell_type, cover, **traits), names


@settings(max_examples=400)
@given(slots_and_types(), st.integers(0, 10**6))
def test_parsing_inverts_writing(written, key):
    slots, names = written
    text = caption(slots, key)
    assert parse_caption(text, names) == slots
    # As a model with its own tokens gives it back: lower case, blanks around signs, or no signs at all.
    assert parse_caption(text.lower().replace(".", " . ").replace(",", " ,"), names) == slots


@pytest.mark.parametrize("bucket", range(1, LAST_COUNT + 1))
def test_every_value_in_every_phrasing(bucket):
    for cover, key in product(range(1, LAST_COVER + 1), range(20)):
        slots = Slots(bucket, "two", cover)
        assert parse_caption(caption(slots, key), ["one", "two"]) == slots


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", Slots()),
        ("A man rides a horse.", Slots()),
        ("21 TO 50 CELLS!", Slots(count=5)),
        ("we see between 21  and 50 cells covering 10 to 20% of it", Slots(count=5, confluence=3)),
        ("6 to 10 cells and 11 to 20 cells", Slots()),
        ("6 to 10 cells, yes, between 6 and 10 cells", Slots(count=3)),
        ("16 to 10 cells", Slots()),
        ("no cells", Slots(count=0, confluence=0)),
        ("no cells, under 5 percent", Slots(count=0, confluence=1)),
        ("Most cells are small. Most cells are large.", Slots()),
        ("Most cells touch no other cell", Slots(crowding="apart")),
        ("mostly of type neuron like, 1", Slots(cell_type="neuron-like")),
        ("mostly of type neuron", Slots(cell_type="neuron")),
        ("mostly of type neuron. mainly of type neuron like", Slots()),
        ("mostly of type other", Slots()),
        ("mostly of type neurons", Slots()),
    ],
)
def test_captions_of_any_origin(text, expected):
    assert parse_caption(text, ["neuron", "neuron-like"]) == expected


def test_captions_as_they_read():
    slots = Slots(count_bucket(12), "Big_one", cover_bucket(3, 20), "small", "apart", "compact")
    assert caption(slots, 0) == (
        "A microscope image with between 11 and 20 cells, mainly of type big one. The confluence is 10 to 20 percent. "
        "Most cells are small. Most cells stand alone. Most cells are about as long as wide."
    )
    assert caption(Slots(0, None, 0), 0) == "A microscope image with no cells."
    assert caption(Slots(1, "dot", 1), 0) == (
        "A microscope image with one cell, of type dot. It covers under 5 percent of the area."
    )


def test_all_phrasings_are_used():
    slots = Slots(5, "dot", 3, "small", "touching", "compact")
    texts = [caption(slots, key) for key in range(300)]
    for variants in (phrases._OPENINGS, phrases._COVERS, phrases._TYPE_WORDS, TRAITS["size"]["small"]):
        for variant in variants:
            assert any(variant.split("{")[0] in text for text in texts), variant
    asked = Counter(question("count", "", key) for key in range(300))
    assert set(asked) == set(QUESTIONS["count"]) and min(asked.values()) > 60
    assert choose("abc", 1, "x") == choose("abc", 1, "x")


@pytest.mark.parametrize(
    "changes, expected",
    [
        (dict(count=0), Slots(count=0, confluence=0)),
        (dict(count=1, touching=0.0, small=1.0, elongated=1.0), Slots(count=1, confluence=4)),
        (dict(type_counts={"a": 5, "b": 7}), Slots(4, "b", 4, None, None, "compact")),
        (dict(type_counts={"a": 6, "b": 6}, small=0.61), Slots(4, None, 4, "small", None, "compact")),
        (dict(large=0.9, touching=0.9, elongated=0.7), Slots(4, None, 4, "large", "touching", "elongated")),
        (dict(small=None, large=None, touching=0.3, elongated=0.5), Slots(4, None, 4, None, "apart", None)),
    ],
)
def test_what_can_be_said(make_facts, changes, expected):
    assert slots_of(make_facts(**changes)) == expected


@pytest.mark.parametrize(
    "names, message",
    [
        (["+"], r"cell type '\+' has neither letters nor digits to write about"),
        (["Big one", "dot", "big_one"], "cell types 'Big one' and 'big_one' read the same in a text; rename one"),
    ],
)
def test_types_that_cannot_be_told_apart(names, message):
    with pytest.raises(InputError, match=message):
        check_types(names)


@pytest.mark.parametrize(
    "name, text", [("shsy5y[diff]", "shsy5y diff"), ("A_b", "a b"), ("Zelle-Ä", "zelle ä"), ("--", "")]
)
def test_spoken_names(name, text):
    assert spoken(name) == text == spoken(text)
