import pytest
from torch import nn
from torchvision import models

from looksharp.networks import AttendAndRectify, CifarResNet, head_parameters
from looksharp.networks.head_parameters import classifier_of


def test_classifier():
    assert classifier_of(CifarResNet(20, 10))[0] == "fc"
    assert classifier_of(models.squeezenet1_1(num_classes=7))[0] == "classifier.1"
    assert classifier_of(AttendAndRectify(CifarResNet(8, 5), image_size=16))[0] == "backbone.fc"
    with pytest.raises(ValueError, match=r"^Sequential has no classifier: no linear layer and no convolution$"):
        classifier_of(nn.Sequential(nn.ReLU()))


def test_head_parameters_are_the_classifier_and_all_that_was_added():
    net = AttendAndRectify(CifarResNet(8, 5), image_size=16)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    found = [names[id(parameter)] for parameter in head_parameters(net)]
    assert sorted(found) == sorted(
        ["backbone.fc.weight", "backbone.fc.bias", "gate.score.weight"]
        + [f"attention.{n}.{name}" for n in range(3) for name in ("attend.weight", "hypothesis")]
    )
    assert [p.shape for p in head_parameters(CifarResNet(8, 5))] == [(5, 64), (5,)]
    assert {id(p) for p in head_parameters(nn.DataParallel(net))} == {id(p) for p in head_parameters(net)}
