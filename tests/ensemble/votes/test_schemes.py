"""Every voting scheme against a plain version for one pixel or one instance, and what all of them must keep."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg.ensemble import SCHEMES, vote
from cellseg.errors import InputError
from cellseg.structures import CropMasks

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


# -- plain versions: d is [M, P] in the window of one instance, s the members' shares [M] ------------------------------


def plain_mean(d, s):
    return sum(share * row for share, row in zip(s, d, strict=True))


def plain_median(d, s):
    result = []
    for column in d.T:
        likely = [v for v in column if s[column <= v].sum() > 0.49999 and s[column >= v].sum() > 0.49999]
        # Members of share 0 may lie between the two middle values, never outside of them.
        result.append((min(likely) + max(likely)) / 2)
    return np.array(result)


def plain_majority(d, s):
    return np.array([s[column > 0.5].sum() for column in d.T])


def plain_log_odds(d, s):
    result = []
    for column in d.T:
        odds = [math.log(p / (1 - p)) for p in np.clip(column, 1e-4, 1 - 1e-4)]
        result.append(1 / (1 + math.exp(-sum(share * value for share, value in zip(s, odds, strict=True)))))
    return np.array(result)


def plain_staple(d, s):
    """Members are rated against the likelier side of every pixel, by turns with the sides; Warfield et al. 2004."""
    prior = float(np.clip(plain_mean(d, s).mean(), 1e-4, 1 - 1e-4))
    inside = plain_mean(d, s) > 0.5 + 1e-6
    for _ in range(30):
        odds = np.full(d.shape[1], 0.25 * math.log(prior / (1 - prior)))
        for row, share in zip(d, s, strict=True):
            sensitivity = (row[inside].sum() + 0.5) / (inside.sum() + 1)
            specificity = ((1 - row[~inside]).sum() + 0.5) / ((~inside).sum() + 1)
            for x, p in enumerate(row):
                foreground = p * math.log(sensitivity) + (1 - p) * math.log(1 - sensitivity)
                background = p * math.log(1 - specificity) + (1 - p) * math.log(specificity)
                odds[x] += share * (foreground - background)
        before, inside = inside, odds > 1e-6
        if (before == inside).all():
            break
    return 1 / (1 + np.exp(-odds))


PLAIN = {
    "mean": plain_mean,
    "median": plain_median,
    "majority": plain_majority,
    "log_odds": plain_log_odds,
    "staple": plain_staple,
}
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def reference(evidence, confidence, weights, exponent, scheme):
    """The votes of each instance, one after another: a list of arrays in the windows."""
    members, count = confidence.shape
    weights = np.broadcast_to(weights.double().numpy().reshape(members, -1), (members, count))
    result = []
    for i in range(count):
        d = np.stack([masks.crop(i).double().numpy().ravel() for masks in evidence])
        parts = np.array([weights[m, i] * float(confidence[m, i]) ** exponent for m in range(members)])
        heard = parts.sum() > 0 and d.shape[1] > 0
        result.append(PLAIN[scheme](d, parts / parts.sum()) if heard else np.zeros(d.shape[1]))
    return np.concatenate([np.zeros(0), *result])


def test_every_scheme_has_a_plain_version():
    assert list(PLAIN) == list(SCHEMES)


# -- inputs ------------------------------------------------------------------------------------------------------------


def make_case(seed, members, count, kind):
    """Evidence, confidence and weights. Kinds: any probabilities, few values with many ties, 0 and 1, like masks."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 8, (count, 2))
    windows = np.concatenate([corner, corner + rng.integers(0 if seed % 3 else 1, 7, (count, 2))], 1)
    pixels = int(((windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])).sum())
    common = rng.random(pixels)
    evidence = []
    for _ in range(members):
        values = rng.random(pixels)
        if kind == "ties":
            values = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], pixels)
        elif kind == "certain":
            values = (values > 0.5).astype(float)
        elif kind == "masks":
            values = 1 / (1 + np.exp(-8 * (0.7 * common + 0.3 * values - 0.5)))
        evidence.append(CropMasks(torch.from_numpy(windows), torch.from_numpy(values), (15, 15)))
    confidence = rng.choice([0.0, 0.3, 1.0], (members, count)) if kind == "ties" else rng.random((members, count))
    weights = rng.choice([0.0, 1.0, 1.0, 2.5], members)
    return evidence, torch.from_numpy(confidence).float(), torch.from_numpy(weights)


