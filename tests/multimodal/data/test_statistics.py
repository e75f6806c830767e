"""Statistics of modalities against numpy's, over known values and real steps."""

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.data.record import Record
from cellseg.multimodal.data.statistics import describe_arrays, read_array

RANDOM = np.random.default_rng(0)


def records(*arrays, name="signal"):
    return [
        Record(str(n), {} if array is None else {name: array}, where=f"f, line {n + 2}")
        for n, array in enumerate(arrays)
    ]


@pytest.mark.parametrize(
    ("kind", "shapes", "axis", "shape"),
    [
        ("tabular", [(3,), (3,), (3,)], 0, (3,)),
        ("sequence", [(4, 2), (7, 2), (1, 2)], 1, (2,)),
        ("image", [(3, 4, 5), (3, 4, 5)], 0, (3, 4, 5)),
        ("volume", [(2, 3, 4, 5), (2, 6, 4, 5)], 0, (2, 4, 5)),
    ],
)
@pytest.mark.parametrize("origin", [0.0, 1e4])
def test_means_and_deviations(kind, shapes, axis, shape, origin):
    arrays = [(origin + 3 * RANDOM.standard_normal(form)).astype(np.float32) for form in shapes]
    names = ("a", "b", "c") if kind == "tabular" else ()
    found = describe_arrays(records(arrays[0], None, *arrays[1:]), "signal", kind, names)
    flat = np.concatenate([np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) for array in arrays], axis=1)
    np.testing.assert_allclose(found.mean, flat.mean(axis=1, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(found.std, flat.std(axis=1, dtype=np.float64), rtol=1e-5)
    assert (found.kind, found.shape, found.names) == (kind, shape, names)


def test_unknown_and_constant_features():
    table = [[1, np.nan, 5, np.nan], [3, np.nan, 5, 2]]
    found = describe_arrays(records(*(np.float32(row) for row in table)), "signal", "tabular", ("a", "b", "c", "d"))
    assert found.mean == (2, 0, 5, 2) and found.std == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("kind", "arrays", "message"),
    [
        ("tabular", [None, None], "modality 'signal' is missing in all rows of the training split; leave it out"),
        (
            "tabular",
            [np.ones(3), np.ones(4)],
            "f, line 3: a modality of kind tabular has the form [4], rows before it ",
        ),
        ("sequence", [np.ones((2, 3)), np.ones((2, 4))], "f, line 3: a modality of kind sequence has the form [4], "),
        (
            "volume",
            [np.ones((1, 2, 3, 3)), np.ones((1, 2, 3, 4))],
            "f, line 3: a modality of kind volume has the form ",
        ),
        (
            "image",
            [np.ones((3, 2))],
            "f, line 2: expected numbers [3, height, width] for a modality of kind image, found ",
        ),
        (
            "sequence",
            [np.ones((0, 3))],
            "f, line 2: expected numbers [steps, channels] for a modality of kind sequence",
        ),
        ("sequence", [np.array([["a"]])], "f, line 2: expected numbers [steps, channels]"),
        ("sequence", [np.array([[np.nan]])], "f, line 2: a modality of kind sequence holds values that are not finite"),
        ("tabular", [np.array([np.inf])], "f, line 2: a modality of kind tabular holds values that are not finite"),
    ],
)
def test_rows_that_cannot_be_used(kind, arrays, message):
    with pytest.raises(InputError) as error:
        describe_arrays(records(*arrays), "signal", kind, ("a", "b", "c") if kind == "tabular" else ())
    assert str(error.value).startswith(message)


def test_arrays_from_files(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, 2]], np.int16))
    assert read_array(tmp_path / "a.npy", "sequence", "here").tolist() == [[1.0, 2.0]]
    np.save(tmp_path / "b.npy", np.array([{}], object))
    (tmp_path / "c.npy").write_bytes(b"x")
    for name, message in (
        ("b.npy", "cannot be read as a .npy file of plain numbers; write it with numpy.save"),
        ("c.npy", "cannot be read as a .npy file of plain numbers"),
        ("d.npy", "cannot be read as a .npy file of plain numbers"),
        ("e.csv", "expected a .npy file"),
    ):
        with pytest.raises(InputError) as error:
            read_array(tmp_path / name, "sequence", "f, line 2")
        assert str(error.value).startswith(f"f, line 2: {tmp_path / name}: {message}")
