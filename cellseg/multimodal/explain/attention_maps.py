"""Where the words of a text looked: attention weights over the picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from cellseg.errors import InputError
from cellseg.multimodal.explain.pictures import draw_maps
from cellseg.multimodal.values import Fused


def attention_between(attention: Mapping[str, Tensor], reader: str, source: str, layer: int = -1) -> Tensor:
    """The weights with which one modality reads another.

    Args:
        attention: of a ``Fused``, by names such as ``text<-image/0``.
        reader: the modality that looks.
        source: the modality that is looked at.
        layer: from 0 on, or from -1 backwards.

    Returns:
        Float ``[B, heads, queries, keys]``.

    Raises:
        InputError: there are no such weights; the text lists what there is.
    """
    found = {
        int(name.rsplit("/", 1)[1]): weights
        for name, weights in attention.items()
        if name.rsplit("/", 1)[0] == f"{reader}<-{source}"
    }
    order = sorted(found)
    if not -len(order) <= layer < len(order):
        known = ", ".join(attention) or "none (this fusion does not attend)"
        raise InputError(f"no attention {reader}<-{source} in layer {layer}; there are {known}")
    return found[order[layer]]


def maps_over_picture(attention: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Attention to the tokens of a picture as maps of its size, mean over the heads.

    A cell of the grid covers the same share of the picture everywhere, and weights are interpolated between the centres
    of cells. They stay what they are: a map's mean is the mean weight of a token, up to what interpolation smoothes.

    Args:
        attention: float ``[B, heads, Q, K]``; the keys are the cells row by row.
        grid: rows and columns of cells (``grid`` of the image encoder).
        size: height and width of the maps, in pixels.

    Returns:
        Float ``[B, Q, H, W]``.

    Raises:
        InputError: the grid has another number of cells than there are keys.
    """
    rows, columns = grid
    if rows * columns != attention.shape[3]:
        raise InputError(f"grid: {rows} x {columns} cells cannot hold {attention.shape[3]} image tokens")
    maps = attention.mean(dim=1).unflatten(2, (rows, columns)).float()
    return interpolate(maps, size=size, mode="bilinear", align_corners=False)


def draw_attention(
    fused: Fused,
    row: int,
    picture: np.ndarray,
    words: Sequence[str],
    grid: tuple[int, int],
    out: str | Path,
    reader: str = "text",
    source: str = "image",
    layer: int = -1,
) -> None:
    """Draw for each word of a text where in the picture it looked.

    Args:
        fused: of a batch, from a fusion that attends.
        row: of the batch.
        picture: the whole picture of that row in any size, uint8 ``[H, W]`` or ``[H, W, 3]``.
        words: texts of the tokens of that row, in their order; padding is left out.
        grid: rows and columns of image tokens.
        out: PNG file to write.
        reader: the modality of the words.
        source: the modality of the picture.
        layer: see ``attention_between``.

    Raises:
        InputError: no such weights, or a row, words, a grid or a picture that do not fit them.
    """
    weights = attention_between(fused.attention, reader, source, layer)
    if not 0 <= row < len(weights):
        raise InputError(f"row: expected 0 to {len(weights) - 1}, found {row}")
    if not 0 < len(words) <= weights.shape[2]:
        raise InputError(f"words: expected 1 to {weights.shape[2]}, one for each token of the text, found {len(words)}")
    maps = maps_over_picture(weights[row : row + 1, :, : len(words)], grid, picture.shape[:2])
    draw_maps(picture, maps[0], words, out)
