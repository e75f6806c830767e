"""tools/test.py as a user calls it: scores of untrained networks, and what it refuses."""

import argparse
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from scipy import ndimage

from cellseg.io.files import file_hash
from cellseg.models.yolox.inference import Detections
from cellseg.models.yolox.network import build_network
from cellseg.models.yolox.settings import read_settings
from cellseg.openmmlab import build_model
from cellseg.training.config import load_config, write_config
from cellseg.training.curves import read_curves
from cellseg.training.door import train
from cellseg.training.testing import score_checkpoint

PROJECT = Path(__file__).resolve().parents[2]
UPERNET = PROJECT / "configs" / "upernet" / "upernet_small.py"
MULTIMODAL = PROJECT / "configs" / "multimodal" / "related" / "sinkholes_synthetic.py"
MULTIMODAL_OTHER = PROJECT / "configs" / "multimodal" / "related" / "cough_diagnosis_synthetic.py"


@pytest.fixture(scope="module")
def two_folds(discs, tmp_path_factory):
    """The folder of discs as one of two folds, so that it has a test split: images without cells but for one."""
    root = tmp_path_factory.mktemp("two_folds") / "discs"
    shutil.copytree(discs, root)
    summary = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(summary | dict(folds=2)))
    path = root / "splits" / "fold0" / "test.json"
    content = json.loads(path.read_text())
    content["images"] = content["images"][:3]
    path.write_text(json.dumps(content | dict(annotations=[])))
    return root


@pytest.fixture(scope="module")
def upernet(two_folds, tmp_path_factory):
    """``best.pth`` of an untrained UPerNet for discs and bars."""
    torch.manual_seed(0)
    config = load_config(UPERNET, {"data_root": str(two_folds)})
    weights = build_model(config.model, "mmseg").state_dict()
    path = tmp_path_factory.mktemp("upernet") / "best.pth"
    torch.save({"state_dict": weights, "meta": {"class_names": ["disc", "bar"]}}, path)
    return path


@pytest.fixture
def score_tool(capsys):
    """Runs ``tools/test.py`` in this process; returns exit code, stdout, stderr."""
    spec = importlib.util.spec_from_file_location("tool_test", PROJECT / "tools" / "test.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*arguments):
        capsys.readouterr()
        code = tool.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def multimodal(tmp_path_factory):
    """Work folder of a model of a wave and numbers, after a few steps on generated data."""
    folder = tmp_path_factory.mktemp("multimodal")
    options = {"iterations": 4, "train_cfg.val_interval": 4}
    train(MULTIMODAL, work_dir=folder / "work", options=options)
    return folder / "work"


def test_scores_of_a_multimodal_model(score_tool, multimodal, tmp_path):
    arguments = (multimodal / "config.py", multimodal / "best.pth", "--device", "cpu")
    code, out, err = score_tool(*arguments, "--split", "val", "--json", tmp_path / "scores.json")
    assert (code, err) == (0, "")
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["fold"] is None and f"{content['images']} samples of split 'val'\n" in out
    # What the training logged at its end, which was its best.
    logged = {name: value for step, phase, name, value in read_curves(multimodal / "curves.csv") if phase == "val"}
    shared = content["scores"].keys() & logged.keys()
    assert any(name.endswith("accuracy") for name in shared)
    for name in shared:
        assert content["scores"][name] == pytest.approx(logged[name], abs=1e-5)
    test = score_checkpoint(*arguments[:2], "test", device="cpu")
    assert test.split == "test" and test.scores != content["scores"]


def test_data_that_a_multimodal_model_was_not_trained_on(score_tool, multimodal):
    code, _, err = score_tool(MULTIMODAL_OTHER, multimodal / "best.pth", "--device", "cpu")
    assert code == 2 and "best.pth: the data is not what the model was trained on (different: " in err


def test_scores_of_a_class_map(score_tool, two_folds, upernet, tmp_path):
    json_file = tmp_path / "out" / "scores.json"
    options = ["--split", "val", "--device", "cpu", "--json", json_file, "--cfg-options", f"data_root={two_folds}"]
    code, out, err = score_tool(UPERNET, upernet, *options)
    assert (code, err) == (0, "")
    content = json.loads(json_file.read_text())
    lines = out.splitlines()
    assert lines[0] == "4 images of split 'val', fold 0"
    assert lines[1:] == [f"{name:<16}{content['scores'][name]:.4f}" for name in ("foreground_iou", "mean_iou")]
    assert (content["images"], content["split"], content["fold"]) == (4, "val", 0)
    assert content["provenance"]["checkpoint"] == file_hash(upernet) and content["provenance"]["versions"]["torch"]

    # Its map by hand: pixels that it takes for a cell or a rim, against those that are.
    from mmengine.runner import Runner

    config = load_config(UPERNET, {"data_root": str(two_folds)})
    model = build_model(config.model, "mmseg").eval()
    model.load_state_dict(torch.load(upernet, weights_only=True)["state_dict"])
    both = either = 0
    for batch in Runner.build_dataloader(config.val_dataloader):
        with torch.no_grad():
            (sample,) = model.test_step(batch)
        found, true = sample.pred_sem_seg.data > 0, sample.gt_sem_seg.data > 0
        both, either = both + (found & true).sum(), either + (found | true).sum()
    assert content["scores"]["foreground_iou"] == pytest.approx(float(both / either)) and both > 0


def test_boxes_are_those_of_the_given_weights_and_images(discs, tmp_path, monkeypatch):
    """An untrained network finds nothing: what is bright stands for its detections."""
    exp = dict(width=0.125, strides=(4, 8, 16), image_scale=1.0, input_size=(96, 96), batch_size=4, max_epoch=3)
    exp |= dict(warmup_epochs=1, no_aug_epochs=1, basic_lr_per_img=5e-4)
    Config(dict(engine="yolox", data_root=str(discs), fold=0, exp=exp)).dump(tmp_path / "config.py")
    weights = build_network(read_settings(exp), 2).state_dict()
    torch.save({"model": weights}, tmp_path / "latest_ckpt.pth")
    networks = []

    def find_bright(network, image, magnification, score_floor, nms_threshold):
        networks.append(network)
        parts = ndimage.find_objects(ndimage.label(image[:, :, 0] > 105)[0])
        boxes = torch.tensor([[x.start, y.start, x.stop, y.stop] for y, x in parts if x.stop - x.start > 4]).float()
        return Detections(boxes, torch.ones(len(boxes)), (boxes[:, 3] - boxes[:, 1] < 10).long())

    monkeypatch.setattr("cellseg.models.yolox.evaluator.detect", find_bright)
    result = score_checkpoint(tmp_path / "config.py", tmp_path / "latest_ckpt.pth", "val", device="cpu")
    assert result.scores["bbox_ap50"] > 0.9 and result.scores["bbox_ap"] > 0.7
    assert result.note.startswith("AP by type: disc ") and len(networks) == result.images == 4
    assert all(torch.equal(value, weights[name]) for name, value in networks[0].state_dict().items())
    assert not networks[0].training


def test_another_folder_reaches_the_written_out_config(two_folds, upernet, discs, tmp_path):
    bound = load_config(UPERNET, {"data_root": str(discs)})
    write_config(bound, tmp_path / "config.py")
    assert score_checkpoint(tmp_path / "config.py", upernet, "val").images == 4
    options = {"data_root": str(two_folds)}
    result = score_checkpoint(tmp_path / "config.py", upernet, "test", options)
    assert (result.images, result.split) == (3, "test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"meta": {}}, "best.pth: no weights in it; give the best.pth that tools/train.py wrote"),
        ([torch.rand(2)], "best.pth: no weights in it; give"),
        (
            {"state_dict": {}, "meta": {"class_names": ["a", "b"]}},
            "best.pth: knows the types ['a', 'b'], {root} has ['disc', 'bar']; score it on data of its own types",
        ),
        ({"state_dict": {"x": torch.rand(2)}}, "best.pth: does not fit the network of"),
        (
            {"state_dict": {}, "author": argparse.Namespace()},
            "best.pth: refused, because it holds more than weights, numbers and text",
        ),
    ],
)
def test_checkpoints_that_do_not_fit(score_tool, two_folds, tmp_path, content, message):
    torch.save(content, tmp_path / "best.pth")
    code, out, err = score_tool(UPERNET, tmp_path / "best.pth", "--cfg-options", f"data_root={two_folds}")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert message.format(root=two_folds) in err


