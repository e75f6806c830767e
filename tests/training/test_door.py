"""What the door to training refuses, through tools/train.py, and what it leaves alone when it does."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from cellseg.errors import CellsegError, InputError
from cellseg.openmmlab import threads
from cellseg.training import door

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def old_training(tmp_path):
    """A work folder that a training was begun in, without a checkpoint."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.py").write_text("seed = 1\n")
    (folder / "curves.csv").write_text("iteration,phase,name,value\n")
    return folder


@pytest.fixture
def engine(monkeypatch):
    """Stands for mmengine's engine and notes what it is called with."""
    calls = []

    def train(config, work_dir, **options):
        calls.append(
            dict(config=config, work_dir=work_dir, files=sorted(p.name for p in work_dir.iterdir()), **options)
        )
        return dict(best_score=0.25, best_checkpoint=work_dir / "best.pth", iteration=1)

    monkeypatch.setattr("cellseg.training.mmengine_engine.train", train)
    return calls


def assert_refused(result, message):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("train.py: error: ") and message in err and err.count("\n") == 1


@pytest.fixture(autouse=True)
def program_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_engine_gets_what_the_user_asked_for(train_tool, write_config, engine, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"x")
    code, out, err = train_tool(
        write_config("seed = 0"), "--work-dir", tmp_path / "w", "--pretrained", weights, "--cfg-options", "seed=5"
    )
    assert (code, out, err) == (0, f"done: {tmp_path}/w/best.pth (validation score 0.2500)\n", "")
    (call,) = engine
    assert call["config"].seed == 5
    assert call["work_dir"] == tmp_path / "w" and call["files"] == ["config.py"]
    assert (call["resume"], call["pretrained"], call["amp"], call["launcher"]) == (False, weights, False, "none")
    assert call["unsafe_load"] is False


def test_unsafe_load_reaches_the_engine(train_tool, write_config, engine, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"x")
    code, _, err = train_tool(write_config(), "--work-dir", tmp_path / "w", "--pretrained", weights, "--unsafe-load")
    assert (code, err) == (0, "")
    assert engine[0]["unsafe_load"] is True


@pytest.fixture
def threads_kept():
    """Puts the numbers of threads back."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("engine = 'mmengine'", 6),
        ("engine = 'mmengine'; train_dataloader = dict(num_workers=2)", 4),
        ("engine = 'yolox'; exp = dict(data_num_workers=5)", 1),
        ("engine = 'yolox'; exp = dict(data_num_workers='x')", 6),
        ("engine = 'yolox'; exp = None; train_dataloader = dict(num_workers=2)", 6),
    ],
)
def test_the_cores_are_shared_with_the_loaders(write_config, tmp_path, monkeypatch, threads_kept, text, expected):
    seen = []
    for name in ("mmengine", "yolox"):
        monkeypatch.setattr(
            f"cellseg.training.{name}_engine.train", lambda *args, **options: seen.append(torch.get_num_threads()) or {}
        )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "available_cores", lambda: 6)
    door.train(write_config(text), tmp_path / "w")
    assert seen == [expected]


def test_a_bad_number_of_threads_changes_nothing(train_tool, write_config, engine, old_training, monkeypatch):
    before = content(old_training)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    result = train_tool(write_config(), "--work-dir", old_training, "--overwrite")
    assert_refused(result, "the environment variable OMP_NUM_THREADS is 'many'; expected a number from 1 on")
    assert content(old_training) == before and not engine


def test_the_work_folder_is_named_after_the_config(train_tool, write_config, engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train_tool(write_config(name="mine.py"))[0] == 0
    assert engine[0]["work_dir"] == Path("work_dirs/mine")


def test_an_old_training_is_not_overwritten_unasked(train_tool, write_config, engine, old_training):
    before = content(old_training)
    result = train_tool(write_config(), "--work-dir", old_training)
    assert_refused(
        result, f"{old_training}: holds a training already; continue it with --resume or replace it with --overwrite"
    )
    assert content(old_training) == before and not engine


def test_overwrite_discards_the_old_training(train_tool, write_config, engine, old_training):
    assert train_tool(write_config(), "--work-dir", old_training, "--overwrite")[0] == 0
    assert engine[0]["files"] == ["config.py"]


@pytest.fixture
def failing(monkeypatch):
    """Lets mmengine's engine write files and fail: ``failing(error, begun, files)``."""

    def make(error, begun, files=("mmengine.log",)):
        def train(config, work_dir, begin, **options):
            for name in files:
                (work_dir / name).write_text("new")
            if begun:
                begin()
            raise error

        monkeypatch.setattr("cellseg.training.mmengine_engine.train", train)

    return make


