import json
import os
import subprocess
import sys

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from looksharp import adopt, cli
from looksharp.data.split import Pixels
from looksharp.networks import SmallNet
from looksharp.training import load_run

from .conftest import CLASSES, SIDE, normalised, pictures

HALVES = (0.5, 0.5, 0.5)


def same_logits(run, network, images):
    with torch.no_grad():
        torch.testing.assert_close(run.model(images), network(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_a_network_of_timm_trained_by_a_plain_loop(name, request, colours, looksharp, tmp_path):
    network, mean, std = request.getfixturevalue(name)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    out, err = looksharp(
        *("adopt", f"test_{name}", "--weights", tmp_path / "weights.pt", "--data", colours, "--image_size", SIDE),
        *("--out", tmp_path / "run", "--device", "cpu"),
    )
    assert err == ""
    images, targets = pictures(colours)
    images = normalised(images, mean, std)
    run = load_run(tmp_path / "run", device="cpu")
    same_logits(run, network, images)
    assert (run.classes, run.pixels.size, run.pixels.mean, run.pixels.std) == (CLASSES, (SIDE, SIDE), mean, std)
    accuracy = (network(images).argmax(1) == targets).double().mean()
    assert accuracy > 0.9  # it has learnt
    (line,) = [line for line in out.splitlines() if line.startswith("accuracy")]
    assert float(line.split()[1].rstrip("%")) > 80
    assert "on 12 images of val and test (guessing among their 3 classes: 33.3%)" in line
    assert "blue, green, red (the data's, by order)" in out
    assert f"by timm's configuration of test_{name}; --image_size as given\n" in out
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["adopted"]["weights"] == str(tmp_path / "weights.pt")
    assert facts["images"] == {"train": 48, "val": 6, "test": 6}


def test_a_wrong_order_of_the_classes_shows(colours, resnet, looksharp, tmp_path):
    network, _, _ = resnet
    turned = {name: value for name, value in network.state_dict().items()}
    turned |= {name: turned[name].roll(1, 0) for name in ("fc.weight", "fc.bias")}  # blue now answers as green
    save_file(turned, tmp_path / "weights.safetensors")
    flags = ("--weights", tmp_path / "weights.safetensors", "--data", colours, "--image_size", SIDE, "--device", "cpu")
    out, err = looksharp("adopt", "test_resnet", *flags, "--out", tmp_path / "run")
    assert "  0.0% on 12 images" in out
    assert err.startswith(
        "looksharp: warning: predictions look permuted: 'blue' of the data is answered as 'green' in "
    )
    assert "in the order --classes red,blue,green 100% would be correct" in err


def test_little_better_than_guessing_is_said(colours, looksharp, tmp_path):
    torch.manual_seed(1)
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "weights.pt")
    flags = ("--weights", tmp_path / "weights.pt", "--data", colours, "--image_size", SIDE, "--device", "cpu")
    _, err = looksharp("adopt", "test_resnet", *flags, "--out", tmp_path / "run")
    assert "that is little better than guessing: check the order of --classes, the weights, and the pixels" in err


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(2 * width * 16 * 16, 3)  # reads each position: no pooling

    def forward(self, images):
        return {"logits": self.head(self.body(self.stem(images)).flatten(1)), "extra": images.mean()}

def make():
    return Net()
"""


def test_own_code_reads_back_in_a_fresh_process_elsewhere(colours, own_code, looksharp, tmp_path):
    folder = own_code("mine_fresh", OWN)
    sys.path.insert(0, str(folder))
    try:
        import mine_fresh

        network = mine_fresh.make().eval()
    finally:
        sys.path.remove(str(folder))
    torch.save({"model_state_dict": network.state_dict(), "epoch": 3}, folder / "weights.pt")
    out, _ = looksharp(
        *("adopt", "mine_fresh:make", "--weights", "weights.pt", "--data", colours, "--image_size", SIDE),
        *("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--out", tmp_path / "run", "--device", "cpu"),
    )
    assert "weights.pt; its model_state_dict" in out
    assert "as given; files are resized as looksharp does, to cover that size and be cut (--fit, --resize_size, " in out
    code = (
        "import torch, sys; from looksharp.training import load_run; run = load_run(sys.argv[1], device='cpu');"
        "torch.save(run.model(torch.load(sys.argv[2]))['logits'].detach(), sys.argv[3])"
    )
    images = torch.randn(2, 3, SIDE, SIDE)
    torch.save(images, tmp_path / "images.pt")
    arguments = [str(tmp_path / name) for name in ("run", "images.pt", "logits.pt")]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, cwd=elsewhere, env=dict(os.environ))
    torch.testing.assert_close(
        torch.load(tmp_path / "logits.pt"), network(images)["logits"].detach(), atol=1e-6, rtol=0
    )


def test_code_that_has_moved_is_named_and_found_again(own_code, tmp_path):
    folder = own_code("mine_moved", "from looksharp.networks import SmallNet\ndef make():\n    return SmallNet(2)\n")
    pixels = Pixels((16, 16))
    adopt("mine_moved:make", pixels=pixels, classes="a,b", out=tmp_path / "run", progress=False)
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert settings["code"] == str(folder)
    del sys.modules["mine_moved"]
    folder.rename(tmp_path / "moved")
    message = "^backbone 'mine_moved:make': there is no module 'mine_moved' on Python's path; start in the folder that "
    with pytest.raises(ValueError, match=message):
        load_run(tmp_path / "run", device="cpu")
    settings["code"] = str(tmp_path / "moved")
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(settings))
    assert load_run(tmp_path / "run", device="cpu").classes == ("a", "b")


def test_other_code_of_the_same_name_is_refused(own_code, tmp_path):
    source = "from looksharp.networks import SmallNet\ndef make():\n    return SmallNet(2)\n"
    own_code("mine_twice", source)
    pixels = Pixels((16, 16))
    adopt("mine_twice:make", pixels=pixels, classes="a,b", out=tmp_path / "run", progress=False)
    own_code("mine_twice", source, "elsewhere")
    with pytest.raises(
        ValueError, match=r"a module 'mine_twice' is imported already from .*work.*, not from .*elsewhere"
    ):
        adopt("mine_twice:make", pixels=pixels, classes="a,b", progress=False)


def test_own_code_is_a_backbone_of_train_too(own_code, colours, looksharp, tmp_path):
    own_code(
        "mine_trained",
        "from looksharp.networks import SmallNet\n"
        "def make(num_classes, width=4):\n    return SmallNet(num_classes, width=width)\n",
    )
    looksharp(
        *("train", "--backbone", "mine_trained:make", "--data", colours, "--out", tmp_path / "run", "--device", "cpu"),
        *("--epochs", 1, "--workers", 0, "--image_size", 16),
    )
    assert load_run(tmp_path / "run", device="cpu").model.fc.out_features == 3


def test_a_model_in_hand(resnet, colours):
    network, mean, std = resnet
    run = adopt(network, classes=CLASSES, pixels=Pixels((SIDE, SIDE), mean, std), data=colours, progress=False)
    assert run.path is None
    assert run.model is network
    assert (run.classes, run.multilabel, run.pixels.mean) == (CLASSES, False, mean)
    with pytest.raises(ValueError, match=r"^the run has no folder, which this needs; adopt the model with out=FOLDER$"):
        run.folder  # noqa: B018


def test_a_model_in_hand_is_kept_by_the_name_that_builds_it(resnet, tmp_path):
    network, mean, std = resnet
    pixels = Pixels((SIDE, SIDE), mean, std)
    with pytest.raises(ValueError, match=r"^made_by must name what builds a ResNet again, package\.module:function, "):
        adopt(network, classes=CLASSES, pixels=pixels, out=tmp_path / "run", progress=False)
    message = r"^made_by 'test_resnet2?' builds another network than the model: .* does not fit$"
    with pytest.raises(ValueError, match=message):
        adopt(SmallNet(3), classes=CLASSES, pixels=pixels, out=tmp_path / "run", made_by="test_resnet", progress=False)
    assert not (tmp_path / "run").exists()
    found = adopt(network, classes=CLASSES, pixels=pixels, out=tmp_path / "run", made_by="test_resnet", progress=False)
    assert found.path == tmp_path / "run"
    same_logits(load_run(found.path, device="cpu"), network, torch.randn(2, 3, SIDE, SIDE))


def test_what_a_model_in_hand_was_understood_as_is_printed(resnet, capsys):
    adopt(resnet[0], classes="blue,green,red", pixels=Pixels((SIDE, SIDE), *resnet[1:]))
    said = capsys.readouterr()
    assert said.out == ""
    assert "classes  blue, green, red (as given)" in said.err


def test_the_pixels_of_a_model_in_hand_are_its_own(resnet):
    run = adopt(resnet[0], classes=CLASSES, progress=False)
    assert (run.pixels.size, run.pixels.mean) == ((160, 160), HALVES)
    with pytest.raises(ValueError, match=r"model SmallNet is not known; state it by --image_size, --mean, --std"):
        adopt(SmallNet(3), classes=CLASSES, progress=False)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("test_resnet",), "out must name the run folder to write: --out RUN"),
        (("test_resne", "--out", "run"), "backbone 'test_resne' is not known; did you mean 'test_resnet'"),
        (
            ("small", "--out", "run"),
            "how images become the input of model small is not known; state it by --image_size",
        ),
        (
            ("small", "--image_size", "8", "--mean", "0,0,0", "--std", "1,1,1", "--out", "run"),
            "has no published weights",
        ),
        (("nothing:make", "--out", "run"), "backbone 'nothing:make': there is no module 'nothing' on Python's path"),
        (
            ("broken:make", "--out", "run", "--image_size", "8", "--mean", "0,0,0", "--std", "1,1,1"),
            "cannot be imported",
        ),
        (("test_resnet", "--weights", "none.pt", "--out", "run"), "weights none.pt do not exist"),
        (("test_resnet", "--data", "nowhere/here", "--out", "run"), "data folder nowhere/here does not exist"),
        (
            ("test_resnet", "--clases", "a,b", "--out", "run"),
            "'--clases' is not an argument of adopt; did you mean --classes",
        ),
    ],
)
def test_bad_input_is_one_line(flags, message, fails, own_code):
    own_code("broken", "import nothing_of_this_name\n")
    assert message in fails("adopt", *flags)


def test_a_folder_that_holds_a_run_is_refused(resnet, fails, tmp_path):
    (tmp_path / "config.yaml").write_text("")
    assert "already holds a run" in fails("adopt", "test_resnet", "--out", tmp_path)


def test_help_tells_what_a_model_may_be(capsys):
    with pytest.raises(SystemExit):
        cli.main(["adopt", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for word in ("package.module:function", "hf:FOLDER", "--classes", "--weights", "--mean", "--voc.set"):
        assert (word in said) == (word != "--voc.set")
    with pytest.raises(SystemExit):
        cli.main(["adopt", "--data", "voc", "--help"])
    assert "--voc.set" in capsys.readouterr().out
