"""The plateau rule beside a plain loop; ratios of groups; resuming; a training that monitors its validation loss."""

import itertools
import math
import random

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from cellseg.errors import InputError
from cellseg.multimodal import MultimodalModel, PlateauLR, PlateauParamScheduler
from cellseg.openmmlab import load_checkpoint_file

_NUMBERS = itertools.count()


def optimizer(rate=1.0):
    return OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate, momentum=0.9))


def rates(values, wrapper=None, **options):
    """The learning rate after each of some validations."""
    wrapper = wrapper or optimizer()
    schedule = PlateauLR(wrapper, monitor="loss", **options)
    result = []
    for value in values:
        schedule.step({"loss": value, "other": 0.0})
        result.append(wrapper.param_groups[0]["lr"])
    return result


def rates_by_hand(values, rule="less", factor=0.1, compare="best", patience=0, threshold=0.0, cooldown=0, floor=0.0):
    rate, reference, bad, waiting, result = 1.0, None, 0, 0, []
    for value in values:
        sign = 1 if rule == "greater" else -1
        improved = reference is None or sign * (value - reference) > threshold
        bad = 0 if improved else bad + 1
        if waiting:
            waiting, bad = waiting - 1, 0
        if bad > patience:
            rate, bad, waiting = max(floor, rate * factor), 0, cooldown
        if compare == "previous" or improved:
            reference = value
        result.append(rate)
    return result


@pytest.mark.parametrize("compare", ["best", "previous"])
@pytest.mark.parametrize("rule", ["less", "greater"])
@pytest.mark.parametrize("seed", range(4))
def test_follows_the_rule(compare, rule, seed):
    # Quarters are exact in binary, so that ties are ties.
    chance = random.Random(seed)
    values = [round(4 * chance.gauss(0, 1)) / 4 for _ in range(40)]
    for patience, threshold, cooldown, floor in itertools.product((0, 2), (0.0, 0.5), (0, 1), (0.0, 0.3)):
        options = dict(rule=rule, factor=0.7, compare=compare, patience=patience, threshold=threshold)
        expected = rates_by_hand(values, **options, cooldown=cooldown, floor=floor)
        assert rates(values, **options, cooldown=cooldown, min_value=floor) == pytest.approx(expected)


def test_previous_is_the_equation_of_the_paper():
    values = [3.0, 2.0, 2.0, 2.5, 2.4, 2.3, 2.6]
    rate, expected = 1.0, []
    for index, value in enumerate(values):
        if index and value >= values[index - 1]:
            rate = 0.5 * rate
        expected.append(rate)
    assert expected == [1.0, 1.0, 0.5, 0.25, 0.25, 0.25, 0.125]
    assert rates(values, factor=0.5, compare="previous") == expected
    # The best stays 2.0, so that every later validation counts against the rate.
    assert rates(values, factor=0.5, compare="best") == [1.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125]


def test_negative_scores_and_numbers_that_are_none():
    # A relative threshold, as is usual, would turn around below zero.
    assert rates([-1.0, -2.0, -2.0], factor=0.5) == [1.0, 1.0, 0.5]
    assert rates([2.0, math.nan, 1.0, 1.5], factor=0.5, compare="previous") == [1.0, 0.5, 0.5, 0.25]
    assert rates([2.0, math.nan, 1.0], factor=0.5, compare="best") == [1.0, 0.5, 0.5]


def test_small_rates_fall_too():
    assert rates([1.0, 1.0], optimizer(1e-9), factor=0.5)[-1] == pytest.approx(5e-10)


