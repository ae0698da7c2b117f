"""Recipes as they are: their own networks and batches, and their own way from an image file to a training image.

Two whole steps of a row's own network, batch and augmentation are trained where they take a core a few seconds: see
`TRAINED`. Of the others each backbone is built, as its first row has it, on the meta device, which holds shapes and no
numbers, and runs its own batch forward there; `test_two_steps` trains a small network in its place.
"""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.attention.recording import logits_of
from looksharp.data.sampling import InOrder
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.files import FileSplit
from looksharp.data.splits.memory import TensorSplit
from looksharp.networks.build import build_classifier
from looksharp.reproducing.reading import read_recipe, recipe_names
from looksharp.training import train

CLASSES = {
    "cifar10": 10, "svhn": 10, "cluttered_mnist": 10, "cifar100": 100, "imagenet": 1000, "caltech256": 256,
    "cub200": 200, "compcars_model": 431, "compcars_maker": 75, "celeba": 40, "stanford_dogs": 120,
    "uec_food100": 100, "stanford_cars": 196, "adience_gender": 2, "adience_age": 8, "voc": 20, "FOLDER": 2,
}  # fmt: skip
SIDES = {"cluttered_mnist": 40, "cifar10": 32, "cifar100": 32, "svhn": 32}
IN_MEMORY = (
    "abn/table1", "abn/table2-cifar10", "abn/table2-cifar100", "abn/table2-svhn", "icasc/table4", "warn/figure4",
    "warn/section4.3", "warn/table2-cifar10", "warn/table2-cifar100",
)  # fmt: skip
"""Recipes whose images are small and held in memory; what suits them, padding by an eighth, is in `test_two_steps`."""
SEVERAL_LABELS = ("voc", "celeba")
TRAINED = {("warn/figure4", "best"), ("warn/figure4", "sigmoid"), ("abn/table1", "resnet20")}
"""All others take a core tens of seconds to hours: a step of theirs is 0.1 to 35 million million operations."""


def config_of(recipe, row):
    return recipe.config(row, **({"data": "FOLDER"} if recipe.folder else {}))


def size_of(config):
    found = config.data.image_size or SIDES[config.data.data]
    return (found, found) if isinstance(found, int) else found


def kinds(recipe, *facts):
    """The settings of a row of each kind, where a kind is what these functions of a row's settings give."""
    configs = [config_of(recipe, row) for row in recipe.rows]
    return {json.dumps([fact(config) for fact in facts], default=str): config for config in configs}.values()


def network(config, device):
    """The row's own, without the weights that it starts from."""
    with torch.device(device):
        return build_classifier(
            config.network.backbone,
            CLASSES[config.data.data],
            image_size=size_of(config),
            architecture=config.network.architecture,
            options=config.network.settings,
            multilabel=config.data.data in SEVERAL_LABELS,
        )


_RUN = set()  # networks that several recipes share are run once


@pytest.mark.parametrize("name", recipe_names())
def test_own_networks_take_their_own_batch(name):
    recipe = read_recipe(name)
    for config in kinds(recipe, lambda c: c.network.backbone):
        key = config.network.backbone, size_of(config), config.training.batch_size
        if key not in _RUN:
            images = torch.empty(config.training.batch_size, 3, *size_of(config), device="meta")
            with torch.no_grad():
                logits = logits_of(network(config, "meta").eval()(images))
            assert logits.shape == (config.training.batch_size, CLASSES[config.data.data])
            _RUN.add(key)


@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in IN_MEMORY])
def test_own_augmentation_of_image_files(tmp_path, name):
    """Training and evaluation bring tall and wide files to the recipe's size."""
    recipe = read_recipe(name)
    for place, shape in enumerate(((150, 60), (70, 200))):
        image = np.random.default_rng(place).integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{place}.png")
    split = FileSplit(targets=torch.zeros(2).long(), root=tmp_path, paths=["0.png", "1.png"])
    for config in kinds(recipe, lambda c: (c.data.fit, c.data.crop_share, c.training.augment)):
        pixels = Pixels(size_of(config), crop_share=config.data.crop_share, fit=config.data.fit)
        assert config.training.augment is not None  # nothing is left to be chosen silently
        for augment in (config.training.augment, "none"):
            (batch,) = split.loader(InOrder(2, 2), pixels, augment=augment, seed=1)
            assert batch.image.shape == (2, 3, *size_of(config))
            assert batch.image.std() > 0.1


@pytest.mark.parametrize(("name", "row"), sorted(TRAINED))
def test_two_steps_as_they_are(tmp_path, name, row):
    recipe = read_recipe(name)
    config = recipe.config(row, epochs=1, device="cpu", workers=0, milestones=[1], weights=None)
    side, batch, classes = SIDES[config.data.data], config.training.batch_size, CLASSES[config.data.data]
    generator = torch.Generator().manual_seed(0)
    splits = {}
    for split, count in {"train": 2 * batch, "val": 8, "test": 8}.items():
        images = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
        splits[split] = TensorSplit(targets=torch.arange(count) % classes, images=images)
    data = Data(name, tuple(str(label) for label in range(classes)), splits, Pixels((side, side)))
    run = train(config, tmp_path / "run", data=data, progress=False)
    assert torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert math.isfinite(run.history[0]["train_loss"])
    assert run.config.network == config.network
    assert (run.config.training.batch_size, run.config.training.augment) == (batch, config.training.augment)
