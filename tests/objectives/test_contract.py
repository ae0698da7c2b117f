"""Every registered part of an objective keeps these promises, alone where it classifies and else in a sum."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from looksharp import objectives
from looksharp.batch import Batch, BatchMarks
from looksharp.networks import AttendAndRectify, AttentionBranchNetwork, LargeFOV
from looksharp.objectives import ICASC, PARTS, Classification, GroupDRO, Part, Step
from looksharp.objectives.base import Extension
from looksharp.objectives.parsing import PartSettings, parse_objective
from looksharp.settings import SettingError, checked_arguments, settings_of

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


@pytest.fixture(params=PARTS)
def name(request):
    return request.param


@pytest.fixture
def part(name):
    return PARTS[name]()


def whole(part):
    """An objective that classifies."""
    return part if part.classifies else Classification() + part


@pytest.fixture
def objective(part):
    return whole(part)


def seen(part, batch):
    """The images that go forward: two marked ones have each other's surroundings alone to go to."""
    return part.extend(batch).image if isinstance(part, Extension) else batch.image


@pytest.fixture
def build(name):
    """Makes the network that a part needs: a plain one, or one around it."""

    def make():
        if name == "branch":
            return AttentionBranchNetwork(Net(), image_size=8)
        if name == "sec":
            return LargeFOV(Net(), image_size=8, width=8)
        return AttendAndRectify(Net(), image_size=8, layers=2) if name == "head_diversity" else Net()

    return make


@pytest.fixture(params=TARGETS)
def batch(request):
    masks = torch.zeros(3, 8, 8)
    masks[:, 2:5, 1:6] = 1
    marks = BatchMarks(torch.tensor([0, 2, 2]), torch.tensor([2, 3, 4]), masks)
    return Batch(torch.rand(3, 3, 8, 8), TARGETS[request.param], marks, group=torch.tensor([1, 0, 1]))


def test_the_registry_holds_every_part_that_is_exported():
    exported = {value for name in objectives.__all__ if isinstance(value := getattr(objectives, name), type)}
    assert {kind for kind in exported if issubclass(kind, Part)} - {Part} <= set(PARTS.values())
    assert {kind for kind in PARTS.values() if kind.classifies} <= exported


def test_the_signature_is_the_settings(name):
    """Every default is a valid setting, and a wrong name is refused by one line."""
    defaults = {key: setting.default for key, setting in settings_of(PARTS[name]).items()}
    assert PartSettings(name, checked_arguments(PARTS[name], defaults, name)).build()
    with pytest.raises(SettingError, match=f"{name}.nonsense"):
        parse_objective({name: {"nonsense": 1}})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(name, value):
    for setting, parameter in settings_of(PARTS[name]).items():
        if isinstance(parameter.default, float):
            with pytest.raises(ValueError, match=f"^{setting} must be a finite number; got {value}$"):
                PARTS[name](**{setting: value})


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_smoothing_that_is_no_share_is_refused(name, value, batch, build):
    if "label_smoothing" in settings_of(PARTS[name]):
        with pytest.raises(
            SettingError, match=rf"^{name}\.label_smoothing must be at least 0 and below 1; got {value:g}$"
        ):
            parse_objective({name: {"label_smoothing": value}})
        with pytest.raises(ValueError, match=f"^label_smoothing must be at least 0 and below 1; got {value:g}$"):
            whole(PARTS[name](label_smoothing=value))(build(), batch)


def test_step(objective, part, batch, build):
    model = build()
    step = objective(model, batch)
    assert isinstance(step, Step)
    assert step.loss.shape == ()
    assert step.loss.isfinite()
    assert step.loss.requires_grad
    assert step.logits.shape == (3, 5)
    assert step.logits.requires_grad
    torch.testing.assert_close(step.logits, copy.deepcopy(model)(seen(part, batch))[:3])
    assert "classification" in step.terms
    for term in step.terms.values():
        assert term.shape == ()
        assert term.isfinite()
        assert not term.requires_grad
    for maps in step.maps.values():
        assert (maps.ndim, len(maps)) == (4, 3)
        assert not maps.requires_grad
    own = step.terms.keys() - {"classification"}
    # Every other default weight is 1.
    weights = dict.fromkeys(own, 0.1 if isinstance(part, ICASC) else getattr(part, "weight", 1.0))
    total = sum(weights.get(term, 1.0) * value for term, value in step.terms.items())
    torch.testing.assert_close(step.loss.detach(), total)
    assert all(parameter.grad is None for parameter in model.parameters())
    step.loss.backward()
    for parameter in model.parameters():
        assert parameter.grad.isfinite().all()


