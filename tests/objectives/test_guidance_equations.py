import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck

from looksharp.attention.maps import normalize_maps
from looksharp.objectives.equations import (
    attention_mining,
    guidance_energy,
    guidance_input_gradient,
    guidance_squared_error,
    mask_out,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def signed_maps(*shape):
    """Maps before their ReLU: of both signs, and zero here and there."""
    maps = torch.randn(*shape, dtype=torch.float64)
    return torch.where(torch.rand(*shape) < 0.2, 0, maps)


def positions(maps):
    return itertools.product(range(maps.shape[-2]), range(maps.shape[-1]))


# GAIN Eq. 3.


def test_masking_out_at_its_bounds():
    images, zeros = torch.randn(4, 3, 5, 6), torch.zeros(4, 5, 6)
    for fill in (0.0, -1.5, torch.randn(3, 1, 1)):
        assert torch.equal(mask_out(images, zeros, fill), images)
        torch.testing.assert_close(mask_out(images, zeros + 1, fill), torch.zeros_like(images) + fill)


@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_masking_out_equals_a_loop(fill):
    images, mask = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.rand(2, 4, 5, dtype=torch.float64)
    masked = mask_out(images, mask, fill)
    for p, c in itertools.product(range(2), range(3)):
        for y, x in positions(mask):
            share, pixel = float(mask[p, y, x]), float(images[p, c, y, x])
            assert masked[p, c, y, x].item() == pytest.approx((1 - share) * pixel + share * fill)
    assert gradcheck(lambda i, m: mask_out(i, m, fill), (images.requires_grad_(), mask.requires_grad_()))


# GAIN Eq. 5.


def test_what_is_left_of_a_class_at_its_bounds():
    logits = torch.tensor([[200.0, -200.0, 0.0], [200.0, -200.0, 0.0], [3.0, 3.0, 3.0]])
    classes = torch.tensor([0, 1, 2])
    torch.testing.assert_close(attention_mining(logits, classes, multilabel=False), torch.tensor([1, 0, 1 / 3]))
    expected = torch.tensor([1, 0, torch.tensor(3.0).sigmoid()])
    torch.testing.assert_close(attention_mining(logits, classes, multilabel=True), expected)


@pytest.mark.parametrize("multilabel", [True, False])
def test_what_is_left_of_a_class_equals_a_loop(multilabel):
    logits, classes = torch.randn(4, 3, dtype=torch.float64), torch.tensor([2, 0, 0, 1])
    values = attention_mining(logits, classes, multilabel=multilabel)
    for row, c, value in zip(logits.tolist(), classes.tolist(), values.tolist(), strict=True):
        others = [0.0] if multilabel else [score for k, score in enumerate(row) if k != c]
        assert value == pytest.approx(1 / (1 + sum(math.exp(score - row[c]) for score in others)))
    assert gradcheck(lambda x: attention_mining(x, classes, multilabel=multilabel), logits.requires_grad_())


@pytest.mark.parametrize("multilabel", [True, False])
def test_what_is_left_of_a_class_in_half_precision(multilabel):
    """A small probability has a gradient that half precision rounds to nothing."""
    logits = torch.tensor([[-18.0, 0.0]], dtype=torch.float16, requires_grad=True)
    values = attention_mining(logits, torch.tensor([0]), multilabel=multilabel)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, torch.tensor([-18.0]).sigmoid())
    (gradient,) = torch.autograd.grad(values.sum() * 2**16, logits)
    assert gradient[0, 0] > 0


# Map and mask.


def test_squared_error_is_zero_exactly_where_the_guidance_is_the_map():
    maps = signed_maps(6, 4, 5).relu() * 37
    assert guidance_squared_error(normalize_maps(maps), normalize_maps(maps)).eq(0).all()
    assert guidance_squared_error(normalize_maps(maps), 1 - normalize_maps(maps)).gt(0).all()


