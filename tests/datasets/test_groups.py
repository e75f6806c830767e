import pytest

from cellseg.datasets.groups import plate_well, resolve_groups, source_column
from cellseg.errors import InputError


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("shsy5y[diff]_E10-4_Vessel-714_Ph_3", "shsy5y[diff]_E10_Vessel-714"),
        ("shsy5y[diff]_E10-2_Vessel-714_Ph_3", "shsy5y[diff]_E10_Vessel-714"),
        ("cort[oka-low]_B3-1_Vessel-377_Ph_3", "cort[oka-low]_B3_Vessel-377"),
        ("astro[synthetic]_A1_Vessel-0_Ph_1", "astro[synthetic]_A1_Vessel-0"),
        ("00071198d059ba7f", None),
        ("usi_03", None),
        ("", None),
    ],
)
def test_plate_well(sample, expected):
    assert plate_well(sample) == expected


@pytest.mark.parametrize(
    ("columns", "wanted", "expected"),
    [
        (["id", "sample_id", "group"], None, "group"),
        (["id", "sample_id"], None, "sample_id"),
        (["id"], None, None),
        (["id", "plate"], "plate", "plate"),
        (["id", "sample_id"], "plate_well", "sample_id"),
        (["id", "sample_id", "plate_well"], "plate_well", "plate_well"),
    ],
)
def test_source_column(columns, wanted, expected):
    assert source_column(columns, wanted, "t.csv") == expected


def test_missing_column():
    with pytest.raises(InputError, match="t.csv: --group plate needs the column 'plate'; the file has id, group"):
        source_column(["id", "group"], "plate", "t.csv")


def test_locations_of_a_well_belong_together_by_default():
    values = {"a": "x_E10-1_Vessel-7_Ph_3", "b": "x_E10-2_Vessel-7_Ph_3", "c": "x_E11-1_Vessel-7_Ph_3"}
    name, groups, missing = resolve_groups(values, "sample_id", None)
    assert (name, missing) == ("plate_well", {})
    assert groups == {"a": "x_E10_Vessel-7", "b": "x_E10_Vessel-7", "c": "x_E11_Vessel-7"}
    assert resolve_groups(values, "sample_id", "sample_id")[1] == values


def test_samples_of_another_form_are_groups_as_they_are():
    values = {"a": "x_E10-1_Vessel-7_Ph_3", "b": "my sample"}
    assert resolve_groups(values, "sample_id", None) == ("sample_id", values, {})
    name, groups, missing = resolve_groups(values, "sample_id", "plate_well")
    assert (name, groups) == ("plate_well", {"a": "x_E10_Vessel-7"})
    assert missing == {"b": "sample_id 'my sample' has not the form SAMPLE_WELL-LOCATION_Vessel-NUMBER"}


def test_each_image_alone_and_empty_groups():
    assert resolve_groups({"a": "", "b": ""}, None, None) == ("image", {"a": "a", "b": "b"}, {})
    name, groups, missing = resolve_groups({"a": "1", "b": ""}, "plate", "plate")
    assert (name, groups) == ("plate", {"a": "1"})
    assert missing == {"b": "column 'plate' is empty, so the image has no group"}
