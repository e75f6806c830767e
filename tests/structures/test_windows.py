"""Index arithmetic on windows, against plain loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellseg.structures.windows import (
    count_by_crop,
    count_true,
    repeat_each,
    sum_by_crop,
    touching_windows,
    true_positions,
    window_offsets,
)

LENGTHS = st.lists(st.integers(0, 5), max_size=6)


def crops(lengths: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random values of crops one pixel high, and where each begins."""
    windows = torch.tensor([[0, 0, length, 1] for length in lengths]).reshape(-1, 4)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(sum(lengths), generator=generator), window_offsets(windows)


@given(LENGTHS, st.integers(0, 1000))
def test_sums_and_counts_of_each_crop(lengths, seed):
    values, offsets = crops(lengths, seed)
    parts = values.split(lengths) if lengths else []
    assert sum_by_crop(values, offsets).tolist() == pytest.approx([float(part.double().sum()) for part in parts])
    assert sum_by_crop(values, offsets).dtype == torch.float64
    assert count_by_crop(values > 0.5, offsets).tolist() == [int((part > 0.5).sum()) for part in parts]


def test_the_sum_of_a_crop_does_not_depend_on_its_neighbours():
    values = torch.tensor([1e30, 0.1, 0.2, 1e30])
    offsets = torch.tensor([0, 1, 3, 4])
    assert sum_by_crop(values, offsets)[1] == values[1:3].double().sum()


@given(LENGTHS)
def test_repeating_each(lengths):
    for numbers in (torch.arange(len(lengths)), torch.linspace(0, 1, len(lengths)), torch.arange(len(lengths)) > 2):
        expected = [number for number, length in zip(numbers.tolist(), lengths, strict=True) for _ in range(length)]
        found = repeat_each(numbers, torch.tensor(lengths, dtype=torch.int64), sum(lengths))
        assert found.dtype == numbers.dtype and found.tolist() == expected


@given(st.integers(0, 10**6), st.integers(0, 12), st.booleans())
def test_windows_that_share_pixels(seed, count, tall):
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(0, 9, (count, 2, 2), generator=generator).sort(dim=1).values * torch.tensor([1, 1 + 6 * tall])
    windows = ends.reshape(count, 4)
    boxes = windows.tolist()
    expected = {
        (i, j)
        for j, b in enumerate(boxes)
        for i, a in enumerate(boxes[:j])
        if min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
    }
    first, second = touching_windows(windows)
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) and set(pairs) == expected


def test_one_wide_window_among_many_costs_little(monkeypatch):
    """Counted in candidates: those that the pairs are chosen from."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.randint(0, 4970, (2000, 2), generator=generator)
    small = torch.cat([corner, corner + 30], dim=1)
    seen = []

    def candidates(windows):
        monkeypatch.setattr(
            "cellseg.structures.windows.repeat_each", lambda *parts: seen.append(parts[2]) or real(*parts)
        )
        touching_windows(windows)
        return seen.pop()

    real = repeat_each
    alone = candidates(small)
    assert candidates(torch.cat([small, torch.tensor([[0, 100, 5000, 130]])])) < 1.5 * alone


@given(st.lists(st.booleans(), max_size=20))
def test_true_positions(values):
    assert count_true(torch.tensor(values, dtype=torch.bool)) == sum(values)
    found = true_positions(torch.tensor(values, dtype=torch.bool))
    assert found.dtype == torch.int64 and found.tolist() == [place for place, value in enumerate(values) if value]
