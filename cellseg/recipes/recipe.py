"""Recipes: which networks to train and which ensembles to tune and compare, for all folds and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError
from cellseg.recipes.steps import ROOT, Step
from cellseg.training.config import read_config

_KEYS = ("data_root", "folds", "seeds", "trainings", "ensembles")
_TRAINING_KEYS = ("config", "options", "combines")
_ENSEMBLE_KEYS = ("config", "members", "options", "budget", "cross_validate", "report", "margins")


@dataclass(frozen=True)
class Training:
    """A network to train.

    Attributes:
        config: for ``tools/train.py``.
        options: its ``--cfg-options``, without data, fold and seed.
        combines: for a feature fusion, the ensemble whose members it reads; None for all others.
    """

    config: str
    options: Mapping[str, Any]
    combines: str | None


@dataclass(frozen=True)
class Ensemble:
    """An ensemble to tune and compare.

    Attributes:
        config: for ``tools/tune_ensemble.py`` and ``tools/compare.py``.
        members: the trainings that are its members, in the order of the config.
        options: its ``--cfg-options``, without data, fold and work folders.
        budget: candidates to score; 0: it is neither tuned nor compared, only there for a feature fusion of it.
        cross_validate: parts for the cross-validation of the tuning; 0: none.
        report: whether tuning writes its report.
        margins: of the windows, tried beside that of the config.
    """

    config: str
    members: tuple[str, ...]
    options: Mapping[str, Any]
    budget: int
    cross_validate: int
    report: bool
    margins: tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """A recipe as read from its file.

    Attributes:
        data_root: the data folder.
        folds, seeds: all of these are run with one another.
        trainings, ensembles: by name. Those listed first begin first.
    """

    data_root: str
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    trainings: Mapping[str, Training]
    ensembles: Mapping[str, Ensemble]

    @property
    def compared(self) -> dict[str, Ensemble]:
        """The ensembles that are tuned and compared."""
        return {name: ensemble for name, ensemble in self.ensembles.items() if ensemble.budget}


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe. It is Python and gets executed: open only files that you trust.

    Raises:
        MissingFileError: there is no such file.
        InputError: a key is missing, unknown or of the wrong form; names file and key.
    """
    content = read_config(path).to_dict()
    _check_keys(content, _KEYS, _KEYS, str(path))
    if not isinstance(content["data_root"], str):
        raise InputError(f"{path}: data_root: expected a folder, found {content['data_root']!r}")
    trainings = {
        name: _training(spec, f"{path}: trainings.{name}") for name, spec in _dict(content, "trainings", path).items()
    }
    ensembles = {
        name: _ensemble(spec, f"{path}: ensembles.{name}") for name, spec in _dict(content, "ensembles", path).items()
    }
    if not any(ensemble.budget for ensemble in ensembles.values()):
        raise InputError(f"{path}: ensembles: each has the budget 0; nothing would be compared")
    for name, training in trainings.items():
        if training.combines is not None and training.combines not in ensembles:
            raise InputError(
                f"{path}: trainings.{name}.combines: {training.combines!r} is none of the ensembles {sorted(ensembles)}"
            )
    for name, ensemble in ensembles.items():
        for member in ensemble.members:
            if member not in trainings:
                raise InputError(
                    f"{path}: ensembles.{name}.members: {member!r} is none of the trainings {sorted(trainings)}"
                )
    return Recipe(
        content["data_root"],
        _numbers(content["folds"], f"{path}: folds"),
        _numbers(content["seeds"], f"{path}: seeds"),
        trainings,
        ensembles,
    )


def with_runs(
    recipe: Recipe,
    data_root: str | None = None,
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
) -> Recipe:
    """The same recipe with other data, folds or seeds; None keeps the recipe's own.

    Raises:
        InputError: a number is negative or comes twice.
    """
    return replace(
        recipe,
        data_root=recipe.data_root if data_root is None else data_root,
        folds=recipe.folds if folds is None else _numbers(list(folds), "--folds"),
        seeds=recipe.seeds if seeds is None else _numbers(list(seeds), "--seeds"),
    )


