"""A dozen families of networks: the layers that are found, and what is made of them, against plain autograd."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import timm
import torch
from torch.nn import functional as F
from torchvision import models
from torchvision.models.swin_transformer import SwinTransformer

from looksharp import attend
from looksharp.attention.recording import record
from looksharp.attention.stages import last_stages
from looksharp.data.split import Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.objectives import ICASC
from looksharp.suspects.patches import attended_patches

CLASSES = 5
THIN = {"depth": 4, "embed_dim": 48, "num_heads": 3}


def of_timm(name, **changed):
    return lambda: timm.create_model(name, num_classes=CLASSES, **changed)


@dataclass
class Family:
    """Build a small member; tell its layers, and how maps lie in what its modules return.

    As "maps" (B, C, h, w), with channels "last", "rolled" in Hiera's windows, or as tokens behind so many others.
    """

    build: Any
    size: int
    layers: tuple[str, str]
    layout: Any = "maps"
    shape: tuple[int, int] = field(default=(2, 2))


FAMILIES = {
    "ResNet": Family(of_timm("test_resnet"), 64, ("layer3", "layer4")),
    "EfficientNet": Family(of_timm("test_efficientnet"), 64, ("blocks.3", "bn2")),
    "ConvNeXt": Family(of_timm("test_convnext"), 64, ("stages.2", "norm_pre")),
    "ViT, class token": Family(
        of_timm("vit_tiny_patch16_224", img_size=64, **THIN), 64, ("blocks.2.norm1", "blocks.3.norm1"), 1, (4, 4)
    ),
    "ViT, pooled": Family(
        of_timm("beit_base_patch16_224", img_size=64, **THIN), 64, ("blocks.2", "blocks.3"), 1, (4, 4)
    ),
    "ViT, attention pooled": Family(
        of_timm("vit_base_patch16_siglip_224", img_size=64, **THIN), 64, ("blocks.2", "blocks.3"), 0, (4, 4)
    ),
    "Swin": Family(
        of_timm("swin_tiny_patch4_window7_224", img_size=64, window_size=2, embed_dim=24, depths=(1, 1, 2, 1)),
        64,
        ("layers.2", "norm"),
        "last",
    ),
    "hybrid, convolutions and attention": Family(
        of_timm("test_maxvit", img_size=160), 160, ("stages.2", "norm"), shape=(5, 5)
    ),
    "MLP mixer": Family(
        lambda: timm.models.MlpMixer(CLASSES, 64, patch_size=16, num_blocks=4, embed_dim=48),
        64,
        ("blocks.2", "blocks.3"),
        0,
        (4, 4),
    ),
    "XCiT": Family(
        of_timm("xcit_nano_12_p16_224", img_size=64, depth=4, embed_dim=48, num_heads=4),
        64,
        ("blocks.2", "blocks.3"),
        0,
        (4, 4),
    ),
    "Hiera": Family(
        of_timm("hiera_tiny_224", img_size=64, embed_dim=16, stages=(1, 1, 2, 1)),
        64,
        ("blocks.3", "blocks.4"),
        "rolled",
    ),
    "torchvision MobileNet": Family(
        lambda: models.mobilenet_v3_small(num_classes=CLASSES), 128, ("features.8", "features.12"), shape=(4, 4)
    ),
    "torchvision Swin": Family(
        lambda: SwinTransformer([4, 4], 24, [1, 1, 2, 1], [1, 1, 2, 2], [2, 2], num_classes=CLASSES),
        64,
        ("features.5", "norm"),
        "last",
    ),
    "torchvision ViT": Family(
        lambda: models.VisionTransformer(32, 8, 4, 2, 32, 64, num_classes=CLASSES),
        32,
        ("encoder.layers.encoder_layer_2.ln_1", "encoder.layers.encoder_layer_3.ln_1"),
        1,
        (4, 4),
    ),
}


@pytest.fixture(params=FAMILIES, scope="module")
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def network(family):
    torch.manual_seed(0)
    network = family.build()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 and parameter.abs().max() < 5e-3:
                parameter.normal_(std=0.02)  # new classifiers that read next to nothing yet
            elif parameter.numel() > 1 and parameter.abs().max() < 1e-3:
                parameter.fill_(0.1)  # scales of residuals that add nothing yet
        network(torch.randn(8, 3, family.size, family.size))  # BatchNorm learns what it normalises
    return network.eval()


@pytest.fixture(scope="module")
def images(family):
    return torch.randn(3, 3, family.size, family.size, generator=torch.Generator().manual_seed(1))


def as_maps(output, network, family, layer):
    """Lay out a module's own output as (B, C, h, w), from what the table says."""
    if family.layout == "maps":
        return output
    if family.layout == "last":
        return output.permute(0, 3, 1, 2)
    if family.layout == "rolled":
        return network.reroll(output, int(layer.rpartition(".")[2])).permute(0, 3, 1, 2)
    tokens = output[:, family.layout :]
    side = round(tokens.shape[1] ** 0.5)
    return tokens.mT.unflatten(2, (side, side))