def test_squared_error_equals_a_loop_and_stays_in_its_bounds():
    attention, mask = normalize_maps(signed_maps(6, 4, 5).relu()), torch.rand(6, 4, 5).round().double()
    values = guidance_squared_error(attention, mask)
    for g in range(6):
        expected = sum((float(attention[g, y, x]) - float(mask[g, y, x])) ** 2 for y, x in positions(mask)) / 20
        assert values[g].item() == pytest.approx(expected)
    assert ((values > 0) & (values < 1)).all()
    assert guidance_squared_error(mask, 1 - mask).eq(1).all()
    assert gradcheck(lambda a: guidance_squared_error(a, mask), attention.clone().requires_grad_())


@pytest.mark.parametrize("sign", [1, -1])
def test_energy_of_a_map_inside_and_outside(sign):
    attention, mask = torch.zeros(2, 5, 5), torch.zeros(2, 5, 5)
    attention[0, 1:3, 1:3] = attention[1, 3:, 3:] = sign * (torch.rand(2, 2) + 0.1)
    mask[:, 1:3, 1:4] = 1
    assert guidance_energy(attention, mask).tolist() == [0, 1]
    assert guidance_energy(attention, 1 - mask).tolist() == [1, 0]


def test_energy_equals_a_loop_and_forgets_the_scale():
    attention, mask = signed_maps(6, 4, 5), torch.rand(6, 4, 5, dtype=torch.float64)
    values = guidance_energy(attention, mask)
    for g in range(6):
        inside = sum(abs(float(attention[g, y, x])) * float(mask[g, y, x]) for y, x in positions(mask))
        whole = sum(abs(float(attention[g, y, x])) for y, x in positions(mask))
        assert values[g].item() == pytest.approx(1 - inside / whole)
    assert ((values > 0) & (values < 1)).all()
    torch.testing.assert_close(guidance_energy(attention * 1e-6, mask), values)
    away_from_the_kink = attention + attention.sign() + (attention == 0)
    assert gradcheck(lambda a: guidance_energy(a, mask), away_from_the_kink.requires_grad_())


def test_energy_counts_evidence_against_the_class():
    attention = torch.tensor([[[3.0, -1.0]]], requires_grad=True)
    mask = torch.tensor([[[1.0, 0.0]]])
    assert guidance_energy(attention.relu(), mask).item() == 0
    energy = guidance_energy(attention, mask)
    assert energy.item() == 0.25
    (gradient,) = torch.autograd.grad(energy.sum(), attention)
    assert gradient[0, 0, 1] < 0  # descending weakens the evidence, which is below zero


def test_energy_of_an_empty_map_beside_another():
    attention = torch.stack([torch.zeros(3, 3), torch.ones(3, 3)]).requires_grad_()
    mask = torch.zeros(2, 3, 3)
    mask[:, 0] = 1
    energy = guidance_energy(attention, mask)
    torch.testing.assert_close(energy, torch.tensor([0, 2 / 3]))
    (gradient,) = torch.autograd.grad(energy.sum(), attention)
    assert gradient[0].eq(0).all()
    # d (out / all) = (out' - out / all) / all at each position
    torch.testing.assert_close(gradient[1], torch.tensor([-2 / 27, 1 / 27, 1 / 27])[:, None].expand(3, 3))


# Input gradients.


def test_input_gradient_outside_the_mask_equals_a_loop():
    gradient, mask = torch.randn(4, 3, 3, 5, dtype=torch.float64), torch.rand(4, 3, 5, dtype=torch.float64)
    mask[0], mask[1] = 1, 0
    values = guidance_input_gradient(gradient, mask)
    for g in range(4):
        expected = sum(
            ((1 - float(mask[g, y, x])) * float(gradient[g, c, y, x])) ** 2
            for c in range(3)
            for y, x in positions(mask)
        )
        assert values[g].item() == pytest.approx(expected)
    assert values[0] == 0
    torch.testing.assert_close(values[1], gradient[1].norm() ** 2)
    assert gradcheck(lambda g: guidance_input_gradient(g, mask), gradient.requires_grad_())
