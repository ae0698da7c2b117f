"""Every recipe trains: two steps of every kind of row, and all that its table measures.

Three things differ from the recipe, so that this takes seconds. Images are noise of 32 px (40 px for cluttered digits)
held in memory, with the recipe's classes, labels, test splits and masks; batches are of 4. Backbones of more
than half a million parameters are replaced by `small`, and where they are cut and attended is then found. Rows that
then differ in their numbers alone are one kind, which is trained once.
"""

import json
from dataclasses import replace

import pytest
import torch

from looksharp.data.split import Data, Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.marks.formats.voc import VOC_CLASSES
from looksharp.marks.marks import Marks
from looksharp.reproducing.figure import VALIDATION
from looksharp.reproducing.measuring import figure_name, measure_run
from looksharp.reproducing.reading import read_recipe, recipe_names
from looksharp.training import train

LIGHT = ("cifar_resnet20", "clutter_cnn")
BATCH, STEPS, TESTED = 4, 2, 8
CLASSES = {
    "cifar10": 10, "svhn": 10, "cluttered_mnist": 10, "cifar100": 100, "imagenet": 1000, "caltech256": 256,
    "cub200": 200, "compcars_model": 431, "compcars_maker": 75, "celeba": 40, "stanford_dogs": 120,
    "uec_food100": 100, "stanford_cars": 196, "adience_gender": 2, "adience_age": 8, "voc": 20, "FOLDER": 2,
}  # fmt: skip
SEVERAL_LABELS = ("voc", "celeba")
TERMS = {
    "icasc": {"train_separation_inner", "train_separation_last", "train_consistency"},
    "gain": {"train_mining"},
    "guided": {"train_guidance"},
    "attention_branch": {"train_branch"},
    "attend_rectify": {"train_head_diversity"},
}


def config_of(recipe, row):
    """The row's settings, with the three changes and with what a machine sets."""
    config = recipe.config(row, **({"data": "FOLDER"} if recipe.folder else {}))
    training = replace(
        config.training, epochs=1, batch_size=BATCH, device="cpu", workers=0, precision="32-true", patience=None
    )
    if training.augment not in (None, "none"):
        training = replace(training, augment="crop_flip")  # what images in memory take
    backbone = config.network.backbone
    settings = {name: value for name, value in config.network.settings.items() if name != "cut"}
    light = backbone if backbone in LIGHT else "small"
    if light != backbone and isinstance(settings.get("layers"), list):
        settings["layers"] = len(settings["layers"])  # names are of the backbone that is replaced
    network = replace(config.network, pretrained=False, backbone=light, settings=settings)
    marks = config.marks
    if marks.marks is not None:
        marks = replace(marks, marked=min(marks.marked or BATCH, BATCH))
    return replace(config, training=training, network=network, marks=marks)


def data_of(recipe, config):
    name, count = config.data.data, CLASSES[config.data.data]
    side = 40 if name == "cluttered_mnist" else 32
    generator = torch.Generator().manual_seed(0)
    splits = {}
    tests = sorted({each.split for each in recipe.measure.values() if each.split not in (None, VALIDATION)}) or ["test"]
    for split, images in {"train": BATCH * STEPS, "val": BATCH, **dict.fromkeys(tests, TESTED)}.items():
        if name in SEVERAL_LABELS:
            targets = (torch.rand(images, count, generator=generator) < 0.4).float()
            targets[0], targets[1] = 1, 0
        else:
            targets = torch.arange(images) % count
        pixels = torch.randint(256, (images, 3, side, side), dtype=torch.uint8, generator=generator)
        pairs = None
        if split == "train" or any(each.suite == "sec" for each in recipe.measure.values()):
            label = VOC_CLASSES.index("boat") if name == "voc" else 0
            masks = torch.zeros(images, side, side, dtype=torch.bool)
            masks[:, 4:12, 6:20] = True
            pairs = Marks(range(images), [label] * images, masks)
        splits[split] = TensorSplit(targets=targets, images=pixels, marks=pairs)
    classes = VOC_CLASSES if name == "voc" else tuple(str(label) for label in range(count))
    return Data(name, tuple(classes), splits, Pixels((side, side)))


def kinds():
    """One row of each kind, and at least one of each recipe."""
    seen = set()
    for name in recipe_names():
        recipe, taken = read_recipe(name), False
        for row in recipe.rows:
            config = config_of(recipe, row)
            kind = config.flat()
            for number in ("data", "image_size", "lr", "weight_decay", "epochs", "milestones", "marked", "workers"):
                kind.pop(number, None)
            key = json.dumps(kind | {"several": config.data.data in SEVERAL_LABELS}, default=str, sort_keys=True)
            if key not in seen or not taken:
                yield pytest.param(name, row, not taken, id=f"{name}-{row}")
            taken = True
            seen.add(key)


@pytest.mark.parametrize(("name", "row", "first"), list(kinds()))
def test_two_steps(tmp_path, name, row, first):
    recipe = read_recipe(name)
    config = config_of(recipe, row)
    data = data_of(recipe, config)
    run = train(config, tmp_path / "run", data=data, progress=False)
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == STEPS
    logged = run.history[0]
    expected = {"train_classification"}
    expected |= TERMS.get(config.objective[0].name, set()) | TERMS.get(config.network.architecture, set())
    expected |= TERMS["guided"] if config.marks.marks else set()
    assert {each for each in logged if each.startswith("train_")} == expected | {"train_loss"}
    if first:  # what is measured is the same for all rows
        values = measure_run(recipe, run.path, data, smoke=True, device="cpu", workers=0, progress=False)
        assert values["parameters"] == sum(each.numel() for each in run.model.parameters())
        measured = {metric for metric, each in recipe.measure.items() if each.suite != "cue"}
        assert values.keys() == {
            "parameters",
            *(figure_name(metric, c) for metric in measured for c in ("last", "best")),
        }
