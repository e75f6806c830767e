"""The network of the feature fusion: corrects the plain mean of several members' evidence, one cell at a time.

Several small networks of one form are trained side by side (cross-fitting): the training images fall into as many
parts, and each network learns from all parts but its own. So every training image can be answered by a network that
never saw it, which is what weights may be tuned on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from cellseg.errors import InputError

GRID = 28  # cells along a side of the grids on which evidence is read and corrected

# Where all members say 0 (or 1), the mean is moved this far inwards before its logarithm is taken.
_INWARDS = 1e-3


@dataclass(frozen=True)
class FusionDescription:
    """What a trained fusion must remember of its training; it travels with the weights.

    Attributes:
        class_names: cell types.
        identities: hash of each input (``ensemble.provenance.describe_members``) by name, in the order of the inputs.
        channels: feature channels that are read of each input, by name; all 0: evidence only.
        parts: networks that were trained side by side.
        images: part of each training image, by the key of its content.
    """

    class_names: tuple[str, ...]
    identities: Mapping[str, str]
    channels: Mapping[str, int]
    parts: int
    images: Mapping[str, int]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the members that are combined."""
        return tuple(self.identities)

    @property
    def uses_features(self) -> bool:
        """Whether any features are read."""
        return any(self.channels.values())

    def to_tensor(self) -> Tensor:
        """As uint8 ``[L]``, so that it can stand among weights."""
        return torch.tensor(list(json.dumps(asdict(self)).encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, content: Any, where: str) -> "FusionDescription":
        """Inverse of ``to_tensor``.

        Raises:
            InputError: something else; names ``where``.
        """
        try:
            values = json.loads(bytes(content.tolist()))
            description = cls(**{**values, "class_names": tuple(values["class_names"])})
            sound = description._is_sound()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: not the checkpoint of a feature fusion (no description in it)") from error
        if not sound:
            raise InputError(f"{where}: damaged, the description of its training contradicts itself; train again")
        return description

    def _is_sound(self) -> bool:
        numbers = [self.parts, *self.channels.values(), *self.images.values()]
        return (
            all(type(number) is int and number >= 0 for number in numbers)
            and len(self.inputs) > 0
            and self.channels.keys() == self.identities.keys()
            and all(part < self.parts for part in self.images.values())
        )


@MODELS.register_module()
class FeatureFusionNetwork(BaseModel):
    """Corrects the mean evidence of the inputs by small convolutional networks, one for each part.

    The probability of a pixel is that of the plain mean, moved by a correction on the scale of log-odds. The last layer
    of every network starts at zero: untrained, it is the uniform vote.

    Args:
        description: inputs, channels and parts.
        width: channels of the networks.
        feature_width: channels that the features of an input are squeezed to.
        input_dropout: how often a training sample has one of its inputs, evidence and features, taken away.
    """

    def __init__(
        self,
        description: FusionDescription,
        width: int = 32,
        feature_width: int = 8,
        input_dropout: float = 0.2,
    ):
        super().__init__()
        self.about = description
        self.input_dropout = input_dropout
        channels = list(description.channels.values())
        self.networks = nn.ModuleList(_Corrector(channels, width, feature_width) for _ in range(description.parts))
        self.register_buffer("description", description.to_tensor())

    def forward(
        self,
        evidence: Tensor,
        confidence: Tensor,
        features: Tensor,
        part: Tensor,
        target: Tensor,
        weight: Tensor,
        mode: str = "tensor",
    ) -> dict[str, Tensor] | list[dict[str, float]] | Tensor:
        """Losses of a batch, its scores, or its cross-fitted probabilities.

        Args:
            evidence: ``[B, M, S, S]``, probabilities of the M inputs, S = ``GRID``.
            confidence: ``[B, M]``.
            features: ``[B, C, 7, 7]``, of all inputs one after another.
            part: int64 ``[B]``, of the sample's image.
            target: ``[B, S, S]``, share of each grid cell that the true cell covers.
            weight: ``[B]``, of the sample in the loss.
            mode: ``loss`` (gives ``loss``), ``predict`` (gives for each sample ``soft_iou``, ``mean_soft_iou``, that of
                the plain mean, and ``true_cell``, whether there is one) or ``tensor`` (gives ``[B, S, S]``).
        """
        evidence, features, target = evidence.float(), features.float(), target.float()
        if mode == "loss":
            return {"loss": self._loss(evidence, confidence, features, part, target, weight)}
        mean = evidence.mean(dim=1)
        fused = torch.zeros_like(mean)
        for index in part.unique().tolist():
            mine = part == index
            correction = self.corrections(evidence[mine], confidence[mine], features[mine], [index])[0]
            fused[mine] = apply_correction(mean[mine], correction)
        if mode == "tensor":
            return fused
        scores = zip(soft_iou(fused, target).tolist(), soft_iou(mean, target).tolist(), strict=True)
        there = target.flatten(1).any(dim=1).tolist()
        return [
            dict(soft_iou=own, mean_soft_iou=plain, true_cell=has_cell)
            for (own, plain), has_cell in zip(scores, there, strict=True)
        ]

    def corrections(self, evidence: Tensor, confidence: Tensor, features: Tensor, parts: Sequence[int]) -> Tensor:
        """What the networks of some parts add to the log-odds: ``[len(parts), B, S, S]``; arguments as ``forward``."""
        present = torch.ones_like(confidence)
        return torch.stack([self.networks[part](evidence, confidence, features, present) for part in parts])

    def _loss(
        self, evidence: Tensor, confidence: Tensor, features: Tensor, part: Tensor, target: Tensor, weight: Tensor
    ) -> Tensor:
        """Cross-entropy of each network on the samples of the other parts, summed over the networks.

        Nothing but the samples of the other parts reaches a network: neither targets nor statistics.
        """
        evidence, features, target = _turn(evidence, features, target)
        present = self._drop_inputs(confidence)
        shown = present[:, :, None, None]
        mean = (evidence * shown).sum(dim=1) / shown.sum(dim=1)
        total = evidence.new_zeros(())
        for index, network in enumerate(self.networks):
            used = (part != index) & (weight > 0)
            if not used.any():
                continue
            correction = network(evidence[used], confidence[used], features[used], present[used])
            logits = log_odds(mean[used]) + correction
            each = binary_cross_entropy_with_logits(logits, target[used], reduction="none").mean(dim=(1, 2))
            total = total + (each * weight[used]).sum() / weight[used].sum()
        # A batch of one part alone teaches the others; there is always a graph to go back through.
        return total + 0.0 * sum(parameter.sum() for parameter in self.parameters())

    def _drop_inputs(self, confidence: Tensor) -> Tensor:
        """Which inputs a sample shows, ``[B, M]``: all of them, or all but one."""
        present = torch.ones_like(confidence)
        count, inputs = confidence.shape
        if inputs > 1:
            dropped = torch.randint(inputs, (count,), device=confidence.device)
            hit = torch.rand(count, device=confidence.device) < self.input_dropout
            present[hit.nonzero()[:, 0], dropped[hit]] = 0.0
        return present

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        # The description belongs to the evidence that this network was built for, not to weights that come from
        # elsewhere (--pretrained).
        if f"{prefix}description" in state_dict:
            state_dict[f"{prefix}description"] = self.description
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class _Corrector(nn.Module):
    """From evidence and features of a cell to what is added to the log-odds of its mean.

    Half of the resolution is enough for most of it; the last layers see the evidence itself again.
    """

    def __init__(self, channels: Sequence[int], width: int, feature_width: int):
        super().__init__()
        self.channels = list(channels)
        used = [count for count in channels if count]
        # Members' features have scales of their own. The mean over all batches, because the features never change.
        self.standardise = nn.ModuleList(nn.BatchNorm2d(count, affine=False, momentum=None) for count in used)
        self.squeeze = nn.ModuleList(nn.Conv2d(count, feature_width, 1) for count in used)
        inputs = len(channels)
        # Even kernels keep the halved grid centred on the whole one.
        self.stem = _block(nn.Conv2d(2 * inputs + 2, width, 4, stride=2, padding=1), width)
        self.join = _block(nn.Conv2d(width + feature_width * len(used), width, 3, padding=1), width)
        self.body = _block(nn.Conv2d(width, width, 3, padding=1), width)
        self.head = nn.Sequential(nn.Conv2d(width + inputs, width // 2, 3, padding=1), nn.LeakyReLU(0.1))
        self.last = nn.Conv2d(width // 2, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, evidence: Tensor, confidence: Tensor, features: Tensor, present: Tensor) -> Tensor:
        shown = present[:, :, None, None]
        # An input that is taken away says "no idea": 0 between -1 and 1.
        said = (2 * evidence - 1) * shown
        trust = (confidence * present)[:, :, None, None].expand_as(said)
        place = torch.linspace(-1, 1, said.shape[-1], device=said.device)
        columns = place.expand(len(said), 1, len(place), len(place))
        coarse = self.stem(torch.cat([said, trust, columns, columns.transpose(2, 3)], dim=1))
        joined = self.join(torch.cat([coarse, *self._squeezed(features, present)], dim=1))
        joined = joined + self.body(joined)
        fine = interpolate(joined, scale_factor=2, mode="bilinear", align_corners=False)
        return self.last(self.head(torch.cat([fine, said], dim=1)))[:, 0]

    def _squeezed(self, features: Tensor, present: Tensor) -> list[Tensor]:
        parts = [
            (part, present[:, index, None, None, None])
            for index, part in enumerate(features.split(self.channels, dim=1))
            if self.channels[index]
        ]
        squeezed = [
            squeeze(standardise(part)) * shown
            for (part, shown), standardise, squeeze in zip(parts, self.standardise, self.squeeze, strict=True)
        ]
        # Their 7 x 7 cells divide the window evenly, as the halved grid does.
        return [interpolate(part, size=GRID // 2, mode="bilinear", align_corners=False) for part in squeezed]


def _block(convolution: nn.Conv2d, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.GroupNorm(4, width), nn.LeakyReLU(0.1))


def _turn(*grids: Tensor) -> list[Tensor]:
    """All grids of a batch in one of the eight positions of a square, drawn anew for each batch."""
    transpose, upside_down, mirrored = torch.randint(2, (3,)).tolist()
    axes = [-1] * mirrored + [-2] * upside_down
    turned = [grid.transpose(-1, -2) if transpose else grid for grid in grids]
    return [grid.flip(axes) for grid in turned] if axes else turned


def log_odds(mean: Tensor) -> Tensor:
    """Logarithm of p / (1 - p), finite at 0 and 1."""
    return torch.logit(mean.clamp(_INWARDS, 1 - _INWARDS))


def apply_correction(mean: Tensor, correction: Tensor) -> Tensor:
    """Probabilities after a correction of their log-odds; a correction of 0 leaves them as they are."""
    inner = mean.clamp(_INWARDS, 1 - _INWARDS)
    return (mean + torch.sigmoid(torch.logit(inner) + correction) - inner).clamp(0, 1)


def soft_iou(found: Tensor, target: Tensor) -> Tensor:
    """Sum of the smaller over sum of the larger values of two grids ``[B, S, S]``: ``[B]``, 0 for two empty grids."""
    smaller = torch.minimum(found, target).sum(dim=(1, 2))
    larger = torch.maximum(found, target).sum(dim=(1, 2))
    return smaller / larger.clamp(min=1e-6)
