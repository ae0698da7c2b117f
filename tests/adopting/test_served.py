"""Every command that reads a run reads one that was adopted."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import looksharp as ls
from looksharp.comparison.grouping import group_runs
from looksharp.curing import page
from looksharp.data.build import DataConfig, build_data
from looksharp.evaluation import evaluate_run
from looksharp.suspects import suspects
from looksharp.training import load_run

from .conftest import CLASSES, SIDE, normalised


@pytest.fixture(scope="module")
def adopted(colours, resnet, tmp_path_factory):
    """A run folder of the ResNet, whose way to the input is stated in full."""
    network, mean, std = resnet
    folder = tmp_path_factory.mktemp("adopted")
    torch.save(network.state_dict(), folder / "w.pt")
    return ls.adopt(
        "test_resnet",
        weights=folder / "w.pt",
        data=colours,
        pixels=ls.Pixels((SIDE, SIDE), mean, std),
        out=folder / "run",
        device="cpu",
        progress=False,
    )


@pytest.fixture(scope="module")
def boxes(colours, tmp_path_factory):
    """Boxes around the coloured patch of all pictures, read without looksharp."""
    images, annotations = [], []
    for label, name in enumerate(CLASSES):
        for path in sorted((colours / name).iterdir()):
            rows, columns = np.nonzero(np.array(Image.open(path)).max(2) == 250)
            top, left = int(rows.min()), int(columns.min())
            number = len(images) + 1
            images.append({"id": number, "file_name": f"{name}/{path.name}", "height": SIDE, "width": SIDE})
            box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
            annotations.append({"id": number, "image_id": number, "category_id": label + 1, "bbox": box, "iscrowd": 0})
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    path = tmp_path_factory.mktemp("boxes") / "boxes.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_evaluate(adopted, resnet, colours, looksharp, tmp_path):
    out, _ = looksharp("evaluate", adopted.path, "--json", tmp_path / "found.json", "--device", "cpu", "--workers", 0)
    found = json.loads((tmp_path / "found.json").read_text())["splits"]["test"]
    network, mean, std = resnet
    data = build_data(DataConfig(str(colours)))
    split = data.splits["test"]
    images = torch.stack([split.image(place).as_subclass(torch.Tensor) for place in range(len(split))]).float() / 255
    answered = network(normalised(images, mean, std)).argmax(1)
    assert found["top1"] == pytest.approx(float((answered == split.targets).double().mean()))
    assert "overlap" in out
    assert ls.evaluate(adopted, split).values["top1"] == pytest.approx(found["top1"])
    assert evaluate_run(adopted, data=data, progress=False)["test"].values["top1"] == pytest.approx(found["top1"])


def test_a_model_in_hand_is_evaluated_explained_and_searched(resnet, colours, tmp_path):
    network, mean, std = resnet
    run = ls.adopt(network, classes=CLASSES, pixels=ls.Pixels((SIDE, SIDE), mean, std), progress=False)
    data = build_data(DataConfig(str(colours), image_size=SIDE))
    values = evaluate_run(run, data=data, progress=False, suites=["classification"])["test"].values
    assert values["top1"] == ls.evaluate(run, data.splits["test"], suites=["classification"]).values["top1"]
    picture = next((colours / "red").iterdir())
    ls.explain(run, [picture], tmp_path / "explained", progress=False)
    assert (tmp_path / "explained" / "attention.png").is_file()
    assert len(suspects(run, data, 4, progress=False).chosen) == 4
    with pytest.raises(ValueError, match=r"^the run has no folder, which this needs; adopt the model with out=FOLDER$"):
        ls.cure(run, progress=False)
    with pytest.raises(ValueError, match=r"^pixels must say how images become the input of a model that is no run"):
        ls.evaluate(network, data.splits["test"])


def test_explain_and_suspects(adopted, resnet, colours, looksharp, tmp_path):
    picture = sorted((colours / "green").iterdir())[0]
    looksharp("explain", adopted.path, picture, "--out", tmp_path / "explained", "--device", "cpu")
    found = np.load(tmp_path / "explained" / "00.npz")
    network, mean, std = resnet
    image = torch.tensor(np.array(Image.open(picture))).permute(2, 0, 1).float() / 255
    odds = network(normalised(image[None], mean, std)).softmax(1)[0].sort(descending=True)
    assert found["classes"].tolist() == [CLASSES[place] for place in odds.indices]
    np.testing.assert_allclose(found["probabilities"], odds.values.detach(), atol=1e-5)
    looksharp("suspects", adopted.path, "-n", 6, "--out", tmp_path / "suspects", "--device", "cpu", "--workers", 0)
    assert len(json.loads((tmp_path / "suspects" / "annotations.json").read_text())["images"]) == 6


def test_cure_fine_tunes(adopted, boxes, resnet, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "draw_examples", lambda folder, examples: None)  # takes longest, and is seen elsewhere
    found = ls.cure(adopted, boxes, tmp_path / "cured", epochs=1, device="cpu", marked_per_batch=8, progress=False)
    config = found.after.run.config
    assert config.network.weights == str(adopted.path / "model.safetensors")
    assert (config.optimization.optimizer, config.optimization.lr) == ("adamw", pytest.approx(1e-4))
    assert found.after.run.pixels == adopted.pixels
    page_text = " ".join(found.report.read_text().split())
    assert "Its training continued with" in page_text
    assert "of training (before: unknown)." in page_text
    before, after = resnet[0].state_dict(), load_run(found.after.run.path, device="cpu").model.state_dict()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before if name.endswith("conv1.weight"))
    assert 0 < moved < 0.01  # a few small steps away, not drawn anew


def test_cure_trains_anew_where_it_is_asked_to(adopted, boxes, resnet, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "draw_examples", lambda folder, examples: None)
    found = ls.cure(
        adopted,
        boxes,
        tmp_path / "cured",
        epochs=1,
        device="cpu",
        marked_per_batch=8,
        progress=False,
        fine_tune=False,
        lr=2e-3,
    )
    config = found.after.run.config
    assert (config.network.weights, config.optimization.lr) == (None, 2e-3)
    before, after = resnet[0].state_dict(), found.after.run.model.state_dict()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before if name.endswith("conv1.weight"))
    assert moved > 0.05


def test_compare_takes_each_adopted_run_for_a_method(adopted, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(adopted.path, other)
    methods = group_runs([adopted.path, other])
    assert [method.name for method in methods] == ["Classification (adopted run)", "Classification (adopted other)"]


def test_other_images_are_read_as_the_model_reads_its_own(adopted, tmp_path):
    """A set of larger pictures goes through the run's pixels, not its own."""
    root = tmp_path / "large"
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (130, 110), name).save(root / name / f"{number}.png")
    from looksharp.training.data import run_data

    data = run_data(adopted, str(root))
    assert data.pixels == adopted.pixels
    batch = next(iter(data.splits["test"].loader([[0, 1]], data.pixels)))
    assert batch.image.shape == (2, 3, SIDE, SIDE)


