import copy
import io
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from looksharp.attention.recording import Recording
from looksharp.batch import Batch, BatchMarks
from looksharp.objectives import GAIN, ICASC, Classification, Guidance, Sum, base
from looksharp.objectives.base import Forward, Part, Term
from looksharp.objectives.layer_choice import LayerChoice
from looksharp.objectives.second_pass import second_pass
from looksharp.objectives.warm_up import WarmUp


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.late(self.early(images)).mean((2, 3)))


class Power(Part):
    """The mean of the logits to some power, and the map of a layer if it is given one."""

    def __init__(self, power, weight, layer=None):
        super().__init__()
        self.power, self.weight, self.layer = power, weight, layer
        self.seen = []

    def recorded(self, model, batch):
        return () if self.layer is None else (self.layer,)

    def terms(self, forward):
        self.seen.append(forward)
        maps = {} if self.layer is None else {self.layer: forward.features[self.layer]}
        return {f"power {self.power}": Term(forward.logits.pow(self.power).mean(), self.weight)}, maps


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def model():
    return Net()


@pytest.fixture
def batch():
    return Batch(torch.rand(3, 3, 8, 8), torch.tensor([2, 0, 4]))


def forwards(model):
    """A list that grows by the size of the batch at each forward of the model."""
    sizes = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    return sizes


# The sum.


def test_an_objective_sums_its_weighted_terms(model, batch):
    other = copy.deepcopy(model)
    step = Sum(Power(2, 3.0), Power(3, torch.tensor(-0.5)), Power(4, 0.0))(model, batch)
    logits = other(batch.image)
    expected = {f"power {power}": logits.pow(power).mean() for power in (2, 3, 4)}
    assert all(not term.requires_grad for term in step.terms.values())
    torch.testing.assert_close(step.terms, {name: term.detach() for name, term in expected.items()})
    loss = 3 * expected["power 2"] - 0.5 * expected["power 3"]
    torch.testing.assert_close(step.loss, loss)
    step.loss.backward()
    loss.backward()
    for parameter, reference in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad)


def test_parts_share_one_forward_and_its_recording(model, batch):
    sizes = forwards(model)
    parts = Power(1, 1.0, "late"), Power(2, 1.0), Power(3, 1.0, "early"), Power(4, 1.0, "late")
    step = Sum(*parts)(model, (batch.image, batch.target))
    assert sizes == [3]
    assert all(part.seen[0] is parts[0].seen[0] for part in parts)
    forward = parts[0].seen[0]
    assert forward.model is model
    assert torch.equal(forward.batch.image, batch.image)
    assert set(forward.features) == set(step.maps) == {"early", "late"}
    assert forward.features["late"].requires_grad
    assert not step.maps["late"].requires_grad
    torch.testing.assert_close(step.maps["late"], forward.features["late"].detach())


def test_nothing_is_recorded_where_nothing_is_asked_for(model, batch, monkeypatch):
    monkeypatch.setattr(base, "record", None)
    assert Sum(Power(2, 1.0))(model, batch).loss.requires_grad


def test_evaluation_holds_no_graph(model, batch):
    with torch.no_grad():
        step = GAIN()(model.eval(), batch)
    assert not step.logits.requires_grad
    assert not step.loss.requires_grad


def test_adding_a_part_leaves_the_original(model, batch):
    classification = Classification()
    sum_ = classification + Power(2, 2.0)
    longer = sum_ + Power(3, 1.0)
    steps = [objective(model.eval(), batch) for objective in (classification, sum_, longer)]
    assert [sorted(step.terms) for step in steps] == [
        ["classification"],
        ["classification", "power 2"],
        ["classification", "power 2", "power 3"],
    ]
    assert longer.parts[:-1] == sum_.parts
    assert sum_.parts[:-1] == classification.parts
    torch.testing.assert_close(steps[1].loss, steps[0].loss + 2 * steps[1].terms["power 2"])


def test_what_is_no_part_is_refused():
    with pytest.raises(TypeError, match="an objective classifies once; got GAIN and ICASC: leave one out"):
        GAIN() + ICASC()
    with pytest.raises(TypeError, match=r"an objective is a sum of parts, such as Guidance\(\); got float, Linear"):
        Sum(Guidance(), 1.0, nn.Linear(1, 1))


