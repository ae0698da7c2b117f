"""Mechanisms that change features or look through them: Eigen-CAM, Score-CAM, Ablation-CAM, Recipro-CAM, Finer-CAM."""

import itertools

import numpy as np
import pytest
import torch
import torchcam.methods as torchcam
from pytorch_grad_cam import AblationCAM as PeerAblationCAM
from pytorch_grad_cam import EigenCAM as PeerEigenCAM
from pytorch_grad_cam import ScoreCAM as PeerScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional as F

from looksharp.attention import rerun
from looksharp.attention.attend import attend
from looksharp.attention.mechanisms.ablation_cam import AblationCAM
from looksharp.attention.mechanisms.finer_cam import FinerCAM
from looksharp.attention.mechanisms.recipro_cam import ReciproCAM
from looksharp.objectives import ICASC

CLASSES = torch.tensor([[2, 0], [1, 4]])
FIRST = CLASSES[:, 0].tolist()


class Net(nn.Module):
    """A small CNN: `wide` has the image's size, `inner` half of it, `last` is pooled into one linear layer."""

    def __init__(self, plain=True):
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU())
        self.inner = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(6, 8, 3, 1, 1), nn.ReLU())
        self.head, self.plain = nn.Linear(8, 5), plain

    def behind(self, inner):
        return self.head(self.last(inner).mean((2, 3)))

    def forward(self, images):
        logits = self.behind(self.inner(self.wide(images)))
        return logits if self.plain else logits * 1  # which hides that the head is linear


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().double().eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def ours(model, images, mechanism, layer, classes=CLASSES, **options):
    return attend(model, images, classes, mechanism=mechanism, layers=[layer], **options).maps[layer]


def assert_same(found, expected, tolerance=1e-5):
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def of_peer(peer, model, images, layer):
    """The map of each image's first class, before the peer's ReLU and resizing."""
    module = model.get_submodule(layer)
    targets = [ClassifierOutputTarget(c) for c in FIRST]
    with peer(model, [module]) as cam:
        activations = cam.activations_and_grads
        activations(images)
        features = activations.activations[0].detach().numpy()
        return torch.from_numpy(cam.get_cam_image(images, module, targets, features, None, False)).double()


# Eigen-CAM


@pytest.mark.parametrize("layer", ["wide", "last"])  # fewer channels than positions, and as many
@pytest.mark.parametrize("centered", [False, True])
def test_eigen_cam_is_the_first_component_of_a_singular_value_decomposition(layer, centered, model, images):
    found = ours(model, images, f"eigen_cam:centered={str(centered).lower()}", layer)
    kept = {}
    hook = model.get_submodule(layer).register_forward_hook(lambda m, a, out: kept.update(out=out.detach()))
    model(images)
    hook.remove()
    for features, maps in zip(kept["out"], found, strict=True):
        matrix = features.flatten(1).T.numpy()  # (positions, channels)
        matrix = matrix - matrix.mean(0) if centered else matrix
        u, s, _ = np.linalg.svd(matrix, full_matrices=False)
        expected = torch.from_numpy(u[:, 0] * s[0]).view(features.shape[1:])
        expected = expected * expected.flatten()[expected.abs().argmax()].sign()
        assert_same(maps[0], expected.relu(), 1e-9)
        assert_same(maps[1], expected.relu(), 1e-9)


def test_eigen_cam_with_few_positions(model):
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64)  # 8 channels at 4 positions
    found = ours(model, images, "eigen_cam", "last")[:, 0]
    features = model.last(model.inner(model.wide(images))).detach().flatten(2)
    _, s, v = torch.linalg.svd(features.mT, full_matrices=False)
    assert_same(found.flatten(1), (features.mT @ v[:, :1].mT).squeeze(2).abs(), 1e-9)
    assert_same(found.flatten(1).norm(dim=1), s[:, 0], 1e-9)


def test_eigen_cam_equals_pytorch_grad_cam_but_for_its_sign(model, images):
    found = ours(model, images, "eigen_cam:true", "inner")[:, 0]
    for maps, peer in zip(found, of_peer(PeerEigenCAM, model, images, "inner"), strict=True):
        sign = peer.flatten()[peer.abs().argmax()].sign()
        assert_same(maps, (sign * peer).relu())


# Score-CAM


