import pytest
import timm
import torch
from torch import nn
from torchvision import models

from looksharp.attention.channels_last import fastest_format
from looksharp.attention.rerun import counting, rerun_behind, run_in_chunks

VIT = {"img_size": 32, "patch_size": 8, "depth": 1, "embed_dim": 24, "num_heads": 3}


class Joined(nn.Module):
    """Joins channels and positions by `view`, which maps with channels last cannot do."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4 * 6 * 6, 5)

    def forward(self, images):
        return self.head(self.layer(self.layer(images)[:, :3]).view(len(images), -1))


NETWORKS = {
    "residual": (lambda: models.resnet18(num_classes=5), torch.channels_last),
    "concatenated": (lambda: timm.create_model("densenet121", num_classes=5), torch.channels_last),
    "layer normalisation": (lambda: timm.create_model("convnext_atto", num_classes=5), torch.preserve_format),
    "transformer": (lambda: timm.create_model("vit_tiny_patch16_224", **VIT), torch.preserve_format),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_format_of_a_network_and_what_its_first_layer_sees(name):
    build, expected = NETWORKS[name]
    model, images = build().eval(), torch.randn(3, 3, 32, 32)
    seen = []
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    found = run_in_chunks(model, images)
    assert fastest_format(model, images[:1]) is expected
    assert seen[-1] == (expected is torch.channels_last)
    torch.testing.assert_close(found, model(images).detach(), rtol=1e-4, atol=1e-5)


def test_a_network_that_cannot_take_the_format_runs_as_before():
    torch.manual_seed(0)
    model, images = Joined().eval(), torch.randn(2, 3, 6, 6)
    counted = []
    with counting(counted.append):
        assert torch.equal(run_in_chunks(model, images), model(images))
    assert counted == [2]
    assert fastest_format(model, images[:1]) is torch.preserve_format


def test_a_layer_of_a_network_that_cannot_take_the_format_is_replaced_at_its_last_call():
    torch.manual_seed(0)
    model, images = Joined().eval(), torch.randn(2, 3, 6, 6)
    found = rerun_behind(model, images, "layer", 2, lambda maps, places: maps * places.view(-1, 1, 1, 1))
    torch.testing.assert_close(found[:, 0], model.head.bias.expand(2, -1))
    torch.testing.assert_close(found[:, 1], model(images))


def test_format_on_an_accelerator_is_left_alone():
    assert fastest_format(Joined(), torch.empty(1, 3, 6, 6, device="meta")) is torch.preserve_format
