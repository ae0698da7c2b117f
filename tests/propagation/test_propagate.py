"""Propagation of marks: what a segmenter finds, how sure it is, and what guides."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.split import Pixels
from looksharp.data.splits.files import FileSplit
from looksharp.marks.marks import Marks
from looksharp.propagation.propagate import SURE, Propagated, expected_overlap, overlap, propagate
from looksharp.propagation.segmenter import Drawn
from looksharp.propagation.unet import SmallUNet

STEPS = 80


@pytest.fixture(scope="module")
def found(marked, pixels):
    split, masks = marked
    return propagate(split, pixels, steps=STEPS, progress=False), split, masks


@pytest.mark.parametrize("size", [(24, 24), (25, 31), (4, 7)])
def test_unet_keeps_the_size_of_its_images(size):
    assert SmallUNet().eval()(torch.rand(2, 3, *size)).shape == (2, *size)


def test_objects_are_found_in_images_without_a_mark(found):
    result, _, masks = found
    others = range(12, 40)
    overlaps = torch.stack([overlap(result.mask(place)[None], masks[place][None])[0] for place in others])
    assert overlaps.min() > 0.6
    assert result.overlaps.mean() > 0.6  # and so do the marked images say that were held back
    assert len(result.overlaps) == 12
    assert set(result.places()) == set(others)


def test_marks_keep_what_was_drawn_and_add_what_was_found(found):
    result, split, masks = found
    marks = result.marks(split, without=[20])
    assert marks.images == [place for place in range(40) if place != 20]
    for place in range(12):
        ((label, mask),) = marks.of(place)
        assert label == int(split.targets[place])
        assert torch.equal(mask, masks[place])
    ((label, mask),) = marks.of(30)
    assert (label, mask.dtype, mask.shape) == (0, torch.bool, (24, 24))
    assert torch.equal(mask, result.mask(30))


def test_unsure_masks_do_not_guide():
    bits = np.packbits(np.ones((4, 16), dtype=bool), axis=1)
    sure = torch.tensor([0.9, SURE, SURE - 0.01, 0.0])
    assert Propagated(bits, (4, 4), sure, (0,), torch.zeros(1)).places() == [1]


def test_the_same_seed_finds_the_same(found, pixels):
    result, split, _ = found
    again = propagate(split, pixels, steps=STEPS, progress=False, batch_size=7)
    assert np.array_equal(again.bits, result.bits)
    assert torch.equal(again.overlaps, result.overlaps)
    state = torch.random.get_rng_state()
    other = propagate(split, pixels, steps=STEPS, progress=False, seed=1)
    assert not torch.equal(other.sure, result.sure)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("cut", [{}, {"crop_share": 0.6}, {"resize_size": (40, 40)}, {"fit": "shorter"}])
def test_masks_of_files_have_their_images_own_sizes(tmp_path, squares, cut):
    images, masks = squares(16)
    own, paths = [], []
    for place, (image, mask) in enumerate(zip(images, masks, strict=True)):
        size = (48, 30) if place % 2 else (36, 72)  # (height, width)
        path = f"{place}.png"
        Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.NEAREST).save(
            tmp_path / path
        )
        own.append(
            torch.from_numpy(np.array(Image.fromarray(mask.numpy()).resize(size[::-1], Image.Resampling.NEAREST)))
        )
        paths.append(path)
    targets = torch.zeros(16, dtype=torch.long)
    split = FileSplit(targets=targets, marks=Marks(list(range(10)), [0] * 10, own[:10]), root=tmp_path, paths=paths)
    result = propagate(split, Pixels((24, 24), **cut), steps=STEPS, progress=False)
    marks = result.marks(split)
    for place in range(10, 16):
        ((_, mask),) = marks.of(place)
        assert mask.shape == own[place].shape
        assert overlap(mask[None], own[place][None]) > 0.5


def test_expected_overlap_is_that_of_drawn_masks():
    generator = torch.Generator().manual_seed(0)
    odds = torch.rand(1, 30, 30, generator=generator)
    drawn = torch.rand(4000, 30, 30, generator=generator) < odds
    mask = (odds > 0.5).expand(4000, -1, -1)
    mean = overlap(mask, drawn).mean()
    torch.testing.assert_close(expected_overlap(odds)[0], mean, atol=3e-3, rtol=0)


def test_overlap_by_hand():
    found, marked = torch.zeros(2, 2, 2, 3, dtype=torch.bool)
    found[0, 0], marked[0, :, 0] = True, True  # 3 and 2 pixels, 1 shared
    assert overlap(found, marked).tolist() == [0.25, 0.0]


def test_drawn_images_and_masks_move_together(marked):
    split, masks = marked
    images = split.images.float() / 255
    batch, wanted = Drawn(images, masks.float(), mirror=True, seed=0).batch(50)
    lightest = batch.mean(1).masked_fill(wanted == 0, 9).flatten(1).amin(1)
    darkest = batch.mean(1).masked_fill(wanted == 1, -9).flatten(1).amax(1)
    assert wanted.flatten(1).sum(1).eq(64).all()
    contrast = lightest - darkest  # the square stays apart from the noise, or its colours are turned round
    assert (contrast > 0).float().mean() > 0.9


def test_too_few_marks_and_several_labels_are_refused(marked, pixels):
    split, _ = marked
    few = replace(split, marks=split.marks.restricted(range(3)))
    with pytest.raises(ValueError, match="at least 4 marked training images; got 3: mark more"):
        propagate(few, pixels)
    with pytest.raises(ValueError, match="at least 4 marked training images; got 0"):
        propagate(replace(split, marks=None), pixels)
    several = replace(split, targets=torch.ones(40, 2))
    with pytest.raises(ValueError, match="images of one class each"):
        propagate(several, pixels)
    with pytest.raises(ValueError, match="steps must be at least 2; got 1"):
        propagate(split, pixels, steps=1)
