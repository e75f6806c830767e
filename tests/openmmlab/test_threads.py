"""Cores are shared between torch, OpenCV and loader workers."""

import cv2
import pytest
import torch

from cellseg.errors import InputError
from cellseg.openmmlab import ThreadPlan, plan_threads, threads


@pytest.mark.parametrize(
    ("cores", "environment", "workers", "asked", "expected"),
    [
        (2, None, 0, None, ThreadPlan(2, 2)),
        (2, None, 1, None, ThreadPlan(1, 0)),
        (2, None, 4, None, ThreadPlan(1, 0)),
        (16, None, 4, None, ThreadPlan(12, 0)),
        (2, None, 0, 5, ThreadPlan(5, 5)),
        (8, "3", 4, None, ThreadPlan(3, 0)),
        (8, "3,2", 0, None, ThreadPlan(3, 3)),
        (8, "3", 0, 1, ThreadPlan(1, 1)),
    ],
)
def test_plan(monkeypatch, cores, environment, workers, asked, expected):
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    if environment is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    assert plan_threads(workers, asked) == expected


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ({"workers": -1}, None, "workers is -1; expected 0 or more"),
        ({"threads": 0}, None, "threads is 0; expected 1 or more"),
        ({}, "many", "the environment variable OMP_NUM_THREADS is 'many'; expected a number from 1 on"),
        ({}, "0", "the environment variable OMP_NUM_THREADS is '0'; expected a number from 1 on"),
    ],
)
def test_bad_numbers_are_named(monkeypatch, arguments, environment, message):
    monkeypatch.setenv("OMP_NUM_THREADS", environment or "1")
    with pytest.raises(InputError) as caught:
        plan_threads(**arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("opencv", [0, 2])
def test_apply(opencv):
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        ThreadPlan(torch=3, opencv=opencv).apply()
        assert torch.get_num_threads() == 3
        # OpenCV says 1 where it makes no threads.
        assert cv2.getNumThreads() == max(opencv, 1)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_available_cores_are_those_of_the_process(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 3, 5})
    assert threads.available_cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert threads.available_cores() == 8
