"""What all fusions share: absent modalities are hidden, the others come to one width."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.values import Fused, Tokens, masked_mean

# torch keeps the parts of a model under the modalities' names, among its own.
_TAKEN = {*dir(nn.ModuleDict()), *dir(nn.ParameterDict())}


class Fusion(nn.Module):
    """Base of the fusions; each says what it makes of the modalities in ``fuse``.

    A modality is absent from a row where ``present`` says so or where none of its tokens is real. Whatever its tokens
    hold there, even NaN, it changes nothing: it is 0 and masked in all that comes out.

    Args:
        channels: length of the tokens of every modality, by name; one modality is enough.
        width: length of the fused vector, and of the tokens that come out.

    Attributes:
        channels: ``width``.
        token_channels: length of the tokens that come out, by modality: ``width`` for all.
        names: the modalities in their order.

    Raises:
        InputError: no modality, a name that cannot be used, or a width or channels below 1.
    """

    def __init__(self, channels: Mapping[str, int], width: int):
        super().__init__()
        _check(type(self).__name__, channels, width)
        self.names = tuple(channels)
        self.channels = width
        self.token_channels = dict.fromkeys(self.names, width)
        self.project = nn.ModuleDict({name: nn.Linear(count, width) for name, count in channels.items()})

    def forward(self, tokens: Mapping[str, Tokens], present: Mapping[str, Tensor]) -> Fused:
        """Fuse the modalities of a batch.

        Args:
            tokens: of every modality, as its encoder gave them.
            present: bool ``[B]`` for every modality.

        Raises:
            InputError: ``tokens`` or ``present`` lacks a modality.
        """
        for name in self.names:
            if name not in tokens or name not in present:
                raise InputError(f"{type(self).__name__}: the batch lacks {name!r}, its tokens or where it is present")
        encoded = {name: _hide_absent(tokens[name], present[name]) for name in self.names}
        return self.fuse(encoded, {name: self._projected(name, encoded[name]) for name in self.names})

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """The fusion itself.

        Args:
            encoded: tokens as the encoders gave them, 0 and masked where absent.
            projected: the same, linearly brought to ``width``.
        """
        raise NotImplementedError

    def _projected(self, name: str, tokens: Tokens) -> Tokens:
        values = hide_tokens(self.project[name](tokens.values), tokens.mask)
        # Linear: the projection of a mean is the mean of the projections.
        pooled = hide_rows(self.project[name](tokens.pooled), there(tokens))
        return Tokens(values, tokens.mask, pooled)


def there(tokens: Tokens) -> Tensor:
    """Which rows have the modality: bool ``[B]``."""
    return tokens.mask.any(dim=1)


def presence(tokens: Mapping[str, Tokens]) -> Tensor:
    """Which rows have which modality, in their order: bool ``[B, modalities]``."""
    return torch.stack([there(each) for each in tokens.values()], dim=1)


def pooled_vectors(tokens: Mapping[str, Tokens]) -> Tensor:
    """The pooled vectors side by side: float ``[B, modalities, C]``."""
    return torch.stack([each.pooled for each in tokens.values()], dim=1)


def hide_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """Float ``[B, L, C]``, 0 where bool ``[B, L]`` is false."""
    return values.masked_fill(~mask.unsqueeze(-1), 0)


def hide_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Float ``[B, C]``, 0 where bool ``[B]`` is false."""
    return values.masked_fill(~rows.unsqueeze(-1), 0)


def repooled(values: Tensor, mask: Tensor) -> Tokens:
    """Tokens after a change of their values, 0 where masked, pooled by the mean of the real ones."""
    values = hide_tokens(values, mask)
    return Tokens(values, mask, masked_mean(values, mask))


def _hide_absent(tokens: Tokens, present: Tensor) -> Tokens:
    mask = tokens.mask & present.unsqueeze(-1)
    return Tokens(hide_tokens(tokens.values, mask), mask, hide_rows(tokens.pooled, mask.any(dim=1)))


def _check(owner: str, channels: Mapping[str, int], width: int) -> None:
    if not channels:
        raise InputError(f"{owner}: no modality to fuse; give the channels of at least one")
    if width < 1 or min(channels.values()) < 1:
        raise InputError(f"{owner}: width {width} and channels {dict(channels)}: expected 1 or more")
    for name in channels:
        if not name or "." in name or name in _TAKEN:
            raise InputError(f"{owner}: a modality cannot be called {name!r}; choose another name without dots")
