import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.perturbation_confidence import (
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import spsolve
from torch import nn
from torch.nn import functional as F

from looksharp.metrics.faithfulness import noisy_linear_imputation, road


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Conv2d(3, 6, 3, 2)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.features(images).relu().mean((-2, -1))) * 9


def masks(size, share, count=3):
    """A blob, a frame and scattered pixels, of which this share is removed."""
    torch.manual_seed(0)
    y, x = (torch.linspace(-1, 1, side) for side in size)
    blob = (y[:, None] - 0.3) ** 2 + x**2
    scores = torch.stack([-blob, blob, torch.rand(size)])
    order = scores.flatten(1).argsort(1, descending=True)
    number = min(max(round(share * order.shape[1]), 1), order.shape[1] - 1)
    return torch.zeros(order.shape, dtype=torch.bool).scatter_(1, order[:, :number], True).view(3, *size)


def exactly(image, removed):
    """The system written down pixel by pixel, solved directly in float64."""
    height, width = removed.shape
    places = {place: i for i, place in enumerate(map(tuple, removed.nonzero().tolist()))}
    rows, columns, values = [], [], []
    right = np.zeros((len(places), len(image)))
    for (y, x), i in places.items():
        total = 0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                weight = {1: 1 / 6, 2: 1 / 12}.get(abs(dy) + abs(dx))
                if weight is None or not (0 <= y + dy < height and 0 <= x + dx < width):
                    continue
                total += weight
                if (y + dy, x + dx) in places:
                    rows, columns, values = [*rows, i], [*columns, places[y + dy, x + dx]], [*values, -weight]
                else:
                    right[i] += weight * image[:, y + dy, x + dx].numpy()
        rows, columns, values = [*rows, i], [*columns, i], [*values, total]
    found = spsolve(csr_matrix((values, (rows, columns))), right).reshape(len(places), -1)
    filled = image.clone()
    for (y, x), i in places.items():
        filled[:, y, x] = torch.tensor(found[i])
    return filled


@pytest.mark.parametrize("size", [(1, 9), (9, 2), (7, 12), (16, 16), (13, 21)])
@pytest.mark.parametrize("share", [0, 0.3, 0.9, 1])
def test_imputation_is_the_direct_solution(size, share):
    removed = masks(size, share)
    images = torch.randn(3, 2, *size, dtype=torch.float64)
    expected = torch.stack([exactly(image, gone) for image, gone in zip(images, removed, strict=True)])
    found = noisy_linear_imputation(images, removed, noise=0, tolerance=1e-10)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    rough = noisy_linear_imputation(images.float(), removed, noise=0)
    assert (rough - expected).abs().max() < 0.02  # near the noise that is added as a rule
    assert rough.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # pytorch-grad-cam's
@pytest.mark.parametrize("size", [(15, 15), (32, 40)])
def test_imputation_is_pytorch_grad_cams(size):
    removed = masks(size, 0.7)
    images = torch.randn(3, 3, *size)
    imputer = NoisyLinearImputer(noise=0)
    expected = [imputer(image, (~gone).float()) for image, gone in zip(images, removed, strict=True)]
    found = noisy_linear_imputation(images, removed, noise=0, tolerance=1e-5)
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-4)


def test_a_plane_is_restored():
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    plane = (0.1 * y - 0.05 * x).expand(1, 3, 20, 30)
    removed = torch.zeros(1, 20, 30, dtype=torch.bool)
    removed[:, 2:17, 3:25] = True
    found = noisy_linear_imputation(plane, removed, noise=0, tolerance=1e-6)
    torch.testing.assert_close(found, plane, rtol=0, atol=1e-5)


