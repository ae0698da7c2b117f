"""What every family of networks for small images has to offer to maps and to an attention branch."""

import copy

import pytest
import torch
from torch import nn

from looksharp.attention.attend import attention_maps
from looksharp.attention.recording import record
from looksharp.attention.stages import last_stages
from looksharp.networks import build_network

# The ends of the last two stages at 32 px, and whether the last is pooled into the linear layer as it stands.
FAMILIES = {
    "cifar_resnet8": (("layer2", "layer3"), True),
    "cifar_resnet8_bottleneck": (("layer2", "layer3"), True),
    "cifar_resnext11_2x4": (("layer2", "layer3"), True),
    "cifar_wrn10_1": (("layer2", "relu"), True),
    "cifar_wrn10_2_drop30": (("layer2", "relu"), True),
    "cifar_densenet10_4": (("features.denseblock2", "features.norm5"), False),  # ReLU follows
}


class Wrapped(nn.Module):
    """The same logits, but no longer the linear layer's very output, so that nothing has a closed form."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images) * 1.0


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=FAMILIES)
def name(request):
    return request.param


def _varied(network):
    """Statistics and weights of BatchNorm as of a trained network."""
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 5)])
def test_any_size_and_number_of_channels_is_classified(name, size):
    network = build_network(name, 4, in_channels=1)
    assert network(torch.rand(2, 1, *size)).shape == (2, 4)
    assert network.eval()(torch.rand(1, 1, *size)).shape == (1, 4)


def test_last_stages_are_found(name):
    assert last_stages(build_network(name, 4), torch.rand(2, 3, 32, 32)) == FAMILIES[name][0]


@pytest.mark.parametrize("mechanism", ["grad_cam", "channel_weighted"])
def test_maps_are_those_of_autograd_image_by_image(name, mechanism):
    layers, pooled = FAMILIES[name]
    network = _varied(build_network(name, 4).double().eval())
    images, classes = torch.rand(2, 3, 16, 16, dtype=torch.float64), torch.tensor([[0, 3], [1, 2]])
    with record(network, layers) as features:
        logits = network(images)
    head = features.pooled_linear_head(logits)
    assert (head.layer if head else None) == (layers[-1] if pooled else None)
    maps = attention_maps(logits, features, classes, mechanism, signed=True)
    for layer in layers:
        for place, image in enumerate(images):
            for index, c in enumerate(classes[place]):
                kept = []

                def keep(_, __, output, kept=kept):
                    kept.append(output)
                    return output.clone()

                hook = network.get_submodule(layer).register_forward_hook(keep)
                score = network(image[None])[0, c]
                hook.remove()
                (gradient,) = torch.autograd.grad(score, kept[0])
                weights = gradient.mean((2, 3)) if mechanism == "grad_cam" else gradient.clamp(0).sum((2, 3))
                expected = (weights[0, :, None, None] * kept[0][0]).sum(0).detach()
                if mechanism == "channel_weighted":
                    expected /= expected.numel()
                torch.testing.assert_close(maps[layer][place, index], expected)


def test_trained_maps_have_the_derivatives_of_autograd(name):
    layers, _ = FAMILIES[name]
    network = _varied(build_network(name, 4).double().eval())
    other = Wrapped(copy.deepcopy(network))
    images, classes = torch.rand(2, 3, 16, 16, dtype=torch.float64), torch.tensor([[0, 3], [1, 2]])
    for model, names in [(network, layers), (other, [f"net.{layer}" for layer in layers])]:
        with record(model, names) as features:
            logits = model(images)
        maps = attention_maps(logits, features, classes, create_graph=True)
        sum(values.square().sum() for values in maps.values()).backward()
    moved = 0
    for parameter, expected in zip(network.parameters(), other.net.parameters(), strict=True):
        if expected.grad is None or parameter.grad is None:  # the head's bias moves no map
            assert expected.grad is parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, expected.grad)
            moved += expected.grad.any().item()
    assert moved > 10


def test_ends_of_stages_stay_as_they_were_computed(name):
    layers, _ = FAMILIES[name]
    network, computed = build_network(name, 4).eval(), {}
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _, __, output, layer=layer: computed.update({layer: output.clone()})
        )
    with record(network, layers) as features:
        network(torch.rand(2, 3, 16, 16))
    for layer in layers:
        assert torch.equal(features[layer], computed[layer])


@pytest.mark.parametrize("name", [name for name in FAMILIES if "densenet" not in name])
def test_last_stage_keeps_the_resolution_once_its_strides_are_1(name):
    """As an attention branch has it; what strides are modules, and they all lie in `layer3`."""
    network = build_network(name, 4).eval()
    entering = []
    network.layer3.register_forward_pre_hook(lambda _, args: entering.append(args[0]))
    network(torch.rand(1, 3, 32, 32))
    (features,) = entering
    assert features.shape[-2:] == (16, 16)
    assert network.layer3(features).shape[-2:] == (8, 8)
    for module in network.layer3.modules():
        if isinstance(module, nn.Conv2d | nn.AvgPool2d):
            module.stride = 1
    assert network.layer3(features).shape[-2:] == (16, 16)


def test_densenet_strides_in_its_transitions_alone():
    network = build_network("cifar_densenet10_4", 4)
    striding = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.AvgPool2d) and module.stride not in (1, (1, 1))
    ]
    assert striding == ["features.transition1.pool", "features.transition2.pool"]
    assert list(dict(network.features.named_children()))[-3:] == ["transition2", "denseblock3", "norm5"]
