import json
import subprocess
import sys
from dataclasses import replace
from importlib import util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from looksharp import cli
from looksharp.adopting import adopt
from looksharp.attention.attend import attend
from looksharp.attention.mechanisms.recipro_cam import ReciproCAM
from looksharp.data.pixels import Pixels
from looksharp.exporting import export as exporting
from looksharp.exporting import programs
from looksharp.exporting.checking import fitted, map_difference
from looksharp.exporting.choosing import mapped, pictures
from looksharp.exporting.export import export
from looksharp.exporting.mapped import Deployed
from looksharp.exporting.settings import ExportSettings
from looksharp.networks import AttendAndRectify, AttentionBranchNetwork, SmallNet

NAMES = ("cat", "dog", "eel", "fox")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_maps.py"


def adopted(network, size=(24, 32)):
    return adopt(network, classes=NAMES, pixels=Pixels(size, MEAN, STD), progress=False)


class Flattened(nn.Module):
    """A classifier that does not pool: each position has weights of its own, behind a nonlinearity."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.stage = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.Tanh())
        self.hidden = nn.Linear(8 * 6 * 8, 16)
        self.fc = nn.Linear(16, 4)

    def forward(self, images):
        return self.fc(self.hidden(self.stage(self.stem(images)).flatten(1)).relu())


class Again(nn.Module):
    """A classifier that reads its images a second time, behind the layer."""

    def __init__(self):
        super().__init__()
        self.inner, self.fc = Flattened(), nn.Linear(3, 4)

    def forward(self, images):
        return self.inner(images) + self.fc(images.mean((2, 3)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An adopted classifier in a run folder, the same with its weights, and its export as ONNX by the command."""
    place = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    network = SmallNet(4).eval()
    torch.save(network.state_dict(), place / "weights.pt")
    adopt(
        "small",
        classes=NAMES,
        pixels=Pixels((24, 32), MEAN, STD),
        weights=place / "weights.pt",
        out=place / "run",
        progress=False,
    )
    assert cli.main(["export", str(place / "run"), "--out", str(place / "model.onnx"), "--top", "3"]) == 0
    return place


@pytest.fixture(scope="module")
def session(folder):
    return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_onnx_file_gives_logits_classes_and_maps(folder, session, count):
    """Beside the closed form in numpy, from the features that a hook of torch's sees."""
    image = pictures(count, (24, 32), seed=count)
    logits, classes, maps = session.run(None, {"image": image.numpy()})
    network = SmallNet(4).eval()
    network.load_state_dict(torch.load(folder / "weights.pt"))
    seen = []
    network.stage3.register_forward_hook(lambda _m, _a, output: seen.append(output.detach().numpy().copy()))
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (MEAN, STD))
    with torch.no_grad():
        wanted = network(torch.from_numpy((image.numpy().astype(np.float32) / 255 - mean) / std)).numpy()
    (features,) = seen
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
    np.testing.assert_array_equal(classes, np.argsort(-wanted, 1)[:, :3])
    weights = network.fc.weight.detach().numpy()[classes]  # (B, K, C)
    closed = np.maximum(np.einsum("bkc,bchw->bkhw", weights, features), 0) / features[0, 0].size
    np.testing.assert_allclose(maps, closed, atol=1e-6 * closed.max())


class Doubled(Pixels):
    """Pixels that become input in float64, of the same values."""

    def normalize(self, images):
        return super().normalize(images).double()


def test_what_maps_differ_by_is_the_rounding_of_float32(folder, session, tmp_path):
    """In float64 the graph gives the network's maps; in float32 the file is as far from them as torch itself is."""
    network, image = SmallNet(4).eval(), pictures(6, (24, 32), seed=11)
    network.load_state_dict(torch.load(folder / "weights.pt"))
    normalized = Pixels((24, 32), MEAN, STD).normalize(image)
    inner = mapped(network, normalized, top=3)
    with torch.no_grad():
        _, _, eager = inner(normalized)
        _, classes, exact = inner.double()(normalized.double())
    write, _ = programs.PROGRAMS["onnx"]
    write(Deployed(inner, Doubled((24, 32), MEAN, STD)), image[:2], {}, tmp_path / "double.onnx")
    doubled = ReferenceEvaluator(str(tmp_path / "double.onnx")).run(None, {"image": image.numpy()})
    found = session.run(None, {"image": image.numpy()})
    scale = float(exact.max())
    for answers in (doubled, found):
        np.testing.assert_array_equal(answers[1], classes)
    assert np.abs(doubled[2] - exact.numpy()).max() < 1e-12 * scale
    rounding = float((eager - exact).abs().max())
    assert 0 < rounding < 1e-5 * scale
    assert np.abs(found[2] - exact.numpy()).max() <= 4 * rounding


