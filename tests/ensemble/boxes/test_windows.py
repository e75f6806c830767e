"""Windows around boxes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellseg.ensemble import enlarge_boxes
from cellseg.errors import InputError


@pytest.mark.parametrize(
    "box, margin, window",
    [
        ((10.0, 20.0, 30.0, 60.0), 0.15, (7, 14, 33, 66)),
        ((10.0, 20.0, 30.0, 60.0), 0.0, (10, 20, 30, 60)),
        ((10.2, 20.0, 30.0, 60.9), 0.0, (10, 20, 30, 61)),
        ((0.0, 0.0, 99.0, 79.0), 0.5, (0, 0, 100, 80)),
        ((40.0, 40.0, 40.0, 50.0), 0.15, (0, 0, 0, 0)),
        ((200.0, 10.0, 210.0, 20.0), 0.15, (0, 0, 0, 0)),
    ],
)
def test_examples(box, margin, window):
    assert enlarge_boxes(torch.tensor([box]), margin, (80, 100)).tolist() == [list(window)]


@given(st.lists(st.floats(0, 64, width=32), min_size=4, max_size=4), st.floats(0, 1))
def test_windows_hold_their_boxes_and_stay_inside(edges, margin):
    x0, x1 = sorted(edges[:2])
    y0, y1 = sorted(edges[2:])
    window = enlarge_boxes(torch.tensor([[x0, y0, x1, y1]]), margin, (64, 64))[0].tolist()
    assert 0 <= window[0] <= window[2] <= 64 and 0 <= window[1] <= window[3] <= 64
    if x1 - x0 > 1e-3 and y1 - y0 > 1e-3:
        assert window[0] <= x0 + 1e-5 and window[1] <= y0 + 1e-5 and window[2] >= x1 - 1e-5 and window[3] >= y1 - 1e-5


def test_no_boxes():
    assert enlarge_boxes(torch.zeros((0, 4)), 0.15, (10, 10)).shape == (0, 4)


@pytest.mark.parametrize(
    "boxes, margin, message",
    [
        (torch.tensor([[0.0, 0, 1, 1]]), -0.1, "margin -0.1 should be 0 or more"),
        (torch.tensor([[0.0, 0, float("nan"), 1]]), 0.1, "boxes should be finite"),
        (torch.zeros(2, 3), 0.1, "shape [2, 3]"),
    ],
)
def test_bad_input(boxes, margin, message):
    with pytest.raises(InputError) as caught:
        enlarge_boxes(boxes, margin, (10, 10))
    assert message in str(caught.value)