def check_data(recipe: Recipe) -> None:
    """Say at once, and not in the log of a step, what is wrong with the data of a recipe.

    Raises:
        MissingFileError: its data folder is none.
        InputError: the folder has no such fold, or a fold has no test split.
    """
    folder = DataFolder(recipe.data_root)
    for fold in recipe.folds:
        folder.split_file(fold, "test")


def recipe_steps(recipe: Recipe, out: str | Path, device: str | None = None, amp: bool = False) -> list[Step]:
    """The commands of a recipe.

    For each fold and seed: the trainings, then tuning and comparison of each ensemble, in ``OUT/foldF_seedS``; at the
    end the pooled comparisons of each ensemble in ``OUT/NAME``, and, of several, all ensembles beside each other in
    ``OUT/ensembles``.

    Args:
        recipe: what to do.
        out: folder for everything.
        device: of the members in tuning and comparison; None: as the ensembles' configs say.
        amp: whether to train with mixed precision.
    """
    extra = _Extra(("--amp",) if amp else (), () if device is None else ("--device", device))
    runs = [_Run(recipe, fold, seed, Path(out), extra) for seed in recipe.seeds for fold in recipe.folds]
    # One run is finished before the next one gets the cores: its tables are there early.
    steps = [step for run in runs for step in (*run.trainings(), *run.ensembles())]
    comparisons = {
        name: {run.step_name("compare", name): f"{run.ensemble_dir(name)}/comparison/comparison.json" for run in runs}
        for name in recipe.compared
    }
    for name, files in comparisons.items():
        command = ("pool_comparisons.py", *files.values(), "--out", f"{out}/{name}")
        steps.append(Step(f"pool_{name}", f"{name}: all folds and seeds", command, tuple(files)))
    if len(comparisons) > 1:
        named = [f"{name}={file}" for name, files in comparisons.items() for file in files.values()]
        command = ("pool_comparisons.py", "--ensembles", *named, "--out", f"{out}/ensembles")
        needs = tuple(step for files in comparisons.values() for step in files)
        steps.append(Step("pool_ensembles", "the ensembles beside each other", command, needs))
    return steps


@dataclass(frozen=True)
class _Extra:
    """Arguments for all trainings, and for all commands that run ensembles."""

    train: tuple[str, ...]
    ensemble: tuple[str, ...]


class _Run:
    """The steps of one fold with one seed."""

    def __init__(self, recipe: Recipe, fold: int, seed: int, out: Path, extra: _Extra):
        self._recipe, self._fold, self._seed, self._extra = recipe, fold, seed, extra
        self._name = f"fold{fold}_seed{seed}"
        self._dir = out / self._name
        self._where = (f"data_root={recipe.data_root}", f"fold={fold}")

    def step_name(self, kind: str, name: str) -> str:
        return f"{self._name}_{kind}_{name}"

    def ensemble_dir(self, name: str) -> Path:
        return self._dir / name

    def trainings(self) -> list[Step]:
        return [self._training(name, training) for name, training in self._recipe.trainings.items()]

    def ensembles(self) -> list[Step]:
        return [step for name, one in self._recipe.compared.items() for step in self._ensemble(name, one)]

    def _training(self, name: str, training: Training) -> Step:
        options = (*self._where, f"seed={self._seed}")
        needs: tuple[str, ...] = ()
        if training.combines is not None:
            ensemble = self._recipe.ensembles[training.combines]
            inputs = [*_pairs(ensemble.options), *self._work_dirs(ensemble)]
            options += (f"ensemble={ensemble.config}", f"ensemble_options={inputs!r}", f"cache={self._dir}/evidence")
            needs = tuple(self.step_name("train", member) for member in ensemble.members)
        work_dir = str(self._dir / name)
        return Step(
            self.step_name("train", name),
            f"training of {name}, fold {self._fold}, seed {self._seed}",
            ("train.py", training.config, "--work-dir", work_dir, "--overwrite", *self._extra.train)
            + ("--cfg-options", *options, *_pairs(training.options)),
            needs,
        )

    def _ensemble(self, name: str, ensemble: Ensemble) -> list[Step]:
        folder = self._dir / name
        weights, cache = str(folder / "weights.json"), ("--cache", str(self._dir / "evidence"))
        options = (*self._extra.ensemble, "--cfg-options", *self._where, *self._work_dirs(ensemble))
        options += _pairs(ensemble.options)
        tune = ("tune_ensemble.py", ensemble.config, "--out", weights, "--budget", str(ensemble.budget))
        tune += ("--seed", str(self._seed), *cache)
        if ensemble.margins:
            tune += ("--margins", *(f"{margin:g}" for margin in ensemble.margins))
        if ensemble.cross_validate:
            tune += ("--cross-validate", str(ensemble.cross_validate))
        if ensemble.report:
            tune += ("--report", str(folder / "tuning"))
        compare = ("compare.py", ensemble.config, "--weights", weights, "--out", str(folder / "comparison"), *cache)
        what = f"{name}, fold {self._fold}, seed {self._seed}"
        tuning = self.step_name("tune", name)
        needs = tuple(self.step_name("train", member) for member in ensemble.members)
        return [
            Step(tuning, f"tuning of {what}", (*tune, *options), needs),
            Step(self.step_name("compare", name), f"comparison of {what}", (*compare, *options), (tuning,)),
        ]

    def _work_dirs(self, ensemble: Ensemble) -> tuple[str, ...]:
        return tuple(f"members.{index}.work_dir={self._dir / name}" for index, name in enumerate(ensemble.members))


