import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from looksharp.attention.attend import attend, attention_maps
from looksharp.attention.recording import record
from looksharp.networks import AttentionBranchNetwork, CifarResNet, SmallNet, build_network
from looksharp.networks.cutting import at_stride_one


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomized(network):
    """BatchNorm with statistics and weights of its own, so that it does something, and double precision."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                values.uniform_(0.5, 1.5)
    return network.double().eval()


def attended(classes=4, **options):
    return randomized(AttentionBranchNetwork(CifarResNet(8, classes), image_size=32, **options))


def images(count=2, height=32, width=32):
    return torch.rand(count, 3, height, width, dtype=torch.float64)


# By the equations ------------------------------------------------------------------------------------------------


def normalised(features, state, name):
    """BatchNorm in evaluation mode, channel by channel."""
    result = torch.empty_like(features)
    for channel in range(features.shape[1]):
        mean, variance, weight, bias = (
            state[f"{name}.{part}"][channel] for part in ("running_mean", "running_var", "weight", "bias")
        )
        result[:, channel] = (features[:, channel] - mean) / (variance + 1e-5).sqrt() * weight + bias
    return result


def block(features, state, name, stride):
    """The one block of a stage of CifarResNet(8, ...)."""
    hidden = F.conv2d(features, state[f"{name}.conv1.weight"], stride=stride, padding=1)
    hidden = normalised(hidden, state, f"{name}.bn1").clamp(min=0)
    hidden = normalised(F.conv2d(hidden, state[f"{name}.conv2.weight"], padding=1), state, f"{name}.bn2")
    shortcut = torch.zeros_like(hidden)
    shortcut[:, : features.shape[1]] = features[:, :, ::stride, ::stride]
    return (hidden + shortcut).clamp(min=0)


def trunk(pictures, state):
    features = F.conv2d(pictures, state["backbone.conv1.weight"], padding=1)
    features = normalised(features, state, "backbone.bn1").clamp(min=0)
    return block(block(features, state, "backbone.layer1.0", 1), state, "backbone.layer2.0", 2)  # (B, 32, h, w)


def perception(features, state):
    pooled = block(features, state, "backbone.layer3.stage.0", 2).mean((2, 3))
    return pooled @ state["backbone.fc.weight"].T + state["backbone.fc.bias"]


@pytest.mark.parametrize("residual", [None, True, False])
@pytest.mark.parametrize("preset", ["paper", "official_code"])
def test_the_network_is_the_papers_equations(preset, residual):
    network = attended(preset=preset, residual=residual)
    pictures, state, branch = images(), network.state_dict(), "backbone.layer3.branch"
    features = trunk(pictures, state)
    hidden = normalised(block(features, state, f"{branch}.stage.0", 1), state, f"{branch}.head.0")
    maps = torch.einsum("kc,bchw->bkhw", state[f"{branch}.head.1.weight"][..., 0, 0], hidden)
    maps = normalised(maps, state, f"{branch}.head.2").clamp(min=0)  # (B, K, h, w)
    class_maps = torch.einsum("kl,blhw->bkhw", state[f"{branch}.class_maps.weight"][..., 0, 0], maps)
    kernel = state[f"{branch}.attention.0.weight"]  # (1, K, 1, 1) or (1, K, 3, 3)
    side = {"paper": 1, "official_code": 3}[preset]
    assert kernel.shape == (1, 4, side, side)
    padded, evidence = F.pad(maps, [side // 2] * 4), torch.zeros(2, 1, 16, 16, dtype=torch.float64)
    for row in range(side):
        for column in range(side):
            shifted = padded[:, :, row : row + 16, column : column + 16]
            evidence += torch.einsum("bkhw,k->bhw", shifted, kernel[0, :, row, column]).unsqueeze(1)
    attention = 1 / (1 + (-normalised(evidence, state, f"{branch}.attention.1")).exp())
    weighed = features * attention if residual is False else features * (1 + attention)  # Eq. 1; Eq. 2
    found = network.explained(pictures)
    torch.testing.assert_close(found.maps, attention)
    torch.testing.assert_close(found.branch_logits, class_maps.mean((2, 3)))
    torch.testing.assert_close(found.logits, perception(weighed, state))
    torch.testing.assert_close(network(pictures), found.logits)


@pytest.mark.parametrize("preset", ["paper", "official_code"])
def test_several_tasks_are_a_loop_over_their_maps(preset):
    network = attended(classes=6, multitask=True, preset=preset)
    pictures, state, branch = images(), network.state_dict(), "backbone.layer3.branch"
    features = trunk(pictures, state)
    hidden = normalised(block(features, state, f"{branch}.stage.0", 1), state, f"{branch}.head.0")
    class_maps = torch.einsum("tc,bchw->bthw", state[f"{branch}.class_maps.weight"][..., 0, 0], hidden)
    official = preset == "official_code"
    attention = class_maps if official else 1 / (1 + (-class_maps).exp())
    expected = torch.empty(2, 3, dtype=torch.float64)
    for task in range(3):
        pair = perception(features * attention[:, [task]], state)[:, 2 * task : 2 * task + 2]  # Eq. 4
        yes = pair.softmax(1)[:, 1]
        expected[:, task] = (yes / (1 - yes)).log()
    found = network.explained(pictures)
    torch.testing.assert_close(found.maps, attention)
    torch.testing.assert_close(found.branch_logits, class_maps.amax((2, 3)) if official else class_maps.mean((2, 3)))
    torch.testing.assert_close(found.logits, expected)
    loose = attended(classes=6, multitask=True, residual=True, preset=preset)
    loose.load_state_dict(state)
    pair = perception(features * (1 + attention[:, [1]]), state)[:, 2:4]
    torch.testing.assert_close(loose(pictures)[:, 1], pair[:, 1] - pair[:, 0])


def test_one_task_is_a_network_for_one():
    """With the map made of the class map, the parts of a network for one task compute what one for several does."""
    several = attended(classes=2, multitask=True)
    one = attended(classes=2, residual=False)
    shared = {name: value for name, value in several.state_dict().items() if ".branch." not in name}
    one.load_state_dict(shared, strict=False)
    branch, source = one.backbone.layer3.branch, several.backbone.layer3.branch
    branch.stage.load_state_dict(source.stage.state_dict())
    branch.head = nn.Sequential(source.head, nn.Conv2d(64, 2, 1, bias=False)).double().eval()
    branch.head[1].weight.data[:] = source.class_maps.weight.data  # twice the class map of the one task
    branch.attention = nn.Sequential(nn.Conv2d(2, 1, 1, bias=False), nn.Sigmoid()).double()
    branch.attention[0].weight.data[:] = 0.5
    branch.class_maps.weight.data[:] = 0.5
    pictures = images()
    found, expected = one.explained(pictures), several.explained(pictures)
    torch.testing.assert_close(found.maps, expected.maps)
    torch.testing.assert_close(found.branch_logits[:, :1], expected.branch_logits)
    torch.testing.assert_close(found.logits[:, 1] - found.logits[:, 0], expected.logits[:, 0])


@pytest.mark.parametrize("multitask", [False, True])
def test_gradients_are_those_of_finite_differences(multitask):
    network = randomized(AttentionBranchNetwork(SmallNet(4, width=2), image_size=32, multitask=multitask))
    pictures = images(1, 8, 16).requires_grad_()
    assert torch.autograd.gradcheck(lambda pixels: tuple(network.explained(pixels)), pictures)


# Published costs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "side", "classes", "percent"),
    [
        ("cifar_resnet110_bottleneck", 32, 100, 136),
        ("torchvision/resnet18", 224, 1000, 107),
        ("resnet18", 224, 1000, 107),
        ("torchvision/resnet50", 224, 1000, 86),
        ("torchvision/resnet152", 224, 1000, 31),
    ],
)
def test_convolutions_cost_what_the_authors_network_costs_over_its_backbone(name, side, classes, percent):
    def cost(network):
        with FlopCounterMode(display=False) as counter:
            network.eval()(torch.empty(1, 3, side, side))
        return counter.get_flop_counts()["Global"][torch.ops.aten.convolution]

    with torch.device("meta"):
        network = build_network(name, classes)
        plain = cost(network)
        branched = cost(AttentionBranchNetwork(network, image_size=side))
    assert 100 * (branched / plain - 1) == pytest.approx(percent, abs=1)


# In the field ----------------------------------------------------------------------------------------------------


class Own(nn.Module):
    """A user's network, its last stage in a dictionary within a sequence of another kind."""

    def __init__(self):
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.blocks = nn.ModuleDict(
            {"late": nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True))}
        )
        self.head = nn.Linear(8, 1000)

    def forward(self, pictures):
        return self.head(self.blocks["late"](self.early(pictures)).mean((2, 3)))


