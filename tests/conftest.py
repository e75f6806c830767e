"""What all tests share: threads, hypothesis settings, and the folder of real images where a machine has one."""

import os
from pathlib import Path

# Two test processes share two cores. Set before anything imports numpy, torch or OpenCV, which read these once; tools
# that tests start inherit them. `make` sets its own.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

PROJECT = Path(__file__).resolve().parent.parent

# The same examples in every run, and no time limit for one: the machine may be busy.
settings.register_profile("cellseg", derandomize=True, deadline=None)
settings.load_profile("cellseg")


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder with setup.cfg, tools/ and configs/."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder ``../shared/data`` with real images; the test is skipped on machines without it."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} does not exist")
    return folder
