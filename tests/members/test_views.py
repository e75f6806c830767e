"""Views and the way back, against numpy's own flips, painted boxes, plain loops and analytic shapes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellseg.errors import InputError
from cellseg.members.views import IDENTITY, PRESETS, View, parse_views
from cellseg.structures import CropMasks

SYMMETRIES = {
    "identity": lambda a: a,
    "mirror_x": lambda a: a[:, ::-1],
    "mirror_y": lambda a: a[::-1],
    "turn_90": lambda a: np.rot90(a),
    "turn_180": lambda a: a[::-1, ::-1],
    "turn_270": lambda a: np.rot90(a, 3),
    "transpose": lambda a: a.swapaxes(0, 1),
    "anti_transpose": lambda a: a[::-1, ::-1].swapaxes(0, 1),
}
SIZES = [(1, 1), (1, 7), (8, 8), (9, 4), (13, 21)]
SCALES = [0.5, 0.8, 1.25, 1.37, 2.0]


def view_of(name: str) -> View:
    return parse_views(["identity", name], "test")[-1] if name != "identity" else IDENTITY


def random_windows(rng, size, count=12):
    """Windows in and at the border of an image, the whole image, single pixels and empty ones among them."""
    height, width = size
    x, y = (np.sort(rng.integers(0, length + 1, (count, 2)), axis=1) for length in (width, height))
    windows = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)
    special = [[0, 0, width, height], [0, 0, 0, 0], [width - 1, height - 1, width, height], [width, 0, width, height]]
    return torch.from_numpy(np.concatenate([windows, special]))


def crops_of(values: np.ndarray, windows: torch.Tensor) -> CropMasks:
    """The same map ``[H, W]`` read in each window."""
    parts = [values[y0:y1, x0:x1].ravel() for x0, y0, x1, y1 in windows.tolist()]
    return CropMasks(windows, torch.from_numpy(np.concatenate(parts)), values.shape)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SYMMETRIES)
def test_symmetries_move_whole_pixels_and_come_back(name, size):
    view, rng = view_of(name), np.random.default_rng(1)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    shown = view.apply(image)
    assert np.array_equal(shown, SYMMETRIES[name](image)) and min(shown.strides) > 0
    assert view.size(size) == shown.shape[:2] and view.name == name
    back = view.turn_back(torch.from_numpy(shown.transpose(2, 0, 1).copy()))
    assert np.array_equal(back.numpy(), image.transpose(2, 0, 1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SYMMETRIES)
def test_boxes_move_with_what_they_hold(name, size):
    view, rng = view_of(name), np.random.default_rng(2)
    windows = random_windows(rng, size)
    windows = windows[((windows[:, 2:] - windows[:, :2]) > 0).all(dim=1)]
    shown = []
    for x0, y0, x1, y1 in windows.tolist():
        painted = np.zeros((*size, 1), dtype=np.uint8)
        painted[y0:y1, x0:x1] = 1
        shown.append(torch.from_numpy(view.apply(painted)[:, :, 0]) > 0)
    expected = CropMasks.from_dense(torch.stack(shown)).boxes()
    assert torch.equal(view.boxes_to_view(windows.float(), size), expected)
    assert torch.equal(view.boxes_to_image(expected, size), windows.float())
    assert torch.equal(view.windows_to_view(windows, size), expected.long())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SYMMETRIES)
def test_masks_come_back_bit_by_bit(name, size):
    view, rng = view_of(name), np.random.default_rng(3)
    values = rng.random(size, dtype=np.float32)
    windows = random_windows(rng, size)
    shown = crops_of(view.apply(values[:, :, None])[:, :, 0], view.windows_to_view(windows, size))
    found, expected = view.masks_to_image(shown, windows, size), crops_of(values, windows)
    assert torch.equal(found.windows, windows) and found.image_size == size
    assert torch.equal(found.values, expected.values)
    # Outside their windows masks are 0, for bool ones too.
    whole = torch.tensor([[0, 0, size[1], size[0]]]).repeat(len(windows), 1)
    dense = view.masks_to_image(CropMasks(shown.windows, shown.values > 0.5, shown.image_size), whole, size)
    assert dense.dtype == torch.bool
    assert torch.equal(dense.to_dense(), (expected.to_dense() > 0.5))


@given(
    st.sampled_from(list(SYMMETRIES)),
    st.floats(0.5, 2.0),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 99),
)
def test_any_box_comes_back(name, scale, size, seed):
    view = View(view_of(name).mirror, view_of(name).turns, scale)
    corners = np.sort(np.random.default_rng(seed).uniform(-3, 43, (6, 2, 2)), axis=1).reshape(6, 4)
    boxes = torch.from_numpy(corners).float()
    there = view.boxes_to_view(boxes, size)
    assert (there[:, 2:] >= there[:, :2]).all()
    sides = (there[:, 2:] - there[:, :2]).flip(1) if view.turns % 2 else there[:, 2:] - there[:, :2]
    torch.testing.assert_close(sides, (boxes[:, 2:] - boxes[:, :2]) * scale, atol=2e-5, rtol=0)
    torch.testing.assert_close(view.boxes_to_image(there, size), boxes, atol=2e-5, rtol=0)


def plain_read(values: np.ndarray, x: float, y: float) -> float:
    """Bilinear value at a point (pixel centres at .5), the nearest pixel's beyond the outer centres."""
    column = min(max(x - 0.5, 0), values.shape[1] - 1)
    row = min(max(y - 0.5, 0), values.shape[0] - 1)
    left, top = int(column), int(row)
    right, bottom = min(left + 1, values.shape[1] - 1), min(top + 1, values.shape[0] - 1)
    dx, dy = column - left, row - top
    upper = values[top, left] * (1 - dx) + values[top, right] * dx
    return (1 - dy) * upper + dy * (values[bottom, left] * (1 - dx) + values[bottom, right] * dx)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["identity", "mirror_x", "turn_90", "anti_transpose"])
