import copy
import itertools

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from looksharp.attention.attend import attention_maps
from looksharp.attention.mechanisms.grad_cam import grad_cam
from looksharp.attention.recording import record
from looksharp.batch import Batch, BatchMarks
from looksharp.objectives import GAIN, ICASC, Classification, Guidance
from looksharp.objectives.base import Forward
from looksharp.objectives.guidance.base import guidance_losses
from looksharp.objectives.pair_maps import pair_maps

LOSSES = guidance_losses()
MAP_LOSSES = [loss for loss in LOSSES if loss != "rrr"]
SINGLE = torch.tensor([2, 0, 4, 2])
# Two labels, three, one, none; the image without a label is guided for a class that it is not labelled with.
MULTI = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]])
# As many pairs as images, in no order, and yet one image has three and one has none.
GUIDED = {"single": ([2, 0, 2, 2], [4, 2, 4, 1]), "multi": ([3, 1, 0, 1], [0, 4, 2, 1])}


class Net(nn.Module):
    """No BatchNorm: every image on its own. One stage at 8 x 6, one at 4 x 3, and a head without a closed form."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 5))

    def classify(self, features):
        return self.head(features.mean((2, 3)))

    def forward(self, images):
        return self.classify(self.last(self.inner(images)))


class PooledLinear(Net):
    """The head whose map needs no backward."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 5)


class Times1(PooledLinear):
    """The same logits, but not the linear layer's own output: nothing has a closed form."""

    def classify(self, features):
        return super().classify(features) * 1.0


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=[Net, PooledLinear])
def model(request):
    return request.param().double()


@pytest.fixture(params=GUIDED)
def batch(request):
    sample, label = map(torch.tensor, GUIDED[request.param])
    mask = (torch.rand(4, 8, 6) < 0.5).double()
    images = torch.randn(4, 3, 8, 6, dtype=torch.float64)
    return Batch(images, SINGLE if request.param == "single" else MULTI, BatchMarks(sample, label, mask))


def guided(loss, **options):
    return Classification() + Guidance(loss, **options)


def assert_same_gradients(model, other):
    for (name, parameter), reference in zip(model.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference[1].grad, msg=lambda text, name=name: f"{name}: {text}")


# The losses, written again: one pair at a time.


def evidence(model, image, c, layer):
    """Grad-CAM before its ReLU."""
    inner = model.inner(image[None])
    last = model.last(inner)
    features = {"inner": inner, "last": last}[layer]
    (gradient,) = torch.autograd.grad(model.classify(last)[0, c], features, create_graph=True)
    return sum(channel.mean() * feature for channel, feature in zip(gradient[0], features[0], strict=True))


def share_outside(attention, mask):
    outside = whole = 0
    for y, x in itertools.product(*map(range, attention.shape)):
        outside = outside + (1 - mask[y, x]) * attention[y, x].abs()
        whole = whole + attention[y, x].abs()
    return outside / whole if whole > 0 else outside


def most_confusing(model, image, true):
    logits = model(image[None])[0].tolist()
    return max((c for c in range(len(logits)) if c not in true), key=lambda c: logits[c])


def input_gradient_outside(model, image, multilabel, mask):
    image = image.clone().requires_grad_()
    logits = model(image[None])[0]
    log_probabilities = -torch.log(1 + torch.exp(-logits)) if multilabel else logits - logits.exp().sum().log()
    (gradient,) = torch.autograd.grad(sum(log_probabilities), image, create_graph=True)
    return sum(((1 - mask) * channel).pow(2).sum() for channel in gradient)


def map_loss(loss, model, image, true, c, mask, layer, several):
    attention = evidence(model, image, c, layer)
    factor = image.shape[1] // attention.shape[0]
    cells = mask.unfold(0, factor, factor).unfold(1, factor, factor).mean((2, 3))
    if loss == "squared_error":
        attention = attention.relu()
        attention = attention / attention.max() if attention.max() > 0 else attention
        return sum((a - m) ** 2 for a, m in zip(attention.flatten(), cells.flatten(), strict=True)) / cells.numel()
    if loss == "energy":
        return share_outside(attention.relu(), cells)
    if loss == "contrast":
        attention = attention - evidence(model, image, most_confusing(model, image, {*true, c}), layer)
    if loss == "evidence_all":
        maps = [evidence(model, image, k, layer) for k in range(5)]
        mean = 0 if several else sum(maps) / 5
        attention = sum((each - mean).abs() for each in maps)
    return share_outside(attention, cells)


