import pytest

from looksharp.data.sets.synthetic import digits
from looksharp.training.settings import RunConfig

BATCH, IMAGES = 16, 64


@pytest.fixture(scope="session")
def few_digits():
    """64 training images: 4 steps of 16 an epoch."""
    return digits(train=IMAGES, val=32, test=32)


@pytest.fixture(scope="session")
def few_settings():
    """Makes settings of a short run on them."""

    def make(**values):
        given = {"device": "cpu", "workers": 0, "epochs": 1, "batch_size": BATCH, "lr": 0.02}
        return RunConfig.from_flat({"digits": {"train": IMAGES}} | given | values)

    return make
