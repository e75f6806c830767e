"""Heads that give numbers: from the fused representation, or by attention over the fused tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.heads.base import Head, Target, check_choice, check_count, output_layers
from cellseg.multimodal.losses import REGRESSION_LOSSES, regression_loss
from cellseg.multimodal.values import Fused


class _Regressor(Head):
    """What both heads share: their loss, and numbers in the units of the data.

    Args:
        outputs: K.
        loss: ``mse`` or ``l1``.
        mean: K numbers, of the targets in the training data; None: zeros.
        std: K numbers above 0, likewise; None: ones. The network learns the standardised numbers, and its answers are
            in the units of the data.

    Attributes:
        of_the_data: names of buffers that follow from the data, not from a training.
    """

    of_the_data = ("mean", "std")

    def __init__(self, outputs: int, loss: str, mean: Sequence[float] | None, std: Sequence[float] | None):
        super().__init__()
        check_count("outputs", outputs)
        self.kind = check_choice("loss", loss, tuple(REGRESSION_LOSSES))
        # They belong to the weights: without them, the answers would be in other units.
        self.register_buffer("mean", _numbers("mean", mean, outputs, 0.0))
        self.register_buffer("std", _numbers("std", std, outputs, 1.0))
        if not (self.std > 0).all():
            raise InputError(f"std: expected numbers above 0, found {list(std)}")

    def row_loss(self, output: Tensor, target: Target) -> Tensor:
        """Error of the standardised numbers, see ``losses``."""
        return regression_loss(output / self.std, target["values"] / self.std, target.get("mask"), self.kind)

    def predict(self, fused: Fused) -> list[dict[str, Any]]:
        """``{"value": [K]}``, one a sample."""
        return [{"value": row} for row in self(fused).float().tolist()]

    def divergence(self, output: Tensor, reference: Tensor) -> Tensor:
        """Mean squared difference ``[B]`` of the standardised numbers."""
        return super().divergence(output / self.std, reference / self.std)


@MODELS.register_module()
class FusedRegressor(_Regressor):
    """Numbers from the fused representation.

    Targets are float ``[B, K]``, where a ``mask`` says which are known. A prediction is ``{"value": [K]}``.

    Args:
        channels: of the fused representation.
        token_channels: of the fused tokens by modality; not read.
        outputs: K.
        loss: ``mse`` or ``l1``.
        hidden: width of a hidden layer; 0: none.
        dropout: before the last layer.
        mean: K numbers, of the targets in the training data; None: zeros.
        std: K numbers above 0, likewise; None: ones.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        outputs: int = 1,
        loss: str = "mse",
        hidden: int = 0,
        dropout: float = 0.0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__(outputs, loss, mean, std)
        self.layers = output_layers(channels, outputs, hidden, dropout)

    def forward(self, fused: Fused) -> Tensor:
        """Numbers ``[B, K]`` in the units of the data."""
        return self.layers(fused.pooled) * self.std + self.mean


@MODELS.register_module()
class AttentionRegressor(_Regressor):
    """Numbers from a weighted mean over the fused tokens of all modalities.

    The weight of a token is ``softmax_t v tanh(U h_t)``, over all real tokens of a sample together (Ilse et al. 2018),
    with ``h_t`` the token, brought to one width by a linear layer for each modality. A sample without any token is
    answered from zeros.

    Args:
        channels: of the fused representation; not read.
        token_channels: of the fused tokens by modality.
        outputs: K.
        loss: ``mse`` or ``l1``.
        width: of the tokens that are averaged.
        hidden: width of a hidden layer after the mean; 0: none.
        dropout: before the last layer.
        mean: K numbers, of the targets in the training data; None: zeros.
        std: K numbers above 0, likewise; None: ones.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        outputs: int = 1,
        loss: str = "mse",
        width: int = 64,
        hidden: int = 0,
        dropout: float = 0.0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__(outputs, loss, mean, std)
        check_count("width", width)
        self.bring = nn.ModuleDict({name: nn.Linear(size, width) for name, size in token_channels.items()})
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self.layers = output_layers(width, outputs, hidden, dropout)

    def forward(self, fused: Fused) -> Tensor:
        """Numbers ``[B, K]`` in the units of the data."""
        values, weights = self._attend(fused)
        return self.layers((values * weights.unsqueeze(-1)).sum(dim=1)) * self.std + self.mean

    def attention(self, fused: Fused) -> dict[str, Tensor]:
        """Weights ``[B, L]`` of the tokens of each modality; those of a sample sum to 1 over all modalities."""
        _, weights = self._attend(fused)
        lengths = [fused.tokens[name].mask.shape[1] for name in self.bring]
        return dict(zip(self.bring, weights.split(lengths, dim=1), strict=True))

    def _attend(self, fused: Fused) -> tuple[Tensor, Tensor]:
        """All tokens ``[B, L, width]``, one modality after another, and their weights ``[B, L]``."""
        values = torch.cat([layer(fused.tokens[name].values) for name, layer in self.bring.items()], dim=1)
        mask = torch.cat([fused.tokens[name].mask for name in self.bring], dim=1)
        # Finite, unlike -inf, so that a sample without tokens gives zeros instead of NaN.
        scores = self.score(values).squeeze(-1).float().masked_fill(~mask, -1e9)
        return values, scores.softmax(dim=1) * mask


def _numbers(name: str, values: Sequence[float] | None, count: int, default: float) -> Tensor:
    if values is None:
        return torch.full((count,), default)
    if len(values) != count:
        raise InputError(f"{name}: expected {count}, one an output, found {len(values)}")
    numbers = torch.tensor(values, dtype=torch.float32)
    if not torch.isfinite(numbers).all():
        raise InputError(f"{name}: expected finite numbers, found {list(values)}")
    return numbers
