"""A data set in a file outside the package: registered, in the help, and held to what every set promises."""

import re
from pathlib import Path

CONTRACT = Path(__file__).parents[1] / "data" / "sets" / "test_contract.py"

SOURCE = '''
import torch

from looksharp.data.registry import data_set, data_source
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.memory import TensorSplit


def split(count, width, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 2
    images = torch.randint(0, 100, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    for image, target in zip(images, targets, strict=True):
        (image[:, :width] if target else image[:, :, :width]).fill_(255)
    return TensorSplit(targets=targets, images=images)


@data_set("stripes")
def stripes(train: int = 100, width: int = 2, seed: int = 0) -> Data:
    """Stripes that lie or stand.

    Args:
        train: images of the training split.
        width: pixels of a stripe.
        seed: of the noise.
    """
    splits = {"train": split(train, width, seed), "test": split(20, width, seed + 1)}
    return Data("stripes", ("standing", "lying"), splits, Pixels((8, 8)), augment="none")


@data_source("twice")
def twice(source: str) -> Data:
    """Two classes of a colour."""
    return stripes(int(source))
'''


def test_another_package_adds_a_data_set(plugin):
    python = plugin(SOURCE)
    code = (
        "from looksharp import DataConfig, build_data\n"
        "data = build_data(DataConfig('stripes', settings={'width': 3}), seed=5)\n"
        "print(data.classes, [len(split) for split in data.splits.values()])\n"
        "print(len(build_data(DataConfig('twice:30')).splits['train']))\n"
        "try: DataConfig('stripes', settings={'widht': 3})\n"
        "except ValueError as error: print(error)"
    )
    assert python("-c", code).splitlines() == [
        "('standing', 'lying') [90, 10, 20]",
        "28",
        "'stripes.widht' is not a setting; did you mean 'stripes.width'?",
    ]
    told = " ".join(python("-m", "looksharp", "train", "--data", "stripes", "--help").split())
    assert "stripes" in told
    assert "--stripes.width" in told
    assert "pixels of a stripe" in told
    assert "--stripes.seed" not in told
    report = python("-m", "pytest", "-p", "no:cacheprovider", "-v", str(CONTRACT), "-k", "stripes")
    assert re.search(r"\b5 passed", report)