def test_what_becomes_of_an_image_depends_on_no_other():
    torch.manual_seed(1)
    images, removed = torch.randn(3, 3, 24, 24), masks((24, 24), 0.8)
    whole = noisy_linear_imputation(images, removed)
    alone = [noisy_linear_imputation(images[i : i + 1], removed[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=0, atol=1e-6)
    hard = torch.cat([1000 * images, images])  # takes longer
    torch.testing.assert_close(noisy_linear_imputation(hard, removed.repeat(2, 1, 1))[3:], whole, rtol=0, atol=1e-6)


def test_noise_is_where_pixels_are_gone():
    images, removed = torch.zeros(3, 3, 40, 40), masks((40, 40), 0.5)
    added = noisy_linear_imputation(images, removed, noise=0.3)
    gone = removed.unsqueeze(1).expand_as(added)
    assert (added[~gone] == 0).all()
    assert added[gone].std().item() == pytest.approx(0.3, rel=0.05)
    assert added[gone].mean().item() == pytest.approx(0, abs=4 * 0.3 / np.sqrt(800 * 3))
    assert not added.equal(noisy_linear_imputation(images, removed, noise=0.3, seed=1))
    random = torch.get_rng_state()
    assert added.equal(noisy_linear_imputation(images, removed, noise=0.3))
    assert torch.get_rng_state().equal(random)


def test_half_precision_goes_in_and_comes_out():
    images, removed = torch.randn(3, 3, 9, 9), masks((9, 9), 0.4)
    found = noisy_linear_imputation(images.half(), removed, noise=0)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), noisy_linear_imputation(images, removed, noise=0), rtol=0, atol=5e-3)
    assert noisy_linear_imputation(images[:0], removed[:0]).shape == (0, 3, 9, 9)


def test_messages_of_imputation():
    images = torch.randn(2, 3, 12, 12)
    with pytest.raises(
        ValueError, match=r"removed must be bool and one for each image, .* removed float32 \(2, 12, 12"
    ):
        noisy_linear_imputation(images, torch.ones(2, 12, 12))
    with pytest.raises(ValueError, match=r"got images \(2, 3, 12, 12\) and removed bool \(1, 12, 12\)"):
        noisy_linear_imputation(images, torch.ones(1, 12, 12, dtype=torch.bool))
    removed = torch.zeros(2, 12, 12, dtype=torch.bool)
    removed[1] = True
    with pytest.raises(ValueError, match="removed must leave a pixel at least of each image"):
        noisy_linear_imputation(images, removed)


def test_the_tolerance_is_reached_or_refused(monkeypatch):
    strip, removed = torch.randn(1, 1, 5, 200), torch.ones(1, 5, 200, dtype=torch.bool)
    removed[0, 0, 0] = False  # all that is left, so that every pixel becomes equal to it
    for tolerance in (1e-3, 0):
        found = noisy_linear_imputation(strip, removed, noise=0, tolerance=tolerance)
        torch.testing.assert_close(found, strip[..., :1, :1].expand_as(found), rtol=0, atol=max(tolerance * 50, 1e-4))
    monkeypatch.setattr("looksharp.metrics.faithfulness.imputation._ITERATIONS", 3)
    with pytest.raises(ValueError, match=r"tolerance 0.001 must be larger: it is not reached in 3 iterations"):
        noisy_linear_imputation(strip, removed)


@pytest.fixture
def samples():
    torch.manual_seed(0)
    return torch.randn(4, 3, 22, 22), torch.rand(4, 22, 22), torch.randint(0, 5, (4,))  # 484 pixels


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # pytorch-grad-cam's
@torch.no_grad()
def test_it_is_pytorch_grad_cams_road(samples):
    images, maps, classes = samples
    model, shares = Small().eval(), (0.2, 0.4, 0.6, 0.8)
    found = road(model, images, maps, classes, shares=shares, noise=0, tolerance=1e-5)
    targets = [ClassifierOutputSoftmaxTarget(c) for c in classes.tolist()]
    before = model(images).softmax(1).gather(1, classes[:, None])[:, 0].numpy()
    for remove, curve in ((RemoveMostRelevantFirst, found.most), (RemoveLeastRelevantFirst, found.least)):
        for i, share in enumerate(shares):
            peer = PerturbationConfidenceMetric(remove(100 - 100 * share, NoisyLinearImputer(noise=0)))
            np.testing.assert_allclose(
                curve[:, i].numpy() - before, peer(images, maps.numpy(), targets, model), atol=1e-4
            )
    combined = (found.least.mean(1) - found.most.mean(1)) / 2
    torch.testing.assert_close(found.combined(), combined)


