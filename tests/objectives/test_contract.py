"""What every objective promises, whichever it is."""

import copy

import pytest
import torch
from torch import nn

from looksharp import objectives
from looksharp.batch import Batch
from looksharp.objectives import OBJECTIVES, GroupDRO, Objective, Step

TARGETS = {
    "single-label": torch.tensor([2, 0, 4]),
    "multi-label": torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]]),
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.late = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.late(self.early(images)).mean((2, 3)))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=OBJECTIVES)
def objective(request):
    return OBJECTIVES[request.param]()


@pytest.fixture(params=TARGETS)
def batch(request):
    return Batch(torch.rand(3, 3, 8, 8), TARGETS[request.param], group=torch.tensor([1, 0, 1]))


def test_the_registry_holds_every_objective_that_is_exported():
    exported = {value for name in objectives.__all__ if isinstance(value := getattr(objectives, name), type)}
    assert {kind for kind in exported if issubclass(kind, Objective)} - {Objective} == set(OBJECTIVES.values())


def test_step(objective, batch):
    model = Net()
    step = objective(model, batch)
    assert isinstance(step, Step)
    assert step.loss.shape == ()
    assert step.loss.isfinite()
    assert step.loss.requires_grad
    assert step.logits.shape == (3, 5)
    assert step.logits.requires_grad
    torch.testing.assert_close(step.logits, copy.deepcopy(model)(batch.image))
    assert "classification" in step.terms
    for term in step.terms.values():
        assert term.shape == ()
        assert term.isfinite()
        assert not term.requires_grad
    for maps in step.maps.values():
        assert (maps.ndim, len(maps)) == (4, 3)
        assert not maps.requires_grad
    torch.testing.assert_close(step.loss.detach(), sum(step.terms.values()))  # every default weight is 1
    assert all(parameter.grad is None for parameter in model.parameters())
    step.loss.backward()
    for parameter in model.parameters():
        assert parameter.grad.isfinite().all()


def test_gradients_that_are_there_already_are_not_touched(objective, batch):
    model = Net()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    objective(model, batch)
    assert all(parameter.grad.eq(1).all() for parameter in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_batchnorm_statistics(objective, batch, training):
    model, plain = Net().train(training), Net().train(training)
    plain.load_state_dict(model.state_dict())
    objective(model, batch)
    plain(batch.image)
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))
    assert all(module.training == training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_evaluation(objective, batch):
    model = Net().eval()
    step = objective(model, batch)
    with torch.no_grad():
        evaluated = objective(model, batch)
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(evaluated.terms, step.terms)
    torch.testing.assert_close(evaluated.loss, step.loss.detach())
    with torch.inference_mode():
        torch.testing.assert_close(objective(model, batch).loss, step.loss.detach())


def test_forms_of_a_batch(objective, batch):
    model = Net().eval()
    expected = objective(model, batch).loss
    mapping = {"image": batch.image, "target": batch.target, "group": batch.group}
    torch.testing.assert_close(objective(model, mapping).loss, expected)
    if not isinstance(objective, GroupDRO):  # which cannot do without groups
        torch.testing.assert_close(objective(model, (batch.image, batch.target)).loss, expected)


def test_objectives_own_no_parameters(objective, batch):
    objective(Net(), batch)
    assert not list(objective.parameters())
    type(objective)().load_state_dict(objective.state_dict())


def test_a_step_of_training_lowers_the_loss(objective, batch):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        step = objective(model, batch)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(step.loss.item())
    assert losses[-1] < losses[0]


def test_autocast(objective, batch):
    model = Net()
    with torch.autocast("cpu", torch.bfloat16):
        step = objective(model, batch)
    step.loss.backward()
    assert step.loss.dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
