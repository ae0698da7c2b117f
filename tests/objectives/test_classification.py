import copy
import math

import pytest
import torch
from torch import nn

from looksharp.batch import Batch
from looksharp.objectives import Classification
from looksharp.objectives.classification import classification_loss

TARGETS = torch.tensor([2, 0, 1])
MULTI_HOT = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 4)).double()


@pytest.fixture
def images():
    return torch.rand(3, 3, 4, 4, dtype=torch.float64)


def cross_entropy_by_loop(logits, targets, smoothing=0.0):
    losses = []
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        total = math.log(sum(math.exp(score) for score in row))
        wanted = [smoothing / len(row) + (1 - smoothing) * (c == target) for c in range(len(row))]
        losses.append(sum(w * (total - score) for w, score in zip(wanted, row, strict=True)))
    return sum(losses) / len(losses)


def soft_margin_by_loop(logits, targets):
    losses = []
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        probabilities = [1 / (1 + math.exp(-score)) for score in row]
        losses.append(-sum(math.log(p if w else 1 - p) for p, w in zip(probabilities, wanted, strict=True)) / len(row))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_indices(model, images, smoothing):
    step = Classification(label_smoothing=smoothing)(model, (images, TARGETS))
    expected = cross_entropy_by_loop(model(images), TARGETS, smoothing)
    assert step.loss.item() == pytest.approx(expected)
    assert step.terms == {"classification": step.loss}
    assert step.maps == {}


@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.float64])
def test_multi_hot_targets(model, images, dtype):
    step = Classification()(model, Batch(images, MULTI_HOT.to(dtype)))
    assert step.loss.item() == pytest.approx(soft_margin_by_loop(model(images), MULTI_HOT))


def test_gradient_is_that_of_plain_training(model, images):
    plain = copy.deepcopy(model)
    nn.CrossEntropyLoss()(plain(images), TARGETS).backward()
    Classification()(model, {"image": images, "target": TARGETS}).loss.backward()
    torch.testing.assert_close([p.grad for p in model.parameters()], [p.grad for p in plain.parameters()])


def test_models_that_return_more_than_logits(images):
    class Several(nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(1)), images

    model = Several(48, 4).double()
    step = Classification()(model, (images, TARGETS))
    torch.testing.assert_close(step.logits, model(images)[0])


@pytest.mark.parametrize(("targets", "got"), [([0, 4, 1], "0 to 4"), ([-1, 0, 0], "-1 to 0")])
def test_targets_out_of_range(model, images, targets, got):
    with pytest.raises(ValueError, match=f"targets must be 0 to 3 for 4 logits; got {got}"):
        Classification()(model, (images, torch.tensor(targets)))


def test_multi_hot_targets_of_another_width(model, images):
    with pytest.raises(ValueError, match=r"multi-hot targets must be \(3, 4\); got \(3, 3\)"):
        Classification()(model, (images, MULTI_HOT[:, :3]))


@pytest.mark.parametrize("dtype", [torch.long, torch.float64])
def test_labels_that_are_not_known_are_left_out(model, images, dtype):
    targets = torch.tensor([[1, -1, 0, -1], [-1, -1, -1, -1], [0, 1, 1, 0]])
    logits = model(images)
    each = []
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        known = [(score, label) for score, label in zip(row, wanted, strict=True) if label >= 0]
        losses = [math.log(1 + math.exp(-score if label else score)) for score, label in known]
        each.append(sum(losses) / len(losses) if losses else 0.0)
    step = Classification()(model, Batch(images, targets.to(dtype)))
    assert step.loss.item() == pytest.approx(sum(each) / 3)
    apart = classification_loss(logits, Batch(images, targets.to(dtype)), reduction="none")
    assert apart.tolist() == pytest.approx(each)
    (gradient,) = torch.autograd.grad(apart.sum(), logits)
    assert torch.equal(gradient == 0, targets < 0)
