"""DenseNet-121 with channel and place attention: the picture's side of the visual-language model."""

import re

from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import relu
from torchvision.models import densenet121

from cellseg.errors import InputError
from cellseg.multimodal.encoders.cbam import CBAM
from cellseg.multimodal.encoders.pooling import tokens_of_map
from cellseg.multimodal.values import Tokens
from cellseg.openmmlab.checkpoints import load_checkpoint_file

_CHANNELS = 1024
_SMALLEST = 32  # pixels along a side, of which one cell remains
# Files that torchvision publishes still name the layers as they were called before module names lost their dots.
_OLD_NAME = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)")


@MODELS.register_module()
class DenseNetEncoder(nn.Module):
    """DenseNet-121 (Huang et al. 2017), then CBAM, then a token for each cell of the map: 49 of 224 x 224 pixels.

    Args:
        pretrained: a file with the weights of torchvision's densenet121; None: random weights.
        cbam: without it, the features go on as they are (the ablation).
        reduction: of CBAM's hidden layer.
        width: what tokens are projected to; None: they keep their 1024 channels.
        freeze_norm: keep the batch normalisation's statistics as they are (those of ``pretrained``) in training too;
            for small batches, and where few samples of a batch have a picture.

    Attributes:
        channels: ``width``, or 1024.
        features: the module that gives the map, ``[B, 1024, H / 32, W / 32]``, before CBAM.

    Raises:
        MissingFileError: ``pretrained`` names no file.
        InputError: that file holds something else than weights of densenet121.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        cbam: bool = True,
        reduction: int = 16,
        width: int | None = None,
        freeze_norm: bool = False,
    ):
        super().__init__()
        self.features = _DenseNetFeatures(pretrained)
        self.cbam = CBAM(_CHANNELS, reduction) if cbam else nn.Identity()
        self.project = nn.Identity() if width is None else nn.Linear(_CHANNELS, width)
        self.channels = _CHANNELS if width is None else width
        self.freeze_norm = freeze_norm

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens of pictures, row by row.

        Args:
            values: float ``[B, 3, H, W]``, from 32 pixels along a side.
            mask: pictures have none; it is there for the sake of the other encoders.

        Raises:
            InputError: a smaller picture.
        """
        if min(values.shape[2:]) < _SMALLEST:
            height, width = values.shape[2:]
            raise InputError(
                f"DenseNetEncoder: a picture of {height} x {width} pixels; it needs {_SMALLEST} along a side at least, "
                "give a larger image_size or use ConvEncoder"
            )
        features = self.cbam(self.features(values))
        return tokens_of_map(self.project(features.flatten(2).transpose(1, 2)))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens of a picture of that size in pixels."""
        return _cells(height), _cells(width)

    def train(self, mode: bool = True) -> "DenseNetEncoder":
        """As any module's, except that frozen statistics stay."""
        super().train(mode)
        if self.freeze_norm:
            for module in self.features.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class _DenseNetFeatures(nn.Module):
    """All layers up to the one that torchvision pools."""

    def __init__(self, pretrained: str | None):
        super().__init__()
        network = densenet121(weights=None)
        if pretrained is not None:
            _load(network, pretrained)
        self.layers = network.features

    def forward(self, values: Tensor) -> Tensor:
        return relu(self.layers(values))


def _cells(pixels: int) -> int:
    # Convolution and max-pooling at the door round up, the transitions between the blocks down.
    return -(-pixels // 4) // 8


def _load(network: nn.Module, pretrained: str) -> None:
    state = load_checkpoint_file(pretrained)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{pretrained}: expected the weights of torchvision's densenet121 by name, found other values")
    # The classifier of ImageNet's classes may differ or be missing, because it is not used.
    named = {_OLD_NAME.sub(r"\1\2", name): value for name, value in state.items() if name.startswith("features.")}
    own = {name: value for name, value in network.state_dict().items() if name.startswith("features.")}
    wrong = sorted(
        name for name in own.keys() | named.keys() if name not in own or _shape(named.get(name)) != own[name].shape
    )
    # Files from before torch 0.4 lack the counters of batches, which nothing reads.
    wrong = [name for name in wrong if name in named or not name.endswith("num_batches_tracked")]
    if wrong:
        raise InputError(
            f"{pretrained}: not the weights of torchvision's densenet121: {wrong[0]} is missing, unknown or of another "
            f"shape, and so are {len(wrong) - 1} more"
        )
    network.load_state_dict({**network.state_dict(), **named})


def _shape(value: Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else value.shape
