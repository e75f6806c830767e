"""The network, its weights in files, and detection on images of any size."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from cellseg.errors import InputError, MissingFileError
from cellseg.models.yolox.checkpoints import load_fitting_weights, load_state, save_state
from cellseg.models.yolox.inference import TILE_OVERLAP, class_wise_nms, detect, network_input, tiles
from cellseg.models.yolox.network import build_network
from cellseg.models.yolox.settings import YoloxSettings

FINE = YoloxSettings(max_epoch=30, width=0.125, strides=(4, 8, 16))
STANDARD = YoloxSettings(max_epoch=30, width=0.125)


class BrightSpots(nn.Module):
    """Stands for a network: a box of a fixed size around every bright pixel, label by colour."""

    def __init__(self, side: float = 12.0):
        super().__init__()
        self.side = nn.Parameter(torch.tensor(side))
        self.calls: list[tuple[int, int]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls.append(tuple(image.shape[2:]))
        channels, y, x = torch.nonzero(image[0] > 200, as_tuple=True)
        rows = torch.zeros(len(x), 7)
        rows[:, 0], rows[:, 1], rows[:, 2:4] = x + 0.5, y + 0.5, self.side.detach()
        rows[:, 4] = 0.9
        rows[torch.arange(len(x)), 5 + (channels == 2)] = 0.5
        return rows[None]


@pytest.mark.parametrize("settings", [FINE, STANDARD], ids=["fine", "standard"])
def test_predictions_on_every_grid(settings):
    network = build_network(settings, 3).eval()
    with torch.no_grad():
        output = network(torch.zeros(1, 3, 64, 96))
    cells = sum((64 // stride) * (96 // stride) for stride in settings.strides)
    assert output.shape == (1, cells, 8)
    # An untrained head gives each place and class its prior.
    torch.testing.assert_close(output[..., 4:].median(), torch.tensor(0.01), atol=0.02, rtol=0)


def test_standard_network_is_the_packages():
    from yolox.exp import Exp

    theirs = Exp()
    theirs.depth, theirs.width, theirs.num_classes = 0.33, 0.125, 2
    own = build_network(STANDARD, 2).state_dict()
    expected = theirs.get_model().state_dict()
    assert {name: value.shape for name, value in own.items()} == {name: v.shape for name, v in expected.items()}


def test_places_for_cells_are_the_packages():
    from yolox.models import YOLOXHead

    generator = torch.Generator().manual_seed(0)
    grids = [torch.meshgrid(torch.arange(64 // s), torch.arange(96 // s), indexing="ij") for s in (4, 8, 16)]
    x, y = (torch.cat([grid[axis].flatten() for grid in grids])[None].float() for axis in (1, 0))
    strides = torch.cat([torch.full((grid[0].numel(),), s) for grid, s in zip(grids, (4, 8, 16), strict=True)])[None]
    head = build_network(FINE, 2).head
    for count in (1, 5, 40):
        boxes = torch.rand(count, 4, generator=generator) * torch.tensor([96.0, 64, 30, 30])
        # Whole numbers put places exactly on edges.
        boxes[::2] = boxes[::2].round()
        arguments = (boxes, strides.float(), x, y, strides.shape[1], count)
        for own, expected in zip(
            head.get_in_boxes_info(*arguments), YOLOXHead.get_in_boxes_info(head, *arguments), strict=True
        ):
            assert torch.equal(own, expected)


def test_every_weight_of_the_fine_network_is_trained():
    network = build_network(FINE, 2)
    targets = torch.zeros(2, 5, 5)
    # One cell for each grid: those of 4, 8 and 16 pixels.
    targets[:, 0] = torch.tensor([0, 20.0, 20, 10, 10])
    targets[:, 1] = torch.tensor([1, 50.0, 40, 22, 22])
    targets[:, 2] = torch.tensor([1, 40.0, 40, 60, 60])
    network.head.use_l1 = True
    network(torch.rand(2, 3, 64, 64) * 255, targets)["total_loss"].backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


def test_class_wise_nms_equals_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        corner = torch.rand(60, 2, generator=generator) * 30
        boxes = torch.cat([corner, corner + 4 + 12 * torch.rand(60, 2, generator=generator)], dim=1)
        scores = (torch.rand(60, generator=generator) * 8).round() / 8  # many equal ones
        labels = torch.randint(0, 3, (60,), generator=generator)
        kept: list[int] = []
        for index in sorted(range(60), key=lambda i: (-scores[i].item(), i)):
            rivals = [other for other in kept if labels[other] == labels[index]]
            overlaps = torchvision.ops.box_iou(boxes[index : index + 1].double(), boxes[rivals].double())
            if not len(rivals) or overlaps.max() <= 0.4:
                kept.append(index)
        assert class_wise_nms(boxes, scores, labels, 0.4).tolist() == kept


def test_nms_of_nothing():
    assert class_wise_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5).shape == (0,)


@pytest.mark.parametrize("length", [1, 1000, 1024, 1025, 1536, 3001])
def test_tiles_cover_every_pixel_once(length):
    parts = tiles(length, 1024)
    owned = [pixel for _, _, start, end in parts for pixel in range(start, end)]
    assert owned == list(range(length))
    for first, last, start, end in parts:
        assert last - first <= 1024
        assert first == max(0, start - TILE_OVERLAP) or first == 0
        assert last == min(length, end + TILE_OVERLAP) or length <= 1024


def test_input_is_padded_with_grey():
    image = np.full((33, 20, 3), 7, dtype=np.uint8)
    tensor = network_input(image, torch.device("cpu"))
    assert tensor.shape == (1, 3, 64, 32) and tensor.dtype == torch.float32
    assert (tensor[0, :, :33, :20] == 7).all()
    assert (tensor[0, :, 33:] == 114).all() and (tensor[0, :, :, 20:] == 114).all()


@pytest.mark.parametrize("magnification", [1.0, 2.0, 0.5])
def test_boxes_come_back_in_image_pixels(magnification):
    image = np.zeros((50, 70, 3), dtype=np.uint8)
    image[20:24, 30:34, 0] = 255
    found = detect(BrightSpots(12 * magnification), image, magnification, 0.1, 0.3)
    boxes = found.boxes[found.scores > 0.4]
    centre = (boxes[:, :2] + boxes[:, 2:]).mean(dim=0) / 2
    assert abs(centre - torch.tensor([32.0, 22.0])).max() <= 2.1
    torch.testing.assert_close(boxes[:, 2:] - boxes[:, :2], torch.full((len(boxes), 2), 12.0))


def test_score_is_objectness_times_class_and_boxes_are_cut_at_the_border():
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    image[1, 39] = (0, 0, 255)
    found = detect(BrightSpots(), image, 1.0, 0.1, 0.5)
    assert found.boxes.tolist() == [[33.5, 0.0, 40.0, 7.5]]
    assert found.scores.tolist() == pytest.approx([0.45])
    assert found.labels.tolist() == [1]
    assert len(detect(BrightSpots(), image, 1.0, 0.46, 0.5).boxes) == 0


def test_tiles_neither_cut_nor_double_cells():
    generator = np.random.default_rng(0)
    image = np.zeros((1500, 2600, 3), dtype=np.uint8)
    places = np.unique(generator.integers(0, [1490 // 14, 2590 // 14], (400, 2)), axis=0) * 14 + 3
    image[places[:, 0], places[:, 1], 0] = 255
    whole, tiled = BrightSpots(), BrightSpots()
    expected = detect(whole, image, 1.0, 0.1, 0.5, tile=4096)
    found = detect(tiled, image, 1.0, 0.1, 0.5, tile=1024)
    assert len(whole.calls) == 1 and len(tiled.calls) > 4
    assert max(max(size) for size in tiled.calls) <= 1024
    assert sorted(found.boxes.tolist()) == sorted(expected.boxes.tolist())
    assert len(found.boxes) == len(places)


def test_thousands_of_cells_are_not_limited():
    image = np.zeros((800, 800, 3), dtype=np.uint8)
    image[4::14, 4::14, 0] = 255
    assert len(detect(BrightSpots(), image, 1.0, 0.1, 0.5).boxes) == 57 * 57


def test_equal_states_make_equal_files(tmp_path):
    state = {"model": build_network(FINE, 2).state_dict(), "best_ap": 0.25}
    save_state(tmp_path / "first.pth", state)
    save_state(tmp_path / "other.pth", state)
    assert (tmp_path / "first.pth").read_bytes() == (tmp_path / "other.pth").read_bytes()
    loaded = torch.load(tmp_path / "first.pth", weights_only=True)
    assert loaded["best_ap"] == 0.25


def test_failed_saving_leaves_the_old_file(tmp_path):
    save_state(tmp_path / "a.pth", {"x": 1})
    with pytest.raises(Exception, match="pickle"):
        save_state(tmp_path / "a.pth", {"x": lambda: None})
    assert load_state(tmp_path / "a.pth") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_pretrained_weights_of_other_classes(tmp_path):
    source, target = build_network(FINE, 5), build_network(FINE, 2)
    save_state(tmp_path / "five.pth", {"state_dict": source.state_dict(), "meta": {}})
    warnings: list[str] = []
    load_fitting_weights(target, tmp_path / "five.pth", warnings.append)
    torch.testing.assert_close(target.backbone.C3_p3.conv1.conv.weight, source.backbone.C3_p3.conv1.conv.weight)
    assert len(warnings) == 1
    assert "head.cls_preds.0.weight" in warnings[0] and "head.reg_preds.0.weight" not in warnings[0]


@pytest.mark.parametrize("key", ["state_dict", "model", None])
def test_pretrained_weights_in_every_form(tmp_path, key):
    source = build_network(FINE, 2)
    weights = source.state_dict()
    save_state(tmp_path / "weights.pth", {key: weights} if key else dict(weights))
    warnings: list[str] = []
    target = build_network(FINE, 2)
    load_fitting_weights(target, tmp_path / "weights.pth", warnings.append)
    assert warnings == []
    for own, expected in zip(target.parameters(), source.parameters(), strict=True):
        assert torch.equal(own, expected)


def test_pretrained_weights_of_another_network_are_an_error(tmp_path):
    save_state(tmp_path / "other.pth", {"state_dict": {"layer.weight": torch.zeros(3)}})
    with pytest.raises(InputError, match=r"other\.pth: --pretrained: none of its weights fits"):
        load_fitting_weights(build_network(FINE, 2), tmp_path / "other.pth", print)


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="none.pth"):
        load_state(tmp_path / "none.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list\.pth: not a checkpoint \(it holds a list"):
        load_state(tmp_path / "list.pth")


def test_disc_folder_has_no_touching_cells(tmp_path):
    # What the other tests of the detector rely on.
    draw_cells = runpy.run_path(str(Path(__file__).parent / "disc_folder.py"))["draw_cells"]
    masks, labels = draw_cells(np.random.default_rng(0), (96, 96))
    assert np.stack(masks).sum(axis=0).max() == 1 and set(labels) == {0, 1}
