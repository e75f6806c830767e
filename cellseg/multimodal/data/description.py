"""What a trained model must know of its data: names, statistics, tokenizer; and the numbers that follow from them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cellseg.errors import InputError
from cellseg.multimodal.data.record import KINDS, TASKS
from cellseg.multimodal.data.tokenizer import TextTokenizer
from cellseg.multimodal.data.tokenizer_file import tokenizer_from_json

# Tasks whose targets are one name of several, and the attribute that holds the names.
NAMES_OF_TASK = {"classification": "class_names", "domain": "domains", "environment": "environments"}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class ModalityDescription:
    """One modality.

    Attributes:
        kind: one of ``KINDS``.
        shape: what all rows have in common: of an image ``[3, H, W]``, of a volume ``[C, H, W]``, of a sequence
            ``[C]``, of a tabular modality ``[F]``, of a text nothing.
        mean, std: of each channel or feature over the training rows; of image files as the user says, for values of 0
            to 255.
        names: of the features of a tabular modality.
    """

    kind: str
    shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        channels = self.shape[0] if self.shape else 0
        names = channels if self.kind == "tabular" else 0
        if self.kind not in KINDS or not len(self.mean) == len(self.std) == channels or len(self.names) != names:
            raise ValueError(f"modality of kind {self.kind!r}")


@dataclass(frozen=True)
class DataDescription:
    """Everything that inference needs of the data; plain values once it is a dict.

    Attributes:
        tasks: that the data has targets for.
        modalities: by name.
        class_names, label_names, target_names, domains, environments: of ``classification``, ``multilabel``,
            ``regression``, ``domain``, ``environment``.
        class_weights: by class, how much rarer it is than the average; a class without training rows has 1.
        target_mean, target_std: of the numbers of ``regression`` over the training rows.
        answers: to choose from, normalised, the most frequent first.
        tokenizer: as JSON text; empty where there is no text.
        max_length: most tokens of a text.
        prompt: the text that asks for a caption where none is given; empty where captioning reads no text.
    """

    tasks: tuple[str, ...]
    modalities: Mapping[str, ModalityDescription]
    class_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    class_weights: tuple[float, ...] = ()
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    answers: tuple[str, ...] = ()
    tokenizer: str = field(default="", repr=False)
    max_length: int = 0
    prompt: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> "DataDescription":
        """Inverse of ``to_dict``, also after JSON.

        Raises:
            InputError: something else; names ``where``.
        """
        try:
            plain = {name: _tuples(value) for name, value in values.items()}
            modalities = {
                name: ModalityDescription(**{key: _tuples(value) for key, value in entry.items()})
                for name, entry in plain.pop("modalities").items()
            }
            description = cls(modalities=modalities, **plain)
            sound = not set(description.tasks) - set(TASKS)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: holds no description of multimodal data; train again") from error
        if not sound:
            raise InputError(f"{where}: the description of its data has unknown tasks; it is from another version")
        return description

    def names_of(self, task: str) -> tuple[str, ...]:
        """Names that the task ``classification``, ``domain`` or ``environment`` chooses from."""
        return getattr(self, NAMES_OF_TASK[task])

    def words(self) -> TextTokenizer:
        """The tokenizer.

        Raises:
            InputError: the data has no text.
        """
        if not self.tokenizer:
            raise InputError("the data has no text, so there is no tokenizer")
        return tokenizer_from_json(self.tokenizer)

    def differences(self, other: "DataDescription") -> list[str]:
        """Names of the fields in which two descriptions differ."""
        return [entry.name for entry in fields(self) if getattr(self, entry.name) != getattr(other, entry.name)]

    def numbers(self) -> dict[str, Any]:
        """What placeholders in a model's config stand for, by name.

        ``num_features`` is that of the only tabular modality, ``num_channels`` that of the only sequence or volume;
        ``num_features_NAME`` and ``num_channels_NAME`` are those of the modality NAME.
        """
        counts = {
            "num_classes": len(self.class_names),
            "num_labels": len(self.label_names),
            "num_targets": len(self.target_names),
            "num_domains": len(self.domains),
            "num_environments": len(self.environments),
            "num_answers": len(self.answers),
            "class_weights": list(self.class_weights),
            "target_mean": list(self.target_mean),
            "target_std": list(self.target_std),
        }
        values = {name: count for name, count in counts.items() if count}
        if self.tokenizer:
            words = self.words()
            values |= {name: getattr(words, name) for name in ("pad", "begin", "end", "separator")}
            values |= {"vocabulary_size": words.size, "max_length": self.max_length}
        return values | self._widths()

    def _widths(self) -> dict[str, int]:
        widths: dict[str, list[int]] = {}
        for name, entry in self.modalities.items():
            if entry.kind != "text":
                key = "num_features" if entry.kind == "tabular" else "num_channels"
                widths[f"{key}_{name}"] = [entry.shape[0]]
                if entry.kind != "image":
                    widths.setdefault(key, []).append(entry.shape[0])
        return {name: found[0] for name, found in widths.items() if len(found) == 1}


def fill_numbers(config: Any, description: DataDescription, where: str = "model") -> Any:
    """A model's config with every placeholder replaced by what follows from the data.

    A text that is exactly one placeholder becomes the value with its type.

    Args:
        config: dicts, lists and plain values.
        description: of the data.
        where: place in the config, for the message.

    Raises:
        InputError: a placeholder that the data has no number for.
    """
    if isinstance(config, Mapping):
        return {key: fill_numbers(value, description, f"{where}.{key}") for key, value in config.items()}
    if isinstance(config, Sequence) and not isinstance(config, str):
        return type(config)(fill_numbers(value, description, where) for value in config)
    match = _PLACEHOLDER.fullmatch(config) if isinstance(config, str) else None
    if match is None:
        return config
    numbers = description.numbers()
    if match[1] not in numbers:
        raise InputError(f"{where}: the data has no {config}; it has {', '.join(sorted(numbers))}")
    return numbers[match[1]]


def _tuples(value: Any) -> Any:
    """Lists, as JSON has them, as tuples."""
    return tuple(value) if isinstance(value, list) else value
