"""Fusions by the names that the literature gives them."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from mmengine.registry import MODELS

from cellseg.errors import InputError
from cellseg.multimodal.fusion.base import Fusion
from cellseg.multimodal.fusion.bilinear import BilinearFusion
from cellseg.multimodal.fusion.concat import ConcatFusion, EarlyFusion
from cellseg.multimodal.fusion.cross_attention import CrossAttentionFusion
from cellseg.multimodal.fusion.cross_weight import CrossWeightFusion
from cellseg.multimodal.fusion.encoder_decoder import EncoderDecoderFusion
from cellseg.multimodal.fusion.gated import GatedFusion
from cellseg.multimodal.fusion.late import LateFusion
from cellseg.multimodal.fusion.shared_transformer import SharedTransformerFusion

# early to cross: the five of MDL-RS, "More Diverse Means Better" (Hong et al. 2020).
FUSIONS: Mapping[str, type[Fusion]] = {
    "early": EarlyFusion,
    "middle": ConcatFusion,
    "intermediate": ConcatFusion,
    "late": LateFusion,
    "encoder_decoder": EncoderDecoderFusion,
    "cross": CrossWeightFusion,
    "cross_weight": CrossWeightFusion,
    "cross_attention": CrossAttentionFusion,
    "concat": ConcatFusion,
    "gated": GatedFusion,
    "bilinear": BilinearFusion,
    "shared_transformer": SharedTransformerFusion,
}


@MODELS.register_module()
def fusion_by_name(name: str, channels: Mapping[str, int], width: int, **options: Any) -> Fusion:
    """The fusion of a name in ``FUSIONS``.

    Args:
        name: hyphens, blanks and capitals do not matter.
        channels: length of the tokens of every modality.
        width: length of the fused vector.
        **options: further arguments of the fusion.

    Raises:
        InputError: an unknown name, or an option that this fusion does not have.
    """
    fusion = FUSIONS.get(name.lower().replace("-", "_").replace(" ", "_"))
    if fusion is None:
        raise InputError(f"fusion {name!r}: unknown; expected one of {', '.join(sorted(FUSIONS))}")
    known = list(signature(fusion).parameters)[2:]
    if unknown := sorted(options.keys() - set(known)):
        raise InputError(f"fusion {name!r}: unknown option {unknown[0]}; it has {', '.join(known) or 'none'}")
    return fusion(channels, width, **options)
