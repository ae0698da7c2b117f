import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from looksharp.attention.mechanisms.layer_cam import layer_cam
from looksharp.batch import Batch, BatchMarks
from looksharp.objectives import GAIN, BackgroundExchange, Classification, Guidance
from looksharp.objectives.pair_maps import true_classes

SINGLE = torch.tensor([2, 0, 4, 2])
# Two labels, none, three, and one.
MULTI = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 1, 0]])
# Two, none, one, and one.
AS_MANY = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]])


class Net(nn.Module):
    """BatchNorm in two stages, and a head whose gradient depends on the image."""

    def __init__(self, activation=nn.ReLU, width=6, outputs=5):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), activation())
        self.last = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), activation())
        self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs))

    def classify(self, features):
        return self.head(features.mean((2, 3)))

    def forward(self, images):
        return self.classify(self.last(self.inner(images)))


class PooledLinear(Net):
    """The head whose map needs no backward."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 5)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(2)


@pytest.fixture
def images():
    return torch.randn(4, 3, 9, 8, dtype=torch.float64)


@pytest.fixture(params=[Net, PooledLinear])
def model(request):
    """In evaluation mode, with statistics that are not the default: every image on its own."""
    model = request.param().double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, 0.0, 0.5)
    for parameter in model.head.parameters():
        parameter.data *= 4  # so that the classes have distinct probabilities
    return model.eval()


# The paper's equations, written again: one image and one class at a time.


def what_is_left(model, image, c, multilabel, layer="last", sigma=0.5, omega=10.0, fill=0.0):
    """s^c(I*c), Eq. 1 to 5."""
    inner = model.inner(image[None])
    last = model.last(inner)
    features = {"inner": inner, "last": last}[layer]
    (gradient,) = torch.autograd.grad(model.classify(last)[0, c], features, create_graph=True)
    weights = [channel.mean() for channel in gradient[0]]  # Eq. 1
    attention = torch.relu(sum(w * f for w, f in zip(weights, features[0], strict=True)))  # Eq. 2
    if attention.max() > 0:
        attention = attention / attention.max()
    attention = F.interpolate(attention[None, None], image.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    soft = 1 / (1 + torch.exp(-omega * (attention - sigma)))  # Eq. 4
    masked = torch.stack([(1 - soft) * channel + soft * fill for channel in image])  # Eq. 3
    logits = model(masked[None])[0]
    return 1 / (1 + torch.exp(-logits[c])) if multilabel else torch.exp(logits[c]) / torch.exp(logits).sum()


def labels_of(targets):
    return [row.nonzero().flatten().tolist() if targets.ndim == 2 else [int(row)] for row in targets]


def mining(model, images, targets, **options):
    """L_am, Eq. 5: mean over an image's n classes, then over the images that have any."""
    per_image = [
        sum(what_is_left(model, image, c, targets.ndim == 2, **options) for c in classes) / len(classes)
        for image, classes in zip(images, labels_of(targets), strict=True)
        if classes
    ]
    return sum(per_image) / len(per_image)


def classification(logits, targets):
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


def assert_same_gradients(model, other):
    for (name, parameter), reference in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    "targets", [SINGLE, MULTI, AS_MANY], ids=["single-label", "multi-label", "as many labels as images"]
)
@pytest.mark.parametrize(
    "options",
    [{}, {"layer": "inner"}, {"sigma": 0.3, "omega": 4.0, "fill": -0.7}],
    ids=["paper", "inner layer", "other mask"],
)
def test_equals_the_papers_equations(model, images, targets, options):
    other = copy.deepcopy(model)
    step = GAIN(alpha=2.5, **options)(model, (images, targets))
    left = mining(other, images, targets, **options)
    plain = classification(other(images), targets)
    expected = plain + 2.5 * left

    assert 0.02 < left < 0.98
    assert list(step.terms) == ["classification", "mining"]
    torch.testing.assert_close(step.terms["mining"], left.detach())
    torch.testing.assert_close(step.terms["classification"], plain.detach())
    torch.testing.assert_close(step.loss, expected)
    step.loss.backward()
    expected.backward()
    assert_same_gradients(model, other)