def test_gradients_that_are_there_already_are_not_touched(objective, batch, build):
    model = build()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    objective(model, batch)
    assert all(parameter.grad.eq(1).all() for parameter in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_batchnorm_statistics(objective, part, batch, training, build):
    model, plain = build().train(training), build().train(training)
    plain.load_state_dict(model.state_dict())
    objective(model, batch)
    plain(seen(part, batch))
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))
    assert all(module.training == training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_evaluation(objective, batch, build):
    model = build().eval()
    step = objective(model, batch)
    with torch.no_grad():
        evaluated = objective(model, batch)
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(evaluated.terms, step.terms)
    torch.testing.assert_close(evaluated.loss, step.loss.detach())
    with torch.inference_mode():
        torch.testing.assert_close(objective(model, batch).loss, step.loss.detach())


def test_forms_of_a_batch(objective, batch, build):
    model = build().eval()
    expected = objective(model, batch).loss
    mapping = {"image": batch.image, "target": batch.target, "group": batch.group, **vars(batch.marks)}
    torch.testing.assert_close(objective(model, mapping).loss, expected)
    if not isinstance(objective, GroupDRO):  # which cannot do without groups
        expected = objective(model, Batch(batch.image, batch.target)).loss
        torch.testing.assert_close(objective(model, (batch.image, batch.target)).loss, expected)


def test_objectives_own_no_parameters(objective, name, batch, build):
    objective(build(), batch)
    assert not list(objective.parameters())
    whole(PARTS[name]()).load_state_dict(objective.state_dict())


def test_a_step_of_training_lowers_the_loss(objective, batch, build):
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        step = objective(model, batch)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(step.loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore:.*it runs eagerly")
def test_a_compiled_model_gives_the_loss_and_gradients_of_the_model(objective, batch, build):
    model = build()
    losses, gradients = [], []
    for run in (model, torch.compile(copy.deepcopy(model), backend="aot_eager")):
        torch.manual_seed(1)  # surroundings are exchanged at random
        step = copy.deepcopy(objective)(run, batch)
        step.loss.backward()
        losses.append((step.loss, step.terms, step.maps))
        gradients.append([parameter.grad for parameter in run.parameters()])
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.usefixtures("without_tf32")
def test_loss_and_gradients_on_a_gpu(objective, name, batch, build):
    model = build()
    moved = copy.deepcopy(model).cuda()
    steps = [
        copy.deepcopy(objective)(model, batch),
        copy.deepcopy(objective).cuda()(moved, batch.to(torch.device("cuda"))),
    ]
    for step in steps:
        step.loss.backward()
    if name == "background_exchange":  # each device draws other surroundings
        assert steps[1].loss.isfinite()
        return
    torch.testing.assert_close(steps[1].loss.cpu(), steps[0].loss, rtol=1e-3, atol=1e-4)
    for found, expected in zip(moved.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad.cpu(), expected.grad, rtol=1e-2, atol=1e-3)


def test_no_tensor_waits_for_garbage_collection(objective, batch, build, in_cycles):
    model = build()

    def step():
        model.zero_grad()
        objective(model, batch).loss.backward()

    assert in_cycles(step) == []


def in_precision(batch, dtype):
    return replace(batch, image=batch.image.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision(objective, batch, build, dtype):
    """Terms are those of the same weights and images in single precision, but for the rounding on the way."""
    model = build().to(dtype)
    precise = copy.deepcopy(model).float()
    torch.manual_seed(1)  # surroundings are exchanged at random
    expected = copy.deepcopy(objective)(precise, in_precision(in_precision(batch, dtype), torch.float32))
    torch.manual_seed(1)
    step = objective(model, in_precision(batch, dtype))
    assert step.loss.dtype == torch.float32
    assert step.terms.keys() == expected.terms.keys()
    torch.testing.assert_close(step.terms, expected.terms, rtol=0.03, atol=0.003)
    step.loss.backward()
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_autocast(objective, batch, build):
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        step = objective(model, batch)
    step.loss.backward()
    assert step.loss.dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