BACKBONES = {  # builder, side, module of the last stage, convolutions for fully connected layers
    "torchvision vgg16": (models.vgg16, 64, "features.24", 2),
    "torchvision vgg16_bn": (models.vgg16_bn, 64, "features.34", 2),
    "timm vgg16": (lambda: timm.create_model("vgg16"), 64, "features.24", 2),
    "timm vgg16_bn": (lambda: timm.create_model("vgg16_bn"), 64, "features.34", 2),
    "torchvision densenet121": (models.densenet121, 64, "features.transition3", 0),
    "torchvision resnext50": (models.resnext50_32x4d, 64, "layer4", 0),
    "timm senet": (lambda: timm.create_model("legacy_seresnet18"), 64, "layer4", 0),
    "torchvision wide resnet": (models.wide_resnet50_2, 64, "layer4", 0),
    "cifar_resnext": (lambda: build_network("cifar_resnext11_2x4", 1000), 32, "layer3", 0),
    "cifar_wrn": (lambda: build_network("cifar_wrn10_1", 1000), 32, "layer3", 0),
    "cifar_densenet": (lambda: build_network("cifar_densenet10_4", 1000), 32, "features.transition2", 0),
    "cifar_resnet_bottleneck": (lambda: build_network("cifar_resnet20_bottleneck", 1000), 32, "layer3", 0),
    "small_deep": (lambda: build_network("small_deep", 1000), 32, "stage3", 0),
    "own": (Own, 32, "blocks.late", 0),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_any_backbone_and_any_size(name):
    build, side, layer, convolutions = BACKBONES[name]
    positions = side // (16 if side == 64 else {"small_deep": 4}.get(name, 2))
    with torch.device("meta"):
        network = AttentionBranchNetwork(build(), image_size=side).train()
        assert network.map_layer == f"backbone.{layer}.branch.attention"
        assert network.branch_layer == f"backbone.{layer}.branch.pool"
        branch = network.get_submodule(f"backbone.{layer}.branch")
        assert [unit[0].kernel_size for unit in branch.connected] == [(3, 3)] * convolutions
        found = network.explained(torch.empty(2, 3, side, side))
        assert [tuple(each.shape) for each in found] == [(2, 1000), (2, 1000), (2, 1, positions, positions)]
        logits, _, maps = network.explained(torch.empty(3, 3, side + 32, side + 16))
        assert logits.shape == (3, 1000)
        assert maps.shape[:2] == (3, 1)
        assert maps.shape[2] > maps.shape[3] >= positions


@pytest.mark.parametrize(
    "build",
    [lambda: CifarResNet(14, 5), lambda: models.DenseNet(4, (1, 1), 8, num_classes=5), lambda: SmallNet(5, width=4)],
)
def test_a_backbone_keeps_its_weights_and_the_branch_starts_with_those_of_the_last_stage(build):
    backbone = build()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    network = AttentionBranchNetwork(backbone, image_size=32)
    stage = network.get_submodule(network.map_layer.removesuffix(".branch.attention"))
    path = network.map_layer.removesuffix(".branch.attention").removeprefix("backbone.")
    after = network.backbone.state_dict()
    own = {name: value for name, value in after.items() if not name.startswith(f"{path}.branch.")}
    names = {
        name.replace(f"{path}.stage.", f"{path.rpartition('.')[0]}." if "." in path else f"{path}.") for name in own
    }
    assert names == before.keys()  # the stage lies one module deeper; nothing else moved
    for (name, value), (old, expected) in zip(own.items(), before.items(), strict=True):
        assert torch.equal(value, expected), (name, old)
    copied, original = stage.branch.stage.state_dict(), stage.stage.state_dict()
    assert len(copied) == len(original) > 0
    for found, expected in zip(copied.values(), original.values(), strict=True):
        assert torch.equal(found, expected)
        assert found.data_ptr() != expected.data_ptr()
    for module in stage.branch.head.modules():  # initialised by He et al.: variance 2 / fan-out
        if isinstance(module, nn.Conv2d):
            assert module.weight.std().item() == pytest.approx((2 / module.out_channels) ** 0.5, rel=0.3)


def test_one_input_has_one_map_in_training_and_evaluation():
    network = attended()
    pictures = images()
    expected = network.explained(pictures)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for found, wanted in zip(network.explained(pictures), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("multitask", [True, False])
def test_record_gives_the_map_and_the_branchs_logits(training, multitask):
    network = attended(multitask=multitask).train(training)
    pictures = images(3)
    expected = copy.deepcopy(network).explained(pictures)
    with record(network, [network.map_layer, network.branch_layer]) as features:
        logits = network(pictures)
    tasks, classes = (2, 2) if multitask else (1, 4)
    assert features[network.map_layer].shape == (3, tasks, 16, 16)
    assert features[network.branch_layer].shape == (3, classes, 1, 1)
    torch.testing.assert_close(features[network.map_layer], expected.maps)
    torch.testing.assert_close(features[network.branch_layer].flatten(1), expected.branch_logits)
    torch.testing.assert_close(logits, expected.logits)


@pytest.mark.parametrize("multitask", [True, False])
def test_an_exported_network_gives_its_map(multitask):
    network = AttentionBranchNetwork(SmallNet(4, width=4), image_size=32, multitask=multitask).eval()
    pictures = torch.rand(2, 3, 32, 32)
    exported = torch.export.export(network.with_map(), (pictures,)).module()
    other = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found, expected = exported(other), network.explained(other)
    assert len(found) == 3
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted)


def test_no_hook_is_left():
    network = attended()
    network.explained(images())
    network.backbone.fc = nn.Linear(7, 4)
    with pytest.raises(RuntimeError):
        network.explained(images())
    hooked = (module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not any(hooked)


def test_grad_cam_of_a_network_with_a_branch():
    """At the end of the last stage, where a linear layer pools it, the map is the classifier's weights'."""
    network = attended()
    pictures = images()
    found = attend(network, pictures, torch.tensor([3, 1]))
    assert list(found.maps) == ["backbone.layer3"]
    outputs = []
    network.backbone.layer3.register_forward_hook(lambda _m, _a, output: outputs.append(output))
    network(pictures)
    weights = network.backbone.fc.weight[[3, 1]] / 64  # (B, C)
    expected = torch.einsum("bc,bchw->bhw", weights, outputs[0]).clamp(min=0).unsqueeze(1)
    torch.testing.assert_close(found.maps["backbone.layer3"], expected.detach())


def test_layers_behind_the_cut_run_once_for_each_of_several_tasks():
    network = attended(classes=6, multitask=True)
    with record(network, ["backbone.layer2", "backbone.layer3"]) as features:
        logits = network(images())
    message = (
        r"^layer 'backbone.layer3' holds 6 maps for a batch of 2: it runs once for each of several attention maps; "
        r"record a layer before the cut$"
    )
    with pytest.raises(ValueError, match=message):
        attention_maps(logits, features, torch.tensor([0, 1]))
    found = attention_maps(logits, features.restricted(["backbone.layer2"]), torch.tensor([0, 1]))
    chosen = logits[0, 0] + logits[1, 1]
    (gradient,) = torch.autograd.grad(chosen, features["backbone.layer2"])
    expected = (gradient.mean((2, 3), keepdim=True) * features["backbone.layer2"]).sum(1, keepdim=True).clamp(min=0)
    torch.testing.assert_close(found["backbone.layer2"], expected.detach())


# Errors ----------------------------------------------------------------------------------------------------------


def test_backbones_that_do_not_fit():
    with pytest.raises(ValueError, match=r"^preset must be paper or official_code; got 'authors'$"):
        AttentionBranchNetwork(CifarResNet(8, 4), image_size=32, preset="authors")
    with pytest.raises(ValueError, match=r"^backbone must have two outputs for each attribute; it has 5$"):
        AttentionBranchNetwork(CifarResNet(8, 5), image_size=32, multitask=True)
    with pytest.raises(ValueError, match=r"^cut 'layer9' is no module of CifarResNet; did you mean 'layer3'"):
        AttentionBranchNetwork(CifarResNet(8, 5), image_size=32, cut="layer9")


@pytest.mark.parametrize(
    ("build", "side", "message"),
    [
        (lambda: models.vit_b_16(image_size=32), 32, "^cut must name where the last stage of VisionTransformer begins"),
        (models.swin_t, 64, r"^cut 'features.6': the stage at stride 1 must keep .* it makes \(2, 2, 2, 768\); name a"),
        (
            lambda: build_network("torchvision/inception_v3", 5),
            299,
            "^cut 'Mixed_7a': the stage cannot run at stride 1",
        ),
    ],
)
def test_networks_whose_last_stage_cannot_run_at_stride_one_stay_as_they_are(build, side, message):
    with torch.device("meta"):
        network = build()
        names = [name for name, _ in network.named_modules()]
        with pytest.raises(ValueError, match=message) as caught:
            AttentionBranchNetwork(network, image_size=side)
    assert "\n" not in str(caught.value)
    assert [name for name, _ in network.named_modules()] == names


def test_a_later_cut_may_be_named():
    network = AttentionBranchNetwork(CifarResNet(14, 4), image_size=32, cut="layer3.1").eval()
    assert network.map_layer == "backbone.layer3.1.branch.attention"
    pictures = torch.rand(2, 3, 32, 32)
    assert network.explained(pictures).maps.shape == (2, 1, 8, 8)
    same = at_stride_one(network.backbone.layer3[1].stage)
    assert torch.equal(same(torch.ones(1, 64, 4, 4)), network.backbone.layer3[1].stage(torch.ones(1, 64, 4, 4)))