cases = st.builds(
    make_case,
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(0, 5),
    st.sampled_from(["any", "ties", "certain", "masks"]),
)
exponents = st.sampled_from([0.0, 0.5, 1.0, 2.0])


def close(a, b):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=2e-6)


# -- what each is ------------------------------------------------------------------------------------------------------


@schemes
@given(cases, exponents)
@settings(max_examples=40)
def test_the_plain_version_says_the_same(scheme, case, exponent):
    votes = vote(*case, exponent, scheme)
    assert torch.equal(votes.windows, case[0][0].windows) and votes.dtype == torch.float32
    close(votes.values, reference(*case, exponent, scheme))


def cast(scheme, rows, weights=None):
    """The vote on one instance, from a list of probabilities for each member."""
    window = torch.tensor([[0, 0, len(rows[0]), 1]])
    evidence = [CropMasks(window, torch.tensor(row, dtype=torch.float32), (1, len(row))) for row in rows]
    weights = torch.ones(len(rows)) if weights is None else torch.tensor(weights)
    return vote(evidence, torch.ones(len(rows), 1), weights, scheme=scheme).values.numpy()


@pytest.mark.parametrize(
    ("scheme", "column", "weights", "expected"),
    [
        ("mean", [0.2, 0.4, 0.9], [1, 1, 1], 0.5),
        ("mean", [0.2, 0.4, 0.9], [1, 1, 2], 0.6),
        ("median", [0.2, 0.4, 0.9], [1, 1, 1], 0.4),
        ("median", [0.2, 0.4, 0.9], [1, 1, 3], 0.9),
        ("median", [0.2, 0.4, 0.9], [1, 1, 2], 0.65),  # the middle of two halves
        ("median", [0.2, 0.4, 0.5, 0.9], [1, 1, 1, 1], 0.45),
        ("majority", [0.2, 0.6, 0.9], [1, 1, 1], 2 / 3),
        ("majority", [0.5, 0.6, 0.9], [2, 1, 1], 0.5),  # one half is not above one half
        ("log_odds", [0.1, 0.9], [1, 1], 0.5),
        ("log_odds", [0.5, 0.9], [1, 1], 0.75),  # odds of 9, half of them in logits: 3
        ("log_odds", [0.0, 1.0, 1.0], [1, 1, 1], 0.9556),  # nobody is certain: logits of -9.21, 9.21, 9.21
    ],
)
def test_one_pixel(scheme, column, weights, expected):
    assert cast(scheme, [[value] for value in column], weights)[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("votes", "expected"), [(3, 0.5), (2, 1 / 3), (4, 2 / 3)])
def test_half_of_six_is_exactly_half_in_every_order(votes, expected):
    rng = np.random.default_rng(0)
    for _ in range(20):
        column = rng.permutation([0.9] * votes + [0.1] * (6 - votes))
        share = cast("majority", [[value] for value in column])[0]
        assert share == (0.5 if votes == 3 else pytest.approx(expected))


def test_staple_listens_to_members_that_are_right():
    """Four members with a mask of 40 of 100 pixels: two see it well, one hardly, one somewhere else."""
    rng = np.random.default_rng(3)
    truth = np.arange(100) < 40

    def member(accuracy):
        return np.where(rng.random(100) < accuracy, truth, ~truth) * 0.9 + 0.05

    rows = [member(0.97), member(0.97), member(0.6), member(0.5)]
    wrong = {scheme: ((cast(scheme, rows) > 0.5) != truth).sum() for scheme in SCHEMES}
    assert wrong["staple"] < wrong["mean"] and wrong["staple"] < wrong["majority"]
    assert wrong["staple"] <= 2


