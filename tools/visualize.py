"""Pictures to look at: true cells of a data folder, a submission, curves of trainings, attention of words."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import EXIT_DONE, EXIT_PARTIAL, add_device, add_unsafe_load, make_parser, run_command
from cellseg.errors import InputError

EXAMPLES = {
    "data": "python tools/visualize.py data data/mine:test --out out/test.png --images 8",
    "results": "python tools/visualize.py results out/submission.csv --images data/mine/images "
    "--truth data/mine/splits/fold0/test.csv --out out/pictures",
    "curves": "python tools/visualize.py curves work_dirs/mask_rcnn work_dirs/mask_rcnn_b --out out/curves.png",
    "attention": "python tools/visualize.py attention work_dirs/answers image=cells.png "
    '"text=How many cells are there?" --out out/attention.png',
}


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(__doc__, "\n  ".join(EXAMPLES.values()))
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="data|results|curves|attention")

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
    attention = _add(
        kinds,
        "attention",
        "Draw where in a picture each word of a text looks, for a model of both whose fusion attends, and print its\n"
        "answer. The config.py of a work folder is Python and gets executed: open only folders that you trust.",
    )
    attention.add_argument("work_dir", metavar="WORK_DIR", help="work folder of a training of several modalities")
    attention.add_argument(
        "inputs", nargs="+", metavar="NAME=VALUE", help="file of a picture, or text, by the name of the modality"
    )
    attention.add_argument("--out", required=True, metavar="FILE.png", help="the picture")
    attention.add_argument("--layer", type=int, default=-1, help="of the fusion, from 0 on (default: the last)")
    attention.add_argument("--text", metavar="NAME", help="modality of the words, if there are several texts")
    attention.add_argument("--image", metavar="NAME", help="modality of the picture, if there are several")
    add_device(attention, "a CUDA device where there is one")
    add_unsafe_load(attention)
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
    if options.kind == "attention":
        return _attention(options)
    from cellseg.visualization.results import draw_results

    report = draw_results(options.predictions, options.images, options.out, options.truth)
    print(f"{options.out}: {report.pictures} pictures")
    for key, reason in report.skipped:
        print(f"skipped {key}: {reason}", file=sys.stderr)
    return EXIT_PARTIAL if report.skipped else EXIT_DONE


def _attention(options: argparse.Namespace) -> int:
    from cellseg.multimodal.explain import draw_record_attention
    from cellseg.multimodal.predict import load_trained

    record = dict(text.partition("=")[::2] for text in options.inputs)
    for text in options.inputs:
        if not all(text.partition("=")):
            raise InputError(f"{text!r}: expected NAME=VALUE, such as image=cells.png")
    if len(record) < len(options.inputs):
        raise InputError(f"{' '.join(options.inputs)}: a name stands there twice")
    predictor = load_trained(options.work_dir, device=options.device, unsafe_load=options.unsafe_load)
    answer = draw_record_attention(predictor, record, options.out, options.text, options.image, options.layer)
    for task in predictor.model.heads:
        said = {name: value for name, value in answer[task].items() if name != "embeddings"}
        print(f"{task}: {json.dumps(said, ensure_ascii=False)}")
    print(options.out)
    return EXIT_DONE


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