def loaded(objective):
    file = io.BytesIO()
    torch.save(objective, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copies", [copy.deepcopy, loaded], ids=["copy", "file"])
def test_an_objective_that_has_run_is_copied_and_saved(model, batch, copies):
    objective = ICASC(warmup=4) + Guidance("energy")
    objective(model, batch)
    expected = copy.deepcopy(model), objective(copy.deepcopy(model), batch)
    torch.testing.assert_close(copies(objective)(expected[0], batch).terms, expected[1].terms)


# Layers.


def test_layers_by_name(model, batch):
    assert LayerChoice(["early", "head"], 2)(model, batch) == ("early", "head")
    with pytest.raises(ValueError, match=r"layers must name 2 layer\(s\), the last one last; got \['late'\]"):
        LayerChoice(["late"], 2)
    with pytest.raises(ValueError, match=r"layers must name 1 layer\(s\), the last one last; got \[\]"):
        LayerChoice([], 1)


def test_layers_are_found_in_each_network(model, batch):
    choose, other = LayerChoice(None, 1), nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 5))
    for _ in range(2):
        assert choose(model, batch) == ("late",)
        assert choose(other, batch) == ("0",)
    assert LayerChoice(None, 2)(model, batch) == ("early", "late")


# A second pass.


@pytest.mark.parametrize("training", [True, False])
def test_a_second_pass_leaves_buffers_alone(model, batch, training):
    model.train(training)
    other = copy.deepcopy(model)
    logits = second_pass(model, batch.image)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name))
    assert all(module.training == training for module in model.modules())
    expected = other(batch.image)
    torch.testing.assert_close(logits, expected)
    for found in (logits, expected):
        F.cross_entropy(found, batch.target).backward()
    for parameter, reference in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad)


def test_a_second_pass_of_a_model_that_returns_more_than_logits(batch):
    class Several(Net):
        def forward(self, images):
            return {"images": images, "logits": super().forward(images)}

    model = Several().eval()
    torch.testing.assert_close(second_pass(model, batch.image), model(batch.image)["logits"])


# The warm-up.


def forward_of(model, batch):
    logits = model(batch.image)
    return Forward(model, batch, logits, logits, Recording(()))


def test_warm_up_rises_linearly_from_0_to_1(model, batch):
    warmup = WarmUp(4)
    factors = [float(warmup(forward_of(model, batch))) for _ in range(7)]
    assert factors == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert [float(WarmUp(0)(forward_of(model, batch))) for _ in range(2)] == [1, 1]
    with pytest.raises(ValueError, match="warmup must be a number of steps >= 0; got -2"):
        WarmUp(-2)


def test_warm_up_counts_training_steps_only(model, batch):
    warmup, training = WarmUp(4), forward_of(model, batch)
    evaluating = forward_of(copy.deepcopy(model).eval(), batch)
    factors = []
    for _ in range(3):
        factors.append(float(warmup(training)))
        with torch.no_grad():
            warmup(training)
        warmup(evaluating)
    assert factors == [0, 0.25, 0.5]


@pytest.mark.parametrize("build", [lambda: GAIN(warmup=3), lambda: Classification() + Guidance(warmup=3)])
def test_warm_up_goes_on_from_a_checkpoint(model, batch, build):
    pairs = BatchMarks(torch.tensor([0]), batch.target[:1], torch.zeros(1, 8, 8))  # no evidence may lie anywhere
    batch = Batch(batch.image, batch.target, pairs)
    straight, resumed = build(), build()
    losses = []
    for _ in range(4):
        losses.append(straight(model, batch).loss)
        fresh = build()
        fresh.load_state_dict(resumed.state_dict())
        resumed = fresh
        torch.testing.assert_close(resumed(model, batch).loss, losses[-1])
    assert all(earlier < later for earlier, later in itertools.pairwise(losses))


def test_terms_of_one_name_are_told_apart(model, batch):
    step = (Classification() + Guidance("energy", 1.0) + Guidance("squared_error", 2.0))(model, batch)
    assert sorted(step.terms) == ["classification", "guidance", "guidance#2"]
    total = step.terms["classification"] + step.terms["guidance"] + 2 * step.terms["guidance#2"]
    torch.testing.assert_close(step.loss.detach(), total)