@pytest.mark.parametrize("layer", ["wide", "inner"])
def test_score_cam_by_a_loop(layer, model, images):
    with torch.no_grad():
        model.inner[0].weight[2], model.inner[0].bias[2] = 0, 0.3  # a channel that is the same everywhere
    found = ours(model, images, "score_cam", layer)
    for image, classes, maps in zip(images, CLASSES, found, strict=True):
        wide = model.wide(image[None]).detach()
        features = wide if layer == "wide" else model.inner(wide).detach()
        scores = []
        for channel in features[0]:
            large = F.interpolate(channel[None, None], (12, 10), mode="bilinear", align_corners=False)[0, 0]
            spread = large.max() - large.min()
            mask = (large - large.min()) / spread if spread > 0 else torch.zeros_like(large)
            scores.append(model((image * mask)[None])[0].detach())
        for place, label in enumerate(classes.tolist()):
            weights = torch.stack(scores)[:, label].softmax(0)
            expected = sum(weight * channel for weight, channel in zip(weights, features[0], strict=True))
            assert_same(maps[place], expected, 1e-9)


def test_score_cam_equals_its_peers_where_nothing_is_resized(model, images):
    found = ours(model, images, "score_cam", "wide")[:, 0]
    with torchcam.ScoreCAM(model, "wide") as cam:
        model(images)
        (expected,) = cam(FIRST, normalized=False)
    assert_same(found, expected)
    assert_same(found, of_peer(PeerScoreCAM, model, images, "wide"))


def test_score_cam_runs_no_image_twice_for_channels_that_are_the_same_everywhere(model, images):
    with torch.no_grad():
        model.inner[0].weight[:4], model.inner[0].bias[:4] = 0, 0.3
    counted = []
    with rerun.counting(counted.append):
        ours(model, images, "score_cam", "inner")
    assert sum(counted) == 2 * (1 + 2)


# Ablation-CAM


@pytest.mark.parametrize("layer", ["wide", "inner", "last"])
@pytest.mark.parametrize("plain", [True, False])
def test_ablation_cam_by_a_loop(layer, plain, model, images):
    model.plain = plain
    found = ours(model, images, "ablation_cam", layer, signed=True)
    for image, classes, maps in zip(images, CLASSES, found, strict=True):
        features = {"wide": model.wide(image[None]).detach()}
        features["inner"] = model.inner(features["wide"]).detach()
        features["last"] = model.last(features["inner"]).detach()
        logits = model(image[None])[0].detach()
        expected = torch.zeros_like(maps)
        for channel, own in enumerate(features[layer][0]):
            changed = features[layer].clone()
            changed[0, channel] = 0
            if layer == "wide":
                without = model.behind(model.inner(changed))[0]
            else:
                without = model.behind(changed)[0] if layer == "inner" else model.head(changed.mean((2, 3)))[0]
            fall = (logits - without.detach()) / logits.abs()
            expected += fall[classes].view(-1, 1, 1) * own
        assert_same(maps, expected, 1e-9)


@pytest.mark.parametrize("layer", ["inner", "last"])
def test_ablation_cam_equals_pytorch_grad_cam_where_scores_are_positive(layer, model, images):
    model.head.weight.data *= 20  # the peer's scores are float32, and what falls must not drown in that
    model.head.bias.data += 0.1 - model(images).min().item()
    found = ours(model, images, AblationCAM(), layer, signed=True)[:, 0]
    assert_same(found, of_peer(PeerAblationCAM, model, images, layer))


def test_ablation_cam_runs_nothing_where_a_linear_layer_reads_the_mean(model, images):
    counted = []
    with rerun.counting(counted.append):
        ours(model, images, "ablation_cam", "last")
        assert counted == []
        ours(model, images, "ablation_cam", "inner")
    assert sum(counted) >= 2 * 6


# Recipro-CAM