def test_the_attended_region_matters(model, images):
    """Not the same number as for any mask: each part of the equations shows in the term."""
    values = [
        GAIN(**options)(model, (images, SINGLE)).terms["mining"].item()
        for options in ({}, {"layer": "inner"}, {"sigma": 0.2}, {"omega": 3.0}, {"fill": 1.0})
    ]
    assert all(abs(a - b) > 1e-4 for a, b in itertools.combinations(values, 2))


@pytest.mark.parametrize("training", [True, False])
def test_masks_without_a_region_or_of_the_whole_image(model, images, training):
    model.train(training)
    shares = torch.stack([row[c] for row, c in zip(model(images).softmax(1), SINGLE, strict=True)])
    nowhere = GAIN(sigma=50.0)(model, (images, SINGLE))
    torch.testing.assert_close(nowhere.terms["mining"], shares.mean().detach())
    if not training:  # BatchNorm has no statistics of equal images to go by
        everywhere = GAIN(sigma=-50.0)(model, (images, SINGLE))
        empty = model(images * 0).softmax(1)
        torch.testing.assert_close(everywhere.terms["mining"], empty[0, SINGLE].mean().detach())


def test_images_without_a_label(model, images):
    other = copy.deepcopy(model)
    step = GAIN()(model, (images, torch.zeros_like(MULTI)))
    expected = Classification()(other, (images, torch.zeros_like(MULTI)))
    assert step.terms["mining"] == 0
    assert torch.equal(step.loss, expected.loss)
    step.loss.backward()
    expected.loss.backward()
    assert_same_gradients(model, other)


def test_a_class_without_attention(images):
    """The head is zero: so are all maps, and the mask is what Eq. 4 makes of nothing."""
    model = Net().double().eval()
    nn.init.zeros_(model.head[2].weight)
    step = GAIN()(model, (images, SINGLE))
    expected = torch.stack([model.head[2].bias.softmax(0)[c] for c in SINGLE]).mean()
    torch.testing.assert_close(step.terms["mining"], expected.detach())
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("targets", [SINGLE, MULTI], ids=["single-label", "multi-label"])
def test_gradient_equals_finite_differences(images, targets, training):
    """Of the whole loss, in each parameter, with BatchNorm's statistics those of the batch or fixed."""
    model = Net(nn.Softplus, width=3).double().train(training)
    objective = GAIN()
    loss = objective(model, (images, targets)).loss
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        direction = torch.randn_like(parameter)
        sides = []
        for step in (1e-5, -2e-5):
            parameter.data += step * direction
            sides.append(objective(model, (images, targets)).loss.detach())
        parameter.data += 1e-5 * direction
        torch.testing.assert_close((gradient * direction).sum(), (sides[0] - sides[1]) / 2e-5, rtol=1e-4, atol=1e-8)


# One label at random.


def test_sampled_labels_have_the_same_expectation(model, images, monkeypatch):
    """Over every way to draw, weighted by its probability."""
    drawn = []
    monkeypatch.setattr(torch, "multinomial", lambda weights, count: drawn.append((weights, count)) or choice)
    choice = torch.tensor([[0], [1], [3]])
    GAIN(labels="sampled")(model, (images, MULTI))
    ((weights, count),) = drawn
    assert (len(weights), count) == (3, 1)
    expected = 0
    for classes in itertools.product(range(5), repeat=3):
        probability = torch.stack([w[c] / w.sum() for w, c in zip(weights, classes, strict=True)]).prod()
        if probability > 0:
            choice = torch.tensor(classes)[:, None]
            expected += probability * GAIN(labels="sampled")(model, (images, MULTI)).terms["mining"]
    torch.testing.assert_close(expected.double(), GAIN()(model, (images, MULTI)).terms["mining"])


def test_labels_are_drawn_evenly():
    many = MULTI.repeat(1000, 1)
    samples, classes = true_classes(many, sampled=True)
    assert samples.tolist() == [b for b in range(4000) if b % 4 != 1]
    counts = torch.bincount(classes[samples % 4 == 2], minlength=5)
    assert counts[[0, 3]].eq(0).all()
    assert ((counts[[1, 2, 4]] - 1000 / 3).abs() < 75).all()  # five standard deviations


