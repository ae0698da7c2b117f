import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from looksharp.data.sampling import InOrder, Shuffled
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.files import FileSplit, keep_in_memory
from looksharp.data.splits.memory import TensorSplit
from looksharp.data.transform import image_transform
from looksharp.marks.marks import Marks

PIXELS = Pixels((16, 16))
GREEN = (0, 255, 0)
# Sizes (height, width) of which a marker on the grid of `STEP` stays sharp at 16 x 16, and that grid.
STEP = {(16, 16): 1, (32, 32): 2, (8, 8): 1, (16, 24): 1, (24, 16): 1, (32, 64): 2, (64, 64): 4, (8, 12): 1}


def bytes_of(batch, pixels=PIXELS):
    return (pixels.denormalize(batch.image) * 255).round().to(torch.uint8)


def file_split(root, images, **options):
    paths = []
    for number, image in enumerate(images):
        paths.append(f"{number}.png")
        Image.fromarray(image).save(root / paths[-1])
    options.setdefault("targets", torch.arange(len(paths)))
    return FileSplit(root=root, paths=paths, **options)


@pytest.fixture
def marked(tmp_path):
    """Black images of several sizes, twice; each has a green marker, which is its mask, and every third a second."""
    rng = np.random.default_rng(0)
    images, samples, labels, masks = [], [], [], []
    for number, ((height, width), step) in enumerate(list(STEP.items()) * 2):
        image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), bool)
        side = min(height, width)
        least = 5 * side // 16 // step * step  # of the marker: at least 4 px at 16 x 16
        top = (height - side) // 2 + rng.integers(0, (side - least) // step + 1) * step
        left = (width - side) // 2 + rng.integers(0, (side - least) // step + 1) * step
        mask[top : top + least, left : left + least] = True
        image[mask] = GREEN
        images.append(image)
        samples, labels, masks = [*samples, number], [*labels, 3], [*masks, torch.from_numpy(mask)]
        if number % 3 == 0:
            samples, labels, masks = [*samples, number], [*labels, 1], [*masks, ~masks[-1]]
    return file_split(tmp_path, images, marks=Marks(samples, labels, masks))


def markers(batch):
    """For each pair of the batch: where its image shows the marker; for class 1, where it does not."""
    colours = bytes_of(batch)[batch.marks.sample]
    shown = colours[:, 1] > 127
    assert not colours[:, [0, 2]].any()
    return torch.where(batch.marks.label[:, None, None] == 1, ~shown, shown)


def test_a_marker_is_exactly_its_mask_without_augmentation(marked):
    (batch,) = marked.loader(InOrder(16, 16), PIXELS)
    assert batch.image.shape == (16, 3, 16, 16)
    assert len(batch.marks) == 22
    assert batch.marks.sample.tolist() == marked.marks.samples
    assert batch.marks.label.tolist() == marked.marks.labels
    assert torch.equal(batch.marks.mask.bool(), markers(batch))
    assert set(batch.marks.mask.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("augment", ["crop", "crop_flip"])
def test_a_marker_is_exactly_its_mask_in_crops(marked, augment):
    seen = []
    for seed in range(4):
        for batch in marked.loader(Shuffled(16, 8, seed), PIXELS, augment=augment, seed=seed):
            shown, first = markers(batch), batch.marks.label == 3
            assert torch.equal(batch.marks.mask.bool()[first], shown[first])
            # What is padded is no object, though it is no marker either
            second = batch.marks.mask.bool()[~first]
            assert not (second & ~shown[~first]).any()
            seen.append(shown[first])
    (plain,) = marked.loader(InOrder(16, 16), PIXELS)
    plain = {tuple(mask.flatten().tolist()) for mask in markers(plain)}
    assert sum(tuple(mask.flatten().tolist()) not in plain for mask in torch.cat(seen)) > 40


def test_a_marker_is_its_mask_in_resized_crops_but_for_edges(marked):
    differ, area = 0, 0
    for seed in range(6):
        (batch,) = marked.loader(Shuffled(16, 16, seed), PIXELS, augment="resized_crop_flip", seed=seed)
        shown, mask = markers(batch), batch.marks.mask.bool()
        around = torch.nn.functional.max_pool2d(mask[:, None].float(), 3, 1, 1)[:, 0].bool()
        within = ~torch.nn.functional.max_pool2d((~mask)[:, None].float(), 3, 1, 1)[:, 0].bool()
        # Masks are resized to the nearest pixel: their edges lie up to a pixel beside those of the image
        assert not (shown & ~around)[:, 1:-1, 1:-1].any()
        assert not (within & ~shown)[:, 1:-1, 1:-1].any()
        differ += int((shown != mask).sum())
        area += int(mask.sum())
    assert differ < 0.15 * area


def test_flips_are_half_and_seeds_differ_between_images(tmp_path):
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :8] = 255
    split = file_split(tmp_path, [image] * 40)
    (batch,) = split.loader(InOrder(40, 40), PIXELS, augment="crop_flip")
    shown = bytes_of(batch)[:, 0, 8]
    assert 8 <= int((shown[:, 4] == 0).sum()) <= 32
    assert len({tuple(row.tolist()) for row in shown}) > 5


