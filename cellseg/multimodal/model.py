"""The multimodal model: encodes each modality, masks what is absent, fuses, and answers every task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.description import pack_description, read_description, unpack_description
from cellseg.multimodal.dropping import drop_modalities, dropout_rates
from cellseg.multimodal.losses import joint_loss
from cellseg.multimodal.parts import build_fusion, build_reader, module_dict
from cellseg.multimodal.values import Fused, ModelInputs, Tokens, absent_tokens

__all__ = ["MultimodalModel", "read_description"]

Config = Mapping[str, Any]
Batch = Mapping[str, Mapping[str, Tensor]]

PATIENCE = 100  # batches without anything to learn, after which a training is refused

# Refuse batches of one sample in training, where their output is one number a channel.
_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


@MODELS.register_module()
class MultimodalModel(BaseModel):
    """Encoders, a fusion, and a head for each task, trained with the joint loss ``sum_t lambda_t L_t``.

    A sample may lack any modality but one, and have targets for any of the tasks. What a batch holds beyond the
    model's modalities and tasks is left alone, so that ablations read the same data. For a lower learning rate of one
    encoder, a config sets ``optim_wrapper.paramwise_cfg = dict(custom_keys={"encoders.text": dict(lr_mult=0.1)})``.

    Attributes:
        about: the description, as plain values.

    Args:
        encoders: by modality, each a config (or module) of an encoder.
        fusion: config of the fusion; None with one modality, whose encoding then is the representation.
        heads: by task, each a config of a head.
        auxiliary: configs of further losses, in training.
        loss_weights: lambda by task, at least 0; 1 for a task that is not named.
        description: plain values that JSON can hold (class names, statistics, tokenizer): all that inference must
            know besides the weights. It is saved with them, see ``read_description``.
        modality_dropout: how often training takes a modality from a sample, 0 to 1, one number or by modality; one
            modality always stays.
        validation_loss: whether validations give the tasks' losses (``loss_TASK``, and their sum ``val_loss``, which
            a ``PlateauLR`` can monitor) beside the scores.

    Raises:
        InputError: parts that do not fit each other, or an option that cannot be used.
    """

    def __init__(
        self,
        encoders: Mapping[str, Config | nn.Module],
        fusion: Config | None,
        heads: Mapping[str, Config],
        auxiliary: Sequence[Config] = (),
        loss_weights: Mapping[str, float] | None = None,
        description: Mapping[str, Any] | None = None,
        modality_dropout: float | Mapping[str, float] = 0.0,
        validation_loss: bool = False,
    ):
        super().__init__()
        _check_tasks(heads, loss_weights or {})
        built = {name: part if isinstance(part, nn.Module) else MODELS.build(part) for name, part in encoders.items()}
        self.encoders = module_dict("encoders", built)
        encoded = {name: part.channels for name, part in built.items()}
        self.fusion = build_fusion(fusion, encoded)
        width = self.fusion.channels
        tokens = getattr(self.fusion, "token_channels", dict.fromkeys(encoded, width))
        known = dict(channels=width, token_channels=dict(tokens), encoded_channels=encoded)
        self.heads = module_dict("heads", {task: build_reader(part, known) for task, part in heads.items()})
        self.auxiliary = nn.ModuleList(build_reader(part, known) for part in auxiliary)
        self._check_readers()
        self.loss_weights = dict(loss_weights or {})
        self.modality_dropout = dropout_rates(modality_dropout, tuple(encoded))
        self.validation_loss = validation_loss
        content = pack_description(description or {})
        self.about = unpack_description(content, "description")
        self.register_buffer("description", content)
        self._idle: dict[str, int] = {}
        # Of the training, for losses that grow; saved, so that a resumed training goes on with them.
        self.register_buffer("training_steps", torch.zeros((), dtype=torch.int64))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that have an encoder."""
        return tuple(self.encoders)

    @property
    def of_this_training(self) -> frozenset[str]:
        """Entries of the state that another training's weights must not replace: its step, statistics of its data."""
        own = {f"heads.{task}.{name}" for task, head in self.heads.items() for name in getattr(head, "of_the_data", ())}
        return frozenset({"description", "training_steps", *own})

    def forward(
        self,
        inputs: Batch,
        targets: Batch | None = None,
        samples: Sequence[Mapping[str, Any]] | None = None,
        mode: str = "tensor",
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses, predictions or outputs of a batch.

        Args:
            inputs: by modality ``values``, and where needed ``mask`` and ``present`` (bool ``[B]``; without it, all
                samples have the modality). A modality that is not named is absent everywhere.
            targets: by task ``values``, ``present`` (bool ``[B]``) and perhaps ``mask``.
            samples: what is known of each sample (``id``, ...), for the predictions.
            mode: ``loss``: the terms of the joint loss, each named ``loss_TASK`` or ``loss_TASK_PART``, and in
                training those of the auxiliaries, ``loss_NAME``. ``predict``: one dict a sample, of predictions by
                task and ``sample``. ``tensor``: outputs by task.

        Raises:
            InputError: a batch without any of the model's modalities, or in training the last of many that have no
                targets of its tasks.
        """
        if mode == "loss":
            return self._losses(inputs, targets or {})
        fused = self.represent(inputs)
        if mode == "predict":
            return self._predictions(fused, samples)
        return {task: head(fused) for task, head in self.heads.items()}

    def represent(self, inputs: Batch) -> Fused:
        """What the fusion makes of a batch; arguments and errors as ``forward``."""
        present = self.presence(inputs)
        return self.fuse(self.encode(inputs, present), present)

    def presence(self, inputs: Batch) -> dict[str, Tensor]:
        """Which samples have a modality, bool ``[B]`` for each that the model encodes."""
        named = [name for name in self.modalities if name in inputs]
        if not named:
            raise InputError(
                f"the batch has none of the model's modalities ({', '.join(self.modalities)}), "
                f"but {', '.join(inputs) or 'nothing'}; read them from the data or change the encoders"
            )
        values = inputs[named[0]]["values"]
        none = torch.zeros(len(values), dtype=torch.bool, device=values.device)
        return {
            name: inputs[name].get("present", ~none) if name in inputs else none.clone() for name in self.modalities
        }

    def encode(self, inputs: Batch, present: Mapping[str, Tensor]) -> dict[str, Tokens]:
        """Tokens of the modalities in ``present``; masked zeros for samples that lack them.

        An encoder only ever sees samples that have its modality, so absent ones do not touch its statistics.
        """
        return {name: self._encode_one(name, inputs.get(name, {}), rows) for name, rows in present.items()}

    def fuse(self, encoded: Mapping[str, Tokens], present: Mapping[str, Tensor]) -> Fused:
        """The fusion of encoded modalities, after the auxiliaries have stood in for absent ones where they can."""
        tokens = encoded
        for auxiliary in self.auxiliary:
            tokens, present = auxiliary.complete(tokens, present)
        return replace(self.fusion(tokens, present), encoded=encoded)

    def val_step(self, data: Config | Sequence[Any]) -> list[Any]:
        """Predictions of a batch; with ``validation_loss``, followed by its losses as mmengine's loop takes them."""
        if not self.validation_loss:
            return super().val_step(data)
        data = self.data_preprocessor(data, False)
        fused = self.represent(data["inputs"])
        losses = self._task_losses(fused, data.get("targets") or {})
        return [*self._predictions(fused, data.get("samples")), BaseDataElement(loss=losses)]

    def _losses(self, inputs: Batch, targets: Batch) -> dict[str, Tensor]:
        present = self.presence(inputs)
        if self.training:
            learns = self.auxiliary or any(task in targets for task in self.heads)
            tasks = (
                f"targets of none of the model's tasks ({', '.join(self.heads)}), the last one of {_listed(targets)}"
            )
            self._count_idle("", not learns, f"have {tasks}; name the heads as the data names its targets")
            present = drop_modalities(present, self.modality_dropout)
        fused = self.fuse(self.encode(inputs, present), present)
        losses = self._task_losses(fused, targets)
        if self.training:
            losses.update(self._auxiliary_losses(inputs, present, fused, targets))
            self.training_steps += 1
        # A batch may have nothing to learn from; there is always a graph to go back through.
        return losses or {"loss_none": fused.pooled.sum() * 0.0}

    def _task_losses(self, fused: Fused, targets: Batch) -> dict[str, Tensor]:
        losses = {task: head.loss(fused, targets[task]) for task, head in self.heads.items() if task in targets}
        return joint_loss(losses, self.loss_weights)

    def _auxiliary_losses(
        self, inputs: Batch, present: Mapping[str, Tensor], fused: Fused, targets: Batch
    ) -> dict[str, Tensor]:
        if not self.auxiliary:
            return {}
        step = int(self.training_steps)
        model_inputs = ModelInputs(inputs, present, self.heads, self.encode, self.fuse)
        losses = {part.name: part.loss(model_inputs, fused, targets, step) for part in self.auxiliary}
        for name, loss in losses.items():
            found = f"the last one has targets of {_listed(targets)} and inputs of {_listed(inputs)}"
            nothing = (
                f"give the auxiliary loss {name!r} nothing to learn from, {found}; leave it out, or add what it reads"
            )
            self._count_idle(name, not loss, nothing)
        return joint_loss(losses, {part.name: part.weight_at(step) for part in self.auxiliary})

    def _predictions(self, fused: Fused, samples: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
        samples = [{}] * len(fused.pooled) if samples is None else samples
        answers = {task: head.predict(fused) for task, head in self.heads.items()}
        return [
            {**{task: rows[index] for task, rows in answers.items()}, "sample": dict(sample)}
            for index, sample in enumerate(samples)
        ]

    def _encode_one(self, name: str, part: Mapping[str, Tensor], present: Tensor) -> Tokens:
        encoder = self.encoders[name]
        rows = present.nonzero().squeeze(1)
        if not len(rows):
            return absent_tokens(len(present), encoder.channels, present.device)
        values, mask = part["values"], part.get("mask")
        alone = self.training and len(rows) == 1 and any(isinstance(layer, _BATCH_NORMS) for layer in encoder.modules())
        # A single sample goes in twice where batch normalisation would refuse it.
        chosen = rows.repeat(2) if alone else rows
        if len(chosen) < len(present) or alone:
            values, mask = values[chosen], None if mask is None else mask[chosen]
        tokens = encoder(values, mask)
        if values.dtype == torch.int64 and values.shape == tokens.mask.shape:
            tokens = replace(tokens, ids=values)
        if len(rows) == len(present):
            return _map(tokens, lambda content: content[: len(rows)])
        return _map(tokens, lambda content: _scatter(content[: len(rows)], rows, len(present)))

    def _count_idle(self, name: str, idle: bool, what: str) -> None:
        """Refuse a training whose tasks, or an auxiliary of it, learn nothing for long; a few batches may have nothing.

        Args:
            name: of the auxiliary; empty for the tasks.
            idle: whether this batch has nothing to learn from.
            what: is wrong with so many batches.
        """
        self._idle[name] = self._idle.get(name, 0) + 1 if idle else 0
        if self._idle[name] == PATIENCE:
            raise InputError(f"{PATIENCE} batches in a row {what}")

    def _check_readers(self) -> None:
        for task, head in self.heads.items():
            missing = [name for name in getattr(head, "modalities", ()) if name not in self.encoders]
            if missing:
                raise InputError(
                    f"heads.{task}: needs the modality {missing[0]!r}, and the model encodes "
                    f"{', '.join(self.modalities)}; add an encoder for it"
                )
        names = list(self.heads)
        for auxiliary in self.auxiliary:
            auxiliary.check(self.modalities, self.heads)
            if auxiliary.name in names:
                raise InputError(f"auxiliary: two losses are called {auxiliary.name!r}; give one another name")
            names.append(auxiliary.name)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        # The description belongs to the data that this model was built for, not to weights that come from elsewhere.
        if f"{prefix}description" in state_dict:
            state_dict[f"{prefix}description"] = self.description
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _check_tasks(heads: Mapping[str, Config], loss_weights: Mapping[str, float]) -> None:
    if not heads:
        raise InputError("heads: expected at least one task")
    if "sample" in heads:
        raise InputError("heads: a task cannot be called 'sample', which predictions hold besides the tasks")
    for task, weight in loss_weights.items():
        if task not in heads:
            raise InputError(f"loss_weights: {task!r} is no task of the model; it has {', '.join(heads)}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < torch.inf:
            raise InputError(f"loss_weights.{task}: expected a number of at least 0, found {weight!r}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _map(tokens: Tokens, change: Callable[[Tensor], Tensor]) -> Tokens:
    parts = (tokens.values, tokens.mask, tokens.pooled, tokens.ids)
    return Tokens(*(None if part is None else change(part) for part in parts))


def _scatter(content: Tensor, rows: Tensor, count: int) -> Tensor:
    """What belongs to some rows, at its place among ``count`` rows of zeros."""
    return content.new_zeros(count, *content.shape[1:]).index_copy(0, rows, content)
