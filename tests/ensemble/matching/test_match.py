"""Matching of finished instances: a plain dense reference, and what must hold for any results."""

import dataclasses
import time
from itertools import permutations

import numpy as np
import pytest
import torch

from cellseg.ensemble.matching import match as matching
from cellseg.ensemble.matching.match import (
    RULES,
    Matcher,
    MatchOptions,
    match_instances,
    match_members,
    parse_match_options,
    tune_matching,
)
from cellseg.ensemble.votes.cleaning import clean
from cellseg.errors import InputError
from cellseg.metrics import competition_map
from cellseg.structures import CropMasks, Instances

NAMES = ("round", "long")
SIZE = (40, 48)


def make_result(masks, scores, labels=None, size=SIZE, names=NAMES) -> Instances:
    """Instances from dense bool masks [N, H, W]."""
    masks = torch.as_tensor(np.asarray(masks)).reshape(-1, *size).bool()
    crops = CropMasks.from_dense(masks)
    labels = [0] * len(masks) if labels is None else labels
    return Instances(
        crops.boxes(),
        torch.tensor(scores).float().reshape(-1),
        torch.tensor(labels).long().reshape(-1),
        crops,
        size,
        names,
    )


def random_results(seed, members=3, cells=5, size=SIZE, equal_scores=False) -> list[Instances]:
    """Discs that each member sees a little elsewhere, or not at all; some masks of one member overlap."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    centres, radii = rng.uniform(6, min(size) - 6, (cells, 2)), rng.uniform(3, 7, cells)
    scores = rng.permutation(1000)[: members * cells].reshape(members, cells) / 1000
    results = []
    for member in range(members):
        there = rng.random(cells) < 0.8
        masks = []
        for centre, radius in zip(centres[there], radii[there], strict=True):
            moved, own = centre + rng.normal(0, 1, 2), radius * rng.uniform(0.8, 1.25)
            masks.append((y - moved[0]) ** 2 + (x - moved[1]) ** 2 < own**2)
        own_scores = np.full(there.sum(), 0.5) if equal_scores else scores[member][there]
        results.append(make_result(np.array(masks), own_scores, rng.integers(0, 2, there.sum()), size))
    return results


def iou_of(a, b) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0


def reference(results, weights, options) -> list[tuple[float, int, np.ndarray]]:
    """Score, label and mask of each cell, found one step and one pixel at a time; all scores must differ."""
    found = []
    for member, result in enumerate(results):
        dense = result.masks.to_dense().numpy()
        for score, label, mask in zip(result.scores.tolist(), result.labels.tolist(), dense, strict=True):
            if weights[member] > 0 and mask.any():
                found.append((score, member, label, mask))
    found.sort(key=lambda item: -item[0])
    groups = reference_groups(found, options.iou_threshold)
    total = sum(weights)
    cells = []
    for group in groups:
        share = sum(weights[found[i][1]] for i in group)
        if not {"any": share > 0, "majority": 2 * share > total, "all": share == total}[options.rule]:
            continue
        score = sum(weights[found[i][1]] * found[i][0] for i in group) / total
        if score < options.score_threshold:
            continue
        best = max(group, key=lambda i: weights[found[i][1]] * found[i][0])
        votes = sum(weights[found[i][1]] * found[i][3].astype(float) for i in group) / share
        sums = {}
        for i in group:
            sums.setdefault(found[i][2], []).append(weights[found[i][1]] * found[i][0])
        label = max(sorted(sums), key=lambda kind: sum(sums[kind]))
        cells.append((score, label, np.round(votes, 6), found[best][3]))
    cells.sort(key=lambda item: -item[0])
    limit = options.mask_threshold
    masks = [(votes > limit) | ((votes == limit) & best) for _, _, votes, best in cells]
    kept = []
    for index, mask in enumerate(masks):
        if mask.any() and all(iou_of(mask, masks[other]) <= options.nms_iou for other in kept):
            kept.append(index)
    final = np.zeros((len(kept), *results[0].image_size), dtype=bool)
    for y, x in np.ndindex(*results[0].image_size):
        wanting = [n for n, index in enumerate(kept) if masks[index][y, x]]
        if wanting:
            winner = max(wanting, key=lambda n: (cells[kept[n]][2][y, x], cells[kept[n]][3][y, x], -n))
            final[winner, y, x] = True
    final = clean(CropMasks.from_dense(torch.from_numpy(final))).to_dense().numpy()
    return [
        (cells[index][0], cells[index][1], mask)
        for index, mask in zip(kept, final, strict=True)
        if mask.sum() >= max(options.min_area, 1)
    ]


def reference_groups(found, threshold) -> list[list[int]]:
    groups = [[i] for i in range(len(found))]
    pairs = [(iou_of(a[3], b[3]), i, j) for i, a in enumerate(found) for j, b in enumerate(found) if i < j]
    for iou, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if iou <= threshold:
            continue
        a, b = (next(group for group in groups if k in group) for k in (i, j))
        if a is b or {found[k][1] for k in a} & {found[k][1] for k in b}:
            continue
        if np.mean([iou_of(found[k][3], found[m][3]) for k in a for m in b]) > threshold:
            groups = [group for group in groups if group is not a and group is not b] + [a + b]
    return groups


def same(a: Instances, b: Instances) -> bool:
    a, b = a.to_dict(), b.to_dict()
    a.pop("uncertainty"), b.pop("uncertainty")
    return a == b


@pytest.mark.parametrize("seed", range(25))
def test_as_the_plain_reference(seed):
    rng = np.random.default_rng(seed)
    for case in range(12):
        members = int(rng.integers(1, 5))
        results = random_results(seed * 100 + case, members, cells=int(rng.integers(0, 8)))
        weights = rng.integers(0, 4, members).astype(float)
        weights[rng.integers(members)] += 1
        options = MatchOptions(
            iou_threshold=float(rng.choice([0.2, 0.4, 0.5, 0.7])),
            rule=str(rng.choice(list(RULES))),
            mask_threshold=float(rng.choice([0.0, 0.25, 0.5, 0.5, 0.6, 0.9])),
            score_threshold=float(rng.choice([0.0, 0.0, 0.2])),
            min_area=int(rng.choice([0, 30])),
            nms_iou=float(rng.choice([0.1, 0.3, 1.0])),
        )
        expected = reference(results, weights.tolist(), options)
        matched = match_instances(results, weights.tolist(), options)
        assert len(matched) == len(expected), (case, options)
        assert matched.scores.tolist() == pytest.approx([score for score, _, _ in expected], abs=1e-6)
        assert matched.labels.tolist() == [label for _, label, _ in expected]
        for mask, (_, _, wanted) in zip(matched.masks.to_dense().numpy(), expected, strict=True):
            assert (mask == wanted).all(), (case, options)


@pytest.mark.parametrize("equal_scores", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_order_of_members_and_instances_changes_nothing(seed, equal_scores):
    results = random_results(seed, members=3, cells=8, equal_scores=equal_scores)
    # Copies of one result make every kind of tie: equal masks, scores, overlaps.
    results.append(results[seed % 3])
    weights = [1.0, 0.1, 0.2, 1.0 if seed % 2 else 0.3]
    options = MatchOptions(rule=tuple(RULES)[seed % 3], iou_threshold=0.3, mask_threshold=0.5)
    expected = match_instances(results, weights, options)
    generator = torch.Generator().manual_seed(seed)
    for order in list(permutations(range(4)))[seed % 5 :: 5]:
        mixed = [results[member][torch.randperm(len(results[member]), generator=generator)] for member in order]
        matched = match_instances(mixed, [weights[member] for member in order], options)
        assert same(matched, expected)
        assert matched.uncertainty.tolist() == pytest.approx(expected.uncertainty.tolist(), abs=1e-6)


@pytest.mark.parametrize("copies", [1, 2, 3, 5])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mask_threshold", [0.0, 0.5, 0.99])
def test_equal_results_fuse_to_themselves(copies, rule, mask_threshold):
    apart = match_instances(random_results(3, members=1, cells=6))  # without overlaps, sorted, in one part each
    assert len(apart) > 2
    options = MatchOptions(rule=rule, mask_threshold=mask_threshold)
    fused = match_instances([apart] * copies, [0.1 * (k + 1) for k in range(copies)], options)
    assert same(fused, apart) and fused.uncertainty.tolist() == pytest.approx([0.0] * len(apart), abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_a_member_of_weight_zero_is_not_there(seed):
    results = random_results(seed, members=4, cells=7)
    expected = match_instances(results[:3], [1, 2, 3])
    assert same(match_instances(results, [1, 2, 3, 0]), expected)
    assert same(match_instances([results[3], *results[:3]], torch.tensor([0.0, 2.0, 4.0, 6.0])), expected)


@pytest.mark.parametrize("seed", range(10))
def test_masks_do_not_overlap_and_scores_are_sorted(seed):
    results = random_results(seed, members=4, cells=14)
    matched = match_instances(results, None, MatchOptions(rule="any", nms_iou=1.0, iou_threshold=0.6))
    assert len(matched) > 8 and not matched.masks.overlaps() and (matched.masks.areas() > 0).all()
    assert (matched.scores.diff() <= 0).all() and 0 <= matched.scores.min() and matched.scores.max() <= 1
    assert torch.equal(matched.boxes, matched.masks.boxes())
    assert 0 <= matched.uncertainty.min() and matched.uncertainty.max() <= 1


def disc(y0, x0, radius):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return (y - y0) ** 2 + (x - x0) ** 2 < radius**2


def test_rules_count_weights():
    one, two, three = disc(10, 10, 5), disc(25, 10, 5), disc(25, 30, 5)
    results = [
        make_result([one, two, three], [0.9, 0.9, 0.9]),
        make_result([two, three], [0.6, 0.6]),
        make_result([three], [0.3]),
    ]
    for weights, rule, count in (
        (None, "any", 3),
        (None, "majority", 2),
        (None, "all", 1),
        ([2, 1, 1], "majority", 2),  # half of the weight is not more than half
        ([2.1, 1, 1], "majority", 3),
        ([0.3, 0.1, 0.2], "majority", 2),  # rounding makes 0.1 + 0.2 larger than 0.3, and must not decide
        ([0, 1, 1], "all", 1),
        ([0, 1, 1], "any", 2),
    ):
        assert len(match_instances(results, weights, MatchOptions(rule=rule))) == count, (weights, rule)
    matched = match_instances(results, None, MatchOptions(rule="any"))
    assert matched.scores.tolist() == pytest.approx([0.6, 0.5, 0.3])  # 0 for a member without the cell
    assert matched.uncertainty.tolist() == pytest.approx([0, 1 / 3, 2 / 3])


def test_absent_members_have_no_say_in_the_mask():
    small, large = disc(20, 20, 6), disc(20, 20, 7)
    results = [make_result([small], [0.8]), make_result([large], [0.7]), make_result([], []), make_result([], [])]
    area = {}
    for threshold in (0.3, 0.5, 0.7):
        matched = match_instances(results, None, MatchOptions(rule="any", mask_threshold=threshold))
        area[threshold] = int(matched.masks.areas()[0])
    # Either, as the better one has it, both.
    assert area == {0.3: large.sum(), 0.5: small.sum(), 0.7: small.sum()}
    heavier = match_instances(results, [1, 1.2, 1, 1], MatchOptions(rule="any"))
    assert int(heavier.masks.areas()[0]) == large.sum()


def test_a_third_mask_does_not_join_two_cells():
    left, right = disc(20, 14, 6), disc(20, 24, 6)
    both = left | right
    results = [make_result([left], [0.9]), make_result([both], [0.5]), make_result([right], [0.8])]
    assert iou_of(left, both) > 0.45 and iou_of(right, both) > 0.45
    matched = match_instances(results, None, MatchOptions(rule="any", iou_threshold=0.45, nms_iou=1.0))
    best = [max(iou_of(mask, cell) for mask in matched.masks.to_dense().numpy()) for cell in (left, right)]
    assert min(best) > 0.8


def test_the_type_has_the_largest_weighted_sum_of_scores():
    cell = disc(20, 20, 6)
    results = [make_result([cell], [score], [label]) for score, label in ((0.9, 0), (0.5, 1), (0.6, 1))]
    assert match_instances(results).labels.tolist() == [1]
    assert match_instances(results, [3, 1, 1]).labels.tolist() == [0]


def test_a_repeated_mask_of_one_member_counts_once():
    cell = disc(20, 20, 6)
    twice = make_result([cell, cell], [0.4, 0.8])
    matched = match_instances([twice, make_result([cell], [0.6])], None, MatchOptions(rule="any", nms_iou=1.0))
    assert matched.scores.tolist() == pytest.approx([0.7])


def test_nothing_found():
    nothing = make_result([], [])
    for rule in RULES:
        matched = match_instances([nothing, nothing], None, MatchOptions(rule=rule))
        assert len(matched) == 0 and matched.image_size == SIZE and matched.class_names == NAMES
    some = make_result([disc(20, 20, 6)], [0.9])
    assert len(match_instances([some, nothing], None, MatchOptions(rule="any"))) == 1
    assert len(match_instances([some, nothing], None, MatchOptions(rule="majority"))) == 0
    pixels = make_result([np.zeros(SIZE, bool)], [0.9])  # an instance without pixels is no cell
    assert len(match_instances([pixels, pixels], None, MatchOptions(rule="any"))) == 0


def test_members_by_name():
    results = dict(zip("abc", random_results(5, cells=6), strict=True))
    expected = match_instances(list(results.values()), [2, 1, 0])
    assert same(match_members(results, MatchOptions(weights=dict(a=2, c=0))), expected)
    assert same(match_members(results), match_instances(list(results.values())))
    with pytest.raises(InputError, match="matching.weights: no member 'd'; there are a, b, c"):
        match_members(results, MatchOptions(weights=dict(d=1)))
    with pytest.raises(InputError, match="the weights of a, b, c are all 0"):
        match_members(results, MatchOptions(weights=dict(a=0, b=0, c=0)))
    with pytest.raises(InputError, match="results without names cannot take weights by name"):
        match_instances(list(results.values()), None, MatchOptions(weights=dict(a=2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(results=[]), "matching: expected the result of at least one member, got none"),
        (dict(weights=[1]), "matching: expected a weight for each of 2 results, got 1"),
        (dict(weights=[1, -1]), "matching: weights should be finite, 0 or more and not all 0, found [1.0, -1.0]"),
        (dict(weights=[0, 0]), "matching: weights should be finite, 0 or more and not all 0, found [0.0, 0.0]"),
        (dict(weights=[1, float("nan")]), "matching: weights should be finite"),
        (dict(score=1.5), "matching: scores of result 1 should lie in 0..1"),
        (dict(score=-0.5), "matching: scores of result 1 should lie in 0..1"),
        (dict(names=("a", "b")), "matching: result 1 knows the types ['a', 'b'], result 0 knows ['round', 'long']"),
        (
            dict(size=(40, 50)),
            "matching: result 1 is of an image of (height, width) (40, 50), result 0 of one of (40, 48)",
        ),
        (dict(soft=True), "matching: masks of result 1 are torch.float32, expected bool"),
    ],
)
def test_results_that_do_not_fit(change, message):
    size, names = change.get("size", SIZE), change.get("names", NAMES)
    masks = np.zeros((1, *size), bool)
    masks[0, 3:9, 3:9] = True
    second = make_result(masks, [change.get("score", 0.5)], size=size, names=names)
    if change.get("soft"):
        second = dataclasses.replace(second, masks=CropMasks.from_dense(torch.from_numpy(masks).float()))
    results = change.get("results", [make_result([disc(20, 20, 6)], [0.9]), second])
    with pytest.raises(InputError) as caught:
        match_instances(results, change.get("weights"))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(rule="most"), "f: matching.rule: 'most' is none of any, majority, all"),
        (dict(iou_threshold=1.0), "f: matching.iou_threshold: expected 0 or more and below 1, found 1.0"),
        (dict(mask_threshold=-0.1), "f: matching.mask_threshold: expected 0 or more and below 1, found -0.1"),
        (dict(score_threshold=True), "f: matching.score_threshold: expected a number, found True"),
        (dict(nms_iou=1.5), "f: matching.nms_iou: expected 0 to 1, found 1.5"),
        (dict(nms_iou=float("nan")), "f: matching.nms_iou: expected a number, found nan"),
        (dict(min_area=2.5), "f: matching.min_area: expected whole pixels, found 2.5"),
        (dict(min_area=-1), "f: matching.min_area: expected 0 or more, found -1"),
        (dict(weights=dict(a=-1)), "f: matching.weights.a: expected 0 or more, found -1"),
        (dict(weights=[1]), "f: matching.weights: expected names with values, found [1]"),
        (dict(speed=1), "f: matching.speed: unknown key; known are iou_threshold, rule"),
        ([1], "f: matching: expected names with values, found [1]"),
    ],
)
def test_options_that_cannot_be_used(values, message):
    with pytest.raises(InputError) as caught:
        parse_match_options(values, "f: matching")
    assert str(caught.value).startswith(message)


def test_options_as_json():
    options = MatchOptions(0.4, "any", 0.6, 0.1, 20, 0.2, {"a": 2.0})
    assert parse_match_options(options.to_dict(), "x") == options
    assert parse_match_options({}, "x") == MatchOptions()


def test_a_matcher_asked_again_says_the_same():
    results = random_results(8, members=3, cells=9)
    matcher = Matcher(results)
    choices = [MatchOptions(iou, rule, cut) for iou in (0.3, 0.5) for rule in RULES for cut in (0.3, 0.5)]
    for options in [*choices, *reversed(choices)]:
        assert same(matcher.match(options), match_instances(results, None, options))
        assert matcher.masks(options).to_rle() == matcher.match(options).masks.to_rle()


def tuning_set(images=6):
    """Images of different sizes on which one member of three invents cells and another draws them too large."""
    results, truths = [], []
    for seed in range(images):
        size = (40 + seed, 48 - seed)
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[: size[0], : size[1]] + 0.5
        centres = [(10, 10), (10, 30), (28, 12), (28, 32)]
        cells = np.stack([(y - a) ** 2 + (x - b) ** 2 < 36 for a, b in centres])
        wide = np.stack([(y - a) ** 2 + (x - b) ** 2 < 56 for a, b in centres])
        noise = np.stack([(y - a) ** 2 + (x - b) ** 2 < 9 for a, b in rng.uniform(5, 35, (3, 2))])
        results.append(
            [
                make_result(cells, [0.6] * 4, size=size),
                make_result(wide, [0.9] * 4, size=size),
                make_result(np.concatenate([cells[:3], noise]), [0.7] * 6, size=size),
            ]
        )
        truths.append(CropMasks.from_dense(torch.from_numpy(cells)))
    return results, truths


@pytest.fixture
def few_options(monkeypatch):
    """A smaller search."""
    rules = {"rule": ("any", "majority"), "score_threshold": (0.0, 0.25)}
    monkeypatch.setattr(matching, "BLOCKS", ({"iou_threshold": (0.3, 0.5), "mask_threshold": (0.5, 0.6)}, rules))


def test_tuning_finds_what_scores_best(few_options):
    results, truths = tuning_set()
    bad = MatchOptions(rule="any", mask_threshold=0.2)
    options, value = tune_matching(results, truths, start=bad)

    def score(options):
        return competition_map([match_instances(found, None, options).masks for found in results], truths).map

    assert value == pytest.approx(score(options)) and value == 1.0 > score(bad)
    assert options.rule == "majority" or options.score_threshold > 0.2
    assert tune_matching(results, truths, start=bad) == (options, value)


def test_tuning_keeps_what_is_good_and_what_it_does_not_search(few_options):
    results, truths = tuning_set(3)
    start = MatchOptions(mask_threshold=0.6, min_area=5, nms_iou=0.25)
    assert tune_matching(results, truths, seed=4, start=start) == (start, 1.0)
    weighted, _ = tune_matching(results, truths, weights=[0, 1, 0])
    assert tune_matching([[found[1]] for found in results], truths)[0] == weighted


def test_tuning_in_several_batches_scores_the_same(few_options, monkeypatch):
    results, truths = tuning_set()
    expected = tune_matching(results, truths)
    monkeypatch.setattr(matching, "_MAX_PIXELS", 3000)
    assert tune_matching(results, truths) == expected
    truths[2] = CropMasks.empty(truths[2].image_size)  # no cells, and some are found: scores 0
    assert tune_matching(results, truths)[1] == pytest.approx(expected[1] - 1 / 6)


def test_tuning_on_nothing_or_on_other_images():
    results, truths = tuning_set(2)
    for found, cells, message in (
        ([], [], "0 images with results, 0 with true cells"),
        (results, truths[:1], "2 images with results, 1 with true cells"),
        ([results[0], results[1][:2]], truths, "expected the result of every member for each image"),
        (results, truths[::-1], "results and true cells of an image differ in size"),
    ):
        with pytest.raises(InputError, match=message):
            tune_matching(found, cells)


def test_a_thousand_cells_of_four_members_take_a_moment():
    size = (640, 640)
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(32)), -1).reshape(-1, 2)[:1000] * 20 + 10
    results = []
    for member in range(4):
        moved = torch.from_numpy(grid + np.random.default_rng(member).integers(-2, 3, grid.shape))
        windows = torch.cat([moved - 7, moved + 7], dim=1).clamp(0, 640)
        areas = (windows[:, 2:] - windows[:, :2]).prod(dim=1)
        masks = CropMasks(windows, torch.ones(int(areas.sum()), dtype=torch.bool), size)
        scores = torch.linspace(0.5, 1, len(masks))
        results.append(
            Instances(windows.float(), scores, torch.zeros(len(masks), dtype=torch.int64), masks, size, NAMES)
        )
    match_instances(results)
    start = time.process_time()
    matched = match_instances(results)
    assert time.process_time() - start < 1.0
    assert 900 < len(matched) <= 1000
