import copy
import math

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from looksharp.objectives import ICASC, Classification
from looksharp.objectives.equations import separation_and_consistency
from looksharp.objectives.icasc import confused_classes

TERMS = ("separation_inner", "separation_last", "consistency")
SINGLE = torch.tensor([2, 0, 4, 2])
# Two labels, none, all, and one: the second and third image have no pair of a true and a wrong class.
MULTI = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 0, 0]])


class Net(nn.Module):
    """Two stages, no BatchNorm: every image on its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.last = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.last(self.inner(images)).mean((2, 3)))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def model():
    return Net().double()


@pytest.fixture
def images():
    return torch.rand(4, 3, 8, 8, dtype=torch.float64)


# The paper's equations, written again: one image at a time, one backward for each class and layer.


def attention(features, score, mechanism):
    """Eq. 1 or Eq. 2 for one image, raw."""
    (gradient,) = torch.autograd.grad(score, features, create_graph=True)
    gradient, features = gradient[0], features[0]  # (C, h, w)
    positions = features.shape[1] * features.shape[2]
    if mechanism == "grad_cam":
        weights = [channel.sum() / positions for channel in gradient]
        values = torch.relu(sum(w * f for w, f in zip(weights, features, strict=True)))
    else:
        weights = [torch.relu(channel).sum() for channel in gradient]
        values = torch.relu(sum(w * f for w, f in zip(weights, features, strict=True))) / positions
    return values


def by_maximum(values):
    return values / values.max() if values.max() > 0 else values


def image_terms(model, image, true, mechanism, detach_mask, normalize):
    """L_AS^in, L_AS^la and L_AC of one image, each the mean over its true classes; zeros without a wrong class."""
    inner = model.inner(image[None])
    last = model.last(inner.clone())
    logits = model.head(last.mean((2, 3)))[0]
    wrong = [c for c in range(len(logits)) if c not in true]
    if not wrong or not true:
        return [logits.new_zeros(()) for _ in TERMS]
    confusing = max(wrong, key=lambda c: logits[c].item())
    values = []
    for c in true:
        la_t, la_c = (attention(last, logits[k], mechanism) for k in (c, confusing))
        in_t, in_c = (attention(inner, logits[k], mechanism) for k in (c, confusing))
        if normalize == "each":
            la_t, la_c, in_t, in_c = map(by_maximum, (la_t, la_c, in_t, in_c))
        region = by_maximum(la_t) if normalize == "mask" else la_t
        mask = 1 / (1 + torch.exp(-100 * (region - 0.55 * region.max())))  # Eq. 4
        mask = mask.detach() if detach_mask else mask
        in_mask = F.interpolate(mask[None, None], in_t.shape, mode="bilinear", align_corners=False)[0, 0]
        values.append(
            torch.stack(
                [
                    share(2 * (torch.where(in_t < in_c, in_t, in_c) * in_mask).sum(), (in_t + in_c).sum()),  # Eq. 3
                    share(2 * (torch.where(la_t < la_c, la_t, la_c) * mask).sum(), (la_t + la_c).sum()),
                    0.8 - share((in_t * in_mask).sum(), in_t.sum()),  # Eq. 5
                ]
            )
        )
    return list(torch.stack(values).mean(0))


def share(part, whole):
    return part / whole if whole > 0 else part * 0


def by_loop(model, images, targets, mechanism, detach_mask=False, normalize="each"):
    """The three terms, means over the batch."""
    labels = [row.nonzero().flatten().tolist() if targets.ndim == 2 else [int(row)] for row in targets]
    values = [
        image_terms(model, image, true, mechanism, detach_mask, normalize)
        for image, true in zip(images, labels, strict=True)
    ]
    return {name: sum(terms) / len(images) for name, terms in zip(TERMS, zip(*values, strict=True), strict=True)}


def classification(logits, targets):
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


@pytest.mark.parametrize("mechanism", ["grad_cam", "channel_weighted"])
@pytest.mark.parametrize("targets", [SINGLE, MULTI], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("detach_mask", [True, False])
@pytest.mark.parametrize("normalize", ["none", "mask", "each"])
def test_equals_the_papers_equations(model, images, mechanism, targets, detach_mask, normalize):
    model.head.weight.data *= 20  # so that raw maps are not far below 1 / omega
    other = copy.deepcopy(model)
    objective = ICASC(mechanism, ("inner", "last"), preset="paper", detach_mask=detach_mask, normalize=normalize)
    step = objective(model, (images, targets))
    terms = by_loop(other, images, targets, mechanism, detach_mask, normalize)
    plain = classification(other(images), targets)
    expected = plain + sum(terms.values())

    assert all(term > 0.01 for term in terms.values())
    for name, term in terms.items():
        torch.testing.assert_close(step.terms[name], term.detach())
    torch.testing.assert_close(step.terms["classification"], plain.detach())
    torch.testing.assert_close(step.loss, expected)
    step.loss.backward()
    expected.backward()
    for parameter, reference in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad)


def test_presets_choose_what_is_normalised(model, images):
    def terms(**options):
        return ICASC(layers=("inner", "last"), **options)(model, (images, SINGLE)).terms

    for preset in ("light", "paper"):
        torch.testing.assert_close(terms(preset=preset), terms(normalize="each"))
    torch.testing.assert_close(terms(preset="literal"), terms(normalize="none"))
    torch.testing.assert_close(terms(preset="literal", normalize="mask"), terms(normalize="mask"))
    assert terms()["separation_last"] != terms(preset="literal")["separation_last"]


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, (0.1, 0.1, 0.1)),
        ({"preset": "light"}, (0.1, 0.1, 0.1)),
        ({"preset": "paper"}, (1, 1, 1)),
        ({"preset": "literal"}, (1, 1, 1)),
        ({"preset": "literal", "separation_inner": 0.5}, (0.5, 1, 1)),
        ({"separation_last": 2.0, "consistency": 0.0}, (0.1, 2, 0)),
    ],
)
def test_presets_choose_the_weights_that_are_not_given(model, images, options, weights):
    step = ICASC(layers=("inner", "last"), **options)(model, (images, SINGLE))
    weighted = sum(weight * step.terms[name] for name, weight in zip(TERMS, weights, strict=True))
    torch.testing.assert_close(step.loss.detach(), step.terms["classification"] + weighted)


@pytest.mark.parametrize(("normalize", "factor"), [("none", 1e-3), ("mask", 1e-3), ("each", 1.0)])
def test_a_weak_confusing_map_overlaps_little_unless_each_map_is_normalised(normalize, factor):
    """Eq. 3 by hand: maps of one position; a confusing map a thousand times weaker."""
    last = torch.tensor([[[[1.0]], [[1.0]]]], dtype=torch.float64)
    weak = last * torch.tensor([1.0, 1e-3]).view(1, 2, 1, 1)
    strong, faint = (separation_and_consistency(maps, maps, normalize=normalize) for maps in (last, weak))
    assert strong["separation_last"].item() == pytest.approx(1, abs=1e-6)
    assert faint["separation_last"].item() == pytest.approx(2 * factor / (1 + factor))


def test_a_raw_map_far_below_one_over_omega_is_not_thresholded():
    last = torch.tensor([[[[1.0, 0.1]], [[0.1, 1.0]]]], dtype=torch.float64) * 1e-6
    raw, masked = (separation_and_consistency(last, last, normalize=how) for how in ("none", "mask"))
    # The mask is one half at both positions: L_AS = 2 (0.1 + 0.1) / 2 / 2.2; else it is 1 and 0.
    assert raw["separation_last"].item() == pytest.approx(0.2 / 2.2, rel=1e-4)
    assert masked["separation_last"].item() == pytest.approx(2 * 0.1 / 2.2, rel=1e-4)


class Deep(Net):
    """Three stages."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())

    def forward(self, images):
        return super().forward(self.first(images))


