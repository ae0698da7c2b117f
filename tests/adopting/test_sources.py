"""Models of the libraries, with their own weights, names and transforms, from local folders alone."""

import json
import warnings

import numpy as np
import pytest
import timm
import torch
import torchvision
import transformers
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from looksharp import adopt
from looksharp.data.transform import image_transform
from looksharp.images.reading import read_image
from looksharp.networks.backbones.build import source_of
from looksharp.training import load_run

NAMES = {0: "heron", 1: "otter", 2: "wren"}


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "wide.png"
    noise = np.random.default_rng(0).integers(0, 255, (11, 17, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((90, 71), Image.BICUBIC).save(path)
    return path


def answer(run, path):
    """Logits of a picture as every command reads it."""
    image = image_transform(run.pixels)(read_image(path))
    output = run.model(run.pixels.normalize(image.as_subclass(torch.Tensor))[None])
    return getattr(output, "logits", output).detach()


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def vit_folder(folder):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, id2label=NAMES)
    network = transformers.ViTForImageClassification(config).eval()
    network.save_pretrained(folder)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6])
    processor.save_pretrained(folder)
    return network, processor


def test_a_folder_of_transformers(tmp_path, picture, monkeypatch, capsys):
    network, processor = vit_folder(tmp_path / "vit")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    adopt("hf:vit", out=tmp_path / "run", device="cpu")
    said = capsys.readouterr().err
    assert "heron, otter, wren (by the image processor of hf:" in said
    run = load_run(tmp_path / "run", device="cpu")
    assert run.config.network.backbone == f"hf:{tmp_path / 'vit'}"
    assert (run.classes, run.pixels.size, run.pixels.mean) == (("heron", "otter", "wren"), (32, 32), (0.4, 0.5, 0.6))
    inputs = processor(images=Image.open(picture), return_tensors="pt")
    with torch.no_grad():
        close(answer(run, picture), network(**inputs).logits)


def test_a_checkpoint_of_a_network_of_transformers(tmp_path, capsys):
    network, _ = vit_folder(tmp_path / "vit")
    with torch.no_grad():
        network.classifier.weight.mul_(2)
    torch.save(
        {"state_dict": {f"model.{key}": value for key, value in network.state_dict().items()}}, tmp_path / "w.pt"
    )
    capsys.readouterr()
    run = adopt(f"hf:{tmp_path / 'vit'}", weights=tmp_path / "w.pt", device="cpu")
    assert "(state the size, mean or std that it was trained with, if they are others)" in capsys.readouterr().err
    images = torch.randn(2, 3, 32, 32)
    close(run.model(images).logits, network(images).logits)


def test_without_an_image_processor_the_flags_are_named(tmp_path):
    vit_folder(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match="state it by --image_size, --mean, --std"):
        adopt(f"hf:{tmp_path / 'vit'}", progress=False)
    with pytest.raises(ValueError, match=r"^the weights of 'hf:\S+nothing' could not be loaded "):
        adopt(f"hf:{tmp_path / 'nothing'}", progress=False)


def test_the_whole_imagenets_classes_are_synsets():
    found = source_of("vit_base_patch16_224.augreg_in21k").stated("vit_base_patch16_224.augreg_in21k").classes
    assert (len(found), found[:2]) == (21843, ("n00004475", "n00005787"))


def timm_folder(folder):
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3).eval()
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    labels = {"label_names": list(NAMES.values())}
    cfg = {"input_size": [3, 48, 48], "crop_pct": 0.9, "interpolation": "bicubic", "mean": [0.4] * 3, "std": [0.3] * 3}
    cfg |= {"num_classes": 3, "classifier": "fc", "first_conv": "conv1", **labels}
    content = {"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": cfg}
    (folder / "config.json").write_text(json.dumps(content))
    return network


def test_a_folder_of_timm(tmp_path, picture):
    network = timm_folder(tmp_path / "net")
    adopt(f"local-dir:{tmp_path / 'net'}", out=tmp_path / "run", device="cpu", progress=False)
    run = load_run(tmp_path / "run", device="cpu")
    assert run.classes == tuple(NAMES.values())
    theirs = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(theirs))
    with torch.no_grad():
        close(answer(run, picture), theirs(transform(Image.open(picture))[None]))
        close(answer(run, picture), network(transform(Image.open(picture))[None]))


@pytest.mark.parametrize("spelling", ["torchvision:", "torchvision/"])
def test_a_network_of_torchvision(spelling, tmp_path, picture):
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(num_classes=3).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    run = adopt(f"{spelling}squeezenet1_1", weights=tmp_path / "w.pth", classes="a,b,c", device="cpu", progress=False)
    transform = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    with torch.no_grad():
        close(answer(run, picture), network(transform(Image.open(picture))[None]))


def test_published_weights_have_imagenets_classes(tmp_path, monkeypatch, picture):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of initialisation that is slow
        theirs = torchvision.models.googlenet(init_weights=False)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: theirs.state_dict())
    expected = torchvision.models.googlenet(weights="DEFAULT").eval()
    adopt("torchvision:googlenet", out=tmp_path / "run", device="cpu", progress=False)
    run = load_run(tmp_path / "run", device="cpu")
    assert (run.classes[0], len(run.classes)) == ("tench", 1000)
    transform = torchvision.models.GoogLeNet_Weights.DEFAULT.transforms()
    with torch.no_grad():
        close(answer(run, picture), expected(transform(Image.open(picture))[None]))


def test_a_checkpoint_with_auxiliary_classifiers(tmp_path):
    theirs = torchvision.models.googlenet(num_classes=3, init_weights=False).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    run = adopt("torchvision:googlenet", weights=tmp_path / "w.pth", classes="a,b,c", device="cpu", progress=False)
    theirs.transform_input = True
    images = torch.randn(1, 3, 224, 224)
    close(run.model(images), theirs(images))


def test_a_transformer_trained_at_another_size(tmp_path):
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=2).eval()
    state = {name: value for name, value in theirs.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"do not fit vit_tiny_patch16_224: they lack blocks\.2\."):
        adopt("vit_tiny_patch16_224", weights=tmp_path / "w.pth", classes="a,b,c", progress=False)
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=r"pos_embed is 1x5x192 in the file, and in the network 1x197x192; check .*size"
    ):
        adopt("vit_tiny_patch16_224", weights=tmp_path / "w.pth", classes="a,b,c", progress=False)


def test_a_lost_transform_is_said_with_the_flags_that_state_it(tmp_path, monkeypatch):
    timm_folder(tmp_path / "net")
    path = tmp_path / "net" / "config.json"
    content = json.loads(path.read_text())
    content["pretrained_cfg"]["crop_mode"] = "border"
    path.write_text(json.dumps(content))
    message = r"^the transform's crop_mode is 'border', which cannot be reproduced; state the pixels by --image_size, "
    with pytest.raises(ValueError, match=message):
        adopt(f"local-dir:{tmp_path / 'net'}", progress=False)
