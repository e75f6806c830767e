"""Grad-CAM on networks whose answer is known by construction, and on a trained one."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cellseg.errors import InputError
from cellseg.multimodal.encoders import ConvEncoder, VolumeEncoder
from cellseg.multimodal.explain import grad_cam, layer_named, upsample_maps


class Colours(nn.Module):
    """Says how much red and how much green there is: channel k of its layer answers to colour k alone."""

    def __init__(self, dimensions=2):
        super().__init__()
        self.layer = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(2, 2, 1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.eye(2).view(2, 2, *[1] * dimensions))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, values):
        return self.relu(self.layer(values)).flatten(2).mean(2)


def picture(size=8):
    """Red in the upper left quadrant, green in the lower right one; in the second sample the other way round."""
    values = torch.zeros(2, 2, size, size)
    half = size // 2
    values[0, 0, :half, :half] = values[0, 1, half:, half:] = 1.0
    values[1, 1, :half, :half] = values[1, 0, half:, half:] = 1.0
    return values


@pytest.mark.parametrize("frozen", [False, True])
def test_the_quadrant_of_the_asked_colour_is_found(frozen):
    model, values = Colours().requires_grad_(not frozen), picture()
    for colour in range(2):
        maps = grad_cam(lambda colour=colour: model(values)[:, colour], model.layer)
        # The mean over 64 places passes 1/64 on to each, and the ReLU to those of the colour only, a quarter of them.
        expected = values[:, colour] / 64 / 4
        torch.testing.assert_close(maps, expected)


def test_it_works_for_volumes():
    model = Colours(dimensions=3)
    values = torch.zeros(1, 2, 4, 4, 6)
    values[0, 0, :2, 2:, 3:] = values[0, 1, 2:, :2, :3] = 1.0
    maps = grad_cam(lambda: model(values)[:, 0], model.layer)
    assert maps.shape == (1, 4, 4, 6)
    assert torch.equal(maps > 0, values[:, 0] > 0)


def test_it_is_its_formula():
    """Mean gradient of each channel, by finite differences of what follows the layer."""
    torch.manual_seed(0)
    front = nn.Conv2d(3, 4, 3, stride=2, padding=1).double()
    back = nn.Sequential(nn.Tanh(), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(2 * 2 * 3, 3)).double()
    values = torch.randn(2, 3, 8, 9, dtype=torch.float64)
    maps = grad_cam(lambda: back(front(values))[:, 1], front)
    with torch.no_grad():
        activation = front(values)
        for row in range(2):
            alpha = torch.zeros(4, dtype=torch.float64)
            for index in torch.cartesian_prod(torch.arange(4), torch.arange(4), torch.arange(5)).tolist():
                moved = activation[row : row + 1].repeat(2, 1, 1, 1)
                moved[(0, *index)] += 1e-5
                moved[(1, *index)] -= 1e-5
                more, less = back(moved)[:, 1]
                alpha[index[0]] += (more - less) / 2e-5 / 20
            expected = (alpha[:, None, None] * activation[row]).sum(0).clamp(min=0)
            torch.testing.assert_close(maps[row], expected.float(), atol=1e-5, rtol=1e-4)
    assert (maps == 0).any() and (maps > 0).any()


def test_nothing_is_left_behind():
    model, values = Colours(), picture()
    with torch.no_grad():
        grad_cam(lambda: model(values)[:, 0], model.layer)
    assert model.layer.weight.grad is None and not model.layer._forward_hooks
    with pytest.raises(ZeroDivisionError):
        grad_cam(lambda: 1 / 0, model.layer)
    assert not model.layer._forward_hooks


def blobs(count, generator, dimensions=2):
    """Noise with a bright blob in one channel: the class is the channel. A grey blob elsewhere says nothing."""
    size = 32 if dimensions == 2 else 16
    values = 0.1 * torch.randn(count, 3, *[size] * dimensions, generator=generator)
    labels = torch.randint(2, (count,), generator=generator)
    width = size // 4
    corners = torch.randint(0, 3, (count, 2), generator=generator) * width
    for row in range(count):
        y, x = corners[row].tolist()
        other_y, other_x = (y + 2 * width) % size, (x + width) % size
        values[row, labels[row], ..., y : y + width, x : x + width] += 1.0
        values[row, :, ..., other_y : other_y + width, other_x : other_x + width] += 0.5
    return values, labels, corners


class Small(nn.Module):
    """Two convolutions and the mean over places."""

    def __init__(self, dimensions):
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        layers = [convolution(3, 8, 3, 2, 1), nn.ReLU(), convolution(8, 16, 3, 2, 1), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(16, 2)

    def forward(self, values):
        return self.head(self.features(values).flatten(2).mean(2))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_trained_network_looks_at_the_blob(dimensions):
    torch.manual_seed(0)
    model, generator = Small(dimensions), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        values, labels, _ = blobs(16, generator, dimensions)
        optimizer.zero_grad()
        cross_entropy(model(values), labels).backward()
        optimizer.step()
    values, labels, corners = blobs(24, generator, dimensions)
    maps = grad_cam(lambda: model(values)[torch.arange(24), labels], model.features)
    maps = upsample_maps(maps, values.shape[2:])
    assert maps.shape == (24, *values.shape[2:])
    flat = maps if dimensions == 2 else maps.mean(1)
    width, hits = flat.shape[-1] // 4, 0
    for row, (y, x) in enumerate(corners.tolist()):
        inside = torch.zeros_like(flat[row], dtype=torch.bool)
        inside[y : y + width, x : x + width] = True
        hits += flat[row][inside].mean() > 2 * flat[row][~inside].mean()
    assert hits >= 22


@pytest.mark.parametrize(
    ("encoder", "size", "places"),
    [
        (lambda: ConvEncoder(width=8, strides=(2, 2)), (3, 16, 12), (4, 3)),
        (lambda: VolumeEncoder(width=8, strides=((1, 2), (2, 2))), (1, 4, 16, 16), (2, 4, 4)),  # gives a map and a mask
    ],
)
def test_the_encoders_can_be_explained(encoder, size, places):
    torch.manual_seed(0)
    encoder, values = encoder().eval(), torch.randn(2, *size)
    maps = grad_cam(lambda: encoder(values).pooled[:, 0], layer_named(encoder, "features"))
    assert maps.shape == (2, *places) and maps.isfinite().all() and maps.max() > 0


def test_layers_are_found_by_name():
    model = nn.ModuleDict({"encoder": nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())})
    assert layer_named(model, "encoder.0") is model["encoder"][0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("image", "layer 'image': the model has no 'image', but encoder"),
        ("encoder.7", "layer 'encoder.7': encoder has no '7', but 0, 1"),
        ("encoder.1.x", "layer 'encoder.1.x': encoder.1 has no 'x', but no parts"),
    ],
)
def test_layers_that_are_not_there(name, message):
    model = nn.ModuleDict({"encoder": nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())})
    with pytest.raises(InputError) as error:
        layer_named(model, name)
    assert str(error.value) == message


def _without_gradient(model, values):
    with torch.no_grad():
        return model(values)[:, 0]


class Named(nn.Module):
    def forward(self, values):
        return {"map": values}


@pytest.mark.parametrize(
    ("score", "layer", "message"),
    [
        (
            lambda model, values: model(values)[:, 0] + model(values)[:, 0],
            None,
            "Grad-CAM: the layer was called 2 times; choose one that is called once",
        ),
        (
            lambda model, values: values.sum((1, 2, 3)),
            None,
            "Grad-CAM: the layer was called 0 times; choose one that is called once",
        ),
        (
            lambda model, values: model(values)[:, :2],
            None,
            "Grad-CAM: the score is [2, 2] and the layer saw 2 samples; give one number a sample, and only samples "
            "that have the modality",
        ),
        (
            lambda model, values: model(values[:1])[:, 0].expand(2),
            None,
            "Grad-CAM: the score is [2] and the layer saw 1 samples; give one number a sample, and only samples that "
            "have the modality",
        ),
        (
            _without_gradient,
            None,
            "Grad-CAM: the score has no gradient; it must not be computed under torch.no_grad()",
        ),
        (
            lambda model, values: model(values).detach()[:, 0] + nn.Parameter(torch.zeros(2)),
            None,
            "Grad-CAM: the score does not depend on the layer; choose one of the encoder it comes from",
        ),
        (
            lambda model, values: (values := model.extra(values.mean((2, 3))))[:, 0],
            nn.Linear(2, 3),
            "Grad-CAM: the layer gives [2, 3]; choose one that gives [B, C, places ...]",
        ),
        (
            lambda model, values: model.extra(values)["map"].mean((1, 2, 3)),
            Named(),
            "Grad-CAM: the layer gives dict; choose one that gives [B, C, places ...]",
        ),
    ],
)
def test_what_cannot_be_explained(score, layer, message):
    model = Colours()
    if layer is not None:
        model.extra = layer
    with pytest.raises(InputError) as error:
        grad_cam(lambda: score(model, picture()), model.layer if layer is None else layer)
    assert str(error.value) == message
