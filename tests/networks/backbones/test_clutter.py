import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from looksharp.attention.stages import last_stages
from looksharp.networks import ClutterNet

# Half the receptive field and the stride, in pixels, of each stage's map.
STAGES = {"stage1": (2, 2), "stage2": (6, 4), "stage3": (14, 8), "stage4": (22, 8), "stage5": (30, 8)}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("place", [(5, 5), (0, 0), (6, 3)])
def test_receptive_field_is_as_stated(stage, place):
    """Where one position has a gradient, once pooling is by the mean of the same positions, which hides none."""
    torch.manual_seed(0)
    half, stride = STAGES[stage]
    network = ClutterNet(10).double().eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            network.set_submodule(name, nn.AvgPool2d(module.kernel_size, module.stride, module.padding))
    maps = []
    network.get_submodule(stage).register_forward_hook(lambda _, __, output: maps.append(output))
    images = torch.randn(1, 3, 80, 80, dtype=torch.float64, requires_grad=True)
    network(images)
    (gradient,) = torch.autograd.grad(maps[0][0, :, *place].sum(), images)
    expected = torch.zeros(80, 80, dtype=torch.bool)
    rows, columns = (slice(max(stride * at - half, 0), stride * at + half + 1) for at in place)
    expected[rows, columns] = True
    assert torch.equal(gradient[0].abs().sum(0) > 0, expected)


def test_maps_of_40_px_have_20_10_and_5_positions():
    network = ClutterNet(7, in_channels=1, width=4)
    shapes = {}
    for name in STAGES:
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    assert network(torch.rand(2, 1, 40, 40)).shape == (2, 7)
    sizes = {"stage1": (4, 20), "stage2": (4, 10), "stage3": (8, 5), "stage4": (8, 5), "stage5": (8, 5)}
    assert shapes == {name: (2, channels, side, side) for name, (channels, side) in sizes.items()}


def test_layers_are_the_papers():
    network = ClutterNet(10)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [module.kernel_size for module in convolutions] == [(3, 3)] * 5
    assert sum(isinstance(module, nn.Linear) for module in network.modules()) == 2
    kinds = {nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d}
    for stage in ("stage1", "stage2", "stage3"):
        assert {type(module) for module in network.get_submodule(stage)} & kinds == kinds
    for stage in ("stage4", "stage5"):
        assert {type(module) for module in network.get_submodule(stage)} & kinds == {nn.Conv2d}


def test_cost_is_as_stated():
    with torch.device("meta"):
        network, images = ClutterNet(10), torch.empty(1, 3, 40, 40)
    with FlopCounterMode(display=False) as counter:
        network(images)
    layers = [(40, 3, 32), (20, 32, 32), (10, 32, 64), (5, 64, 64), (5, 64, 64)]
    by_hand = sum(2 * side**2 * 9 * inputs * outputs for side, inputs, outputs in layers)
    by_hand += 2 * (64 * 25 * 128 + 128 * 10)
    assert counter.get_total_flops() == by_hand == pytest.approx(17.9e6, rel=0.005)


def test_the_last_map_is_read_position_by_position():
    network = ClutterNet(3, width=4).double().eval()
    maps = []
    network.stage5.register_forward_hook(lambda _, __, output: maps.append(output))
    logits = network(torch.rand(2, 3, 40, 40, dtype=torch.float64))
    hidden = torch.einsum("ochw,bchw->bo", network.fc1.weight.view(-1, 8, 5, 5), maps[0]) + network.fc1.bias
    torch.testing.assert_close(logits, hidden.relu() @ network.fc2.weight.T + network.fc2.bias)


def test_an_80_px_image_is_read_in_squares():
    network = ClutterNet(3, width=4).double().eval()
    maps = []
    network.stage5.register_forward_hook(lambda _, __, output: maps.append(output))
    logits = network(torch.rand(2, 3, 80, 80, dtype=torch.float64))
    squares = F.avg_pool2d(maps[0], 2)
    hidden = torch.einsum("ochw,bchw->bo", network.fc1.weight.view(-1, 8, 5, 5), squares) + network.fc1.bias
    torch.testing.assert_close(logits, hidden.relu() @ network.fc2.weight.T + network.fc2.bias)


def test_weights_start_as_he_et_al_say():
    torch.manual_seed(0)
    network = ClutterNet(10, width=64)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and name != "fc2":
            inputs = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.05)
            assert module.bias is None or not module.bias.any()
    assert network.fc2.weight.abs().max() <= 256**-0.5  # torch's default is uniform


def test_stages_are_found():
    assert last_stages(ClutterNet(10), torch.rand(2, 3, 40, 40)) == ("stage2", "stage5")


@pytest.mark.parametrize("argument", ["num_classes", "in_channels", "width"])
def test_nothing_is_refused(argument):
    with pytest.raises(ValueError, match=rf"^{argument} must be at least 1, got 0$"):
        ClutterNet(**({"num_classes": 10} | {argument: 0}))
