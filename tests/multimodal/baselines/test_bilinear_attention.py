"""BAN: maps, glimpses and their residual sum in plain loops."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.baselines import BilinearAttentionNetwork

CHANNELS = {"image": 6, "text": 7}


def build(**options):
    return BilinearAttentionNetwork(CHANNELS, width=8, **{"glimpses": 3, "rank": 5, **options})


def factor(layers, token):
    _, linear, _ = layers
    rows = zip(linear.weight, linear.bias, strict=True)
    return torch.stack([(weight @ token + bias).clamp(min=0) for weight, bias in rows])


@torch.no_grad()
def test_the_fusion_does_what_its_formulas_say(pair, everywhere, settled):
    fusion, tokens = settled(build()), pair()
    fused = fusion(tokens, everywhere(tokens))
    for row, length in enumerate((4, 1, 3)):
        words = [fusion.project["text"](token) for token in tokens["text"].values[row, :length]]
        places = [fusion.project["image"](token) for token in tokens["image"].values[row]]
        maps = []
        for question in fusion.maps.glimpses:
            scores = [
                [
                    question @ (factor(fusion.maps.from_text, word) * factor(fusion.maps.from_image, place))
                    for place in places
                ]
                for word in words
            ]
            powers = torch.tensor(scores).exp()
            maps.append(powers / powers.sum())
        for glimpse, attention in zip(fusion.glimpses, maps, strict=True):
            read = torch.zeros(8)
            for i, word in enumerate(words):
                for j, place in enumerate(places):
                    read += attention[i, j] * factor(glimpse.from_text, word) * factor(glimpse.from_image, place)
            words = [word + glimpse.out.weight @ read + glimpse.out.bias for word in words]
        torch.testing.assert_close(fused.pooled[row], sum(words), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(fused.tokens["text"].values[row, :length], torch.stack(words), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(fused.attention["text<-image/0"][row, :, :length], torch.stack(maps))


def test_a_map_sums_to_one_over_all_pairs(pair, everywhere, settled):
    tokens = pair()
    attention = settled(build())(tokens, everywhere(tokens)).attention["text<-image/0"]
    assert attention.shape == (3, 3, 4, 5)
    torch.testing.assert_close(attention.sum(dim=(2, 3)), torch.ones(3, 3))


def test_it_holds_the_contract_of_fusions(check_fusion, settled):
    check_fusion(settled(build()))


def test_the_rank_of_the_maps_is_three_times_the_width_by_default():
    assert build(rank=None).maps.glimpses.shape == (3, 24)


def test_dropout_is_for_training_only(pair, everywhere):
    tokens = pair()
    fusion = build(dropout=0.5)
    one, other = (fusion.eval()(tokens, everywhere(tokens)).pooled for _ in range(2))
    assert torch.equal(one, other)
    one, other = (fusion.train()(tokens, everywhere(tokens)).pooled for _ in range(2))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(glimpses=0), "glimpses: expected a whole number of at least 1, found 0"),
        (lambda: build(rank=0), "rank: expected a whole number of at least 1, found 0"),
        (
            lambda: build(text="image"),
            "BilinearAttentionNetwork: pairs the modalities 'image' and 'image' (options image and text), the model "
            "has 'image', 'text'",
        ),
    ],
)
def test_options_that_cannot_be_used(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == message
