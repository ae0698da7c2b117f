import re
import sys
from importlib.metadata import version

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import transforms

from looksharp import cli
from looksharp.attention.attend import Attention
from looksharp.data.build import DataConfig
from looksharp.data.pixels import Pixels
from looksharp.diagnosis import DoctorSettings, autograd_check, diagnose
from looksharp.diagnosis.autograd_check import differences, see
from looksharp.diagnosis.network_facts import depends_on_batch, differs_again, said_normalisation
from looksharp.diagnosis.subject import Subject
from looksharp.networks import CifarResNet, SmallNet
from looksharp.training import train
from looksharp.training.settings import NetworkConfig, RunConfig, TrainingConfig


@pytest.fixture
def doctor(capfd):
    """Run the command; gives its status, what it printed by topic, and its one line of error."""

    def call(*arguments):
        capfd.readouterr()
        status = cli.main(["doctor", *map(str, arguments), "--device", "cpu"])
        out, err = capfd.readouterr()
        topics = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
        widths = {len(re.match(r".*?  +", line)[0]) for line in out.splitlines()}
        assert len(widths) < 2  # aligned
        return status, topics, err.strip().removeprefix("looksharp: error: ")

    return call


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    sizes = {"train": 32, "val": 8, "test": 8}
    config = RunConfig(
        data=DataConfig("digits", settings=sizes),
        network=NetworkConfig("small"),
        training=TrainingConfig(epochs=1, device="cpu", workers=0),
    )
    return train(config, tmp_path_factory.mktemp("runs") / "digits", progress=False).path


def share(text):
    return float(re.search(r"by (\S+) of its largest value", text)[1])


def test_a_run(run, doctor):
    status, topics, err = doctor(run)
    assert (status, err) == (0, "")
    assert list(topics) == [
        *("looksharp", "devices", "optional", "run", "weights", "classes", "pixels", "normalised", "mode"),
        *("inner layer", "last layer", "head", "inner map", "last map"),
    ]
    assert topics["looksharp"].startswith(f"{version('looksharp')}, Python ")
    assert topics["run"] == f"{run}, small, 0.0383 M parameters"
    assert topics["classes"] == "10: 0, 1, 2, 3, 4, 5, ... (by the run)"
    assert topics["pixels"] == "48 x 48 px, mean 0.4 0.4 0.4, std 0.25 0.25 0.25"
    assert topics["mode"] == "6 BatchNorm, no dropout"
    assert topics["last layer"] == "stage3, 6 x 6 of 48 x 48 px: maps (B, 64, 6, 6), channels first"
    assert topics["head"].startswith("average pooling and one linear layer (fc)")
    assert share(topics["inner map"]) < 1e-5
    assert share(topics["last map"]) < 1e-5


def test_a_cnn_of_dropout_without_a_pooled_head(doctor):
    status, topics, _ = doctor("torchvision:squeezenet1_1", "--image-size", "64,96")
    assert status == 0
    assert topics["model"] == "torchvision:squeezenet1_1, 1.24 M parameters"
    assert topics["mode"] == "no BatchNorm, 1 dropout (up to 0.5)"
    assert topics["last layer"].startswith("classifier.2, 3 x 5 of 64 x 96 px: maps (B, 1000, 3, 5)")
    assert topics["head"].startswith("not one linear layer over averaged positions (classifier.1 is the last ")


def test_a_vit_of_a_published_configuration(doctor):
    status, topics, _ = doctor("test_vit", "--image-size", "96")
    assert status == 0
    assert topics["weights"] == "new and random; --weights or --pretrained loads others"
    assert topics["classes"].startswith("1000: tench, goldfish, ")
    assert topics["last layer"] == (
        "blocks.5.norm1, 6 x 6 of 96 x 96 px: 37 tokens of 64 channels: 1 prefix token, then 6 x 6 patches"
    )
    assert "one backward" in topics["head"]
    assert share(topics["last map"]) < 1e-5


def test_weights_of_a_file_and_channels_last(doctor, tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, img_size=64, window_size=2)
    assert see(network.eval(), torch.rand(1, 3, 64, 64), "layers.2").layout.kind == "NHWC"
    save_file(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "w.safetensors")
    status, topics, _ = doctor("test_resnet", "--weights", tmp_path / "w.safetensors", "--image-size", 64)
    assert (status, topics["weights"]) == (0, str(tmp_path / "w.safetensors"))
    assert topics["classes"] == "3, whose names are not stated"


def test_the_installation_alone(doctor):
    status, topics, _ = doctor()
    assert (status, list(topics)) == (0, ["looksharp", "devices", "optional"])


# Maps ------------------------------------------------------------------------------------------------------------


def test_plain_autograd_gives_cam_where_a_pooled_map_is_classified_linearly():
    """Closed form: the gradient of a mean's position is the classifier's weight over their number."""
    torch.manual_seed(0)
    network, images = CifarResNet(20, 10).double().eval(), torch.rand(2, 3, 32, 32, dtype=torch.double)
    kept = []
    network.layer3.register_forward_hook(lambda _module, _args, output: kept.append(output.detach()))
    classes = torch.tensor([[0, 3], [9, 1]])
    found = see(network, images, "layer3").maps(classes)
    for image in range(2):
        for place, label in enumerate(classes[image].tolist()):
            cam = torch.einsum("c,chw->hw", network.fc.weight[label], kept[-1][image]) / 64
            torch.testing.assert_close(found[image, place], cam.detach())


