"""captum's attributions by our seam, against captum called directly."""

import copy
import sys
import warnings

import captum.attr
import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from looksharp import attend
from looksharp.attention.mechanisms import find_mechanism, has_sign, mechanism_name, reads_layers
from looksharp.attention.mechanisms.captum import Captum
from looksharp.objectives import ICASC
from looksharp.settings import SettingError

CLASSES = torch.tensor([[0, 3], [4, 1]])


class Net(nn.Module):
    """Each ReLU runs once, as DeepLift needs it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.last(self.stem(images)).mean((2, 3)))


class Named(nn.Module):
    """The same network, whose output is a mapping."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return {"logits": self.net(images)}


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net().eval()
    net.head.weight.data *= 20  # Lime's lasso sets small effects to zero
    return net


@pytest.fixture
def images():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def squares(side=2):
    """Number the squares of 16 x 16 pixels, row by row."""
    return torch.tensor([[[[-(-16 // side) * (i // side) + j // side for j in range(16)] for i in range(16)]] * 3])


def directly(name, net, images, *owners, of=None, **settings):
    """Call captum as its documentation does, class by class; return (B, K, C, h, w)."""
    net = copy.deepcopy(net)
    layers = [net.get_submodule(owner) for owner in owners]
    made = getattr(captum.attr, name)
    made = made(getattr(captum.attr, of)(net)) if of else made(net, *layers)
    found = []
    for column in CLASSES.T:
        torch.manual_seed(0)
        np.random.seed(0)
        target = {} if name == "LayerActivation" else {"target": column}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(made.attribute(images.clone().requires_grad_(), **target, **settings).detach())
    return torch.stack(found, 1)


# Spelling -> captum's settings.
OF_PIXELS = {
    "IntegratedGradients,n_steps=8": {"n_steps": 8},
    "IntegratedGradients,n_steps=8,baselines=0.5,internal_batch_size=4": {
        "n_steps": 8,
        "baselines": 0.5,
        "internal_batch_size": 4,
    },
    "Saliency": {},
    "Saliency,abs=false": {"abs": False},
    "InputXGradient": {},
    "Deconvolution": {},
    "GuidedBackprop": {},
    "GradientShap,n_samples=3,stdevs=0.1": {"n_samples": 3, "stdevs": 0.1, "baselines": torch.zeros(1, 3, 16, 16)},
    "DeepLift": {},
    "DeepLift,baselines=0.25": {"baselines": 0.25},
    "Occlusion,sliding_window_shapes=[3,6,6],strides=[3,5,5],perturbations_per_eval=4": {
        "sliding_window_shapes": (3, 6, 6),
        "strides": (3, 5, 5),
    },
    "FeatureAblation": {"feature_mask": squares()},
    "FeatureAblation,patch=5": {"feature_mask": squares(5)},
    "ShapleyValueSampling,n_samples=2,patch=8": {"feature_mask": squares(8), "n_samples": 2},
    "KernelShap,n_samples=20,patch=8": {"feature_mask": squares(8), "n_samples": 20},
    "Lime,n_samples=20,patch=8": {"feature_mask": squares(8), "n_samples": 20},
    "NoiseTunnel,nt_samples=3,stdevs=1": {"of": "Saliency", "nt_samples": 3, "stdevs": 1.0},
    "NoiseTunnel,of=IntegratedGradients,nt_samples=2,stdevs=0.5,n_steps=4": {
        "of": "IntegratedGradients",
        "nt_samples": 2,
        "stdevs": 0.5,
        "n_steps": 4,
    },
    "NoiseTunnel,of=InputXGradient,nt_type=vargrad,nt_samples=3": {
        "of": "InputXGradient",
        "nt_type": "vargrad",
        "nt_samples": 3,
    },
}
OF_LAYERS = {
    "LayerGradCam": {},
    "LayerActivation": {},
    "LayerConductance,n_steps=6": {"n_steps": 6},
    "LayerDeepLift": {},
    "LayerGradientXActivation": {},
    "LayerIntegratedGradients,n_steps=6": {"n_steps": 6},
    "InternalInfluence,n_steps=6": {"n_steps": 6},
    "GuidedGradCam": {},
}


def signed(spelled):
    return {"signed": True} if has_sign(f"captum:{spelled}") else {}


def assert_same(found, expected, sign):
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected if sign else expected.relu(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spelled", OF_PIXELS)
def test_pixels_equal_captum_called_directly(net, images, spelled):
    expected = directly(spelled.partition(",")[0], net, images, **OF_PIXELS[spelled]).sum(2)
    sign = signed(spelled)
    found = attend(net, images, CLASSES, mechanism=f"captum:{spelled}", **sign).maps
    assert list(found) == ["image"]
    assert_same(found["image"], expected, sign)
    wrapped = attend(Named(net).eval(), images, CLASSES, mechanism=f"captum:{spelled}", **sign).maps["image"]
    torch.testing.assert_close(wrapped, found["image"])


@pytest.mark.parametrize("spelled", OF_LAYERS)
def test_layers_equal_captum_called_directly(net, images, spelled):
    name, sign = spelled.partition(",")[0], signed(spelled)
    found = attend(net, images, CLASSES, layers=["stem", "last"], mechanism=f"captum:{spelled}", **sign).maps
    assert list(found) == ["stem", "last"]
    for layer, maps in found.items():
        assert_same(maps, directly(name, net, images, layer, **OF_LAYERS[spelled]).sum(2), sign)
    assert found["last"].shape[2:] == ((16, 16) if name == "GuidedGradCam" else (8, 8))
    (alone,) = attend(net, images, CLASSES, mechanism=f"captum:{spelled}").maps
    assert alone == "last"


def test_every_attribution_is_compared():
    with pytest.raises(SettingError, match=r"captum\.name 'xyz' is not known; there are ") as error:
        find_mechanism("captum:xyz")
    names = str(error.value).partition("there are ")[2].split(", ")
    assert set(names) == {spelled.partition(",")[0] for spelled in (*OF_PIXELS, *OF_LAYERS)}
    assert all(reads_layers(f"captum:{name}") for name in OF_LAYERS)


def test_layers_of_tokens(images):
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, depth=2, embed_dim=12, num_heads=3, num_classes=5
    ).eval()
    for name in ("LayerActivation", "LayerGradientXActivation", "InternalInfluence"):
        found = attend(network, images, CLASSES, layers="blocks.0", mechanism=f"captum:{name}").maps["blocks.0"]
        expected = directly(name, network, images, "blocks.0")[:, :, 1:].sum(-1).unflatten(2, (4, 4))
        torch.testing.assert_close(found, expected.relu(), rtol=1e-6, atol=1e-6)
    for name in ("LayerGradCam", "GuidedGradCam"):
        with pytest.raises(ValueError, match=rf"captum's {name} reads maps \(B, C, h, w\), which 'blocks.0' does not"):
            attend(network, images, CLASSES, layers="blocks.0", mechanism=f"captum:{name}")


def test_an_instance_takes_tensors(net, images):
    mask = torch.randint(5, (1, 1, 16, 16), generator=torch.Generator().manual_seed(2)).expand(-1, 3, -1, -1)
    baselines = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    mechanism = Captum("FeatureAblation", settings={"feature_mask": mask, "baselines": baselines})
    expected = directly("FeatureAblation", net, images, feature_mask=mask, baselines=baselines).sum(2)
    assert_same(attend(net, images, CLASSES, mechanism=mechanism, signed=True).maps["image"], expected, True)
    several = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    mechanism = Captum("GradientShap", settings={"baselines": several})
    expected = directly("GradientShap", net, images, baselines=several).sum(2)
    assert_same(attend(net, images, CLASSES, mechanism=mechanism, signed=True).maps["image"], expected, True)


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("captum:Salience", r"captum\.name 'Salience' is not known; did you mean 'Saliency'\?"),
        ("captum:NoiseTunnel,of=NoiseTunnel", r"captum\.of 'NoiseTunnel' is not known; there are Integrated"),
        ("captum:Occlusion", r"captum:Occlusion\.sliding_window_shapes is needed and is not given"),
        ("captum:Saliency,ab=false", r"'captum:Saliency\.ab' is not a setting; did you mean 'captum:Saliency\.abs'\?"),
        (
            "captum:IntegratedGradients,n_steps=few",
            r"captum:IntegratedGradients\.n_steps must be a whole number; got 'few'",
        ),
        ("captum:Saliency,abs=1", r"captum:Saliency\.abs must be true or false; got 1"),
        ("captum:NoiseTunnel,stdevs=much", r"captum:NoiseTunnel\.stdevs must be a number; got 'much'"),
        ("captum:Saliency,n_steps=3", r"'captum:Saliency\.n_steps' is not a setting; there are abs"),
        ("captum:FeatureAblation,patch=0", r"captum\.patch must be at least 1; got 0"),
    ],
)
def test_what_is_wrong_is_one_line(spelled, message):
    with pytest.raises(SettingError, match=f"^{message}") as error:
        find_mechanism(spelled)
    assert "\n" not in str(error.value)


def test_refusals(net, images):
    for spelled in ("Saliency", "NoiseTunnel", "NoiseTunnel,of=InputXGradient,nt_type=vargrad", "LayerActivation"):
        with pytest.raises(ValueError, match="has no evidence against a class"):
            attend(net, images, CLASSES, mechanism=f"captum:{spelled}", signed=True)
    with pytest.raises(ValueError, match="reads no layer that could be chosen"):
        attend(net, images, CLASSES, mechanism="captum:Saliency", layers="last")
    with pytest.raises(ValueError, match=r"captum attributes in evaluation mode alone; call model.eval\(\) first"):
        attend(net.train(), images, CLASSES, mechanism="captum:Saliency")
    twice = nn.Sequential(relu := nn.ReLU(), nn.Conv2d(3, 5, 3), relu, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(ValueError, match=r"^captum's DeepLift fails on Sequential: ") as error:
        attend(twice, images, CLASSES, mechanism="captum:DeepLift")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"^mechanism 'captum:name=Saliency' cannot be trained on, since it runs"):
        ICASC(mechanism="captum:Saliency")


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(
        SettingError, match=r"^captum:Saliency needs the package captum: pip install looksharp\[captum\]$"
    ):
        find_mechanism("captum:Saliency")


def test_spelling():
    spelled = "captum:name=Occlusion,sliding_window_shapes=[3,8,8],strides=[3,4,4]"
    assert mechanism_name("captum:Occlusion,sliding_window_shapes=[3,8,8],strides=[3,4,4]") == spelled
    assert mechanism_name(spelled) == spelled
    assert mechanism_name("captum") == "captum"


class InPlace(nn.Module):
    """A network whose activations work in place, where captum's hooks fail."""

    def __init__(self):
        super().__init__()
        self.last = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.last(images).mean((2, 3)))


def state_of(network):
    return [
        (
            len(m._forward_hooks),
            len(m._forward_pre_hooks),
            len(m._backward_hooks),
            len(m._backward_pre_hooks),
            m.training,
            getattr(m, "inplace", None),
            sorted(vars(m)),
        )
        for m in network.modules()
    ]


@pytest.mark.parametrize(
    "spelled", ["DeepLift", "GuidedBackprop", "Deconvolution", "GuidedGradCam", "KernelShap,patch=8"]
)
def test_nothing_of_the_network_changes(images, spelled):
    network = InPlace().eval()
    network(images).sum().backward()
    before, images_before = state_of(network), images.clone()
    grads = [parameter.grad.clone() for parameter in network.parameters()]
    random, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    attend(network, images, CLASSES, mechanism=f"captum:{spelled}")
    assert state_of(network) == before
    assert torch.equal(images, images_before)
    assert images.grad is None
    assert not images.requires_grad
    assert all(map(torch.equal, (parameter.grad for parameter in network.parameters()), grads))
    assert torch.equal(torch.get_rng_state(), random)
    assert np.array_equal(np.random.get_state()[1], numbers)


def test_all_is_as_before_after_an_error(images):
    class Failing(InPlace):
        def forward(self, images):
            if images.requires_grad:
                raise IndexError("of its own")
            return super().forward(images)

    network = Failing().eval()
    before = state_of(network)
    with pytest.raises(ValueError, match=r"^captum's GuidedBackprop fails on Failing: of its own$"):
        attend(network, images, CLASSES, mechanism="captum:GuidedBackprop")
    assert state_of(network) == before


def test_frozen_and_without_gradients(net, images):
    for spelled in (
        "IntegratedGradients,n_steps=4",
        "LayerGradCam",
        "LayerConductance,n_steps=4",
        "Occlusion,sliding_window_shapes=[3,8,8]",
    ):
        (expected,) = attend(net.requires_grad_(True), images, CLASSES, mechanism=f"captum:{spelled}").maps.values()
        net.requires_grad_(False)
        with torch.inference_mode():
            (found,) = attend(net, images, CLASSES, mechanism=f"captum:{spelled}").maps.values()
        torch.testing.assert_close(found, expected)


def test_integrated_gradients_add_up_to_the_logit(net, images):
    found = attend(net, images, CLASSES, mechanism="captum:IntegratedGradients,n_steps=200", signed=True).maps["image"]
    gained = (net(images) - net(torch.zeros_like(images))).gather(1, CLASSES)
    assert (found.sum((2, 3)) - gained).abs().max() < 0.01 * gained.abs().max()
    assert not torch.allclose(F.relu(found), found)
