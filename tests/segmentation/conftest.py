import pytest
import torch

import looksharp
from looksharp.data.sets.synthetic import digits
from looksharp.training.settings import RunConfig

SIZES = {"train": 24, "val": 12, "test": 12}


@pytest.fixture(scope="session")
def few():
    return digits(**SIZES)


@pytest.fixture(scope="session")
def run(few, tmp_path_factory):
    """The folder of a run on a few digits."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("runs") / "run"
    values = {"digits": SIZES, "device": "cpu", "workers": 0, "epochs": 1, "batch_size": 8}
    looksharp.train(RunConfig.from_flat(values), out, data=few, progress=False)
    return out
