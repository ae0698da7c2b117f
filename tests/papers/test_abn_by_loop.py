"""ABN Eq. 1 to 5: the library against loops written from the paper's text, for each reading."""

import copy

import loops
import numpy as np
import pytest
import torch

from looksharp.networks import AttentionBranchNetwork
from looksharp.objectives import BranchLoss, Classification

BRANCH = "backbone.last.branch"


def norm(values, name):
    return [values[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]


def built(network, randomized, **options):
    net = AttentionBranchNetwork(copy.deepcopy(network).float(), image_size=8, cut="last", **options).double()
    net = randomized(net)
    return net, {name: value.detach().numpy() for name, value in net.state_dict().items()}


def extracted(values, image):
    """The feature extractor's output, and what the branch's copy of the last stage, at stride 1, makes of it."""
    weight, bias = values["backbone.inner.0.weight"], values["backbone.inner.0.bias"]
    features = loops.relu(loops.convolution(image, weight, bias))
    copied = loops.convolution(features, values[f"{BRANCH}.stage.0.weight"], values[f"{BRANCH}.stage.0.bias"])
    return features, loops.relu(copied)


def perceived(values, features):
    weight, bias = values["backbone.last.stage.0.weight"], values["backbone.last.stage.0.bias"]
    last = loops.relu(loops.convolution(features, weight, bias, stride=2))
    return loops.linear(values["backbone.head.weight"], values["backbone.head.bias"], loops.means(last))


@pytest.mark.parametrize("residual", [True, False], ids=["Eq. 2", "Eq. 1"])
@pytest.mark.parametrize(("preset", "kernel"), [("paper", 1), ("official_code", 3)])
def test_map_scores_and_loss(network, randomized, images, preset, kernel, residual):
    net, values = built(network, randomized, residual=residual, preset=preset)
    assert values[f"{BRANCH}.attention.0.weight"].shape[2:] == (kernel, kernel)
    weights = {
        "norm_in": norm(values, f"{BRANCH}.head.0"),
        "to_classes": values[f"{BRANCH}.head.1.weight"],
        "norm_classes": norm(values, f"{BRANCH}.head.2"),
        "class_maps": values[f"{BRANCH}.class_maps.weight"],
        "to_map": values[f"{BRANCH}.attention.0.weight"],
        "norm_map": norm(values, f"{BRANCH}.attention.1"),
    }
    labels, found, loss = [2, 0, 3], net.explained(images), 0.0
    for place, image in enumerate(images.numpy()):
        features, copied = extracted(values, image)
        attention, branch = loops.attention_branch(copied, weights)
        scores = perceived(values, loops.attended(features, attention, residual))
        np.testing.assert_allclose(found.maps[place, 0].detach(), attention, atol=1e-12)
        np.testing.assert_allclose(found.branch_logits[place].detach(), branch, atol=1e-12)
        np.testing.assert_allclose(found.logits[place].detach(), scores, atol=1e-12)
        loss += loops.cross_entropy(branch, labels[place]) + loops.cross_entropy(scores, labels[place])  # Eq. 3
    step = (Classification() + BranchLoss())(net, (images, torch.tensor(labels)))
    assert step.loss.item() == pytest.approx(loss / len(images), abs=1e-12)


@pytest.mark.parametrize("residual", [None, True], ids=["Eq. 4", "1 + M"])
@pytest.mark.parametrize("preset", ["paper", "official_code"])
def test_several_tasks(network, randomized, images, preset, residual):
    """Eq. 4 and 5: for each task the perception branch runs on that task's map; two of its outputs are read."""
    net, values = built(network, randomized, multitask=True, residual=residual, preset=preset)
    weights = {"norm_in": norm(values, f"{BRANCH}.head.0"), "class_maps": values[f"{BRANCH}.class_maps.weight"]}
    found = net.explained(images)
    for place, image in enumerate(images.numpy()):
        features, copied = extracted(values, image)
        maps, branch = loops.branch_of_tasks(copied, weights, official=preset == "official_code")
        np.testing.assert_allclose(found.branch_logits[place].detach(), branch, atol=1e-12)
        for task, attention in enumerate(maps):
            outputs = perceived(values, loops.attended(features, attention, bool(residual)))
            no, yes = outputs[2 * task : 2 * task + 2]  # of T x 2
            np.testing.assert_allclose(found.maps[place, task].detach(), attention, atol=1e-12)
            assert found.logits[place, task].sigmoid().item() == pytest.approx(loops.softmax([no, yes])[1], abs=1e-12)
