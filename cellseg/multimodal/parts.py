"""Building the parts of a model from configs, each told the channels that it reads."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.values import Fused, Tokens

Config = Mapping[str, Any]


def build_fusion(config: Config | None, channels: Mapping[str, int]) -> nn.Module:
    """The fusion of a config, or what stands in for one.

    Args:
        config: ``type`` and the options of a fusion; None for a model of one modality.
        channels: of the encoders by modality.

    Raises:
        InputError: no fusion for several modalities.
    """
    if config is not None:
        return MODELS.build(dict(config, channels=dict(channels)))
    if len(channels) != 1:
        raise InputError(
            f"fusion: {len(channels)} modalities ({', '.join(channels)}) need one; "
            'give, for example, dict(type="ConcatFusion", width=64)'
        )
    return SingleModality(channels)


def build_reader(config: Config, known: Mapping[str, Any]) -> nn.Module:
    """A head or an auxiliary, told of the representation that it reads.

    Args:
        config: ``type`` and its options.
        known: ``channels`` and ``token_channels``, which all take, and ``encoded_channels``, which only those are
            told whose constructor has it.
    """
    kind = config.get("type")
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    wanted = () if kind is None else signature(kind).parameters
    given = {name: value for name, value in known.items() if name != "encoded_channels" or name in wanted}
    return MODELS.build({**config, **given})


def module_dict(what: str, parts: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """Parts by name.

    Raises:
        InputError: there are none, or one has a name that torch keeps for itself.
    """
    if not parts:
        raise InputError(f"{what}: expected at least one")
    modules = nn.ModuleDict()
    for name, part in parts.items():
        try:
            modules[name] = part
        except (KeyError, TypeError) as error:
            raise InputError(f"{what}: {name!r} cannot be a name here ({error}); choose another") from error
    return modules


class SingleModality(nn.Module):
    """What stands in for a fusion where there is one modality: its own encoding.

    Args:
        channels: by modality, one.
    """

    def __init__(self, channels: Mapping[str, int]):
        super().__init__()
        ((self.modality, self.channels),) = channels.items()

    def forward(self, tokens: Mapping[str, Tokens], present: Mapping[str, Tensor]) -> Fused:
        """The modality's tokens and pooled vector as they are."""
        return Fused(tokens[self.modality].pooled, dict(tokens), dict(tokens))
