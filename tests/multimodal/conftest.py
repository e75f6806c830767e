"""Small encoders, a fusion and batches by which a model's own part in a result can be told."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.multimodal import MultimodalModel
from cellseg.multimodal.values import Fused, Tokens, full_mask, masked_mean

TABLE, STEPS, WORDS, WIDTH = 5, 3, 20, 8


@MODELS.register_module(force=True)
class DoubleTable(nn.Module):
    """A row of numbers as one token."""

    def __init__(self, features: int = TABLE, width: int = WIDTH, norm: bool = False):
        super().__init__()
        self.channels = width
        self.layers = nn.Sequential(nn.Linear(features, width), nn.BatchNorm1d(width) if norm else nn.Tanh())

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        values = self.layers(values if mask is None else values * mask)
        return Tokens(values[:, None], full_mask(values[:, None]), values)


@MODELS.register_module(force=True)
class DoubleSequence(nn.Module):
    """A token for each time step."""

    def __init__(self, features: int = STEPS, width: int = WIDTH + 2):
        super().__init__()
        self.channels = width
        self.layer = nn.Linear(features, width)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        mask = full_mask(values) if mask is None else mask
        values = torch.tanh(self.layer(values))
        return Tokens(values, mask, masked_mean(values, mask))


@MODELS.register_module(force=True)
class DoubleText(nn.Module):
    """A token for each word."""

    def __init__(self, words: int = WORDS, width: int = WIDTH):
        super().__init__()
        self.channels = width
        self.embed = nn.Embedding(words, width)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        values = self.embed(values)
        mask = full_mask(values) if mask is None else mask
        return Tokens(values, mask, masked_mean(values, mask))


@MODELS.register_module(force=True)
class DoubleFusion(nn.Module):
    """Mean of the projected vectors of what is present."""

    def __init__(self, channels: dict[str, int], width: int):
        super().__init__()
        self.channels = width
        self.token_channels = dict.fromkeys(channels, width)
        self.project = nn.ModuleDict({name: nn.Linear(size, width) for name, size in channels.items()})

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Fused:
        after = {}
        for name, layer in self.project.items():
            mask = tokens[name].mask & present[name][:, None]
            after[name] = Tokens(layer(tokens[name].values), mask, layer(tokens[name].pooled))
        shares = torch.stack(list(present.values()), dim=1).float()[..., None]
        vectors = torch.stack([part.pooled for part in after.values()], dim=1)
        return Fused((vectors * shares).sum(1) / shares.sum(1).clamp(min=1), after, dict(tokens))


@MODELS.register_module(force=True)
class SecondOnly(nn.Module):
    """Of two modalities, the vector of the second; zeros where it is absent."""

    def __init__(self, channels: dict[str, int]):
        super().__init__()
        self.channels = list(channels.values())[1]

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Fused:
        name = list(present)[1]
        return Fused(tokens[name].pooled * present[name][:, None], dict(tokens), dict(tokens))


@pytest.fixture
def settings() -> Callable[..., dict[str, Any]]:
    """Settings of a model that reads a table, a sequence and a text, and answers two tasks; changes by name."""

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "encoders": {
                "table": {"type": "DoubleTable"},
                "wave": {"type": "DoubleSequence"},
                "text": {"type": "DoubleText"},
            },
            "fusion": {"type": "DoubleFusion", "width": 12},
            "heads": {
                "mood": {"type": "FusedClassifier", "num_classes": 3},
                "age": {"type": "FusedRegressor", "outputs": 2},
            },
            **changes,
        }

    return make


@pytest.fixture
def build(settings) -> Callable[..., MultimodalModel]:
    """A function that builds a model, the same weights each time."""

    def make(seed: int = 0, **changes: Any) -> MultimodalModel:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return MultimodalModel(**settings(**changes))

    return make


@pytest.fixture
def batch() -> Callable[..., dict[str, Any]]:
    """A function that makes a batch for that model; all is present unless said otherwise."""

    def make(count: int = 6, seed: int = 0, absent: dict[str, list[int]] | None = None) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(seed)

        def rand(*shape: int) -> Tensor:
            return torch.randn(count, *shape, generator=generator)

        def draw(high: int, *shape: int) -> Tensor:
            return torch.randint(high, (count, *shape), generator=generator)

        inputs = {
            "table": {"values": rand(TABLE), "mask": torch.ones(count, TABLE, dtype=torch.bool)},
            "wave": {"values": rand(7, STEPS), "mask": torch.arange(7) < 4 + draw(4, 1)},
            "text": {"values": draw(WORDS, 5), "mask": torch.arange(5) < 2 + draw(4, 1)},
        }
        targets = {
            "mood": {"values": draw(3)},
            "age": {"values": rand(2)},
            "domain": {"values": draw(2)},
            "environment": {"values": torch.arange(count) % 2},
        }
        for name, part in {**inputs, **targets}.items():
            part["present"] = torch.ones(count, dtype=torch.bool)
            part["present"][(absent or {}).get(name, [])] = False
        samples = [{"id": f"sample {row}"} for row in range(count)]
        return {"inputs": inputs, "targets": targets, "samples": samples}

    return make


@pytest.fixture
def make_fused() -> Callable[..., Fused]:
    """A function that makes a representation of random numbers, with an image and a text of different lengths."""

    def make(count: int = 4, channels: int = 6, seed: int = 0, absent: dict[str, list[int]] | None = None) -> Fused:
        generator = torch.Generator().manual_seed(seed)
        tokens = {}
        for name, length, size in (("image", 4, 5), ("text", 3, 7)):
            values = torch.randn(count, length, size, generator=generator)
            mask = torch.ones(count, length, dtype=torch.bool)
            if name == "text":
                mask[::2, -1] = False
            mask[(absent or {}).get(name, [])] = False
            tokens[name] = Tokens(values * mask[..., None], mask, masked_mean(values, mask))
        pooled = torch.randn(count, channels, generator=generator)
        return Fused(pooled.requires_grad_(), tokens, tokens)

    return make