def by_autograd(network, family, images, layer, classes):
    """Return features (B, C, h, w) and gradients (B, K, C, h, w) of classes (B, K), from a hook and plain autograd."""
    kept = []

    def keep(_module, _args, output):
        kept.append(output)
        return output.clone()  # what follows may write in place

    hook = network.get_submodule(layer).register_forward_hook(keep)
    logits = network(images)
    hook.remove()
    found = [
        torch.autograd.grad(logits.gather(1, column[:, None]).sum(), kept[0], retain_graph=True)[0]
        for column in classes.T
    ]
    gradients = torch.stack([as_maps(gradient, network, family, layer) for gradient in found], 1)
    return as_maps(kept[0].detach(), network, family, layer), gradients


def assert_close(found, expected):
    largest = float(expected.abs().max())
    assert largest > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * largest)


def test_layers_and_grad_cam(family, network, images):
    assert last_stages(network, images) == family.layers
    found = attend(network, images, top=2, signed=True)
    (layer,) = found.maps
    features, gradients = by_autograd(network, family, images, layer, found.classes)
    expected = (gradients.mean((3, 4), keepdim=True) * features[:, None]).sum(2)
    assert expected.shape[2:] == family.shape
    assert_close(found.maps[layer], expected)


def test_a_quarter_of_the_image_changes_the_same_quarter_of_the_map(family, network, images):
    """By little, and in comparison with what changes of the other quarters do there."""
    half = family.size // 2
    changed = images[:1].repeat(5, 1, 1, 1)
    for quarter in range(4):
        row, column = half * (quarter // 2), half * (quarter % 2)
        changed[quarter + 1, :, row : row + half, column : column + half] += 0.05 * images[1, :, :half, :half]
    with record(network, family.layers[1:]) as features:
        network(changed)
    maps = features[family.layers[1]].detach()
    difference = (maps[1:] - maps[:1]).square().sum(1)  # (4, h, w)
    corners = F.adaptive_avg_pool2d(difference, 2).flatten(1)  # (changed quarter, quarter of the map)
    for _ in range(9):  # some corners and some changes weigh more than others
        corners = corners / corners.sum(0)
        corners = corners / corners.sum(1, keepdim=True)
    assert corners.argmax(1).tolist() == [0, 1, 2, 3]


def test_a_step_of_icasc(family, network, images):
    network.zero_grad()
    targets = torch.tensor([0, 1, 2])
    first = []
    hooks = [
        module.register_forward_hook(lambda module, *_: first.append(module))
        for module in network.modules()
        if any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
    ]
    step = ICASC(classifies=False)(network, (images, targets))
    for hook in hooks:
        hook.remove()
    logits = step.logits.detach()
    confusing = logits.scatter(1, targets[:, None], -torch.inf).argmax(1)
    for layer in family.layers:
        features, gradients = by_autograd(network, family, images, layer, torch.stack([targets, confusing], 1))
        weights = gradients.relu().sum((3, 4), keepdim=True)
        expected = (weights * features[:, None]).sum(2).relu() / features[0, 0].numel()
        assert_close(step.maps[layer].detach(), expected)
    step.loss.backward()
    assert step.loss.isfinite()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(parameter.grad.any() for parameter in first[0].parameters(recurse=False) if parameter.ndim > 1)


def test_the_attended_patches(family, network):
    generator = torch.Generator().manual_seed(2)
    coarse = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=generator)
    targets = torch.tensor([3, 1, 4, 0])
    split = TensorSplit(targets=targets, images=F.interpolate(coarse, (family.size, family.size)))
    seen = []
    hook = network.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    pixels, options = Pixels((family.size, family.size)), {"mechanism": "grad_cam", "progress": False}
    found = attended_patches(network, split, pixels, [0, 1, 2, 3], **options)
    hook.remove()
    features, gradients = by_autograd(network, family, seen[-1], family.layers[1], targets[:, None])
    evidence = (gradients[:, 0].mean((2, 3), keepdim=True) * features).sum(1).flatten(1)
    peak, position = evidence.max(1)
    assert found.image.tolist() == (peak > 0).nonzero().flatten().tolist()
    assert found.position.tolist() == position[peak > 0].tolist()
    torch.testing.assert_close(found.share, (peak / evidence.abs().sum(1))[peak > 0], rtol=1e-3, atol=1e-5)
    at_peak = features.flatten(2)[torch.arange(4), :, position][peak > 0]
    torch.testing.assert_close(found.feature, F.normalize(at_peak, dim=1), rtol=1e-3, atol=1e-4)