def test_separation_at_further_layers(images):
    """Sec. 3.2, "any other layers": the terms of two layers as ever, and L_AS^in of each further one."""
    model = Deep().double()
    step = ICASC("grad_cam", ("first", "inner", "last"), preset="paper", separation_inner=0.5)(model, (images, SINGLE))
    pairs = [ICASC("grad_cam", (layer, "last"))(model, (images, SINGLE)) for layer in ("first", "inner")]
    expected = pairs[1].terms | {"separation_first": pairs[0].terms["separation_inner"]}
    torch.testing.assert_close(step.terms, expected)
    assert list(step.maps) == ["first", "inner", "last"]
    halved = ("separation_inner", "separation_first")
    total = sum(value * (0.5 if name in halved else 1) for name, value in step.terms.items())
    torch.testing.assert_close(step.loss.detach(), total)


@pytest.mark.parametrize("name", TERMS)
def test_each_term_alone(model, images, name):
    other = copy.deepcopy(model)
    weights = {term: 3.0 * (term == name) for term in TERMS}
    step = ICASC("grad_cam", ("inner", "last"), **weights)(model, (images, SINGLE))
    expected = F.cross_entropy(other(images), SINGLE) + 3 * by_loop(other, images, SINGLE, "grad_cam")[name]
    torch.testing.assert_close(step.loss, expected)
    step.loss.backward()
    expected.backward()
    for parameter, reference in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad)


