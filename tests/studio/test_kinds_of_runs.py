"""What the pages read, of a run whose images show several classes, and of an adopted model."""

import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp import cli
from looksharp.data.build import DataConfig
from looksharp.studio.class_maps import MapsAsked, image_maps
from looksharp.studio.estimates import epoch_seconds
from looksharp.studio.exchanging import another, intervened, with_marks
from looksharp.studio.proposals import find_proposal
from looksharp.studio.run_marks import marked_for_training, run_marks
from looksharp.studio.settings import StudioSettings
from looksharp.studio.strokes import Stroke
from looksharp.studio.workspace import Workspace
from looksharp.studio.worth import worth_marking
from looksharp.training import load_run, train
from looksharp.training.settings import RunConfig, TrainingConfig


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run of COCO's form whose images show a person, a dog, or both."""
    root = tmp_path_factory.mktemp("several")
    rng, kinds = np.random.default_rng(0), {1: "person", 18: "dog"}
    for split, count in (("train", 12), ("val", 6)):
        images, annotations = [], []
        for place in range(count):
            path = root / "coco" / f"{split}2017" / f"{place:012d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(path)
            images.append({"id": place, "file_name": path.name, "height": 24, "width": 32})
            for category in ((1,), (18,), (1, 18))[place % 3]:
                box = [2 + place % 5, 3, 9, 8 + category % 3]
                annotations.append({"image_id": place, "category_id": category, "bbox": box, "id": len(annotations)})
        categories = [{"id": number, "name": name} for number, name in kinds.items()]
        table = root / "coco" / "annotations" / f"instances_{split}2017.json"
        table.parent.mkdir(exist_ok=True)
        table.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    config = RunConfig(
        data=DataConfig("coco", root / "coco", image_size=32, val_share=0.25),
        training=TrainingConfig(epochs=1, batch_size=4, device="cpu", workers=0),
    )
    train(config, root / "run", progress=False)
    return root / "run"


@pytest.fixture(scope="module")
def adopted(small_run, tmp_path_factory):
    """The small run's network, adopted from its weights."""
    out, pixels = tmp_path_factory.mktemp("adopted") / "run", load_run(small_run, device="cpu").pixels
    digits = "--biased_digits.rho 1.0 --biased_digits.train 160 --biased_digits.val 40 --biased_digits.test 80"
    flags = ["--weights", str(small_run / "model.safetensors"), "--data", "biased_digits", *digits.split()]
    for name in ("mean", "std"):
        flags += [f"--{name}", ",".join(map(str, getattr(pixels, name)))]
    assert cli.main(["adopt", "small", *flags, "--device", "cpu", "--out", str(out)]) == 0
    return out


@pytest.fixture(params=["several", "adopted"])
def opened(request, awaited):
    """A workspace, its images and its run."""
    workspace = Workspace(StudioSettings(run=request.getfixturevalue(request.param), device="cpu"))
    workspace.begin()

    async def load():
        return await workspace.data(), await workspace.run()

    yield workspace, *awaited(load())
    workspace.close()


def shown(data, split, place):
    """The classes that an image shows."""
    target = data.splits[split].targets[place]
    return [int(target)] if target.ndim == 0 else [label for label, there in enumerate(target) if there > 0.5]


def test_answers_and_maps(opened):
    workspace, data, run = opened
    split = next(iter(data.tests))
    answers = workspace.predictions.of(run, data, split)
    until = time.monotonic() + 60
    while not answers.finished and not answers.error and time.monotonic() < until:
        time.sleep(0.02)
    assert answers.error == ""
    for place in range(min(len(answers), 10)):
        (batch,) = data.splits[split].loader([[place]], run.pixels)
        with torch.no_grad():
            answer = int(run.model(batch.image).argmax())
        assert answers.answer[place] == answer
        assert answers.right[place] == (answer in shown(data, split, place))
        assert answers.labels(place) == shown(data, split, place)
        maps = image_maps(run, data.splits[split], place, MapsAsked("top1")).maps
        named = [each.title.rpartition(" ")[0] for each in maps if each.true]
        assert sorted(named) == sorted(data.classes[label] for label in shown(data, split, place))


def test_marks_and_interventions(opened):
    workspace, data, run = opened
    order = worth_marking(data.splits["train"].targets, count=4)
    store = run_marks(workspace, data)
    names = [next(iter(store.images))]
    label = shown(data, "train", order[0])[0]
    image = data.splits["train"].image(order[0])
    assert find_proposal(run.model, image, label, run.pixels).mask().shape == image.shape[-2:]
    first = shown(data, "train", 0)[0]
    store.add(names[0], data.classes[first], Stroke("rectangle", ((4.0, 5.0), (20.0, 19.0))))
    assert marked_for_training(store, data) == 1
    marked = with_marks(data, str(store.path), 0).splits["train"]
    onto = another(marked.targets, 0)
    assert shown(data, "train", onto) != shown(data, "train", 0)
    found = intervened({"run": run}, marked, 0, onto, "mark")
    assert found[0].title.endswith("outlined: its mark")
    assert found[1].title.endswith(f"class {', '.join(data.classes[label] for label in shown(data, 'train', onto))}")
    assert all(each.answers["run"].rpartition(" ")[0] in run.classes for each in found)


def test_only_an_adopted_run_has_no_epochs_to_go_by(opened, several):
    workspace, _, run = opened
    assert (epoch_seconds(run.history) is None) == (workspace.path != several)