@pytest.mark.parametrize(
    ("labels", "targets", "sizes"),
    [("all", SINGLE, [4, 4]), ("sampled", SINGLE, [4, 4]), ("all", MULTI, [4, 6]), ("sampled", MULTI, [4, 3])],
)
def test_how_many_images_go_forward(model, images, labels, targets, sizes):
    objective = GAIN(layer="last", labels=labels)
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    objective(model, (images, targets))
    assert seen == sizes


def test_pairs_of_true_classes():
    assert [part.tolist() for part in true_classes(MULTI)] == [[0, 0, 2, 2, 2, 3], [0, 2, 1, 2, 4, 3]]
    assert [part.tolist() for part in true_classes(SINGLE)] == [[0, 1, 2, 3], [2, 0, 4, 2]]
    assert [part.tolist() for part in true_classes(SINGLE, sampled=True)] == [[0, 1, 2, 3], [2, 0, 4, 2]]
    assert [part.tolist() for part in true_classes(torch.zeros(2, 3), sampled=True)] == [[], []]


# What a step leaves behind.


@pytest.mark.parametrize("targets", [SINGLE, MULTI], ids=["single-label", "multi-label"])
def test_batchnorm_sees_the_images_alone(images, targets):
    model = Net().double()
    plain = copy.deepcopy(model)
    GAIN()(model, (images, targets)).loss.backward()
    plain(images)
    assert model.inner[1].num_batches_tracked == 1
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, plain.get_buffer(name))
    assert all(module.training for module in model.modules())


def test_gradients_and_hooks_are_left_alone(model, images):
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    GAIN()(model, (images, MULTI))
    assert all(parameter.grad.eq(1).all() for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# Options.


def test_alpha_of_zero_is_plain_classification(model, images):
    other = copy.deepcopy(model)
    step = GAIN(alpha=0.0, label_smoothing=0.1)(model, (images, SINGLE))
    expected = Classification(0.1)(other, (images, SINGLE))
    assert torch.equal(step.loss, expected.loss)
    assert step.terms["mining"] > 0
    step.loss.backward()
    expected.loss.backward()
    assert_same_gradients(model, other)


def test_warm_up(model, images):
    objective, factors = GAIN(alpha=3.0, warmup=2), []
    for _ in range(4):
        step = objective(model.train(), (images, SINGLE))
        factors.append(((step.loss - step.terms["classification"]) / step.terms["mining"]).item())
    assert factors == pytest.approx([0, 1.5, 3, 3])


@pytest.mark.parametrize("mechanism", ["channel_weighted", "layer_cam", "grad_cam_pp", layer_cam])
@pytest.mark.parametrize("layer", ["inner", "inner.0", None])
def test_any_mechanism_at_any_layer(model, images, mechanism, layer):
    step = GAIN(mechanism, layer)(model, (images, MULTI))
    assert 0 < step.terms["mining"] < 1
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_cam_is_grad_cam_where_the_head_is_linear(images):
    model = PooledLinear().double()
    steps = [GAIN(mechanism)(model, (images, MULTI)) for mechanism in ("cam", "grad_cam")]
    torch.testing.assert_close(steps[0].loss, steps[1].loss)


@pytest.mark.parametrize("targets", [SINGLE, MULTI], ids=["single-label", "multi-label"])
def test_evaluation_without_gradients(model, images, targets):
    expected = GAIN()(model, (images, targets))
    with torch.no_grad():
        step = GAIN()(model, (images, targets))
    torch.testing.assert_close(step.terms, expected.terms)
    torch.testing.assert_close(step.loss, expected.loss.detach())


@pytest.mark.parametrize("targets", [SINGLE, MULTI], ids=["single-label", "multi-label"])
def test_mixed_precision(model, images, targets):
    model, images = model.float(), images.float()
    expected = GAIN()(model, (images, targets)).terms
    with torch.autocast("cpu", torch.bfloat16):
        step = GAIN()(model, (images, targets))
    assert step.terms["mining"].dtype == step.loss.dtype == torch.float32
    torch.testing.assert_close(step.terms, expected, rtol=0.05, atol=0.02)
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_mining_alone_combines_with_another_objective(model, images):
    step = (Classification() + GAIN(alpha=2.0, classifies=False))(model, Batch(images, MULTI))
    torch.testing.assert_close(step.loss, GAIN(alpha=2.0)(model, (images, MULTI)).loss)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="labels must be 'all' or 'sampled'; got 'one'"):
        GAIN(labels="one")
    with pytest.raises(ValueError, match="mechanism 'gradcam' is not known; did you mean 'grad_cam'"):
        GAIN("gradcam")


