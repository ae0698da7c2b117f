import re
import struct
from itertools import pairwise

import numpy as np
import pytest
import torch

from looksharp.data.build import DataConfig, build_data
from looksharp.data.sampling import InOrder
from looksharp.data.sets.cluttered import cluttered_digits, cluttered_mnist
from looksharp.data.sets.synthetic import handwriting

SIZES = {"train": 60, "val": 20, "test": 40}
TRAIN, TEST = 200, 60  # images of the files


def write_idx(path, values):
    """The format of yann.lecun.com/exdb/mnist: two zeros, 8 for bytes, dimensions, sizes in big-endian, values."""
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def write_mnist(root, train, test):
    for name, pixels in {"train": train, "t10k": test}.items():
        write_idx(root / "MNIST" / "raw" / f"{name}-images-idx3-ubyte", pixels)
        write_idx(root / "MNIST" / "raw" / f"{name}-labels-idx1-ubyte", np.arange(len(pixels)) % 10)
    return root


@pytest.fixture
def numbered(tmp_path):
    """Every digit is a square of 20 px of one brightness, which tells it: 1 to 200 of train, 201 to 250 of test."""
    pixels = np.zeros((250, 28, 28), np.uint8)
    pixels[:, 4:24, 4:24] = np.arange(1, 251)[:, None, None]
    return write_mnist(tmp_path, pixels[:TRAIN], pixels[TRAIN:])


@pytest.fixture
def random(tmp_path):
    """Digits of random bytes, of which no two have a piece in common."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (TRAIN + TEST, 28, 28)).astype(np.uint8)
    return write_mnist(tmp_path, pixels[:TRAIN], pixels[TRAIN:]), pixels


def masks(split):
    assert split.marks.samples == list(range(len(split)))
    assert split.marks.labels == split.targets.tolist()
    return torch.stack(list(split.marks.masks))


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_what_is_made(name, numbered):
    options = SIZES | {"test_distractors": [4, 0]}
    data = cluttered_digits(8, **options) if name == "digits" else cluttered_mnist(numbered, 8, **options)
    assert data.name == f"cluttered_{name}, 8 distractors"
    assert data.classes == tuple("0123456789")
    assert (data.pixels.size, data.augment) == ((40, 40), "none")
    assert {name: len(split) for name, split in data.splits.items()} == SIZES | {"test4": 40, "test0": 40}
    assert list(data.tests) == ["test", "test4", "test0"]
    for split in data.splits.values():
        assert (split.images.dtype, split.images.shape[1:]) == (torch.uint8, (3, 40, 40))
        assert (split.images == split.images[:, :1]).all()
        assert (masks(split).dtype, masks(split).shape[1:]) == (torch.bool, (40, 40))
        assert split.targets.dtype == torch.int64


def test_channels_share_their_memory():
    images = cluttered_digits(**SIZES).splits["train"].images
    assert images.untyped_storage().nbytes() == SIZES["train"] * 40 * 40


def test_batches_are_the_images_with_their_masks():
    data = cluttered_digits(**SIZES)
    split = data.splits["val"]
    batch = next(iter(split.loader(InOrder(len(split), 5), data.pixels)))
    torch.testing.assert_close(data.pixels.denormalize(batch.image), split.images[:5] / 255, atol=1e-6, rtol=0)
    assert torch.equal(batch.marks.mask.bool(), masks(split)[:5])


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_the_seed_determines_everything(name, numbered):
    def make(seed):
        return (
            cluttered_digits(**SIZES, seed=seed) if name == "digits" else cluttered_mnist(numbered, **SIZES, seed=seed)
        )

    one, same, other = make(3), make(3), make(4)
    for part in SIZES:
        assert torch.equal(one.splits[part].images, same.splits[part].images)
        assert torch.equal(one.splits[part].targets, same.splits[part].targets)
        assert torch.equal(masks(one.splits[part]), masks(same.splits[part]))
        assert not torch.equal(one.splits[part].targets, other.splits[part].targets)


def test_a_split_does_not_depend_on_the_others():
    one = cluttered_digits(8, **SIZES, seed=1)
    other = cluttered_digits(8, 9, 20, 40, test_distractors=[32, 4], seed=1)
    for part in ("val", "test"):
        assert torch.equal(one.splits[part].images, other.splits[part].images)


def test_images_without_distractors_are_the_digits(random):
    """Each is found among all the files' digits, at its place; the places are all that fit, each about as often."""
    root, pixels = random
    data = cluttered_mnist(root, 0, 2000, 50, 50)
    windows = {image.tobytes(): number for number, image in enumerate(pixels)}
    seen = {}
    rows, columns = np.zeros(13, int), np.zeros(13, int)
    for part, split in data.splits.items():
        for image, label, mask in zip(split.images[:, 0].numpy(), split.targets, masks(split).numpy(), strict=True):
            across, along = np.flatnonzero(image.any(0)), np.flatnonzero(image.any(1))
            top, left = min(along[0], 12), min(across[0], 12)
            number = windows[image[top : top + 28, left : left + 28].tobytes()]
            assert label == number % 10 if number < TRAIN else label == (number - TRAIN) % 10
            outside = np.ones_like(image, bool)
            outside[top : top + 28, left : left + 28] = False
            assert not image[outside].any()
            assert np.array_equal(mask, image >= 0.25 * 255)
            seen.setdefault(part, set()).add(number)
            if part == "train":
                rows[top] += 1
                columns[left] += 1
    # 2000 / 13 = 154 of each, and a standard deviation of 12.
    assert min(rows.min(), columns.min()) > 100
    assert max(rows.max(), columns.max()) < 210
    assert not seen["train"] & seen["val"]
    assert seen["test"] <= set(range(TRAIN, TRAIN + TEST))
    assert seen["train"] | seen["val"] <= set(range(TRAIN))
    assert len(seen["train"]) == 0.9 * TRAIN  # all of its share, so many images are there