def test_staple_leaves_soft_cells_their_size():
    """A disc of 30 pixels across in a window of 60, whose members differ in how soft its edge is."""
    y, x = np.mgrid[:60, :60] - 29.5
    distance = np.hypot(y, x).ravel()
    rows = [1 / (1 + np.exp((distance - 15) / soft)) for soft in (1.0, 4.0, 6.0)]
    area = (distance < 15).sum()
    assert 0.85 * area < (cast("staple", rows) > 0.5).sum() < 1.15 * area


def test_staple_does_not_make_cells_of_doubt():
    faint = np.where(np.arange(50) < 10, 0.3, 0.1)
    votes = cast("staple", [faint, faint])
    assert votes.max() < 0.4 and (votes[:10] > votes[10:].max()).all()
    assert cast("staple", [np.zeros(9), np.zeros(9)]).max() < 0.1
    assert cast("staple", [np.ones(9), np.ones(9)]).min() > 0.9


# -- what all keep -----------------------------------------------------------------------------------------------------


@schemes
@given(cases, exponents, st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_the_order_of_members_does_not_matter(scheme, case, exponent, random):
    evidence, confidence, weights = case
    order = list(range(len(evidence)))
    random.shuffle(order)
    other = vote([evidence[m] for m in order], confidence[order], weights[order], exponent, scheme)
    close(other.values, vote(*case, exponent, scheme).values)


@schemes
@given(cases, exponents, st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_the_order_of_instances_does_not_matter(scheme, case, exponent, random):
    evidence, confidence, weights = case
    order = list(range(confidence.shape[1]))
    random.shuffle(order)
    order = torch.tensor(order, dtype=torch.int64)
    other = vote([masks[order] for masks in evidence], confidence[:, order], weights, exponent, scheme)
    close(other.values, vote(*case, exponent, scheme)[order].values)


@schemes
@given(cases, exponents, st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=25)
def test_equal_members_vote_like_one(scheme, case, exponent, copies, seed):
    one, count = case[0][0], case[1].shape[1]
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(copies, count, generator=generator) + 0.01
    weights = torch.rand(copies, count, generator=generator) + 0.01
    votes = vote([one] * copies, confidence.clamp(max=1), weights, exponent, scheme)
    close(votes.values, vote([one], torch.ones(1, count), torch.ones(1), exponent, scheme).values)
    if scheme in ("mean", "median"):
        close(votes.values, one.values)


@schemes
@given(cases, exponents, st.integers(0, 6), st.sampled_from([0.0, 0.3, 0.5, 1.0, None]))
@settings(max_examples=25)
def test_a_weight_of_zero_removes_a_member(scheme, case, exponent, place, value):
    evidence, confidence, weights = case
    place = min(place, len(evidence))
    values = torch.rand(len(evidence[0].values), generator=torch.Generator().manual_seed(place))
    intruder = CropMasks(evidence[0].windows, values if value is None else torch.full_like(values, value), (15, 15))
    row = torch.full_like(confidence[:1], 0.7)
    more = (
        [*evidence[:place], intruder, *evidence[place:]],
        torch.cat([confidence[:place], row, confidence[place:]]),
        torch.cat([weights[:place], torch.zeros(1), weights[place:]]),
    )
    assert torch.equal(vote(*more, exponent, scheme).values, vote(*case, exponent, scheme).values)


@schemes
def test_a_weight_of_zero_counts_instance_by_instance(scheme):
    evidence, confidence, _ = make_case(4, 3, 5, "any")
    weights = torch.tensor([[1.0, 0, 1, 0, 2], [1, 1, 0, 0, 1], [1, 2, 0, 3, 0]])
    votes = vote(evidence, confidence, weights, scheme=scheme)
    for i in range(5):
        used = weights[:, i].nonzero()[:, 0].tolist()
        alone = vote([evidence[m][i] for m in used], confidence[used, i : i + 1], weights[used, i], scheme=scheme)
        close(alone.values, votes[i].values)


@schemes
@given(cases, exponents)
@settings(max_examples=25)
def test_votes_are_probabilities(scheme, case, exponent):
    values = vote(*case, exponent, scheme).values
    assert ((values >= 0) & (values <= 1)).all()


@schemes
def test_nobody_to_listen_to_gives_zero(scheme):
    evidence, confidence, _ = make_case(1, 3, 5, "any")
    assert not vote(evidence, confidence, torch.zeros(3), scheme=scheme).values.any()
    confidence[:, 2] = 0
    votes = vote(evidence, confidence, torch.ones(3), 1.0, scheme)
    assert not votes.crop(2).any() and votes.crop(1).any()
    # With the exponent 0 confidences do not count at all.
    assert vote(evidence, confidence, torch.ones(3), 0.0, scheme).crop(2).any()


@schemes
def test_no_instances(scheme):
    empty = CropMasks.empty((5, 6), torch.float32)
    assert len(vote([empty, empty], torch.zeros(2, 0), torch.ones(2), scheme=scheme)) == 0


@schemes
@pytest.mark.parametrize("kind", ["any", "masks"])
@pytest.mark.parametrize("device", [pytest.param("cuda", marks=NO_CUDA)])
def test_devices_say_the_same(scheme, kind, device):
    evidence, confidence, weights = make_case(7, 4, 60, kind)
    there = vote([masks.to(device) for masks in evidence], confidence.to(device), weights.to(device), 1.0, scheme)
    assert there.device.type == device
    close(there.values.cpu(), vote(evidence, confidence, weights, 1.0, scheme).values)


# -- bad input ---------------------------------------------------------------------------------------------------------

WINDOW = torch.tensor([[0, 0, 2, 2]])
MASK = CropMasks(WINDOW, torch.full((4,), 0.5), (4, 4))


@schemes
@pytest.mark.parametrize(
    ("second", "confidence", "message"),
    [
        (MASK.values * math.nan, 0.5, "vote: evidence of member 1: expected probabilities in 0..1, found nan to nan"),
        (MASK.values * 3, 0.5, "vote: evidence of member 1: expected probabilities in 0..1, found 1.5 to 1.5"),
        (MASK.values * -1, 0.5, "vote: evidence of member 1: expected probabilities in 0..1, found -0.5 to -0.5"),
        (MASK.values > 0, 0.5, "vote: evidence of member 1: expected float32 probabilities, found torch.bool"),
        (None, 0.5, "vote: the windows of member 1 are not those of member 0"),
        (MASK.values, math.nan, "vote: confidence should lie in 0..1, found nan"),
        (MASK.values, 1.5, "vote: confidence should lie in 0..1, found 1.5"),
    ],
)
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_bad_evidence_is_refused_by_every_scheme(scheme, second, confidence, message, weight):
    other = CropMasks(WINDOW + 1, MASK.values, (4, 4)) if second is None else CropMasks(WINDOW, second, (4, 4))
    with pytest.raises(InputError) as caught:
        vote([MASK, other], torch.full((2, 1), confidence), torch.tensor([1.0, weight]), scheme=scheme)
    assert str(caught.value) == message


@pytest.mark.parametrize("scheme", ["plain", "", None, ["mean"]])
def test_unknown_schemes_are_named(scheme):
    with pytest.raises(InputError) as caught:
        vote([MASK], torch.ones(1, 1), torch.ones(1), scheme=scheme)
    assert str(caught.value) == f"vote: scheme {scheme!r} is none of mean, median, majority, log_odds, staple"
