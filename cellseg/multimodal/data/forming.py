"""From what a file holds to what a task trains on: captions to write, and texts that fit a picture or do not."""

import random
from collections.abc import Sequence
from dataclasses import replace

from cellseg.errors import InputError
from cellseg.multimodal.data.record import Record, plain_text

CAPTION_TASKS = ("captioning", "matching")


def form_records(
    records: Sequence[Record],
    tasks: Sequence[str],
    training: bool,
    prompt: str = "",
    negatives: int = 1,
    seed: int = 0,
) -> list[Record]:
    """The records that a model is shown, one for each task and caption.

    Captioning shows the picture with a prompt, never with a caption; a training record stands for one caption, a
    validation record for a picture and prompt with all captions. Matching shows the picture with each of its captions,
    and as often as asked with a wrong one.

    Args:
        records: of one split.
        tasks: that are trained; targets of others are left out.
        training: whether wrong captions are left to be drawn anew each time; else they are drawn here.
        prompt: what asks for a caption where the record has no prompt of its own; empty: no text.
        negatives: wrong captions for each true one.
        seed: of the wrong captions.

    Raises:
        InputError: no caption of another picture could be a wrong one.
    """
    formed = []
    others = [task for task in tasks if task not in CAPTION_TASKS or task == "matching"]
    for record in records:
        targets = {task: record.targets[task] for task in others if task in record.targets}
        if targets:
            formed.append(replace(record, targets=targets))
        if "captioning" in tasks and record.captions:
            formed.extend(_to_write(record, training, prompt))
    pool = CaptionPool(records) if "matching" in tasks and negatives else None
    chance = random.Random(seed)
    for record in records if "matching" in tasks else ():
        formed.extend(_to_match(record, None if training else chance, pool, negatives))
    return formed


def _to_write(record: Record, training: bool, prompt: str) -> list[Record]:
    inputs = {name: value for name, value in record.inputs.items() if not isinstance(value, str)}
    if record.prompt or prompt:
        inputs["text"] = record.prompt or prompt
    captions = record.captions if training else record.captions[:1]
    return [
        replace(record, id=f"{record.id}#captioning-{index}", inputs=inputs, targets={"captioning": caption})
        for index, caption in enumerate(captions)
    ]


def _to_match(record: Record, chance: random.Random | None, pool: "CaptionPool | None", negatives: int) -> list[Record]:
    formed = []
    for index, caption in enumerate(record.captions):
        inputs = {**record.inputs, "text": caption}
        identity = f"{record.id}#matching-{index}"
        formed.append(replace(record, id=identity, inputs=inputs, targets={"matching": True}))
        for number in range(negatives if pool is not None else 0):
            wrong = replace(record, id=f"{identity}-wrong-{number}", targets={"matching": None})
            formed.append(wrong if chance is None else pool.show_wrong(wrong, chance.random()))
    return formed


def pair_all(records: Sequence[Record]) -> list[Record]:
    """Every picture of a split with every caption of it, to search by a probability that needs both.

    Raises:
        InputError: there are no captions.
    """
    pool = CaptionPool(records)
    if not pool.texts:
        raise InputError("all_pairs: the records of this split have no captions to match")
    formed = []
    for record in (record for record in records if record.captions):
        own = {plain_text(caption) for caption in record.captions}
        for index, text in enumerate(pool.texts):
            targets = {"matching": plain_text(text) in own}
            identity = f"{record.id}#pair-{index}"
            formed.append(replace(record, id=identity, inputs={**record.inputs, "text": text}, targets=targets))
    return formed


class CaptionPool:
    """All captions of a split, to draw wrong ones from.

    Args:
        records: of one split.
    """

    def __init__(self, records: Sequence[Record]):
        texts: dict[str, str] = {}
        for record in records:
            for caption in record.captions:
                texts.setdefault(plain_text(caption), caption)
        self.texts = [texts[plain] for plain in sorted(texts)]
        self._place = {plain: place for place, plain in enumerate(sorted(texts))}

    def show_wrong(self, record: Record, chance: float) -> Record:
        """The record with a caption that is none of its own, every other one equally likely.

        Args:
            record: whose ``captions`` are true of it; equal ones of other pictures are not drawn either.
            chance: 0 up to but not including 1, which decides.

        Raises:
            InputError: there is no other caption.
        """
        own = sorted(
            {self._place[plain] for caption in record.captions if (plain := plain_text(caption)) in self._place}
        )
        left = len(self.texts) - len(own)
        if left < 1:
            raise InputError(f"{record.where}: matching needs a caption that is not true of it, and there is no other")
        place = int(chance * left)
        for taken in own:
            place += place >= taken
        return replace(record, inputs={**record.inputs, "text": self.texts[place]}, targets={"matching": False})