def test_without_data_the_flag_is_named(resnet, fails, tmp_path):
    torch.save(resnet[0].state_dict(), tmp_path / "w.pt")
    ls.adopt("test_resnet", weights=tmp_path / "w.pt", classes="a,b,c", out=tmp_path / "run", progress=False)
    for command in (("evaluate",), ("suspects",)):
        line = fails(*command, tmp_path / "run", "--device", "cpu")
        assert line.startswith(
            "data are not known, since the model was adopted without any; name a set or folder by --data"
        )


def test_it_is_not_resumed(adopted, fails):
    line = fails("train", "--resume", "--out", adopted.path)
    assert "is not a run's checkpoint: its epoch is missing or damaged" in line


def test_the_weights_of_a_shared_layer_are_kept_once_each(tmp_path, own_code):
    own_code(
        "mine_shared",
        "from torch import nn\n"
        "def make():\n"
        "    shared = nn.Conv2d(3, 3, 3, padding=1)\n"
        "    return nn.Sequential(shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(3 * 64, 2))\n",
    )
    pixels = ls.Pixels((8, 8), (0.5,) * 3, (0.5,) * 3)
    run = ls.adopt("mine_shared:make", pixels=pixels, classes="a,b", out=tmp_path / "run", progress=False)
    again = load_run(tmp_path / "run", device="cpu")
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(again.model(images), run.model.cpu()(images), rtol=0, atol=1e-6)
