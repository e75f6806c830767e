"""Pictures of examples."""

from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from cellseg.ensemble.comparison.pictures import draw_examples
from cellseg.structures import CropMasks
from cellseg.visualization.overlays import FOUND, INVENTED, MISSED


def test_the_examples_of_large_images_keep_visible_lines(tmp_path):
    """The line of a cell in an image that is shrunk four times is still there, and the counts stand in the title."""
    image = np.full((2048, 2048, 3), 90, np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(image).save(tmp_path / "images" / "large.png")
    mask = np.zeros((1, 2048, 2048), bool)
    mask[0, 400:1600, 400:1600] = True
    masks = CropMasks.from_dense(torch.from_numpy(mask))
    record = SimpleNamespace(key="large", file_name="large.png", cell_type="cort", masks=masks)
    folder = SimpleNamespace(image_path=lambda name: tmp_path / "images" / name)
    sheet = draw_examples(folder, [record], [masks], [1.0])
    picture = sheet[20:532, 512:]
    assert (np.abs(picture.astype(int) - FOUND).sum(axis=2) < 60).sum() > 4 * 250
    # The legend runs below the whole sheet.
    assert sheet.shape == (20 + 512 + 20, 1024, 3)
    assert all((sheet[-20:] == color).all(axis=2).any() for color in (FOUND, MISSED, INVENTED))