def alone(row, column, height, width, gaussian):
    """The mask of one position by the paper's figures: a 3x3 filter, cut at the border."""
    mask = torch.zeros(height, width, dtype=torch.float64)
    for i, j in itertools.product(range(-1, 2), range(-1, 2)) if gaussian else [(0, 0)]:
        if 0 <= row + i < height and 0 <= column + j < width:
            mask[row + i, column + j] = {0: 1 / 4, 1: 1 / 8, 2: 1 / 16}[abs(i) + abs(j)] if gaussian else 1
    return mask


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("layer", ["inner", "last"])
def test_recipro_cam_by_a_loop(layer, score, gaussian, model, images):
    spelled = ReciproCAM(gaussian=gaussian, score=score)
    found = ours(model, images, spelled, layer, signed=True)
    behind = model.behind if layer == "inner" else lambda features: model.head(features.mean((2, 3)))
    scored = (lambda logits: logits.softmax(1)) if score == "probability" else lambda logits: logits
    for image, classes, maps in zip(images, CLASSES, found, strict=True):
        features = model.inner(model.wide(image[None])).detach()
        features = features if layer == "inner" else model.last(features).detach()
        height, width = features.shape[2:]
        paper = torch.zeros_like(maps)
        for row, column in itertools.product(range(height), range(width)):
            masked = features * alone(row, column, height, width, gaussian)
            paper[:, row, column] = scored(behind(masked))[0, classes].detach()
        nothing = scored(behind(features * 0))[0, classes].detach()
        assert_same(maps, paper - nothing.view(-1, 1, 1), 1e-9)
        low, high = paper.amin((1, 2), keepdim=True), paper.amax((1, 2), keepdim=True)
        lowest, highest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        assert_same((maps - lowest) / (highest - lowest), (paper - low) / (high - low), 1e-8)


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_recipro_cam_in_closed_form_is_what_running_again_gives(score, model, images):
    closed = ours(model, images, f"recipro_cam:score={score}", "last", signed=True)
    model.plain = False
    assert_same(closed, ours(model, images, f"recipro_cam:score={score}", "last", signed=True), 1e-9)


def test_recipro_cam_without_neighbours_is_cam_over_the_positions(model, images):
    found = ours(model, images, "recipro_cam:gaussian=false", "last", signed=True)
    assert_same(found * 6 * 5, ours(model, images, "cam", "last", signed=True), 1e-9)


# Finer-CAM


@pytest.mark.parametrize("layer", ["inner", "last"])
@pytest.mark.parametrize("references", [1, 3, 99])
def test_finer_cam_equals_torchcam(layer, references, model, images):
    found = ours(model, images, FinerCAM(0.6, references), layer)
    with torchcam.FinerCAM(model, layer, gamma=0.6, num_references=references) as cam:
        each = [cam(column, model(images), normalized=False)[0] for column in CLASSES.T.tolist()]
    assert_same(found, torch.stack(each, 1))


@pytest.mark.parametrize("layer", ["inner", "last"])
def test_finer_cam_is_linear_in_its_classes(layer, model, images):
    every = ours(model, images, "grad_cam", layer, torch.arange(5).expand(2, -1), signed=True)
    logits = model(images).detach()
    found = ours(model, images, "finer_cam:alpha=0.7,references=2", layer, signed=True)
    pair = ours(model, images, "finer_cam:alpha=1,against=4", layer, signed=True)
    for b, k in itertools.product(range(2), range(2)):
        own = int(CLASSES[b, k])
        nearest = sorted(set(range(5)) - {own}, key=lambda other: abs(logits[b, other] - logits[b, own]))
        assert_same(found[b, k], every[b, own] - 0.7 * (every[b, nearest[0]] + every[b, nearest[1]]) / 2, 1e-9)
        others = nearest[:3] if own == 4 else [4]
        assert_same(pair[b, k], every[b, own] - every[b, others].mean(0), 1e-9)


@pytest.mark.parametrize(
    ("mechanism", "message"),
    [("finer_cam:against=5", "needs a class from 0 to 4 to be against; got 5"), ("finer_cam:alpha=-1", "at least 0")],
)
def test_finer_cam_of_classes_that_are_not_there(mechanism, message, model, images):
    with pytest.raises(ValueError, match=message):
        ours(model, images, mechanism, "last")


def test_finer_cam_is_trained_on(model, images):
    step = ICASC(mechanism="finer_cam:references=1", layers=("inner", "last"))(model, (images, CLASSES[:, 0]))
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.wide[0].weight.grad.any()
    confused = model(images).detach().scatter(1, CLASSES[:, :1], -torch.inf).argmax(1)
    pair = torch.stack([CLASSES[:, 0], confused], 1)
    assert_same(step.maps["last"], ours(model, images, "finer_cam:references=1", "last", pair), 1e-9)
