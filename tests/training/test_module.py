import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, StepLR

from looksharp.networks import AttendAndRectify, CifarResNet
from looksharp.objectives import Classification
from looksharp.training.module import Training, learning_rate_factor, score_name
from looksharp.training.settings import OptimizationConfig

STEPS, EPOCHS = 7, 6


def module(config, model=None, multilabel=False, **values):
    return Training(
        model or nn.Linear(3, 4),
        Classification(),
        config,
        classes=4,
        multilabel=multilabel,
        steps_per_epoch=STEPS,
        epochs=EPOCHS,
        **values,
    )


def rates(optimizer, schedule):
    """The learning rate that each training step uses."""
    found = []
    for _ in range(STEPS * EPOCHS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def planned(config):
    setup = module(config).configure_optimizers()
    assert setup["lr_scheduler"]["interval"] == "step"
    return rates(setup["optimizer"], setup["lr_scheduler"]["scheduler"])


def reference(schedule, *args, **kwargs):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)
    return rates(optimizer, schedule(optimizer, *args, **kwargs))


def test_cosine_is_one_cycle_of_snapshot_ensembles():
    total = STEPS * EPOCHS
    config = OptimizationConfig(schedule="cosine")
    for t in range(1, total + 1):  # Eq. 2 counts iterations from 1 and, with one cycle, has ceil(T / M) = T
        expected = 0.5 * (math.cos(math.pi * ((t - 1) % total) / total) + 1)
        assert learning_rate_factor(config, t - 1, STEPS, EPOCHS) == pytest.approx(expected, abs=1e-12)
    assert learning_rate_factor(config, 0, STEPS, EPOCHS) == 1
    assert learning_rate_factor(config, total // 2, STEPS, EPOCHS) == pytest.approx(0.5)
    assert learning_rate_factor(config, total, STEPS, EPOCHS) == 0
    assert learning_rate_factor(config, total + 5, STEPS, EPOCHS) == 0  # and does not rise again


def test_cosine_equals_torchs_annealing_step_by_step():
    assert planned(OptimizationConfig(lr=0.1)) == pytest.approx(reference(CosineAnnealingLR, STEPS * EPOCHS))


def test_step_divides_at_the_milestones():
    config = OptimizationConfig(lr=0.1, schedule="step", milestones=[2, 5], gamma=0.1)
    found = planned(config)
    assert found == pytest.approx([0.1] * 2 * STEPS + [0.01] * 3 * STEPS + [0.001] * STEPS)
    assert found == pytest.approx(reference(MultiStepLR, [2 * STEPS, 5 * STEPS], gamma=0.1))


def test_step_divides_every_so_many_steps():
    every = STEPS + 1
    found = planned(OptimizationConfig(lr=0.1, schedule="step", every=every, gamma=0.1))
    assert found == pytest.approx([0.1 * 0.1 ** (step // every) for step in range(STEPS * EPOCHS)])
    assert found == pytest.approx(reference(StepLR, every, gamma=0.1))


def test_constant_is_constant():
    assert planned(OptimizationConfig(lr=0.3, schedule="constant")) == [0.3] * (STEPS * EPOCHS)


def test_sgd_has_the_settings():
    optimizer = module(OptimizationConfig(lr=0.2, momentum=0.8, weight_decay=1e-3)).configure_optimizers()["optimizer"]
    assert type(optimizer) is torch.optim.SGD
    assert (optimizer.defaults["momentum"], optimizer.defaults["weight_decay"]) == (0.8, 1e-3)


def test_adamw_has_the_settings():
    config = OptimizationConfig(optimizer="adamw", lr=1e-3, weight_decay=0.05)
    optimizer = module(config).configure_optimizers()["optimizer"]
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-3, 0.05)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_fused_step_is_the_step(name):
    torch.manual_seed(0)
    models = [nn.Linear(3, 4) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    images = torch.randn(8, 3)
    config = OptimizationConfig(optimizer=name, lr=0.1, weight_decay=0.05)
    for model, fused in zip(models, (True, False), strict=True):
        training = module(config, model)
        training.fused = fused
        optimizer = training.configure_optimizers()["optimizer"]
        assert optimizer.defaults["fused"] is fused
        for _ in range(3):
            model(images).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    for found, expected in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 4))
    model[0].requires_grad_(False)
    optimizer = module(OptimizationConfig(), model).configure_optimizers()["optimizer"]
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in model[1].parameters()}


def test_the_score_is_by_the_kind_of_labels():
    assert (score_name(False), score_name(True)) == ("val_top1", "val_map")
    assert module(OptimizationConfig(), multilabel=True).score_name == "val_map"


def test_the_heads_learning_rate_is_its_own():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 5))
    setup = module(OptimizationConfig(lr=0.01, head_lr_factor=10, schedule="step", milestones=[1]), model)
    configured = setup.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    body, head = optimizer.param_groups
    assert [id(p) for p in body["params"]] == [id(p) for p in model[0].parameters()]
    assert [id(p) for p in head["params"]] == [id(p) for p in model[2].parameters()]
    assert (body["lr"], head["lr"]) == pytest.approx((0.01, 0.1))
    assert body["weight_decay"] == head["weight_decay"] == 5e-4
    for _ in range(STEPS):
        optimizer.step()
        schedule.step()
    assert (body["lr"], head["lr"]) == pytest.approx((0.001, 0.01))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_attention_modules_are_trained_at_the_heads_learning_rate(optimizer):
    model = AttendAndRectify(CifarResNet(8, 4), image_size=16)
    config = OptimizationConfig(optimizer=optimizer, lr=0.01, head_lr_factor=10)
    groups = module(config, model).configure_optimizers()["optimizer"].param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        in_body = name.startswith("backbone.") and not name.startswith("backbone.fc.")
        assert rates[id(parameter)] == pytest.approx(0.01 if in_body else 0.1), name


def test_one_learning_rate_is_one_group_and_a_frozen_body_is_none():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    assert len(module(OptimizationConfig(), model).configure_optimizers()["optimizer"].param_groups) == 1
    model[0].requires_grad_(False)
    (group,) = (
        module(OptimizationConfig(lr=0.01, head_lr_factor=10), model).configure_optimizers()["optimizer"].param_groups
    )
    assert group["lr"] == pytest.approx(0.1)
    assert len(group["params"]) == 2


def test_a_factor_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"^head_lr_factor must be above 0; got 0$"):
        OptimizationConfig(head_lr_factor=0)


def test_nesterov_looks_ahead_by_its_momentum():
    """Sutskever et al. 2013, as torch has it: the first step is lr (1 + momentum) times the gradient."""
    for nesterov, factor in ((True, 1.8), (False, 1.0)):
        net = nn.Linear(1, 1, bias=False)
        before = net.weight.item()
        config = OptimizationConfig(lr=0.5, momentum=0.8, weight_decay=0.0, nesterov=nesterov, schedule="constant")
        optimizer = module(config, net).configure_optimizers()["optimizer"]
        net.weight.grad = torch.full((1, 1), 0.25)
        optimizer.step()
        assert net.weight.item() == pytest.approx(before - 0.5 * factor * 0.25)


@pytest.mark.parametrize("settings", [{"optimizer": "adamw"}, {"momentum": 0.0}])
def test_nesterov_needs_momentum(settings):
    with pytest.raises(ValueError, match="nesterov needs optimizer sgd with momentum above 0; got "):
        OptimizationConfig(nesterov=True, **settings)
