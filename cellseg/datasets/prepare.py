"""From what a reader found to a data folder, complete or not at all."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import tifffile
from tqdm import tqdm

import cellseg
from cellseg.datasets.folder import FORMAT, SUMMARY_FILE
from cellseg.datasets.folds import Split, check_options, default_folds, make_splits
from cellseg.datasets.records import Problem, Source, SourceImage
from cellseg.datasets.repair import REPAIRS, RepairCounts, find_defects, repair
from cellseg.datasets.rescale import rescale_image, rescale_masks, scaled_size
from cellseg.datasets.sheet import write_sheet
from cellseg.datasets.staging import check_out, staging
from cellseg.datasets.statistics import PixelSums, count_sizes, describe_classes, mean_and_std, pixel_sums
from cellseg.datasets.writer import FolderWriter
from cellseg.errors import InputError
from cellseg.io.files import file_hash, write_json
from cellseg.io.images import read_image
from cellseg.structures import CropMasks

ON_ERROR = ("refuse", "skip")
LISTED_PROBLEMS = 20
_LARGEST_SCALE = 16.0
_LIBRARIES = {"numpy": np, "opencv": cv2, "pillow": PIL, "tifffile": tifffile}


@dataclass(frozen=True)
class Options:
    """What the user decides about a data folder.

    Attributes:
        scale: factor for images and masks, see ``cellseg.datasets.rescale``.
        folds: number of folds; 1 makes no test split, None takes ``default_folds``.
        val: fraction of the images outside of the test fold that validate.
        seed: for the folds.
        repair: one of ``cellseg.datasets.repair.REPAIRS``.
        on_error: ``refuse`` writes nothing when anything cannot be used, ``skip`` leaves it out and lists it.
        overwrite: replace a data folder that exists.
    """

    scale: float = 1.0
    folds: int | None = None
    val: float = 0.2
    seed: int = 0
    repair: str = "none"
    on_error: str = "refuse"
    overwrite: bool = False

    def check(self) -> None:
        """Raise ``InputError`` for a value that cannot be used."""
        if not 0 < self.scale <= _LARGEST_SCALE:
            raise InputError(f"--scale {self.scale:g}: expected a factor above 0, at most {_LARGEST_SCALE:g}")
        if self.repair not in REPAIRS:
            raise InputError(f"--repair {self.repair}: expected one of {', '.join(REPAIRS)}")
        if self.on_error not in ON_ERROR:
            raise InputError(f"--on-error {self.on_error}: expected one of {', '.join(ON_ERROR)}")
        check_options(1 if self.folds is None else self.folds, self.val, self.seed)


@dataclass
class _Tally:
    """What is collected while the images pass by; the lists have an entry for each image that was kept."""

    images: list[SourceImage] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    sums: list[PixelSums] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    areas: list[np.ndarray] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    repaired: RepairCounts = field(default_factory=RepairCounts)
    with_holes: int = 0
    in_parts: int = 0
    vanished: int = 0


def prepare(source: Source, out: str | Path, options: Options) -> dict[str, Any]:
    """Write a data folder.

    Everything goes into a hidden folder beside ``out`` that takes its name at the end, so ``out`` is complete
    or as it was before.

    Args:
        source: what a reader found.
        out: the folder to write.
        options: scale, folds and so on.

    Returns:
        The content of ``dataset.json``.

    Raises:
        InputError: options that cannot be used, ``out`` exists, nothing is usable, or (with ``on_error``
            ``refuse``) anything cannot be used; then up to 20 problems are listed.
    """
    out = Path(out).absolute()
    options.check()
    check_out(out, [*source.files.values(), *(image.path for image in source.images)], options.overwrite)
    problems = list(source.problems)
    if source.images and not problems:  # too few groups: say so before the images are read
        _split(source.images, options)
    with staging(out) as folder, FolderWriter(folder, source.class_names) as writer:
        tally = _write_images(source, writer, options, problems)
        if problems and (options.on_error == "refuse" or not tally.images):
            raise InputError(_refusal(problems, options))
        if not tally.images:
            raise InputError("no images are left to prepare")
        fold_of_image, splits = _split(tally.images, options)
        writer.write_splits(fold_of_image, splits)
        summary = _summarise(out.name, source, options, tally, splits, problems)
        write_json(folder / SUMMARY_FILE, summary)
        write_sheet(folder, {image.key: image.cell_type for image in tally.images})
    return summary


def _split(images: Sequence[SourceImage], options: Options) -> tuple[np.ndarray, list[Split]]:
    groups, types = [image.group for image in images], [image.cell_type for image in images]
    folds = default_folds(len(set(groups))) if options.folds is None else options.folds
    return make_splits(groups, types, folds, options.val, options.seed)


def _refusal(problems: Sequence[Problem], options: Options) -> str:
    lines = [f"  {problem}" for problem in problems[:LISTED_PROBLEMS]]
    if len(problems) > LISTED_PROBLEMS:
        lines.append(f"  and {len(problems) - LISTED_PROBLEMS} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    if options.on_error == "skip":
        head = f"{count} in the input leave no image to prepare; nothing was written:"
    else:
        head = f"{count} in the input, nothing was written; mend the input, or leave these out with --on-error skip:"
    return "\n".join((head, *lines))


def _write_images(source: Source, writer: FolderWriter, options: Options, problems: list[Problem]) -> _Tally:
    """Read, mend, rescale and write the images one after another; problems are appended."""
    tally = _Tally()
    for image in tqdm(source.images, desc="preparing images", unit="image", disable=None):
        own: list[Problem] = []
        try:
            pixels, masks, names = _load(image, own)
        except InputError as error:
            own.append(Problem(image.row, image.key, str(error)))
            pixels = None
        problems += own
        # What is refused in the end need not be written; the rest is still read, to list all problems at once.
        if pixels is not None and not (problems and options.on_error == "refuse"):
            labels = np.array([source.class_names.index(name) for name in names], dtype=np.int64)
            _write_image(image, pixels, masks, labels, writer, options, tally)
    return tally


def _load(image: SourceImage, problems: list[Problem]) -> tuple[np.ndarray, CropMasks, list[str]]:
    pixels = read_image(image.path)
    size = (pixels.shape[0], pixels.shape[1])
    if image.size is not None and image.size != size:
        raise InputError(
            f"the image {image.path.name} is {size[1]} x {size[0]} (width x height), "
            f"its annotations say {image.size[1]} x {image.size[0]}"
        )
    return (pixels, *image.read_cells(size, problems))


def _write_image(
    image: SourceImage,
    pixels: np.ndarray,
    masks: CropMasks,
    labels: np.ndarray,
    writer: FolderWriter,
    options: Options,
    tally: _Tally,
) -> None:
    holes, parts = find_defects(masks)
    tally.with_holes += int(holes.sum())
    tally.in_parts += int(parts.sum())
    masks, counts = repair(masks, options.repair)
    tally.repaired.add(counts)
    size = scaled_size(pixels.shape[:2], options.scale)
    pixels, masks = rescale_image(pixels, size), rescale_masks(masks, size)
    kept = masks.areas() > 0
    tally.vanished += len(masks) - int(kept.sum())
    masks, labels = masks[kept], labels[kept.numpy()]
    writer.add(image, pixels, masks, labels)
    tally.images.append(image)
    tally.sizes.append(size)
    tally.sums.append(pixel_sums(pixels))
    tally.labels.append(labels)
    tally.areas.append(masks.areas().numpy())
    tally.hashes.append(file_hash(image.path))


def _summarise(
    name: str, source: Source, options: Options, tally: _Tally, splits: Sequence[Split], problems: Sequence[Problem]
) -> dict[str, Any]:
    trained = sorted({index for split in splits for index in split.train})
    mean, std = mean_and_std(tally.sums[index] for index in trained)
    return {
        "format": FORMAT,
        "name": name,
        "source": source.name,
        "class_names": list(source.class_names),
        "images": len(tally.images),
        "instances": sum(len(labels) for labels in tally.labels),
        "mean": mean,
        "std": std,
        "image_sizes": count_sizes(tally.sizes),
        "scale": options.scale,
        "folds": len(splits),
        "group_column": source.group_column,
        "groups": len({image.group for image in tally.images}),
        "splits": [{part: len(images) for part, images in asdict(split).items()} for split in splits],
        "per_class": describe_classes(source.class_names, tally.labels, tally.areas),
        "defects": {"with_holes": tally.with_holes, "in_parts": tally.in_parts, "vanished": tally.vanished},
        "repair": asdict(tally.repaired),
        "skipped": [{"row": item.row, "id": item.id, "reason": item.reason} for item in problems],
        "dropped": source.dropped,
        "options": {option: value for option, value in asdict(options).items() if option != "overwrite"},
        "provenance": {
            "versions": {
                "cellseg": cellseg.__version__,
                **{name: library.__version__ for name, library in _LIBRARIES.items()},
            },
            "inputs": {file: file_hash(path) for file, path in sorted(source.files.items())},
            "images": _hash_of_hashes(tally),
        },
    }


def _hash_of_hashes(tally: _Tally) -> str:
    """One hash for all images: of the lines ``key hash``."""
    lines = [f"{image.key} {digest}\n" for image, digest in zip(tally.images, tally.hashes, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
