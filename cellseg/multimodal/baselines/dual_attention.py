"""Dual attention, read as a dual attention network: image and text are attended in turns, guided by a memory.

Nam, Ha, Kim 2017, "Dual attention networks for multimodal reasoning and matching" (DAN), section 3.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import normalize

from cellseg.multimodal.baselines.pair import StandIn, check_pair, masked_softmax, shown
from cellseg.multimodal.fusion.base import Fusion
from cellseg.multimodal.heads.base import check_count
from cellseg.multimodal.heads.matching import PairMatcher
from cellseg.multimodal.values import Fused, Tokens, masked_mean


class MemoryStep(nn.Module):
    """One look at the tokens of a modality: ``h_n = tanh(W x_n) * tanh(W_m m)``, ``alpha = softmax(w h_n)``.

    What is seen is ``sum_n alpha_n x_n``, of an image ``tanh(P sum_n alpha_n x_n)``.

    Args:
        width: length of tokens and memory.
        project: whether there is a P.
    """

    def __init__(self, width: int, project: bool):
        super().__init__()
        self.from_tokens = nn.Linear(width, width, bias=False)
        self.from_memory = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)
        self.project = nn.Linear(width, width, bias=False) if project else None

    def forward(self, tokens: Tensor, mask: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What is seen, ``[B, C]``, and the weights ``[B, L]``, of tokens ``[B, L, C]`` and memory ``[B, C]``."""
        hidden = torch.tanh(self.from_tokens(tokens)) * torch.tanh(self.from_memory(memory)).unsqueeze(1)
        weights = masked_softmax(self.score(hidden).squeeze(2), mask)
        seen = (weights.unsqueeze(2) * tokens).sum(dim=1)
        return seen if self.project is None else torch.tanh(self.project(seen)), weights


class AttendedModality(nn.Module):
    """A modality that is looked at K times; before that, the mean of its tokens is what is seen of it.

    Args:
        width: length of its tokens and of the memory.
        steps: K.
        project: whether what is seen goes through a layer of its own, as that of images does.
    """

    def __init__(self, width: int, steps: int, project: bool):
        super().__init__()
        self.stand_in = StandIn(width)
        self.first = nn.Linear(width, width, bias=False) if project else None
        self.steps = nn.ModuleList(MemoryStep(width, project) for _ in range(steps))

    def start(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens ``[B, L, C]`` and their mask with what stands in, and what is seen at first, ``[B, C]``."""
        values, mask = self.stand_in(values, mask)
        mean = masked_mean(values, mask)
        return values, mask, mean if self.first is None else torch.tanh(self.first(mean))


@MODELS.register_module()
class ReasoningDualAttention(Fusion):
    """r-DAN as a fusion: both modalities are looked at by the light of one memory.

    With v and u, what is seen of image and text: ``m_0 = v_0 * u_0``, ``m_k = m_(k-1) + v_k * u_k``, where ``v_k`` and
    ``u_k`` are seen with ``m_(k-1)``. The fused representation is ``m_K``. Where each step looked stands in
    ``attention["memory<-image/0"]`` and ``["memory<-text/0"]`` (by the names of the modalities), a query a step.

    Args:
        channels: see ``Fusion``; of an image and a text.
        width: see ``Fusion``; also of the memory.
        image: name of the one modality.
        text: name of the other.
        steps: K.

    Raises:
        InputError: other modalities than these two, or no steps.
    """

    def __init__(
        self, channels: Mapping[str, int], width: int, image: str = "image", text: str = "text", steps: int = 2
    ):
        super().__init__(channels, width)
        check_pair("ReasoningDualAttention", channels, image, text)
        check_count("steps", steps)
        self.attend = nn.ModuleDict(
            {name: AttendedModality(width, steps, project=name == image) for name in (image, text)}
        )

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        (image, one), (text, other) = self.attend.items()
        values, mask, seen = one.start(projected[image].values, projected[image].mask)
        words, word_mask, read = other.start(projected[text].values, projected[text].mask)
        memory = seen * read
        weights: dict[str, list[Tensor]] = {image: [], text: []}
        for look, listen in zip(one.steps, other.steps, strict=True):
            seen, looked = look(values, mask, memory)
            read, heard = listen(words, word_mask, memory)
            weights[image].append(looked)
            weights[text].append(heard)
            memory = memory + seen * read
        attention = {f"memory<-{name}/0": _by_step(rows, projected[name].mask) for name, rows in weights.items()}
        return Fused(memory, projected, encoded, attention)


def _by_step(weights: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Weights ``[B, L]`` of some steps as ``[B, 1, steps, L]``, see ``shown``."""
    stacked = torch.stack(list(weights), dim=1).unsqueeze(1)
    return shown(stacked, mask.new_ones(len(mask), len(weights)), mask)


class OwnMemory(nn.Module):
    """m-DAN's side of one modality, guided by a memory of its own: ``m_0 = z_0``, ``m_k = m_(k-1) + z_k``.

    Args:
        channels: length of the tokens.
        width: of the memory.
        steps: K.
        project: see ``AttendedModality``.
    """

    def __init__(self, channels: int, width: int, steps: int, project: bool):
        super().__init__()
        self.enter = nn.Linear(channels, width)
        self.attend = AttendedModality(width, steps, project)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """What was seen in all steps, one after another: ``[B, (K + 1) width]``."""
        tokens, mask, memory = self.attend.start(self.enter(values), mask)
        seen = [memory]
        for step in self.attend.steps:
            seen.append(step(tokens, mask, memory)[0])
            memory = memory + seen[-1]
        return torch.cat(seen, dim=1)


@MODELS.register_module()
class MatchingDualAttention(PairMatcher):
    """m-DAN as a matching head: image and text are embedded apart, each by the light of its own memory.

    The similarity is the sum of ``v_k . u_k`` over the steps 0 to K, that is the product of what both have seen in all
    steps. Here it is divided by their lengths, so that a margin does not depend on the width. Predictions and the
    probability are those of ``PairMatcher`` with ``from_fused=False``.

    Args:
        channels: of the fused representation; not read.
        token_channels: of the fused tokens by modality; not read.
        encoded_channels: of the encoders by modality.
        image: name of the one modality.
        text: name of the other.
        width: of the memories.
        steps: K.
        embedding_loss: a ``PairLoss`` as a config; None: the paper's, a margin from all others of the batch.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        encoded_channels: Mapping[str, int],
        image: str = "image",
        text: str = "text",
        width: int = 256,
        steps: int = 2,
        embedding_loss: Mapping[str, Any] | None = None,
    ):
        check_count("width", width)
        check_count("steps", steps)
        names: Sequence[str] = (image, text)
        loss = embedding_loss or {"type": "PairHinge", "negatives": "all"}
        super().__init__(channels, token_channels, encoded_channels, names, False, width, loss)
        for name in names:
            self.embed[name] = OwnMemory(encoded_channels[name], width, steps, project=name == image)

    def embeddings(self, fused: Fused) -> dict[str, Tensor]:
        """Of each modality ``[B, (K + 1) width]``, of length 1; zeros where a sample lacks it."""
        result = {}
        for name, memory in self.embed.items():
            tokens = fused.encoded[name]
            there = tokens.mask.any(dim=1, keepdim=True)
            result[name] = normalize(memory(tokens.values, tokens.mask).float(), dim=1) * there
        return result
