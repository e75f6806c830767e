"""The LSTM over padded sequences: each row as if it were alone, wherever its padding stands."""

import torch

from cellseg.multimodal.encoders.recurrent import MaskedLSTM


@torch.no_grad()
def test_rows_equal_the_lstm_of_their_real_steps_alone():
    torch.manual_seed(0)
    module = MaskedLSTM(3, 8, layers=2).eval()
    values = torch.randn(4, 6, 3)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1]]) > 0
    found = module(values.masked_fill(~mask[..., None], float("nan")), mask)
    assert found.shape == (4, 6, 8) and not found[~mask].any()
    for row in range(4):
        alone, _ = module.lstm(values[row][mask[row]][None])
        torch.testing.assert_close(found[row][mask[row]], alone[0], atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_order_of_steps_survives_long_gaps():
    torch.manual_seed(0)
    module = MaskedLSTM(3, 8).eval()
    values, mask = torch.randn(1, 500, 3), torch.rand(1, 500) < 0.5
    alone, _ = module.lstm(values[mask][None])
    torch.testing.assert_close(module(values, mask)[mask], alone[0], atol=1e-6, rtol=0)


def test_it_runs_in_both_directions():
    module = MaskedLSTM(3, 8)
    values = torch.randn(1, 5, 3, requires_grad=True)
    module(values, torch.ones(1, 5, dtype=torch.bool))[0, 2].sum().backward()
    assert (values.grad[0].abs().sum(dim=1) > 0).all()
