"""Convolutions over padded sequences whose answers do not depend on the padding."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import gelu, max_pool1d

_CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv3d]] = {1: nn.Conv1d, 3: nn.Conv3d}


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of the channels at each place by itself, of ``[B, C, ...]``; no place sees another."""

    def forward(self, values: Tensor) -> Tensor:
        """Float ``[B, C, ...]`` to the same."""
        return super().forward(values.movedim(1, -1)).movedim(-1, 1)


class MaskedResidualBlock(nn.Module):
    """Two convolutions with a shortcut, over a sequence or over a series of frames.

    What is masked is set to 0 before each convolution: exactly what a convolution finds beyond the end of a sequence.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: length of the kernels along the sequence, odd; along the sides of frames it is 3.
        stride: step along the sequence, or (step along the series, step along both sides of a frame).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int]):
        super().__init__()
        steps = (stride,) if isinstance(stride, int) else (stride[0], stride[1], stride[1])
        sizes = (kernel,) + (3,) * (len(steps) - 1)
        padding = tuple(size // 2 for size in sizes)
        convolution = _CONVOLUTIONS[len(steps)]
        self.step = steps[0]
        self.first = convolution(inputs, outputs, sizes, stride=steps, padding=padding)
        self.first_norm = ChannelNorm(outputs)
        self.second = convolution(outputs, outputs, sizes, padding=padding)
        self.second_norm = ChannelNorm(outputs)
        same = inputs == outputs and set(steps) == {1}
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, 1, stride=steps)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Float ``[B, C, T, ...]`` and bool ``[B, T]`` to the same with T / step, rounded up."""
        values = hide(values, mask)
        shorter = shorten(mask, self.step)
        inner = gelu(self.first_norm(self.first(values)))
        inner = self.second_norm(self.second(hide(inner, shorter)))
        return hide(gelu(inner + self.shortcut(values)), shorter), shorter


class MaskedStack(nn.Module):
    """Blocks one after another; arguments as those of ``MaskedResidualBlock``, one stride for each block."""

    def __init__(self, inputs: int, width: int, kernel: int, strides: Sequence[int | tuple[int, int]]):
        super().__init__()
        self.blocks = nn.ModuleList(
            MaskedResidualBlock(width if index else inputs, width, kernel, stride)
            for index, stride in enumerate(strides)
        )

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As ``MaskedResidualBlock``."""
        for block in self.blocks:
            values, mask = block(values, mask)
        return values, mask


def hide(values: Tensor, mask: Tensor) -> Tensor:
    """0 wherever a position of ``[B, C, T, ...]`` is false in ``[B, T]``."""
    return values.masked_fill(~mask.reshape(mask.shape[0], 1, mask.shape[1], *[1] * (values.dim() - 3)), 0)


def shorten(mask: Tensor, step: int) -> Tensor:
    """The mask after a stride: bool ``[B, T / step rounded up]``, true where any of the positions was."""
    if step == 1:
        return mask
    return max_pool1d(mask[:, None].float(), step, stride=step, ceil_mode=True)[:, 0] > 0
