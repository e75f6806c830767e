"""Answers and captions of a training as files, in the form in which results of VQA and COCO are handed in."""

from collections.abc import Sequence
from pathlib import Path

from cellseg.io.files import write_json
from cellseg.multimodal.comparison.predictions import SplitPredictions, record_of
from cellseg.multimodal.data.captions import picture_of


def write_texts(folder: str | Path, predictions: SplitPredictions, split: str) -> list[Path]:
    """Write what a model answers and describes, as ``tools/derive_text.py score`` reads it.

    ``answers_SPLIT.json`` is a list of ``question_id`` and ``answer``, ``captions_SPLIT.json`` one of ``image_id`` and
    ``caption``, one for each image; where captions reply to prompts, one for each of these, with the ``prompt``. Both
    forms know whole numbers only: of data with other ids nothing is written.

    Args:
        folder: that exists.
        predictions: of the split.
        split: names the files.

    Returns:
        The files that were written.
    """
    about, written = predictions.description, []
    asked, shown = predictions.rows.get("vqa", ()), predictions.rows.get("captioning", ())
    questions = _numbers([record_of(row.id) for row in asked])
    records = [record_of(row.id) for row in shown]
    images = _numbers([picture_of(record) for record in records])
    if questions:
        answers = [
            {"question_id": number, "answer": about.answers[row.prediction["answer"]]}
            for number, row in zip(questions, asked, strict=True)
        ]
        written.append(Path(folder) / f"answers_{split}.json")
        write_json(written[-1], answers)
    if images:
        words = about.words()
        # Training samples are one for each caption of an image; what is written about it is the same.
        captions = {
            record: {
                "image_id": number,
                **({} if record == str(number) else {"prompt": row.text}),
                "caption": words.decode(row.prediction["tokens"]),
            }
            for record, number, row in zip(records, images, shown, strict=True)
        }
        written.append(Path(folder) / f"captions_{split}.json")
        write_json(written[-1], list(captions.values()))
    return written


def _numbers(names: Sequence[str]) -> list[int]:
    """Ids as numbers; empty unless all of them are whole ones."""
    if not all(name.isascii() and name.isdecimal() and str(int(name)) == name for name in names):
        return []
    return [int(name) for name in names]
