"""Text from segmentations: data sets of captions and questions, answers, scores of generated text, reports."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import (
    EXIT_DONE,
    EXIT_PARTIAL,
    add_cfg_options,
    add_device,
    add_members,
    add_unsafe_load,
    make_parser,
    run_command,
)
from cellseg.errors import InputError

EXAMPLES = {
    "dataset": "python tools/derive_text.py dataset data/demo --out data/demo_text",
    "answer": "python tools/derive_text.py answer --data data/demo_text --submission out/mine --out out/text",
    "score": "python tools/derive_text.py score --data data/demo_text --captions out/captions.json",
    "report": "python tools/derive_text.py report images --config configs/ensemble/small.py --weights weights.json "
    "--out out/report",
}
SEGMENTATION = "segmentation"


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(__doc__, "\n  ".join(EXAMPLES.values()))
    jobs = parser.add_subparsers(dest="job", required=True, metavar="dataset|answer|score|report")
    _add_dataset(jobs)
    _add_answer(jobs)
    _add_score(jobs)
    _add_report(jobs)
    return parser


def _add(jobs: argparse._SubParsersAction, name: str, description: str) -> argparse.ArgumentParser:
    return jobs.add_parser(
        name,
        help=description.splitlines()[0],
        description=description,
        epilog=f"example:\n  {EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_dataset(jobs: argparse._SubParsersAction) -> None:
    parser = _add(
        jobs,
        "dataset",
        "Write captions, questions and image-text pairs about the images of a data folder.\n"
        "captions.json (COCO), prompts.json (COCO, each caption replies to a prompt that asks for one thing or all),\n"
        "vqa.json (images, questions, answers) and pairs.jsonl (image, text, label) follow from the masks alone; the\n"
        "folder splits/ has the first three for each split. Numbers are in buckets. Answers are balanced: of the\n"
        "questions of one kind about one value, no answer occurs more often than the median one, and questions with a\n"
        "single answer are left out.",
    )
    parser.add_argument("data", metavar="DATA_FOLDER", help="a folder of tools/prepare_data.py")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write, complete or not at all")
    parser.add_argument("--fold", metavar="N", type=int, default=0, help="whose splits are used (default: 0)")
    parser.add_argument(
        "--splits", metavar="SPLIT", nargs="+", default=[], help="some of train, val, test (default: all there are)"
    )
    _add_submission(parser, "write about predicted cells instead of the true ones: ")
    parser.add_argument("--captions", metavar="N", type=int, default=5, help="of an image or prompt (default: 5)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="decides phrasings and choices (default: 0)")
    parser.add_argument("--no-images", action="store_true", help="do not copy the images into DIR/images")
    parser.add_argument(
        "--official", action="store_true", help="write the questions of each split also as VQA v2's two files"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace DIR if it is such a data set")


def _add_answer(jobs: argparse._SubParsersAction) -> None:
    parser = _add(
        jobs,
        "answer",
        "Answer the questions of a data set from predicted cells, and write captions of its images.\n"
        "The questions are those of `derive_text.py dataset` about true cells; `derive_text.py score` then says how\n"
        "much of what one wants to know a segmentation gets right. Writes answers.json, captions.json and, to the\n"
        "prompts, replies.json. Where the types of the predicted cells are not known, questions about them have no\n"
        "answer, and replies say nothing of them.",
    )
    parser.add_argument("--data", metavar="DATA_DIR", required=True, help="a data set of `derive_text.py dataset`")
    _add_submission(parser, "the predicted cells: ", required=True)
    parser.add_argument("--split", metavar="SPLIT", default="test", help="of the data set (default: test)")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write, complete or not at all")
    parser.add_argument("--overwrite", action="store_true", help="replace DIR if it holds such answers")


def _add_score(jobs: argparse._SubParsersAction) -> None:
    parser = _add(
        jobs,
        "score",
        "Score generated captions by what they say, and answers beside what one knows without the images.\n"
        "Captions are read back slot by slot (count, type, confluence, ...) and compared with the facts of images.\n"
        "Replies to prompts (with `prompt`) are also scored by whether they say just what is asked for. Of several\n"
        "files, or with --against, the table has means, standard deviations, and differences from who always says the\n"
        "most frequent and from the other model with 95% intervals (paired bootstrap over groups).\n"
        "Baselines for questions: the most frequent training answer, and the most frequent one to the same question.",
    )
    parser.add_argument("--data", metavar="DIR", help="a data set of `derive_text.py dataset`")
    parser.add_argument(
        "--captions",
        metavar="FILE.json",
        nargs="+",
        help="list of image_id (or image), caption, prompt if any; several: of trainings of one model; needs --data",
    )
    parser.add_argument(
        "--against", metavar="FILE.json", nargs="+", default=[], help="captions of another model, to compare with"
    )
    parser.add_argument("--vqa", metavar="FILE.json", help="questions in single-file form (default: DIR/vqa.json)")
    parser.add_argument(
        "--answers", metavar="FILE.json", help="list of question_id and answer; a question that it leaves out is wrong"
    )
    parser.add_argument("--json", metavar="FILE", help="write all numbers")


def _add_report(jobs: argparse._SubParsersAction) -> None:
    parser = _add(
        jobs,
        "report",
        "Write a report about images: a page to read and print, a table of all cells, and all values as JSON.\n"
        "With --config the images are segmented first, into DIR/segmentation; a run that was stopped continues there.\n"
        "A config is Python and gets executed: open only configs that you trust. Bad images are skipped and listed;\n"
        "the exit code is 1 then.",
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="an image, a folder, a glob (in quotes), a text file with one path a line, or DATA_FOLDER:SPLIT",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder of report.html, report.json, cells.csv")
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--config", metavar="FILE.py", help="ensemble that segments the images")
    _add_submission(origin, "cells that were found before: ")
    parser.add_argument("--weights", metavar="FILE", help="with --config: weights.json of tools/tune_ensemble.py")
    parser.add_argument("--fold", metavar="N", type=int, help="of DATA_FOLDER:SPLIT (default: the config's, else 0)")
    parser.add_argument("--title", metavar="TEXT", default="Cell segmentation report", help="of the page")
    parser.add_argument(
        "--pictures", metavar="N", type=int, default=60, help="images shown at most, evenly over all (default: 60)"
    )
    parser.add_argument("--side", metavar="PX", type=int, default=640, help="longer side of a picture (default: 640)")
    add_members(parser)
    add_device(parser)
    add_unsafe_load(parser)
    parser.add_argument("--overwrite", action="store_true", help="with --config: replace another segmentation in DIR")
    add_cfg_options(parser)


def _add_submission(parser: argparse._ActionsContainer, purpose: str, **options: bool) -> None:
    parser.add_argument(
        "--submission",
        metavar="PATH",
        **options,
        help=f"{purpose}submission.csv, or the results folder of tools/ensemble_infer.py, which also knows types",
    )


def run(options: argparse.Namespace) -> int:
    """Do the job that the subcommand names."""
    return {"dataset": _dataset, "answer": _answer, "score": _score, "report": _report}[options.job](options)


def _dataset(options: argparse.Namespace) -> int:
    # torch takes seconds to import: --help and a mistyped option should not wait for it.
    from cellseg.multimodal.derive.dataset import DatasetOptions, derive_dataset
    from cellseg.multimodal.derive.tables import dataset_table

    chosen = DatasetOptions(
        fold=options.fold,
        splits=tuple(options.splits),
        captions=options.captions,
        seed=options.seed,
        images=not options.no_images,
        official=options.official,
    )
    summary = derive_dataset(options.data, options.out, chosen, options.submission, options.overwrite)
    print(f"{options.out}\n\n{dataset_table(summary)}")
    return EXIT_DONE


def _answer(options: argparse.Namespace) -> int:
    from cellseg.multimodal.derive.answering import answer_dataset

    result = answer_dataset(options.data, options.submission, options.out, options.split, options.overwrite)
    print(f"{options.out}: {result.answered} answers to {result.questions} questions about {result.images} images")
    without = result.questions - result.answered
    if without:
        remedy = "it knows no cell types, the results folder of ensemble_infer.py does"
        reason = "of types that it does not know, or of images without cells" if result.types else remedy
        print(f"{options.submission}: no answer to {without} questions about cell types: {reason}", file=sys.stderr)
    return EXIT_DONE


def _score(options: argparse.Namespace) -> int:
    from cellseg.io.files import write_json
    from cellseg.multimodal.derive.answer_scores import read_answers, read_questions, score_answers
    from cellseg.multimodal.derive.caption_comparison import compare_captions
    from cellseg.multimodal.derive.dataset_files import QUESTIONS
    from cellseg.multimodal.derive.slot_scores import score_captions
    from cellseg.multimodal.derive.tables import answer_table, comparison_table, slot_table

    if not (options.data or options.vqa):
        raise InputError("score: give --data, --vqa or both")
    if options.captions and not options.data:
        raise InputError("--captions needs --data, the data set with the facts of the images")
    values, tables = {}, []
    if options.against and not options.captions:
        raise InputError("--against needs --captions, which it is compared with")
    if options.captions and (options.against or len(options.captions) > 1):
        values["comparison"] = compare_captions(options.captions, options.data, options.against)
        tables.append(comparison_table(values["comparison"]))
    elif options.captions:
        values["captions"] = score_captions(options.captions[0], options.data)
        tables.append(slot_table(values["captions"]))
    questions = read_questions(options.vqa or Path(options.data) / QUESTIONS)
    answers = read_answers(options.answers, questions) if options.answers else None
    values["questions"] = score_answers(questions, answers)
    if answers is not None or options.vqa or not options.captions:
        tables.append(answer_table(values["questions"]))
    if options.json:
        write_json(options.json, values)
    print("\n\n".join(tables))
    return EXIT_DONE


def _report(options: argparse.Namespace) -> int:
    from cellseg.multimodal.derive.report import PAGE, ReportOptions, write_report

    chosen = ReportOptions(options.title, options.pictures, options.side)
    chosen.check()
    only_config = ("weights", "members", "device", "unsafe_load", "overwrite", "cfg_options")
    wrong = [name for name in only_config if options.submission and getattr(options, name)]
    if wrong:
        raise InputError(f"--{wrong[0].replace('_', '-')} belongs to --config: --submission segments nothing")
    submission, fold, skipped = options.submission, options.fold or 0, {}
    if options.config:
        submission, fold, skipped = _segment(options)
    result = write_report(options.input, submission, options.out, fold, chosen, skipped)
    print(f"{Path(options.out) / PAGE}: {result.cells} cells in {result.images} images")
    if result.passed_over:
        print(
            f"{submission}: passed over images that are not in {options.input}: {result.passed_over}", file=sys.stderr
        )
    for key, reason in result.skipped:
        print(f"skipped {key}: {reason}", file=sys.stderr)
    return EXIT_PARTIAL if result.skipped else EXIT_DONE


def _segment(options: argparse.Namespace) -> tuple[Path, int, dict[str, str]]:
    """Results folder, fold and skipped images of a run of the ensemble."""
    from dataclasses import replace

    from cellseg.ensemble.config import load_ensemble_config
    from cellseg.ensemble.infer import infer_folder
    from cellseg.training.config import parse_options

    config = load_ensemble_config(options.config, parse_options(options.cfg_options))
    if options.fold is not None:
        config = replace(config, fold=options.fold)
    out = Path(options.out) / SEGMENTATION
    report = infer_folder(
        config.with_unsafe_load() if options.unsafe_load else config,
        options.input,
        out,
        weights=options.weights,
        members=options.members,
        device=options.device,
        overwrite=options.overwrite,
    )
    return out, config.fold, dict(report.skipped)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