def by_loop(loss, model, batch, layer="last"):
    """GAIN Eq. 7: each image's classes are averaged first, 1/n sum_c, then the images."""
    pairs = zip(batch.marks.sample.tolist(), batch.marks.label.tolist(), batch.marks.mask, strict=True)
    values = {}
    for b, c, mask in pairs:
        true = batch.target[b].nonzero().flatten().tolist() if batch.multilabel else [batch.target[b].item()]
        image = batch.image[b]
        if loss == "rrr":
            value = input_gradient_outside(model, image, batch.multilabel, mask)
        else:
            value = map_loss(loss, model, image, true, c, mask, layer, batch.multilabel)
        values.setdefault(b, []).append(value)
    return sum(sum(each) / len(each) for each in values.values()) / len(values)


@pytest.mark.parametrize("layer", ["last", "inner"])
@pytest.mark.parametrize("loss", LOSSES)
def test_equals_a_loop_over_pairs(model, batch, loss, layer):
    other = copy.deepcopy(model)
    options = {} if loss == "rrr" else {"layer": layer}
    step = guided(loss, weight=4.0, **options)(model, batch)
    value = by_loop(loss, other, batch, layer)
    expected = Classification()(other, batch).loss + 4 * value

    assert value > 0
    assert list(step.terms) == ["classification", "guidance"]
    torch.testing.assert_close(step.terms["guidance"], value.detach())
    torch.testing.assert_close(step.loss, expected)
    step.loss.backward()
    expected.backward()
    assert_same_gradients(model, other)


@pytest.mark.parametrize("loss", MAP_LOSSES)
def test_closed_form_equals_autograd(batch, loss):
    model, other = PooledLinear().double(), Times1().double()
    other.load_state_dict(model.state_dict())
    steps = [guided(loss)(net, batch) for net in (model, other)]
    torch.testing.assert_close(steps[0].terms, steps[1].terms)
    for step in steps:
        step.loss.backward()
    assert_same_gradients(model, other)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_order_of_pairs_does_not_matter(model, batch, loss):
    expected = guided(loss)(model, batch).loss
    pairs = batch.marks
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        shuffled = BatchMarks(pairs.sample[order], pairs.label[order], pairs.mask[order])
        found = guided(loss)(model, Batch(batch.image, batch.target, shuffled)).loss
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_mixed_precision(loss):
    model = PooledLinear()
    masks = torch.rand(2, 8, 6).round()
    batch = Batch(torch.randn(4, 3, 8, 6), MULTI, BatchMarks(torch.tensor([1, 0]), torch.tensor([2, 0]), masks))
    expected = guided(loss)(model, batch).terms
    with torch.autocast("cpu", torch.bfloat16):
        step = guided(loss)(model, batch)
    assert step.terms["guidance"].dtype == torch.float32
    torch.testing.assert_close(step.terms, expected, rtol=0.05, atol=0.02)
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_without_gradients(model, batch, loss, mode):
    expected = guided(loss)(model, batch)
    with mode():
        step = guided(loss)(model, batch)
    torch.testing.assert_close(step.terms, expected.terms)
    torch.testing.assert_close(step.loss, expected.loss.detach())
    assert not step.loss.requires_grad


# Which class is the confusing one.


