import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_cdt

from looksharp.interventions.surroundings import (
    exchange_surroundings,
    feather,
    fill_holes,
    object_only,
    surroundings_only,
)

SIZES = [(8, 8), (7, 9), (1, 6), (5, 1), (1, 1), (33, 20)]


def box(top, left, height, width, size=(24, 30)):
    mask = torch.zeros(1, *size)
    mask[:, top : top + height, left : left + width] = 1
    return mask


def some_holes(size, share=0.4, count=3):
    generator = torch.Generator().manual_seed(size[0] * 100 + size[1])
    holes = (torch.rand(count, *size, generator=generator) < share).double()
    holes[:, 0, 0] = 0
    return holes


# Feathered masks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [1, 2, 5])
def test_feather_falls_with_the_distance_to_the_mask(edge):
    masks = (torch.rand(4, 21, 26, generator=torch.Generator().manual_seed(0)) > 0.99).double()
    masks[3] = 0
    for mask, soft in zip(masks, feather(masks, edge), strict=True):
        distance = distance_transform_cdt(1 - mask.numpy(), "chessboard") if mask.any() else np.full((21, 26), 99)
        np.testing.assert_allclose(soft, np.clip(1 - distance / (edge + 1), 0, 1))


def test_feather_keeps_soft_masks_above_themselves():
    masks = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0))
    soft = feather(masks, 2)
    assert (soft >= masks).all()
    assert soft.max() == masks.max()


def test_feather_of_no_edge_is_the_mask():
    mask = box(4, 4, 3, 3)
    assert torch.equal(feather(mask, 0), mask)


