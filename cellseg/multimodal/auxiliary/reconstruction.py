"""Denoising reconstruction: what was hidden of a table or sequence is to be readable from the representation."""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from cellseg.errors import InputError
from cellseg.multimodal.auxiliary.base import Auxiliary, Targets, check_modality
from cellseg.multimodal.heads.base import check_count, output_layers, select_rows
from cellseg.multimodal.losses import regression_loss
from cellseg.multimodal.values import Fused, ModelInputs


class _Reconstruction(Auxiliary):
    """What both kinds share: a second, corrupted view of one modality, encoded and fused with the others.

    The tasks see the input as it is; only this loss sees the corrupted one.

    Args:
        modality: that is reconstructed.
        features: numbers a row (or a time step) of it has.
        hide: share of the entries (or time steps) that the view lacks, 0 to 1.
        noise: standard deviation of what is added to the others.
    """

    def __init__(
        self, modality: str, features: int, hide: float, noise: float, name: str | None, weight: float, warmup: int
    ):
        super().__init__(name or f"reconstruction_{modality}", weight, warmup)
        check_count("features", features)
        if not 0 <= hide < 1:
            raise InputError(f"hide: expected 0 or more and less than 1, found {hide!r}")
        if not 0 <= noise < torch.inf:
            raise InputError(f"noise: expected 0 or more, found {noise!r}")
        self.modality, self.hide, self.noise = modality, hide, noise

    def check(self, modalities: tuple[str, ...], heads: Mapping[str, nn.Module]) -> None:
        """Refuse a modality that the model does not encode."""
        check_modality(f"{self.name}: modality", self.modality, modalities)

    def corrupt(self, values: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """``values`` and, if there was one, ``mask`` of the view; arguments are those of the batch."""
        raise NotImplementedError

    def decode(self, fused: Fused, length: int) -> Tensor:
        """The modality as it was, of ``length`` entries or time steps, for the samples in ``fused``."""
        raise NotImplementedError

    def loss(self, model_inputs: ModelInputs, fused: Fused, targets: Targets, step: int) -> dict[str, Tensor]:
        """Mean squared error over all known entries of the samples that have the modality."""
        rows = model_inputs.present[self.modality]
        if not rows.any():
            return {}
        part = model_inputs.inputs[self.modality]
        view = self.corrupt(part["values"], part.get("mask"))
        encoded = model_inputs.encode({self.modality: view}, {self.modality: rows})
        whole = model_inputs.fuse({**fused.encoded, **encoded}, model_inputs.present)
        original = select_rows({key: part[key] for key in ("values", "mask") if key in part}, rows)
        found = self.decode(whole, part["values"].shape[1])[rows]
        return {"loss": _error(found, original["values"], original.get("mask"))}


@MODELS.register_module()
class TableReconstruction(_Reconstruction):
    """Reconstructs a table's row ``[B, F]`` from the fused representation.

    Hidden entries become unknown (0, and false in the mask).

    Args:
        channels: of the fused representation.
        token_channels: of the fused tokens by modality; not read.
        modality: that is reconstructed.
        features: F.
        hide: share of the entries that the corrupted view lacks.
        noise: standard deviation of what is added to the others.
        hidden: width of the decoder's hidden layer; 0: none.
        name: of the loss; None: ``reconstruction_`` and the modality.
        weight: of the loss.
        warmup: training steps during which the weight grows from 0.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        modality: str,
        features: int,
        hide: float = 0.3,
        noise: float = 0.0,
        hidden: int = 64,
        name: str | None = None,
        weight: float = 1.0,
        warmup: int = 0,
    ):
        super().__init__(modality, features, hide, noise, name, weight, warmup)
        self.decoder = output_layers(channels, features, hidden)

    def corrupt(self, values: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """See ``_Reconstruction``."""
        known = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        known = known & (torch.rand_like(values) >= self.hide)
        noisy = values + self.noise * torch.randn_like(values)
        return {"values": noisy.masked_fill(~known, 0.0), "mask": known}

    def decode(self, fused: Fused, length: int) -> Tensor:
        """``[B, F]``."""
        return self.decoder(fused.pooled)


@MODELS.register_module()
class SequenceReconstruction(_Reconstruction):
    """Reconstructs a sequence ``[B, T, F]`` from its fused tokens and the fused representation.

    The tokens, however many the encoder makes of T time steps, are interpolated to T. Hidden time steps are zeros.

    Args:
        channels: of the fused representation.
        token_channels: of the fused tokens by modality.
        modality: that is reconstructed.
        features: F.
        hide: share of the time steps that the corrupted view lacks.
        noise: standard deviation of what is added to the others.
        hidden: width of the decoder's hidden layer; 0: none.
        name: of the loss; None: ``reconstruction_`` and the modality.
        weight: of the loss.
        warmup: training steps during which the weight grows from 0.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        modality: str,
        features: int,
        hide: float = 0.3,
        noise: float = 0.0,
        hidden: int = 64,
        name: str | None = None,
        weight: float = 1.0,
        warmup: int = 0,
    ):
        super().__init__(modality, features, hide, noise, name, weight, warmup)
        check_modality("modality", modality, tuple(token_channels))
        self.decoder = output_layers(channels + token_channels[modality], features, hidden)

    def corrupt(self, values: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """See ``_Reconstruction``."""
        hidden = torch.rand(values.shape[:2], device=values.device) < self.hide
        noisy = values + self.noise * torch.randn_like(values)
        silent = hidden if mask is None else hidden | ~mask
        view = {"values": noisy.masked_fill(silent.unsqueeze(-1), 0.0)}
        return view if mask is None else {**view, "mask": mask}

    def decode(self, fused: Fused, length: int) -> Tensor:
        """``[B, T, F]``."""
        tokens = fused.tokens[self.modality].values.transpose(1, 2)
        tokens = functional.interpolate(tokens.float(), size=length, mode="linear").transpose(1, 2)
        pooled = fused.pooled.unsqueeze(1).expand(-1, length, -1)
        return self.decoder(torch.cat([tokens, pooled], dim=-1))


def _error(found: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    if values.ndim == 3:
        known = None if mask is None else mask.unsqueeze(-1).expand_as(values).flatten(1)
        return regression_loss(found.flatten(1), values.flatten(1), known)
    return regression_loss(found, values, mask)
