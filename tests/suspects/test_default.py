import timm
import torch
from torch import nn

from looksharp.networks import SmallNet
from looksharp.suspects.default import cue_finder

IMAGES = torch.rand(2, 3, 32, 32)


class _Flattening(nn.Module):
    """A convolution whose positions the classifier tells apart, so that nothing is pooled."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        self.classifier = nn.Linear(8 * 64, 3)

    def forward(self, images):
        return self.classifier(self.features(images).flatten(1))


def test_the_mechanism_follows_from_how_the_network_ends():
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    transformer = timm.create_model("vit_tiny_patch16_224", num_classes=3, **shape).eval()
    assert cue_finder(transformer, IMAGES, None) == "gradient_rollout"
    assert cue_finder(SmallNet(3).eval(), IMAGES, None) == "recipro_cam"
    assert cue_finder(_Flattening().eval(), IMAGES, None) == "grad_cam"


def test_features_of_a_named_layer_are_asked_by_grad_cam():
    assert cue_finder(SmallNet(3).eval(), IMAGES, "stage1") == "grad_cam"