@pytest.mark.parametrize("targets", [SINGLE, MULTI], ids=["single-label", "multi-label"])
def test_weights_of_zero_are_plain_classification(model, images, targets):
    other = copy.deepcopy(model)
    weights = dict.fromkeys(TERMS, 0.0)
    step = ICASC(layers=("inner", "last"), **weights)(model, (images, targets))
    expected = Classification()(other, (images, targets))
    torch.testing.assert_close(step.loss, expected.loss, rtol=0, atol=0)
    step.loss.backward()
    expected.loss.backward()
    for parameter, reference in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad, rtol=1e-12, atol=1e-15)


def test_label_smoothing(model, images):
    weights = dict.fromkeys(TERMS, 0.0)
    step = ICASC(layers=("inner", "last"), label_smoothing=0.2, **weights)(model, (images, SINGLE))
    torch.testing.assert_close(step.loss, F.cross_entropy(model(images), SINGLE, label_smoothing=0.2))


def test_options_of_the_mask(model, images):
    plain = ICASC(layers=("inner", "last"))(model, (images, SINGLE)).terms
    moved = ICASC(layers=("inner", "last"), theta=0.5)(model, (images, SINGLE)).terms
    torch.testing.assert_close(moved["consistency"], plain["consistency"] - 0.3)
    # A threshold far below every map, or far above, makes the mask one or zero everywhere.
    everywhere = ICASC(layers=("inner", "last"), sigma=-9.0)(model, (images, SINGLE)).terms
    nowhere = ICASC(layers=("inner", "last"), sigma=9.0)(model, (images, SINGLE)).terms
    assert everywhere["consistency"].item() == pytest.approx(-0.2)
    assert nowhere["consistency"].item() == pytest.approx(0.8)
    assert nowhere["separation_last"].item() == pytest.approx(0)
    assert everywhere["separation_last"] > plain["separation_last"]
    flat = ICASC(layers=("inner", "last"), omega=0.0)(model, (images, SINGLE)).terms
    torch.testing.assert_close(flat["separation_last"], everywhere["separation_last"] / 2)


def gradients(model, images, **options):
    step = ICASC(layers=("inner", "last"), **options)(model, (images, SINGLE))
    return step.terms, torch.autograd.grad(step.loss, model.parameters())


@pytest.mark.parametrize("option", ["detach_mask", "detach_weights"])
def test_stopped_gradients_leave_the_values(model, images, option):
    terms, whole = gradients(model, images)
    stopped_terms, stopped = gradients(model, images, **{option: True})
    torch.testing.assert_close(stopped_terms, terms)
    assert not torch.allclose(stopped[2], whole[2])  # the last stage's weight