@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
@pytest.mark.parametrize("error", [InputError("no such data"), CellsegError("diverged"), KeyboardInterrupt()])
def test_what_fails_before_it_begins_leaves_the_old_training(
    train_tool, write_config, failing, old_training, option, error
):
    before = content(old_training)
    failing(error, begun=False, files=["config.py"] if option == "--resume" else ["config.py", "mmengine.log"])
    assert train_tool(write_config("seed = 7"), "--work-dir", old_training, option)[0] != 0
    assert content(old_training) == before
    assert [path.name for path in old_training.parent.iterdir() if "old" in path.name] == ["old"]


def test_what_was_replaced_goes_when_the_new_training_begins(train_tool, write_config, failing, old_training):
    failing(CellsegError("diverged"), begun=True)
    assert train_tool(write_config("seed = 7"), "--work-dir", old_training, "--overwrite")[0] != 0
    assert sorted(content(old_training)) == ["config.py", "mmengine.log"]
    assert [path.name for path in old_training.parent.iterdir() if "old" in path.name] == ["old"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_refused_training_leaves_no_folder(train_tool, write_config, failing, engine, tmp_path, begun):
    """So that the command can be mended and given again."""
    failing(InputError("cell.png: damaged"), begun=begun)
    assert_refused(train_tool(write_config(), "--work-dir", tmp_path / "deep" / "new"), "cell.png: damaged")
    assert not (tmp_path / "deep" / "new").exists()
    # One with a lone config, as somebody may have put there, keeps it.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.py").write_text("mine")
    assert_refused(train_tool(write_config(), "--work-dir", tmp_path / "mine"), "cell.png: damaged")
    assert content(tmp_path / "mine") == {"config.py": b"mine"}


def test_a_training_with_a_checkpoint_stays_whatever_happens(train_tool, write_config, failing, tmp_path):
    failing(InputError("cell.png: damaged"), begun=True, files=["iter_100.pth"])
    assert train_tool(write_config(), "--work-dir", tmp_path / "new")[0] != 0
    assert sorted(content(tmp_path / "new")) == ["config.py", "iter_100.pth"]


def test_overwrite_does_not_touch_a_folder_of_other_things(train_tool, write_config, engine, tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "holiday.png").write_bytes(b"x")
    for options in ([], ["--overwrite"]):
        result = train_tool(write_config(), "--work-dir", folder, *options)
        assert_refused(result, f"{folder}: holds files that are no training's; choose another --work-dir")
    assert content(folder) == {"holiday.png": b"x"} and not engine


def test_the_work_folder_is_a_file(train_tool, write_config, tmp_path):
    (tmp_path / "file").write_text("x")
    result = train_tool(write_config(), "--work-dir", tmp_path / "file")
    assert_refused(result, f"{tmp_path}/file: --work-dir names a file; name a folder")


def test_resume_of_nothing(train_tool, write_config, tmp_path):
    result = train_tool(write_config(), "--work-dir", tmp_path / "new", "--resume")
    assert_refused(result, f"{tmp_path}/new: --resume: nothing to continue there; leave --resume out to start afresh")
    assert not (tmp_path / "new").exists()


def test_resume_without_a_checkpoint(train_tool, write_config, old_training):
    result = train_tool(write_config(), "--work-dir", old_training, "--resume")
    assert_refused(result, f"{old_training}: --resume: no checkpoint to continue from; start afresh with --overwrite")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pretrained", "none.pth"], "none.pth: --pretrained: no such file"),
        (
            ["--pretrained", __file__, "--resume"],
            "--pretrained and --resume exclude each other: a resumed training has",
        ),
        (["--overwrite", "--resume"], "--overwrite and --resume exclude each other: one discards the training, the"),
        (["--unsafe-load"], "--unsafe-load: is about the file of --pretrained; give that too, or leave it out"),
        (["--cfg-options", "seeed=3"], "tiny.py: --cfg-options seeed: the config has no 'seeed'; it has"),
        (["--cfg-options", "seed"], "--cfg-options seed: expected KEY=VALUE"),
        (
            ["--cfg-options", "data_root=nowhere"],
            "nowhere: not a data folder (it has no dataset.json); run tools/prepare_data.py",
        ),
    ],
)
def test_bad_options_change_nothing(train_tool, write_config, engine, old_training, options, message):
    before = content(old_training)
    options = options if "--resume" in options else ["--overwrite", *options]
    assert_refused(train_tool(write_config(), "--work-dir", old_training, *options), message)
    assert content(old_training) == before and not engine


