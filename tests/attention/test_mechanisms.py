import functools
import itertools
import re
from dataclasses import field

import pytest
import torch
import torchcam.methods as torchcam
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision import models

from looksharp.attention.attend import attention_maps
from looksharp.attention.mechanisms import (
    MECHANISMS,
    TRAINABLE,
    ModelMechanism,
    find_mechanism,
    find_trainable,
    mechanism_name,
    mechanism_summaries,
)
from looksharp.attention.mechanisms.channel_weighted import channel_weighted
from looksharp.attention.mechanisms.grad_cam import grad_cam
from looksharp.attention.mechanisms.grad_cam_pp import grad_cam_pp
from looksharp.attention.mechanisms.hires_cam import hires_cam
from looksharp.attention.mechanisms.layer_cam import layer_cam
from looksharp.attention.mechanisms.occlusion import Occlusion
from looksharp.attention.mechanisms.xgrad_cam import xgrad_cam
from looksharp.attention.recording import record
from looksharp.objectives import ICASC
from looksharp.settings import settings


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def example(batch=2, classes=3, channels=4, height=2, width=3, dtype=torch.float64):
    features = torch.randn(batch, channels, height, width, dtype=dtype)
    return features, torch.randn(batch, classes, channels, height, width, dtype=dtype)


# Each mechanism's definition, pixel by pixel. `f[k][i][j]` are one image's features, `g` one class's gradients.


def _positions(channel):
    return itertools.product(range(len(channel)), range(len(channel[0])))


def _sum(channel, value):
    return sum(value(i, j) for i, j in _positions(channel))


def _by_weights(weight):
    """The map sum_k w_k F^k, of the weight that is computed from one channel."""

    def pixel(f, g, i, j):
        return sum(weight(f[k], g[k]) * f[k][i][j] for k in range(len(f)))

    return pixel


def _alpha(f, g, i, j):
    denominator = 2 * g[i][j] ** 2 + _sum(f, lambda a, b: f[a][b]) * g[i][j] ** 3
    return g[i][j] ** 2 / denominator if denominator else 0.0


DEFINITIONS = {
    # With average pooling and one linear layer, the classifier's weight is the gradient's sum.
    "cam": _by_weights(lambda f, g: _sum(g, lambda i, j: g[i][j])),
    "grad_cam": _by_weights(lambda f, g: _sum(g, lambda i, j: g[i][j]) / (len(g) * len(g[0]))),
    "grad_cam_pp": _by_weights(lambda f, g: _sum(g, lambda i, j: _alpha(f, g, i, j) * max(g[i][j], 0.0))),
    # ICASC Eq. 2, with 1/Z drawn into the sum; the ReLU around the sum is `attention_maps`'.
    "channel_weighted": _by_weights(lambda f, g: _sum(g, lambda i, j: max(g[i][j], 0.0)) / (len(g) * len(g[0]))),
    "xgrad_cam": _by_weights(lambda f, g: _sum(g, lambda i, j: g[i][j] * f[i][j] / _sum(f, lambda a, b: f[a][b]))),
    # Of gradients that are already those of a contrast of classes.
    "finer_cam": _by_weights(lambda f, g: _sum(g, lambda i, j: g[i][j]) / (len(g) * len(g[0]))),
    "hires_cam": lambda f, g, i, j: sum(g[k][i][j] * f[k][i][j] for k in range(len(f))),
    "layer_cam": lambda f, g, i, j: sum(max(g[k][i][j], 0.0) * f[k][i][j] for k in range(len(f))),
}


def by_definition(name, features, gradients):
    batch, classes, _, height, width = gradients.shape
    maps = torch.zeros(batch, classes, height, width, dtype=features.dtype)
    for b, c in itertools.product(range(batch), range(classes)):
        f, g = features[b].tolist(), gradients[b, c].tolist()
        for i, j in _positions(f[0]):
            maps[b, c, i, j] = DEFINITIONS[name](f, g, i, j)
    return maps


