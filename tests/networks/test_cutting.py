import copy

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from looksharp.attention.stages import LastStage, last_stage, stage_at
from looksharp.networks import CifarResNet, SmallNet, build_network
from looksharp.networks.cutting import at_stride_one, find_stage, replace_stage, stage_channels, stage_input


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def own_sequential():
    """A user's network in one sequence, its classifier included."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


STAGES = {
    "torchvision resnet18": (models.resnet18, LastStage("layer4", "layer4", 0)),
    "torchvision vgg11": (models.vgg11, LastStage("features.16", "features.20", 2)),
    "torchvision vgg11_bn": (models.vgg11_bn, LastStage("features.22", "features.28", 2)),
    "timm vgg11_bn": (lambda: timm.create_model("vgg11_bn"), LastStage("features.22", "features.28", 2)),
    "torchvision DenseNet": (
        lambda: models.DenseNet(4, (1, 1), 8, num_classes=5),
        LastStage("features.transition1", "features.norm5", 0),
    ),
    "torchvision mobilenet_v3_small": (models.mobilenet_v3_small, LastStage("features.9", "features.12", 1)),
    "timm seresnet18": (lambda: timm.create_model("legacy_seresnet18"), LastStage("layer4", "layer4", 0)),
    "cifar_wrn10_1": (lambda: build_network("cifar_wrn10_1", 5), LastStage("layer3", "layer3", 0)),
    "own sequence": (own_sequential, LastStage("3", "5", 0)),
}


@pytest.mark.parametrize("name", STAGES)
def test_the_last_stage(name):
    build, expected = STAGES[name]
    with torch.device("meta"):
        network = build()
        images = torch.empty(2, 3, 64, 64)
    assert last_stage(network, images) == expected
    # Named instead of found it is the same, squeeze-and-excitation's own layers within it not counted.
    assert stage_at(network, images, expected.name) == expected
    assert find_stage(network, (64, 64)) == find_stage(network, (64, 64), expected.name) == expected


def test_a_network_of_one_resolution_has_no_last_stage():
    with torch.device("meta"):
        network = models.vit_b_16(image_size=32)
    message = (
        r"^cut must name where the last stage of VisionTransformer begins: at 32x32 px its resolution does not change "
        r"between layers$"
    )
    with pytest.raises(ValueError, match=message):
        find_stage(network, (32, 32))


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ("layer9", r"^cut 'layer9' is no module of CifarResNet; did you mean 'layer3', 'layer2', 'layer1'\?$"),
        ("?", r"^cut '\?' is no module of CifarResNet; see model.named_modules\(\)$"),
        ("", r"^cut '' is no module of CifarResNet; see"),
        ("spare", r"^cut 'spare' must be a module that the forward of CifarResNet calls$"),
    ],
)
def test_cuts_that_are_not_there(cut, message):
    network = CifarResNet(8, 4)
    network.spare = nn.ModuleList([nn.ReLU()])
    with pytest.raises(ValueError, match=message):
        find_stage(network, (32, 32), cut)


def test_what_the_stage_reads():
    features, classes = stage_input(CifarResNet(8, 4), "layer3", (20, 28))
    assert (tuple(features.shape), classes) == ((2, 32, 10, 14), 4)
    network = CifarResNet(8, 4)
    with pytest.raises(ValueError, match=r"^cut 'fc' must be a module that reads one map .*; it reads \(2, 64\)$"):
        stage_input(network, "fc", (20, 28))
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_hooks_go_also_if_the_forward_fails():
    network = CifarResNet(8, 4)
    network.fc = nn.Linear(7, 4)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        stage_input(network, "layer3", (20, 28))
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("name", ["torchvision DenseNet", "own sequence"])
def test_a_run_of_modules_is_replaced_as_one(name):
    build, _ = STAGES[name]
    network = build().eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        size = sum(1 for _ in network.modules())
        replace_stage(network, find_stage(network, (64, 64)), lambda stage: stage)
        torch.testing.assert_close(network(images), expected, rtol=0, atol=0)
    assert sum(1 for _ in network.modules()) == size + 1  # the sequence that holds them


@pytest.mark.parametrize("build", [lambda: CifarResNet(14, 4), lambda: SmallNet(4, width=4, deep=True)])
def test_at_stride_one_every_second_position_of_the_first_block_is_as_before(build):
    """A first convolution that strides computes every second position of what it computes at stride 1."""
    network = build()
    name = find_stage(network, (32, 32)).name
    network.double()
    first = network.get_submodule(name)[0]
    same = at_stride_one(first)
    conv, dense = (next(m for m in each.modules() if isinstance(m, nn.Conv2d)) for each in (first, same))
    features = torch.rand(2, conv.in_channels, 9, 8, dtype=torch.float64)
    assert same(features).shape[-2:] == (9, 8)
    torch.testing.assert_close(dense(features)[:, :, ::2, ::2], conv(features))
    assert conv.stride == (2, 2)  # the stage itself stays
    assert dense.weight is not conv.weight
    assert torch.equal(dense.weight, conv.weight)
    if hasattr(first, "downsample"):  # its shortcut keeps every position too
        expected = torch.cat([features, torch.zeros_like(features)], 1)
        torch.testing.assert_close(same.downsample(features), expected)


def test_an_even_kernel_keeps_the_size_and_its_weights():
    stage = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.ReLU())
    same = at_stride_one(stage)
    features = torch.rand(2, 3, 6, 8)
    found = same(features)
    assert found.shape == (2, 4, 6, 8)
    kernel, positions = stage[0], [(row, column) for row in (0, 3) for column in (2, 7)]
    padded = nn.functional.pad(features, (0, 1, 0, 1))
    for row, column in positions:
        patch = padded[:, :, row : row + 2, column : column + 2]
        torch.testing.assert_close(found[:, :, [row], [column]], kernel(patch).relu()[:, :, 0])


def test_pooling_is_left_out():
    stage = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 3, 1), nn.AvgPool2d(2, 2), nn.MaxPool2d(3, 1, 1))
    same = at_stride_one(stage)
    features = torch.rand(2, 3, 6, 8)
    torch.testing.assert_close(same(features), stage[3](stage[1](features)))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten()),
            r"^cut 'top': the stage at stride 1 must keep the size of its input \(2, 3, 6, 6\); it makes \(2, 144\); ",
        ),
        (nn.Sequential(nn.Conv2d(9, 4, 3)), r"^cut 'top': the stage cannot run at stride 1: Given groups=1, .*$"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), r"it makes \(2, 4, 4, 4\); name a later module with cut$"),
    ],
)
def test_stages_that_cannot_run_at_stride_one(stage, message):
    with pytest.raises(ValueError, match=message):
        stage_channels(stage, torch.rand(2, 3, 6, 6), "top")


def test_one_convolution_alone_is_no_stage():
    with pytest.raises(ValueError, match=r"^cut must name a stage of more than one convolution$"):
        at_stride_one(nn.Conv2d(3, 4, 3, stride=2))


def test_finding_changes_nothing():
    network = CifarResNet(8, 4)
    before = copy.deepcopy(network.state_dict())
    random_state = torch.get_rng_state()
    find_stage(network, (32, 32))
    stage_input(network, "layer3", (32, 32))
    assert torch.equal(torch.get_rng_state(), random_state)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert network.training