def test_detached_weights_leave_the_classifier_to_classification(model, images):
    _, stopped = gradients(model, images, detach_weights=True)
    plain = torch.autograd.grad(F.cross_entropy(model(images), SINGLE), model.parameters())
    torch.testing.assert_close(stopped[-2:], plain[-2:])


def test_warm_up(model, images):
    objective = ICASC(layers=("inner", "last"), preset="paper", warmup=4)
    factors = []
    for _ in range(6):
        step = objective(model, (images, SINGLE))
        attention = sum(step.terms[name] for name in TERMS)
        factors.append(((step.loss - step.terms["classification"]) / attention).item())
    assert factors == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])


def test_evaluation_does_not_advance_the_warm_up(model, images):
    objective = ICASC(layers=("inner", "last"), warmup=4)
    objective(model, (images, SINGLE))
    before = copy.deepcopy(objective.state_dict())
    objective(model.eval(), (images, SINGLE))
    with torch.no_grad():
        objective(model.train(), (images, SINGLE))
    torch.testing.assert_close(objective.state_dict(), before)
    objective(model, (images, SINGLE))
    assert all(not torch.equal(value, before[name]) for name, value in objective.state_dict().items())


def test_warm_up_goes_on_from_a_checkpoint(model, images):
    objective, resumed = (ICASC(layers=("inner", "last"), warmup=4) for _ in range(2))
    for _ in range(3):
        objective(model, (images, SINGLE))
    resumed.load_state_dict(objective.state_dict())
    torch.testing.assert_close(resumed(model, (images, SINGLE)).loss, objective(model, (images, SINGLE)).loss)


def test_maps_and_classes(model, images):
    step = ICASC("grad_cam", ("inner", "last"))(model, (images, MULTI))
    assert {layer: tuple(maps.shape) for layer, maps in step.maps.items()} == {
        "inner": (4, 6, 8, 8),  # up to five true classes, and the most confusing one
        "last": (4, 6, 4, 4),
    }


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: models.resnet18(num_classes=5), 64),
        (lambda: timm.create_model("test_vit", num_classes=5), 160),
        (lambda: models.mobilenet_v3_small(num_classes=5), 64),
    ],
    ids=["resnet18", "vit", "mobilenet_v3_small"],
)
def test_three_lines_on_a_backbone_of_the_field(build, size):
    model = build()
    objective = ICASC()
    step = objective(model, (torch.rand(2, 3, size, size), torch.tensor([1, 3])))
    step.loss.backward()
    assert sorted(step.terms) == ["classification", *sorted(TERMS)]
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert step.terms["consistency"] != 0.8  # its maps are not empty


def test_batchnorm_statistics_are_those_of_plain_training():
    model, images, targets = models.resnet18(num_classes=5), torch.rand(2, 3, 64, 64), torch.tensor([1, 3])
    plain = copy.deepcopy(model)
    ICASC()(model, (images, targets)).loss.backward()
    Classification()(plain, (images, targets)).loss.backward()
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))
    assert model.bn1.num_batches_tracked == 1


def test_evaluation_without_gradients(model, images):
    expected = ICASC(layers=("inner", "last"))(model, (images, MULTI))
    with torch.no_grad():
        step = ICASC(layers=("inner", "last"))(model, (images, MULTI))
    torch.testing.assert_close(step.terms, expected.terms)


def test_all_maps_empty(model, images):
    nn.init.zeros_(model.head.weight)
    step = ICASC(layers=("inner", "last"))(model, (images, SINGLE))
    assert [step.terms[name].item() for name in TERMS] == pytest.approx([0, 0, 0.8])
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_training_separates_attention(model, images):
    objective = ICASC(layers=("inner", "last"), preset="paper")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    first = objective(model, (images, SINGLE)).terms
    for _ in range(40):
        step = objective(model, (images, SINGLE))
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    last = objective(model, (images, SINGLE)).terms
    assert sum(last.values()) < sum(first.values()) - 0.3
    assert sum(last[name] for name in TERMS) < sum(first[name] for name in TERMS) - 0.1


