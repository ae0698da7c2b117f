"""Models of more classes than the data, or that call them otherwise."""

import timm
import torch
import yaml
from safetensors.torch import save_file

from looksharp.training import load_run

from .conftest import SIDE, normalised, pictures


def test_the_map_is_shown_and_kept_and_serves_every_command(colours, resnet, looksharp, tmp_path):
    """A model of five classes: what it knows as red, it calls so; blue otherwise; green is left out."""
    network, mean, std = resnet
    state = {name: value for name, value in network.state_dict().items()}
    lower = torch.tensor([-50.0, -50.0, 0.0, -50.0, 0.0])
    order = [1, 1, 2, 1, 0]  # outputs of red at 2 and of blue at 4; the others never win
    state["fc.weight"], state["fc.bias"] = state["fc.weight"][order], state["fc.bias"][order] + lower
    save_file(state, tmp_path / "weights.safetensors")
    (tmp_path / "map.yaml").write_text("blue: Sky, azure\ngreen: -\n")
    (tmp_path / "names.txt").write_text("cat\ndog\nRed\nbird\nsky, azure\n")
    flags = ("--weights", tmp_path / "weights.safetensors", "--data", colours, "--image_size", SIDE, "--device", "cpu")
    named = ("--classes", tmp_path / "names.txt", "--class_map", tmp_path / "map.yaml")
    out, err = looksharp("adopt", "test_resnet", *flags, *named, "--out", tmp_path / "run")
    assert err == ""
    assert out.splitlines()[:4] == [
        f"data {colours}: 2 of the run's 5 classes, by this map",
        "blue   sky, azure",
        "green  - (its images are left out)",
        "red    Red",
    ]
    expected = {"blue": "sky, azure", "green": None, "red": "Red"}
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["class_map"] == expected
    run = load_run(tmp_path / "run", device="cpu")
    assert run.classes == ("cat", "dog", "Red", "bird", "sky, azure")
    (line,) = [line for line in out.splitlines() if line.startswith("accuracy")]
    assert "on 8 images of val and test (guessing among their 2 classes: 50.0%)" in line
    out, err = looksharp("evaluate", tmp_path / "run", "--device", "cpu", "--workers", 0)
    assert "by this map" not in err  # which the run keeps
    images, targets = pictures(colours)
    kept = targets != 1
    answers = run.model(normalised(images[kept], mean, std)).argmax(1)
    assert (answers == torch.where(targets[kept] == 0, 4, 2)).double().mean() > 0.8
    top1 = next(float(line.split()[1]) for line in out.splitlines() if line.startswith("top1"))
    assert top1 >= 0.5


def test_synset_folders_of_a_model_of_imagenets_thousand(colours, looksharp, tmp_path):
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=1000).state_dict(), tmp_path / "weights.pt")
    synsets = {"blue": "n01440764", "green": "n02012849", "red": "n03126707"}  # a tench, and both kinds of crane
    (tmp_path / "photographs").mkdir()
    for name, synset in synsets.items():
        (tmp_path / "photographs" / synset).symlink_to(colours / name)
    flags = ("--weights", tmp_path / "weights.pt", "--data", tmp_path / "photographs", "--image_size", SIDE)
    out, _ = looksharp("adopt", "test_resnet", *flags, "--device", "cpu", "--out", tmp_path / "run")
    assert out.splitlines()[:4] == [
        f"data {tmp_path / 'photographs'}: 3 of the run's 1000 classes, by this map",
        "n01440764  tench",
        "n02012849  crane bird",
        "n03126707  crane",
    ]
    assert load_run(tmp_path / "run", device="cpu").classes[134] == "crane bird"
