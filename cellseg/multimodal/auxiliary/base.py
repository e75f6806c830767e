"""What all auxiliary losses share: a name, a weight that may grow, and their place in a training step."""

from collections.abc import Mapping

from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.heads.base import check_count, check_positive, is_comparable
from cellseg.multimodal.values import Fused, ModelInputs, Tokens

Targets = Mapping[str, Mapping[str, Tensor]]


class Auxiliary(nn.Module):
    """A loss beside those of the tasks, with what it needs to compute it; used in training only.

    Args:
        name: of the loss in logs, different for each auxiliary of a model.
        weight: above 0, of the loss in the sum.
        warmup: training steps during which the weight grows from 0; 0: full from the beginning.

    Attributes:
        least_modalities: that a model must have for the loss to mean something.

    Raises:
        InputError: an option that cannot be used.
    """

    least_modalities = 1

    def __init__(self, name: str, weight: float = 1.0, warmup: int = 0):
        super().__init__()
        if not name or not isinstance(name, str):
            raise InputError(f"name: expected a text, found {name!r}")
        self.name = name
        self.weight = check_positive("weight", weight)
        self.warmup = check_count("warmup", warmup, least=0)

    def weight_at(self, step: int) -> float:
        """Of the loss in the sum, at a training step (from 0)."""
        return self.weight * min(1.0, step / self.warmup) if self.warmup else self.weight

    def check(self, modalities: tuple[str, ...], heads: Mapping[str, nn.Module]) -> None:
        """Refuse a model without what the loss needs.

        Raises:
            InputError: names what is missing.
        """

    def complete(
        self, tokens: Mapping[str, Tokens], present: Mapping[str, Tensor]
    ) -> tuple[Mapping[str, Tokens], Mapping[str, Tensor]]:
        """Stand in for absent modalities before the fusion, in training and afterwards; most auxiliaries do not."""
        return tokens, present

    def loss(self, model_inputs: ModelInputs, fused: Fused, targets: Targets, step: int) -> dict[str, Tensor]:
        """Scalars whose names start with ``loss``; empty where a batch has nothing to learn from.

        Args:
            model_inputs: the batch, and the model's own parts.
            fused: what the model made of it.
            targets: by task, also those that no head answers.
            step: training steps so far.
        """
        raise NotImplementedError


def check_modality(option: str, name: str, known: tuple[str, ...]) -> None:
    """Refuse a modality that the model does not encode.

    Raises:
        InputError: names the option and what there is.
    """
    if name not in known:
        raise InputError(f"{option}: {name!r} has no encoder; the model encodes {', '.join(known)}")


def check_head(option: str, task: str, heads: Mapping[str, nn.Module]) -> None:
    """Refuse a task that the model does not answer, or whose answers are written and not computed.

    Raises:
        InputError: names the option and what there is.
    """
    usable = [name for name, head in heads.items() if is_comparable(head)]
    if task not in usable:
        raise InputError(
            f"{option}: {task!r} is no task that this loss works on; the model has {', '.join(usable) or 'none'}"
        )