def test_exported_maps_follow_the_image(session):
    """Each map varies over its positions, and differs between images and between classes."""
    _, _, maps = session.run(None, {"image": pictures(2, (24, 32)).numpy()})
    spread = maps.std((2, 3))
    assert (spread[:, 0] > 0.05 * maps[:, 0].max((1, 2))).all()
    assert np.abs(maps[0] - maps[1]).max() > 0.05 * maps.max()
    assert np.abs(maps[:, 0] - maps[:, 1]).max() > 0.05 * maps.max()


def test_the_facts_of_an_onnx_file(session):
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["mechanism"] == "grad_cam"
    assert facts["maps_of"] == "class"
    read = {name: json.loads(facts[name]) for name in ("classes", "layers", "image_size", "map_outputs", "multilabel")}
    assert read == {
        "classes": list(NAMES),
        "layers": ["stage3"],
        "image_size": [24, 32],
        "map_outputs": ["maps"],
        "multilabel": False,
    }
    assert json.loads(facts["pixels"])["mean"] == list(MEAN)
    (taken,) = session.get_inputs()
    assert (taken.name, taken.shape, taken.type) == ("image", ["batch", 3, 24, 32], "tensor(uint8)")
    assert [(each.name, each.shape[1:]) for each in session.get_outputs()][:2] == [("logits", [4]), ("classes", [3])]


def test_the_example_needs_neither_torch_nor_pillow(folder, tmp_path):
    (picture,) = pictures(1, (24, 32))
    header = b"P6\n32 24\n255\n"
    (tmp_path / "photo.ppm").write_bytes(header + picture.permute(1, 2, 0).numpy().tobytes())
    blocked = "import runpy, sys; sys.modules |= dict.fromkeys(('torch', 'PIL', 'looksharp', 'onnx'));"
    run = f"{blocked} sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    given = [str(EXAMPLE), str(folder / "model.onnx"), str(tmp_path / "photo.ppm"), str(tmp_path / "overlay.ppm")]
    done = subprocess.run(
        [sys.executable, "-c", run, *given], check=False, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    logits, classes, maps = session.run(None, {"image": picture[None].numpy()})
    lines = done.stdout.splitlines()
    assert lines[0] == "maps by grad_cam at stage3"
    odds = torch.from_numpy(logits[0]).softmax(0)
    row, column = np.unravel_index(maps[0, 0].argmax(), maps.shape[2:])
    x, y = (column + 0.5) / maps.shape[3] * 32, (row + 0.5) / maps.shape[2] * 24
    first = int(classes[0, 0])
    assert lines[1] == f"{NAMES[first]:20} {odds[first]:6.1%}  most evidence at x {x:.0f}, y {y:.0f}"
    drawn = np.frombuffer((tmp_path / "overlay.ppm").read_bytes().removeprefix(header), np.uint8).reshape(24, 32, 3)
    redder = drawn[..., 0].astype(float) - picture[0].numpy()
    assert redder.max() > 20  # where the evidence is
    assert redder.min() > -1


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_a_network_that_does_not_pool_gives_recipro_cam(tmp_path, ending):
    """Beside a loop over positions, each of which alone goes on to the classifier."""
    network = Flattened().eval()
    found = export(adopted(network), tmp_path / f"model.{ending}", top=4, mechanism="recipro_cam:false", signed=True)
    assert found.said["maps"] == (
        "of the 4 highest-scoring classes at layer stage, by recipro_cam:gaussian=false, signed"
    )
    image = pictures(2, (24, 32), seed=7)
    if ending == "onnx":
        session = onnxruntime.InferenceSession(found.path, providers=["CPUExecutionProvider"])
        logits, classes, maps = map(torch.from_numpy, session.run(None, {"image": image.numpy()}))
    else:
        extra = {"looksharp.json": ""}
        logits, classes, maps = torch.export.load(found.path, extra_files=extra).module()(image)
        assert json.loads(extra["looksharp.json"])["mechanism"] == "recipro_cam:gaussian=false"
    with torch.no_grad():
        features = network.stage(network.stem(Pixels((24, 32), MEAN, STD).normalize(image)))

        def rest(each):
            return network.fc(network.hidden(each.flatten(1)).relu())

        torch.testing.assert_close(logits, rest(features))
        for row in range(6):
            for column in range(8):
                alone = torch.zeros_like(features)
                alone[..., row, column] = features[..., row, column]
                wanted = (rest(alone) - rest(torch.zeros_like(features))).gather(1, classes)
                torch.testing.assert_close(maps[:, :, row, column], wanted, atol=1e-5, rtol=1e-4)


class Residual(nn.Module):
    """A transformer's block in miniature: what is normalised comes back beside what was not."""

    def __init__(self):
        super().__init__()
        self.norm, self.mix = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, features):
        return features + self.mix(self.norm(features)).relu()


