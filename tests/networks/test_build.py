import re

import pytest
import torch

from looksharp.networks import (
    ARCHITECTURES,
    AttentionBranchNetwork,
    CAMNetwork,
    CifarResNet,
    build_classifier,
)


def build(architecture="plain", options=None, **others):
    return build_classifier(
        "cifar_resnet8", 4, image_size=(32, 32), architecture=architecture, options=options, **others
    )


def test_plain_is_the_backbone():
    assert isinstance(build(), CifarResNet)
    torch.manual_seed(0)
    found = build()
    torch.manual_seed(0)
    torch.testing.assert_close(found.state_dict(), CifarResNet(8, 4).state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_classifies_images_of_any_size(architecture):
    network = build(architecture).eval()
    assert isinstance(network, ARCHITECTURES[architecture])
    assert network(torch.rand(2, 3, 40, 36)).shape == (2, 4)


def test_options_reach_the_architecture():
    network = build("attention_branch", {"preset": "official_code", "residual": False, "cut": "layer2"})
    assert isinstance(network, AttentionBranchNetwork)
    assert network.map_layer == "backbone.layer2.branch.attention"
    assert network.get_submodule(network.map_layer)[0].kernel_size == (3, 3)
    assert not network.backbone.layer2.residual
    assert isinstance(build("cam", {"cut": "layer2"}), CAMNetwork)


def test_several_tasks_have_two_outputs_each():
    network = build("attention_branch", {"multitask": True}, multilabel=True).eval()
    assert network.backbone.fc.out_features == 8
    found = network.explained(torch.rand(2, 3, 32, 32))
    assert found.logits.shape == found.branch_logits.shape == (2, 4)
    assert found.maps.shape == (2, 4, 16, 16)


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        (
            "attention",
            None,
            r"^architecture must be one of plain, attend_rectify, attention_branch, cam.*; got 'attention'$",
        ),
        ("cam", {"depth": 3}, r"^'cam.depth' is not a setting; there are cut$"),
        (
            "attention_branch",
            {"cut": "layer9"},
            r"^architecture 'attention_branch' around backbone 'cifar_resnet8': cut 'layer9' is no module of ",
        ),
        (
            "attention_branch",
            {"multitask": True},
            r"^attention_branch multitask needs images with several binary labels; these have one class$",
        ),
    ],
)
def test_what_does_not_go_together(architecture, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(architecture, options)
    assert "\n" not in str(caught.value)


def test_a_backbone_starts_from_weights_with_a_new_classifier_for_other_classes():
    weights = CifarResNet(8, 7).state_dict()
    found = build(weights=weights).state_dict()
    assert found["fc.weight"].shape == (4, 64)
    body = [name for name in found if not name.startswith("fc.")]
    torch.testing.assert_close([found[name] for name in body], [weights[name] for name in body], rtol=0, atol=0)
    torch.testing.assert_close(build(weights=found).state_dict(), found, rtol=0, atol=0)


@pytest.mark.parametrize("change", ["missing", "of another shape", "too much"])
def test_weights_of_another_backbone_are_refused(change):
    weights, name = dict(CifarResNet(8, 4).state_dict()), "conv1.weight"
    if change == "missing":
        del weights[name]
    elif change == "of another shape":
        weights[name] = weights[name][:, :1]
    else:
        weights[name := "layer9.weight"] = torch.zeros(3)
    message = f"weights are of another network than backbone 'cifar_resnet8': {name} does not fit"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build(weights=weights)
