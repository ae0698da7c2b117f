import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

from looksharp import cli
from looksharp.adopting import adopt
from looksharp.data.pixels import Pixels
from looksharp.exporting.export import export_run
from looksharp.exporting.hub_classifier import HubClassifier
from looksharp.exporting.settings import ExportSettings
from looksharp.networks import build_classifier
from looksharp.training.folder import Run
from looksharp.training.settings import RunConfig

NAMES = ("cat", "dog", "eel")
PIXELS = Pixels((32, 40), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), crop_share=0.8, resizer="pil", fit="shorter")


@pytest.fixture
def timms():
    network = timm.create_model("test_resnet", num_classes=3)
    return adopt(network, classes=NAMES, pixels=PIXELS, progress=False)


@pytest.fixture
def wrapped():
    values = {"backbone": "small", "architecture": "attention_branch", "attention_branch": {"preset": "official_code"}}
    config = RunConfig.from_flat(values | {"root": "/home/somebody"})
    network = build_classifier(
        "small", 3, image_size=PIXELS.size, architecture="attention_branch", options={"preset": "official_code"}
    )
    return Run(None, config, network.eval(), NAMES, PIXELS, False, 0.0)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A local folder in the place of the Hugging Face Hub."""
    place = tmp_path / "hub"

    def create(self, repo_id, **_):
        (place / repo_id).mkdir(parents=True)
        return SimpleNamespace(repo_id=repo_id)

    def upload(self, *, repo_id, folder_path, **_):
        shutil.copytree(folder_path, place / repo_id, dirs_exist_ok=True)

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "file_exists", lambda self, **_: False)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    return place


def written(run, folder):
    return export_run(run, ExportSettings(Path("run"), folder, "hub"))


def test_timms_networks_are_timms_folders(timms, tmp_path):
    found = written(timms, tmp_path / "net")
    assert found.said == {"read by": f"timm.create_model('local-dir:{tmp_path}/net', pretrained=True)"}
    network = timm.create_model(f"local-dir:{tmp_path}/net", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 40)
    torch.testing.assert_close(network(images), timms.model(images), rtol=0, atol=0)
    again = adopt(f"local-dir:{tmp_path}/net", progress=False)
    assert again.classes == NAMES
    assert again.pixels == replace(PIXELS, crop_share=1.0, resize_size=(40, 50))


def test_pixels_that_timm_reads_otherwise_are_said(timms, tmp_path):
    found = written(replace(timms, pixels=replace(PIXELS, resizer="torch")), tmp_path / "net")
    assert found.said["pixels"].startswith("timm resizes image files by PIL")


def test_networks_of_looksharp_come_back_as_runs(wrapped, tmp_path, capfd):
    written(wrapped, tmp_path / "net")
    network = HubClassifier.from_pretrained(tmp_path / "net")
    images = torch.rand(2, 3, 32, 40)
    torch.testing.assert_close(network(images), wrapped.model(images), rtol=0, atol=0)
    assert not network.training
    run = network.run
    assert (run.classes, run.pixels, run.multilabel) == (NAMES, PIXELS, False)
    assert run.config.network == wrapped.config.network
    assert "somebody" not in (tmp_path / "net" / "config.json").read_text()
    assert "library_name: looksharp" in (tmp_path / "net" / "README.md").read_text()
    capfd.readouterr()


def test_weights_that_lack_a_value_are_refused(wrapped, tmp_path, capfd):
    written(wrapped, tmp_path / "net")
    path = tmp_path / "net" / "model.safetensors"
    state = load_file(path)
    state.pop("model.backbone.fc.weight")
    save_file(state, path)
    with pytest.raises(RuntimeError, match="Missing key"):
        HubClassifier.from_pretrained(tmp_path / "net")
    capfd.readouterr()


def test_push_of_timms_network(timms, hub):
    found = export_run(timms, ExportSettings(Path("run"), push="me/net"))
    assert found.path is None
    assert found.said["read by"] == "timm.create_model('hf-hub:me/net', pretrained=True)"
    network = timm.create_model(f"local-dir:{hub}/me/net", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 40)
    torch.testing.assert_close(network(images), timms.model(images), rtol=0, atol=0)
    assert json.loads((hub / "me/net/config.json").read_text())["label_names"] == list(NAMES)
    assert not list(hub.rglob("*.bin"))  # no pickle


def test_push_of_another_network(wrapped, hub, capfd):
    export_run(wrapped, ExportSettings(Path("run"), push="me/net"))
    images = torch.rand(2, 3, 32, 40)
    network = HubClassifier.from_pretrained(hub / "me/net")
    torch.testing.assert_close(network(images), wrapped.model(images), rtol=0, atol=0)
    capfd.readouterr()


def test_a_push_that_fails_is_one_line(wrapped, hub, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError("401 Client Error\nRepository Not Found")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(
        ValueError, match=r"^push to me/net failed: 401 Client Error \(it needs network access"
    ) as caught:
        export_run(wrapped, ExportSettings(Path("run"), push="me/net"))
    assert "\n" not in str(caught.value)


def test_a_folder_that_holds_something_is_left(timms, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty; choose another --out"):
        written(timms, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_backbone_of_this_machine_alone_is_refused(timms, tmp_path):
    written(timms, tmp_path / "net")
    config = RunConfig.from_flat({"backbone": f"local-dir:{tmp_path}/net", "architecture": "attention_branch"})
    with pytest.raises(ValueError, match="is a folder of this machine, from which nobody else can build it"):
        HubClassifier.of(replace(timms, config=config))


def test_the_command_writes_a_folder(timms, tmp_path, capfd):
    written(timms, tmp_path / "net")
    arguments = ["adopt", f"local-dir:{tmp_path}/net", "--out", str(tmp_path / "run")]
    assert cli.main([*arguments, "--device", "cpu"]) == 0
    capfd.readouterr()
    assert cli.main(["export", str(tmp_path / "run"), "--format", "hub"]) == 0
    assert re.search(rf"^written +{tmp_path}/run/hub$", capfd.readouterr().out, re.MULTILINE)
    assert sorted(path.name for path in (tmp_path / "run" / "hub").iterdir()) == ["config.json", "model.safetensors"]
