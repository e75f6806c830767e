"""Image and text tokens of a batch, for tests of fusions and heads."""

from dataclasses import replace

import pytest
import torch

from cellseg.multimodal.values import Tokens, masked_mean


@pytest.fixture
def pair():
    """Makes tokens of images and texts: ``pair(lengths of the texts, seed)``; padding holds random numbers."""

    def make(lengths=(4, 1, 3), image=5, channels=(6, 7), seed=0):
        generator = torch.Generator().manual_seed(seed)
        tokens = {}
        for name, size, counts in (("image", channels[0], (image,) * len(lengths)), ("text", channels[1], lengths)):
            values = torch.randn(len(lengths), max(counts), size, generator=generator)
            mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
            tokens[name] = Tokens(values, mask, masked_mean(values, mask))
        return tokens

    return make


@pytest.fixture
def everywhere():
    """``present`` of a batch that lacks nothing: ``everywhere(tokens)``."""
    return lambda tokens: {name: torch.ones(len(each.values), dtype=torch.bool) for name, each in tokens.items()}


def shuffled(module, seed=0):
    """The module with weights away from their start, in evaluation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@pytest.fixture
def settled():
    """``settled(module)``: the module with weights away from their start, in evaluation."""
    return shuffled


@pytest.fixture
def check_fusion(pair, everywhere):
    """Checks what holds for every fusion of an image and a text: ``check_fusion(fusion)``."""

    def outputs(fused):
        parts = {"pooled": fused.pooled, **fused.attention}
        for name, each in fused.tokens.items():
            parts[name], parts[f"{name} pooled"] = each.values, each.pooled
        return parts

    def check(fusion):
        tokens = pair()
        present = everywhere(tokens)
        fused = fusion(tokens, present)
        assert fused.pooled.shape == (3, fusion.channels)
        for name, each in fused.tokens.items():
            assert torch.equal(each.mask, tokens[name].mask)
            assert each.values.shape[2] == each.pooled.shape[1] == fusion.channels
            assert each.values[~each.mask].eq(0).all()
        _check_padding(fusion, tokens, present, outputs)
        for name in tokens:
            _check_absent(fusion, tokens, present, name, outputs)

    def _check_padding(fusion, tokens, present, outputs):
        expected = outputs(fusion(tokens, present))
        dirty = {
            name: replace(each, values=each.values.masked_fill(~each.mask.unsqueeze(2), torch.nan))
            for name, each in tokens.items()
        }
        for name, value in outputs(fusion(dirty, present)).items():
            torch.testing.assert_close(value, expected[name])
        for row, length in enumerate((4, 1, 3)):
            alone = {
                name: Tokens(
                    each.values[row : row + 1, : 5 if name == "image" else length],
                    each.mask[row : row + 1, : 5 if name == "image" else length],
                    each.pooled[row : row + 1],
                )
                for name, each in tokens.items()
            }
            one = fusion(alone, {name: torch.ones(1, dtype=torch.bool) for name in tokens})
            torch.testing.assert_close(one.pooled[0], expected["pooled"][row])

        longer = {name: _padded(each) for name, each in tokens.items()}
        torch.testing.assert_close(fusion(longer, present).pooled, expected["pooled"])

    def _padded(tokens):
        more = torch.full_like(tokens.values[:, :2], 3.0)
        mask = torch.zeros_like(tokens.mask[:, :1]).expand(-1, 2)
        return Tokens(torch.cat([more, tokens.values], 1), torch.cat([mask, tokens.mask], 1), tokens.pooled)

    def _check_absent(fusion, tokens, present, name, outputs):
        gone = {**present, name: torch.tensor([True, False, True])}
        expected = outputs(fusion(tokens, gone))
        other = replace(tokens[name], values=tokens[name].values.clone(), pooled=tokens[name].pooled.clone())
        other.values[1] = torch.nan
        other.pooled[1] = torch.nan
        for part, value in outputs(fusion({**tokens, name: other}, gone)).items():
            torch.testing.assert_close(value, expected[part])
        assert fusion({**tokens, name: other}, gone).tokens[name].values[1].eq(0).all()
        # What is there still counts, and absence is no token of zeros.
        (rest,) = tokens.keys() - {name}
        moved = {**tokens, rest: replace(tokens[rest], values=tokens[rest].values + 1)}
        assert (fusion(moved, gone).pooled[1] - expected["pooled"][1]).abs().max() > 1e-4
        assert not torch.allclose(expected["pooled"][1], fusion(tokens, present).pooled[1])

    return check