@pytest.mark.skipif(torch.cuda.is_available(), reason="only machines without CUDA refuse")
def test_amp_without_cuda_keeps_the_old_training(train_tool, write_config, engine, old_training):
    before = content(old_training)
    result = train_tool(write_config(), "--work-dir", old_training, "--overwrite", "--amp")
    assert_refused(result, "--amp: mixed precision needs a CUDA device; leave the option out on a CPU")
    assert content(old_training) == before and not engine


def test_only_the_first_process_prepares_the_folder(train_tool, write_config, old_training, monkeypatch):
    files = []

    def train(config, work_dir, **options):
        files.append(sorted(path.name for path in work_dir.iterdir()))
        return dict(best_score=None, best_checkpoint=work_dir / "best.pth")

    monkeypatch.setattr("cellseg.training.yolox_engine.train", train)
    config = write_config("engine = 'yolox'")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        assert train_tool(config, "--work-dir", old_training, "--launcher", "pytorch", "--overwrite")[0] == 0
    assert files == [["config.py", "curves.csv"], ["config.py"]]


@pytest.mark.parametrize(("launcher", "starter"), [("pytorch", "torchrun --nproc_per_node GPUS"), ("slurm", "srun")])
def test_a_launcher_that_was_not_used(train_tool, write_config, old_training, monkeypatch, launcher, starter):
    before = content(old_training)
    for variable in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(variable, raising=False)
    config = write_config("engine = 'yolox'")
    result = train_tool(config, "--work-dir", old_training, "--overwrite", "--launcher", launcher)
    assert_refused(result, f"--launcher {launcher}: ")
    assert f" is not set; start the training with {starter}" in result[2]
    assert content(old_training) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="only machines without CUDA refuse")
@pytest.mark.parametrize("launcher", ["pytorch", "slurm"])
def test_several_processes_need_cuda(train_tool, write_config, engine, old_training, launcher):
    before = content(old_training)
    result = train_tool(write_config(), "--work-dir", old_training, "--overwrite", "--launcher", launcher)
    assert_refused(result, f"--launcher {launcher}: needs CUDA devices; leave the option out on a CPU")
    assert content(old_training) == before and not engine


def test_a_full_gpu_is_one_line(train_tool, write_config, monkeypatch, tmp_path):
    def train(*arguments, **options):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("cellseg.training.mmengine_engine.train", train)
    result = train_tool(write_config(), "--work-dir", tmp_path / "w")
    assert_refused(result, "the memory of the GPU is too small for this config; lower its batch size or view")


def test_every_engine_is_dispatched_to(write_config, monkeypatch, tmp_path):
    called = []
    for name in ("mmengine", "yolox"):
        monkeypatch.setattr(
            f"cellseg.training.{name}_engine.train", lambda *args, engine=name, **options: called.append(engine) or {}
        )
    for name in ("mmengine", "yolox"):
        result = door.train(write_config(f"engine = '{name}'"), tmp_path / name)
        assert result == dict(work_dir=tmp_path / name)
    assert called == ["mmengine", "yolox"]


def test_help_shows_an_example_and_is_quick_to_import():
    command = [sys.executable, "-X", "importtime", str(PROJECT / "tools" / "train.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0
    assert "example:\n  python tools/train.py configs/" in done.stdout
    assert "torch" not in {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
