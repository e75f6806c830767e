"""Domain adversary: makes the representation say nothing about the device, site or study a sample comes from."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from cellseg.multimodal.auxiliary.base import Auxiliary, Targets, check_modality
from cellseg.multimodal.heads.base import check_count, check_positive, output_layers
from cellseg.multimodal.losses import cross_entropy
from cellseg.multimodal.values import Fused, ModelInputs


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.strength * gradient, None


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """The same values, through which a gradient ``g`` comes back as ``-strength g``."""
    return _Reversal.apply(values, strength)


def growing_strength(step: int, steps: int, strength: float = 1.0, steepness: float = 10.0) -> float:
    """``strength (2 / (1 + exp(-steepness p)) - 1)``, p = step / steps up to 1 (Ganin et al. 2016, section 5.2.2).

    Starts at 0, so that an adversary that knows nothing yet does not disturb the first steps.
    """
    progress = min(1.0, step / steps)
    return strength * (2.0 / (1.0 + math.exp(-steepness * progress)) - 1.0)


@MODELS.register_module()
class DomainAdversary(Auxiliary):
    """Guesses the domain from the representation, whose gradient is reversed (domain-adversarial training).

    Args:
        channels: of the fused representation.
        token_channels: of the fused tokens by modality; not read.
        encoded_channels: of the encoders by modality.
        domains: how many there are; targets are int64 ``[B]``, 0 to ``domains`` - 1.
        target: name of the domain among the targets.
        modality: whose encoding is to hide the domain; None: the fused representation.
        hidden: width of the guesser's hidden layer; 0: none.
        strength: of the reversed gradient once it has grown.
        steps: training steps over which it grows, see ``growing_strength``.
        name: of the loss.
        weight: of the loss.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        encoded_channels: Mapping[str, int],
        domains: int,
        target: str = "domain",
        modality: str | None = None,
        hidden: int = 64,
        strength: float = 1.0,
        steps: int = 1000,
        name: str = "domain_adversary",
        weight: float = 1.0,
    ):
        super().__init__(name, weight)
        check_count("domains", domains, least=2)
        self.steps = check_count("steps", steps)
        self.strength = check_positive("strength", strength)
        self.target, self.modality = target, modality
        if modality is not None:
            check_modality("modality", modality, tuple(encoded_channels))
            channels = encoded_channels[modality]
        self.guess = output_layers(channels, domains, hidden)

    def loss(self, model_inputs: ModelInputs, fused: Fused, targets: Targets, step: int) -> dict[str, Tensor]:
        """Cross-entropy of the guess, over the samples whose domain is known and that have the modality."""
        if self.target not in targets:
            return {}
        values, rows = fused.pooled, targets[self.target]["present"]
        if self.modality is not None:
            values = fused.encoded[self.modality].pooled
            rows = rows & model_inputs.present[self.modality]
        if not rows.any():
            return {}
        reversed_values = reverse_gradient(values[rows], growing_strength(step, self.steps, self.strength))
        return {"loss": cross_entropy(self.guess(reversed_values), targets[self.target]["values"][rows])}