@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_without_augmentation_the_middle_is_cropped(tmp_path, size):
    rng = np.random.default_rng(0)
    shapes = [(16, 16), (12, 20), (20, 40), (40, 24), (9, 9)]
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    split = file_split(tmp_path, images)
    (batch,) = split.loader(InOrder(5, 5), Pixels(size))
    for image, shown in zip(images, bytes_of(batch), strict=True):
        height, width = image.shape[:2]
        scale = max(size[0] / height, size[1] / width)
        resized = torch.from_numpy(image).permute(2, 0, 1)
        if scale != 1:
            resized = functional.resize(resized, [round(height * scale), round(width * scale)], antialias=True)
        top, left = (round((have - want) / 2) for have, want in zip(resized.shape[1:], size, strict=True))
        assert resized.shape[1] == size[0] or resized.shape[2] == size[1]
        assert torch.equal(shown, resized[:, top : top + size[0], left : left + size[1]])


def test_images_of_any_proportions_become_the_size(tmp_path):
    shapes = [(1, 1), (3, 100), (100, 3), (17, 16), (33, 31)]
    split = file_split(tmp_path, [np.full((*shape, 3), 77, np.uint8) for shape in shapes])
    for size in ((16, 16), (7, 13)):
        for augment in ("none", "resized_crop_flip"):
            (batch,) = split.loader(InOrder(5, 5), Pixels(size), augment=augment)
            assert (bytes_of(batch) == 77).all()
            assert batch.image.shape == (5, 3, *size)


def test_a_line_of_pixels_is_cut_to_its_middle_before_it_is_enlarged(tmp_path, monkeypatch):
    line = np.zeros((1, 5000, 3), np.uint8)
    line[:, 2490:2510] = 77  # what 224 x 224 px of it show is a single pixel
    split = file_split(tmp_path, [line, line.swapaxes(0, 1)])
    largest = []
    resize = functional.resize
    monkeypatch.setattr(
        functional, "resize", lambda image, size, **options: largest.append(max(size)) or resize(image, size, **options)
    )
    for augment in ("none", "crop_flip", "resize_crop_flip"):
        (batch,) = split.loader(InOrder(2, 2), Pixels((224, 224)), augment=augment)
        shown = bytes_of(batch, Pixels((224, 224)))
        assert set(shown.unique().tolist()) <= ({77} if augment != "crop_flip" else {0, 77}), augment  # 0: padding
    assert max(largest) <= 16 * 256


def test_crops_pad_by_an_eighth_of_each_side():
    _, _, crop, flip = image_transform(Pixels((16, 64)), "crop_flip").transforms
    assert crop.padding == [8, 8, 2, 2]  # left, right, top, bottom
    assert flip.p == 0.5
    assert len(image_transform(Pixels((16, 64)), "crop").transforms) == 3


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_batches_do_not_depend_on_workers(marked):
    def epochs(workers):
        loader = marked.loader(Shuffled(16, 6, 0), PIXELS, augment="resized_crop_flip", seed=2, workers=workers)
        assert len(loader) == 2
        return [batch for _ in range(2) for batch in loader]

    alone, shared = epochs(0), epochs(2)
    assert len(alone) == len(shared) == 4
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.target, other.target)
        for part in ("sample", "label", "mask"):
            assert torch.equal(getattr(one.marks, part), getattr(other.marks, part))


def test_seed_and_epoch_determine_batches(marked):
    def images(seed, epoch):
        batches = Shuffled(16, 8, 0)
        batches.set_epoch(epoch)
        return torch.cat([b.image for b in marked.loader(batches, PIXELS, augment="resized_crop_flip", seed=seed)])

    first = images(0, 0)
    assert torch.equal(images(0, 0), first)
    assert not torch.equal(images(1, 0), first)
    assert not torch.equal(images(0, 1), first)