def test_training_mines_attention(images):
    """The objective does what it is for: less of the class is left outside, and classification is learnt."""
    model, objective = PooledLinear().double(), GAIN()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    steps = []
    for _ in range(60):
        steps.append(objective(model, (images, SINGLE)))
        optimizer.zero_grad()
        steps[-1].loss.backward()
        optimizer.step()
    assert steps[-1].terms["classification"] < 0.3 * steps[0].terms["classification"]
    plain = copy.deepcopy(model)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        Classification()(plain, (images, SINGLE)).loss.backward()
        optimizer.step()
    assert steps[-1].terms["mining"] < 0.2 * objective(plain, (images, SINGLE)).terms["mining"]


def marked_batch(images, targets, external):
    """The last two images are the external stream; one of the others is marked too."""
    masks = torch.rand(3, *images.shape[-2:], generator=torch.Generator().manual_seed(1)).round()
    marks = BatchMarks(torch.tensor([3, 1, 2]), torch.tensor([0, 2, 4]), masks)
    return Batch(images, targets, marks, external=external)


@pytest.mark.parametrize("targets", [SINGLE, MULTI], ids=["single-label", "multi-label"])
def test_the_external_stream_serves_its_own_loss_alone(model, images, targets):
    """Sec. 3.2 and Fig. 3: S_cl, the images with labels, has L_cl and L_am; S_e, the few with masks, L_e."""
    objective = GAIN(alpha=2.0) + Guidance("squared_error")
    step = objective(model, marked_batch(images, targets, 2))
    labelled = GAIN(alpha=2.0)(model, Batch(images[:2], targets[:2]))
    marked = Guidance("squared_error")(model, marked_batch(images, targets, 0))
    for name in ("classification", "mining"):
        torch.testing.assert_close(step.terms[name], labelled.terms[name])
    torch.testing.assert_close(step.terms["guidance"], marked.terms["guidance"])
    torch.testing.assert_close(step.loss, labelled.loss + marked.loss)
    assert step.logits.shape == (4, 5)


def test_the_external_stream_can_be_shared(model, images):
    shared = (GAIN(external="shared") + Guidance())(model, marked_batch(images, SINGLE, 2))
    without = (GAIN() + Guidance())(model, marked_batch(images, SINGLE, 0))
    torch.testing.assert_close(shared.terms, without.terms)
    assert shared.terms["mining"] != (GAIN() + Guidance())(model, marked_batch(images, SINGLE, 2)).terms["mining"]


def test_exchanged_copies_of_external_images_are_classified(model, images):
    batch = marked_batch(images, SINGLE, 2)
    copies = BackgroundExchange().extend(batch)
    assert copies.external == 2
    assert copies.labelled.tolist() == [0, 1, *range(4, len(copies))]


def test_a_batch_of_external_images_alone(model, images):
    step = (GAIN() + Guidance())(model, marked_batch(images, SINGLE, 4))
    assert step.terms["classification"] == 0
    assert step.terms["mining"] == 0
    assert step.terms["guidance"] > 0
    step.loss.backward()


def test_external_is_a_word_and_a_number(model, images):
    with pytest.raises(ValueError, match="external must be 'alone' or 'shared'; got 'apart'"):
        GAIN(external="apart")
    with pytest.raises(ValueError, match="external must be a number of the batch's 4 images; got 5"):
        GAIN()(model, marked_batch(images, SINGLE, 5))