def _pairs(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Options as ``KEY=VALUE`` texts."""
    return tuple(f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in options.items())


def _training(spec: Any, place: str) -> Training:
    _check_keys(spec, _TRAINING_KEYS, ("config",), place)
    combines = spec.get("combines")
    if combines is not None and not isinstance(combines, str):
        raise InputError(f"{place}.combines: expected the name of an ensemble, found {combines!r}")
    return Training(_config(spec, place), _options(spec, place), combines)


def _ensemble(spec: Any, place: str) -> Ensemble:
    _check_keys(spec, _ENSEMBLE_KEYS, ("config", "members"), place)
    members = spec["members"]
    if not isinstance(members, list | tuple) or not members or not all(isinstance(name, str) for name in members):
        raise InputError(f"{place}.members: expected a list of trainings, found {members!r}")
    return Ensemble(
        _config(spec, place),
        tuple(members),
        _options(spec, place),
        _count(spec, "budget", 200, place),
        _count(spec, "cross_validate", 0, place),
        bool(spec.get("report", False)),
        _margins(spec.get("margins", ()), f"{place}.margins"),
    )


def _config(spec: Mapping[str, Any], place: str) -> str:
    path = spec["config"]
    if not isinstance(path, str) or not (ROOT / path).is_file():
        raise InputError(f"{place}.config: {path!r}: no such config file; paths begin in the project")
    return path


def _options(spec: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    options = spec.get("options", {})
    if not isinstance(options, Mapping):
        raise InputError(f"{place}.options: expected a dict of --cfg-options, found {options!r}")
    return dict(options)


def _count(spec: Mapping[str, Any], key: str, default: int, place: str) -> int:
    value = spec.get(key, default)
    if type(value) is not int or value < 0:
        raise InputError(f"{place}.{key}: expected a whole number, found {value!r}")
    return value


def _margins(value: Any, place: str) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or not all(type(part) in (int, float) and 0 <= part <= 1 for part in value):
        raise InputError(f"{place}: expected numbers from 0 to 1, found {value!r}")
    return tuple(float(part) for part in value)


def _numbers(value: Any, place: str) -> tuple[int, ...]:
    if (
        not isinstance(value, list | tuple)
        or not value
        or len(set(value)) != len(value)
        or any(type(number) is not int or number < 0 for number in value)
    ):
        raise InputError(f"{place}: expected different whole numbers, at least one, found {value!r}")
    return tuple(value)


def _dict(content: Mapping[str, Any], key: str, path: str | Path) -> Mapping[str, Any]:
    if not isinstance(content[key], Mapping) or not content[key]:
        raise InputError(f"{path}: {key}: expected a dict with at least one entry, found {content[key]!r}")
    return content[key]


def _check_keys(spec: Any, known: Sequence[str], needed: Sequence[str], place: str) -> None:
    if not isinstance(spec, Mapping):
        raise InputError(f"{place}: expected a dict, found {spec!r}")
    for key in spec:
        if key not in known:
            raise InputError(f"{place}: unknown key {key!r}; there are {', '.join(known)}")
    for key in needed:
        if key not in spec:
            raise InputError(f"{place}: {key} is missing")
