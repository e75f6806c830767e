"""Perturbation importance with scores whose parts are known by construction."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.explain import (
    Importance,
    feature_importance,
    modality_importance,
    region_importance,
    region_map,
)


def inputs_of(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(4, 20, (count, 5), generator=generator)
    return dict(
        image=dict(
            values=torch.randn(count, 3, 12, 12, generator=generator), present=torch.ones(count, dtype=torch.bool)
        ),
        text=dict(values=words, mask=torch.ones_like(words, dtype=torch.bool)),
        table=dict(values=torch.randn(count, 4, generator=generator), mask=torch.ones(count, 4, dtype=torch.bool)),
        scan=dict(values=torch.randn(count, 2, 4, 6, 8, generator=generator)),
        wave=dict(values=torch.randn(count, 7, 3, generator=generator), mask=torch.ones(count, 7, dtype=torch.bool)),
    )


def negative_error(truth, read):
    """A score that is 0 for the untouched inputs and lower for others."""
    return lambda inputs: -(read(inputs) - truth).square().mean().item()


def score_of(inputs, read):
    return negative_error(read(inputs), read)


@pytest.mark.parametrize("method", ["shuffle", "mean"])
def test_only_the_modality_that_matters_has_importance(method):
    inputs = inputs_of()
    del inputs["text"]
    score = score_of(inputs, lambda given: given["table"]["values"][:, 2])
    found = modality_importance(score, inputs, method)
    assert found.keys() == inputs.keys()
    assert all(found[name].drops == (0.0,) * (10 if method == "shuffle" else 1) for name in ("image", "scan", "wave"))
    variance = inputs["table"]["values"][:, 2].var(unbiased=False).item()
    # Exchanged with another sample's, the squared error is twice the variance; with the mean, once.
    expected = 2 * variance if method == "shuffle" else variance
    assert found["table"].mean == pytest.approx(expected, rel=0.2 if method == "shuffle" else 1e-5)


def test_words_are_exchanged_with_their_mask():
    inputs = inputs_of(6)
    inputs["text"]["mask"] = torch.arange(5) < torch.tensor([[1], [2], [3], [4], [5], [5]])
    inputs["text"]["values"] = torch.arange(6)[:, None].expand(6, 5).contiguous()
    seen = []

    def score(given):
        seen.append((given["text"]["values"][:, 0], given["text"]["mask"].sum(1)))
        return 0.0

    modality_importance(score, {"text": inputs["text"]}, repeats=5)
    lengths = torch.tensor([1, 2, 3, 4, 5, 5])
    for source, counts in seen[1:]:
        assert sorted(source.tolist()) == list(range(6))
        assert (source != torch.arange(6)).all()  # nobody keeps its own
        assert torch.equal(counts, lengths[source])
    assert len({tuple(source.tolist()) for source, _ in seen}) > 3


def test_inputs_stay_as_they_are():
    inputs = inputs_of(5)
    before = {name: {key: part.clone() for key, part in content.items()} for name, content in inputs.items()}
    modality_importance(lambda given: 0.0, inputs)
    feature_importance(lambda given: 0.0, inputs, "table", method="mean")
    region_importance(lambda given: 0.0, inputs, "image", (2, 2))
    for name, content in inputs.items():
        for key, part in content.items():
            assert torch.equal(part, before[name][key])


def test_absent_modalities_stay_absent():
    inputs = inputs_of(8)
    present = torch.tensor([True, False, True, True, False, True, True, False])
    inputs["image"]["present"] = present
    inputs["image"]["values"][~present] = 0.0
    known = {tuple(row.flatten().tolist()) for row in inputs["image"]["values"][present]}
    mean = inputs["image"]["values"][present].mean(0)

    def score(given):
        values = given["image"]["values"]
        assert torch.equal(given["image"]["present"], present)
        assert values[~present].eq(0).all()
        seen.append(values[present])
        return 0.0

    for method in ("shuffle", "mean"):
        seen = []
        modality_importance(score, {"image": inputs["image"]}, method, repeats=3)
        for values in seen[1:]:
            if method == "shuffle":
                assert {tuple(row.flatten().tolist()) for row in values} == known
            else:
                torch.testing.assert_close(values, mean.expand_as(values))


def test_seeds_repeat_and_parts_are_compared_on_the_same_exchanges():
    inputs = inputs_of()
    score = score_of(inputs, lambda given: given["table"]["values"][:, 0] + given["table"]["values"][:, 1])
    one, same, other = (feature_importance(score, inputs, "table", seed=seed) for seed in (3, 3, 4))
    assert one == same != other
    inputs["table"]["values"][:, 1] = inputs["table"]["values"][:, 0]
    score = score_of(inputs, lambda given: given["table"]["values"][:, 0] + given["table"]["values"][:, 1])
    equal = feature_importance(score, inputs, "table")
    assert equal["0"] == equal["1"] and equal["0"].spread > 0


@pytest.mark.parametrize("method", ["shuffle", "mean"])
def test_features_of_a_table_and_channels_of_a_sequence(method):
    inputs = inputs_of()
    score = score_of(inputs, lambda given: 3 * given["table"]["values"][:, 1] + given["table"]["values"][:, 3])
    found = feature_importance(score, inputs, "table", ["a", "b", "c", "d"], method)
    assert found["a"].mean == found["c"].mean == 0.0
    assert found["b"].mean > 4 * found["d"].mean > 0
    score = score_of(inputs, lambda given: given["wave"]["values"][:, 2:4, 1].sum(1))
    found = feature_importance(score, inputs, "wave", method=method)
    assert found["0"].mean == found["2"].mean == 0.0 < found["1"].mean


def test_that_a_feature_is_known_moves_with_it():
    inputs = inputs_of(30)
    inputs["table"]["mask"] = torch.rand(30, 4, generator=torch.Generator().manual_seed(1)) < 0.5
    inputs["table"]["values"] *= inputs["table"]["mask"]
    score = score_of(inputs, lambda given: given["table"]["mask"][:, 2].float())
    found = feature_importance(score, inputs, "table")
    assert found["2"].mean > 0.2 and found["1"].mean == 0.0
    # Its mean is that of what is known, and what is unknown stays 0.
    seen = []
    feature_importance(lambda given: seen.append(given["table"]["values"]) or 0.0, inputs, "table", method="mean")
    known = inputs["table"]["mask"][:, 2]
    expected = torch.where(known, inputs["table"]["values"][known, 2].mean(), 0.0)
    torch.testing.assert_close(seen[3][:, 2], expected)
    torch.testing.assert_close(seen[3][:, [0, 1, 3]], inputs["table"]["values"][:, [0, 1, 3]])


def test_the_mean_of_a_sequence_leaves_its_padding_alone():
    inputs = inputs_of(4)
    mask = torch.arange(7) < torch.tensor([[7], [2], [5], [1]])
    inputs["wave"]["mask"] = mask
    inputs["wave"]["values"] *= mask.unsqueeze(2)
    seen = []
    modality_importance(lambda given: seen.append(given["wave"]["values"]) or 0.0, {"wave": inputs["wave"]}, "mean")
    mean = inputs["wave"]["values"][mask].mean(0)
    assert seen[1][~mask].eq(0).all()
    torch.testing.assert_close(seen[1][mask], mean.expand(15, 3))


@pytest.mark.parametrize("method", ["shuffle", "mean"])
def test_the_quadrant_that_matters_is_found(method):
    inputs = inputs_of()
    score = score_of(inputs, lambda given: given["image"]["values"][:, :, 6:, :6].mean((1, 2, 3)))
    found = region_importance(score, inputs, "image", (2, 2), method)
    assert list(found) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    drops = region_map(found)
    assert drops[1, 0] > 0 and drops.flatten()[[0, 1, 3]].eq(0).all()
    score = score_of(inputs, lambda given: given["scan"]["values"][:, :, 2:, :3, 4:].mean((1, 2, 3, 4)))
    drops = region_map(region_importance(score, inputs, "scan", (2, 2, 2), method))
    assert drops.shape == (2, 2, 2)
    assert (drops > 0).nonzero().tolist() == [[1, 0, 1]]


def test_cells_of_a_grid_cover_everything_once():
    """12 pixels in 5 cells: a picture of which all that differs is worth the sum of its cells."""
    inputs = {"image": inputs_of(10)["image"]}
    shuffled = []

    def score(given):
        shuffled.append(given["image"]["values"] != inputs["image"]["values"])
        return 0.0

    region_importance(score, inputs, "image", (5, 7), repeats=1)
    assert torch.stack(shuffled).sum(0).eq(1).all()


def test_a_harmful_part_has_a_negative_importance():
    inputs = inputs_of()
    found = feature_importance(
        lambda given: (given["table"]["values"][:, 0] != inputs["table"]["values"][:, 0]).float().mean(),
        inputs,
        "table",
    )
    assert found["0"].mean == -1.0 and found["0"].spread == 0.0
    assert Importance((1.0, 3.0)).mean == 2.0 and Importance((1.0, 3.0)).spread == pytest.approx(2**0.5)


def nothing(given):
    return 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda given: modality_importance(nothing, given, "noise"), "method: expected shuffle or mean, found 'noise'"),
        (lambda given: modality_importance(nothing, given, repeats=0), "repeats: expected 1 or more, found 0"),
        (
            lambda given: modality_importance(nothing, given, "mean"),
            "text: words have no mean; use the method 'shuffle'",
        ),
        (
            lambda given: feature_importance(nothing, given, "sound"),
            "no modality 'sound'; there are image, text, table, scan, wave",
        ),
        (
            lambda given: feature_importance(nothing, given, "image"),
            "image: has no features; this is for tables and sequences of numbers",
        ),
        (
            lambda given: feature_importance(nothing, given, "text"),
            "text: has no features; this is for tables and sequences of numbers",
        ),
        (
            lambda given: feature_importance(nothing, given, "table", ["a", "b", "c", "c"]),
            "names: expected 4 different ones, one for each feature of table",
        ),
        (
            lambda given: region_importance(nothing, given, "image", (2, 2, 2)),
            "grid: [2, 2, 2] does not divide image of [3, 12, 12] (channels first)",
        ),
        (
            lambda given: region_importance(nothing, given, "image", (2, 13)),
            "grid: [2, 13] does not divide image of [3, 12, 12] (channels first)",
        ),
        (
            lambda given: modality_importance(nothing, {"image": {**given["image"], "present": torch.arange(40) == 3}}),
            "image: shuffling needs two samples that have it, found 1",
        ),
    ],
)
def test_what_cannot_be_perturbed(call, message):
    with pytest.raises(InputError) as error:
        call(inputs_of())
    assert str(error.value) == message
