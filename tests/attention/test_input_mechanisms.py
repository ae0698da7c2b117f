"""Mechanisms in the input's pixels: occlusion, RISE, Integrated Gradients, SmoothGrad."""

import itertools

import pytest
import torch
from captum.attr import IntegratedGradients as PeerIntegratedGradients
from captum.attr import NoiseTunnel, Saliency
from captum.attr import Occlusion as PeerOcclusion
from torch import nn

from looksharp.attention import rerun
from looksharp.attention.attend import attend
from looksharp.attention.input_gradients import input_gradients
from looksharp.attention.mechanisms.integrated_gradients import IntegratedGradients
from looksharp.attention.mechanisms.occlusion import Occlusion
from looksharp.attention.mechanisms.rise import Rise, random_masks
from looksharp.attention.mechanisms.smooth_grad import SmoothGrad
from looksharp.attention.rerun import counting

CLASSES = torch.tensor([[2, 0], [1, 3]])
SIZE = (12, 10)


class Smooth(nn.Module):
    """A network with a curvature everywhere."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.SiLU(), nn.Conv2d(4, 6, 3, 1, 1), nn.Tanh())
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))


class PixelsAlone(nn.Module):
    """A linear model over pixels, whose evidence is known: each pixel's weight times its value."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * SIZE[0] * SIZE[1], 5)

    def forward(self, images):
        return self.linear(images.flatten(1))

    def evidence(self, images, classes, fill=0.0):
        weight = self.linear.weight[classes].unflatten(-1, (3, *SIZE)).detach()  # (B, K, 3, H, W)
        return (weight * (images - fill).unsqueeze(1)).sum(2)


def made(kind):
    torch.manual_seed(0)
    return kind().double().eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def ours(model, images, mechanism, classes=CLASSES):
    return attend(model, images, classes, mechanism=mechanism, signed=True).maps["image"]


def assert_same(found, expected, tolerance=1e-5):
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


# Occlusion


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (4, 4), (3, 2), (5, 5), (1, 1), (12, 12)])
@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_occlusion_equals_captum(window, stride, fill, images):
    model = made(Smooth)
    found = ours(model, images, Occlusion(window, stride, fill))
    width = min(window, SIZE[1])
    for place in range(2):
        expected = PeerOcclusion(model).attribute(
            images,
            (3, window, width),
            (3, stride, min(stride, width)),
            baselines=fill,
            target=CLASSES[:, place],
            perturbations_per_eval=8,
        )
        assert_same(found[:, place], expected[:, 0].double())


def test_occlusion_of_one_pixel_at_a_time_is_a_linear_models_evidence(images):
    model = made(PixelsAlone)
    assert_same(ours(model, images, "occlusion:window=1"), model.evidence(images, CLASSES), 1e-9)
    assert_same(ours(model, images, "occlusion:1,fill=0.3"), model.evidence(images, CLASSES, 0.3), 1e-9)


def test_occlusion_sums_to_a_linear_models_scores_where_windows_do_not_overlap(images):
    model = made(PixelsAlone)
    found = ours(model, images, "occlusion:window=2,stride=2")
    whole = (model(images) - model.linear.bias).gather(1, CLASSES)
    assert_same(found.sum((2, 3)) / 4, whole.detach(), 1e-9)


def test_occlusion_whose_windows_leave_gaps_is_refused(images):
    with pytest.raises(
        ValueError, match=r"^occlusion.stride must be at most the window's 4 px, or gaps remain; got 5$"
    ):
        ours(made(Smooth), images, "occlusion:window=4,stride=5")


# RISE


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_rise_by_a_loop(score, images):
    model, count, keep = made(Smooth), 40, 0.3
    found = ours(model, images, Rise(count, 4, keep, score, seed=5))
    masks = random_masks(count, SIZE, 4, keep, torch.Generator().manual_seed(5)).double()
    for b, k in itertools.product(range(2), range(2)):
        scores = []
        for mask in masks:
            logits = model((images[b] * mask)[None])[0].detach()
            scores.append((logits.softmax(0) if score == "probability" else logits)[CLASSES[b, k]].item())
        paper = sum(s * mask for s, mask in zip(scores, masks, strict=True)) / (keep * count)  # Eq. 6
        mean = sum(scores) / count
        centered = sum((s - mean) * mask for s, mask in zip(scores, masks, strict=True)) / (keep * count)
        assert_same(found[b, k], centered, 1e-9)
        # Without the mean both are one, up to how often each pixel was seen.
        assert_same(found[b, k] + mean * masks.sum(0) / (keep * count), paper, 1e-9)


def test_rise_of_a_linear_model_is_the_covariance_of_its_masks(images):
    model = made(PixelsAlone)
    found = ours(model, images, "rise:masks=64,cell=3,score=logit,seed=2")
    masks = random_masks(64, SIZE, 3, 0.5, torch.Generator().manual_seed(2)).double().flatten(1)
    covariance = torch.cov(masks.T, correction=0)
    expected = (model.evidence(images, CLASSES).flatten(2) @ covariance / 0.5).unflatten(2, SIZE)
    assert_same(found, expected, 1e-9)


