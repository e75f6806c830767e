"""Checkpoints load as data: what mmengine saves loads, what could run code is refused, bad files are named."""

import builtins
import io
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import (
    ConstantParamScheduler,
    CosineAnnealingParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    PolyParamScheduler,
    ReduceOnPlateauParamScheduler,
    StepParamScheduler,
)
from mmengine.runner.checkpoint import load_checkpoint

from cellseg.errors import InputError, MissingFileError
from cellseg.openmmlab import load_checkpoint_file


def history(*values: float) -> HistoryBuffer:
    buffer = HistoryBuffer()
    for value in values:
        buffer.update(value)
    return buffer


@pytest.fixture
def saved(tmp_path):
    """A function that saves a value and gives the path."""

    def save(value, **options) -> pathlib.Path:
        torch.save(value, tmp_path / "file.pth", **options)
        return tmp_path / "file.pth"

    return save


@pytest.mark.parametrize("legacy", [False, True])
def test_what_mmengine_keeps_loads(saved, legacy):
    hub = MessageHub("test")
    hub.update_scalar("train/loss", 1.5)
    hub.update_scalar("train/loss", np.float32(2.5))
    hub.update_info("best", np.float64(0.25))
    hub.update_info("palette", np.array([[0, 1], [2, 3]], dtype=np.uint8))
    hub.update_info("names", np.array(["cort", "astro"]))
    path = saved({"message_hub": hub.state_dict()}, _use_new_zipfile_serialization=not legacy)
    loaded = load_checkpoint_file(path)["message_hub"]
    assert loaded["log_scalars"]["train/loss"].mean() == 2.0
    assert loaded["log_scalars"]["train/loss"].statistics("max") == 2.5
    assert loaded["runtime_info"]["best"] == 0.25
    assert loaded["runtime_info"]["palette"].tolist() == [[0, 1], [2, 3]]
    assert loaded["runtime_info"]["names"].tolist() == ["cort", "astro"]
    MessageHub("other").load_state_dict(loaded)


@pytest.mark.parametrize("code", "?bBhHiIlLqQefdg")
def test_numbers_of_every_plain_type_load(saved, code):
    values = np.array([0, 1], dtype=code)
    loaded = load_checkpoint_file(saved({"array": values, "scalar": values[1]}))
    assert loaded["array"].dtype == values.dtype and loaded["array"].tolist() == values.tolist()
    assert loaded["scalar"].dtype == values.dtype and loaded["scalar"] == values[1]


def test_files_of_the_other_numpy_load(saved, tmp_path):
    path = saved({"history": history(1, 2), "scalar": np.float64(3)})
    here, there = b"numpy._core.multiarray", b"numpy.core.multiarray"
    if np.__version__.startswith("1."):
        here, there = there, here
    other = tmp_path / "other.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            assert (here in content) == name.endswith("data.pkl")
            new.writestr(name, content.replace(here, there))
    loaded = load_checkpoint_file(other)
    assert loaded["history"].mean() == 1.5 and loaded["scalar"] == 3


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda optimizer: ConstantParamScheduler(optimizer, "lr"),
        lambda optimizer: CosineAnnealingParamScheduler(optimizer, "lr", T_max=5),
        lambda optimizer: ExponentialParamScheduler(optimizer, "lr", gamma=0.5),
        lambda optimizer: LinearParamScheduler(optimizer, "lr"),
        lambda optimizer: MultiStepParamScheduler(optimizer, "lr", milestones=[2, 4]),
        lambda optimizer: PolyParamScheduler(optimizer, "lr"),
        lambda optimizer: ReduceOnPlateauParamScheduler(optimizer, "lr", monitor="loss"),
        lambda optimizer: StepParamScheduler(optimizer, "lr", step_size=2),
    ],
)
def test_schedules_load(saved, scheduler):
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1)
    state = scheduler(optimizer).state_dict()
    assert load_checkpoint_file(saved(state)).keys() == state.keys()


def test_mmengine_loads_through_the_safe_loader(saved, monkeypatch):
    model = torch.nn.Linear(2, 1)
    path = saved({"state_dict": {"weight": torch.ones(1, 2), "bias": torch.ones(1)}, "history": history(1)})
    calls, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **options: calls.append(options) or load(*args, **options))
    load_checkpoint(model, str(path))
    assert model.weight.tolist() == [[1.0, 1.0]]
    # Said explicitly, because torch before 2.6 unpickles anything by default.
    assert [call["weights_only"] for call in calls] == [True]


class Reduced:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Lets it stand for a function in another one."""


class Built:
    """Pickles as a HistoryBuffer with this state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return HistoryBuffer, (), self.state