# Which classes are confused.


def test_confused_classes_of_single_labels():
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0], [-7.0, -9.0, -8.0]])
    classes, valid = confused_classes(logits, torch.tensor([0, 0, 2]))
    assert classes.tolist() == [[0, 2], [0, 1], [2, 0]]
    assert valid.tolist() == [[True]] * 3


def test_confused_classes_of_several_labels():
    logits = torch.arange(5.0).expand(4, 5) - 9
    classes, valid = confused_classes(logits, MULTI)
    assert classes.shape == (4, 6)
    assert classes[0, :2].tolist() == [0, 2]
    assert classes[3, 0] == 1
    assert classes[[0, 1, 3], -1].tolist() == [4, 4, 4]
    assert valid.sum(1).tolist() == [2, 0, 0, 1]
    assert valid[0, :2].all()
    assert valid[3, 0]


def test_confused_classes_equal_a_loop():
    logits, targets = torch.randn(30, 7), torch.rand(30, 7) < 0.3
    classes, valid = confused_classes(logits, targets)
    for b in range(30):
        true = [c for c in range(7) if targets[b, c]]
        wrong = [c for c in range(7) if not targets[b, c]]
        assert sorted(classes[b, :-1][valid[b]].tolist()) == (true if wrong else [])
        if wrong:
            assert classes[b, -1] == max(wrong, key=lambda c: logits[b, c].item())


# Refusals.


def test_wrong_arguments(model, images):
    with pytest.raises(ValueError, match=r"layers must name 2 layer\(s\) or more, the last one last; got \['last'\]"):
        ICASC(layers=("last",))
    with pytest.raises(ValueError, match="mechanism 'gradcam' is not known; did you mean 'grad_cam'"):
        ICASC("gradcam")
    with pytest.raises(ValueError, match="warmup must be a number of steps >= 0; got -1"):
        ICASC(warmup=-1)
    with pytest.raises(ValueError, match="preset must be one of light, paper, literal; got 'literally'"):
        ICASC(preset="literally")
    with pytest.raises(ValueError, match="normalize must be one of none, mask, each; got 'both'"):
        ICASC(normalize="both")
    with pytest.raises(ValueError, match="layer 'final' is not in Net"):
        ICASC(layers=("inner", "final"))(model, (images, SINGLE))
    with pytest.raises(ValueError, match="create_graph=True needs a forward that can be trained"):
        ICASC(layers=("inner", "last"))(model.requires_grad_(False), (images, SINGLE))


def test_multi_label_loss_is_the_papers(model, images):
    """The multi-label soft margin loss is binary cross-entropy, averaged over the classes."""
    logits = model(images)
    expected = -sum(
        math.log(torch.sigmoid(score if wanted else -score).item())
        for row, labels in zip(logits, MULTI, strict=True)
        for score, wanted in zip(row, labels, strict=True)
    )
    step = ICASC(layers=("inner", "last"))(model, (images, MULTI))
    assert step.terms["classification"].item() == pytest.approx(expected / MULTI.numel())


def test_labels_that_are_not_known_are_neither_true_nor_confusing():
    logits = torch.tensor([[1.0, 5.0, 4.0, 3.0, 2.0], [5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    targets = torch.tensor([[1, -1, 0, -1, 0], [-1, 0, 1, 1, -1], [1, -1, -1, -1, -1]])
    classes, valid = confused_classes(logits, targets)
    assert classes[0, [0, -1]].tolist() == [0, 2]  # class 1 scores highest, and may be true
    assert classes[1].tolist() == [2, 3, 1]
    assert valid.tolist() == [[True, False], [True, True], [False, False]]  # the last has no wrong class that is known