def test_every_mechanism_has_a_definition_here():
    assert set(DEFINITIONS) == set(TRAINABLE)


@pytest.mark.parametrize("name", TRAINABLE)
def test_equals_its_definition(name):
    features, gradients = example()
    maps = find_trainable(name)(features, gradients)
    torch.testing.assert_close(maps, by_definition(name, features, gradients))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TRAINABLE)
def test_shape_and_dtype(name, dtype):
    maps = find_trainable(name)(*example(2, 5, 4, 2, 3, dtype))
    assert maps.shape == (2, 5, 2, 3)
    assert maps.dtype == dtype


@pytest.mark.parametrize("name", TRAINABLE)
def test_classes_do_not_mix_nor_do_images(name):
    features, gradients = example()
    maps = find_trainable(name)(features, gradients)
    for b, c in itertools.product(range(2), range(3)):
        single = find_trainable(name)(features[b : b + 1], gradients[b : b + 1, c : c + 1])
        torch.testing.assert_close(maps[b : b + 1, c : c + 1], single)


@pytest.mark.parametrize("zero", ["features", "gradients", "both"])
@pytest.mark.parametrize("name", TRAINABLE)
def test_zero_inputs_give_zero_maps_and_finite_gradients(name, zero):
    features, gradients = example()
    features = features * (zero == "gradients")
    gradients = gradients * (zero == "features")
    features.requires_grad_()
    gradients.requires_grad_()
    maps = find_trainable(name)(features, gradients)
    assert maps.eq(0).all()
    for derivative in torch.autograd.grad(maps.sum(), (features, gradients)):
        assert derivative.isfinite().all()


@pytest.mark.parametrize("name", TRAINABLE)
def test_derivatives(name):
    features, gradients = example(1, 2, 2, 2, 2)
    # Away from the kinks of the ReLU, and from the poles of Grad-CAM++ and XGrad-CAM.
    features = features.abs() + 0.1
    gradients = gradients + 0.1 * gradients.sign()
    inputs = (features.requires_grad_(), gradients.requires_grad_())
    assert torch.autograd.gradcheck(find_trainable(name), inputs)


def test_denominators_that_are_zero():
    # Grad-CAM++: 2 + g * sum(F) = 0 for g = 1; XGrad-CAM: sum(F) = 0.
    features = torch.tensor([[[[-3.0, 1.0]]]], dtype=torch.float64, requires_grad=True)
    gradients = torch.ones(1, 1, 1, 1, 2, dtype=torch.float64)
    maps = grad_cam_pp(features, gradients)
    assert maps.eq(0).all()
    balanced = torch.tensor([[[[-3.0, 3.0]]]], dtype=torch.float64, requires_grad=True)
    for values, inputs in ((maps, features), (xgrad_cam(balanced, gradients), balanced)):
        assert values.eq(0).all()
        (derivative,) = torch.autograd.grad(values.sum(), inputs)
        assert derivative.isfinite().all()


def test_grad_cam_pp_does_not_underflow():
    features, gradients = example(dtype=torch.float32)
    small = grad_cam_pp(features.abs() * 1e20, gradients.abs() * 1e-20)
    torch.testing.assert_close(small, grad_cam_pp(features.abs(), gradients.abs()))
    assert small.gt(0).all()


def test_channel_weighted_attention_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    gradients = torch.tensor([[[[[1.0, -5.0]], [[0.5, 0.5]]]]])
    # ReLU'd and summed: channel 1 weighs 1, channel 2 weighs 1; Z = 2.
    torch.testing.assert_close(channel_weighted(features, gradients), torch.tensor([[[[2.0, 1.0]]]]))


def test_find_mechanism():
    assert find_mechanism("layer_cam") is layer_cam
    assert find_mechanism(hires_cam) is hires_cam
    with pytest.raises(ValueError, match=r"^mechanism 'gradcam' is not known; did you mean 'grad_cam'\?$"):
        find_mechanism("gradcam")
    with pytest.raises(ValueError, match="mechanism 'xyz' is not known; there are ablation_cam, cam, "):
        find_mechanism("xyz")