def test_a_distractor_is_a_square_of_another_digit_of_the_split(tmp_path):
    """Digits are whole squares of one brightness, which tells them: 1 to 80 in training, 81 to 120 in the test."""
    brightness = np.arange(1, 121)
    pixels = np.broadcast_to(brightness[:, None, None], (120, 28, 28))
    root = write_mnist(tmp_path, pixels[:80], pixels[80:])
    whole = {count: cluttered_mnist(root, count, 1500, 100, 400, val_digits=0.25) for count in (0, 1)}
    owners = {}
    for part, size in {"train": 1500, "val": 100, "test": 400}.items():
        before, after = (whole[count].splits[part].images[:, 0].numpy() for count in (0, 1))
        added = after.astype(int) - before
        own = before.max((1, 2))
        assert ((added > 0).sum((1, 2)) == 64).all()
        corners = np.stack([(added > 0).any(axis).argmax(1) for axis in (2, 1)])
        for image, (top, left) in enumerate(corners.T):
            square = added[image, top : top + 8, left : left + 8]
            assert (square == square[0, 0]).all()
        assert square.shape == (8, 8)
        added = added.max((1, 2))
        assert (added != own).all()
        owners[part] = {*own.tolist(), *added.tolist()}
        if size == 1500:
            assert [sorted(set(places.tolist())) for places in corners] == [list(range(33))] * 2  # all that fit
            assert set(added.tolist()) == set(own.tolist())  # any of the digits
    assert (len(owners["train"]), len(owners["val"])) == (60, 20)
    assert owners["train"] | owners["val"] == set(range(1, 81))
    assert owners["test"] == set(range(81, 121))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_distractor_is_cut_out_anywhere(axis, tmp_path):
    """All digits are one ramp, so that a piece tells where it comes from."""
    ramp = np.arange(1, 29)[:, None] if axis == 0 else np.arange(1, 29)
    root = write_mnist(tmp_path, *[np.broadcast_to(ramp, (count, 28, 28)) for count in (40, 20)])
    before, after = (cluttered_mnist(root, count, 500, 10, 10).splits["train"].images[:, 0].int() for count in (0, 1))
    starts = set()
    for added in (after - before).numpy():
        values = np.unique(added[added > 0])
        assert values.tolist() == list(range(values[0], values[0] + 8))
        starts.add(int(values[0]))
    assert starts == set(range(1, 22))


def test_more_distractors_are_added_to_the_fewer():
    data = cluttered_digits(8, **SIZES, test_distractors=[4, 0, 64, 16])
    order = [data.splits[name].images[:, 0].float() for name in ("test0", "test4", "test", "test16", "test64")]
    for fewer, more in pairwise(order):
        assert (more >= fewer).all()
        assert more.mean() > 1.15 * fewer.mean()
    for name in ("test0", "test4", "test16", "test64"):
        assert torch.equal(data.splits[name].targets, data.splits["test"].targets)
        assert torch.equal(masks(data.splits[name]), masks(data.splits["test"]))


