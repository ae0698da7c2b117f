import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from looksharp.data.sets.synthetic import PALETTE, biased_digits, handwriting
from looksharp.data.split import Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.networks import build_network
from looksharp.training import reweighting
from looksharp.training.reweighting import reweight_last_layer

PIXELS = Pixels((8, 12), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Net(nn.Module):
    """A feature extractor made by hand: how dark each pixel of the digit is, and how near the cue to each colour."""

    def __init__(self, classes=10):
        super().__init__()
        self.register_buffer("palette", torch.from_numpy(PALETTE[:classes]))
        self.fc = nn.Linear(64 + classes, classes)

    def features(self, images):
        digit, cue = images[:, 0, :, :8].flatten(1), images[:, :, 0, 8]
        return torch.cat([digit, 8 * torch.exp(-8 * torch.cdist(cue, self.palette))], 1)

    def forward(self, images):
        return self.fc(self.features(images))


def digits(split="train", rho=0.9, classes=10, seed=0):
    """Handwritten digits beside a cue whose colour is the class's with probability rho; group 1 where it is not."""
    strokes, labels = handwriting(split)
    strokes, labels = strokes[labels < classes], labels[labels < classes]
    rng = np.random.default_rng(seed)
    cue = np.where(rng.random(len(labels)) < rho, labels, rng.integers(0, classes, len(labels)))
    images = np.zeros((len(labels), 3, 8, 12), np.float32)
    images[..., :8] = strokes[:, None]
    images[..., 8:] = PALETTE[cue][:, :, None, None]
    return TensorSplit(
        targets=torch.from_numpy(labels),
        groups=torch.from_numpy((cue != labels).astype(np.int64)),
        images=torch.from_numpy((images * 255).round()).to(torch.uint8),
    )


@torch.no_grad()
def logits(model, split, pixels=PIXELS):
    return model(pixels.normalize(split.images))


def accuracy(model, split):
    return (logits(model, split).argmax(1) == split.targets).float().mean().item()


@pytest.fixture(scope="module")
def biased_net():
    """A last layer that reads the cue, as one learns it where the cue nearly always agrees."""
    torch.manual_seed(0)
    model, split = Net(), digits(rho=0.99)
    images = PIXELS.normalize(split.images)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(images), split.targets).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_the_core_feature_is_recovered(biased_net, penalty):
    random_cue = digits("test", rho=0.0)
    cured = reweight_last_layer(
        biased_net, digits("train", rho=0.8, seed=1), PIXELS, penalty=penalty, subsets=4, strengths=(1.0, 0.1, 0.01)
    )
    assert accuracy(biased_net, random_cue) < 0.6
    assert accuracy(cured, random_cue) > 0.9
    assert accuracy(cured, digits("test", rho=1.0)) > 0.9
    share = [model.fc.weight.abs()[:, 64:].sum() / model.fc.weight.abs().sum() for model in (biased_net, cured)]
    assert share[1] < share[0] / 2


def test_the_model_is_left_as_it_is(biased_net):
    model = copy.deepcopy(biased_net).train()
    before = copy.deepcopy(model.state_dict())
    new = reweight_last_layer(model, digits(rho=0.5), PIXELS, subsets=1, strengths=(0.1,))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert model.training
    assert not new.training
    assert not any(module._forward_hooks for net in (model, new) for module in net.modules())
    assert not torch.equal(new.fc.weight, model.fc.weight)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("classes", [10, 2])
