"""Networks of every kind leave as files, each with the maps that its head allows, under their own name."""

import onnxruntime
import pytest
import timm
import torch
import transformers
from timm.models.swin_transformer import SwinTransformer
from timm.models.vgg import VGG

from looksharp.adopting import adopt
from looksharp.attention.attend import attend
from looksharp.attention.layout import layout_of
from looksharp.attention.recording import logits_of
from looksharp.data.pixels import Pixels
from looksharp.exporting.choosing import mapped, pictures
from looksharp.exporting.export import export
from looksharp.networks import SmallNet
from looksharp.networks.large_fov import LargeFOV

NAMES = ("cat", "dog", "eel", "fox")


def of_transformers(kind, **settings):
    config = getattr(transformers, f"{kind}Config")(num_labels=4, **settings)
    return getattr(transformers, f"{kind}ForImageClassification")(config)


def swin():
    return SwinTransformer(32, 4, num_classes=4, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4)


def resnet():
    return of_transformers("ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])


def vit():
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    return of_transformers("ViT", image_size=32, patch_size=8, **sizes)


KINDS = {
    "efficientnet": (64, lambda: timm.create_model("test_efficientnet", num_classes=4), "bn2", "grad_cam"),
    "swin": (32, swin, "norm", "grad_cam"),
    "resnet of transformers": (32, resnet, "resnet.encoder.stages.1", "grad_cam"),
    "vgg": (56, lambda: VGG([8, "M", 8, "M", 8, "M"], num_classes=4, mlp_ratio=1 / 64), "features.7", "recipro_cam"),
    "vit of transformers": (32, vit, "vit.layers.1.layernorm_before", "recipro_cam"),
}
"""Kind -> size of its images, how to build one, the layer that is read, and the mechanism of its maps."""


def differentiated(network, layer, images, classes):
    """Grad-CAM by autograd: the features that a hook sees, weighted by the mean of their gradients."""
    seen = []
    with torch.enable_grad():
        hook = network.get_submodule(layer).register_forward_hook(lambda _m, _a, output: seen.append(output))
        scores = logits_of(network(images))
        hook.remove()
        (features,), found = seen, []
        layout = layout_of(network, layer, features, images.shape[-2:])
        for column in classes.T:
            (gradient,) = torch.autograd.grad(scores.gather(1, column[:, None]).sum(), features, retain_graph=True)
            weight = layout.to_map(gradient).mean((2, 3), keepdim=True)
            found.append((weight * layout.to_map(features)).sum(1).relu())
    return torch.stack(found, 1).detach()


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_gives_the_maps_that_its_head_allows(kind, tmp_path):
    side, build, layer, mechanism = KINDS[kind]
    torch.manual_seed(0)
    network, size = build().eval(), (side, side)
    run = adopt(network, classes=NAMES, pixels=Pixels(size), progress=False)
    found, image = export(run, tmp_path / "model.pt2", top=2), pictures(3, size, seed=3)
    assert found.said["maps"] == f"of the 2 highest-scoring classes at layer {layer}, by {mechanism}"
    logits, classes, maps = torch.export.load(found.path).module()(image)
    images = run.pixels.normalize(image)
    with torch.no_grad():
        torch.testing.assert_close(logits, logits_of(network(images)))
    torch.testing.assert_close(classes, logits.topk(2).indices)
    if mechanism == "grad_cam":
        wanted = differentiated(network, layer, images, classes)
    else:
        wanted = attend(network, images, classes, layers=[layer], mechanism=mechanism).maps[layer]
    torch.testing.assert_close(maps, wanted, rtol=1e-4, atol=1e-4 * float(wanted.max()))
    assert maps.std((2, 3)).max() > 0.01 * maps.max()
    if mechanism == "recipro_cam":
        with pytest.raises(ValueError, match=r"^mechanism 'grad_cam' needs a backward to layer ") as caught:
            mapped(network, images, top=2, mechanism="grad_cam")
        assert "\n" not in str(caught.value)


def test_a_segmentation_network_gives_its_probabilities(tmp_path):
    torch.manual_seed(0)
    network = LargeFOV(SmallNet(4, width=4), image_size=32, width=16).eval()
    run = adopt(network, classes=NAMES, pixels=Pixels((32, 32)), progress=False)
    found, image = export(run, tmp_path / "model.onnx", top=2), pictures(3, (32, 32), seed=3)
    assert found.said["maps"] == f"of the 2 highest-scoring classes at layer {network.place}, by built_in"
    session = onnxruntime.InferenceSession(found.path, providers=["CPUExecutionProvider"])
    logits, classes, maps = map(torch.from_numpy, session.run(None, {"image": image.numpy()}))
    images = run.pixels.normalize(image)
    with torch.no_grad():
        torch.testing.assert_close(logits, network(images), rtol=1e-4, atol=1e-5)
        odds = network.dense(images).softmax(1)[:, 1:]
    wanted = odds[torch.arange(3)[:, None], classes]
    torch.testing.assert_close(maps, wanted, rtol=1e-4, atol=1e-6)
    assert maps.std((2, 3)).min() > 0