@pytest.mark.parametrize(
    ("gadget", "named"),
    [
        (lambda path: Reduced(os.system, f"touch {path}"), "posix.system"),
        (lambda path: Reduced(builtins.eval, f"open({str(path)!r}, 'w')"), "eval"),
        (lambda path: Reduced(builtins.exec, f"open({str(path)!r}, 'w')"), "exec"),
        (lambda path: Reduced(open, str(path), "w"), "io.open"),
        (lambda path: Reduced(getattr, HistoryBuffer, "__init__"), "__init__"),
        (lambda path: Reduced(getattr, HistoryBuffer, "register_statistics"), "register_statistics"),
        (lambda path: Reduced(getattr, Reduced(getattr, HistoryBuffer, "mean"), "__globals__"), "__globals__"),
        (lambda path: Reduced(getattr, torch.Tensor, "mean"), "mean"),
        (lambda path: Reduced(getattr, torch.device, "mean"), "mean"),
        (lambda path: Reduced(Reduced(getattr, HistoryBuffer, "max"), [3]), "<function HistoryBuffer.max"),
        (lambda path: Built({"statistics_methods": {"mean": os.system}}), "posix.system"),
        (lambda path: np.array([1], dtype=object), "<class 'numpy.dtypes.ObjectDType'>"),
        (lambda path: np.array([(1, 2)], dtype=[("a", int), ("b", int)]), "<class 'numpy.dtypes.VoidDType'>"),
        (lambda path: pathlib.PurePosixPath("a"), "pathlib.PurePosixPath"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_what_could_run_code_is_refused(saved, tmp_path, gadget, named, legacy):
    mark = tmp_path / "ran"
    path = saved({"state_dict": gadget(mark)}, _use_new_zipfile_serialization=not legacy)
    for load in (load_checkpoint_file, lambda name: load_checkpoint(torch.nn.Linear(1, 1), str(name))):
        with pytest.raises(InputError) as caught:
            load(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: refused, because it holds more than weights, numbers and text ({named}")
        assert message.endswith("use --unsafe-load, which runs whatever the file contains")
    assert not mark.exists()


def test_unsafe_loading_is_possible_and_only_when_asked_for(saved, tmp_path):
    mark = tmp_path / "ran"
    path = saved({"trusted": Reduced(os.mkdir, str(mark)), "path": pathlib.PurePosixPath("a")})
    assert load_checkpoint_file(path, unsafe=True)["path"] == pathlib.PurePosixPath("a")
    assert mark.is_dir()


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    middle = content.index(b"PICKLED")
    return content[:middle] + b"\xff\xff\xff\xff" + content[middle + 4 :]


def other_archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    return buffer.getvalue()


def program(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/constants.pkl", b"")
        archive.writestr("model/data.pkl", b"")
    return buffer.getvalue()


BAD_FILES = [
    (False, lambda content: b"", "is empty, its writer was interrupted; use an older checkpoint"),
    (False, cut, "the checkpoint is cut short (interrupted copy or full disk); copy it again or use another"),
    (False, lambda content: content[:-1], "the checkpoint is cut short (interrupted copy or full disk);"),
    (False, flip, "damaged checkpoint ("),
    (True, cut, "damaged checkpoint ("),
    (True, lambda content: content[:100], "damaged checkpoint ("),
    (False, other_archive, "not a PyTorch checkpoint but another zip archive; expected a .pth or .pt file"),
    (False, program, "a TorchScript program, not a checkpoint; expected a file written by torch.save"),
    (False, lambda content: b"id,predicted\n", "not a PyTorch checkpoint; expected a file written by torch.save"),
    (False, lambda content: b"\x80\x04K\x01.", "not a PyTorch checkpoint; expected a file written by torch.save"),
    (False, lambda content: b"\x00" * 600, "not a PyTorch checkpoint; expected a file written by torch.save"),
]


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize(("legacy", "damage", "message"), BAD_FILES)
def test_bad_files_are_named(saved, legacy, damage, message, unsafe):
    value = {"weight": torch.arange(1000.0), "text": "PICKLED"}
    path = saved(value, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        load_checkpoint_file(path, unsafe=unsafe)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(MissingFileError) as caught:
        load_checkpoint_file(tmp_path / "none.pth")
    assert str(caught.value) == (
        f"{tmp_path}/none.pth: no such checkpoint; look for one in the work folder of a training"
    )
    with pytest.raises(InputError, match="is a folder; expected a checkpoint file, such as best.pth in it"):
        load_checkpoint_file(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "http://example.org/a.pth",
        "HTTPS://example.org/a.pth",
        "https://example.org/a.pth",
        "s3://bucket/a.pth",
        "cluster:s3://bucket/a.pth",
        "petrel://a.pth",
        "pavi://a",
        "modelzoo://resnet50",
        "torchvision://resnet50",
        "open-mmlab://resnet50",
        "openmmlab://resnet50",
        "mmcls://resnet50",
        "ftp://example.org/a.pth",
    ],
)
def test_nothing_is_loaded_from_the_network(name):
    for load in (load_checkpoint_file, lambda name: load_checkpoint(torch.nn.Linear(1, 1), name)):
        with pytest.raises(InputError) as caught:
            load(name)
        assert str(caught.value).startswith(f"{name}: checkpoints are loaded from files only, never from the network;")


def test_torch_before_2_6(saved):
    # Its add_safe_globals knows a function by its own name only; today's still understands that.
    path = saved({"history": history(1, 2), "scalar": np.float64(3), "array": np.zeros(2)})
    code = (
        "import torch; torch.__version__ = '2.5.1'\n"
        "import cellseg.openmmlab as prepared\n"
        "assert not any(isinstance(item, tuple) for item in torch.serialization.get_safe_globals())\n"
        f"value = prepared.load_checkpoint_file({str(path)!r})\n"
        "print(value['history'].mean(), value['scalar'], value['array'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "1.5 3.0 [0. 0.]\n", done.stderr
