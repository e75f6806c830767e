#!/usr/bin/env python
"""Prepare a data folder from images and annotations in one of the usual forms, or from synthetic images."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import EXIT_DONE, EXIT_PARTIAL, make_parser, run_command  # noqa: E402
from cellseg.datasets import synthetic  # noqa: E402
from cellseg.datasets.coco import read_coco, read_livecell  # noqa: E402
from cellseg.datasets.masks_folder import ONE_TYPE, Description, read_label_images, read_mask_folders  # noqa: E402
from cellseg.datasets.prepare import ON_ERROR, Options, prepare  # noqa: E402
from cellseg.datasets.records import Source  # noqa: E402
from cellseg.datasets.repair import REPAIRS  # noqa: E402
from cellseg.datasets.sartorius import KNOWN_BAD, read_sartorius  # noqa: E402
from cellseg.datasets.staging import check_out  # noqa: E402
from cellseg.datasets.summary import format_summary  # noqa: E402
from cellseg.errors import InputError  # noqa: E402

DESCRIPTION = """Write one data folder that training, tuning and scoring read: images as PNG, COCO files with run-length
masks for every fold, the truth as CSV, statistics and a summary (dataset.json), and a sheet of overlays to look at
(sheet.png).

The folder is complete or absent. What cannot be used is reported by row: with --on-error refuse (the default) nothing
is written, with --on-error skip it is left out, listed in dataset.json, and the exit code is 1."""

EXAMPLE = (
    "python tools/prepare_data.py sartorius --csv train.csv --images train --out data/sartorius --drop-known-bad\n"
    "  python tools/prepare_data.py sartorius --help"
)

GROUP_HELP = (
    "what groups are made from; images of one group are never split between training and testing. Default: the first "
    "that exists of the {0} group, plate_well (derived from sample_id where it has Sartorius' form) and the {0} "
    "sample_id; else every image is its own group"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = make_parser(DESCRIPTION, EXAMPLE)
    forms = parser.add_subparsers(metavar="FORM", dest="form", required=True)
    _add_sartorius(forms)
    _add_livecell(forms)
    _add_masks(forms)
    _add_coco(forms)
    _add_synthetic(forms)
    return run_command(parser, _prepare, arguments)


def _prepare(options: argparse.Namespace) -> int:
    """Read the source and write the folder; the chosen form has set ``read``."""
    read: Callable[[argparse.Namespace, Path], Source] = options.read
    chosen = Options(**{field.name: getattr(options, field.name) for field in fields(Options)})
    # Before anything is read or drawn, which can take minutes.
    chosen.check()
    check_out(Path(options.out), [], options.overwrite)
    with tempfile.TemporaryDirectory(prefix="cellseg-") as scratch:
        summary = prepare(read(options, Path(scratch)), options.out, chosen)
    print(format_summary(summary))
    return EXIT_PARTIAL if summary["skipped"] else EXIT_DONE


def _add_form(
    forms: argparse._SubParsersAction,
    name: str,
    read: Callable[[argparse.Namespace, Path], Source],
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    """A subcommand with the options that all forms share."""
    parser = forms.add_parser(
        name,
        help=description.split(".")[0],
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(read=read)
    parser.add_argument("--out", metavar="DIR", required=True, help="the data folder to write")
    default = Options()
    parser.add_argument(
        "--scale", metavar="S", type=float, default=default.scale, help="scale images and masks together (default: 1)"
    )
    parser.add_argument(
        "--folds",
        metavar="N",
        type=int,
        help="how many; 1 makes no test split (default: 5, or as many as there are groups)",
    )
    parser.add_argument(
        "--val",
        metavar="FRACTION",
        type=float,
        default=default.val,
        help="part of the images outside of the test fold that validates, in whole groups (default: 0.2)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=default.seed, help="decides the folds (default: 0)")
    parser.add_argument(
        "--repair",
        choices=REPAIRS,
        default=default.repair,
        help="mend masks: fill holes; largest: also keep only the largest part; bridge: also join near parts first "
        "(default: none)",
    )
    parser.add_argument(
        "--on-error", choices=ON_ERROR, default=default.on_error, help="about unusable input (default: refuse)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it is a data folder")
    return parser


def _add_sartorius(forms: argparse._SubParsersAction) -> None:
    parser = _add_form(
        forms,
        "sartorius",
        lambda options, _: read_sartorius(options.csv, options.images, options.group, options.drop_known_bad),
        "A CSV file with one row for each cell: id,annotation,width,height and where known cell_type.\n"
        "Annotations are run lengths as the Sartorius competition has them: pairs of start and length, counted from\n"
        "1, row by row.",
        "python tools/prepare_data.py sartorius --csv train.csv --images train --out data/sartorius --drop-known-bad",
    )
    parser.add_argument("--csv", metavar="FILE", required=True, help="the table of cells")
    parser.add_argument("--images", metavar="DIR", required=True, help="folder with the images ID.png (or .tif, .jpg)")
    parser.add_argument("--group", metavar="COLUMN", help=GROUP_HELP.format("column"))
    parser.add_argument(
        "--drop-known-bad",
        action="store_true",
        help=f"leave out the images of the competition with wrong annotations: {', '.join(KNOWN_BAD)}",
    )


def _add_livecell(forms: argparse._SubParsersAction) -> None:
    parser = _add_form(
        forms,
        "livecell",
        lambda options, _: read_livecell(options.json, options.images),
        "LIVECell's COCO files.\n"
        "File names tell the cell type, which becomes the class, and the well, which groups the images.",
        "python tools/prepare_data.py livecell --json livecell_coco_train.json --images images --out data/livecell",
    )
    parser.add_argument("--json", metavar="FILE", nargs="+", required=True, help="one or more of its annotation files")
    parser.add_argument("--images", metavar="DIR", required=True, help="folder with the images, at any depth")


def _add_coco(forms: argparse._SubParsersAction) -> None:
    parser = _add_form(
        forms,
        "coco",
        lambda options, _: read_coco(options.json, options.images, options.group),
        "COCO files with instance masks: polygons, compressed or uncompressed run lengths.\n"
        "Crowd regions are no instances: they are reported like other unusable annotations.",
        "python tools/prepare_data.py coco --json annotations.json --images images --out data/mine",
    )
    parser.add_argument("--json", metavar="FILE", nargs="+", required=True, help="one or more files, same categories")
    parser.add_argument("--images", metavar="DIR", required=True, help="folder that file_name is relative to")
    parser.add_argument("--group", metavar="FIELD", help=GROUP_HELP.format("image field"))


def _add_masks(forms: argparse._SubParsersAction) -> None:
    parser = _add_form(
        forms,
        "masks",
        lambda options, _: _read_masks(options),
        "Masks as images: label images, or one mask file for each cell.\n"
        "Label images (8, 16 or 32 bit, 0 is background) lie in --labels under the names of their images in --images.\n"
        "One file for each cell lies in --folders, as in the 2018 Data Science Bowl: ID/images/ID.png, ID/masks/*.png.",
        "python tools/prepare_data.py masks --images images --labels labels --out data/mine",
    )
    parser.add_argument("--images", metavar="DIR", help="folder of images")
    parser.add_argument("--labels", metavar="DIR", help="folder of label images; may be that of the images")
    parser.add_argument("--image-suffix", metavar="TEXT", default="", help="what follows the id in names: _img")
    parser.add_argument("--label-suffix", metavar="TEXT", default="", help="the same for label images: _masks")
    parser.add_argument("--folders", metavar="DIR", help="folder with a folder for each image")
    parser.add_argument("--cell-type", metavar="NAME", default=ONE_TYPE, help="the cells' type (default: cell)")
    parser.add_argument("--table", metavar="FILE.csv", help="id and, where wanted, cell_type and columns to group by")
    parser.add_argument("--group", metavar="COLUMN", help=GROUP_HELP.format("table's column"))


def _read_masks(options: argparse.Namespace) -> Source:
    table = Path(options.table) if options.table else None
    description = Description(options.cell_type, table, options.group)
    if options.folders:
        if options.images or options.labels or options.image_suffix or options.label_suffix:
            raise InputError("--folders stands alone: --images, --labels and their suffixes are for label images")
        return read_mask_folders(options.folders, description)
    if not (options.images and options.labels):
        raise InputError("expected --images with --labels, or --folders")
    return read_label_images(options.images, options.labels, description, options.image_suffix, options.label_suffix)


def _add_synthetic(forms: argparse._SubParsersAction) -> None:
    parser = _add_form(
        forms,
        "synthetic",
        _read_synthetic,
        "Synthetic phase-contrast images of three cell types.\n"
        "No download is needed; equal seeds make equal images. Wells are the groups.",
        "python tools/prepare_data.py synthetic --out data/demo --num-images 60 --height 260 --width 352",
    )
    parser.add_argument("--num-images", metavar="N", type=int, default=60, help="how many (default: 60)")
    parser.add_argument("--height", metavar="PX", type=int, default=520, help="of the images (default: 520)")
    parser.add_argument("--width", metavar="PX", type=int, default=704, help="of the images (default: 704)")
    parser.add_argument("--images-per-well", metavar="N", type=int, default=4, help="images of a group (default: 4)")
    parser.add_argument(
        "--types", metavar="TYPE", nargs="+", default=list(synthetic.KINDS), help="cell types (default: %(default)s)"
    )
    parser.add_argument("--keep", metavar="DIR", help="keep the images and train.csv, which have Sartorius' form, here")


def _read_synthetic(options: argparse.Namespace, scratch: Path) -> Source:
    folder = Path(options.keep) if options.keep else scratch
    if options.keep and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--keep {folder}: exists and is not an empty folder; choose another")
    csv_path, images = synthetic.write_sartorius_like(
        folder,
        num_images=options.num_images,
        height=options.height,
        width=options.width,
        seed=options.seed,
        images_per_well=options.images_per_well,
        kinds=options.types,
    )
    return replace(read_sartorius(csv_path, images), name="synthetic")


if __name__ == "__main__":
    sys.exit(main())
