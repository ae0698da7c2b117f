import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from looksharp.objectives.equations import (
    attention_consistency,
    attention_separation,
    head_diversity,
    separation_and_consistency,
    soft_threshold,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random_maps(*shape, zeros=0.3):
    """Maps as a network's: not negative, and zero at many positions."""
    maps = torch.rand(*shape, dtype=torch.float64)
    return torch.where(torch.rand(*shape) < zeros, 0, maps)


def positions(maps):
    return itertools.product(range(maps.shape[-2]), range(maps.shape[-1]))


# The paper's equations, position by position, for one image.


def separation_by_loop(true, confusing, mask):
    overlap = sum(min(float(true[p]), float(confusing[p])) * float(mask[p]) for p in positions(true))
    whole = sum(float(true[p]) + float(confusing[p]) for p in positions(true))
    return 2 * overlap / whole


def consistency_by_loop(inner, mask, theta):
    inside = sum(float(inner[p]) * float(mask[p]) for p in positions(inner))
    return theta - inside / sum(float(inner[p]) for p in positions(inner))


# Eq. 4.


def test_soft_threshold_by_hand():
    maps = torch.tensor([[0.55, 0.65], [0.45, 1.0]])
    e = math.exp(10)
    expected = torch.tensor([[0.5, e / (1 + e)], [1 / (1 + e), 1.0]])
    torch.testing.assert_close(soft_threshold(maps, 0.55, 100.0), expected)
    thresholds = torch.tensor([[[0.5]], [[2.0]]])
    maps = torch.tensor([[[0.5]], [[1.9]]])
    expected = torch.tensor([[[0.5]], [[1 / (1 + math.exp(1))]]])
    torch.testing.assert_close(soft_threshold(maps, thresholds, 10.0), expected)


def test_derivative_of_soft_threshold():
    maps = random_maps(2, 3, 3).requires_grad_()
    threshold = torch.rand(2, 1, 1, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda m, t: soft_threshold(m, t, 10.0), (maps, threshold))


# Eq. 3.


def test_attention_separation_by_hand():
    true = torch.tensor([[1.0, 0.5], [0.0, 0.5]])
    confusing = torch.tensor([[0.5, 1.0], [1.0, 0.0]])
    mask = torch.tensor([[1.0, 0.5], [1.0, 1.0]])
    # min: .5 .5 / 0 0; times the mask: .5 + .25; sums of the maps: 2 + 2.5
    torch.testing.assert_close(attention_separation(true, confusing, mask), torch.tensor(2 * 0.75 / 4.5))


def test_attention_separation_equals_a_loop():
    true, confusing, mask = random_maps(4, 2, 3, 5), random_maps(4, 1, 3, 5), random_maps(4, 2, 3, 5)
    values = attention_separation(true, confusing, mask)
    assert values.shape == (4, 2)
    for b, t in itertools.product(range(4), range(2)):
        expected = separation_by_loop(true[b, t], confusing[b, 0], mask[b, t])
        assert values[b, t].item() == pytest.approx(expected)


def test_attention_separation_at_its_bounds():
    maps, ones = random_maps(6, 4, 4), torch.ones(6, 4, 4)
    torch.testing.assert_close(attention_separation(maps, maps, ones), torch.ones(6, dtype=torch.float64))
    left = maps * torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert attention_separation(left, maps - left, ones).eq(0).all()
    assert attention_separation(maps, maps, ones * 0).eq(0).all()
    values = attention_separation(maps, random_maps(6, 4, 4), random_maps(6, 4, 4))
    assert ((values > 0) & (values < 1)).all()


def test_derivative_of_attention_separation():
    inputs = [random_maps(2, 3, 3, zeros=0).requires_grad_() for _ in range(3)]
    assert gradcheck(attention_separation, inputs)


# Eq. 5.


def test_attention_consistency_by_hand():
    inner = torch.tensor([[1.0, 3.0], [0.0, 4.0]])
    mask = torch.tensor([[1.0, 0.5], [1.0, 0.0]])
    torch.testing.assert_close(attention_consistency(inner, mask), torch.tensor(0.8 - 2.5 / 8))
    torch.testing.assert_close(attention_consistency(inner, mask, 0.5), torch.tensor(0.5 - 2.5 / 8))


def test_attention_consistency_equals_a_loop():
    inner, mask = random_maps(4, 2, 3, 5), random_maps(4, 2, 3, 5)
    values = attention_consistency(inner, mask, 0.7)
    assert values.shape == (4, 2)
    for b, t in itertools.product(range(4), range(2)):
        assert values[b, t].item() == pytest.approx(consistency_by_loop(inner[b, t], mask[b, t], 0.7))


def test_attention_consistency_at_its_bounds():
    maps, ones = random_maps(6, 4, 4), torch.ones(6, 4, 4)
    torch.testing.assert_close(attention_consistency(maps, ones), torch.full((6,), -0.2, dtype=torch.float64))
    torch.testing.assert_close(attention_consistency(maps, ones * 0), torch.full((6,), 0.8, dtype=torch.float64))
    values = attention_consistency(maps, random_maps(6, 4, 4))
    assert ((values > -0.2) & (values < 0.8)).all()


def test_derivative_of_attention_consistency():
    inputs = [random_maps(2, 3, 3, zeros=0).requires_grad_() for _ in range(2)]
    assert gradcheck(attention_consistency, inputs)


# Eq. 3 to 5 together.


def terms_by_loop(inner, last, sigma, omega, theta):
    """The three terms, (B, T) each, image by image and class by class, from raw maps."""
    names = ("separation_inner", "separation_last", "consistency")
    values = {name: torch.zeros(len(inner), inner.shape[1] - 1, dtype=inner.dtype) for name in names}
    for b, t in itertools.product(range(len(inner)), range(inner.shape[1] - 1)):
        true, confusing = last[b, t] / last[b, t].max(), last[b, -1] / last[b, -1].max()
        mask = torch.zeros_like(true)
        for p in positions(true):
            mask[p] = 1 / (1 + math.exp(-omega * (float(true[p]) - sigma * float(true.max()))))
        inner_mask = F.interpolate(mask[None, None], inner.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
        inner_true, inner_confusing = inner[b, t] / inner[b, t].max(), inner[b, -1] / inner[b, -1].max()
        values["separation_inner"][b, t] = separation_by_loop(inner_true, inner_confusing, inner_mask)
        values["separation_last"][b, t] = separation_by_loop(true, confusing, mask)
        values["consistency"][b, t] = consistency_by_loop(inner_true, inner_mask, theta)
    return values


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("options", [(0.55, 100.0, 0.8), (0.3, 10.0, 0.6)])
def test_all_terms_equal_a_loop_whatever_the_scale(scale, options):
    inner, last = random_maps(3, 3, 6, 8), random_maps(3, 3, 3, 4)
    sigma, omega, theta = options
    values = separation_and_consistency(inner * scale, last * scale, sigma=sigma, omega=omega, theta=theta)
    torch.testing.assert_close(values, terms_by_loop(inner, last, *options))
    for name, low, high in (
        ("separation_inner", 0, 1),
        ("separation_last", 0, 1),
        ("consistency", theta - 1, theta),
    ):
        assert ((values[name] >= low) & (values[name] <= high)).all()


@pytest.mark.parametrize("detach_mask", [True, False])
def test_derivative_of_all_terms(detach_mask):
    inner, last = random_maps(2, 2, 4, 4, zeros=0), random_maps(2, 2, 2, 2, zeros=0)

    def terms(inner, last):
        return tuple(separation_and_consistency(inner, last, omega=5.0, detach_mask=detach_mask).values())

    if not detach_mask:
        assert gradcheck(terms, (inner.requires_grad_(), last.requires_grad_()))
        return
    # Numerical differentiation does not stop at the mask: hold the mask and compare with what is left.
    last.requires_grad_()
    true, confusing = last[:, :1] / last[:, :1].amax((2, 3), True), last[:, 1:] / last[:, 1:].amax((2, 3), True)
    mask = soft_threshold(true.detach(), 0.55, 5.0)
    expected = torch.autograd.grad(attention_separation(true, confusing, mask).sum(), last)
    torch.testing.assert_close(torch.autograd.grad(terms(inner, last)[1].sum(), last), expected)
    inner.requires_grad_()
    assert torch.autograd.grad(terms(inner, last)[2].sum(), last, allow_unused=True) == (None,)


def test_detached_mask_has_the_same_values():
    inner, last = random_maps(2, 3, 4, 4), random_maps(2, 3, 2, 2)
    torch.testing.assert_close(
        separation_and_consistency(inner, last, detach_mask=True), separation_and_consistency(inner, last)
    )


@pytest.mark.parametrize("zero", [["inner"], ["last"], ["inner", "last"]])
def test_maps_that_are_zero_everywhere(zero):
    maps = {name: (random_maps(2, 3, 4, 4) * (name not in zero)).requires_grad_() for name in ("inner", "last")}
    values = separation_and_consistency(**maps)
    assert all(value.isfinite().all() for value in values.values())
    if "inner" in zero:
        assert values["separation_inner"].eq(0).all()
        assert values["consistency"].eq(0.8).all()
    if "last" in zero:
        assert values["separation_last"].eq(0).all()
    loss = sum(value.sum() for value in values.values())
    gradients = dict(zip(maps, torch.autograd.grad(loss, list(maps.values())), strict=True))
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    if "inner" in zero:
        assert gradients["inner"].eq(0).all()


# GAIN.


# WARN's diversity of heads.


def diversity_by_loop(masks):
    """For one image: the squared cosine of two heads' masks, averaged over pairs."""
    heads = [mask / math.sqrt(sum(float(v) ** 2 for v in mask.flatten())) for mask in masks]
    pairs = [float((a * b).sum()) ** 2 for a, b in itertools.permutations(heads, 2)]
    return sum(pairs) / len(pairs)


def test_head_diversity_by_loop():
    masks = random_maps(3, 4, 5, 6).flatten(2).softmax(2).unflatten(2, (5, 6))
    expected = torch.tensor([diversity_by_loop(image) for image in masks], dtype=torch.float64)
    torch.testing.assert_close(head_diversity(masks), expected)


@pytest.mark.parametrize("overlap", ["cosine", "product"])
def test_head_diversity_is_zero_for_disjoint_masks_and_for_one_head(overlap):
    masks = torch.zeros(1, 3, 6, 6)
    for head in range(3):
        masks[0, head, 2 * head : 2 * head + 2] = torch.rand(2, 6)
    assert head_diversity(masks, overlap).tolist() == [0.0]
    assert head_diversity(torch.rand(2, 1, 4, 4), overlap).tolist() == [0.0, 0.0]


def test_head_diversity_is_largest_for_equal_masks_and_for_them_alone():
    equal = random_maps(5, 1, 4, 4).expand(5, 3, 4, 4)
    torch.testing.assert_close(head_diversity(equal), torch.ones(5, dtype=torch.float64))
    scaled = equal * torch.tensor([1.0, 0.2, 3.0], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(head_diversity(scaled), torch.ones(5, dtype=torch.float64))
    others = random_maps(200, 3, 4, 4)
    assert head_diversity(others).max() < 1
    assert head_diversity(others).min() > 0


def test_products_of_masks_as_they_are_are_not_largest_for_equal_ones():
    spread = torch.full((1, 2, 4, 4), 1 / 16)
    peaked = torch.zeros(1, 2, 4, 4)
    peaked[0, 0, 0, 0] = 1
    peaked[0, 1, :2, :2] = 1 / 4
    authors = [float(head_diversity(masks, "product")) for masks in (spread, peaked)]
    assert authors == pytest.approx([2 * (4 / 16**2) ** 2 / 4, 2 * (1 / 4 * 1 / 4) ** 2 / 4])  # by hand
    assert authors[0] < authors[1]
    assert float(head_diversity(spread)) == pytest.approx(1)
    assert float(head_diversity(peaked)) == pytest.approx(1 / 4)  # the squared cosine of (1, 0, 0, 0) and (1, 1, 1, 1)


def test_head_diversity_of_the_authors_averages_two_by_two():
    masks = torch.rand(2, 3, 5, 4, dtype=torch.float64)  # an odd row is left out
    small = masks[:, :, :4].reshape(2, 3, 2, 2, 2, 2).mean((3, 5)).flatten(2)
    expected = [
        sum(float(image[i] @ image[j]) ** 2 for i in range(3) for j in range(3) if i != j) / 9 for image in small
    ]
    torch.testing.assert_close(head_diversity(masks, "product"), torch.tensor(expected, dtype=torch.float64))
    assert head_diversity(torch.ones(1, 2, 1, 1), "product").tolist() == [0.5]


@pytest.mark.parametrize("overlap", ["cosine", "product"])
def test_gradient_of_head_diversity(overlap):
    masks = torch.rand(2, 3, 4, 4, dtype=torch.float64).add(0.1).requires_grad_()
    assert gradcheck(lambda m: head_diversity(m, overlap), masks)


def test_head_diversity_of_a_mask_that_is_zero_everywhere():
    masks = torch.zeros(1, 2, 3, 3, requires_grad=True)
    head_diversity(masks).sum().backward()
    assert masks.grad.isfinite().all()
