"""The contract of mechanisms: every one of them on every kind of network."""

import copy
import functools
import re
from contextlib import contextmanager

import pytest
import timm
import torch
from torch import nn

from looksharp import attend
from looksharp.attention.mechanisms import IMAGE, MECHANISMS, check_asked, find_mechanism, has_sign, reads_layers
from looksharp.attention.stages import last_stages
from looksharp.networks import CifarResNet

CLASSES = 5
SIZE = 32
THIN = {"img_size": SIZE, "patch_size": 8, "depth": 4, "embed_dim": 24, "num_heads": 3}


class Flattened(nn.Module):
    """A CNN whose linear layer reads every position by itself, as VGG's does."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU(inplace=True)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(12 * 64, 16), nn.ReLU(), nn.Linear(16, CLASSES))

    def forward(self, images):
        return self.head(self.features(images))


def of_timm(name, **changed):
    return lambda: timm.create_model(name, num_classes=CLASSES, **changed)


NETWORKS = {
    "pooled CNN": lambda: CifarResNet(8, CLASSES),
    "flattened CNN": Flattened,
    "ConvNeXt": of_timm("test_convnext"),
    "ViT, class token": of_timm("vit_tiny_patch16_224", **THIN),
    "ViT, pooled": of_timm("vit_tiny_patch16_224", class_token=False, global_pool="avg", **THIN),
    "Swin": of_timm(
        "swin_tiny_patch4_window7_224", img_size=SIZE, patch_size=2, window_size=2, embed_dim=12, depths=(1, 1, 2, 1)
    ),
}

# Spellings that cost little, for mechanisms whose defaults run a network thousands of times.
QUICK = {
    "captum": "captum:IntegratedGradients,n_steps=5",
    "occlusion": "occlusion:window=16,stride=8",
    "rise": "rise:masks=16,cell=3",
    "integrated_gradients": "integrated_gradients:steps=4",
    "smooth_grad": "smooth_grad:samples=2",
}

# (mechanism, network) -> what the refusal says. Everything else has to work.
NEEDS_POOLING = "needs one layer that is average-pooled into one linear classifier"
REFUSALS = {("cam", name): NEEDS_POOLING for name in NETWORKS if name not in ("pooled CNN", "Swin")}
for token_mechanism in ("rollout", "gradient_rollout", "legrad"):
    REFUSALS |= {(token_mechanism, name): "computes no attention" for name in NETWORKS if "ViT" not in name}
    REFUSALS[token_mechanism, "Swin"] = "attends within windows"


@functools.cache
def network(name):
    torch.manual_seed(0)
    made = NETWORKS[name]()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1 and parameter.abs().max() < 5e-2:
                parameter.normal_(std=0.1)  # new layers that read next to nothing yet
            elif parameter.numel() > 1 and parameter.abs().max() < 1e-3:
                parameter.fill_(0.1)
        made(torch.randn(16, 3, SIZE, SIZE))  # BatchNorm learns what it normalises
    return made.eval()


def images(count=2):
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


CHOSEN = torch.tensor([[0, 3], [4, 1]])


@pytest.fixture(params=NETWORKS)
def model(request):
    return network(request.param)


@pytest.fixture(params=MECHANISMS)
def mechanism(request):
    return QUICK.get(request.param, request.param)


@pytest.fixture
def works(request):
    """Check that a refusal says why, and tell whether maps are to be had."""
    case = tuple(request.node.callspec.params[name] for name in ("mechanism", "model"))
    if case in REFUSALS:
        with pytest.raises(ValueError, match=REFUSALS[case]) as caught:
            attend(network(case[1]), images(), CHOSEN, mechanism=QUICK.get(case[0], case[0]))
        assert "\n" not in str(caught.value)
    return case not in REFUSALS


def mapped(model, mechanism, batch=None, classes=CHOSEN, **options):
    """The one map (B, K, h, w), signed where it can be."""
    batch = images() if batch is None else batch
    signed = {"signed": True} if has_sign(mechanism) else {}
    (found,) = attend(model, batch, classes, mechanism=mechanism, **signed | options).maps.values()
    return found


def assert_close(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@contextmanager
def doubled(model):
    try:
        yield model.double()
    finally:
        model.float()


def state_of(model):
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "grads": [parameter.grad for parameter in model.parameters()],
        "learns": [parameter.requires_grad for parameter in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        "functions": [set(vars(module)) for module in model.modules()],
    }


def test_shape_and_state(model, mechanism, works):
    if not works:
        return
    before, batch = state_of(model), images()
    kept = batch.clone()
    found = attend(model, batch, CHOSEN, mechanism=mechanism)
    after = state_of(model)
    for name, value in before.pop("values").items():
        torch.testing.assert_close(after["values"][name], value, rtol=0, atol=0)
    assert {name: after[name] for name in before} == before
    assert torch.equal(batch, kept)
    assert torch.is_grad_enabled()
    ((name, maps),) = found.maps.items()
    assert name == (last_stages(model, batch, 1)[0] if reads_layers(mechanism) else name)
    assert maps.shape[:2] == (2, 2)
    assert maps.shape[2:] == (SIZE, SIZE) if name == IMAGE else min(maps.shape[2:]) >= 1
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert maps.isfinite().all()
    assert maps.ge(0).all()
    assert maps.any()
    torch.testing.assert_close(found.logits, model(batch).detach(), rtol=1e-4, atol=1e-5)


def test_classes_and_images_do_not_mix(model, mechanism, works):
    if not works:
        return
    with doubled(model):
        batch = images().double()
        together = mapped(model, mechanism, batch)
        for image in range(2):
            for place in range(2):
                one = mapped(model, mechanism, batch[image : image + 1], CHOSEN[image : image + 1, place])
                assert_close(one[0, 0], together[image, place], 1e-8)
    kind = find_mechanism(mechanism)
    same = torch.equal(together[:, 0], together[:, 1])
    assert same == (not getattr(kind, "uses_classes", True))


def test_the_map_is_the_signed_one_without_what_is_below_zero(model, mechanism, works):
    if not works:
        return
    (plain,) = attend(model, images(), CHOSEN, mechanism=mechanism).maps.values()
    if has_sign(mechanism):
        assert_close(plain, mapped(model, mechanism).relu())
    else:
        with pytest.raises(ValueError, match="has no evidence against a class; leave out signed"):
            attend(model, images(), CHOSEN, mechanism=mechanism, signed=True)


def test_precision(model, mechanism, works):
    if not works:
        return
    single = mapped(model, mechanism)
    with doubled(model):
        double = mapped(model, mechanism, images().double())
    assert double.dtype == torch.float64
    assert_close(single.double(), double, 1e-2)
    rough = mapped(copy.deepcopy(model).bfloat16(), mechanism, images().bfloat16())
    assert rough.dtype == torch.float32
    assert rough.isfinite().all()


def test_inside_no_grad_and_inference_mode(model, mechanism, works):
    if not works:
        return
    expected = mapped(model, mechanism)
    with torch.no_grad():
        assert_close(mapped(model, mechanism), expected)
    with torch.inference_mode():
        assert_close(mapped(model, mechanism), expected)


@pytest.mark.parametrize("name", MECHANISMS)
def test_layers_are_refused_where_none_are_read(name):
    spelled = QUICK.get(name, name)
    if reads_layers(spelled):
        check_asked(spelled, layers=True)
    else:
        with pytest.raises(ValueError, match=f"^mechanism '{re.escape(name)}.*' reads no layer that could be chosen"):
            attend(network("pooled CNN"), images(), CHOSEN, mechanism=spelled, layers=["layer3"])
