"""Recipes are read strictly, and their commands are ones that the tools understand."""

from pathlib import Path

import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.recipes.recipe import load_recipe, recipe_steps, with_runs

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = sorted((PROJECT / "configs" / "recipes").glob("*.py"))

GOOD = """
data_root = "data/mine"
folds = [0, 1]
seeds = [3]
trainings = dict(
    cells=dict(config="configs/mask_rcnn/mask_rcnn_small.py", options={"view": (96, 96), "optim.lr": 0.5}),
    map=dict(config="configs/upernet/upernet_small.py"),
    mixed=dict(config="configs/feature_fusion/small.py", combines="vote"),
)
ensembles = dict(
    vote=dict(
        config="configs/ensemble/small.py", members=["cells", "map"], options={"fusion.one_type": True}, budget=7,
        cross_validate=2, report=True, margins=[0, 0.3],
    ),
    other=dict(config="configs/ensemble/small.py", members=["cells", "mixed"]),
)
"""


@pytest.fixture
def recipe(tmp_path):
    def write(text=GOOD, old="", new=""):
        path = tmp_path / "mine.py"
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return path

    return write


def commands(path, *runs):
    return {step.name: step for step in recipe_steps(with_runs(load_recipe(path), *runs), "out")}


def test_steps_of_a_recipe(recipe):
    steps = commands(recipe())
    assert list(steps)[:7] == [
        *(f"fold0_seed3_train_{name}" for name in ("cells", "map", "mixed")),
        *(f"fold0_seed3_{what}_{name}" for name in ("vote", "other") for what in ("tune", "compare")),
    ]
    assert list(steps)[-3:] == ["pool_vote", "pool_other", "pool_ensembles"] and len(steps) == 17
    training = steps["fold1_seed3_train_cells"]
    assert training.needs == ()
    assert training.command == (
        *("train.py", "configs/mask_rcnn/mask_rcnn_small.py", "--work-dir", "out/fold1_seed3/cells", "--overwrite"),
        *("--cfg-options", "data_root=data/mine", "fold=1", "seed=3", "view=(96, 96)", "optim.lr=0.5"),
    )
    tune, compare = steps["fold1_seed3_tune_vote"], steps["fold1_seed3_compare_vote"]
    assert tune.needs == ("fold1_seed3_train_cells", "fold1_seed3_train_map")
    assert compare.needs == ("fold1_seed3_tune_vote",)
    at = (
        *("--cfg-options", "data_root=data/mine", "fold=1"),
        *("members.0.work_dir=out/fold1_seed3/cells", "members.1.work_dir=out/fold1_seed3/map", "fusion.one_type=True"),
    )
    weights, cache = "out/fold1_seed3/vote/weights.json", ("--cache", "out/fold1_seed3/evidence")
    assert tune.command == (
        *("tune_ensemble.py", "configs/ensemble/small.py", "--out", weights, "--budget", "7", "--seed", "3", *cache),
        *("--margins", "0", "0.3", "--cross-validate", "2", "--report", "out/fold1_seed3/vote/tuning", *at),
    )
    assert compare.command == (
        *("compare.py", "configs/ensemble/small.py", "--weights", weights),
        *("--out", "out/fold1_seed3/vote/comparison", *cache, *at),
    )
    assert "--report" not in steps["fold0_seed3_tune_other"].command


def test_a_feature_fusion_reads_the_members_of_its_ensemble(recipe):
    step = commands(recipe())["fold0_seed3_train_mixed"]
    assert step.needs == ("fold0_seed3_train_cells", "fold0_seed3_train_map")
    options = dict(pair.split("=", 1) for pair in step.command[step.command.index("--cfg-options") + 1 :])
    assert options["ensemble"] == "configs/ensemble/small.py" and options["cache"] == "out/fold0_seed3/evidence"
    assert options["ensemble_options"] == str(
        ["fusion.one_type=True", "members.0.work_dir=out/fold0_seed3/cells", "members.1.work_dir=out/fold0_seed3/map"]
    )


def test_comparisons_are_pooled_in_the_order_of_the_runs(recipe):
    steps = commands(recipe(), "elsewhere", [1, 0], [5, 6])
    files = [f"out/fold{f}_seed{s}/vote/comparison/comparison.json" for s in (5, 6) for f in (1, 0)]
    assert steps["pool_vote"].command == ("pool_comparisons.py", *files, "--out", "out/vote")
    assert len(steps["pool_ensembles"].needs) == 8
    assert steps["pool_ensembles"].command[2] == f"vote={files[0]}"
    assert "data_root=elsewhere" in steps["fold1_seed5_train_map"].command


