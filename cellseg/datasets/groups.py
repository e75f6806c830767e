"""Which images belong together, so that folds never split what looks alike."""

import re
from collections.abc import Sequence

from cellseg.errors import InputError

GROUP = "group"
SAMPLE = "sample_id"
PLATE_WELL = "plate_well"
EACH_IMAGE = "image"
# For example shsy5y[diff]_E10-4_Vessel-714_Ph_3: sample, well E10, location 4 in that well, vessel 714.
_SAMPLE_ID = re.compile(r"(?P<sample>.+)_(?P<well>[A-Z]{1,2}[0-9]{1,2})(-[0-9]+)?_(?P<vessel>Vessel-[0-9]+)(_.*)?")


def plate_well(sample_id: str) -> str | None:
    """Sample, well and vessel of a Sartorius ``sample_id``, without the location in the well; None in other forms.

    Examples:
        >>> plate_well("shsy5y[diff]_E10-4_Vessel-714_Ph_3")
        'shsy5y[diff]_E10_Vessel-714'
    """
    match = _SAMPLE_ID.fullmatch(sample_id)
    return f"{match['sample']}_{match['well']}_{match['vessel']}" if match else None


def source_column(columns: Sequence[str], wanted: str | None, where: str) -> str | None:
    """The column that groups are made from; None when every image is a group of its own.

    Args:
        columns: of the table, or fields of its entries.
        wanted: a column, ``plate_well``, or None for the first of ``group`` and ``sample_id`` that exists.
        where: the file, for the error.

    Raises:
        InputError: the wanted column does not exist.
    """
    if wanted is None:
        return next((name for name in (GROUP, SAMPLE) if name in columns), None)
    column = SAMPLE if wanted == PLATE_WELL and PLATE_WELL not in columns else wanted
    if column not in columns:
        raise InputError(f"{where}: --group {wanted} needs the column {column!r}; the file has {', '.join(columns)}")
    return column


def resolve_groups(
    values: dict[str, str], column: str | None, wanted: str | None
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Group of every image.

    Args:
        values: what stands in the column, by image key.
        column, wanted: see ``source_column``.

    Returns:
        What the groups are made from, the group of each image, and the reason for each image that has none.
    """
    if column is None:
        return EACH_IMAGE, {key: key for key in values}, {}
    if column == SAMPLE and wanted in (None, PLATE_WELL):
        derived = {key: plate_well(value) for key, value in values.items()}
        if wanted == PLATE_WELL:
            bad = {
                key: f"sample_id {values[key]!r} has not the form SAMPLE_WELL-LOCATION_Vessel-NUMBER"
                for key, group in derived.items()
                if group is None
            }
            return PLATE_WELL, {key: group for key, group in derived.items() if group is not None}, bad
        if values and all(group is not None for group in derived.values()):
            return PLATE_WELL, {key: group for key, group in derived.items() if group is not None}, {}
    reason = f"column {column!r} is empty, so the image has no group"
    empty = {key: reason for key, value in values.items() if not value}
    return column, {key: value for key, value in values.items() if value}, empty