def test_maps_that_differ_end_the_command_with_an_error(run, doctor, monkeypatch):
    whole = autograd_check.attend

    def wrong(*arguments, **options):
        found = whole(*arguments, **options)
        maps = {layer: maps * (1.001 if layer == "stage3" else 1) for layer, maps in found.maps.items()}
        return Attention(found.logits, found.classes, maps)

    monkeypatch.setattr(autograd_check, "attend", wrong)
    status, topics, err = doctor(run)
    assert (status, err) == (2, "maps of stage3 differ from autograd's by 1.0e-03, above 0.0001")
    assert share(topics["inner map"]) < 1e-5
    monkeypatch.setattr(
        autograd_check,
        "attend",
        lambda *a, **o: Attention(
            whole(*a, **o).logits, whole(*a, **o).classes, dict.fromkeys(("stage2", "stage3"), torch.nan)
        ),
    )
    assert doctor(run)[2] == "maps of stage2 and stage3 differ from autograd's by nan, above 0.0001"


def test_an_operation_in_place_behind_the_layer_does_not_matter():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, 2), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    assert max(differences(network.eval(), torch.randn(3, 3, 24, 24), ("0", "2", "3")).values()) < 1e-5


# Broken networks -------------------------------------------------------------------------------------------------


CODE = """
import torch
from looksharp.networks import SmallNet

def broken():
    network = SmallNet(4, width=8)
    with torch.no_grad():
        next(network.parameters())[0] = float("nan")
    return network

class Noisy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = SmallNet(4, width=8)
    def forward(self, images):
        return self.network(images) + torch.rand(len(images), 4)

class Infinite(Noisy):
    def forward(self, images):
        return self.network(images) * float("inf")

class Ours(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = SmallNet(4, width=8)
        self.register_buffer("mean", torch.tensor([0.5, 0.5, 0.5]).view(3, 1, 1))
    def forward(self, images):
        return self.network(images - self.mean)

class Batch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = SmallNet(4, width=8)
        for name, module in list(self.network.named_modules()):
            if isinstance(module, torch.nn.BatchNorm2d):
                self.network.set_submodule(name, torch.nn.BatchNorm2d(module.num_features, track_running_stats=False))
    def forward(self, images):
        return self.network(images)
"""


@pytest.fixture(scope="module")
def _written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    (folder / "doctored.py").write_text(CODE)
    return folder


@pytest.fixture
def code(_written, monkeypatch):
    monkeypatch.chdir(_written)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r"the network's weights '.*' are not finite \(NaN or infinity\), so nothing can be measured; .*"),
        ("Noisy", "two forwards of the same images differ: something is drawn at random in evaluation mode"),
        ("Infinite", r"the network's answers are not finite \(NaN or infinity\), so .*"),
        ("Batch", "an image's logits depend on the others of its batch: BatchNorm without running statistics.*"),
    ],
)
def test_what_is_wrong_is_said_behind_what_is_understood(name, message, doctor, code):
    status, topics, err = doctor(f"doctored:{name}", "--image-size", 48)
    assert status == 2
    assert re.fullmatch(message, err)
    assert topics["model"].startswith(f"doctored:{name}, ")


def test_weights_that_are_not_finite_are_refused_with_their_file(run, doctor, tmp_path):
    state = timm.create_model("test_resnet", num_classes=3).state_dict()
    state["fc.bias"][1] = torch.inf
    save_file(state, tmp_path / "w.safetensors")
    status, topics, err = doctor("test_resnet", "--weights", tmp_path / "w.safetensors", "--image-size", 64)
    assert (status, topics) == (2, {})
    assert err.startswith(f"weights {tmp_path / 'w.safetensors'} are not finite (fc.bias)")


def test_normalisation_inside_the_network_is_found(doctor, code):
    status, topics, _ = doctor("doctored:Ours", "--image-size", 48)
    assert (status, topics["normalised"]) == (0, "inside the network (Ours)")
    network = nn.Sequential(transforms.Normalize((0.5,) * 3, (0.5,) * 3), SmallNet(4, width=8)).eval()
    assert said_normalisation(network, None) == ("inside the network (0)", False)
    assert said_normalisation(network[1], Pixels((8, 8))) == ("outside the network", False)


def test_colours_normalised_twice(monkeypatch):
    network = nn.Sequential(transforms.Normalize((0.5,) * 3, (0.5,) * 3), SmallNet(4, width=8)).eval()
    for pixels, problems in (
        (Pixels((48, 48)), ("colours are normalised twice, inside the network and outside it",)),
        (Pixels((48, 48), (0.0,) * 3, (1.0,) * 3), ()),
    ):
        subject = Subject(network, (48, 48), pixels, (), "", {})
        monkeypatch.setattr(
            sys.modules["looksharp.diagnosis.diagnose"], "read_subject", lambda _, subject=subject: subject
        )
        assert diagnose(DoctorSettings()).problems == problems


def test_layers_are_checked_and_may_be_any(run, doctor):
    status, topics, _ = doctor(run, "--layers", "stage1")
    assert (status, "stage1 map" in topics) == (0, True)
    assert "layer 'stage9' is not in SmallNet" in doctor(run, "--layers", "stage9")[2]


def test_what_is_for_models_alone(run, doctor, tmp_path):
    assert doctor(run, "--pretrained")[2] == (
        f"pretrained is for a model that is named; {run} is a run folder, which has its own"
    )
    assert "is not a run folder" in doctor(tmp_path)[2]
    assert "is not known" in doctor("resnet18x")[2]


def test_drawn_answers_and_batches_against_a_network_that_has_none():
    network, images = SmallNet(4, width=8).eval(), torch.randn(3, 3, 24, 24)
    assert not differs_again(network, images)
    assert not depends_on_batch(network, images)
    assert depends_on_batch(network.train(), images)
