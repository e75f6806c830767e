"""Sentences of reports."""

import pytest

from cellseg.multimodal.derive.sentences import describe_image, describe_images, percent, plural, total_types


def test_an_image_of_two_types(make_facts):
    facts = make_facts(count=20, covered=0.234, type_counts={"a": 5, "b": 15}, touching=0.4, elongated=0.05)
    assert describe_image(facts, [0.4] * 3 + [0.8] * 17) == [
        "20 cells were found: 15 of type b (75%) and 5 of type a (25%).",
        "They cover 23% of the image.",
        "The median area is 500 px; half of the cells have between 250 and 750 px.",
        "8 (40%) touch another cell, 1 (5.0%) is at least twice as long as wide.",
        "The median confidence is 0.80; 3 cells are below 0.5.",
    ]


def test_without_types_and_scores(make_facts):
    facts = make_facts(count=1200, touching=0.0, elongated=1.0)
    said = " ".join(describe_image(facts))
    assert said.startswith("1,200 cells were found. ") and "type" not in said and "confidence" not in said
    assert "None touches another cell, all are at least twice as long as wide." in said


def test_a_single_cell(make_facts):
    facts = make_facts(count=1, covered=0.0002, type_counts={"a": 0, "b": 1}, elongated=1.0, touching=0.0)
    assert describe_image(facts, [0.25]) == [
        "1 cell was found, of type b.",
        "It covers <0.1% of the image.",
        "Its area is 500 px; it is at least twice as long as wide.",
        "The confidence is 0.25; 1 cell is below 0.5.",
    ]


def test_no_cells(make_facts):
    assert describe_image(make_facts(count=0), []) == ["No cells were found."]


def test_all_images(make_facts):
    facts = [
        make_facts(key=f"i{n}", count=n, covered=n / 100, type_counts={"a": n // 3, "b": n - n // 3}) for n in (0, 3, 9)
    ]
    assert describe_images(facts) == [
        "3 images with 12 cells in total.",
        "An image has between 0 and 9 cells, 3 in the median.",
        "Cells cover between 0% and 9.0% of an image, 3.0% in the median.",
        "By type there are 8 b (67%) and 4 a (33%).",
        "No cells were found in i0.",
    ]
    assert total_types(facts) == {"a": 4, "b": 8}


def test_one_image_or_nothing_at_all(make_facts):
    assert describe_images([make_facts(count=1)]) == ["1 image with 1 cell in total."]
    said = describe_images([make_facts(key=str(n), count=0) for n in range(3)])
    assert said[0] == "3 images with 0 cells in total." and not any("No cells" in text for text in said)


def test_many_empty_images_are_not_all_listed(make_facts):
    facts = [make_facts(key=f"i{n:02d}", count=0) for n in range(11)] + [make_facts(key="full")]
    expected = "No cells were found in i00, i01, i02, i03, i04, i05, i06, i07 and 3 more."
    assert describe_images(facts)[-1] == expected


@pytest.mark.parametrize(
    "fraction, text", [(0, "0%"), (0.0005, "<0.1%"), (0.001, "0.1%"), (0.0994, "9.9%"), (0.0996, "10%"), (1, "100%")]
)
def test_percentages(fraction, text):
    assert percent(fraction) == text


def test_plurals():
    assert (plural(1, "cell"), plural(0, "cell"), plural(2048, "cell")) == ("1 cell", "0 cells", "2,048 cells")
