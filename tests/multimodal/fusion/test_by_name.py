"""Names of the literature, how they may be written, and what is refused."""

import pytest
from mmengine.registry import MODELS

from cellseg.errors import InputError
from cellseg.multimodal.fusion import (
    FUSIONS,
    BilinearFusion,
    ConcatFusion,
    CrossAttentionFusion,
    CrossWeightFusion,
    EarlyFusion,
    EncoderDecoderFusion,
    Fusion,
    GatedFusion,
    LateFusion,
    SharedTransformerFusion,
    fusion_by_name,
)

CHANNELS = {"image": 6, "text": 5}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("early", EarlyFusion),
        ("middle", ConcatFusion),
        ("intermediate", ConcatFusion),
        ("late", LateFusion),
        ("encoder-decoder", EncoderDecoderFusion),
        ("encoder_decoder", EncoderDecoderFusion),
        ("Encoder Decoder", EncoderDecoderFusion),
        ("cross", CrossWeightFusion),
        ("cross-weight", CrossWeightFusion),
        ("cross-attention", CrossAttentionFusion),
        ("concat", ConcatFusion),
        ("gated", GatedFusion),
        ("bilinear", BilinearFusion),
        ("shared-transformer", SharedTransformerFusion),
    ],
)
def test_names(name, kind):
    fusion = MODELS.build(dict(type="fusion_by_name", name=name, channels=CHANNELS, width=8))
    assert type(fusion) is kind and fusion.channels == 8 and fusion.names == ("image", "text")


def test_every_fusion_has_a_name():
    package = Fusion.__module__.rpartition(".")[0]
    own = {kind for kind in Fusion.__subclasses__() if kind.__module__.startswith(package)}
    assert set(FUSIONS.values()) == own


def test_options_reach_the_fusion():
    assert len(fusion_by_name("middle", CHANNELS, 8, layers=0).blocks) == 0


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            "sideways",
            {},
            "fusion 'sideways': unknown; expected one of bilinear, concat, cross, cross_attention, cross_weight, "
            "early, encoder_decoder, gated, intermediate, late, middle, shared_transformer",
        ),
        ("bilinear", dict(heads=2), "fusion 'bilinear': unknown option heads; it has rank"),
        ("cross", dict(heads=2), "fusion 'cross': unknown option heads; it has none"),
    ],
)
def test_refused(name, options, text):
    with pytest.raises(InputError) as caught:
        fusion_by_name(name, CHANNELS, 8, **options)
    assert str(caught.value) == text
