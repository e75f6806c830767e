"""Searching: how often the first answers to a picture, or to a caption, hold a right one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cellseg.errors import InputError


def top_k(similarity: Tensor, right: Tensor, k: int) -> float:
    """Share of the queries that have a right candidate among the k most similar ones (recall at k).

    A right candidate counts as found if fewer than k wrong ones are at least as similar as it, so that equal
    similarities, of a model that says the same of everything, find nothing by luck. Further right candidates do not
    stand in its way.

    Args:
        similarity: ``[Q, C]`` of Q queries to C candidates.
        right: bool ``[Q, C]``. Queries without a right candidate do not count.
        k: 1 or more.

    Raises:
        InputError: shapes that differ, or no query with a right candidate.
    """
    if similarity.shape != right.shape or similarity.ndim != 2:
        raise InputError(f"expected [Q, C] twice, found {list(similarity.shape)} and {list(right.shape)}")
    asked = right.any(dim=1)
    if not asked.any():
        raise InputError("no query has a right candidate")
    similarity, right = similarity[asked].double(), right[asked]
    best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    above = ((similarity >= best) & ~right).sum(dim=1)
    return float((above < k).double().mean())


def true_pairs(images: Sequence[str], texts: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Tensor:
    """Which texts are true of which pictures; a text that several pictures have in common is true of each.

    Args:
        images: I different pictures.
        texts: T different texts.
        pairs: what is known to belong together.

    Returns:
        Bool ``[I, T]``.
    """
    rows, columns = ({name: place for place, name in enumerate(names)} for names in (images, texts))
    right = torch.zeros(len(images), len(texts), dtype=torch.bool)
    for image, text in pairs:
        if image in rows and text in columns:
            right[rows[image], columns[text]] = True
    return right


def retrieval_scores(similarity: Tensor, right: Tensor) -> dict[str, float]:
    """Top-1 and Top-5 both ways: ``image_to_text_top1`` and so on.

    Args:
        similarity: ``[I, T]`` of pictures to texts.
        right: bool ``[I, T]``, see ``true_pairs``.

    Raises:
        InputError: see ``top_k``.
    """
    ways = {"image_to_text": (similarity, right), "text_to_image": (similarity.T, right.T)}
    return {f"{name}_top{k}": top_k(*tensors, k) for name, tensors in ways.items() for k in (1, 5)}