@pytest.mark.parametrize(("size", "edge"), [((224, 300), 5), ((300, 96), 2), ((30, 30), 1), ((8, 8), 1)])
def test_the_edge_is_a_share_of_the_shorter_side(size, edge):
    mask = torch.zeros(1, *size)
    mask[:, size[0] // 2, size[1] // 2] = 1
    assert torch.equal(feather(mask), feather(mask, edge))


# Holes -----------------------------------------------------------------------------------------------------------


def pull_push(image, known):
    """One image (h, w, C) by loops over pixels."""
    height, width, channels = image.shape
    colours = image * known[..., None]
    if (height, width) == (1, 1):
        return colours / known[0, 0] if known[0, 0] else colours
    rows, columns = math.ceil(height / 2), math.ceil(width / 2)
    half, half_known = np.zeros((rows, columns, channels)), np.zeros((rows, columns))
    for r in range(rows):
        for c in range(columns):
            cell = (slice(2 * r, 2 * r + 2), slice(2 * c, 2 * c + 2))
            half[r, c], half_known[r, c] = colours[cell].mean((0, 1)), known[cell].mean()
    with np.errstate(invalid="ignore"):
        coarse = pull_push(np.where(half_known[..., None] > 0, half / half_known[..., None], 0), half_known)
    filled = np.empty_like(colours)
    for r in range(height):
        for c in range(width):
            y, x = max((r + 0.5) / 2 - 0.5, 0), max((c + 0.5) / 2 - 0.5, 0)
            top, left = min(int(y), rows - 1), min(int(x), columns - 1)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            dy, dx = y - top, x - left
            upper = (1 - dx) * coarse[top, left] + dx * coarse[top, right]
            lower = (1 - dx) * coarse[below, left] + dx * coarse[below, right]
            filled[r, c] = colours[r, c] + (1 - known[r, c]) * ((1 - dy) * upper + dy * lower)
    return filled


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("soft", [False, True])
def test_holes_are_filled_by_pull_and_push(size, soft):
    images, holes = torch.rand(3, 2, *size, dtype=torch.double), some_holes(size)
    if soft:
        holes = holes * 0.75
    filled = fill_holes(images, holes)
    for image, hole, found in zip(images, holes, filled, strict=True):
        expected = pull_push(image.permute(1, 2, 0).numpy(), 1 - hole.numpy())
        np.testing.assert_allclose(found.permute(1, 2, 0), expected, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_constant_stays_constant(size, share):
    images = torch.tensor([0.3, -2.0, 5.0], dtype=torch.double)[None, :, None, None].expand(3, 3, *size)
    torch.testing.assert_close(fill_holes(images, some_holes(size, share)), images)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_known_is_kept_and_what_is_not_does_not_count(size):
    images, holes = torch.rand(3, 2, *size, dtype=torch.double), some_holes(size)
    filled, hidden = fill_holes(images, holes), holes.bool().unsqueeze(1).expand_as(images)
    assert torch.equal(filled[~hidden], images[~hidden])
    assert torch.equal(fill_holes(torch.where(hidden, 7.0, images), holes), filled)
    for image, hole, found in zip(images, holes, filled, strict=True):  # a mean of colours that are known
        known = image[:, hole == 0]
        assert (found <= known.amax(1)[:, None, None] + 1e-12).all()
        assert (found >= known.amin(1)[:, None, None] - 1e-12).all()


def test_one_pixel_fills_the_image():
    images, holes = torch.rand(1, 3, 9, 14), torch.ones(1, 9, 14)
    holes[:, 6, 2] = 0
    torch.testing.assert_close(fill_holes(images, holes), images[:, :, 6:7, 2:3].expand_as(images))


@pytest.mark.parametrize("size", SIZES)
def test_an_image_of_nothing_but_hole_is_zero(size):
    assert fill_holes(torch.rand(2, 3, *size), torch.ones(2, *size)).count_nonzero() == 0


@pytest.mark.parametrize("size", [(64, 64), (61, 75)])
def test_a_gradient_goes_on_through_a_hole(size):
    height, width = size
    slope = torch.linspace(0, 1, width, dtype=torch.double).expand(1, 1, height, width)
    hole = torch.zeros(1, height, width, dtype=torch.double)
    hole[:, 24:40, 24:40] = 1
    off = (fill_holes(slope, hole) - slope).abs()
    span = slope[..., 39] - slope[..., 24]  # what the hole hides
    assert off.max() < 0.05 * span.max()


def test_images_do_not_mix():
    images, holes = torch.rand(3, 3, 11, 13), some_holes((11, 13)).float()
    alone = torch.cat([fill_holes(images[i : i + 1], holes[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(fill_holes(images, holes), alone)


# Interventions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(0)
    images, others = torch.rand(2, 1, 3, 24, 30, generator=generator).unbind()
    return images, box(3, 4, 6, 7), others, box(14, 15, 6, 9)


def grown(mask):
    return feather(mask).gt(0)


def test_the_object_is_kept_whole_and_the_surroundings_are_the_others(scene):
    images, masks, others, other_masks = scene
    shown = exchange_surroundings(images, masks, others, other_masks)
    on, off = masks[0].bool(), ~(grown(masks) | grown(other_masks))[0]
    assert torch.equal(shown[..., on], images[..., on])
    assert torch.equal(shown[..., off], others[..., off])


def test_no_trace_is_left_of_the_other_object_nor_of_the_own_surroundings(scene):
    images, masks, others, other_masks = scene
    shown = exchange_surroundings(images, masks, others, other_masks)
    without = torch.where(grown(other_masks), 9.0, others)
    elsewhere = torch.where(grown(masks), images, -9.0)
    assert torch.equal(exchange_surroundings(elsewhere, masks, without, other_masks), shown)


def test_the_edge_is_a_mixture(scene):
    images, masks, others, _ = scene
    shown = exchange_surroundings(images, masks, others)
    expected = (images[0, :, 2, 5] + others[0, :, 2, 5]) / 2  # one pixel off the object
    torch.testing.assert_close(shown[0, :, 2, 5], expected)


def test_surroundings_without_an_object_are_left_as_they_are(scene):
    images, masks, others, _ = scene
    off = ~grown(masks)[0]
    assert torch.equal(exchange_surroundings(images, masks, others)[..., off], others[..., off])


def test_own_surroundings_give_the_image_back(scene):
    images, masks, *_ = scene
    torch.testing.assert_close(exchange_surroundings(images, masks, images), images)


def test_surroundings_only_says_nothing_of_the_object(scene):
    images, masks, *_ = scene
    shown = surroundings_only(images, masks)
    assert torch.equal(surroundings_only(torch.where(grown(masks), 9.0, images), masks), shown)
    off = ~grown(masks)[0]
    assert torch.equal(shown[..., off], images[..., off])
    known = images[..., off]
    assert (shown <= known.amax(-1)[..., None, None]).all()


def test_object_only_says_nothing_of_the_surroundings(scene):
    images, masks, *_ = scene
    shown = object_only(images, masks)
    assert torch.equal(object_only(torch.where(grown(masks), images, 9.0), masks), shown)
    on, off = masks[0].bool(), ~grown(masks)[0]
    assert torch.equal(shown[..., on], images[..., on])
    assert shown[..., off].count_nonzero() == 0


def test_object_only_fills_with_what_is_given(scene):
    images, masks, *_ = scene
    colour = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    off = ~grown(masks)[0]
    for fill in (0.5, colour):
        shown = object_only(images, masks, fill)
        torch.testing.assert_close(shown[..., off], (torch.zeros_like(images) + fill)[..., off])


def test_an_empty_mask_changes_nothing(scene):
    images, masks, others, _ = scene
    empty = torch.zeros_like(masks)
    assert torch.equal(surroundings_only(images, empty), images)
    assert torch.equal(exchange_surroundings(images, empty, others, empty), others)
    assert object_only(images, empty).count_nonzero() == 0
