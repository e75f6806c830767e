"""Pictures of a submission: what was predicted, or what was found, missed and invented beside the truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas
from tqdm import tqdm

from cellseg.errors import CellsegError, InputError
from cellseg.io.images import list_inputs, read_image
from cellseg.io.results import write_picture
from cellseg.io.submission import read_predictions, read_truth
from cellseg.visualization.overlays import draw_comparison, draw_outlines

_LISTED = 5


@dataclass(frozen=True)
class PictureReport:
    """What became of the images.

    Attributes:
        pictures: how many were drawn.
        skipped: id and reason of the others.
    """

    pictures: int
    skipped: tuple[tuple[str, str], ...]


def draw_results(
    predictions: str | Path, images: str | Path, out: str | Path, truth: str | Path | None = None
) -> PictureReport:
    """Draw each image of a submission into ``out/ID.png``.

    Args:
        predictions: ``id,predicted``.
        images: the folder of the images (or a glob, or a text file of paths); an image's name without its suffix is its
            id. Images that the submission does not name are passed over.
        out: folder for the pictures.
        truth: ``id,annotation,width,height``; then cells that were found, missed and invented get a colour each.

    Returns:
        How many pictures there are. Images that are missing, cannot be read or have another size are skipped where the
        truth says how large they should be.

    Raises:
        MissingFileError: a table or the folder does not exist.
        InputError: a table is damaged, names other images than the truth, or (without a truth) images that are not
            there; or nothing could be drawn.
    """
    paths = dict(list_inputs(images))
    true = None if truth is None else read_truth(truth)
    if true is None:
        sizes = _image_sizes(predictions, paths, images)
    else:
        sizes = {key: image.masks.image_size for key, image in true.items()}
    predicted = read_predictions(predictions, sizes)
    skipped = []
    for key, found in tqdm(predicted.items(), desc="draw", unit="image", disable=None):
        try:
            if key not in paths:
                raise InputError(f"{images}: no image of this id")
            image = read_image(paths[key])
            if true is None:
                picture = draw_outlines(image, found.masks)
            else:
                picture = draw_comparison(image, true[key].masks, found.masks)
        except CellsegError as error:
            skipped.append((key, str(error)))
        else:
            write_picture(Path(out) / f"{key}.png", picture)
    if len(skipped) == len(predicted):
        raise InputError(f"none of {len(skipped)} images could be drawn; the first, {skipped[0][0]}: {skipped[0][1]}")
    return PictureReport(len(predicted) - len(skipped), tuple(skipped))


def _image_sizes(predictions: str | Path, paths: Mapping[str, Path], images: str | Path) -> dict[str, tuple[int, int]]:
    """(height, width) of the images that a submission names: a run length alone does not say where its rows end."""
    try:
        table = pandas.read_csv(predictions, usecols=["id"], dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError):
        read_predictions(predictions, {})  # says what is wrong with the table
        raise
    ids = list(dict.fromkeys(table["id"]))
    missing = [key for key in ids if key not in paths]
    if missing:
        listed = ", ".join(missing[:_LISTED]) + (
            f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        )
        raise InputError(f"{images}: no image for {listed} of {predictions}; give the folder of its images")
    return {key: read_image(paths[key]).shape[:2] for key in ids}
