"""The loss that an encoder-decoder fusion needs: what it rebuilds of each modality is to be like its encoding."""

from collections.abc import Mapping

from mmengine.registry import MODELS
from torch import Tensor

from cellseg.errors import InputError
from cellseg.multimodal.auxiliary.base import Auxiliary, Targets
from cellseg.multimodal.fusion.encoder_decoder import ReconstructedFused, reconstruction_error
from cellseg.multimodal.values import Fused, ModelInputs


@MODELS.register_module()
class FusionReconstruction(Auxiliary):
    """Mean squared error of the modalities as ``EncoderDecoderFusion`` rebuilds them from the fused vector.

    Args:
        channels: of the fused representation; not read.
        token_channels: of the fused tokens by modality; not read.
        name: of the loss.
        weight: of the loss.
        warmup: training steps during which the weight grows from 0.

    Raises:
        InputError: an option that cannot be used.
    """

    least_modalities = 2

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        name: str = "fusion_reconstruction",
        weight: float = 1.0,
        warmup: int = 0,
    ):
        super().__init__(name, weight, warmup)

    def loss(self, model_inputs: ModelInputs, fused: Fused, targets: Targets, step: int) -> dict[str, Tensor]:
        """See ``reconstruction_error``.

        Raises:
            InputError: another fusion, which rebuilds nothing.
        """
        if not isinstance(fused, ReconstructedFused):
            raise InputError(f"{self.name}: the fusion rebuilds nothing; use EncoderDecoderFusion or leave it out")
        return {"loss": reconstruction_error(fused)}