class Blocks(Flattened):
    """A classifier with such a block, and one that does not pool behind it."""

    def __init__(self):
        super().__init__()
        self.stage = nn.Sequential(*self.stage, Residual())


def test_what_lies_beside_the_layer_is_repeated_with_its_block():
    """A layer within a block, of which the block's residual connection leads around."""
    network, images = Blocks().eval(), torch.rand(2, 3, 24, 32)
    inner = mapped(network, images, top=2, layer="stage.2.norm")
    logits, classes, maps = fitted(inner, images)
    assert inner.way == "stage.2"
    assert inner.facts.mechanism == "recipro_cam"
    wanted = attend(network, images, classes, layers=["stage.2.norm"], mechanism="recipro_cam")
    with torch.no_grad():
        found = inner(images)
    torch.testing.assert_close(found[0], logits)
    torch.testing.assert_close(found[2], wanted.maps["stage.2.norm"])
    torch.testing.assert_close(found[2], maps)


def test_without_a_mechanism_the_name_is_that_of_what_is_computed():
    network, images = Flattened().eval(), torch.rand(2, 3, 24, 32)
    assert mapped(network, images, top=2).facts.mechanism == "recipro_cam"
    with pytest.raises(
        ValueError, match=r"^mechanism 'grad_cam' needs a backward to layer 'stage', which is not pooled"
    ):
        mapped(network, images, top=2, mechanism="grad_cam")


def test_an_attention_branch_gives_its_own_map(tmp_path):
    network = AttentionBranchNetwork(SmallNet(4, width=4), image_size=(24, 32)).eval()
    found = export(adopted(network), tmp_path / "model.onnx", top=2)
    assert found.said["maps"] == "the network's own, for all classes, at layer stage3, by built_in"
    session = onnxruntime.InferenceSession(found.path, providers=["CPUExecutionProvider"])
    image = pictures(2, (24, 32), seed=3)
    logits, classes, maps = map(torch.from_numpy, session.run(None, {"image": image.numpy()}))
    with torch.no_grad():
        wanted = network.explained(Pixels((24, 32), MEAN, STD).normalize(image))
    torch.testing.assert_close(logits, wanted.logits)
    torch.testing.assert_close(classes, wanted.logits.topk(2).indices)
    torch.testing.assert_close(maps, wanted.maps)
    assert maps.std((2, 3)).min() > 1e-4
    assert session.get_modelmeta().custom_metadata_map["maps_of"] == "image"


def test_several_tasks_give_the_maps_of_the_chosen_ones():
    network = AttentionBranchNetwork(SmallNet(8, width=4), image_size=(24, 32), multitask=True).eval()
    images = torch.rand(2, 3, 24, 32)
    inner = mapped(network, images, top=2)
    assert inner.facts.of == "class"
    with torch.no_grad():
        _, classes, maps = inner(images)
        explained = network.explained(images)
    for image in range(2):
        for place, task in enumerate(classes[image].tolist()):
            torch.testing.assert_close(maps[image, place], explained.maps[image, task])


