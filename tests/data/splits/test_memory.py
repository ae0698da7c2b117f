import pytest
import torch

from looksharp.data.sampling import InOrder, Shuffled
from looksharp.data.split import Pixels
from looksharp.data.splits.memory import TensorSplit, random_crop
from looksharp.marks.marks import Marks

SIZE = (16, 24)
PIXELS = Pixels(SIZE)
RED = torch.tensor([255, 0, 0], dtype=torch.uint8)


def random_split(count=6, size=SIZE):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)
    masks = torch.rand(count, *size, generator=generator) > 0.5
    marks = Marks([0, 2, 2, 5], [1, 0, 2, 1], [masks[0], masks[1], masks[2], masks[3]])
    return TensorSplit(targets=torch.arange(count) % 3, marks=marks, groups=torch.arange(count) % 2, images=images)


def marked_split(count=24):
    """Images of noise without red; the mask is painted red."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 200, (count, 3, *SIZE), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(count, *SIZE, dtype=torch.bool)
    for image, mask in zip(images, masks, strict=True):
        top, left = (int(torch.randint(0, length - 5, (), generator=generator)) for length in SIZE)
        mask[top : top + 5, left : left + 4] = True
        mask[top, left] = False  # a shape that tells mirror images apart
        image[:, mask] = RED[:, None]
    return TensorSplit(targets=torch.zeros(count).long(), marks=Marks(range(count), [0] * count, masks), images=images)


def bytes_of(batch, pixels=PIXELS):
    return (pixels.denormalize(batch.image) * 255).round().to(torch.uint8)


def naive_crop(image, top, left, mirrored):
    """The window of the zero-padded image that starts at (top, left) of the image."""
    result = torch.zeros_like(image)
    height, width = image.shape[-2:]
    for row in range(height):
        for column in range(width):
            y, x = row + top, left + (width - 1 - column if mirrored else column)
            if 0 <= y < height and 0 <= x < width:
                result[..., row, column] = image[..., y, x]
    return result


def test_without_augmentation_batches_are_the_images():
    split = random_split()
    batches = list(split.loader(InOrder(6, 4), PIXELS))
    assert len(split.loader(InOrder(6, 4), PIXELS)) == 2
    assert torch.equal(torch.cat([bytes_of(b) for b in batches]), split.images)
    assert torch.equal(torch.cat([b.target for b in batches]), split.targets)
    assert torch.equal(torch.cat([b.group for b in batches]), split.groups)
    first, second = (b.marks for b in batches)
    assert first.sample.tolist() == [0, 2, 2]
    assert first.label.tolist() == [1, 0, 2]
    assert torch.equal(first.mask, torch.stack(split.marks.masks[:3]).float())
    assert second.sample.tolist() == [1]
    assert torch.equal(second.mask[0], split.marks.masks[3].float())


def test_guidance_follows_the_order_of_the_batch():
    split = random_split()
    (batch,) = split.loader([[5, 1, 2, 5]], PIXELS)
    assert batch.marks.sample.tolist() == [0, 2, 2, 3]
    assert batch.marks.label.tolist() == [1, 0, 2, 1]
    assert torch.equal(batch.marks.mask[0], batch.marks.mask[3])
    (bare,) = split.loader([[1, 3]], PIXELS)
    assert bare.marks is None


def test_without_pairs_or_groups_batches_have_none():
    split = TensorSplit(targets=torch.zeros(2).long(), images=torch.zeros(2, 3, *SIZE, dtype=torch.uint8))
    (batch,) = split.loader(InOrder(2, 2), PIXELS, augment="crop_flip")
    assert batch.marks is None
    assert batch.group is None


@pytest.mark.parametrize("flip", [False, True])
def test_crop_and_flip_equal_a_naive_loop(flip):
    split, pixels = random_split(count=20, size=(8, 16)), Pixels((8, 16))
    (batch,) = split.loader([list(range(20))], pixels, augment="crop_flip" if flip else "crop", seed=3)
    shown = bytes_of(batch)
    found = []
    for image, result in zip(split.images, shown, strict=True):
        fits = [
            (top, left, mirrored)
            for top in range(-1, 2)
            for left in range(-2, 3)
            for mirrored in (False, True)
            if torch.equal(naive_crop(image, top, left, mirrored), result)
        ]
        assert len(fits) == 1
        found += fits
    assert {mirrored for *_, mirrored in found} == ({False, True} if flip else {False})
    assert len({top for top, *_ in found}) == 3
    assert len({left for _, left, _ in found}) == 5
    for place, label, mask in zip(*vars(batch.marks).values(), strict=True):
        own = next(m for other, m in split.marks.of(int(place)) if other == label)
        assert torch.equal(mask, naive_crop(own.float(), *found[place]))


def test_offsets_of_crops_are_an_eighth_at_most_and_all_occur():
    generator = torch.Generator().manual_seed(0)
    rows, columns = random_crop(400, (32, 4), True, generator)
    assert rows.shape == (400, 32)
    assert columns.shape == (400, 4)
    assert set(rows[:, 0].tolist()) == set(range(-4, 5))
    assert torch.equal(rows - rows[:, :1], torch.arange(32).expand(400, 32))
    backwards = columns[:, 0] > columns[:, -1]
    assert 150 < int(backwards.sum()) < 250
    assert set(columns.amin(1).tolist()) == {-1, 0, 1}


@pytest.mark.parametrize("augment", ["none", "flip", "crop", "crop_flip"])
def test_a_marker_stays_on_its_mask(augment):
    split = marked_split()
    for batch in split.loader(Shuffled(24, 8, 0), PIXELS, augment=augment, seed=1):
        red = (bytes_of(batch) == RED[:, None, None]).all(1)
        assert batch.marks.sample.tolist() == list(range(8))
        assert torch.equal(batch.marks.mask.bool(), red)
        assert set(batch.marks.mask.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("pixels", [PIXELS, Pixels((4, 4), (0.1, 0.5, 0.9), (0.3, 1.0, 0.05))])
def test_denormalize_inverts_normalize(pixels):
    images = torch.arange(256, dtype=torch.uint8).repeat(3, 1).reshape(1, 3, 16, 16)
    normal = pixels.normalize(images)
    for channel in range(3):
        expected = (images[0, channel].double() / 255 - pixels.mean[channel]) / pixels.std[channel]
        torch.testing.assert_close(normal[0, channel].double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pixels.denormalize(normal), images.float() / 255, rtol=0, atol=1e-6)
    torch.testing.assert_close(pixels.denormalize(normal[0]), images[0].float() / 255, rtol=0, atol=1e-6)
    assert pixels.denormalize(torch.tensor([-99.0, 0, 99]).reshape(3, 1, 1)).aminmax() == (0, 1)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"^images are \(16, 24\) pixels and must be \(24, 16\)$"):
        random_split().loader([[0]], Pixels((24, 16)))


def test_resized_crops_are_for_files():
    with pytest.raises(ValueError, match=r"^augment must be none, flip, crop or crop_flip for images held in memory$"):
        random_split().loader([[0]], PIXELS, augment="resized_crop_flip")


def test_seed_and_epoch_determine_batches():
    split = random_split(count=12)

    def epochs(seed, start=0, count=1):
        batches = Shuffled(12, 4, 0)
        batches.set_epoch(start)
        loader = split.loader(batches, PIXELS, augment="crop_flip", seed=seed)
        return [torch.cat([batch.image for batch in loader]) for _ in range(count)]

    first, second = epochs(0, count=2)
    assert torch.equal(epochs(0)[0], first)
    assert torch.equal(epochs(0, start=1)[0], second)
    assert not torch.equal(first, second)
    assert not torch.equal(epochs(1)[0], first)


def test_each_epoch_augments_the_same_batch_anew():
    split, chosen = random_split(), [0, 1, 2, 3]

    class Same(InOrder):
        epoch = 0

        def __iter__(self):
            yield chosen
            self.epoch += 1

    loader = split.loader(Same(4, 4), PIXELS, augment="crop_flip")
    (first,), (second,) = list(loader), list(loader)
    assert torch.equal(first.target, second.target)
    assert not torch.equal(first.image, second.image)


def test_one_image_is_its_bytes():
    split = random_split()
    assert torch.equal(split.image(3), split.images[3])
    assert len(split) == 6


def test_mirrored_images_are_the_images_and_their_masks_alike():
    split = random_split()
    (batch,) = split.loader([list(range(len(split)))], PIXELS, augment="flip", seed=1)
    (plain,) = split.loader([list(range(len(split)))], PIXELS)
    mirrored = [torch.equal(found, image.flip(-1)) for found, image in zip(batch.image, plain.image, strict=True)]
    same = [torch.equal(found, image) for found, image in zip(batch.image, plain.image, strict=True)]
    assert all(a or b for a, b in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)
