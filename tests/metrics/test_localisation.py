import pytest
import torch
from torch.nn import functional as F

from looksharp.losses import guidance_energy
from looksharp.metrics import attention_inside

MASK = torch.zeros(12, 12)
MASK[3:9, 2:7] = 1


def inside(attention, mask=MASK):
    (value,) = attention_inside(attention[None], mask[None]).tolist()
    return value


def test_perfect_and_inverted():
    assert inside(MASK) == 1
    assert inside(1 - MASK) == 0


def test_uniform_is_the_masks_area():
    share = 30 / 144
    assert inside(torch.full((12, 12), 0.3)) == pytest.approx(share)
    assert inside(torch.full((1, 1), 7.0)) == pytest.approx(share)
    assert inside(torch.full((3, 5), 7.0)) == pytest.approx(share)


def test_nowhere_is_not_a_number():
    assert torch.isnan(attention_inside(torch.zeros(1, 3, 3), MASK[None])).all()
    assert inside(torch.ones(3, 3), torch.zeros(12, 12)) == 0
    found = attention_inside(torch.stack([torch.zeros(12, 12), MASK]), MASK.expand(2, -1, -1))
    assert found.isnan().tolist() == [True, False]  # it spoils no other


def test_scale_does_not_matter():
    torch.manual_seed(0)
    attention = torch.rand(5, 5)
    assert inside(attention) == pytest.approx(inside(attention * 1e4), rel=1e-6)
    assert inside(attention) == pytest.approx(inside(attention * 1e-12), rel=1e-6)


def test_coarse_maps_are_measured_at_the_masks_resolution():
    torch.manual_seed(0)
    maps, masks = torch.rand(6, 4, 3), torch.rand(6, 9, 11).round()
    expected = []
    for attention, mask in zip(maps, masks, strict=True):
        large = F.interpolate(attention[None, None], (9, 11), mode="bilinear", align_corners=False)[0, 0]
        expected.append(sum(large[i, j] for i, j in mask.nonzero().tolist()) / large.sum())
    torch.testing.assert_close(attention_inside(maps, masks), torch.stack(expected))


def test_it_is_the_complement_of_guidance_energy():
    torch.manual_seed(0)
    maps, masks = torch.rand(6, 7, 7), torch.rand(6, 7, 7)
    torch.testing.assert_close(attention_inside(maps, masks), 1 - guidance_energy(maps, masks))
