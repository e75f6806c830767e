"""tools/ensemble_infer.py with members whose finished instances are matched."""

import csv
import json

import pytest

from cellseg.io.submission import read_predictions
from cellseg.structures import Instances

MATCH = """
data_root = "data/blobs"
fold = 0
members = [
    dict(type="blob", name="sharp", missed=0.4, seed=1, work_dir="x", class_names=("a_round", "b_long")),
    dict(type="blob", name="shifted", shift=1, missed=0.1, seed=2, work_dir="x", class_names=("a_round", "b_long")),
    dict(type="blob", name="dim", level=140.0, proposes=False, work_dir="x", class_names=("a_round", "b_long")),
]
fusion = dict(method="wbf", iou_threshold=0.5)
settings = dict(mask_threshold=0.55, score_threshold=0.2)
combine = "match"
"""


DETECTORS = MATCH.replace("proposes=False", "proposes=True, missed=0.7")


@pytest.fixture
def infer(blob_project):
    def call(*arguments, config=DETECTORS):
        (blob_project.root / "ensemble.py").write_text(config)
        return blob_project.call("ensemble_infer", "ensemble.py", "data/blobs:test", *arguments)

    return call


def cells(folder) -> int:
    with open(folder / "instances.csv", newline="") as file:
        return len(list(csv.DictReader(file)))


def test_rules_decide_how_many_cells_come_out(blob_project, infer):
    counts = {}
    for rule in ("any", "majority", "all"):
        code, out, err = infer("--out", rule, config=f'{DETECTORS}matching = dict(rule="{rule}")\n')
        assert code == 0 and "instances in 4 images" in out, err
        counts[rule] = cells(blob_project.root / rule)
    assert counts["any"] > counts["majority"] > counts["all"] > 0


def test_what_comes_out_of_a_matching_run(blob_project, infer):
    assert infer("--out", "out")[0] == 0
    run = json.loads((blob_project.root / "out/run.json").read_text())
    assert run["combine"] == "match" and list(run["settings"]["alone"]) == ["dim", "sharp", "shifted"]
    assert run["settings"]["matching"]["weights"] == dict(sharp=1, shifted=1, dim=1)
    stored = [json.loads(path.read_text()) for path in (blob_project.root / "out/instances").iterdir()]
    for content in stored:
        content.pop("source")
        assert Instances.from_dict(content).uncertainty is not None
    sizes = {path.stem: (96, 128) for path in (blob_project.root / "out/instances").iterdir()}
    assert sum(len(image.masks) for image in read_predictions("out/submission.csv", sizes).values()) > 10
    # The same command continues; another way to combine is another run.
    assert "(4 were there already)" in infer("--out", "out")[1]
    code, _, err = infer("--out", "out", "--cfg-options", "combine=vote")
    assert code == 2 and "holds a run with other settings (different: combine, " in err


def test_some_members_and_tuned_options(blob_project, infer):
    assert infer("--out", "all")[0] == 0
    assert infer("--out", "two", "--members", "sharp", "shifted")[0] == 0
    settings = {"matching": {"rule": "any", "weights": {"dim": 0, "shifted": 1}}, "global": {"score_threshold": 0.2}}
    content = {"format": 1, "members": ["sharp", "shifted", "dim"], "class_names": ["a_round", "b_long"], **settings}
    (blob_project.root / "weights.json").write_text(json.dumps(content))
    blob_project.blobs.BlobMember.encoded = 0
    assert infer("--out", "tuned", "--weights", "weights.json")[0] == 0
    assert blob_project.blobs.BlobMember.encoded == 8  # two members, four images
    assert cells(blob_project.root / "tuned") > cells(blob_project.root / "two") > 0


def test_members_without_boxes_are_refused(blob_project, infer):
    code, _, err = infer("--out", "out", config=MATCH)
    assert code == 2 and "member dim: proposes no boxes, so it has no instances of its own to match" in err
    assert not (blob_project.root / "out").exists()
    assert infer("--out", "out", "--members", "sharp", "shifted", config=MATCH)[0] == 0