def test_scaled_masks_are_read_at_the_centres_of_the_images_pixels(name, scale, size):
    view, rng = View(view_of(name).mirror, view_of(name).turns, scale), np.random.default_rng(4)
    scaled = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    values = rng.random(scaled, dtype=np.float32)
    windows = random_windows(rng, size)
    shown = np.ascontiguousarray(SYMMETRIES[name](values))
    assert view.size(size) == shown.shape
    found = view.masks_to_image(crops_of(shown, view.windows_to_view(windows, size)), windows, size)
    expected = np.empty(size, dtype=np.float32)
    for y, x in np.ndindex(size):
        expected[y, x] = plain_read(values, (x + 0.5) * scale, (y + 0.5) * scale)
    assert found.dtype == torch.float32 and torch.equal(found.windows, windows)
    torch.testing.assert_close(found.values, crops_of(expected, windows).values, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", SCALES)
def test_windows_of_a_scaled_view_hold_the_scaled_windows_and_little_more(scale):
    view, size = View(scale=scale), (37, 53)
    windows = random_windows(np.random.default_rng(5), size, 60)
    windows = windows[((windows[:, 2:] - windows[:, :2]) > 0).all(dim=1)]
    found, exact = view.windows_to_view(windows, size), windows.double() * scale
    limit = torch.tensor(view.size(size)).flip(0).repeat(2)
    assert (found[:, :2] <= torch.minimum(exact[:, :2], limit[:2].double())).all()
    assert (found[:, 2:] >= torch.minimum(exact[:, 2:], limit[2:].double())).all()
    assert ((found - exact).abs() < 2.01).all() and (found >= 0).all() and (found <= limit).all()


def soft_disc(size, centre, radius, softness=1.5):
    """Grey values 0..255 of a disc with a soft edge."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    distance = np.hypot(x - centre[0], y - centre[1])
    return 255.0 / (1 + np.exp((distance - radius) / softness))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SYMMETRIES)
def test_a_soft_disc_stays_where_it_is(name, scale):
    size, centre, radius = (61, 84), (33.3, 27.8), 10.0
    view = View(view_of(name).mirror, view_of(name).turns, scale)
    disc = soft_disc(size, centre, radius)
    shown = view.apply(np.repeat(disc.round().astype(np.uint8)[:, :, None], 3, axis=2))[:, :, 0] / np.float32(255)
    windows = torch.tensor([[8, 2, 60, 54]])
    found = view.masks_to_image(crops_of(shown, view.windows_to_view(windows, size)), windows, size).crop(0).numpy()
    expected = disc[2:54, 8:60] / 255
    y, x = np.mgrid[2:54, 8:60] + 0.5
    assert np.hypot((found * x).sum() / found.sum() - centre[0], (found * y).sum() / found.sum() - centre[1]) < 0.05
    assert found.sum() == pytest.approx(expected.sum(), rel=0.01)
    assert (found > 0.5).sum() == pytest.approx(np.pi * radius**2, rel=0.03)
    box = torch.tensor([[23.3, 17.8, 43.3, 37.8]])
    torch.testing.assert_close(view.boxes_to_image(view.boxes_to_view(box, size), size), box)


@pytest.mark.parametrize("first", SYMMETRIES)
@pytest.mark.parametrize("second", SYMMETRIES)
def test_parts_of_a_name_follow_one_another(first, second):
    image = np.random.default_rng(6).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    view = _only(f"{first}+{second}+scale_1.5")
    assert view.scale == 1.5
    expected = SYMMETRIES[second](SYMMETRIES[first](image))
    assert np.array_equal(view.turn(image), expected)
    assert _only(view.name) == view


def _only(name: str) -> View:
    return parse_views(["identity", name], "test")[1]


def test_presets():
    assert {name: [view.name for view in parse_views(name, "x")] for name in PRESETS} == {
        "none": ["identity"],
        "mirrors": ["identity", "mirror_x", "mirror_y", "turn_180"],
        "turns": ["identity", "turn_90", "turn_180", "turn_270"],
        "dihedral": list(SYMMETRIES),
    }
    assert parse_views(None, "x") == (View(),)
    image = np.random.default_rng(7).integers(0, 256, (5, 5, 1), dtype=np.uint8)
    assert len({view.apply(image).tobytes() for view in parse_views("dihedral", "x")}) == 8


def test_scales_multiply_and_a_scale_of_one_is_none():
    assert _only("scale_1.5+mirror_x+scale_0.8") == View(True, 0, 1.5 * 0.8)
    assert parse_views(["scale_1"], "x") == (IDENTITY,)
    assert _only("turn_90+scale_0.8").name == "turn_90+scale_0.8"


KNOWN = "identity, mirror_x, mirror_y, turn_90, turn_180, turn_270, transpose, anti_transpose, scale_1.25 (any factor)"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("mirror", "m: views = 'mirror': expected none, mirrors, turns, dihedral, or a list of views"),
        ("", "m: views = '': expected none, mirrors, turns, dihedral, or a list of views"),
        (4, "m: views = 4: expected none, mirrors, turns, dihedral, or a list of views"),
        ([], "m: views = []: expected none, mirrors, turns, dihedral, or a list of views"),
        ([1, 2], "m: views = [1, 2]: expected none, mirrors, turns, dihedral, or a list of views"),
        (["identity", "turn_45"], f"m: views: 'turn_45' is none of {KNOWN}"),
        (["identity", "turn_90+"], f"m: views: '' is none of {KNOWN}"),
        (["identity", "scale_big"], "m: views: 'scale_big': expected a number after scale_, as in scale_1.25"),
        (["identity", "scale_0.4"], "m: views: scale_0.4: expected a scale from 0.5 to 2"),
        (["identity", "scale_nan"], "m: views: scale_nan: expected a scale from 0.5 to 2"),
        (["identity", "mirror_x+scale_3"], "m: views: mirror_x+scale_3: expected a scale from 0.5 to 2"),
        (["identity", "mirror_x", "mirror_x"], "m: views: mirror_x stands twice; each view counts once"),
        (["identity", "mirror_y", "mirror_x+turn_180"], "m: views: mirror_y stands twice; each view counts once"),
        (["mirror_x"], "m: views: 'identity' is missing; the image as it is must be among them"),
    ],
)
def test_views_that_cannot_be_used(value, message):
    with pytest.raises(InputError) as error:
        parse_views(value, "m")
    assert str(error.value) == message


def test_as_many_windows_as_masks():
    masks = crops_of(np.zeros((4, 5), dtype=np.float32), torch.tensor([[0, 0, 2, 2]]))
    with pytest.raises(InputError, match="windows: expected one for each of 1 masks, found 2"):
        IDENTITY.masks_to_image(masks, torch.zeros(2, 4, dtype=torch.int64), (4, 5))
