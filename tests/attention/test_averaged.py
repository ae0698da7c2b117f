"""Averages of maps as mechanisms: what `attend` gives with smooth and fuse."""

import pytest
import torch

from looksharp.attention.attend import attend
from looksharp.attention.averaged import averaged
from looksharp.attention.mechanisms import find_trainable, mechanism_name, reads_layers
from looksharp.data.sets.synthetic import digits
from looksharp.evaluation import evaluate
from looksharp.networks import SmallNet


@pytest.fixture
def net():
    torch.manual_seed(0)
    return SmallNet(10, width=8).eval()


@pytest.mark.parametrize("mechanism", ["layer_cam", "recipro_cam", "integrated_gradients:2"])
def test_smoothed_maps_are_those_of_attend(mechanism, net):
    images, classes = torch.randn(2, 3, 32, 32), torch.tensor([[1, 4], [0, 9]])
    kind = averaged(mechanism, smooth=True)
    assert reads_layers(kind) == reads_layers(mechanism)
    assert mechanism_name(kind) == f"smooth+{mechanism_name(mechanism)}"
    layers = ["stage2", "stage3"] if reads_layers(mechanism) else None
    for signed in (False, True):
        expected = attend(net, images, classes, layers=layers, mechanism=mechanism, signed=signed, smooth=True).maps
        found = attend(net, images, classes, layers=layers, mechanism=kind, signed=signed).maps
        assert found.keys() == expected.keys()
        for name, maps in found.items():
            torch.testing.assert_close(maps, expected[name])


@pytest.mark.parametrize("smooth", [False, True])
def test_fused_maps_are_those_of_attend(smooth, net):
    images, classes = torch.randn(2, 3, 32, 32), torch.tensor([3, 5])
    kind = averaged("grad_cam", smooth=smooth, fuse=True)
    (expected,) = attend(net, images, classes, smooth=smooth, fuse=True).maps.values()
    (found,) = attend(net, images, classes, mechanism=kind).maps.values()
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"^mechanism 'fuse\+(smooth\+)?grad_cam' reads no layer that could be chosen"):
        attend(net, images, classes, layers=["stage3"], mechanism=kind)


def test_they_are_refused_where_they_have_no_meaning():
    assert averaged("grad_cam") == "grad_cam"
    with pytest.raises(ValueError, match="reads no layer that could be chosen"):
        averaged("integrated_gradients", fuse=True)
    with pytest.raises(ValueError, match=r"'smooth\+grad_cam' cannot be trained on"):
        find_trainable(averaged("grad_cam", smooth=True))
    assert mechanism_name(averaged(lambda features, gradients: features.mean(1), smooth=True)) is None


def test_evaluation_measures_them(net):
    data = digits(train=1, val=1, test=6)
    given = net, data.splits["test"], data.pixels
    plain = evaluate(*given, suites=["attention"]).values
    smooth = evaluate(*given, suites=["attention"], mechanism=averaged("grad_cam", smooth=True)).values
    fused = evaluate(*given, suites=["attention"], mechanism=averaged("grad_cam", fuse=True)).values
    values = [each["attention_inside"] for each in (plain, smooth, fused)]
    assert all(0 < value < 1 for value in values)
    assert len(set(values)) == 3