def test_the_same_number_again_is_the_same_split():
    data = cluttered_digits(8, **SIZES, test_distractors=[8])
    assert torch.equal(data.splits["test"].images, data.splits["test8"].images)


def test_brightness_adds_up_to_white(numbered):
    """Against a loop over the same draws, in whole numbers that cannot run over."""
    data = cluttered_mnist(numbered, 5, 50, 10, 30, seed=2)
    strokes = np.zeros((50, 28, 28), int)
    strokes[:, 4:24, 4:24] = np.arange(201, 251)[:, None, None]
    rng = np.random.default_rng([2, 2])
    chosen = rng.integers(0, 50, 30)
    expected = np.zeros((30, 40, 40), int)
    for image, (number, top, left) in enumerate(zip(chosen, *rng.integers(0, 13, (2, 30)), strict=True)):
        expected[image, top : top + 28, left : left + 28] += strokes[number]
    for _ in range(5):
        others = (chosen + rng.integers(1, 50, 30)) % 50
        assert (others != chosen).all()
        sources, places = rng.integers(0, 21, (2, 30)).T, rng.integers(0, 33, (2, 30)).T
        for image, (number, (row, column), (top, left)) in enumerate(zip(others, sources, places, strict=True)):
            expected[image, top : top + 8, left : left + 8] += strokes[number, row : row + 8, column : column + 8]
    assert expected.max() > 500
    assert np.array_equal(data.splits["test"].images[:, 0].numpy(), expected.clip(max=255))


def test_enlarged_digits_are_the_writers():
    """Shrunk again they are what scikit-learn has, of the right class and the split's own."""
    for part in SIZES:
        split = cluttered_digits(0, 30, 30, 30).splits[part]
        strokes, labels = handwriting(part)
        for image, label in zip(split.images[:, 0].float() / 255, split.targets, strict=True):
            distances = []
            for top in range(13):
                for left in range(13):
                    digit = image[top + 4 : top + 24, left + 4 : left + 24]
                    if image.sum() - digit.sum() < 1e-3:
                        small = torch.nn.functional.interpolate(digit[None, None], (8, 8), mode="area")[0, 0].numpy()
                        distances.append(np.abs(strokes - small).mean((1, 2)))
            distances = np.array(distances)
            place, writer = np.unravel_index(distances.argmin(), distances.shape)
            assert distances[place, writer] < 0.1
            assert labels[writer] == label


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distractors": -1}, "distractors must be at least 0; got -1"),
        ({"test_distractors": [4, -8]}, "test_distractors must be different numbers, at least 0; got 4, -8"),
        ({"test_distractors": [4, 8, 4]}, "test_distractors must be different numbers, at least 0; got 4, 8, 4"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        build_data(DataConfig("cluttered_digits", settings=options))


@pytest.mark.parametrize("options", [{"distractors": 10**9}, {"test_distractors": [4, 10**9]}])
def test_more_distractors_than_can_be_drawn(options):
    with pytest.raises(ValueError, match=r"^distractors and test_distractors must be at most 10,000; got 1000000000$"):
        build_data(DataConfig("cluttered_digits", settings=options))


def test_mnist_must_be_there(tmp_path):
    with pytest.raises(ValueError, match=rf"^mnist was not found whole in {re.escape(str(tmp_path))}: Dataset not"):
        cluttered_mnist(tmp_path)


def test_validation_needs_digits_of_its_own(numbered):
    with pytest.raises(
        ValueError, match=r"^val_digits must be above 0, so that no handwriting is in two splits; got 0.0$"
    ):
        build_data(DataConfig("cluttered_mnist", root=numbered, settings={"val_digits": 0.0}))


@pytest.mark.parametrize("options", [{}, {"val_digits": 0.5}])
def test_validation_takes_its_share(numbered, options):
    split = cluttered_mnist(numbered, 0, 3000, 1500, 10, **options).splits
    own = {name: set(split[name].images.amax((1, 2, 3)).tolist()) for name in ("train", "val")}
    share = options.get("val_digits", 0.1)
    assert len(own["val"]) == share * TRAIN
    assert len(own["train"]) == (1 - share) * TRAIN
