import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from looksharp.crf import CRFKernels, dense_crf
from looksharp.crf.lattice import build_lattice, lattice_filter


@pytest.fixture(scope="module", params=["china.jpg", "flower.jpg"])
def photograph(request):
    from sklearn.datasets import load_sample_image

    return torch.from_numpy(load_sample_image(request.param).copy()).permute(2, 0, 1).float()


def at_size(photograph, size, reach=None):
    """A photograph (3, H, W), and the blurred log probabilities of three classes of colour."""
    image = F.interpolate(photograph[None], size, mode="bilinear", antialias=True)[0].round()
    light, blue = (image.mean(0) - 130) / 40, (image[2] - image[0]) / 40 - 0.5
    reach = reach or max(size[0] // 40, 1)
    scores = F.pad(torch.stack([light, -light, blue])[None], [reach] * 4, mode="replicate")
    return image, F.avg_pool2d(scores, 2 * reach + 1, 1)[0].log_softmax(0)


def by_loop(scores, image, kernels, steps):
    """Alg. 1 of Krähenbühl and Koltun, pixel by pixel."""
    classes, height, width = scores.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    widths = ((kernels.bilateral, kernels.alpha, kernels.beta), (kernels.gaussian, kernels.gamma, None))

    def value(a, b, near, alike):
        place = sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / near**2
        colour = sum(float(image[c][a] - image[c][b]) ** 2 for c in range(3)) / alike**2 if alike else 0
        return math.exp(-(place + colour) / 2)

    pairs = []
    for weight, near, alike in widths:
        each = [[value(a, b, near, alike) for b in pixels] for a in pixels]
        sums = [sum(row) for row in each]
        pairs.append([[weight * v / math.sqrt(sums[i] * sums[j]) for j, v in enumerate(r)] for i, r in enumerate(each)])

    def softmax(values):
        odds = [math.exp(v - max(values)) for v in values]
        return [o / sum(odds) for o in odds]

    unary = [[float(scores[c][p]) for c in range(classes)] for p in pixels]
    found = [softmax(each) for each in unary]
    for _ in range(steps):
        found = [
            softmax(
                [
                    unary[i][c] + sum(kernel[i][j] * found[j][c] for kernel in pairs for j in range(len(pixels)))
                    for c in range(classes)
                ]
            )
            for i in range(len(pixels))
        ]
    return torch.tensor(found, dtype=torch.float64).T.view(classes, height, width)


def by_pydensecrf(scores, image, kernels):
    densecrf = pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 builds on Python 3.11 and 3.12 alone")
    classes, height, width = scores.shape
    crf = densecrf.DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(np.ascontiguousarray(-scores.reshape(classes, -1).numpy()))
    colours = np.ascontiguousarray(image.permute(1, 2, 0).numpy().astype(np.uint8))
    crf.addPairwiseBilateral(sxy=kernels.alpha, srgb=kernels.beta, rgbim=colours, compat=kernels.bilateral)
    crf.addPairwiseGaussian(sxy=kernels.gamma, compat=kernels.gaussian)
    return torch.from_numpy(np.array(crf.inference(10)).reshape(classes, height, width))


def agreement(one, other):
    return (one.argmax(0) == other.argmax(0)).float().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_pairs_are_exact(dtype):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 9, 9, generator=generator, dtype=torch.float64)
    images = torch.randint(0, 256, (2, 3, 9, 9), generator=generator).double()
    images[1] = images[1] / 10 + 100
    kernels = CRFKernels(bilateral=4, alpha=5, beta=40, gaussian=2, gamma=1.5)
    found = dense_crf(scores.to(dtype), images.to(dtype), kernels, steps=5)
    assert found.dtype == dtype
    for each, one, image in zip(found, scores, images, strict=True):
        expected = by_loop(one, image, kernels, 5)
        torch.testing.assert_close(each.double(), expected, rtol=0, atol=1e-6 if dtype == torch.float64 else 1e-4)


def test_images_of_a_batch_are_apart_and_classes_alike():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 4, 12, 10, generator=generator)
    images = torch.rand(2, 3, 12, 10, generator=generator) * 255
    found = dense_crf(scores, images)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 12, 10))
    torch.testing.assert_close(dense_crf(scores[1:], images[1:])[0], found[1])
    torch.testing.assert_close(dense_crf(scores.flip(1), images).flip(1), found)
    torch.testing.assert_close(dense_crf(scores + 3, images), found)  # what is added to all classes changes nothing


def test_without_weights_or_steps_the_probabilities_stay():
    scores, images = torch.randn(1, 3, 6, 6), torch.rand(1, 3, 6, 6) * 255
    torch.testing.assert_close(dense_crf(scores, images, steps=0), scores.softmax(1))
    kernels = CRFKernels(bilateral=0, gaussian=0)
    for method in ("exact", "lattice"):
        torch.testing.assert_close(dense_crf(scores, images, kernels, method=method), scores.softmax(1))