def test_attention_modules_give_their_masks_and_shares(tmp_path):
    network = AttendAndRectify(SmallNet(4, width=4), image_size=(24, 32), layers=2, heads=2).eval()
    found = export(adopted(network), tmp_path / "model.pt2", top=2)
    outputs = found.said["gives"].split(", ")[2:]
    assert outputs == ["maps.stage3", "maps.stage2", "shares.stage3", "shares.stage2"]
    with torch.no_grad():
        answers = torch.export.load(found.path).module()(pictures(1, (24, 32), seed=5))  # traced on two
    maps, shares = answers[2:4], answers[4:]
    for each in maps:
        torch.testing.assert_close(each.sum((2, 3)), torch.ones(1, 2))  # softmax masks
    normalized = Pixels((24, 32), MEAN, STD).normalize(pictures(1, (24, 32), seed=5))
    with torch.no_grad():
        torch.testing.assert_close(answers[0], network(normalized))
    assert 0 < float(sum(each.sum() for each in shares)) < 1  # the rest is the backbone's own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mechanism": "rise"}, "mechanism 'rise' runs the model by a program of its own"),
        ({"mechanism": "grad_kam"}, "mechanism 'grad_kam' is not known; did you mean 'grad_cam'"),
        ({"mechanism": "built_in"}, "mechanism 'built_in' needs a network with attention of its own"),
        ({"mechanism": "built_in", "layer": "stage2"}, "layer and signed are for maps of classes"),
        ({"layer": "stage9"}, "layer 'stage9' is not in SmallNet; did you mean"),
        ({"layer": "stage2", "mechanism": "grad_cam"}, "needs a backward to layer 'stage2'"),
    ],
)
def test_maps_that_no_graph_holds_are_refused(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        mapped(SmallNet(4, width=4).eval(), torch.rand(2, 3, 24, 32), top=1, **options)
    assert "\n" not in str(caught.value)


def test_what_reads_the_image_again_cannot_run_for_each_position(tmp_path):
    with pytest.raises(
        ValueError, match=r"^mechanism 'recipro_cam' cannot be part of the forward at layer inner.stage"
    ):
        export(adopted(Again().eval()), tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_a_file_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    def other(network, images, metadata, path):
        path.write_bytes(b"")

    def read(path, images):
        return torch.zeros(2, 4), torch.tensor([[0, 1]] * 2), torch.zeros(2, 2, 6, 8)

    monkeypatch.setitem(programs.PROGRAMS, "torch", (other, read))
    with pytest.raises(ValueError, match=r"^the exported model.pt2 answers otherwise than the run: its logits differ"):
        export(adopted(SmallNet(4, width=4).eval()), tmp_path / "model.pt2", top=2)
    assert not list(tmp_path.iterdir())


def test_differences_are_shares_of_the_largest_value():
    logits = torch.tensor([[4.0, 2.0, -1.0], [0.0, 1.0, 1.0]])
    classes, maps = torch.tensor([[0], [1]]), torch.tensor([[[[0.0, 8.0]]], [[[2.0, 4.0]]]])
    wanted = (logits, classes, maps)
    assert map_difference(wanted, wanted, "it") == 0
    assert map_difference((logits, classes, maps + 0.004), wanted, "it") == pytest.approx(0.0005, rel=1e-3)
    tie = (logits, torch.tensor([[0], [2]]), torch.stack([maps[0], 99 * maps[1]]))
    assert map_difference(tie, wanted, "it") == 0  # another class with the same score has a map of its own
    with pytest.raises(ValueError, match=r"it makes other maps than looksharp: they differ by 2\.5e-02"):
        map_difference((logits, classes, maps + 0.2), wanted, "it")
    with pytest.raises(ValueError, match="it answers otherwise than the run"):
        map_difference((logits, torch.tensor([[1], [1]]), maps), wanted, "it")
    with pytest.raises(ValueError, match="it answers otherwise than the run"):
        map_difference((logits + torch.nan, classes, maps), wanted, "it")


def test_a_network_stays_as_it_was(tmp_path):
    network = SmallNet(4, width=4).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export(adopted(network), tmp_path / "model.pt2")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_missing_package_is_named_before_anything_is_read(capfd, monkeypatch):
    known = util.find_spec
    monkeypatch.setattr(programs, "find_spec", lambda name: None if name == "onnxscript" else known(name))
    assert cli.main(["export", "nowhere"]) == 2
    assert capfd.readouterr().err == (
        "looksharp: error: format onnx needs the package onnxscript: pip install 'looksharp[export]'\n"
    )


def test_weights_beyond_one_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_LARGEST", 1000)
    with pytest.raises(ValueError, match=r"one ONNX file holds 2 GB of weights, and these are 0\.0 GB; take --format"):
        export(adopted(SmallNet(4, width=4).eval()), tmp_path / "model.onnx")


def test_what_cannot_be_written_is_said_in_one_line(tmp_path):
    class Odd(SmallNet):
        def forward(self, images):
            logits = super().forward(images)
            return logits if logits.sum().item() < 1e9 else -logits

    with pytest.raises(ValueError, match=r"^the network cannot be written as a program of torch.export: ") as caught:
        export(adopted(Odd(4, width=4).eval()), tmp_path / "model.pt2")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"top": 0}, "top must be at least 1; got 0"),
        ({"format": "tflite"}, "format must be 'onnx', 'torch' or 'hub' or null; got 'tflite'"),
        ({"push": "me/net", "format": "onnx"}, "push uploads format hub; leave out format onnx"),
        ({"private": True}, "private is for push ORG/NAME, which is not given"),
        ({"format": "hub", "mechanism": "cam"}, "mechanism is for the maps of formats onnx and torch"),
    ],
)
def test_settings_that_contradict_each_other(values, message):
    with pytest.raises(ValueError, match=message):
        ExportSettings(Path("run"), **values)


def test_the_format_is_read_off_the_ending():
    chosen = ExportSettings(Path("run"))
    assert (chosen.kind, chosen.target) == ("onnx", Path("run/model.onnx"))
    assert replace(chosen, out=Path("a.pt2")).kind == "torch"
    assert replace(chosen, format="torch").target == Path("run/model.pt2")
    assert (replace(chosen, push="me/net").kind, replace(chosen, push="me/net").target) == ("hub", None)


def test_recipro_cam_masks_are_those_of_the_mechanism():
    spread = ReciproCAM().spread(torch.eye(9).view(9, 1, 3, 3))
    torch.testing.assert_close(spread[4, 0], torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16)
    assert exporting.PROGRAMS.keys() == {"onnx", "torch"}
