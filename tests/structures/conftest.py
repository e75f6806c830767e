"""What the tests of the structures share."""

import pytest
import torch

_NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=_NO_CUDA)])
def device(request) -> torch.device:
    """Every device of this machine in turn."""
    return torch.device(request.param)