def test_device_and_mixed_precision_reach_the_commands(recipe):
    steps = recipe_steps(load_recipe(recipe()), "out", "cuda:1", amp=True)
    for step in steps:
        tool, options = step.command[0], step.command
        assert ("--amp" in options) == (tool == "train.py")
        assert ("--device" in options) == (tool in ("tune_ensemble.py", "compare.py"))
        if "--device" in options:
            assert options[options.index("--device") + 1] == "cuda:1"


def test_an_ensemble_without_budget_is_there_for_its_fusion_alone(recipe):
    text = GOOD.replace("budget=7", "budget=0")
    names = list(commands(recipe(text)))
    assert "fold0_seed3_train_mixed" in names and not any("vote" in name for name in names)
    assert [name for name in names if name.startswith("pool")] == ["pool_other"]


def test_one_ensemble_is_pooled_once(recipe):
    text = GOOD.replace('    other=dict(config="configs/ensemble/small.py", members=["cells", "mixed"]),\n', "")
    assert [name for name in commands(recipe(text)) if name.startswith("pool")] == ["pool_vote"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_the_project_are_complete(path):
    recipe = load_recipe(path)
    names = {step.name for step in recipe_steps(recipe, "out")}
    assert all(need in names for step in recipe_steps(recipe, "out") for need in step.needs)
    for ensemble in recipe.ensembles.values():
        from cellseg.ensemble.config import load_ensemble_config

        # The kinds of the trainings are those of the config's members, in order.
        kinds = [spec["type"] for spec in load_ensemble_config(PROJECT / ensemble.config).members]
        configs = [Path(recipe.trainings[name].config).parts[1:] for name in ensemble.members]
        assert len(kinds) == len(configs)
        for kind, (folder, name) in zip(kinds, configs, strict=True):
            assert folder == kind.removesuffix("_crops") and ("crops" in name) == kind.endswith("crops")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('data_root = "data/mine"', "", "data_root is missing"),
        ("seeds = [3]", "seeds = [3]\nsedes = 1", "unknown key 'sedes'"),
        ("seeds = [3]", "seeds = []", "seeds: expected different whole numbers, at least one"),
        ("folds = [0, 1]", "folds = [1, 1]", "folds: expected different whole numbers"),
        ("folds = [0, 1]", "folds = [-1]", "folds: expected different whole numbers"),
        ("configs/upernet/upernet_small.py", "configs/none.py", "trainings.map.config: 'configs/none.py': no such"),
        ('combines="vote"', 'combines="votes"', "trainings.mixed.combines: 'votes' is none of the ensembles"),
        ('"cells", "map"]', '"cells", "maps"]', "ensembles.vote.members: 'maps' is none of the trainings"),
        ("0.3]", "30]", "ensembles.vote.margins: expected numbers from 0 to 1, found [0, 30]"),
        ("budget=7", "budget=-7", "ensembles.vote.budget: expected a whole number, found -7"),
        ("budget=7", "budgets=7", "ensembles.vote: unknown key 'budgets'"),
        ('{"fusion.one_type": True}', "[1]", "ensembles.vote.options: expected a dict"),
        ('members=["cells", "map"]', "members=[]", "ensembles.vote.members: expected a list of trainings"),
    ],
)
def test_mistakes_are_named(recipe, old, new, words):
    path = recipe(GOOD, old, new)
    with pytest.raises(InputError, match=f"^{path}") as caught:
        load_recipe(path)
    assert words in str(caught.value)


def test_something_has_to_be_compared(recipe):
    text = GOOD.replace("budget=7", "budget=0").replace('["cells", "mixed"])', '["cells", "mixed"], budget=0)')
    with pytest.raises(InputError, match="ensembles: each has the budget 0; nothing would be compared"):
        load_recipe(recipe(text))


def test_no_such_recipe(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.py: no such config file"):
        load_recipe(tmp_path / "none.py")


def test_runs_given_on_the_command_line_are_checked(recipe):
    with pytest.raises(InputError, match="--folds: expected different whole numbers"):
        with_runs(load_recipe(recipe()), None, [0, 0])