def test_groups_keep_their_ratio():
    model = torch.nn.ModuleDict({"text": torch.nn.Linear(1, 1), "head": torch.nn.Linear(1, 1)})
    config = {"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 1e-3}}
    wrapper = DefaultOptimWrapperConstructor(config, {"custom_keys": {"text": {"lr_mult": 0.1}}})(model)
    before = [group["lr"] for group in wrapper.param_groups]
    assert set(before) == {1e-3, 1e-4}
    rates([1.0, 1.0, 2.0], wrapper, factor=0.5)
    assert [group["lr"] for group in wrapper.param_groups] == pytest.approx([rate / 4 for rate in before])


def test_other_parameters_can_be_scheduled():
    wrapper = optimizer()
    schedule = PARAM_SCHEDULERS.build(
        {"type": "PlateauParamScheduler", "param_name": "momentum", "monitor": "loss", "factor": 0.5},
        default_args={"optimizer": wrapper},
    )
    assert type(schedule) is PlateauParamScheduler
    schedule.step({"loss": 1.0})
    schedule.step({"loss": 1.0})
    assert wrapper.param_groups[0]["momentum"] == 0.45 and wrapper.param_groups[0]["lr"] == 1.0


def test_nothing_happens_outside_of_its_epochs():
    wrapper = optimizer()
    schedule = PlateauLR(wrapper, monitor="loss", factor=0.5, compare="previous", begin=2, end=4)
    found = []
    for value in (1.0, 2.0, 5.0, 5.0, 6.0, 7.0):
        schedule.step({"loss": value})
        schedule.step()
        found.append(wrapper.param_groups[0]["lr"])
    # 5 has no predecessor that counted.
    assert found == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("compare", ["best", "previous"])
@pytest.mark.parametrize("pause", [1, 5, 9])
def test_a_resumed_schedule_goes_on(tmp_path, compare, pause):
    values = [5.0, 4.0, 4.5, 4.4, 4.6, 3.0, 3.5, 3.4, 3.6, 3.7, 3.8, 3.1]
    options = dict(monitor="loss", factor=0.5, compare=compare, patience=1, cooldown=1)
    expected = rates([torch.tensor(value) for value in values], **{k: v for k, v in options.items() if k != "monitor"})
    first = optimizer()
    schedule = PlateauLR(first, **options)
    for value in values[:pause]:
        schedule.step({"loss": torch.tensor(value)})
    path = tmp_path / "state.pth"
    torch.save({"schedule": schedule.state_dict(), "optimizer": first.state_dict()}, path)
    state = load_checkpoint_file(path)
    second = optimizer(0.123)
    resumed = PlateauLR(second, **options)
    second.load_state_dict(state["optimizer"])
    resumed.load_state_dict(state["schedule"])
    found = []
    for value in values[pause:]:
        resumed.step({"loss": value})
        found.append(second.param_groups[0]["lr"])
    assert found == pytest.approx(expected[pause:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compare": "last"}, "compare: expected best or previous, found 'last'"),
        ({"rule": "more"}, "rule: expected less or greater, found 'more'"),
        ({"factor": 1.0}, "factor: expected a number between 0 and 1, found 1.0"),
        ({"factor": 0}, "factor: expected a number between 0 and 1, found 0"),
        ({"patience": -1}, "patience: expected a whole number of at least 0, found -1"),
        ({"patience": 1.5}, "patience: expected a whole number of at least 0, found 1.5"),
        ({"threshold": -0.1}, "threshold: expected 0 or more, found -0.1"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        PlateauLR(optimizer(), monitor="loss", **options)
    assert str(caught.value) == message


def test_a_score_that_validation_does_not_give():
    schedule = PlateauLR(optimizer(), monitor="val_los")
    with pytest.raises(InputError) as caught:
        schedule.step({"val_loss": 1.0, "accuracy": 0.5})
    assert str(caught.value) == (
        "param_scheduler: monitor: 'val_los' was not scored; validation gives accuracy, val_loss"
    )


class Rows(Dataset):
    """Tables with classes that nothing predicts, so that the validation loss goes up and down."""

    metainfo = {}

    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        self.values = torch.randn(count, 5, generator=generator)
        self.labels = torch.randint(3, (count,), generator=generator)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        here = torch.tensor(True)
        return {
            "inputs": {"table": {"values": self.values[index], "present": here}},
            "targets": {"mood": {"values": self.labels[index], "present": here}},
            "samples": {"id": str(index)},
        }


def collate(items):
    batch = torch.utils.data.default_collate([{key: item[key] for key in ("inputs", "targets")} for item in items])
    return {**batch, "samples": [item["samples"] for item in items]}


class Right(BaseMetric):
    default_prefix = ""

    def process(self, data_batch, data_samples):
        labels = data_batch["targets"]["mood"]["values"].tolist()
        self.results += [row["mood"]["label"] == label for row, label in zip(data_samples, labels, strict=True)]

    def compute_metrics(self, results):
        return {"accuracy": sum(results) / len(results)}


def train(work_dir, iterations=24, resume=False):
    """A training that validates at every second iteration: validation losses and the rates after them."""
    torch.manual_seed(0)
    heads = {"mood": {"type": "FusedClassifier", "num_classes": 3}}
    model = MultimodalModel({"table": {"type": "DoubleTable"}}, None, heads, validation_loss=True)
    loading = {"num_workers": 0, "batch_size": 4, "collate_fn": collate}
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader={"dataset": Rows(16, 0), "sampler": {"type": "InfiniteSampler"}, **loading},
        train_cfg={"by_epoch": False, "max_iters": iterations, "val_interval": 2},
        val_dataloader={"dataset": Rows(8, 1), "sampler": {"type": "DefaultSampler", "shuffle": False}, **loading},
        val_cfg={},
        val_evaluator=Evaluator(Right()),
        optim_wrapper={"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 0.1}},
        param_scheduler={"type": "PlateauLR", "monitor": "val_loss", "compare": "previous", "factor": 0.5},
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "interval": 4, "by_epoch": False},
            "logger": {"type": "LoggerHook", "interval": 100},
        },
        custom_hooks=[{"type": "ExactResumeHook"}],
        randomness={"seed": 3},
        visualizer={"type": "Visualizer", "vis_backends": [], "name": f"plateau{next(_NUMBERS)}"},
        experiment_name=f"plateau{next(_NUMBERS)}",
        log_level="WARNING",
        resume=resume,
        cfg=Config({"plateau": True}),
    )
    rows = []
    evaluate = runner.call_hook

    def watch(name, **arguments):
        evaluate(name, **arguments)
        if name == "after_val_epoch":
            rate = runner.optim_wrapper.param_groups[0]["lr"]
            rows.append((arguments["metrics"]["val_loss"], arguments["metrics"]["accuracy"], rate))

    runner.call_hook = watch
    runner.train()
    return rows


def test_a_training_lowers_its_rate_by_the_validation_loss(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    rows = train(tmp_path / "whole")
    assert len(rows) == 12
    losses, _, found = zip(*rows, strict=True)
    expected = [0.1 * rate for rate in rates_by_hand(losses, factor=0.5, compare="previous")]
    assert found == pytest.approx(expected)
    assert 2 <= len(set(found)) < 12
    # Interrupted after 12 iterations and continued, it is the same training.
    assert train(tmp_path / "cut", 12) == rows[:6]
    resumed = train(tmp_path / "cut", 24, resume=True)
    assert resumed[-6:] == rows[-6:]