def test_the_epoch_changes_the_augmentation_though_the_order_is_the_same(marked):
    class Same(InOrder):
        epoch = 0

        def __iter__(self):
            yield list(range(16))
            self.epoch += 1

    loader = marked.loader(Same(16, 16), PIXELS, augment="resized_crop_flip")
    (first,), (second,) = list(loader), list(loader)
    assert torch.equal(first.target, second.target)
    assert (first.image != second.image).flatten(1).any(1).sum() > 8


def test_reading_leaves_every_global_generator_alone(marked, monkeypatch):
    def fail(seed):
        raise AssertionError("the devices' generators were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", fail)
    before = torch.get_rng_state()
    assert len(list(marked.loader([[0, 1], [2]], PIXELS, augment="resized_crop_flip"))) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_targets_and_groups_come_with_the_images(tmp_path):
    images = [np.zeros((16, 16, 3), np.uint8)] * 4
    targets, groups = torch.eye(4), torch.tensor([3, 1, 0, 2])
    split = file_split(tmp_path, images, targets=targets, groups=groups)
    (batch,) = split.loader([[2, 0, 3]], PIXELS)
    assert torch.equal(batch.target, targets[[2, 0, 3]])
    assert batch.group.tolist() == [0, 3, 2]
    assert batch.marks is None


def test_a_damaged_file_stops_the_loader_with_its_name(tmp_path):
    split = file_split(tmp_path, [np.zeros((16, 16, 3), np.uint8)] * 2)
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1\.png cannot be read as an image: cannot identify"):
        list(split.loader(InOrder(2, 2), PIXELS))


def test_images_in_memory_are_those_read_one_by_one(marked):
    rest = FileSplit(
        targets=marked.targets[:3], groups=torch.tensor([1, 0, 1]), root=marked.root, paths=marked.paths[:3]
    )
    held = TensorSplit(targets=torch.zeros(1).long(), images=torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    data = Data("set", ("a", "b", "c", "d"), {"train": marked, "val": rest, "test": held}, PIXELS, "crop")
    kept = keep_in_memory(data)
    assert list(kept.splits) == ["train", "val", "test"]
    assert kept.splits["test"] is held
    assert (kept.name, kept.classes, kept.pixels, kept.augment) == ("set", data.classes, PIXELS, "crop")
    for name in ("train", "val"):
        before, after = data.splits[name], kept.splits[name]
        assert isinstance(after, TensorSplit)
        assert after.images.shape == (len(before), 3, 16, 16)
        chosen = [2, 0, 1]
        (one,), (other,) = before.loader([chosen], PIXELS), after.loader([chosen], PIXELS)
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.target, other.target)
        if name == "val":
            assert after.marks is None
            assert one.group.tolist() == other.group.tolist() == [1, 1, 0]
            assert one.marks is other.marks is None
        else:
            assert after.groups is None
            assert (after.marks.samples, after.marks.labels) == (before.marks.samples, before.marks.labels)
            for part in ("sample", "label", "mask"):
                assert torch.equal(getattr(one.marks, part), getattr(other.marks, part))


@pytest.mark.parametrize(("size", "kept"), [((96, 96), True), ((96, 97), False), ((97, 16), False)])
def test_large_images_stay_files(tmp_path, size, kept):
    split = file_split(tmp_path, [np.zeros((16, 16, 3), np.uint8)])
    data = keep_in_memory(Data("set", ("a", "b"), {"train": split}, Pixels(size)))
    assert isinstance(data.splits["train"], TensorSplit) is kept
    assert (data.splits["train"] is split) is not kept


def test_many_images_stay_files(tmp_path, monkeypatch):
    monkeypatch.setattr("looksharp.data.splits.files._MEMORY", 2 * 3 * 16 * 16)
    image = np.zeros((16, 16, 3), np.uint8)
    for count, kept in ((2, True), (3, False)):
        split = file_split(tmp_path, [image] * count)
        data = keep_in_memory(Data("set", ("a", "b"), {"train": split}, PIXELS))
        assert isinstance(data.splits["train"], TensorSplit) is kept


@pytest.mark.parametrize("augment", ["resize_crop_flip", "resized_crop_flip"])
def test_images_kept_in_memory_are_augmented_there(tmp_path, augment):
    split = file_split(tmp_path, [np.zeros((16, 16, 3), np.uint8)])
    small, large = (
        keep_in_memory(Data("set", ("a", "b"), {"train": split}, Pixels((s, s)), augment)) for s in (16, 99)
    )
    assert (small.augment, large.augment) == ("crop_flip", augment)
    assert len(list(small.splits["train"].loader([[0]], small.pixels, augment=small.augment))) == 1
