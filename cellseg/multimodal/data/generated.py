"""Synthetic data whose answer lies in no modality alone; every id says that it is synthetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellseg.errors import InputError
from cellseg.multimodal.data.patterns import (
    DRAW,
    LARGEST_CODE,
    LEVEL_WORDS,
    PLACE_WORDS,
    draw_image,
    feature_names,
    write_text,
)
from cellseg.multimodal.data.record import KINDS, SPLITS, Record, RecordSet

PREFIX = "synthetic"
PICTURE_TASKS = ("vqa", "matching", "captioning")
GENERATED_TASKS = ("classification", "multilabel", "regression", *PICTURE_TASKS)
# How far the devices' ways of measuring lie apart, in the units of the code.
_DEVICE_GAIN, _DEVICE_OFFSET = 0.3, 0.5


@dataclass(frozen=True)
class GeneratedOptions:
    """What is generated.

    A code is a few numbers between -1 and 1, and every modality shows one (``patterns``). With ``signal="xor"`` the
    codes are drawn independently, and the answer follows from all of them together:

    - classification into K classes: each code stands for a number 0 to K - 1, the class is their sum modulo K;
    - multilabel: label k is whether an odd number of modalities has -1 at place k;
    - regression: number k is the product of the numbers at place k.

    So any of the modalities left out leaves nothing to know about the answer. With ``signal="redundant"`` all
    modalities show the same code, which the answer follows from, so that one can stand in for another.

    Attributes:
        kinds: kind by modality, or a list of kinds that are their modalities' names.
        task: one of ``GENERATED_TASKS``. ``captioning`` and ``matching`` have captions of the image's code, ``vqa``
            questions about one place of it; their modalities are image and text.
        count: records of all splits together.
        outputs: classes, labels, numbers, or places of an image's code.
        signal: ``xor`` or ``redundant``.
        noise: standard deviation of what is added to images, volumes, sequences and tabular numbers.
        missing: by modality the share of the records that lack it; one that would be left without any keeps all.
        missing_in: the splits that this happens in.
        devices: how many there are (0: none). Each measures numbers with a gain and offset of its own; it is the task
            ``domain``.
        environments: with which probability a shortcut shows the class, one number for each environment of the training
            (the task ``environment``); empty: there is no shortcut. It is a second code beside that of the first
            modality, which must be no text. Needs the task classification.
        shifted: the same for the test split, an environment of its own.
        label_noise: share of the records with a class drawn at random: a shortcut can then look better than the truth.
        single_frames: share of the volumes of which one frame, drawn at random, is there instead of a series.
    """

    kinds: Mapping[str, str] | Sequence[str] = ("image", "text")
    task: str = "classification"
    count: int = 256
    outputs: int = 2
    signal: str = "xor"
    noise: float = 0.1
    missing: Mapping[str, float] | None = None
    missing_in: Sequence[str] = SPLITS
    devices: int = 0
    environments: Sequence[float] = ()
    shifted: float = 0.1
    label_noise: float = 0.0
    single_frames: float = 0.0

    @property
    def kind_of(self) -> dict[str, str]:
        """Kind by modality."""
        return dict(self.kinds) if isinstance(self.kinds, Mapping) else {kind: kind for kind in self.kinds}

    @property
    def code_length(self) -> int:
        """Numbers of a code; of two classes one says which."""
        return 1 if self.task == "classification" and self.outputs == 2 else self.outputs

    def check(self) -> None:
        """Refuse what cannot be generated.

        Raises:
            InputError: names the option.
        """
        kinds = self.kind_of
        shares = dict(self.missing or {})
        for wrong, text in (
            (not kinds or set(kinds.values()) - set(KINDS), f"kinds: expected some of {', '.join(KINDS)}"),
            (self.task not in GENERATED_TASKS, f"task: expected one of {', '.join(GENERATED_TASKS)}"),
            (_whole(self.count) < 10, "count: expected 10 or more"),
            (not self._least_outputs() <= _whole(self.outputs) <= LARGEST_CODE, "outputs: " + self._outputs_text()),
            (self.signal not in ("xor", "redundant"), "signal: expected xor or redundant"),
            (not _number(self.noise) or self.noise < 0, "noise: expected a number of at least 0"),
            (set(shares) - set(kinds), f"missing: expected modalities among {', '.join(kinds)}"),
            (not all(_share(value) for value in shares.values()), "missing: expected shares of 0 to 1"),
            (set(self.missing_in) - set(SPLITS), f"missing_in: expected some of {', '.join(SPLITS)}"),
            (_whole(self.devices) < 0, "devices: expected a whole number of at least 0"),
            (not all(_share(value) for value in (*self.environments, self.shifted)), "environments: expected 0 to 1"),
            (not _share(self.label_noise), "label_noise: expected 0 to 1"),
            (not _share(self.single_frames), "single_frames: expected 0 to 1"),
            (self.task in PICTURE_TASKS and kinds != {"image": "image", "text": "text"}, "kinds: " + _PICTURES),
        ):
            if wrong:
                name = text.partition(":")[0]
                raise InputError(f"options.{text}, found {getattr(self, name)!r}")
        if self.environments and (self.task != "classification" or next(iter(kinds.values())) == "text"):
            raise InputError("options.environments: need the task classification and a first modality that is no text")
        if self.label_noise and self.task != "classification":
            raise InputError("options.label_noise: needs the task classification")

    def _least_outputs(self) -> int:
        return 2 if self.task in ("classification", *PICTURE_TASKS) else 1

    def _outputs_text(self) -> str:
        return f"expected {self._least_outputs()} to {LARGEST_CODE}"


_PICTURES = "this task needs image and text"


def read_generated(fractions: Sequence[float], seed: int, **options: Any) -> RecordSet:
    """Synthetic records with splits of their own.

    Args:
        fractions: of the records that train, validate and test.
        seed: of everything; equal seeds give equal records.
        **options: see ``GeneratedOptions``.

    Raises:
        InputError: an option that cannot be used.
    """
    try:
        wanted = GeneratedOptions(**options)
    except TypeError as error:
        known = ", ".join(GeneratedOptions.__dataclass_fields__)
        raise InputError(f"options: {str(error).rpartition('__init__() ')[2]}; expected are {known}") from None
    wanted.check()
    return _Generator(wanted, fractions, seed).run()


class _Generator:
    def __init__(self, options: GeneratedOptions, fractions: Sequence[float], seed: int):
        self.options = options
        self.random = np.random.default_rng(seed)
        count = options.count
        ends = np.rint(np.cumsum(fractions) * count)
        self.splits = [SPLITS[min(int((index >= ends).sum()), 2)] for index in range(count)]
        kinds = options.kind_of
        # A device's gain and offset for every modality; text has none.
        self.gains = 1 + _DEVICE_GAIN * self.random.uniform(-1, 1, (max(1, options.devices), len(kinds)))
        self.offsets = _DEVICE_OFFSET * self.random.uniform(-1, 1, (max(1, options.devices), len(kinds)))

    def run(self) -> RecordSet:
        options = self.options
        make = self._picture_record if options.task in PICTURE_TASKS else self._record
        records = [make(index, split) for index, split in enumerate(self.splits)]
        kinds = {"image": "image"} if options.task in ("matching", "captioning") else options.kind_of
        shortcut = options.code_length if options.environments else 0
        names = {
            name: feature_names(options.code_length) + (("shortcut",) * shortcut if place == 0 else ())
            for place, (name, kind) in enumerate(kinds.items())
            if kind == "tabular"
        }
        if options.task in ("multilabel", "regression"):
            names[options.task] = tuple(f"{options.task} {index + 1}" for index in range(options.outputs))
        return RecordSet(records, kinds, names, where="generated data").check()

    def _record(self, index: int, split: str) -> Record:
        options, random = self.options, self.random
        codes, target = self._codes()
        targets: dict[str, Any] = {options.task: target}
        if random.random() < options.label_noise:
            targets["classification"] = _class_name(int(random.integers(options.outputs)))
        device = int(random.integers(options.devices)) if options.devices else 0
        if options.devices:
            targets["domain"] = f"device {device + 1}"
        shortcut = self._shortcut(targets, split) if options.environments else None
        inputs = {}
        for place, (name, kind) in enumerate(options.kind_of.items()):
            shown = DRAW[kind](codes[place], options.noise, random)
            if place == 0 and shortcut is not None:
                shown = _join(kind, shown, DRAW[kind](shortcut, options.noise, random))
            if options.devices and kind != "text":
                shown = (shown * self.gains[device, place] + self.offsets[device, place]).astype(np.float32)
            if kind == "volume" and options.single_frames and random.random() < options.single_frames:
                frame = int(random.integers(shown.shape[1]))
                shown = shown[:, frame : frame + 1]
            inputs[name] = shown
        return self._named(index, split, self._without_missing(inputs, split), targets)

    def _codes(self) -> tuple[list[np.ndarray], Any]:
        """The code of every modality, and what follows from them."""
        options, random = self.options, self.random
        count, outputs = len(options.kind_of), options.outputs
        if options.task == "classification":
            numbers = random.integers(outputs, size=count)
            if options.signal == "redundant":
                numbers[:] = numbers[0]
            total = int(numbers[0] if options.signal == "redundant" else numbers.sum() % outputs)
            return [_class_code(int(number), outputs) for number in numbers], _class_name(total)
        size = (count, outputs)
        codes = random.uniform(-1, 1, size) if options.task == "regression" else random.choice([-1.0, 1.0], size)
        if options.signal == "redundant":
            codes[:] = codes[0]
            combined = codes[0]
        else:
            combined = codes.prod(axis=0)
        target = combined if options.task == "regression" else combined < 0
        return list(codes), np.asarray(target, np.float32)

    def _shortcut(self, targets: dict[str, Any], split: str) -> np.ndarray:
        """The code of the class, or of another one, as often as the environment says; adds the environment."""
        options, random = self.options, self.random
        place = int(random.integers(len(options.environments)))
        agree = options.shifted if split == "test" else options.environments[place]
        targets["environment"] = "shifted" if split == "test" else f"environment {place + 1}"
        label = int(targets["classification"].rpartition(" ")[2])
        if random.random() >= agree:
            label = (label + 1 + int(random.integers(options.outputs - 1))) % options.outputs
        return _class_code(label, options.outputs)

    def _without_missing(self, inputs: dict[str, Any], split: str) -> dict[str, Any]:
        missing = self.options.missing or {}
        # Drawn in every split, so that the records of one do not depend on what another lacks.
        draws = self.random.random(len(inputs))
        if split not in self.options.missing_in:
            return inputs
        kept = {
            name: value
            for draw, (name, value) in zip(draws, inputs.items(), strict=True)
            if draw >= missing.get(name, 0)
        }
        return kept or inputs

    def _picture_record(self, index: int, split: str) -> Record:
        options, random = self.options, self.random
        code = random.choice([-1.0, 1.0], options.outputs)
        inputs: dict[str, Any] = {"image": draw_image(code, options.noise, random)}
        if options.task != "vqa":
            captions = tuple(dict.fromkeys(write_text(code, 0, random) for _ in range(2)))
            return self._named(index, split, inputs, {}, captions)
        place = int(random.integers(options.outputs))
        inputs["text"] = f"is the {PLACE_WORDS[place]} {LEVEL_WORDS[-1]}"
        return self._named(index, split, inputs, {"vqa": ("yes" if code[place] > 0 else "no",)})

    def _named(
        self, index: int, split: str, inputs: dict[str, Any], targets: dict[str, Any], captions: tuple[str, ...] = ()
    ) -> Record:
        identity = f"{PREFIX}-{index:06d}"
        return Record(identity, inputs, targets, captions, split, where=f"generated record {index + 1}")


def _class_code(number: int, classes: int) -> np.ndarray:
    """One number for two classes, else one a class: 1 at its place and -1 elsewhere."""
    if classes == 2:
        return np.array([2.0 * number - 1])
    code = np.full(classes, -1.0)
    code[number] = 1.0
    return code


def _class_name(number: int) -> str:
    return f"class {number}"


def _join(kind: str, shown: np.ndarray, shortcut: np.ndarray) -> np.ndarray:
    """A modality with a shortcut beside what it shows: the lower half of an image, more slabs, channels or features."""
    if kind == "image":
        return np.concatenate([shown[:, ::2], shortcut[:, ::2]], axis=1)
    if kind == "volume":
        return np.concatenate([shown, shortcut], axis=1)
    if kind == "sequence":
        steps = min(len(shown), len(shortcut))
        return np.concatenate([shown[:steps], shortcut[:steps]], axis=1)
    return np.concatenate([shown, shortcut[: len(shortcut) - 2]])


def _whole(value: Any) -> int:
    return value if type(value) is int else -1


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1
