import math

import pytest
import torch
from torch import nn

from looksharp.batch import Batch
from looksharp.networks import AttentionBranchNetwork, CifarResNet, SmallNet
from looksharp.objectives import GAIN, ICASC, BranchLoss, Classification, Guidance

TARGETS = torch.tensor([2, 0, 3])
SEVERAL = torch.tensor([[1, 0, -1, 0], [0, 1, 1, -1], [-1, -1, -1, -1]])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def network():
    return AttentionBranchNetwork(CifarResNet(8, 4), image_size=32).double().eval()


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16, dtype=torch.float64)


def cross_entropy(logits, targets, smoothing=0.0):
    losses = []
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        total = math.log(sum(math.exp(score) for score in row))
        wanted = [smoothing / len(row) + (1 - smoothing) * (place == target) for place in range(len(row))]
        losses.append(sum(share * (total - score) for share, score in zip(wanted, row, strict=True)))
    return sum(losses) / len(losses)


def binary_of_known(logits, targets):
    losses = []
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        odds = [1 / (1 + math.exp(-score)) for score in row]
        each = [-math.log(p if w else 1 - p) for p, w in zip(odds, wanted, strict=True) if w >= 0]
        losses.append(sum(each) / len(each) if each else 0.0)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_both_branches(network, images, smoothing):
    """ABN Eq. 3."""
    step = (Classification() + BranchLoss(label_smoothing=smoothing))(network, (images, TARGETS))
    found = network.explained(images)
    branch = cross_entropy(found.branch_logits, TARGETS, smoothing)
    assert step.terms["branch"].item() == pytest.approx(branch)
    assert step.loss.item() == pytest.approx(cross_entropy(found.logits, TARGETS) + branch)
    assert step.maps.keys() == {network.map_layer}
    torch.testing.assert_close(step.maps[network.map_layer], found.maps.detach())
    torch.testing.assert_close(step.logits, found.logits)


def test_weight_and_gradient(network, images):
    (Classification() + BranchLoss(0.5))(network, (images, TARGETS)).loss.backward()
    found = {name: parameter.grad for name, parameter in network.named_parameters()}
    network.zero_grad()
    output, loss = network.explained(images), nn.CrossEntropyLoss()
    (loss(output.logits, TARGETS) + 0.5 * loss(output.branch_logits, TARGETS)).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)
        assert parameter.grad.any(), name


@pytest.mark.parametrize("multitask", [False, True])
def test_several_labels_some_of_them_unknown(images, multitask):
    backbone = CifarResNet(8, 8 if multitask else 4)
    network = AttentionBranchNetwork(backbone, image_size=32, multitask=multitask).double().eval()
    step = (Classification() + BranchLoss())(network, Batch(images, SEVERAL))
    found = network.explained(images)
    assert step.terms["branch"].item() == pytest.approx(binary_of_known(found.branch_logits, SEVERAL))
    assert step.terms["classification"].item() == pytest.approx(binary_of_known(found.logits, SEVERAL))


@pytest.mark.parametrize("objective", [ICASC(), GAIN(), Classification() + Guidance("energy")])
def test_it_combines_with_the_other_objectives(network, images, objective):
    mask = torch.zeros(2, 16, 16, dtype=torch.float64)
    mask[:, 4:9, 3:12] = 1
    batch = {"image": images, "target": TARGETS, "sample": torch.tensor([0, 2]), "label": TARGETS[[0, 2]], "mask": mask}
    alone, both = objective(network, batch), (objective + BranchLoss())(network, batch)
    assert both.terms.keys() == alone.terms.keys() | {"branch"}
    for name, value in alone.terms.items():
        torch.testing.assert_close(both.terms[name], value)
    branch = cross_entropy(network.explained(images).branch_logits, TARGETS)
    assert both.loss.item() == pytest.approx(alone.loss.item() + branch)
    both.loss.backward()
    assert network.get_submodule(network.map_layer)[0].weight.grad.any()


def test_networks_without_a_branch(images):
    message = (
        r"^BranchLoss needs a network with an attention branch, such as AttentionBranchNetwork\(backbone\); "
        r"got SmallNet$"
    )
    with pytest.raises(ValueError, match=message):
        (Classification() + BranchLoss())(SmallNet(4).double(), (images, TARGETS))


def test_maps_of_classes_are_refused_where_every_task_has_a_map_of_its_own(images):
    network = AttentionBranchNetwork(CifarResNet(8, 8), image_size=32, multitask=True).double().eval()
    icasc = ICASC(layers=("backbone.layer2", "backbone.layer3"))
    with pytest.raises(ValueError, match=r"^layer 'backbone.layer3' holds 12 maps for a batch of 3: "):
        (icasc + BranchLoss())(network, Batch(images, SEVERAL.clamp(min=0)))
