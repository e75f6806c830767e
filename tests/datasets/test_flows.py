"""Flows of cells: directions towards centres, and views of them."""

import numpy as np
import pytest
import torch

from cellseg.datasets.flows import cell_flows, mask_flow, warp_flow
from cellseg.datasets.transforms import LoadFlows, PackClassMap, RandomView, WholeView, dihedral_matrix
from cellseg.structures import CropMasks


def disc(height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def masks_of(*dense: np.ndarray) -> CropMasks:
    return CropMasks.from_dense(torch.from_numpy(np.stack(dense)))


def reference_flow(mask: np.ndarray) -> np.ndarray:
    """The same diffusion, pixel by pixel."""
    y, x = np.nonzero(mask)
    nearest = np.argmin((y - np.median(y)) ** 2 + (x - np.median(x)) ** 2)
    height, width = mask.shape
    heat = {(int(a), int(b)): 0.0 for a, b in zip(y, x, strict=True)}
    for _ in range(2 * (height + width)):
        heat[(int(y[nearest]), int(x[nearest]))] += 1
        heat = {(a, b): sum(heat.get((a + i, b + j), 0.0) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9 for a, b in heat}
    flow = np.zeros((height, width, 2))
    for a, b in heat:
        rise = np.array(
            [
                heat.get((a, b + 1), 0.0) - heat.get((a, b - 1), 0.0),
                heat.get((a + 1, b), 0.0) - heat.get((a - 1, b), 0.0),
            ]
        )
        if (a, b) != (y[nearest], x[nearest]):
            flow[a, b] = rise / np.hypot(*rise)
    return flow


@pytest.mark.parametrize("seed", range(4))
def test_the_flow_is_that_of_the_plain_diffusion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = disc(14, 11, 7, 5.5, 4.7) & (rng.random((14, 11)) < 0.95)
    # The centre's own mirror symmetry can leave rounding errors for a direction: such pixels are left out.
    want, got = reference_flow(mask), mask_flow(mask)
    clear = np.hypot(*np.moveaxis(want, 2, 0)) > 0.5
    assert clear.sum() > 40
    assert np.abs(want - got)[clear].max() < 1e-4


def test_flows_are_unit_vectors_that_lead_to_the_centre_of_a_disc() -> None:
    mask = disc(41, 41, 20.5, 20.5, 15)
    flow = mask_flow(mask)
    rows, columns = np.mgrid[:41, :41]
    straight = np.stack([20 - columns, 20 - rows], axis=2).astype(float)
    distance = np.linalg.norm(straight, axis=2)
    far = mask & (distance > 1)
    cosine = (flow * straight).sum(axis=2)[far] / distance[far]
    assert cosine.min() > 0.9 and cosine.mean() > 0.99
    assert np.allclose(np.linalg.norm(flow, axis=2)[far], 1, atol=1e-5)
    assert not flow[~mask].any() and not flow[20, 20].any()


def test_along_the_border_of_two_cells_flows_point_apart() -> None:
    whole = np.ones((20, 20), dtype=bool)
    left, right = whole.copy(), whole.copy()
    left[:, 10:] = False
    right[:, :10] = False
    flow = cell_flows(masks_of(left, right))
    # Long cells side by side: also at their far ends the flow turns away from the neighbour.
    assert (flow[:, 9, 0] < -0.3).all() and (flow[:, 10, 0] > 0.3).all()


def test_where_cells_overlap_the_smaller_one_counts() -> None:
    large, small = disc(40, 40, 20, 20, 15), disc(40, 40, 20, 30, 5)
    flow = cell_flows(masks_of(small, large))
    assert np.array_equal(flow[small], cell_flows(masks_of(small))[small])
    only = large & ~small
    assert np.array_equal(flow[only], cell_flows(masks_of(large))[only])


def test_a_part_that_heat_does_not_reach_looks_at_the_centre() -> None:
    mask = np.zeros((9, 30), dtype=bool)
    mask[2:7, 2:14] = True
    mask[4, 25] = True
    flow = mask_flow(mask)
    assert flow[4, 25] == pytest.approx([-1, 0], abs=0.1)
    assert np.isfinite(flow).all()


def test_one_pixel_and_no_cells() -> None:
    assert not mask_flow(np.ones((1, 1), dtype=bool)).any()
    assert not cell_flows(CropMasks.empty((5, 7))).any()
    assert cell_flows(CropMasks.empty((5, 7))).shape == (5, 7, 2)


@pytest.mark.parametrize("index", range(8))
def test_turned_and_mirrored_views_turn_the_flow(index: int) -> None:
    """The field of a turned mask is the turned field."""
    mask = disc(24, 24, 11, 13, 8) | disc(24, 24, 15, 9, 5)
    turn = dihedral_matrix(index)
    matrix = np.column_stack([turn, np.array([12.0, 12.0]) - turn @ np.array([12.0, 12.0])])
    field = cell_flows(masks_of(mask))
    # Odd and even medians choose other centres for a turned mask, so only the warping is under test here.
    seen = warp_flow(field, matrix, (24, 24))
    for y in range(24):
        for x in range(24):
            column, row = np.floor(matrix @ [x + 0.5, y + 0.5, 1]).astype(int)
            assert turn @ seen[y, x] == pytest.approx(field[row, column], abs=1e-5)


def test_a_magnified_view_has_the_same_directions() -> None:
    field = cell_flows(masks_of(disc(20, 30, 10, 15, 8)))
    results = dict(img=np.zeros((20, 30, 3), np.uint8), cells=masks_of(disc(20, 30, 10, 15, 8)), flow=field)
    results["cell_labels"] = torch.zeros(1, dtype=torch.int64)
    seen = WholeView(magnification=2.0).transform(results)["flow"]
    assert seen.shape == (40, 60, 2)
    assert np.allclose(seen[::2, ::2], field, atol=1e-6) and np.allclose(seen[1::2, 1::2], field, atol=1e-6)


def test_flows_go_through_the_pipeline_and_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = masks_of(disc(40, 40, 20, 20, 10))
    item = dict(img_path="a.png", img=np.zeros((40, 40, 3), np.uint8), cells=cells, img_id=1, key="a")
    item |= dict(cell_labels=torch.zeros(1, dtype=torch.int64), ori_shape=(40, 40))
    calls = []
    monkeypatch.setattr("cellseg.datasets.transforms.cell_flows", lambda masks: calls.append(1) or cell_flows(masks))
    load = LoadFlows()
    for _ in range(3):
        loaded = load.transform(dict(item))
        assert np.abs(loaded["flow"] - cell_flows(cells)).max() < 0.005
        viewed = RandomView(size=(32, 24)).transform(loaded)
        sample = PackClassMap(num_classes=1).transform(viewed)["data_samples"]
        assert sample.gt_flow.data.shape == (2, 32, 24) and sample.gt_flow.data.dtype == torch.float32
        # Directions and classes agree about where cells are, but for half a pixel along the border.
        inside = sample.gt_sem_seg.data[0] > 0
        assert ((sample.gt_flow.data.norm(dim=0) > 0.5) != inside).float().mean() < 0.12
    assert len(calls) == 1


def test_without_flows_nothing_is_computed() -> None:
    assert "flow" not in LoadFlows(enabled=False).transform(dict(img_path="a.png"))
