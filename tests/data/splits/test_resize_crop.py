import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.sampling import InOrder
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.files import FileSplit, keep_in_memory
from looksharp.data.transform import image_transform
from looksharp.marks.marks import Marks


def noise(*size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def copies(root, image, count, mask=None):
    Image.fromarray(image).save(root / "0.png")
    marks = None if mask is None else Marks(range(count), [0] * count, [mask] * count)
    return FileSplit(targets=torch.zeros(count).long(), marks=marks, root=root, paths=["0.png"] * count)


def shown(batch, pixels):
    return (pixels.denormalize(batch.image) * 255).round().to(torch.uint8)


def test_training_crops_are_windows_of_the_larger_image_and_take_masks_along(tmp_path):
    image, pixels = noise(18, 20), Pixels((16, 16))  # 16 x 8 / 7 = 18.3: resized to 18, the image is as it is
    mask = torch.rand(18, 20, generator=torch.Generator().manual_seed(0)) < 0.5
    split = copies(tmp_path, image, 300, mask)
    (batch,) = split.loader(InOrder(300, 300), pixels, augment="resize_crop_flip")
    whole = torch.cat([torch.from_numpy(image).permute(2, 0, 1), mask[None]])
    windows = {
        window.flip(-1).numpy().tobytes() if flip else window.contiguous().numpy().tobytes()
        for flip in (False, True)
        for window in (whole[:, row : row + 16, column : column + 16] for row in range(3) for column in range(5))
    }
    seen = torch.cat([shown(batch, pixels), batch.marks.mask[:, None].to(torch.uint8)], 1)
    assert {one.numpy().tobytes() for one in seen} == windows  # 30, each of which 300 draws miss once in 26,000


def test_training_crops_are_224_of_256(tmp_path):
    image, pixels = noise(512, 640), Pixels((224, 224))
    split = copies(tmp_path, image, 1)
    (batch,) = split.loader(InOrder(1, 1), pixels, augment="resize_crop_flip", seed=3)
    half = np.asarray(Image.fromarray(image).resize((320, 256), Image.Resampling.BILINEAR)).astype(int)
    found = shown(batch, pixels)[0].permute(1, 2, 0).numpy().astype(int)
    differ = min(
        np.abs(half[row : row + 224, column : column + 224][:, ::step] - found).mean()
        for row in range(33)
        for column in range(97)
        for step in (1, -1)
        if np.abs(half[row, column : column + 224][::step] - found[0]).mean() < 2
    )
    assert differ < 1  # rounding; another window differs by 40


def test_evaluation_crops_the_middle_of_a_larger_image(tmp_path):
    image, pixels = noise(16, 20), Pixels((14, 14), crop_share=0.875)
    (batch,) = copies(tmp_path, image, 1).loader(InOrder(1, 1), pixels)
    assert np.array_equal(shown(batch, pixels)[0].permute(1, 2, 0).numpy(), image[1:15, 3:17])


def test_training_crops_do_not_depend_on_the_share():
    for augment in ("crop", "crop_flip", "resize_crop_flip", "resized_crop_flip"):
        one, other = (image_transform(Pixels((14, 14), crop_share=share), augment) for share in (1.0, 0.5))
        assert repr(one) == repr(other)
        assert [vars(step).get("size") for step in one.transforms] == [
            vars(step).get("size") for step in other.transforms
        ]


def test_cropped_images_are_not_kept_in_memory(tmp_path):
    split = copies(tmp_path, noise(16, 16), 2)
    data = Data("set", ("a", "b"), {"train": split}, Pixels((14, 14), crop_share=0.875))
    assert keep_in_memory(data).splits["train"] is split


def test_the_share_is_a_setting(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(noise(9, 9)).save(tmp_path / "train" / name / f"{number}.png")
    config = DataConfig(str(tmp_path), image_size=224, val_share=0.5, crop_share=0.875)
    assert build_data(config).pixels == Pixels((224, 224), crop_share=0.875)
    with pytest.raises(ValueError, match=r"^crop_share is for data sets of image files; digits is held in memory$"):
        build_data(DataConfig("digits", crop_share=0.875, settings={"train": 20}))


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_the_share_has_limits(share):
    with pytest.raises(ValueError, match=rf"^crop_share must be above 0 and at most 1; got {share:g}$"):
        build_data(DataConfig(crop_share=share))


def bars(height, width):
    """A column of one colour at either end, which a crop would cut off."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, : width // 4], image[:, -(width // 4) :] = (200, 0, 0), (0, 200, 0)
    return image


def test_a_plain_resize_cuts_nothing_off(tmp_path):
    """CompCars' 323 x 224: both sides are brought to the size, and with them the mask."""
    image = bars(64, 256)
    mask = torch.from_numpy(image[..., 0] > 0)
    split = copies(tmp_path, image, 1, mask)
    for size in ((224, 323), (64, 64)):
        pixels = Pixels(size, fit="resize")
        (batch,) = split.loader(InOrder(1, 1), pixels)
        expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
        found = shown(batch, pixels)[0].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(found - expected).max() <= 1
        assert batch.marks.mask[0].mean().item() == pytest.approx(0.25, abs=0.01)
        (cut,) = split.loader(InOrder(1, 1), Pixels(size))
        assert shown(cut, pixels)[0][0].float().mean() < 0.6 * found[..., 0].mean()  # a crop loses most of the bar


@pytest.mark.parametrize(
    ("augment", "share", "before"),
    [
        ("none", 1.0, (14, 28)),
        ("none", 0.875, (16, 32)),  # 7/8 are evaluated
        ("crop_flip", 0.875, (14, 28)),
        ("resize_crop_flip", 1.0, (16, 32)),  # 8/7 as large, from which crops are cut
    ],
)
def test_both_sides_are_resized_before_a_crop_that_is_asked_for(augment, share, before):
    transform = image_transform(Pixels((14, 28), crop_share=share, fit="resize"), augment)
    first = transform.transforms[0](torch.zeros(3, 50, 50, dtype=torch.uint8))
    assert first.shape[-2:] == before
    assert transform(torch.zeros(3, 50, 50, dtype=torch.uint8)).shape[-2:] == (14, 28)


def test_size_and_fit_are_settings(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(bars(16, 64)).save(tmp_path / "train" / name / f"{number}.png")
    config = DataConfig(str(tmp_path), image_size=[12, 20], val_share=0.5, fit="resize")
    assert config.image_size == (12, 20)
    data = build_data(config)
    assert data.pixels == Pixels((12, 20), fit="resize")
    kept = keep_in_memory(data).splits["train"]
    expected = np.asarray(Image.fromarray(bars(16, 64)).resize((20, 12), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(kept.image(0).permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
    with pytest.raises(ValueError, match=r"^fit is for data sets of image files; digits is held in memory$"):
        build_data(DataConfig("digits", fit="resize", settings={"train": 20}))
    with pytest.raises(ValueError, match=r"^fit must be 'crop', 'resize' or 'shorter'; got 'stretch'$"):
        DataConfig(fit="stretch")
    with pytest.raises(ValueError, match=r"image_size must be .*; got "):
        DataConfig(image_size=[12, 20, 3])
    with pytest.raises(ValueError, match=r"image_size must be at least 1 and at most 8192; got 0"):
        DataConfig(image_size=[12, 0])
