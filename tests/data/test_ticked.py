from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from looksharp.data.pixels import Pixels
from looksharp.data.sets.synthetic import biased_digits
from looksharp.data.split import Data
from looksharp.data.splits.files import FileSplit, keep_in_memory
from looksharp.data.ticked import SeenRegion, TickedRegion, choose_ticked, region_marks, ticks_text
from looksharp.data.transform import image_transform, seen_box
from looksharp.training.settings import MarksConfig


def runs(mask):
    """Lengths of runs down the columns, zeros first."""
    found, value, length = [], False, 0
    for pixel in mask.T.flatten().tolist():
        if pixel != value:
            found.append(length)
            value, length = pixel, 0
        length += 1
    return [*found, length]


@pytest.fixture
def data():
    return biased_digits(train=6, val=2, test=2, rho=1.0)


@pytest.fixture
def file(data, tmp_path):
    """Groups 1 (images 0 and 3), 2 (image 4) and 3 (images 1 and 3), their regions the patches."""
    split = data.splits["train"]
    patches = {place: runs(split.cues.of(place)[0][1]) for place in range(6)}
    groups = {1: (0, 3), 2: (4,), 3: (1, 3)}
    regions = {
        n: [TickedRegion(place, int(split.targets[place]), patches[place]) for place in own]
        for n, own in groups.items()
    }
    (tmp_path / "cues.json").write_text(ticks_text(split, (48, 48), regions))
    return str(tmp_path / "cues.json")


def test_ticked_groups_become_marks(data, file):
    train = data.splits["train"]
    for choice, expected in (
        (MarksConfig(cues=file), [0, 1, 3, 4]),
        (MarksConfig(cues=file, shortcut=[1, 2]), [0, 3, 4]),
    ):
        found = choose_ticked(data, choice).splits["train"]
        assert found.pointed.images == expected
        for place in expected:
            for label, mask in found.pointed.of(place):
                assert label == int(train.targets[place])
                assert torch.equal(mask, train.cues.of(place)[0][1])
        assert found.marks is train.marks
    assert choose_ticked(data, MarksConfig()) is data


def test_groups_of_the_object_join_the_marks(data, file):
    train = data.splits["train"]
    one = replace(data, splits=data.splits | {"train": replace(train, marks=train.marks.restricted([3]))})
    found = choose_ticked(one, MarksConfig("data", cues=file, object=[3])).splits["train"]
    assert found.pointed is None
    assert found.marks.images == [1, 3]
    assert torch.equal(found.marks.of(3)[0][1], train.marks.of(3)[0][1])  # what somebody drew stays
    assert torch.equal(found.marks.of(1)[0][1], train.cues.of(1)[0][1])
    both = choose_ticked(one, MarksConfig(cues=file, shortcut=[1], object=[2])).splits["train"]
    assert (both.pointed.images, both.marks.images) == ([0, 3], [3, 4])


def test_what_is_wrong_with_the_file(data, file, tmp_path):
    def fails(message, choice=None, images=data):
        with pytest.raises(ValueError, match=message) as caught:
            choose_ticked(images, choice or MarksConfig(cues=file))
        assert "\n" not in str(caught.value)

    fails(r"cues.json has no group 7; it has 1, 2, 3$", MarksConfig(cues=file, shortcut=[1, 7]))
    fails("cues.json holds regions of other training images", images=biased_digits(train=6, val=2, test=2, seed=1))
    (tmp_path / "broken.json").write_text("[1, 2")
    fails("broken.json is not JSON", MarksConfig(cues=str(tmp_path / "broken.json")))
    (tmp_path / "other.json").write_text("{}")
    fails("does not hold the regions of ticked groups", MarksConfig(cues=str(tmp_path / "other.json")))
    text = (tmp_path / "cues.json").read_text()
    (tmp_path / "short.json").write_text(text.replace("[[0,", "[[99,", 1))
    fails("short.json is damaged: the region of image 99 does not fit", MarksConfig(cues=str(tmp_path / "short.json")))


@pytest.mark.parametrize(
    "pixels",
    [
        Pixels((24, 24)),
        Pixels((24, 32), crop_share=0.8),
        Pixels((24, 24), fit="resize"),
        Pixels((24, 24), fit="shorter", crop_share=0.875, middle="floor"),
        Pixels((24, 24), resize_size=(20, 20)),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(60, 60), (48, 96), (97, 50), (10, 400)])
def test_a_region_lies_where_the_network_saw_it(pixels, size):
    """Brought to the network's size by the transform of images, the mask is the region again, as far as it can be."""
    region = np.zeros(pixels.size, bool)
    region[8:16, 6:18] = True
    box = seen_box(pixels, size)
    mask = torch.from_numpy(SeenRegion(runs(torch.from_numpy(region)), pixels.size, size, box).mask())
    assert mask.shape == size
    seen = image_transform(pixels)(tv_tensors.Mask(mask[None].to(torch.uint8)))[0].bool().numpy()
    assert (seen & region).sum() / (seen | region).sum() > (0.6 if min(size) > 20 else 0.3)


def test_regions_of_files_go_through_augmentation_with_their_image(tmp_path):
    """Bright pixels under the region stay under it, whatever crop is drawn, and in memory."""
    paths, pixels = ["0.png", "1.png"], Pixels((24, 24), mean=(0.0,) * 3, std=(1.0,) * 3)
    for place, path in enumerate(paths):
        image = np.zeros((48, 96, 3), np.uint8)
        image[16:32, 40 + 8 * place : 56 + 8 * place] = 255
        Image.fromarray(image).save(tmp_path / path)
    split = FileSplit(targets=torch.tensor([0, 1]), root=tmp_path, paths=paths)
    (seen,) = split.loader([[0, 1]], pixels)
    regions = [TickedRegion(place, place, runs(seen.image[place].mean(0) > 0.5)) for place in (0, 1)]
    split = replace(split, pointed=region_marks(split, pixels, (24, 24), regions))
    for augment in ("none", "crop_flip"):
        (batch,) = split.loader([[1, 0]], pixels, augment=augment, seed=3)
        bright = batch.image.mean(1) > 0.5
        assert batch.marks is None
        assert batch.cues.sample.tolist() == [0, 1]
        assert batch.cues.label.tolist() == [1, 0]
        assert (bright & batch.cues.mask.bool()).sum() > 0.9 * (bright | batch.cues.mask.bool()).sum()
    data = Data("files", ("a", "b"), {"train": split}, pixels)
    kept = keep_in_memory(data).splits["train"]
    assert kept.in_memory
    assert kept.marks is None
    for place in (0, 1):
        ((_, mask),) = kept.pointed.of(place)
        assert torch.equal(mask, kept.images[place].float().mean(0) > 127)