def test_balanced_images_give_scikit_learns_regression(penalty, classes):
    """Groups of one size leave nothing to draw: it is the regression on all images."""
    split, model = digits(classes=classes), Net(classes)
    split = replace(split, groups=torch.arange(len(split)) % 2)
    if len(split) % 2:
        split = TensorSplit(targets=split.targets[1:], groups=split.groups[1:], images=split.images[1:])
    found = logits(reweight_last_layer(model, split, PIXELS, penalty=penalty, strengths=(0.3,), subsets=2), split)
    with torch.no_grad():
        features = model.features(PIXELS.normalize(split.images)).double().numpy()
    regression = LogisticRegression(
        C=0.3, solver="liblinear", l1_ratio=float(penalty == "l1"), max_iter=1000, tol=1e-6, random_state=1
    )
    if classes == 2:
        peer = make_pipeline(StandardScaler(), regression).fit(features, split.targets.numpy())
        np.testing.assert_allclose(found.softmax(1)[:, 1], peer.predict_proba(features)[:, 1], atol=2e-4)
    else:
        peer = make_pipeline(StandardScaler(), OneVsRestClassifier(regression)).fit(features, split.targets.numpy())
        np.testing.assert_allclose(found, peer.decision_function(features), atol=2e-3)


def test_weights_are_averaged_over_subsets_and_a_class_over_those_that_have_it(monkeypatch):
    split, model = digits(classes=3), Net(3)
    targets = split.targets.numpy()
    subsets = [np.flatnonzero(targets < 2)[:60], np.arange(90)]
    given = iter(subsets)
    monkeypatch.setattr(reweighting, "_balanced", lambda *_: next(given))
    new = reweight_last_layer(model, split, PIXELS, subsets=2, strengths=(0.5,))
    with torch.no_grad():
        features = model.features(PIXELS.normalize(split.images)).double().numpy()
    scaler = StandardScaler().fit(features)
    rows = {0: [], 1: [], 2: []}
    for places in subsets:
        for label in np.unique(targets[places]):
            fitted = LogisticRegression(
                C=0.5, solver="liblinear", l1_ratio=1.0, tol=1e-6, max_iter=1000, random_state=0
            )
            fitted.fit(scaler.transform(features[places]), targets[places] == label)
            rows[label].append(fitted.decision_function(scaler.transform(features)))
    assert [len(found) for found in rows.values()] == [2, 2, 1]
    expected = np.stack([np.mean(found, 0) for found in rows.values()], 1)
    np.testing.assert_allclose(logits(new, split), expected, atol=1e-4)


