"""What all heads share: which rows of a batch they learn from, and the layers before their outputs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellseg.errors import InputError
from cellseg.multimodal.values import Fused

Target = Mapping[str, Tensor]


class Head(nn.Module):
    """From what was fused to the answer of one task.

    Subclasses give ``forward``, ``row_loss`` and ``predict``. ``forward`` must not look at targets: auxiliary losses
    compare the outputs of several views of one sample.

    Attributes:
        modalities: those that the head reads by name; the model refuses to be built without them.
    """

    modalities: tuple[str, ...] = ()

    def forward(self, fused: Fused) -> Tensor:
        """Outputs ``[B, K]`` before any softmax or sigmoid."""
        raise NotImplementedError

    def row_loss(self, output: Tensor, target: Target) -> Tensor:
        """Mean loss of samples that all have a target.

        Args:
            output: ``[N, K]``, N > 0.
            target: ``values`` and perhaps ``mask`` of the same samples.
        """
        raise NotImplementedError

    def predict(self, fused: Fused) -> list[dict[str, Any]]:
        """Plain values, one dict a sample."""
        raise NotImplementedError

    def loss(self, fused: Fused, target: Target) -> dict[str, Tensor]:
        """``loss``, the mean over the samples that have a target; nothing where none has.

        Args:
            fused: of the batch.
            target: ``values``, ``present`` bool ``[B]``, perhaps ``mask``.
        """
        return self.output_loss(self(fused), target)

    def output_loss(self, output: Tensor, target: Target) -> dict[str, Tensor]:
        """``loss`` for outputs that ``forward`` gave earlier."""
        rows = target["present"]
        return {"loss": self.row_loss(output[rows], select_rows(target, rows))} if rows.any() else {}

    def divergence(self, output: Tensor, reference: Tensor) -> Tensor:
        """How far an answer is from another to the same question, ``[B]``, >= 0 and 0 for equal ones.

        Args:
            output: ``[B, K]``, of ``forward``.
            reference: ``[B, K]``.
        """
        return (output.float() - reference.float()).square().flatten(1).mean(dim=1)


def is_comparable(head: nn.Module) -> bool:
    """Whether a head's outputs have a loss and a divergence by themselves; those of a head that writes have not."""
    return isinstance(head, Head) and type(head).row_loss is not Head.row_loss


def select_rows(target: Target, rows: Tensor) -> dict[str, Tensor]:
    """The part of a target that belongs to some samples.

    Args:
        target: tensors ``[B, ...]``.
        rows: bool ``[B]``.
    """
    return {name: value[rows] for name, value in target.items()}


def output_layers(channels: int, outputs: int, hidden: int = 0, dropout: float = 0.0) -> nn.Sequential:
    """Dropout and a linear layer, with one hidden layer before them if ``hidden`` is its width."""
    layers = [nn.Linear(channels, hidden), nn.GELU()] if hidden else []
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(hidden or channels, outputs))


def softmax_divergence(output: Tensor, reference: Tensor) -> Tensor:
    """Kullback-Leibler divergence ``[B]`` of one choice among K, from logits ``[B, K]`` to those of the reference."""
    wanted = reference.float().log_softmax(dim=1)
    return (wanted.exp() * (wanted - output.float().log_softmax(dim=1))).sum(dim=1)


def sigmoid_divergence(output: Tensor, reference: Tensor) -> Tensor:
    """Kullback-Leibler divergence ``[B]`` of K independent labels, mean over them; arguments as the softmax's."""
    output, reference = output.float(), reference.float()
    wanted = reference.sigmoid()
    crossed = functional.binary_cross_entropy_with_logits(output, wanted, reduction="none")
    own = functional.binary_cross_entropy_with_logits(reference, wanted, reduction="none")
    return (crossed - own).mean(dim=1)


def check_count(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least ``least``.

    Raises:
        InputError: it is none; names the option.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name}: expected a whole number of at least {least}, found {value!r}")
    return value


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of some texts.

    Raises:
        InputError: it is none of them; names the option.
    """
    if value not in choices:
        raise InputError(f"{name}: expected {' or '.join(choices)}, found {value!r}")
    return value


def check_positive(name: str, value: Any) -> float:
    """A finite number above 0.

    Raises:
        InputError: it is none; names the option.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < torch.inf:
        raise InputError(f"{name}: expected a number above 0, found {value!r}")
    return float(value)
