"""The transformer over all tokens: against its blocks run on one row's real tokens, and the names of its weights."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.fusion import SharedTransformerFusion
from cellseg.multimodal.values import Tokens, masked_mean

CHANNELS = {"image": 6, "text": 5}


@pytest.fixture
def fusion():
    torch.manual_seed(0)
    return SharedTransformerFusion(CHANNELS, 8, layers=2, heads=2).eval()


@pytest.fixture
def tokens():
    made = {}
    for length, (name, channels) in enumerate(CHANNELS.items(), 3):
        values = torch.randn(2, length, channels, generator=torch.Generator().manual_seed(length))
        mask = torch.arange(length) < torch.tensor([[length], [2]])
        made[name] = Tokens(values, mask, masked_mean(values, mask))
    return made


PRESENT = {name: torch.ones(2, dtype=torch.bool) for name in CHANNELS}


@torch.no_grad()
def test_one_sequence_of_all_real_tokens(fusion, tokens):
    fused = fusion(tokens, PRESENT)
    for row in range(2):
        parts = [fusion.collector[0]]
        for name, each in tokens.items():
            real = each.values[row, each.mask[row]]
            project = fusion.project[name]
            parts.append(real @ project.weight.T + project.bias + fusion.modalities[name])
        values = torch.cat(parts)[None]
        mask = torch.ones(1, values.shape[1], dtype=torch.bool)
        for layer in fusion.layers:
            values, weights = layer(values, values, mask)
        collected, image, text = values[0].split([len(part) for part in parts])
        torch.testing.assert_close(fused.pooled[row], collected[0], atol=1e-5, rtol=0)
        for name, expected in (("image", image), ("text", text)):
            found = fused.tokens[name].values[row, tokens[name].mask[row]]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(fused.tokens[name].pooled[row], expected.mean(dim=0), atol=1e-5, rtol=0)
        first = len(parts[1])
        found = fused.attention["text<-image/1"][row][:, : len(text), :first]
        torch.testing.assert_close(found, weights[0, :, 1 + first :, 1 : 1 + first], atol=1e-5, rtol=0)


@torch.no_grad()
def test_weights_have_names(fusion, tokens):
    attention = fusion(tokens, PRESENT).attention
    groups = {"fused": 1, "image": 3, "text": 4}
    assert set(attention) == {f"{a}<-{b}/{layer}" for a in groups for b in groups for layer in (0, 1)}
    for reader, queries in groups.items():
        for source, keys in groups.items():
            assert attention[f"{reader}<-{source}/0"].shape == (2, 2, queries, keys)
    total = sum(attention[f"fused<-{source}/1"].sum(dim=3) for source in groups)
    torch.testing.assert_close(total, torch.ones(2, 2, 1))


@torch.no_grad()
def test_modalities_are_told_apart():
    torch.manual_seed(0)
    fusion = SharedTransformerFusion({"image": 5, "text": 5}, 8, heads=2).eval()
    fusion.project["text"].load_state_dict(fusion.project["image"].state_dict())
    values = torch.randn(2, 1, 3, 5)
    mask = torch.ones(1, 3, dtype=torch.bool)
    first, second = (Tokens(each, mask, each.mean(dim=1)) for each in values)
    present = {name: torch.tensor([True]) for name in ("image", "text")}
    plain = fusion({"image": first, "text": second}, present).pooled
    swapped = fusion({"image": second, "text": first}, present).pooled
    assert (plain - swapped).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("channels", "options", "text"),
    [
        ({"fused": 4}, {}, "SharedTransformerFusion: a modality cannot be called 'fused'; choose another name"),
        ({"image": 4}, dict(layers=0), "SharedTransformerFusion: layers 0: expected 1 or more"),
        (
            {"image": 4},
            dict(heads=3),
            "SharedTransformerFusion: width 8 cannot be split among 3 heads; choose a multiple",
        ),
    ],
)
def test_bad_options(channels, options, text):
    with pytest.raises(InputError) as caught:
        SharedTransformerFusion(channels, 8, **options)
    assert str(caught.value) == text