def test_contrast_is_with_the_highest_scoring_class_that_is_not_true():
    """Features are 1 in channel c for class c alone, so a difference of maps tells which classes were taken."""

    class Identity(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Identity(), nn.Linear(4, 4, bias=False)
            nn.init.eye_(self.head.weight)

        def forward(self, images):
            return self.head(self.features(images).mean((2, 3)))

    images = torch.zeros(1, 4, 1, 4)
    for c, score in enumerate([4.0, 3.0, 2.0, 1.0]):
        images[0, c, 0, c] = score

    def outside(target, label, position):
        """The term where all positions but one are allowed."""
        mask = torch.ones(1, 1, 4)
        mask[0, 0, position] = 0
        batch = Batch(images, target, BatchMarks(torch.tensor([0]), torch.tensor([label]), mask))
        return guided("contrast", layer="features")(Identity(), batch).terms["guidance"].item()

    cases = [
        (torch.tensor([0]), 0, 1),
        (torch.tensor([1]), 1, 0),
        (torch.tensor([0]), 2, 1),  # guided for a class that is not the image's own
        (torch.tensor([[1, 1, 0, 0]]), 0, 2),
        (torch.tensor([[1, 1, 0, 0]]), 1, 2),
        (torch.tensor([[1, 0, 0, 0]]), 1, 2),
        (torch.tensor([[1, 1, 1, 0]]), 2, 3),
    ]
    for target, label, confusing in cases:
        scores = [4, 3, 2, 1]
        expected = [0.0] * 4
        for c in (label, confusing):
            expected[c] = scores[c] / (scores[label] + scores[confusing])
        assert [outside(target, label, position) for position in range(4)] == pytest.approx(expected)
    assert [outside(torch.ones(1, 4), 1, position) for position in range(4)] == [0] * 4  # no wrong class


# Batches with less in them.


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_guidance_adds_nothing(model, batch, loss):
    none = BatchMarks(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0, 8, 6))
    other = copy.deepcopy(model)
    expected = Classification()(other, Batch(batch.image, batch.target))
    expected.loss.backward()
    for guidance in (None, none):
        model.zero_grad()
        step = guided(loss)(model, Batch(batch.image, batch.target, guidance))
        assert step.terms["guidance"] == 0
        assert torch.equal(step.loss, expected.loss)
        step.loss.backward()
        assert_same_gradients(model, other)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("squared_error", 0.25), ("energy", 0), ("evidence", 0.5), ("contrast", 0.5), ("evidence_all", 0.5)],
)
def test_a_map_that_is_zero_everywhere(batch, loss, expected):
    """All evidence speaks against every class: the ReLU leaves nothing, and before it every cell is half outside."""
    model = PooledLinear().double()
    model.head.weight.data = -model.head.weight.data.abs()
    half = torch.zeros(4, 8, 6)
    half[:, ::2, ::2] = half[:, 1::2, 1::2] = 1  # half of every cell
    pairs = BatchMarks(batch.marks.sample, batch.marks.label, half)
    step = guided(loss)(model, Batch(batch.image, batch.target, pairs))
    assert step.terms["guidance"].item() == pytest.approx(expected)
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    nn.init.zeros_(model.head.weight)  # now before the ReLU too
    step = guided(loss)(model, Batch(batch.image, batch.target, pairs))
    assert step.terms["guidance"].item() == (0.25 if loss == "squared_error" else 0)
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("allowed", [0, 1])
def test_masks_of_nothing_and_of_everything(batch, loss, allowed):
    model = PooledLinear().double()
    nn.init.uniform_(model.head.weight, 0.1, 1)  # so that no map is empty
    mask = torch.full((4, 8, 6), allowed)  # integers
    whole = Batch(batch.image, batch.target, BatchMarks(batch.marks.sample, batch.marks.label, mask))
    value = guided(loss)(model, whole).terms["guidance"].item()
    if loss in ("energy", "evidence", "contrast", "evidence_all"):
        assert value == pytest.approx(1 - allowed)
    elif loss == "rrr":
        assert value == 0 if allowed else value > 0
    else:
        assert 0 < value < 1


# Options.


def test_gain_ext_weighs_guidance_by_10(model, batch):
    terms = guided("squared_error")(model, batch).terms
    torch.testing.assert_close(
        (Classification() + Guidance())(model, batch).loss.detach(), terms["classification"] + 10 * terms["guidance"]
    )


def test_warm_up_counts_steps_without_guidance_too(model, batch):
    objective, factors = guided("energy", weight=6.0, warmup=3), []
    for guidance in (batch.marks, None, batch.marks, batch.marks, batch.marks):
        step = objective(model, Batch(batch.image, batch.target, guidance))
        if guidance:
            factors.append(((step.loss - step.terms["classification"]) / step.terms["guidance"]).item())
    assert factors == pytest.approx([0, 4, 6, 6])


def test_other_mechanisms(model, batch):
    values = [
        guided("evidence", mechanism=mechanism, layer="inner")(model, batch).terms["guidance"].item()
        for mechanism in ("grad_cam", grad_cam, "channel_weighted", "hires_cam", "layer_cam")
    ]
    assert values[0] == values[1]
    assert len(set(values)) == 4


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("build", "weights"),
    [
        (
            lambda loss: ICASC(preset="paper", separation_last=0.5) + Guidance(loss, 3.0),
            {"separation_last": 0.5, "guidance": 3.0},
        ),
        (lambda loss: GAIN(alpha=0.25) + Guidance(loss, 10.0), {"mining": 0.25, "guidance": 10.0}),
    ],
    ids=["ICASC", "GAIN"],
)
def test_combinations(model, batch, loss, build, weights):
    step = build(loss)(model, batch)
    alone = guided(loss)(model, batch).terms["guidance"]
    torch.testing.assert_close(step.terms["guidance"], alone)
    expected = torch.zeros((), dtype=torch.float64)
    for name, term in step.terms.items():
        expected = expected + weights.get(name, 1.0) * term
    assert set(weights) < set(step.terms)
    assert torch.equal(step.loss.detach(), expected)
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_unknown_losses():
    with pytest.raises(
        ValueError,
        match="must be one of contrast, energy, evidence, evidence_all, rrr, squared_error; got 'outside'",
    ):
        Guidance("outside")
    with pytest.raises(ValueError, match="mechanism 'gradcam' is not known; did you mean 'grad_cam'"):
        Guidance(mechanism="gradcam")
    with pytest.raises(ValueError, match="warmup must be a number of steps >= 0; got -1"):
        Guidance(warmup=-1)


