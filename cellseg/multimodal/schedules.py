"""The plateau rule: a learning rate falls when validation no longer improves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, ReduceOnPlateauParamScheduler
from mmengine.registry import PARAM_SCHEDULERS
from torch.optim import Optimizer

from cellseg.errors import InputError

COMPARISONS = ("best", "previous")


@PARAM_SCHEDULERS.register_module()
class PlateauParamScheduler(ReduceOnPlateauParamScheduler):
    """``p <- factor p`` after ``patience`` + 1 validations in a row that did not improve.

    A validation improves if it is better, by more than ``threshold``, than the best so far (as usual), or than the
    one before it (equation 5 of Ding et al. 2025: ``lr <- beta lr`` if ``loss >= previous loss``). Against the
    previous one, a slow zigzag around a good value lowers the rate; against the best, so does a recovery after one
    lucky value. A value that is not a number improves nothing and is not remembered.

    Validations are counted, not epochs or iterations, so that it serves both kinds of training.

    Args:
        optimizer: whose parameters are scheduled; each group by its own value, so their ratios stay.
        param_name: such as ``lr``.
        monitor: name of the validation score.
        rule: ``less`` if a smaller score is better, ``greater`` if a larger one is.
        factor: beta, between 0 and 1.
        compare: ``best`` or ``previous``.
        patience: validations without improvement that change nothing.
        threshold: by how much a better score must differ, in its units.
        cooldown: validations after a change that are not counted.
        min_value: the parameter falls no lower; one number, or one for each group.
        begin: finished epochs before which nothing happens (trainings by epoch only).
        end: finished epochs from which on nothing happens.
        last_step: -1; mmengine resumes from the checkpoint's state.
        verbose: whether changes are logged.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        optimizer: OptimWrapper | Optimizer,
        param_name: str,
        monitor: str,
        rule: str = "less",
        factor: float = 0.1,
        compare: str = "best",
        patience: int = 0,
        threshold: float = 0.0,
        cooldown: int = 0,
        min_value: float | Sequence[float] = 0.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        verbose: bool = False,
    ):
        _check(rule, factor, compare, patience, threshold)
        self.compare = compare
        super().__init__(
            optimizer,
            param_name,
            monitor=monitor,
            rule=rule,
            factor=factor,
            patience=patience,
            threshold=threshold,
            threshold_rule="abs",
            cooldown=cooldown,
            min_value=min_value,
            eps=0.0,
            begin=begin,
            end=end,
            last_step=last_step,
            verbose=verbose,
        )

    def step(self, metrics: Mapping[str, Any] | None = None) -> None:
        """Take the scores of a validation; without any, count an epoch.

        Raises:
            InputError: the monitored score is not among them.
        """
        if metrics is None:
            super().step()
            return
        if self.monitor not in metrics:
            known = ", ".join(sorted(metrics)) or "nothing"
            raise InputError(f"param_scheduler: monitor: {self.monitor!r} was not scored; validation gives {known}")
        # A plain number: what a checkpoint remembers must load as data.
        value = float(metrics[self.monitor])
        super().step({self.monitor: value})
        if self.compare == "previous" and self.begin <= self._global_step < self.end and not math.isnan(value):
            self.best = value


@PARAM_SCHEDULERS.register_module()
class PlateauLR(LRSchedulerMixin, PlateauParamScheduler):
    """``PlateauParamScheduler`` of the learning rate; its other arguments follow the optimizer."""


def _check(rule: str, factor: float, compare: str, patience: int, threshold: float) -> None:
    if compare not in COMPARISONS:
        raise InputError(f"compare: expected {' or '.join(COMPARISONS)}, found {compare!r}")
    if rule not in ("less", "greater"):
        raise InputError(f"rule: expected less or greater, found {rule!r}")
    if not 0 < factor < 1:
        raise InputError(f"factor: expected a number between 0 and 1, found {factor!r}")
    if isinstance(patience, bool) or not isinstance(patience, int) or patience < 0:
        raise InputError(f"patience: expected a whole number of at least 0, found {patience!r}")
    if not 0 <= threshold < INF:
        raise InputError(f"threshold: expected 0 or more, found {threshold!r}")
