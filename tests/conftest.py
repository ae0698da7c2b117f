import gc

import pytest
import torch

# The tensors here are small: a second thread costs more than it brings.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Random tensors that depend on no order of the tests: pytest-randomly does not seed torch."""
    torch.manual_seed(0)


@pytest.fixture
def without_tf32():
    """Multiply single precision on a GPU as the CPU does."""
    owners = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [owner.allow_tf32 for owner in owners]
    for owner in owners:
        owner.allow_tf32 = False
    yield
    for owner, allowed in zip(owners, before, strict=True):
        owner.allow_tf32 = allowed


@pytest.fixture
def in_cycles():
    """Call something thrice without garbage collection; the tensors that only it would have freed."""

    def tensors(act):
        act()  # what is made once and kept
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                act()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            return [held for held in gc.garbage if isinstance(held, torch.Tensor)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    return tensors