# The input gradient.


def test_rrr_leaves_batchnorm_and_gradients_alone():
    model = models.resnet18(num_classes=5)
    plain = copy.deepcopy(model)
    images = torch.rand(3, 3, 64, 64)
    pairs = BatchMarks(torch.tensor([2, 0]), torch.tensor([1, 3]), torch.zeros(2, 64, 64))
    step = guided("rrr")(model, Batch(images, torch.tensor([3, 0, 1]), pairs))
    plain(images)
    assert model.bn1.num_batches_tracked == 1
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, plain.get_buffer(name))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert images.grad is None
    assert not images.requires_grad
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.conv1.weight.grad.any()


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: timm.create_model("test_vit", num_classes=5), 160),
        (lambda: models.mobilenet_v3_small(num_classes=5), 64),
    ],
    ids=["fused attention", "hard sigmoid"],
)
def test_rrr_of_networks_whose_layers_have_no_second_derivative(build, size):
    model, masks = build().eval(), torch.zeros(1, size, size)
    images, targets = torch.rand(2, 3, size, size), torch.tensor([1, 3])
    step = guided("rrr", weight=1.0)(model, Batch(images, targets, BatchMarks(targets[:1] * 0, targets[:1], masks)))
    image = images[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.log_softmax(model(image), 1).sum(), image)
    torch.testing.assert_close(step.terms["guidance"], gradient.square().sum(), rtol=1e-3, atol=1e-8)
    (first, *_) = torch.autograd.grad(step.loss - F.cross_entropy(step.logits, targets), list(model.parameters())[:1])
    assert first.isfinite().all()


# Maps of pairs.


PAIRS = {
    "0, 1 and 3 pairs": ([1, 2, 2, 2], [4, 0, 3, 1]),
    "one each": ([0, 1, 2], [2, 0, 4]),
    "as many pairs as images, two of one": ([0, 0, 2], [2, 1, 4]),
    "one pair": ([1], [3]),
    "the same pair twice": ([0, 0, 1], [2, 2, 0]),
}


@pytest.mark.parametrize("targets", [torch.tensor([2, 0, 4]), MULTI[:3]], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("signed", [True, False])
def test_maps_of_pairs_are_those_of_each_pair(model, targets, pairs, signed):
    images = torch.randn(3, 3, 8, 6, dtype=torch.float64)
    with record(model, ["inner", "last"]) as features:
        logits = model(images)
    forward = Forward(model, Batch(images, targets), logits, logits, features)
    samples, classes = map(torch.tensor, pairs)
    for layer in ("inner", "last"):
        maps = pair_maps(forward, layer, samples, classes, "grad_cam", signed=signed)
        assert maps.requires_grad
        for b, c, found in zip(*pairs, maps, strict=True):
            every = torch.full((3,), c)
            expected = attention_maps(logits, features, every, create_graph=True, signed=signed)[layer][b, 0]
            torch.testing.assert_close(found, expected)
            if not signed:
                torch.testing.assert_close(found, evidence(model, images[b], c, layer).relu())


def test_an_image_counts_once_however_many_of_its_classes_are_marked(model):
    """GAIN Eq. 7 divides by the number of an image's classes: here two and one."""
    images, masks = torch.randn(2, 3, 8, 6, dtype=torch.float64), torch.rand(3, 8, 6, dtype=torch.float64)
    several = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0]])

    def value(*pairs):
        sample, label = (torch.tensor(column) for column in zip(*(PAIRS_OF_TWO[p] for p in pairs), strict=True))
        marks = BatchMarks(sample, label, masks[list(pairs)])
        return guided("squared_error")(model, Batch(images, several, marks)).terms["guidance"]

    each = [value(pair) for pair in range(3)]
    torch.testing.assert_close(value(0, 1, 2), ((each[0] + each[1]) / 2 + each[2]) / 2)
    assert value(0, 1, 2) != sum(each) / 3


PAIRS_OF_TWO = [(0, 0), (0, 2), (1, 1)]