def test_rise_finds_the_one_place_that_counts():
    class Corner(nn.Module):
        def forward(self, images):
            return torch.stack([images[:, :, 24:, :8].mean((1, 2, 3)), images.new_zeros(len(images))], 1)

    found = ours(Corner().eval(), torch.ones(1, 3, 32, 32), "rise:masks=600,cell=4,score=logit", torch.tensor([0]))
    row, column = divmod(int(found[0, 0].argmax()), 32)
    assert row >= 24
    assert column < 8
    # A pixel's value is how much the score rises where it is seen: the corner's own is the rest of a half.
    assert float(found[0, 0, 28, 4]) == pytest.approx(0.3, abs=0.15)
    assert float(found[0, 0, :16, 16:].abs().max()) < 0.08


def test_masks_let_a_share_through_and_are_shifted():
    generator = torch.Generator().manual_seed(0)
    masks = random_masks(2000, (30, 20), 5, 0.3, generator)
    assert masks.shape == (2000, 30, 20)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert (masks.mean(0) - 0.3).abs().max() < 0.05
    assert masks.var(0).min() > 0.05
    again = random_masks(2000, (30, 20), 5, 0.3, torch.Generator().manual_seed(0))
    assert torch.equal(masks, again)
    # Cells of 6 x 4 pixels: neighbours are nearly alike, pixels of two cells apart are not.
    assert torch.corrcoef(masks[:, 10, 9:11].T)[0, 1] > 0.9
    assert torch.corrcoef(torch.stack([masks[:, 3, 9], masks[:, 25, 9]]))[0, 1].abs() < 0.1


@pytest.mark.parametrize("mechanism", ["rise:masks=20,cell=3", "smooth_grad:samples=7", "occlusion:4"])
def test_what_goes_through_the_network_at_once_changes_nothing(mechanism, images, monkeypatch):
    model = made(Smooth)
    expected = ours(model, images, mechanism)
    monkeypatch.setattr(rerun, "_PIXELS", {"cpu": 3 * SIZE[0] * SIZE[1]})
    counted = []
    with counting(counted.append):
        assert_same(ours(model, images, mechanism), expected, 1e-9)
    assert max(counted) <= 3 * 5  # three images, a backward counted as two


# Integrated Gradients


@pytest.mark.parametrize("fill", [0.0, 0.4])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_integrated_gradients_equal_captum(steps, fill, images):
    model = made(Smooth)
    found = ours(model, images, IntegratedGradients(steps, fill))
    for place in range(2):
        expected = PeerIntegratedGradients(model).attribute(images, fill, CLASSES[:, place], n_steps=steps)
        assert_same(found[:, place], expected.sum(1), 1e-9)


def test_integrated_gradients_sum_to_the_change_of_the_score(images):
    model = made(Smooth)
    found = ours(model, images, "integrated_gradients:100")
    change = (model(images) - model(images * 0)).gather(1, CLASSES).detach()
    assert_same(found.sum((2, 3)), change, 1e-6)


@pytest.mark.parametrize("mechanism", ["integrated_gradients:steps=3,fill=0.2", "smooth_grad:samples=3,fill=0.2"])
def test_gradients_of_a_linear_model_are_its_evidence(mechanism, images):
    model = made(PixelsAlone)
    assert_same(ours(model, images, mechanism), model.evidence(images, CLASSES, 0.2), 1e-9)


# SmoothGrad


def test_smooth_grad_by_a_loop(images):
    model = made(Smooth)
    found = ours(model, images, SmoothGrad(samples=6, noise=0.2, fill=0.1, seed=3))
    generator = torch.Generator().manual_seed(3)
    noise = torch.stack([torch.randn(3, *SIZE, generator=generator) for _ in range(6)]).double()
    for b, k in itertools.product(range(2), range(2)):
        sigma = 0.2 * (images[b].max() - images[b].min())
        total = torch.zeros_like(images[b])
        for sample in noise:
            copy = (images[b] + sigma * sample).requires_grad_()
            total += torch.autograd.grad(model(copy[None])[0, CLASSES[b, k]], copy)[0]
        assert_same(found[b, k], (total / 6 * (images[b] - 0.1)).sum(0), 1e-9)


def test_smooth_grad_equals_captum_with_its_noise(images, monkeypatch):
    model = made(Smooth)
    image, generator = images[:1], torch.Generator().manual_seed(0)
    noise = torch.stack([torch.randn(3, *SIZE, generator=generator) for _ in range(4)]).double()
    sigma = 0.15 * (image.max() - image.min())
    monkeypatch.setattr(torch, "normal", lambda mean, spread: spread * noise)
    peer = NoiseTunnel(Saliency(model)).attribute(
        image, nt_type="smoothgrad", nt_samples=4, stdevs=float(sigma), target=2, abs=False
    )
    monkeypatch.undo()
    found = ours(model, image, "smooth_grad:samples=4", torch.tensor([2]))
    assert_same(found[:, 0], (peer * image).sum(1), 1e-6)


def test_gradients_at_the_input_leave_the_network_alone(images):
    model = made(Smooth)
    counted = []
    with torch.inference_mode(), counting(counted.append):
        found = input_gradients(model, images + 0, CLASSES)
    assert counted == [2 * (1 + 2 * 2)]
    assert all(parameter.grad is None for parameter in model.parameters())
    entry = images.clone().requires_grad_()
    for b, k in itertools.product(range(2), range(2)):
        (expected,) = torch.autograd.grad(model(entry)[b, CLASSES[b, k]], entry)
        assert_same(found[b, k], expected[b], 1e-9)
    with pytest.raises(ValueError, match=r"need evaluation mode; call model\.eval\(\) first"):
        input_gradients(model.train(), images, CLASSES)
