"""Models that are compiled or checkpoint their activations give the maps and gradients of plain ones."""

import copy
import warnings

import pytest
import timm
import torch
from torch import nn

from looksharp import ICASC, attend, attention_maps, record
from looksharp.attention.eager import eagerly
from looksharp.attention.mechanisms import MECHANISMS
from looksharp.networks import CifarResNet


class Counting:
    """A backend that counts the graphs that it compiles, and their calls."""

    def __init__(self):
        self.graphs = self.calls = 0

    def __call__(self, graph, example):
        self.graphs += 1

        def call(*values):
            self.calls += 1
            return graph(*values)

        return call


def fail_after(model, images):
    model(images)
    raise ZeroDivisionError


@pytest.fixture
def net():
    return CifarResNet(8, 5).eval()


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16)


def whole(net):
    return torch.compile(net, backend="aot_eager")


def in_place(net):
    net.compile(backend="aot_eager")
    return net


def a_stage(net):
    net.layer3 = torch.compile(net.layer3, backend="aot_eager")
    return net


def behind_data_parallel(net):
    return nn.DataParallel(whole(net))


@pytest.mark.filterwarnings("ignore:.*it runs eagerly")
@pytest.mark.parametrize("compiled", [whole, in_place, a_stage, behind_data_parallel])
@pytest.mark.parametrize("top", [1, 2])
def test_maps_of_a_compiled_model(net, images, compiled, top):
    expected = attend(net, images, top=top, layers=["layer2", "layer3"], mechanism="channel_weighted")
    other = compiled(copy.deepcopy(net))
    with torch.no_grad():
        other(images)  # compiled before
    found = attend(other, images, top=top, layers=["layer2", "layer3"], mechanism="channel_weighted")
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore:.*it runs eagerly")
def test_maps_that_are_trained_on(net, images):
    gradients = []
    for model in (net, whole(copy.deepcopy(net))):
        with record(model, ["layer2", "layer3"]) as features:
            logits = model(images)
        maps = attention_maps(logits, features, logits.topk(2).indices, "channel_weighted", create_graph=True)
        sum(each.square().sum() for each in maps.values()).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.filterwarnings("ignore:.*it runs eagerly")
@pytest.mark.parametrize(
    "name", [name for name in MECHANISMS if name not in ("captum", "legrad", "rollout", "gradient_rollout")]
)
def test_every_mechanism_on_a_compiled_model(name, net, images):
    found = []
    for model in (net, whole(copy.deepcopy(net))):
        torch.manual_seed(0)
        layers = ["layer3"] if name == "cam" else None
        spelt = {"rise": "rise:20", "occlusion": "occlusion:window=8,stride=8"}.get(name, name)
        found.append(attend(model, images[:1], torch.tensor([[1, 3]]), mechanism=spelt, layers=layers))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.filterwarnings("ignore:.*it runs eagerly")
def test_it_is_compiled_again_afterwards(net, images):
    backend = Counting()
    model = torch.compile(net, backend=backend)
    with torch.no_grad():
        model(images)
        before = backend.calls
        assert before
        attend(model, images, top=2)
        assert backend.calls == before
        with pytest.raises(ZeroDivisionError), eagerly(model), eagerly(model):
            fail_after(model, images)
        assert backend.calls == before
        graphs = backend.graphs
        model(images)
    assert (backend.calls, backend.graphs) == (before + graphs, graphs)


def test_it_is_said_once(net, images):
    model = whole(net)
    with pytest.warns(UserWarning, match="OptimizedModule is compiled: where maps are read, it runs eagerly"):
        attend(model, images, top=2)
    attend(model, images, top=2)
    attend(CifarResNet(8, 5), images)  # nothing to say


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("vit_tiny_patch16_224", 32, {"img_size": 32, "patch_size": 8, "depth": 3}),
        ("resnet18", 64, {}),
        ("convnext_atto", 64, {}),
    ],
)
def test_gradient_checkpointing(name, size, options):
    batch = {"image": torch.rand(2, 3, size, size), "target": torch.tensor([0, 2])}
    plain = timm.create_model(name, num_classes=4, **options)
    torch.nn.init.normal_(plain.get_classifier().weight)  # zeros read nothing
    checkpointed = copy.deepcopy(plain)
    checkpointed.set_grad_checkpointing()
    flags = [vars(module).get("grad_checkpointing") for module in checkpointed.modules()]
    assert True in flags
    ICASC()(plain, batch).loss.backward()
    with pytest.warns(UserWarning, match="computes activations again in the backward"):
        ICASC()(checkpointed, batch).loss.backward()
    assert [vars(module).get("grad_checkpointing") for module in checkpointed.modules()] == flags
    torch.testing.assert_close(*([p.grad for p in model.parameters()] for model in (checkpointed, plain)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [attend(model.eval(), batch["image"], top=2) for model in (checkpointed, plain)]
    torch.testing.assert_close(*found)