@pytest.mark.parametrize("text", ["occlusion:8", "occlusion:window=8", "occlusion:fill=0,window=8"])
def test_settings_follow_a_colon(text):
    assert find_mechanism(text) == Occlusion(window=8)
    assert mechanism_name(text) == mechanism_name(Occlusion(window=8)) == "occlusion:window=8"


def test_names_are_spelled_back():
    for text in ("grad_cam", "occlusion", "occlusion:window=8,stride=2,fill=0.5", "eigen_cam:centered=true"):
        assert mechanism_name(text) == text
    assert mechanism_name(grad_cam) == "grad_cam"
    assert mechanism_name(lambda features, gradients: features) is None
    assert mechanism_name(Occlusion) == "occlusion"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grad_cam:3", "mechanism 'grad_cam' has no settings; got '3'"),
        ("occlusion:windw=8", "'occlusion.windw' is not a setting; did you mean 'occlusion.window'?"),
        ("occlusion:window=0", "occlusion.window must be at least 1; got 0"),
        ("occlusion:window=wide", "occlusion.window must be a whole number of at least 1 or null; got 'wide'"),
        ("occlusion:8,4", "occlusion: settings after the first need names, as in fill=...; got '4'"),
        ("oclusion:8", "mechanism 'oclusion' is not known; did you mean 'occlusion'?"),
        ("eigen_cam:centered=ye", "eigen_cam.centered must be true or false; got 'ye'"),
    ],
)
def test_a_wrong_spelling_is_named_in_one_line(text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        find_mechanism(text)


def test_names_that_are_no_setting_go_into_a_mapping(monkeypatch):
    @settings
    class Loose(ModelMechanism):
        name: str = "plain"
        options: dict[str, float] = field(default_factory=dict)

        def maps(self, model, images, classes, layers):
            return {}

    monkeypatch.setitem(MECHANISMS._things, "loose", Loose)
    assert find_mechanism("loose:loud,steps=3") == Loose("loud", {"steps": 3})
    assert mechanism_name("loose:loud,steps=3") == "loose:name=loud,steps=3"


def test_only_functions_are_trained_on():
    assert find_trainable("grad_cam") is grad_cam
    names = ", ".join(TRAINABLE)
    with pytest.raises(
        ValueError,
        match=f"^mechanism 'occlusion' cannot be trained on, since it runs the network itself; there are {names}$",
    ):
        find_trainable("occlusion")
    with pytest.raises(ValueError, match="mechanism 'eigen_cam' cannot be trained on"):
        ICASC(mechanism="eigen_cam")
    assert "occlusion" not in TRAINABLE
    assert "occlusion" in MECHANISMS


def test_attention_maps_has_no_model():
    model = models.resnet18(num_classes=5).eval()
    with record(model, ["layer4"]) as features:
        logits = model(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"^mechanism 'occlusion:window=8' runs the model itself, .*; use attend$"):
        attention_maps(logits, features, torch.tensor([0]), Occlusion(8))


def test_every_mechanism_is_described_in_one_line():
    for name, summary in mechanism_summaries().items():
        assert 15 < len(summary) < 200, name
    assert "the same for all classes" in mechanism_summaries()["eigen_cam"]


# Peers, on the same networks. Each peer runs its own forward and backward, with its own hooks.

CLASSES = [2, 0]


class Vgg11(nn.Module):
    """torchvision's vgg11 with a narrow classifier: the 100 million weights of its own take seconds to draw."""

    def __init__(self):
        super().__init__()
        self.features = models.vgg.make_layers(models.vgg.cfgs["A"])
        self.classifier = nn.Sequential(nn.Linear(512 * 4, 32), nn.ReLU(inplace=True), nn.Linear(32, 5))

    def forward(self, images):
        return self.classifier(self.features(images).flatten(1))


NETWORKS = {
    "resnet18, inner": (lambda: models.resnet18(num_classes=5), "layer3"),
    "resnet18, last": (lambda: models.resnet18(num_classes=5), "layer4"),
    "vgg11": (Vgg11, "features.19"),
}


@functools.cache
def network(name):
    torch.manual_seed(0)
    return NETWORKS[name][0]().double().eval()


@pytest.fixture(params=NETWORKS)
def case(request):
    return network(request.param), NETWORKS[request.param][1], torch.rand(2, 3, 64, 64, dtype=torch.float64)


def ours(case, mechanism, signed=True):
    model, layer, images = case
    with record(model, [layer]) as features:
        logits = model(images)
    return attention_maps(logits, features, torch.tensor(CLASSES), mechanism, signed=signed)[layer][:, 0]


def assert_same(maps, expected):
    assert maps.abs().max() > 0
    torch.testing.assert_close(maps / maps.abs().amax(), expected / maps.abs().amax(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("mechanism", "peer", "scale"),
    [
        (grad_cam, GradCAM, 1.0),
        # It adds 1e-6 to the denominator of alpha, and XGrad-CAM's 1e-7 to the sum of the features. Both maps stay
        # the same if gradients are multiplied and features divided by a number, and then that is negligible.
        (grad_cam_pp, GradCAMPlusPlus, 1e8),
        (xgrad_cam, XGradCAM, 1e-6),
        # Both are compared before the ReLU that it applies later.
        (hires_cam, HiResCAM, 1.0),
        (layer_cam, LayerCAM, 1.0),
    ],
)
def test_equals_pytorch_grad_cam(case, mechanism, peer, scale):
    model, layer, images = case
    layers = [model.get_submodule(layer)]
    targets = [ClassifierOutputTarget(c) for c in CLASSES]
    with peer(model, layers) as cam:
        cam(images, targets)
        activations = cam.activations_and_grads.activations[0].numpy() / scale
        gradients = cam.activations_and_grads.gradients[0].numpy() * scale
        expected = torch.from_numpy(cam.get_cam_image(images, layers[0], targets, activations, gradients, False))
    model.zero_grad()
    assert_same(ours(case, mechanism), expected)


@pytest.mark.parametrize(
    ("mechanism", "peer", "options"),
    [
        (grad_cam, torchcam.GradCAM, {}),
        (xgrad_cam, torchcam.XGradCAM, {"eps": 1e-30}),  # by default 1e-8 is added to the sum of the features
        (layer_cam, torchcam.LayerCAM, {}),
        # Not its Grad-CAM++: there the sum in alpha's denominator is over features times cubed gradients, while in
        # the paper's Eq. 19 the cubed gradient at (i, j) stands before the sum over the features alone.
    ],
)
def test_equals_torchcam(case, mechanism, peer, options):
    model, layer, images = case
    with peer(model, layer) as cam:
        (expected,) = cam(CLASSES, model(images), normalized=False, **options)
    assert_same(ours(case, mechanism, signed=False), expected)


def test_equals_captum(case):
    model, layer, images = case
    peer = LayerGradCam(model, model.get_submodule(layer))
    expected = peer.attribute(images, torch.tensor(CLASSES)).detach()
    assert_same(ours(case, grad_cam), expected[:, 0])


def test_cam_of_a_pooled_linear_head():
    model, images = network("resnet18, last"), torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with record(model, ["layer4"]) as features:
        model(images)
    maps = ours((model, "layer4", images), "cam")
    weight = model.fc.weight[CLASSES]  # Zhou et al., Eq. 2
    torch.testing.assert_close(maps, torch.einsum("bc,bchw->bhw", weight, features["layer4"]).detach())
    torch.testing.assert_close(maps, ours((model, "layer4", images), "grad_cam") * 2 * 2)  # positions
