"""What stands behind the vote gives the same on CUDA as on the CPU: pixels, pairs and orders, not only nearly."""

import pytest
import torch

from cellseg.ensemble import claim_pixels, clean
from cellseg.ensemble.votes.claims import POLICIES
from cellseg.ensemble.votes.schemes import SCHEMES
from cellseg.ensemble.votes.suppression import mask_nms, mask_overlaps
from cellseg.ensemble.votes.voting import vote
from cellseg.structures import CropMasks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture
def evidence(random_evidence):
    return random_evidence(1, count=60, size=(90, 100))


@pytest.fixture
def votes(evidence) -> CropMasks:
    return vote(evidence.evidence, evidence.confidence, torch.ones(3))


def same(ours: CropMasks, theirs: CropMasks) -> bool:
    return torch.equal(ours.windows.cpu(), theirs.windows) and torch.equal(ours.values.cpu(), theirs.values)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes(evidence, scheme):
    on_cpu = vote(evidence.evidence, evidence.confidence, torch.ones(3), scheme=scheme)
    moved = [masks.to("cuda") for masks in evidence.evidence]
    on_cuda = vote(moved, evidence.confidence.cuda(), torch.ones(3, device="cuda"), scheme=scheme)
    torch.testing.assert_close(on_cuda.values.cpu(), on_cpu.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
def test_claims(evidence, votes, policy):
    on_cpu = claim_pixels(votes, evidence.scores, 0.5, policy)
    assert on_cpu.values.any()
    assert same(claim_pixels(votes.to("cuda"), evidence.scores.cuda(), 0.5, policy), on_cpu)


def test_overlaps_and_suppression(evidence, votes):
    masks = votes.threshold(0.5)
    tables = []
    for part in (masks, masks.to("cuda")):
        rows, columns, iou = (value.cpu() for value in mask_overlaps(part))
        tables.append(sorted(zip(rows.tolist(), columns.tolist(), iou.tolist(), strict=True)))
    assert tables[0] == tables[1] and len(tables[0]) > 20
    kept = mask_nms(masks, evidence.scores, 0.2)
    assert torch.equal(mask_nms(masks.to("cuda"), evidence.scores.cuda(), 0.2).cpu(), kept) and len(kept) < len(masks)


def test_cleaning_and_windows(votes):
    masks = claim_pixels(votes, torch.ones(len(votes)), 0.5)
    assert same(clean(masks.to("cuda")), clean(masks))
    assert same(masks.to("cuda").tight(), masks.tight())
    assert torch.equal(masks.to("cuda").areas().cpu(), masks.areas())
    torch.testing.assert_close(votes.to("cuda").sums().cpu(), votes.sums(), rtol=1e-12, atol=0)
