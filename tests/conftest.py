import pytest
import torch

# The tensors here are small: a second thread costs more than it brings.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Random tensors that depend on no order of the tests: pytest-randomly does not seed torch."""
    torch.manual_seed(0)
