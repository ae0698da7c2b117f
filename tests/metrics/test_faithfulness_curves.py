import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional as F

from looksharp.metrics.faithfulness import deletion, deletion_curve, insertion, insertion_curve
from looksharp.metrics.faithfulness.perturbation import pixel_ranks

OBJECT = torch.zeros(8, 10)
OBJECT[2:6, 3:8] = 1  # a quarter of the image


class VisibleShare(nn.Module):
    """Class 1 is as probable as the share of the object that is not zero; class 0 is all the rest."""

    def forward(self, images):
        share = (images.mean(1) * OBJECT.to(images)).sum((-2, -1)) / OBJECT.sum()
        return torch.stack([1 - share, share], 1).log()


class Small(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Conv2d(3, 6, 3, 2)
        self.head = nn.Linear(6, classes)

    def forward(self, images):
        return self.head(self.features(images).relu().mean((-2, -1))) * 9


def visible(measure, maps, steps=20, **options):
    images, classes = torch.ones(len(maps), 3, 8, 10), torch.ones(len(maps), dtype=torch.long)
    return measure(VisibleShare().eval(), images, maps, classes, steps=steps, baseline="zero", **options)


def samples(count=5, size=(12, 11), low=(4, 3)):
    torch.manual_seed(0)
    return torch.randn(count, 3, *size), torch.randn(count, *low), torch.randint(0, 5, (count,))


def test_areas_in_closed_form():
    # The object is a quarter of the pixels. First, it is whole after a quarter: 1/4 / 2 + 3/4. Last, after three.
    maps = torch.stack([OBJECT, 1 - OBJECT])
    assert visible(insertion, maps).tolist() == pytest.approx([7 / 8, 1 / 8])
    assert visible(deletion, maps).tolist() == pytest.approx([1 / 8, 7 / 8])
    curve = visible(insertion_curve, maps)
    assert curve.shares.tolist() == pytest.approx([step / 20 for step in range(21)])
    rising = [min(4 * share, 1) for share in curve.shares.tolist()]
    assert curve.probabilities[0].tolist() == pytest.approx(rising)
    assert curve.probabilities[1].tolist() == pytest.approx([1 - share for share in rising[::-1]])
    assert visible(deletion_curve, maps).probabilities[0].tolist() == pytest.approx([1 - share for share in rising])


def test_chance_lies_between_the_best_map_and_the_worst():
    torch.manual_seed(0)
    areas = visible(insertion, torch.rand(200, 8, 10))
    spread = math.sqrt(1 / 12 / 20)  # at most, of a mean of 20 places
    assert areas.mean().item() == pytest.approx(0.5, abs=4 * spread / math.sqrt(200))
    assert areas.min() > 1 / 8
    assert areas.max() < 7 / 8


def naive(model, image, scores, target, steps, start, finish, sigmoid=False):
    """One pixel after the other, one image a forward."""
    order = sorted(range(scores.numel()), key=lambda pixel: -scores.flatten()[pixel].item())
    changing, done, found = start.clone(), 0, []
    for step in range(steps + 1):
        for pixel in order[done : round(step / steps * len(order))]:
            changing.view(3, -1)[:, pixel] = finish.reshape(3, -1)[:, pixel]
        done = round(step / steps * len(order))
        logits = model(changing[None])[0].double()
        found.append((logits.sigmoid() if sigmoid else logits.softmax(0))[target].item())
    return found


@pytest.mark.parametrize("sigmoid", [False, True])
@torch.no_grad()
def test_curves_are_the_naive_loops(sigmoid):
    images, maps, classes = samples(low=(12, 11))  # no two pixels are equal
    model = Small().eval()
    cases = zip(images, maps, classes, strict=True)
    zero = torch.zeros(3, 12, 11)
    expected = [naive(model, x, m, c, 7, x, zero, sigmoid) for x, m, c in cases]
    found = deletion_curve(model, images, maps, classes, steps=7, multilabel=sigmoid)
    assert found.probabilities.tolist() == [pytest.approx(row) for row in expected]
    cases = zip(images, maps, classes, strict=True)
    means = images.mean((-2, -1), keepdim=True).expand_as(images)
    expected = [naive(model, x, m, c, 132, b, x, sigmoid) for (x, m, c), b in zip(cases, means, strict=True)]
    found = insertion_curve(model, images, maps, classes, steps=132, baseline="mean", multilabel=sigmoid)
    assert found.probabilities.tolist() == [pytest.approx(row) for row in expected]
    areas = [np.trapezoid(row, np.linspace(0, 1, 133)) for row in expected]
    assert found.area().tolist() == pytest.approx(areas)


@torch.no_grad()
def test_the_baseline_is_a_blurred_image():
    images, maps, classes = samples(size=(20, 24))
    model = Small().eval()
    dirac = np.zeros((11, 11))
    dirac[5, 5] = 1
    kernel = torch.tensor(gaussian_filter(dirac, 5, mode="constant"))  # cut off at 11 pixels, as the authors' is
    padded = F.pad(images.double(), (5, 5, 5, 5), mode="reflect")
    weight = (kernel / kernel.sum()).expand(3, 1, 11, 11)
    blurred = F.conv2d(padded, weight, groups=3).float()
    start = insertion_curve(model, images, maps, classes, steps=3)
    probabilities = [model(each).softmax(1).gather(1, classes[:, None])[:, 0] for each in (blurred, images)]
    torch.testing.assert_close(start.probabilities[:, 0].float(), probabilities[0])
    torch.testing.assert_close(start.probabilities[:, -1].float(), probabilities[1])
    given = insertion_curve(model, images, maps, classes, steps=3, baseline=blurred)
    torch.testing.assert_close(given.probabilities, start.probabilities, rtol=1e-5, atol=1e-6)
    colour = torch.tensor([0.3, -1, 2]).view(3, 1, 1)
    left = deletion_curve(model, images, maps, classes, steps=3, baseline=colour).probabilities[:, -1]
    expected = model(colour.expand_as(images)).softmax(1).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(left.float(), expected)


@pytest.mark.parametrize("measure", [insertion, deletion])
def test_memory_is_bounded_and_nothing_else_changes(measure):
    images, maps, classes = samples()
    model, sizes = Small().eval(), []
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    whole = measure(model, images, maps, classes, steps=9, batch_size=1000)
    assert sizes == [50]  # steps + 1 forwards for each image
    sizes.clear()
    torch.testing.assert_close(measure(model, images, maps, classes, steps=9, batch_size=7), whole)
    assert sizes == [7] * 7 + [1]
    alone = [measure(model, images[i : i + 1], maps[i : i + 1], classes[i : i + 1], steps=9) for i in range(5)]
    torch.testing.assert_close(torch.cat(alone), whole)
    assert measure(model, images[:0], maps[:0], classes[:0]).shape == (0,)
    assert whole.requires_grad is False


@pytest.mark.parametrize("measure", [insertion, deletion])
def test_maps_that_rank_nothing_are_nan(measure):
    maps = torch.stack([OBJECT, torch.zeros(8, 10), torch.full((8, 10), 0.3), OBJECT * math.nan, OBJECT / 0])
    found = visible(measure, maps)
    assert found.isnan().tolist() == [False, True, True, True, True]
    torch.testing.assert_close(found[:1], visible(measure, maps[:1]))
    small = torch.full((1, 3, 3), 0.1)  # the same everywhere, also once it is resized
    assert visible(measure, small).isnan().all()


def test_only_the_order_of_attention_matters():
    torch.manual_seed(0)
    maps = torch.rand(3, 8, 10)
    torch.testing.assert_close(visible(insertion, maps), visible(insertion, maps.mul(5).exp() - 9))


def test_maps_are_resized():
    torch.manual_seed(0)
    maps = torch.rand(3, 3, 4)
    large = F.interpolate(maps.double().unsqueeze(1), (8, 10), mode="bilinear").squeeze(1).float()
    torch.testing.assert_close(visible(insertion, maps), visible(insertion, large))


def test_ranks_of_equal_pixels_are_fixed_and_scattered():
    maps = torch.zeros(2, 20, 20)
    maps[:, 0, 0], maps[:, 5, 5], maps[1, 7, 7] = 1, 2, -1
    ranks, ranking = pixel_ranks(maps, (20, 20))
    assert ranking.all()
    assert ranks[:, 5, 5].tolist() == [0, 0]
    assert ranks[:, 0, 0].tolist() == [1, 1]
    assert ranks[1, 7, 7] == 399
    assert ranks.flatten(1).sort(1).values.equal(torch.arange(400).expand(2, 400))
    torch.manual_seed(1)
    assert pixel_ranks(maps[1:], (20, 20))[0].equal(ranks[1:])  # alone, and whatever the random state
    top, bottom = ranks[0, :10].double().mean(), ranks[0, 10:].double().mean()
    assert abs(top - bottom) < 4 * 400 / math.sqrt(12 * 100)  # neither half comes first


def test_what_is_called_is_left_as_it_is():
    images, maps, classes = samples()
    kept = [images.clone(), maps.clone()]
    model = Small().eval()
    insertion(model, images, maps, classes, steps=4)
    deletion(model, images, maps, classes, steps=4, baseline="mean")
    assert images.equal(kept[0])
    assert maps.equal(kept[1])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_models_that_return_more_than_logits():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Small()

        def forward(self, images):
            return {"logits": self.inner(images)}

    images, maps, classes = samples()
    torch.testing.assert_close(
        insertion(nn.DataParallel(Wrapped()).eval(), images, maps, classes, steps=4),
        insertion(Small().eval(), images, maps, classes, steps=4),
    )


@pytest.mark.parametrize("measure", [insertion, deletion])
def test_messages(measure):
    images, maps, classes = samples()
    model = Small().eval()
    with pytest.raises(ValueError, match=r"maps must be one for each image, .*; got images \(5, .* maps \(4, 4, 3\)"):
        measure(model, images, maps[:4], classes)
    with pytest.raises(ValueError, match=r"classes must be the index of one class .*; got int64 of shape \(5, 1\)"):
        measure(model, images, maps, classes[:, None])
    with pytest.raises(ValueError, match=r"classes must be .*; got float32 of shape \(5,\)"):
        measure(model, images, maps, classes.float())
    with pytest.raises(ValueError, match="classes must lie in 0 to 4 for 5 logits; got 5 to 5"):
        measure(model, images, maps, torch.full((5,), 5))
    with pytest.raises(ValueError, match="steps must be 1 to the number of pixels, 132; got 133"):
        measure(model, images, maps, classes, steps=133)
    with pytest.raises(ValueError, match="steps must be 1 to the number of pixels, 132; got 0"):
        measure(model, images, maps, classes, steps=0)
    with pytest.raises(ValueError, match="baseline must be 'blur', 'mean', 'zero' or a tensor; got 'black'"):
        measure(model, images, maps, classes, baseline="black")
    with pytest.raises(ValueError, match=r"batch_size must be .* at least 1; got 0"):
        measure(model, images, maps, classes, batch_size=0)
    with pytest.raises(ValueError, match=r"model must be in eval mode: .*; call model.eval\(\)"):
        measure(model.train(), images, maps, classes)
    with pytest.raises(
        ValueError, match=r"baseline 'blur' needs images of 6 pixels at least, got \(5, 11\): take anot"
    ):
        measure(model.eval(), images[:, :, :5], maps, classes, baseline="blur")