def test_at_41_px_against_pydensecrf(photograph):
    kernels = CRFKernels().scaled(12)
    image, scores = at_size(photograph, (41, 41))
    found, expected = dense_crf(scores[None], image[None], kernels)[0], by_pydensecrf(scores, image, kernels)
    assert agreement(found, expected) > 0.99
    assert (found - expected).abs().mean() < 0.01
    assert agreement(expected, scores) < 0.99  # it changes something


@pytest.mark.parametrize("reach", [1, 3, 5, 8])
def test_the_lattice_errs_as_pydensecrf_does(photograph, reach):
    kernels = CRFKernels().scaled(12)
    image, scores = at_size(photograph, (41, 41), reach)
    expected = by_pydensecrf(scores, image, kernels)
    exact, found = (dense_crf(scores[None], image[None], kernels, method=method)[0] for method in ("exact", "lattice"))
    assert agreement(found, expected) == 1
    assert (found - expected).abs().mean() < 1e-4
    assert agreement(found, exact) > 0.99
    assert agreement(expected, exact) > 0.99


def test_on_whole_photographs_against_pydensecrf(photograph):
    image, scores = at_size(photograph, (213, 320))
    kernels = CRFKernels().scaled(2)
    found, expected = dense_crf(scores[None], image[None], kernels)[0], by_pydensecrf(scores, image, kernels)
    assert agreement(found, expected) > 0.99
    assert (found - expected).abs().mean() < 0.01
    assert agreement(expected, scores) < 0.99


def test_the_lattice_is_close_to_all_pairs(photograph):
    image, scores = at_size(photograph, (60, 60))
    kernels = CRFKernels().scaled(8)
    exact, found = (dense_crf(scores[None], image[None], kernels, method=method)[0] for method in ("exact", "lattice"))
    assert agreement(exact, found) > 0.99
    assert (exact - found).abs().mean() < 0.02


def test_the_lattice_weighs_neighbours_as_a_gaussian_does():
    places = torch.cartesian_prod(torch.arange(60.0), torch.arange(60.0)) / 6
    lattice = build_lattice(places)
    torch.testing.assert_close(lattice.shares.sum(1), torch.ones(3600))
    assert (lattice.shares >= -1e-5).all()
    values = torch.stack([torch.ones(3600), (places[:, 0] * 2).sin(), places[:, 1]], 1)
    expected = (-torch.cdist(places, places).square() / 2).exp() @ values
    found = lattice_filter(lattice, values)
    means = [each[:, 1:] / each[:, :1] for each in (found, expected)]
    assert (means[0] - means[1]).abs().max() < 0.15  # of values that reach from 0 to 10
    assert (means[0] - means[1]).abs().mean() < 0.03
    assert (found[:, 0] / expected[:, 0] - 1).abs().max() < 0.25


def test_it_follows_an_edge_that_the_scores_miss():
    """A square, its mask blurred and shifted: the CRF finds its edges again."""
    image = torch.full((3, 64, 64), 60.0)
    image[:, 20:44, 20:44] = 200
    truth = torch.zeros(64, 64)
    truth[20:44, 20:44] = 1
    blurred = F.avg_pool2d(truth.roll(3, 1)[None, None], 13, 1, 6)[0, 0].clamp(0.01, 0.99)
    scores = torch.stack([1 - blurred, blurred]).log()
    for method in ("exact", "lattice"):
        found = dense_crf(scores[None], image[None], method=method)[0].argmax(0)
        assert (scores.argmax(0) == truth).float().mean() < 0.97
        assert (found == truth).float().mean() > 0.999


def test_nothing_is_differentiated_and_half_precision_is_raised():
    scores = torch.randn(1, 3, 6, 6, requires_grad=True)
    assert not dense_crf(scores, torch.rand(1, 3, 6, 6)).requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        found = dense_crf(scores.bfloat16(), torch.rand(1, 3, 6, 6))
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.rand(1, 3, 5, 6)}, r"^scores must be \(B, C, H, W\) and images \(B, 3, H, W\); got .*5, 6"),
        ({"steps": -1}, "^steps must be at least 0; got -1$"),
        ({"method": "grid"}, "^method must be auto, exact or lattice; got 'grid'$"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"scores": torch.randn(1, 3, 6, 6), "images": torch.rand(1, 3, 6, 6)}
    with pytest.raises(ValueError, match=message):
        dense_crf(**given | change)


def test_kernels_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"^alpha must be above 0; got 0$"):
        CRFKernels(alpha=0)
    with pytest.raises(ValueError, match=r"^gaussian must be at least 0; got -1$"):
        CRFKernels(gaussian=-1)
    assert CRFKernels().scaled(12) == CRFKernels(alpha=80 / 12, gamma=0.25)
