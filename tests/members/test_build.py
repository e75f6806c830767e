"""Members from the entries of an ensemble config, and entries that cannot be used."""

import pytest
import torch

from cellseg.errors import InputError, MissingFileError
from cellseg.members import build_member
from cellseg.members.mask_rcnn import MaskRCNNMember
from cellseg.members.upernet import UPerNetMember


@pytest.fixture(scope="module")
def work_dirs(make_work_dir):
    return {name: make_work_dir(name) for name in ("mask_rcnn", "upernet")}


@pytest.mark.parametrize(("kind", "member_class"), [("mask_rcnn", MaskRCNNMember), ("upernet", UPerNetMember)])
def test_a_work_folder_is_enough(work_dirs, kind, member_class):
    member = build_member(dict(type=kind, work_dir=str(work_dirs[kind])))
    assert type(member) is member_class
    assert (member.name, member.class_names, member.proposes) == (kind, ("disc", "bar"), True)
    assert not member.model.training


def test_files_and_options_can_be_named(work_dirs):
    folder = work_dirs["mask_rcnn"]
    member = build_member(
        dict(
            type="mask_rcnn", name="first", config=folder / "config.py", checkpoint=folder / "best.pth", score_floor=0.2
        )
    )
    assert member.name == "first" and member.score_floor == 0.2


def test_the_identity_changes_with_whatever_changes_the_answers(work_dirs, make_work_dir):
    for kind, option in (("mask_rcnn", dict(mask_margin=0.1)), ("upernet", dict(seed_threshold=0.6))):
        spec = dict(type=kind, work_dir=str(work_dirs[kind]))
        first = build_member(spec).identity()
        assert build_member(spec).identity() == first
        assert build_member(spec | option).identity() != first
        newer = build_member(spec)
        newer.answers_version += 1
        assert newer.identity() != first
        other = make_work_dir(kind, magnification=1.5)
        assert build_member(spec | dict(work_dir=str(other))).identity() != first


def copy(folder, target, weights=None, config=None):
    target.mkdir()
    (target / "config.py").write_text(config if config is not None else (folder / "config.py").read_text())
    if weights is None:
        (target / "best.pth").write_bytes((folder / "best.pth").read_bytes())
    else:
        torch.save(weights, target / "best.pth")
    return target


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            dict(work_dir="x"),
            "type None is none of ['feature_fusion', 'mask_rcnn', 'upernet', 'upernet_crops', 'yolox']",
        ),
        (
            dict(type="cellpose", work_dir="x"),
            "type 'cellpose' is none of ['feature_fusion', 'mask_rcnn', 'upernet', 'upernet_crops', 'yolox']",
        ),
        (
            dict(type="upernet"),
            "member 'upernet': give work_dir, or config and checkpoint (missing: ['config', 'checkpoint'])",
        ),
        (
            dict(type="upernet", name="u", config="c.py"),
            "member 'u': give work_dir, or config and checkpoint (missing: ['checkpoint'])",
        ),
        (dict(type="mask_rcnn", work_dir="x", device="gpu"), "device 'gpu': expected cpu, cuda or cuda:N"),
        (dict(type="mask_rcnn", work_dir="x", device="cuda:99"), "device 'cuda:99': there is no such CUDA device"),
    ],
)
def test_bad_entries(spec, message):
    with pytest.raises(InputError) as error:
        build_member(spec)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("kind", "option", "known"),
    [
        (
            "mask_rcnn",
            "score_flor",
            "checkpoint, config, device, mask_margin, name, score_floor, type, unsafe_load, views, work_dir",
        ),
        (
            "upernet",
            "mirrors",
            "checkpoint, config, device, foreground_threshold, least_seed, name, seed_blur, seed_threshold, type, "
            "unsafe_load, views, work_dir",
        ),
    ],
)
def test_an_unknown_option_is_named_with_the_known_ones(work_dirs, kind, option, known):
    with pytest.raises(InputError) as error:
        build_member(dict(type=kind, work_dir=str(work_dirs[kind])) | {option: 4})
    assert str(error.value) == f"member '{kind}': unknown option '{option}'; {kind} has {known}"


@pytest.mark.parametrize(
    ("file", "message"), [("config.py", "no such config file"), ("best.pth", "no such checkpoint")]
)
def test_a_missing_file_is_named(work_dirs, tmp_path, file, message):
    folder = copy(work_dirs["upernet"], tmp_path / "w")
    (folder / file).unlink()
    with pytest.raises(MissingFileError, match=f"{folder}/{file}: {message}"):
        build_member(dict(type="upernet", work_dir=str(folder)))


@pytest.mark.parametrize(
    ("kind", "needed", "given"), [("mask_rcnn", "mmdet", "upernet"), ("upernet", "mmseg", "mask_rcnn")]
)
def test_the_training_of_another_kind(work_dirs, kind, needed, given):
    with pytest.raises(InputError) as error:
        build_member(dict(type=kind, work_dir=str(work_dirs[given])))
    assert str(error.value).startswith(
        f"{work_dirs[given]}/config.py: member '{kind}' needs a config with default_scope = '{needed}', this one has"
    )


def test_a_checkpoint_of_another_network(work_dirs, tmp_path):
    folder = work_dirs["upernet"]
    spec = dict(type="upernet", config=folder / "config.py", checkpoint=work_dirs["mask_rcnn"] / "best.pth")
    with pytest.raises(InputError) as error:
        build_member(spec)
    expected = f"{work_dirs['mask_rcnn']}/best.pth: does not fit the network of {folder}/config.py: "
    assert str(error.value).startswith(expected) and "\n" not in str(error.value)
    three = torch.load(folder / "best.pth", weights_only=True)
    three["state_dict"]["decode_head.conv_seg.bias"] = torch.zeros(5)
    other = copy(folder, tmp_path / "w", weights=three)
    with pytest.raises(InputError, match="decode_head.conv_seg.bias"):
        build_member(dict(type="upernet", work_dir=str(other)))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"model": {}}, "no state_dict in it; give a best.pth that tools/train.py wrote"),
        ([1, 2], "no state_dict in it; give a best.pth that tools/train.py wrote"),
        ({"state_dict": torch.nn.Linear(1, 1)}, "refused, because it holds more than weights, numbers and text"),
    ],
)
def test_files_that_are_no_checkpoints(work_dirs, tmp_path, weights, message):
    folder = copy(work_dirs["upernet"], tmp_path / "w", weights=weights)
    with pytest.raises(InputError) as error:
        build_member(dict(type="upernet", work_dir=str(folder)))
    assert str(error.value).startswith(f"{folder}/best.pth: ") and message in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class_names = ['disc', 'bar']", "", "no model or no class_names in it"),
        ("'type': 'UPerHead'", "'type': 'UPperHead'", "UPperHead"),
    ],
)
def test_a_config_that_describes_no_network(work_dirs, tmp_path, old, new, message):
    text = (work_dirs["upernet"] / "config.py").read_text()
    assert old in text
    folder = copy(work_dirs["upernet"], tmp_path / "w", config=text.replace(old, new))
    with pytest.raises(InputError) as error:
        build_member(dict(type="upernet", work_dir=str(folder)))
    assert str(error.value).startswith(f"{folder}/config.py: ") and message in str(error.value)
