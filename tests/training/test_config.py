"""Training configs: options, placeholders, and what is wrong with them."""

import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.training.config import load_config, parse_options, read_config
from cellseg.training.config import write_config as write_bound

PLACES = """
seed = 3
view = (64, 96)
nothing = None
numbers = dict(classes="{num_classes}", map="{num_map_classes}", fold="{fold}", seed="{seed}", nothing="{nothing}")
lists = dict(names="{class_names}", mean="{mean}", std="{std}", view="{view}", weights="{map_class_weights}")
files = dict(train="{train_json}", val="{val_json}", images="{image_root}", root="{data_root}")
nested = [dict(items=("{seed}", ["{num_classes}"]))]
said = "{num_classes} types, seed {seed}, {class_names}; {} stays"
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1", -1),
        ("1e-3", 0.001),
        ("0.5", 0.5),
        ("true", True),
        ("False", False),
        ("None", None),
        ("[1, 2]", [1, 2]),
        ("(64, 96)", (64, 96)),
        ("{'a': 1}", {"a": 1}),
        ("'3'", "3"),
        ("data/demo", "data/demo"),
        ("[96", "[96"),
        ("", ""),
        ("a=b", "a=b"),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_values_of_options_are_typed(text, value):
    found = parse_options([f"model.depth={text}", "other=1"])
    assert found == {"model.depth": value, "other": 1}
    assert type(found["model.depth"]) is type(value)


@pytest.mark.parametrize("pair", ["depth", "=3", ""])
def test_options_that_are_no_pairs_are_refused(pair):
    with pytest.raises(InputError) as error:
        parse_options([pair])
    assert str(error.value) == f"--cfg-options {pair}: expected KEY=VALUE"


def test_placeholders_take_the_type_of_what_they_stand_for(write_config, discs):
    config = load_config(write_config(PLACES))
    assert config.numbers == dict(classes=2, map=4, fold=0, seed=3, nothing=None)
    assert config.lists == dict(
        names=["disc", "bar"], mean=[70.0] * 3, std=[40.0] * 3, view=(64, 96), weights=[1.0, 1.0, 1.0, 1.0]
    )
    split = discs / "splits" / "fold0"
    assert config.files == dict(
        train=str(split / "train.json"), val=str(split / "val.json"), images=str(discs / "images"), root=str(discs)
    )
    assert config.nested == [dict(items=(3, [2]))]
    assert config.said == "2 types, seed 3, ['disc', 'bar']; {} stays"


def test_options_reach_every_place_that_repeats_them(write_config):
    config = load_config(write_config(PLACES), {"seed": 8, "view": (32, 32), "lists.std": [1.0]})
    assert config.numbers.seed == 8 and config.nested[0]["items"][0] == 8
    assert config.lists.view == (32, 32) and config.lists.std == [1.0]


def test_options_stay_as_they_are(write_config):
    options = {"lists": {"_delete_": True, "std": [1.0]}}
    for _ in range(2):
        assert load_config(write_config(PLACES), options).lists == dict(std=[1.0])
    assert options == {"lists": {"_delete_": True, "std": [1.0]}}


def test_a_training_shorter_than_its_warm_up_is_refused(write_config):
    path = write_config("iterations = 50\nwarm_up = 50")
    with pytest.raises(InputError) as error:
        load_config(path)
    assert str(error.value) == (
        f"{path}: iterations = 50: should be more than warm_up = 50, in which the learning rate rises; give a smaller "
        "warm_up, too"
    )
    assert load_config(path, {"iterations": 51}).iterations == 51


def test_the_weight_of_the_rim_is_that_of_the_last_class(write_config):
    config = load_config(write_config(PLACES + "rim_weight = 5"))
    assert config.lists.weights == [1.0, 1.0, 1.0, 5.0]


def test_an_element_of_a_list_can_be_reached(write_config):
    path = write_config("schedule = [dict(end=5), dict(end=9)]")
    assert load_config(path, {"schedule.1.end": 7}).schedule == [dict(end=5), dict(end=7)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterationss": 3}, "--cfg-options iterationss: the config has no 'iterationss'; it has ['data_root', "),
        ({"modle.depth": 3}, "--cfg-options modle.depth: there is no modle"),
        ({"model.backbone.stem.depth": 3}, "--cfg-options model.backbone.stem.depth: there is no model.backbone"),
        ({"model.blocks.4.x": 3}, "--cfg-options model.blocks.4.x: there is no model.blocks.4"),
        ({"model.blocks": {"first": 3}}, "--cfg-options model.blocks: cannot be put into the config ("),
        ({"model": 3, "model.depth": 3}, "--cfg-options model model.depth: cannot be put into the config ("),
        ({"view.0": 3}, "--cfg-options view.0: view is (64, 64); give its whole value, view=..."),
        ({"model.depth.x": 3}, "--cfg-options model.depth.x: model.depth is 18; give its whole value, model.depth=..."),
        ({"engine": "keras"}, "engine = 'keras' is none of ['mmengine', 'yolox']; a training config names its engine"),
        ({"fold": 1}, "fold 1 does not exist; the folder has folds 0 to 0"),
        ({"fold": "a"}, "fold: expected a whole number, found 'a'"),
        ({"data_root": 3}, "data_root: expected the path of a folder, found 3"),
        ({"seed": "{sed}"}, "unknown placeholder {sed}"),
    ],
)
def test_bad_options_are_refused(write_config, options, message):
    path = write_config("seed = 0\nview = (64, 64)\nmodel = dict(depth=18, blocks=[dict(x=1)])")
    with pytest.raises(InputError) as error:
        load_config(path, options)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ") or "fold 1" in message


def test_a_data_folder_that_does_not_exist(write_config):
    with pytest.raises(MissingFileError, match="data/nowhere.*tools/prepare_data.py"):
        load_config(write_config(), {"data_root": "data/nowhere"})


def test_a_config_without_data_root(tmp_path):
    (tmp_path / "bare.py").write_text("engine = 'mmengine'\n")
    with pytest.raises(InputError, match="bare.py: the config has no data_root, the folder that tools/prepare_data.py"):
        load_config(tmp_path / "bare.py")


def test_a_config_that_does_not_exist(tmp_path):
    with pytest.raises(MissingFileError) as error:
        read_config(tmp_path / "none.py")
    assert str(error.value) == f"{tmp_path / 'none.py'}: no such config file"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = (", "SyntaxError"),
        ("a = 1 / 0", "ZeroDivisionError: division by zero"),
        ("_base_ = ['./missing.py']", "FileNotFoundError"),
        ("custom_imports = dict(imports=['no_such_module_here'], allow_failed_imports=False)", "ImportError"),
    ],
)
def test_a_config_that_cannot_be_read(tmp_path, text, reason):
    path = tmp_path / "broken.py"
    path.write_text(text + "\n")
    with pytest.raises(InputError) as error:
        read_config(path)
    assert str(error.value).startswith(f"{path}: cannot be read as a config ({reason}")


def test_a_bound_config_is_written_as_one_file(write_config, tmp_path):
    config = load_config(write_config(PLACES), {"seed": 8})
    write_bound(config, tmp_path / "out" / "config.py")
    assert read_config(tmp_path / "out" / "config.py").to_dict() == config.to_dict()


MULTIMODAL = """
engine = "mmengine"
reader = "table"
data_root = None
fold = 0
seed = 3
bound = None
source = dict(reader="{reader}", data_root="{data_root}", seed="{seed}", options=dict(images=None))
model = dict(source="{source}", encoders=dict(text=dict(size="{vocabulary_size}", seed="{seed}")), said="of {seed}")
loader = dict(dataset=dict(source="{source}", split="train"))
"""


@pytest.fixture
def write_multimodal(tmp_path):
    def write(text=""):
        path = tmp_path / "multimodal.py"
        path.write_text(MULTIMODAL + text)
        return path

    return write


def test_a_config_with_a_reader_needs_no_prepared_folder(write_multimodal):
    config = load_config(write_multimodal(), {"data_root": "data/nowhere", "seed": 5, "source.options.images": "i"})
    source = dict(reader="table", data_root="data/nowhere", seed=5, options=dict(images="i"))
    assert config.source == source and config.model.source == source and config.loader.dataset.source == source
    # What follows from the data waits for it, in the model alone.
    assert config.model.encoders.text == dict(size="{vocabulary_size}", seed=5) and config.model.said == "of 5"


def test_a_reader_without_data(write_multimodal):
    assert load_config(write_multimodal()).loader.dataset.source.data_root is None


@pytest.mark.parametrize(
    ("text", "placeholder"),
    [
        ("loader = dict(size='{vocabulary_size}')", "{vocabulary_size}"),
        ("source = dict(seed='{sed}')", "{sed}"),
        ("val = dict(classes='{num_classes}')", "{num_classes}"),
        ("bound = '{train_json}'", "{train_json}"),
    ],
)
def test_placeholders_that_nothing_stands_for_are_refused_outside_the_model(write_multimodal, text, placeholder):
    path = write_multimodal(text)
    with pytest.raises(InputError) as error:
        load_config(path)
    assert str(error.value) == f"{path}: unknown placeholder {placeholder}"


def test_a_fold_of_a_multimodal_config_is_a_number_too(write_multimodal):
    with pytest.raises(InputError, match="fold: expected a whole number, found 'a'"):
        load_config(write_multimodal(), {"fold": "a"})


def test_a_written_config_is_the_same_in_the_same_order(tmp_path):
    from mmengine.config import Config

    content = dict(zeta=dict(b=1, a=(2, None, "x" * 200), c=[dict(y=0.5, x=True)]), alpha="it's", beta={"1": 2})
    write_bound(Config(content), tmp_path / "config.py")
    read = Config.fromfile(str(tmp_path / "config.py")).to_dict()
    assert read == content
    assert list(read["zeta"]) == ["b", "a", "c"] and list(read["zeta"]["c"][0]) == ["y", "x"]
