import itertools

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from looksharp.attention.maps import normalize_maps, resize_maps, resize_masks


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# Normalising.


def test_each_map_is_divided_by_its_own_largest_magnitude():
    maps = torch.tensor([[[0.0, 2.0], [4.0, 1.0]], [[1.0, -8.0], [4.0, 0.0]], [[-0.5, -0.25], [0.0, -0.5]]])
    expected = [[[0.0, 0.5], [1.0, 0.25]], [[0.125, -1.0], [0.5, 0.0]], [[-1.0, -0.5], [0.0, -1.0]]]
    assert normalize_maps(maps).tolist() == expected
    assert normalize_maps(maps[0]).tolist() == expected[0]
    assert normalize_maps(maps.view(3, 1, 2, 2)).view(3, 2, 2).tolist() == expected


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_normalizing_forgets_the_scale(scale):
    maps = torch.randn(3, 2, 4, 5)
    torch.testing.assert_close(normalize_maps(maps * scale), normalize_maps(maps))
    torch.testing.assert_close(normalize_maps(normalize_maps(maps)), normalize_maps(maps))


def test_an_empty_map_stays_empty_beside_others():
    maps = torch.rand(2, 3, 3)
    maps[1] = 0
    maps.requires_grad_()
    normalized = normalize_maps(maps)
    assert normalized[0].max() == 1
    assert normalized[1].eq(0).all()
    (gradient,) = torch.autograd.grad(normalized.sum(), maps)
    assert gradient.isfinite().all()
    assert gradient[0].any()


def test_derivative_of_normalizing():
    assert gradcheck(normalize_maps, torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True))


# Resizing maps.


def bilinear_by_loop(image, size):
    """Bilinear by definition: pixel centres at half integers, positions beyond the outer centres held."""
    resized = torch.zeros(size, dtype=image.dtype)
    for place in itertools.product(*map(range, size)):
        weights = []
        for p, old, new in zip(place, image.shape, size, strict=True):
            at = min(max((p + 0.5) * old / new - 0.5, 0), old - 1)
            weights.append({int(at): 1 - at % 1, min(int(at) + 1, old - 1): at % 1} if at % 1 else {int(at): 1.0})
        resized[place] = sum(weights[0][y] * weights[1][x] * image[y, x] for y in weights[0] for x in weights[1])
    return resized


@pytest.mark.parametrize("size", [(6, 10), (7, 3), (1, 9), (3, 5)])
def test_maps_are_resized_bilinearly(size):
    maps = torch.rand(2, 3, 3, 5, dtype=torch.float64)
    resized = resize_maps(maps, size)
    assert resized.shape == (2, 3, *size)
    for b, k in itertools.product(range(2), range(3)):
        torch.testing.assert_close(resized[b, k], bilinear_by_loop(maps[b, k], size))
    torch.testing.assert_close(resize_maps(maps[:, 1], size), resized[:, 1])


def test_maps_of_any_memory_layout_are_resized():
    maps = torch.rand(2, 3, 4, 4)
    expected = resize_maps(maps, (6, 7))
    torch.testing.assert_close(resize_maps(maps.to(memory_format=torch.channels_last), (6, 7)), expected)
    torch.testing.assert_close(resize_maps(maps.mT.contiguous().mT[:, 0], (6, 7)), expected[:, 0])


# Resizing masks.


@pytest.mark.parametrize(("factor", "size"), [((4, 4), (2, 2)), ((2, 3), (4, 2)), ((8, 1), (1, 6)), ((1, 1), (8, 6))])
def test_masks_are_resized_to_the_share_of_each_cell(factor, size):
    masks = (torch.rand(3, factor[0] * size[0], factor[1] * size[1]) < 0.5).double()
    resized = resize_masks(masks, size)
    assert resized.shape == (3, *size)
    for g, y, x in itertools.product(range(3), range(size[0]), range(size[1])):
        cell = masks[g, factor[0] * y : factor[0] * (y + 1), factor[1] * x : factor[1] * (x + 1)]
        assert resized[g, y, x] == pytest.approx(cell.sum() / (factor[0] * factor[1]))


def test_a_box_keeps_its_area_where_bilinear_resizing_loses_it():
    masks = torch.zeros(1, 16, 16)
    masks[:, 4:6, 3:12] = 1
    assert resize_masks(masks, (4, 4)).mean() == masks.mean() == 18 / 256
    assert F.interpolate(masks[:, None], (4, 4), mode="bilinear").mean() != masks.mean()


@pytest.mark.parametrize("size", [(3, 3), (5, 7), (20, 20)])
def test_constant_masks_stay_so_whatever_the_size(size):
    masks = torch.tensor([0.0, 1.0, 0.25])[:, None, None].expand(3, 8, 10)
    torch.testing.assert_close(resize_masks(masks, size), masks[:, :1, :1].expand(3, *size))
