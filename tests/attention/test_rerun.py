import pytest
import timm
import torch
from torch import nn
from torchvision import models

from looksharp.attention.recording import find_modules
from looksharp.attention.rerun import _BROADCASTS, chunks, counting, rerun_behind, run_in_chunks

VIT = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 24, "num_heads": 3, "num_classes": 5}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def scaled(features, places):
    return features * (1 + places.to(features.dtype)).view(-1, 1, 1, 1)


def by_loop(model, images, layer, count, prefix=0):
    """Every variant of every image in a forward of its own."""
    rows = []
    for image in images.split(1):
        for place in range(count):

            def change(_module, _args, output, factor=1 + place):
                changed = output.clone()
                changed[:, prefix:] *= factor
                return changed

            hook = find_modules(model, (layer,))[layer].register_forward_hook(change)
            rows.append(model(image))
            hook.remove()
    return torch.cat(rows).view(len(images), count, -1).detach()


NETWORKS = {
    "residual": (lambda: models.resnet18(num_classes=5), "layer3", 0, True),
    "inside a residual block": (lambda: models.resnet18(num_classes=5), "layer3.0.conv1", 0, True),
    "concatenated": (
        lambda: timm.create_model("densenet121", num_classes=5),
        "features.denseblock3.denselayer1",
        0,
        False,
    ),
    "tokens": (lambda: timm.create_model("vit_tiny_patch16_224", **VIT), "blocks.1", 1, True),
    "before attention": (lambda: timm.create_model("vit_tiny_patch16_224", **VIT), "blocks.2.norm1", 1, True),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_variants_behind_a_layer(case):
    build, layer, prefix, broadcasts = NETWORKS[case]
    model, images = build().double().eval(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found = rerun_behind(model, images, layer, 5, scaled, chunk=2)
    torch.testing.assert_close(found, by_loop(model, images, layer, 5, prefix))
    assert _BROADCASTS[model] == {layer: broadcasts}


class Twice(nn.Module):
    """Runs its layer two times."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 3, 1), nn.Linear(3, 4)

    def forward(self, images):
        return self.head(self.layer(self.layer(images)).mean((2, 3)))


def test_a_layer_that_runs_twice_is_replaced_at_its_last_call():
    model, images = Twice().eval(), torch.randn(2, 3, 4, 4)
    found = rerun_behind(model, images, "layer", 3, scaled)
    inner = model.layer(model.layer(images))
    expected = torch.stack([model.head(factor * inner.mean((2, 3))) for factor in (1, 2, 3)], 1)
    torch.testing.assert_close(found, expected)


def test_run_in_chunks_counts_images():
    model, images = models.resnet18(num_classes=5).eval(), torch.randn(5, 3, 32, 32)
    counted = []
    with counting(counted.append):
        found = run_in_chunks(model, images, chunk=2)
    assert counted == [2, 2, 1]
    torch.testing.assert_close(found, model(images).detach(), rtol=1e-4, atol=1e-5)
    run_in_chunks(model, images)
    assert counted == [2, 2, 1]


def test_chunks_bound_the_pixels_of_a_forward():
    assert [len(places) for places in chunks(100, torch.empty(1, 3, 224, 224, device="meta"))] == [32, 32, 32, 4]
    assert [len(places) for places in chunks(20, torch.empty(1, 3, 224, 224))] == [8, 8, 4]
    assert [len(places) for places in chunks(300, torch.empty(1, 3, 8, 8))] == [256, 44]
    assert [len(places) for places in chunks(2, torch.empty(1, 3, 9000, 9000))] == [1, 1]
    assert torch.cat(list(chunks(7, torch.empty(1, 3, 8, 8), 3))).tolist() == list(range(7))


def test_training_mode_is_refused_and_hooks_go_after_an_error():
    model, images = Twice(), torch.randn(1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"need evaluation mode; call model\.eval\(\) first"):
        run_in_chunks(model, images)
    model.eval()

    def broken(features, places):
        if len(places) > 2:
            raise KeyError("broken")
        return scaled(features, places)

    with pytest.raises(KeyError, match="broken"):
        rerun_behind(model, images, "layer", 3, broken)
    assert not model.layer._forward_hooks


def test_runs_of_equal_length():
    one = torch.empty(1, 3, 8, 8)
    assert [len(places) for places in chunks(50, one, 32, even=True)] == [25, 25]
    assert [len(places) for places in chunks(7, one, 3, even=True)] == [3, 2, 2]
    assert torch.cat(list(chunks(7, one, 3, even=True))).tolist() == list(range(7))
