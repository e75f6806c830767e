"""Denoising: the corrupted view, the error over what is known, and tasks that see the input as it is."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.auxiliary import SequenceReconstruction, TableReconstruction

TABLE = {"type": "TableReconstruction", "modality": "table", "features": 5, "hidden": 16}
WAVE = {"type": "SequenceReconstruction", "modality": "wave", "features": 3, "hidden": 16}


def test_corrupted_tables():
    torch.manual_seed(0)
    auxiliary = TableReconstruction(4, {}, "table", 5, hide=0.4, noise=0.5)
    values, mask = torch.randn(2000, 5), torch.rand(2000, 5) < 0.8
    view = auxiliary.corrupt(values * mask, mask)
    assert not (view["mask"] & ~mask).any()
    assert view["mask"][mask].float().mean().item() == pytest.approx(0.6, abs=0.03)
    assert (view["values"][~view["mask"]] == 0).all()
    added = (view["values"] - values)[view["mask"]]
    assert added.std().item() == pytest.approx(0.5, abs=0.03)
    whole = auxiliary.corrupt(values, None)["mask"]
    assert whole.float().mean().item() == pytest.approx(0.6, abs=0.03)


def test_corrupted_sequences():
    torch.manual_seed(0)
    auxiliary = SequenceReconstruction(4, {"wave": 6}, "wave", 3, hide=0.4)
    values, mask = torch.randn(500, 7, 3), torch.arange(7) < torch.randint(1, 8, (500, 1))
    view = auxiliary.corrupt(values, mask)
    assert torch.equal(view["mask"], mask)
    silent = (view["values"] == 0).all(2)
    assert silent[~mask].all() and silent[mask].float().mean().item() == pytest.approx(0.4, abs=0.04)
    assert torch.equal(view["values"][~silent], values[~silent])
    assert "mask" not in auxiliary.corrupt(values, None)


def test_error_over_what_is_known(build, batch):
    options = {"hide": 0.0, "noise": 0.0}
    model = build(auxiliary=[TABLE | options, WAVE | options]).train()
    data = batch(absent={"table": [1], "wave": [0, 4]})
    data["inputs"]["table"]["mask"][2, 3:] = False
    data["inputs"]["table"]["values"][2, 3:] = 0
    losses = model(**data, mode="loss")
    # With nothing hidden, the view is the input.
    fused = model.represent(data["inputs"])
    table, wave = model.auxiliary
    part = data["inputs"]["table"]
    squares = (table.decoder(fused.pooled) - part["values"]).square()
    rows = [squares[row][part["mask"][row]].mean() for row in (0, 2, 3, 4, 5)]
    torch.testing.assert_close(losses["loss_reconstruction_table"], sum(rows) / 5)
    part = data["inputs"]["wave"]
    rows = []
    for row in (1, 2, 3, 5):
        tokens = fused.tokens["wave"].values[row]
        guess = wave.decoder(torch.cat([tokens, fused.pooled[row].expand(7, -1)], dim=1))
        rows.append((guess - part["values"][row]).square()[part["mask"][row]].mean())
    torch.testing.assert_close(losses["loss_reconstruction_wave"], sum(rows) / 4)


@pytest.mark.parametrize("options", [TABLE, WAVE])
def test_the_error_is_that_of_the_corrupted_view(build, batch, options):
    model, data = build(auxiliary=[options | {"hide": 0.5, "noise": 0.2}]).train(), batch()
    name = options["modality"]
    torch.manual_seed(5)
    found = model(**data, mode="loss")[f"loss_reconstruction_{name}"]
    part = dict(data["inputs"][name])
    torch.manual_seed(5)
    data["inputs"][name] |= model.auxiliary[0].corrupt(part["values"], part["mask"])
    guess = model.auxiliary[0].decode(model.represent(data["inputs"]), part["values"].shape[1])
    rows = [(guess - part["values"])[row][part["mask"][row]].square().mean() for row in range(6)]
    torch.testing.assert_close(found, sum(rows) / 6)


def test_sequences_of_fewer_tokens_than_time_steps(build):
    model = build(auxiliary=[WAVE])
    from cellseg.multimodal.values import Fused, Tokens

    values = torch.arange(4.0)[None, :, None].expand(2, 4, 12)
    tokens = Tokens(values, torch.ones(2, 4, dtype=torch.bool), values[:, 0])
    fused = Fused(torch.zeros(2, 12), {"wave": tokens}, {"wave": tokens})
    model.auxiliary[0].decoder = torch.nn.Identity()
    seen = model.auxiliary[0].decode(fused, 8)
    assert seen.shape == (2, 8, 24)
    assert seen[0, :, 0].tolist() == [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]


def test_tasks_see_the_input_as_it_is(build, batch):
    data = batch()
    plain, with_noise = build(), build(auxiliary=[TABLE | {"hide": 0.9, "noise": 3.0}])
    with_noise.load_state_dict(plain.state_dict(), strict=False)
    expected, found = plain.train()(**data, mode="loss"), with_noise.train()(**data, mode="loss")
    torch.testing.assert_close(found["loss_mood"], expected["loss_mood"])
    found["loss_reconstruction_table"].backward()
    assert with_noise.encoders["table"].layers[0].weight.grad.abs().sum() > 0


def test_absent_everywhere(build, batch):
    model = build(auxiliary=[TABLE, WAVE]).train()
    data = batch(absent={"table": list(range(6))})
    del data["inputs"]["wave"]
    assert model(**data, mode="loss").keys() == {"loss_mood", "loss_age"}


def test_hidden_entries_are_read_from_the_others(build):
    """All numbers of a row are alike, so that one of them tells the rest."""
    torch.manual_seed(0)
    encoders = {"table": {"type": "DoubleTable", "width": 16}}
    heads = {"mood": {"type": "FusedClassifier", "num_classes": 2}}
    model = build(encoders=encoders, fusion=None, heads=heads, auxiliary=[TABLE | {"hide": 0.3}]).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    errors = []
    for _ in range(300):
        values = torch.randn(64, 1).expand(64, 5)
        loss = model({"table": {"values": values}}, {}, mode="loss")["loss_reconstruction_table"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    # What is copied only leaves 0.3 of a variance of 1.
    assert sum(errors[-20:]) / 20 < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (TABLE | {"modality": "sound"}, "'sound' has no encoder; the model encodes table, wave, text"),
        (WAVE | {"modality": "sound"}, "'sound' has no encoder; the model encodes table, wave, text"),
        (TABLE | {"hide": 1.0}, "hide: expected 0 or more and less than 1, found 1.0"),
        (TABLE | {"noise": -1}, "noise: expected 0 or more, found -1"),
        (TABLE | {"features": 0}, "features: expected a whole number of at least 1, found 0"),
    ],
)
def test_mistakes_are_refused(build, options, message):
    with pytest.raises(InputError) as caught:
        build(auxiliary=[options])
    assert str(caught.value).endswith(message)
