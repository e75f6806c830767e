"""Small networks with random weights, as a training leaves them."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """A grey image of bright discs as uint8 RGB, 70 x 84 px: no side is a multiple of the networks' strides."""
    rng = np.random.default_rng(5)
    grey = rng.normal(70, 8, (70, 84))
    y, x = np.mgrid[:70, :84] + 0.5
    for centre_y, centre_x, radius in ((18, 20, 8), (45, 30, 6), (30, 60, 10), (55, 70, 7)):
        grey[(y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2] += 90
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture(scope="session")
def make_work_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes ``config.py`` and ``best.pth`` of the small Mask R-CNN or UPerNet with random weights, two cell types."""
    from cellseg.openmmlab import build_model
    from cellseg.training.config import load_config, write_config

    write = runpy.run_path(str(PROJECT / "tests" / "models" / "disc_folder.py"))["write_disc_folder"]
    data = write(tmp_path_factory.mktemp("discs"), train=2, val=1)

    def make(name: str, **options) -> Path:
        folder = tmp_path_factory.mktemp(name)
        path = PROJECT / "configs" / name / f"{name}_small.py"
        config = load_config(path, {"data_root": str(data), **options})
        torch.manual_seed(7)
        model = build_model(config.model, config.default_scope)
        model.init_weights()
        if name == "upernet":
            # As initialised, the last layer says nearly the same everywhere.
            torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=1.5)
        write_config(config, folder / "config.py")
        torch.save({"state_dict": model.state_dict(), "meta": {"class_names": ["disc", "bar"]}}, folder / "best.pth")
        return folder

    return make


@pytest.fixture(scope="session")
def check_ramp() -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Checks features ``[N, 2+, 7, 7]`` of boxes whose map holds the x and y of each of its cells' centres."""

    def check(features: torch.Tensor, boxes: torch.Tensor) -> None:
        for box, found in zip(boxes.tolist(), features, strict=True):
            x0, y0, x1, y1 = box
            x = [x0 + (x1 - x0) * (bin_ + 0.5) / 7 for bin_ in range(7)]
            y = [y0 + (y1 - y0) * (bin_ + 0.5) / 7 for bin_ in range(7)]
            torch.testing.assert_close(found[0], torch.tensor(x).expand(7, 7), atol=1e-3, rtol=0)
            torch.testing.assert_close(found[1], torch.tensor(y)[:, None].expand(7, 7), atol=1e-3, rtol=0)

    return check


@pytest.fixture(scope="session")
def make_ramp() -> Callable[..., torch.Tensor]:
    """Makes a map ``[C, h, w]`` whose first channels are x and y of its cells' centres in pixels of the image.

    A cell covers ``stride`` pixels of what the network sees, which is the image magnified.
    """

    def make(like: torch.Tensor, stride: int, magnification: tuple[float, float], start=(0, 0)) -> torch.Tensor:
        ramp = torch.zeros_like(like)
        ramp[0] = ((torch.arange(like.shape[2]) + 0.5) * stride + start[0]) / magnification[0]
        ramp[1] = (((torch.arange(like.shape[1]) + 0.5) * stride + start[1]) / magnification[1])[:, None]
        return ramp

    return make
