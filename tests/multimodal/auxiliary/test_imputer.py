"""The imputer: stands in for what is absent, learns from what is there, and leaves real modalities alone."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal import MultimodalModel
from cellseg.multimodal.auxiliary import FeatureImputer
from cellseg.multimodal.auxiliary.imputer import segment_means
from cellseg.multimodal.values import Tokens, absent_tokens, full_mask

CHANNELS = {"table": 4, "wave": 6}


def imputer(seed=0, **options):
    torch.manual_seed(seed)
    return FeatureImputer(5, {}, CHANNELS, **options)


def tokens(count=5):
    result = {}
    for name, length in (("table", 1), ("wave", 3)):
        values = torch.randn(count, length, CHANNELS[name], generator=torch.Generator().manual_seed(length))
        result[name] = Tokens(values, full_mask(values), values.mean(1))
    return result


@pytest.mark.parametrize("length", [1, 2, 5])
def test_stands_in_only_where_a_modality_is_absent_and_another_is_there(length):
    auxiliary, real = imputer(length=length), tokens()
    present = {"table": torch.tensor([1, 1, 0, 0, 1]).bool(), "wave": torch.tensor([1, 0, 1, 0, 0]).bool()}
    completed, there = auxiliary.complete(real, present)
    assert there["table"].tolist() == [True, True, True, False, True]
    assert there["wave"].tolist() == [True, True, True, False, True]
    for row in (0, 2, 3):
        torch.testing.assert_close(completed["wave"].values[row, :3], real["wave"].values[row])
        assert completed["wave"].mask[row].tolist() == [True] * 3 + [False] * (max(length, 3) - 3)
        torch.testing.assert_close(completed["wave"].pooled[row], real["wave"].pooled[row])
    for row in (1, 4):
        made = auxiliary.generate["wave"](torch.cat([real["table"].pooled[row], torch.ones(1)])).view(1 + length, 6)
        torch.testing.assert_close(completed["wave"].pooled[row], made[0])
        torch.testing.assert_close(completed["wave"].values[row, :length], made[1:])
        assert completed["wave"].mask[row].tolist() == [True] * length + [False] * (max(length, 3) - length)
    whole = {name: torch.ones(5, dtype=torch.bool) for name in CHANNELS}
    same, _ = auxiliary.complete(real, whole)
    assert same["wave"] is real["wave"] and same["table"] is real["table"]


def test_generates_from_real_modalities_alone():
    """Of three, what is generated for one must not come from what was generated for another."""
    torch.manual_seed(0)
    auxiliary = FeatureImputer(5, {}, {"a": 2, "b": 2, "c": 2})
    values = torch.randn(3, 1, 2)
    real = {"a": Tokens(values, full_mask(values), values[:, 0]), "b": absent_tokens(3, 2), "c": absent_tokens(3, 2)}
    present = {"a": torch.ones(3, dtype=torch.bool)} | {name: torch.zeros(3, dtype=torch.bool) for name in "bc"}
    completed, _ = auxiliary.complete(real, present)
    known = torch.cat([values[:, 0], torch.zeros(3, 2), torch.tensor([[1.0, 0.0]]).expand(3, 2)], dim=1)
    torch.testing.assert_close(completed["c"].pooled, auxiliary.generate["c"](known)[:, :2])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_segment_means_by_a_loop(seed, count):
    generator = torch.Generator().manual_seed(seed)
    values, mask = torch.randn(4, 6, 2, generator=generator), torch.rand(4, 6, generator=generator) < 0.6
    mask[0] = False
    means, filled = segment_means(values, mask, count)
    for row in range(4):
        real = values[row][mask[row]]
        for part in range(count):
            own = [real[i] for i in range(len(real)) if i * count // len(real) == part]
            assert filled[row, part].item() == bool(own)
            expected = sum(own) / len(own) if own else torch.zeros(2)
            torch.testing.assert_close(means[row, part], expected)


def test_loss_compares_with_what_the_encoder_gave(build, batch):
    model = build(auxiliary=[{"type": "FeatureImputer", "modalities": ["wave"], "length": 2}]).train()
    data = batch(absent={"wave": [0, 1], "table": [2, 3], "text": [2]})
    loss = model(**data, mode="loss")["loss_imputer"]
    fused = model.represent(data["inputs"])
    auxiliary, wave = model.auxiliary[0], fused.encoded["wave"]
    # 2 has nothing but the wave to learn from.
    rows = [3, 4, 5]
    flags = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    known = torch.cat([fused.encoded["table"].pooled[rows], fused.encoded["text"].pooled[rows], flags], dim=1)
    made = auxiliary.generate["wave"](known).unflatten(1, (3, 10))
    means, filled = segment_means(wave.values[rows], wave.mask[rows], 2)
    assert filled.all()
    expected = (made[:, 0] - wave.pooled[rows]).square().mean() + (made[:, 1:] - means).square().mean()
    torch.testing.assert_close(loss, expected)
    # The encoder that is to be met does not come to meet.
    loss.backward()
    assert model.encoders["wave"].layer.weight.grad is None
    assert model.encoders["text"].embed.weight.grad.abs().sum() > 0


def test_the_fusion_sees_the_generated_and_heads_know_the_real(build, batch):
    model = build(auxiliary=[{"type": "FeatureImputer", "length": 2}]).eval()
    plain = build().eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    data = batch(absent={"wave": [0]})
    fused, without = model.represent(data["inputs"]), plain.represent(data["inputs"])
    assert not torch.allclose(fused.pooled[0], without.pooled[0])
    torch.testing.assert_close(fused.pooled[1:], without.pooled[1:])
    assert fused.tokens["wave"].mask[0].sum() == 2
    assert not fused.encoded["wave"].mask[0].any() and (fused.encoded["wave"].values[0] == 0).all()


def shared(count, hide):
    """Two tables that say the same; the class is the sign of a number of the second."""
    values = torch.randn(count, 5)
    present = torch.ones(count, dtype=torch.bool)
    second = torch.rand(count) >= hide
    return {
        "inputs": {"first": {"values": values}, "second": {"values": values * second[:, None], "present": second}},
        "targets": {"mood": {"values": (values[:, 0] > 0).long(), "present": present}},
    }


def test_a_generated_modality_serves_a_model_that_was_trained_with_both():
    torch.manual_seed(0)
    encoders = dict.fromkeys(("first", "second"), {"type": "DoubleTable"})
    # The head reads the second modality's tokens only, so that nothing but the imputer can help.
    heads = {"mood": {"type": "FusedClassifier", "num_classes": 2}}
    model = MultimodalModel(encoders, {"type": "SecondOnly"}, heads, [{"type": "FeatureImputer"}]).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(250):
        model.parse_losses(model(**shared(64, hide=0.0), mode="loss"))[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    data = shared(400, hide=1.0)
    with torch.no_grad():
        model.eval()
        found = model(data["inputs"])["mood"].argmax(1)
        model.auxiliary = torch.nn.ModuleList()
        without = model(data["inputs"])["mood"].argmax(1)
    labels = data["targets"]["mood"]["values"]
    assert (found == labels).float().mean() > 0.9
    assert (without == labels).float().mean() < 0.6


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (
            {"wave": 4},
            {},
            "the imputer generates a modality from others, and the model has one only; leave it out",
        ),
        (CHANNELS, {"modalities": ["text"]}, "modalities: 'text' has no encoder; the model encodes table, wave"),
        (CHANNELS, {"length": 0}, "length: expected a whole number of at least 1, found 0"),
        (CHANNELS, {"hidden": 0}, "hidden: expected a whole number of at least 1, found 0"),
    ],
)
def test_mistakes_are_refused(channels, options, message):
    with pytest.raises(InputError) as caught:
        FeatureImputer(5, {}, channels, **options)
    assert str(caught.value) == message
