"""Trainings of a comparison: each config with each seed in a folder of its own, what is there is used again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellseg.errors import InputError, MissingFileError


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: of the config.
        seed: of the training.
        config: its file.
        work_dir: where the training goes.
        options: over those of the config.
    """

    name: str
    seed: int
    config: Path
    work_dir: Path
    options: Mapping[str, Any]


def plan_runs(
    configs: Sequence[str | Path],
    seeds: Sequence[int],
    out: str | Path,
    options: Mapping[str, Any],
    data_seed: int = 0,
    alone: bool = False,
) -> list[Run]:
    """Every config with every seed.

    The seed is that of the training alone: data is split, and generated, by ``data_seed``, so that all models are
    tested on the same samples.

    Args:
        configs: their files; the name of a file is that of the row.
        seeds: different whole numbers from 0 on.
        out: trainings go to ``out/runs/NAME/seed-N``.
        options: dotted keys and values, over what the configs say.
        data_seed: see above; ``options`` may say otherwise by ``source.seed``.
        alone: whether each config of several modalities is followed by runs ``NAME_MODALITY_only`` of each of them.

    Raises:
        InputError, MissingFileError: a missing config, two of one name, seeds that cannot be used, or an option
            ``seed``.
    """
    if not configs:
        raise InputError("expected at least one config")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"--seeds: expected different whole numbers from 0 on, found {list(seeds)}")
    if "seed" in options:
        raise InputError(
            "--cfg-options seed: give the seeds of the trainings with --seeds, that of data as source.seed"
        )
    shared = {"source.seed": data_seed, **options}
    rows: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    for config in map(Path, configs):
        if not config.is_file():
            raise MissingFileError(f"{config}: no such config file")
        for name, own in _variants(config, shared, alone):
            if name in rows:
                raise InputError(
                    f"{config}: another config is called {name!r} too; rename one, names are those of the rows"
                )
            rows[name] = (config, own)
    return [
        Run(name, seed, config, Path(out) / "runs" / name / f"seed-{seed}", {**own, "seed": seed})
        for name, (config, own) in rows.items()
        for seed in seeds
    ]


def _variants(config: Path, options: Mapping[str, Any], alone: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and options of the rows of a config."""
    yield config.stem, options
    if alone:
        # Not before: torch and mmengine take seconds to import.
        from cellseg.training.config import load_config

        model = load_config(config, options).get("model", {})
        modalities = list(model.get("modalities") or model.get("encoders", ()))
        if len(modalities) > 1:
            for name in modalities:
                yield f"{config.stem}_{name}_only", {**options, "model.modalities": [name]}


def check_runs(runs: Sequence[Run], split: str = "test") -> None:
    """Refuse runs that could not be trained or compared, before the first one is.

    Args:
        runs: see ``plan_runs``.
        split: that is to be compared.

    Raises:
        InputError: a config that cannot be used or that trains no multimodal model, a folder with another training, or
            data without a sample in the split.
    """
    # Not before: torch and mmengine take seconds to import.
    from cellseg.multimodal.data import load_multimodal_data
    from cellseg.multimodal.training import MODEL_TYPE, model_of_data
    from cellseg.training.config import load_config
    from cellseg.training.mmengine_engine import config_mistakes

    trained = [_is_there(run) and _is_done(run) for run in runs]
    waiting = {run.name for run, done in zip(runs, trained, strict=True) if not done}
    # Data differs between configs, not between seeds.
    for run in {run.name: run for run in runs}.values():
        config = load_config(run.config, run.options)
        parts = config.model.to_dict()
        kind = parts.pop("type", None)
        if kind != MODEL_TYPE:
            raise InputError(f"{run.name}: model.type is {kind!r}; expected {MODEL_TYPE!r}")
        if run.name in waiting:
            try:
                # Whether the parts fit each other and the data. Pretrained weights of a finished run may be gone.
                with config_mistakes(config):
                    model_of_data(parts.pop("source"), parts)
            except InputError as error:
                raise InputError(f"{run.name}: {error}") from None
        data = load_multimodal_data(**config.source)
        try:
            data.records(split)
        except InputError as error:
            raise InputError(f"{error}; or compare on another --split") from None


def train_run(run: Run) -> bool:
    """Train a run, continue it where it was stopped, or leave it alone where it is done.

    Returns:
        Whether it was trained now.

    Raises:
        InputError: as ``check_runs``, and what the training refuses.
        CellsegError: the training fails.
    """
    # Not before: torch and mmengine take seconds to import.
    from cellseg.openmmlab import latest_checkpoint
    from cellseg.training.door import train

    there = _is_there(run)
    if there and _is_done(run):
        return False
    resume = there and latest_checkpoint(run.work_dir) is not None
    train(run.config, run.work_dir, resume=resume, overwrite=there and not resume, options=run.options)
    return True


def _is_done(run: Run) -> bool:
    return (run.work_dir / "best.pth").is_file()


def _is_there(run: Run) -> bool:
    """Whether the folder holds this training, done or not."""
    from cellseg.training.config import load_config, read_config

    config = load_config(run.config, run.options)
    if "reader" not in config:
        raise InputError(f"{run.config}: trains no multimodal model; this command compares these")
    if not run.work_dir.is_dir() or not any(path.name != "config.py" for path in run.work_dir.iterdir()):
        return False
    before = read_config(run.work_dir / "config.py")
    if before.to_dict() != _as_read(config.to_dict()):
        raise InputError(
            f"{run.work_dir}: holds the training of another config, or with other options; choose another --out or "
            "delete that folder"
        )
    return True


def _as_read(value: Any) -> Any:
    """A config as it is once written and read: the file's names are texts, its values plain."""
    if isinstance(value, Mapping):
        return {str(key): _as_read(item) for key, item in value.items()}
    return type(value)(_as_read(item) for item in value) if isinstance(value, list | tuple) else value
