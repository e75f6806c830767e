"""What the training of a multimodal model puts into mmengine's registries, beside its networks and losses.

Configs name this module in ``custom_imports``: importing it registers everything that they can name.
"""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner

import cellseg.multimodal.metrics.evaluator  # noqa: F401 - registers TaskScores
from cellseg.errors import InputError
from cellseg.multimodal import MultimodalModel, read_description
from cellseg.multimodal.data import (
    DataDescription,
    MultimodalData,
    collate_samples,
    fill_numbers,
    forget_multimodal_data,
    load_multimodal_data,
)
from cellseg.multimodal.keeping import keep_modalities

# What configs of this family call their model.
MODEL_TYPE = "multimodal_model_of"


@MODELS.register_module(name=MODEL_TYPE)
def multimodal_model_of(source: Mapping[str, Any], **parts: Any) -> MultimodalModel:
    """The model for the data of a source: reads the data, and fills in the numbers that follow from it.

    Args:
        source: see ``data.Source``.
        **parts: arguments of ``MultimodalModel`` but ``description``; texts such as ``"{num_classes}"`` stand for
            numbers of the data, see ``DataDescription.numbers``. And ``modalities``: names of those that the model has
            of all that have an encoder (see ``keep_modalities``); without it, or None, it has all.

    Raises:
        InputError, MissingFileError: data, placeholder or parts that cannot be used.
    """
    # A training begins here, and with it anew whatever the files say by now.
    forget_multimodal_data()
    return model_of_data(source, parts)


def model_of_data(source: Mapping[str, Any], parts: Mapping[str, Any]) -> MultimodalModel:
    """The model for data that may have been read before; arguments and errors as ``multimodal_model_of``."""
    data = load_multimodal_data(**source)
    description = data.description
    # A part that the data has nothing for would be there and learn nothing. Who names tasks may leave out some heads'.
    for option, known in (("encoders", description.modalities), ("heads", description.tasks)):
        for name in parts.get(option) or ():
            if name not in known and not (option == "heads" and source.get("tasks")):
                raise InputError(f"model.{option}.{name}: the data has no {name!r}; it has {', '.join(known)}")
    model = model_for(description, parts)
    for task, several in (("classification", False), ("multilabel", True)):
        if task in model.heads and getattr(model.heads[task], "multi_label", several) is not several:
            labels = "several labels" if several else "one class"
            raise InputError(f"model.heads.{task}.multi_label: expected {several}, as a sample has {labels}")
    _check_encoders(model, data)
    return model


def _check_encoders(model: MultimodalModel, data: MultimodalData) -> None:
    """Refuse encoders that cannot read what the data has, which the first step would answer with torch's words.

    Raises:
        InputError: names the encoder.
    """
    records, training = data.records("train"), model.training
    model.eval()
    # Whatever is drawn here must not move the generator of the training.
    with torch.random.fork_rng(devices=()), torch.no_grad():
        for name, encoder in model.encoders.items():
            record = next((one for one in records if name in one.inputs), records[0])
            content = collate_samples([data.sample(record)])["inputs"][name]
            values = content["values"]
            try:
                encoder(values, content.get("mask"))
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
                shown = f"{data.description.modalities[name].kind}, {list(values.shape[1:])}"
                reason = str(error).strip().splitlines()[0]
                raise InputError(
                    f"model.encoders.{name}: {type(encoder).__name__} cannot read the {name} of {record.where} "
                    f"({shown}): {reason}"
                ) from error
    model.train(training)


def model_for(description: DataDescription, parts: Mapping[str, Any]) -> MultimodalModel:
    """The model for described data; arguments and errors as ``multimodal_model_of``."""
    if "description" in parts:
        raise InputError("model.description: follows from the data; leave it out")
    parts = dict(parts)
    modalities = parts.pop("modalities", None)
    if modalities is not None:
        parts = keep_modalities(parts, modalities)
    return MultimodalModel(**fill_numbers(parts, description), description=description.to_dict())


@HOOKS.register_module()
class SameDescriptionHook(Hook):
    """Refuses to continue a training with other data than it began with: other classes, statistics or words."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the description in the checkpoint with the model's own."""
        known = DataDescription.from_dict(read_description(checkpoint), "the checkpoint")
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        other = known.differences(DataDescription.from_dict(model.about, "the model"))
        if other:
            raise InputError(
                f"{runner.work_dir}: --resume: the training began with other data (different: {', '.join(other)}); "
                "start afresh with --overwrite"
            )
