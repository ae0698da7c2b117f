import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from looksharp.networks import SmallNet

# Half the receptive field and the stride, in pixels, of each stage's last map.
STAGES = {"stage1": (5, 2), "stage2": (11, 4), "stage3": (15, 8)}


def _seen(network, stage, row, column, size=48):
    """Which pixels (size, size) one position of a stage's map has a gradient at."""
    maps = []
    hook = network.get_submodule(stage).register_forward_hook(lambda _, __, output: maps.append(output))
    images = torch.randn(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    network(images)
    hook.remove()
    (gradient,) = torch.autograd.grad(maps[0][0, :, row, column].sum(), images)
    return gradient[0].abs().sum(0) > 0


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("place", [(3, 3), (0, 0), (5, 2)])
def test_receptive_field_is_as_stated(stage, place):
    torch.manual_seed(0)
    half, stride = STAGES[stage]
    expected = torch.zeros(48, 48, dtype=torch.bool)
    rows, columns = (slice(max(stride * at - half, 0), stride * at + half + 1) for at in place)
    expected[rows, columns] = True
    assert torch.equal(_seen(SmallNet(10).double().eval(), stage, *place), expected)


def test_centre_sees_31_pixels_a_side_of_48():
    torch.manual_seed(0)
    seen = _seen(SmallNet(10).double().eval(), "stage3", 3, 3)
    assert seen.any(0).sum() == seen.any(1).sum() == 31


@pytest.mark.parametrize("size", [48, 80])
def test_every_position_of_the_deep_net_sees_the_whole_image(size):
    torch.manual_seed(0)
    network = SmallNet(10, deep=True).double().eval()
    last = size // 8 - 1
    # The corners are farthest from their opposites; what they see, every position between them does.
    for place in [(0, 0), (0, last), (last, 0), (last, last)]:
        assert _seen(network, "stage3", *place, size).all()


@pytest.mark.parametrize("deep", [False, True])
def test_maps_of_48_px_have_24_12_and_6_positions(deep):
    network = SmallNet(5, width=4, deep=deep, in_channels=1)
    shapes = {}
    for name in STAGES:
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    assert network(torch.rand(2, 1, 48, 48)).shape == (2, 5)
    assert shapes == {"stage1": (2, 2, 24, 24), "stage2": (2, 4, 12, 12), "stage3": (2, 8, 6, 6)}


@pytest.mark.parametrize(("deep", "stated"), [(False, 11.1e6), (True, 32.4e6)])
def test_cost_is_as_stated(deep, stated):
    with torch.device("meta"):
        network, images = SmallNet(10, deep=deep), torch.empty(1, 3, 48, 48)
    with FlopCounterMode(display=False) as counter:
        network(images)
    layers = [(24, 3, 16), (24, 16, 16), (24, 16, 16), (12, 16, 32), (12, 32, 32), (6, 32, 64)]
    layers += [(6, 64, 64)] * (8 if deep else 0)
    by_hand = sum(2 * side**2 * 9 * inputs * outputs for side, inputs, outputs in layers) + 2 * 64 * 10
    assert counter.get_total_flops() == by_hand == pytest.approx(stated, rel=0.01)


def test_logits_are_one_linear_layer_of_the_last_maps_mean():
    network = SmallNet(3, width=4).double().eval()
    maps = []
    network.stage3.register_forward_hook(lambda _, __, output: maps.append(output))
    logits = network(torch.rand(2, 3, 48, 40, dtype=torch.float64))
    expected = torch.einsum("kc,bchw->bk", network.fc.weight, maps[0]) / maps[0][0, 0].numel()
    torch.testing.assert_close(logits, expected + network.fc.bias)


@pytest.mark.parametrize("width", [0, 31, -2])
def test_width_that_cannot_be_halved_is_refused(width):
    with pytest.raises(ValueError, match=rf"^width must be a positive even number, got {width}; take 32$"):
        SmallNet(10, width=width)


def test_no_classes_and_no_channels_are_refused():
    with pytest.raises(ValueError, match=r"^num_classes and in_channels must be at least 1, got 0 and 3; "):
        SmallNet(0)
    with pytest.raises(ValueError, match=r"^num_classes and in_channels must be at least 1, got 2 and 0; "):
        SmallNet(2, in_channels=0)
