"""Pictures to look at: true cells of a data folder, a submission on its images, the curves of trainings."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import EXIT_DONE, EXIT_PARTIAL, make_parser, run_command

EXAMPLES = {
    "data": "python tools/visualize.py data data/mine:test --out out/test.png --images 8",
    "results": "python tools/visualize.py results out/submission.csv --images data/mine/images "
    "--truth data/mine/splits/fold0/test.csv --out out/pictures",
    "curves": "python tools/visualize.py curves work_dirs/mask_rcnn work_dirs/mask_rcnn_b --out out/curves.png",
}


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(__doc__, "\n  ".join(EXAMPLES.values()))
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="data|results|curves")

    data = _add(kinds, "data", "Draw a sheet of images of a data folder with the outlines of their true cells.")
    data.add_argument("source", metavar="DATA_FOLDER[:SPLIT]", help="SPLIT is train, val, test or all (the default)")
    data.add_argument("--out", required=True, metavar="FILE.png", help="the sheet")
    data.add_argument("--fold", type=int, default=0, help="of the data folder (default: 0)")
    data.add_argument("--images", type=int, default=12, metavar="N", help="images at most (default: 12)")

    results = _add(
        kinds,
        "results",
        "Draw each image of a submission with the outlines of its cells. With the truth, cells that were found are\n"
        "blue, missed ones orange, invented ones yellow; found means IoU > 0.5. Images that are missing or damaged\n"
        "are skipped then, and the exit code is 1.",
    )
    results.add_argument("predictions", metavar="PREDICTIONS.csv", help="table id,predicted")
    results.add_argument("--images", required=True, metavar="DIR", help="folder of the images; their names are the ids")
    results.add_argument("--truth", metavar="TRUTH.csv", help="table id,annotation,width,height")
    results.add_argument("--out", required=True, metavar="DIR", help="folder for a picture ID.png of each image")

    curves = _add(
        kinds,
        "curves",
        "Plot the curves of trainings from their curves.csv: of one training all losses and scores, of several one\n"
        "loss and all scores.",
    )
    curves.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="work folders of tools/train.py")
    curves.add_argument("--out", required=True, metavar="FILE.png", help="the plot")
    curves.add_argument(
        "--value", metavar="NAME", help="one training value to plot (default: loss of several trainings, all of one)"
    )
    return parser


def _add(kinds: argparse._SubParsersAction, name: str, description: str) -> argparse.ArgumentParser:
    return kinds.add_parser(
        name,
        help=description.splitlines()[0],
        description=description,
        epilog=f"example:\n  {EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def run(options: argparse.Namespace) -> int:
    """Draw and say where it lies."""
    # torch and OpenCV take seconds to import: --help and a mistyped option should not wait for them.
    if options.kind == "data":
        from cellseg.io.results import write_picture
        from cellseg.visualization.sheets import draw_data_sheet

        write_picture(options.out, draw_data_sheet(options.source, options.fold, options.images))
        print(options.out)
        return EXIT_DONE
    if options.kind == "curves":
        from cellseg.visualization.trainings import plot_trainings

        plot_trainings(options.work_dirs, options.out, options.value)
        print(options.out)
        return EXIT_DONE
    from cellseg.visualization.results import draw_results

    report = draw_results(options.predictions, options.images, options.out, options.truth)
    print(f"{options.out}: {report.pictures} pictures")
    for key, reason in report.skipped:
        print(f"skipped {key}: {reason}", file=sys.stderr)
    return EXIT_PARTIAL if report.skipped else EXIT_DONE


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