def test_subsets_hold_as_many_of_each_group(monkeypatch):
    split, drawn, balanced = digits(rho=0.9), [], reweighting._balanced
    monkeypatch.setattr(reweighting, "_balanced", lambda *args: drawn.append(balanced(*args)) or drawn[-1])
    reweight_last_layer(Net(), split, PIXELS, subsets=5, strengths=(0.1, 0.01))
    few = int(split.groups.sum())
    assert [split.groups[places].bincount().tolist() for places in drawn[:5]] == [[few, few]] * 5
    assert all(len(set(places.tolist())) == 2 * few for places in drawn[:5])
    assert len({tuple(sorted(places.tolist())) for places in drawn[:5]}) == 5
    (half,) = drawn[5:]  # to choose the strength
    assert split.groups[half].bincount().tolist() == [-(-few // 2)] * 2


@pytest.mark.parametrize("strengths", [(1e-7, 0.2), (0.2, 1e-7)])
def test_the_strength_of_the_best_worst_group_is_taken(strengths):
    """So strong a penalty leaves no weight at all."""
    split, model = digits(rho=0.8), Net()
    chosen = reweight_last_layer(model, split, PIXELS, strengths=strengths, subsets=2)
    expected = reweight_last_layer(model, split, PIXELS, strengths=(0.2,), subsets=2)
    torch.testing.assert_close(chosen.fc.weight, expected.fc.weight, rtol=0, atol=0)
    nothing = reweight_last_layer(model, split, PIXELS, strengths=(1e-7,), subsets=2)
    assert not nothing.fc.weight.any()


def test_the_worst_group_counts_not_the_mean():
    """Many images whose cue is right and some whose cue is wrong: the strength that serves the latter is taken."""
    features = np.zeros((60, 2))
    targets = np.tile([0, 1], 30)
    groups = (np.arange(60) >= 40).astype(np.int64)
    features[:, 0] = np.where(groups == 0, targets, 1 - targets) - 0.5
    fit = reweighting._Regression(features, targets, 2, "l2", 0)
    tables = {1.0: [[5.0, 0], [-5.0, 0]], 2.0: [[0.0, 0], [0.0, 0]], 3.0: [[-5.0, 0], [5.0, 0]]}
    fit.fit = lambda places, strength: (np.array(tables[strength]), np.zeros(2))
    everything = np.arange(60)
    rng = np.random.default_rng(0)
    # Worst groups: 0, one half (class 0 always) and 0, though the last is right in two thirds of the images.
    assert fit.best_strength((1.0, 2.0, 3.0), groups, everything, everything, rng) == 2.0
    assert fit.best_strength((1.0, 3.0), groups, everything, everything, rng) == 3.0


def test_the_seed_determines_the_layer():
    split, model = digits(), Net()
    one, same, other = (
        reweight_last_layer(model, split, PIXELS, subsets=2, strengths=(0.1, 0.03), seed=seed).fc.weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("batch_size", [50, 1000])
def test_an_empty_group_is_left_out(batch_size):
    """A cue that never fails: the layer is fitted again, and the cue stays what it was."""
    split, model = digits(rho=1.0), Net()
    assert split.groups.unique().tolist() == [0]
    new = reweight_last_layer(model, split, PIXELS, subsets=1, strengths=(0.1, 0.01), batch_size=batch_size)
    assert accuracy(new, split) > 0.95
    numbered = replace(split, groups=split.groups + 3)
    again = reweight_last_layer(model, numbered, PIXELS, subsets=1, strengths=(0.1, 0.01))
    torch.testing.assert_close(again.fc.weight, new.fc.weight, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("backbone", "layer"), [("small", "fc"), ("torchvision/mobilenet_v3_small", "classifier.3")])
def test_networks_keep_all_but_their_last_layer(backbone, layer):
    torch.manual_seed(0)
    data = biased_digits(0.3, train=8, val=60, test=1)
    model = nn.parallel.DataParallel(build_network(backbone, 10), device_ids=[])
    new = reweight_last_layer(model, data.splits["val"], data.pixels, penalty="l2", subsets=1, strengths=(1.0,))
    before, after = model.module.state_dict(), new.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{layer}.weight", f"{layer}.bias"}


def test_a_layer_without_bias_gets_one():
    model = nn.Sequential(nn.Flatten(), nn.Linear(8 * 12 * 3, 10, bias=False))
    split = digits(rho=0.5)
    new = reweight_last_layer(model, split, PIXELS, subsets=1, strengths=(0.1,))
    assert new[1].bias.any()
    assert accuracy(new, split) > 0.9


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"groups": None}, {}, r"^split has no groups, which tell what to balance; give the data a groups\.csv"),
        ({"targets": torch.zeros(1257, 10)}, {}, r"^split must have one class for each image; got multi-hot targets$"),
        ({"targets": torch.ones(1257).long()}, {}, r"^split must hold images of every class; class 0 has none"),
        (
            {"groups": (torch.arange(1257) == 7).long()},
            {},
            r"^every group needs at least 2 images; group 1 has 1; give",
        ),
        ({}, {"penalty": "l3"}, r"^penalty must be l1 or l2; got 'l3'$"),
        ({}, {"strengths": ()}, r"^strengths must be numbers above 0 and subsets at least 1; got \[\] and 20$"),
        ({}, {"strengths": (0.0,)}, r"^strengths must be numbers above 0 .*; got \[0\.0\] and 20$"),
        ({}, {"subsets": 0}, r"and subsets at least 1; got .* and 0$"),
    ],
)
def test_what_cannot_be(change, options, message):
    with pytest.raises(ValueError, match=message):
        reweight_last_layer(Net(), replace(digits(), **change), PIXELS, **options)


def test_a_network_without_a_last_linear_layer_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 10, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match=r"^model must end in one nn\.Linear whose output is the logits; Sequential d"):
        reweight_last_layer(model, digits(), PIXELS)
    with pytest.raises(ValueError, match=r"^model must end in one nn\.Linear"):
        reweight_last_layer(nn.Sequential(nn.Flatten(), nn.Linear(288, 10), nn.ReLU()), digits(), PIXELS)