def test_unsafe_load_reads_more_than_weights(score_tool, two_folds, upernet, tmp_path):
    content = torch.load(upernet, weights_only=True)
    torch.save(content | {"author": argparse.Namespace()}, tmp_path / "best.pth")
    options = ["--split", "val", "--unsafe-load", "--cfg-options", f"data_root={two_folds}"]
    assert score_tool(UPERNET, tmp_path / "best.pth", *options)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.py", "{best}"], "none.py: no such config file"),
        (["{config}", "none.pth"], "none.pth: no such checkpoint"),
        (["{config}", "{best}", "--device", "gpu"], "--device gpu: expected cpu, cuda or cuda:N"),
        (["{config}", "{best}", "--device", "cuda:99"], "--device cuda:99: there is no such CUDA device; use cpu"),
        (["{config}", "{best}", "--cfg-options", "fold=7", "data_root={root}"], "fold 7 does not exist"),
        (["{config}", "{best}", "--cfg-options", "data_root={discs}"], "prepared with --folds 1, so it has no test"),
        (
            ["{config}", "{best}", "--cfg-options", "data_root={root}", "val_evaluator=None"],
            "upernet_small.py: has no val_dataloader and val_evaluator to score with",
        ),
        (
            ["{config}", "{best}", "--cfg-options", "data_root={root}", "val_evaluator.type=ClassMapp"],
            "upernet_small.py: the training cannot be built from it (KeyError: 'ClassMapp is not in the",
        ),
    ],
)
def test_bad_input_is_one_line(score_tool, two_folds, discs, upernet, tmp_path, arguments, message):
    places = dict(config=UPERNET, best=upernet, root=two_folds, discs=discs)
    arguments = [argument.format(**places) for argument in arguments]
    if "--cfg-options" not in arguments:
        arguments += ["--cfg-options", f"data_root={two_folds}"]
    code, out, err = score_tool(*arguments, "--json", tmp_path / "scores.json")
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1, err
    assert not (tmp_path / "scores.json").exists()