@torch.no_grad()
def test_it_is_the_model_on_imputed_images(samples):
    images, maps, classes = samples
    model = Small().eval()
    found = road(model, images, maps, classes, shares=(0.25, 0.5), multilabel=True, seed=3)
    for i, number in enumerate((121, 242)):
        for sign, curve in ((1, found.most), (-1, found.least)):
            highest = (sign * maps).flatten(1).argsort(1, descending=True)[:, :number]
            removed = torch.zeros(4, 484, dtype=torch.bool).scatter_(1, highest, True).view(4, 22, 22)
            imputed = noisy_linear_imputation(images, removed, seed=3)
            expected = model(imputed).sigmoid().gather(1, classes[:, None])[:, 0]
            torch.testing.assert_close(curve[:, i].float(), expected, rtol=1e-4, atol=1e-5)


class Brightness(nn.Module):
    """Class 1 is as probable as the mean of the pixels, which are in [0, 1]."""

    def forward(self, images):
        share = images.mean((1, 2, 3)).clamp(0, 1)
        return torch.stack([1 - share, share], 1).log()


def test_the_best_map_the_worst_and_chance_are_in_order():
    # A bright square of an eighth of the image: without its pixels, what remains is black, and imputed so.
    image = torch.zeros(16, 16)
    image[4:8, 4:12] = 1
    torch.manual_seed(0)
    maps = torch.stack([image, 1 - image, *torch.rand(20, 16, 16)])
    images, classes = image.expand(22, 3, 16, 16), torch.ones(22, dtype=torch.long)
    found = road(Brightness().eval(), images, maps, classes, shares=(1 / 8, 1 / 2), noise=0, tolerance=1e-6)
    assert found.most[0].abs().max() < 1e-6
    assert found.least[0, 1].item() >= 1 / 8  # black pixels are gone, the square is left and bleeds into them
    torch.testing.assert_close(found.most[0], found.least[1])  # against the order of the opposite map: ties reversed
    combined = found.combined()
    assert combined[0] > 0.06
    assert (combined[2:] < combined[0]).all()
    assert (combined[2:] > combined[1]).all()
    assert combined[1] < -0.06
    assert combined[2:].mean().abs() < 0.01


def test_cost_and_chunks(samples):
    images, maps, classes = samples
    model, sizes = Small().eval(), []
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    whole = road(model, images, maps, classes, shares=(0.1, 0.5, 0.9))
    assert sizes == [24]  # twice the shares, for each image
    sizes.clear()
    found = road(model, images, maps, classes, shares=(0.1, 0.5, 0.9), batch_size=5)
    assert sizes == [5, 5, 5, 5, 4]
    torch.testing.assert_close(found.combined(), whole.combined(), rtol=0, atol=1e-6)
    found = road(model, images[:0], maps[:0], classes[:0], shares=(0.5,))
    assert found.most.shape == found.least.shape == (0, 1)


def test_maps_that_rank_nothing_are_nan(samples):
    images, maps, classes = samples
    maps = maps.clone()
    maps[1], maps[2] = 0, 7
    found = road(Small().eval(), images, maps, classes, shares=(0.3,))
    assert found.combined().isnan().tolist() == [False, True, True, False]
    assert found.most[:, 0].isnan().tolist() == found.least[:, 0].isnan().tolist() == [False, True, True, False]


def test_maps_are_resized(samples):
    images, _, classes = samples
    small = torch.rand(4, 3, 5)
    large = F.interpolate(small.double().unsqueeze(1), (22, 22), mode="bilinear").squeeze(1).float()
    model = Small().eval()
    found = [road(model, images, maps, classes, shares=(0.4,)).combined() for maps in (small, large)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("shares", [(), (0.0, 0.5), (0.5, 1.0), (0.0005,), (float("nan"),)])
def test_messages(samples, shares):
    images, maps, classes = samples
    with pytest.raises(ValueError, match="shares must be of the pixels to remove, some and not all of 484; got "):
        road(Small().eval(), images, maps, classes, shares=shares)
