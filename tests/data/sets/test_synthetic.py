import re

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from looksharp.data.sets import synthetic
from looksharp.data.sets.synthetic import PALETTE, biased_digits, digits, handwriting

SPLITS = {"train": 1200, "val": 20, "test": 150}
RHO = 0.8
PATCH = 8


@pytest.fixture(scope="module")
def plain():
    return digits(*SPLITS.values(), seed=5)


@pytest.fixture(scope="module")
def biased():
    return biased_digits(RHO, *SPLITS.values(), seed=5)


def masks(split):
    assert split.marks.samples == list(range(len(split)))
    assert split.marks.labels == split.targets.tolist()
    return torch.stack(list(split.marks.masks))


def test_what_is_made(plain, biased):
    assert {name: len(split) for name, split in plain.splits.items()} == SPLITS
    assert list(biased.splits) == ["train", "val", "biased", "unbiased", "conflicting"]
    assert list(biased.tests) == ["biased", "unbiased", "conflicting"]
    for data in (plain, biased):
        assert data.classes == tuple("0123456789")
        assert (data.pixels.size, data.augment) == ((48, 48), "none")
        for split in data.splits.values():
            assert (split.images.dtype, split.images.shape[1:]) == (torch.uint8, (3, 48, 48))
            assert masks(split).dtype == torch.bool
            assert split.targets.dtype == torch.int64
    shares = plain.splits["train"].targets.bincount(minlength=10) / SPLITS["train"]
    assert (shares - 0.1).abs().max() < 0.05


@pytest.mark.parametrize("make", [digits, biased_digits])
def test_the_seed_determines_everything(make):
    sizes = {"train": 12, "val": 5, "test": 7}
    one, same, other = (make(**sizes, seed=seed) for seed in (3, 3, 4))
    for name in one.splits:
        assert torch.equal(one.splits[name].images, same.splits[name].images)
        assert torch.equal(one.splits[name].targets, same.splits[name].targets)
        assert torch.equal(masks(one.splits[name]), masks(same.splits[name]))
        assert (one.splits[name].images != other.splits[name].images).flatten(1).any(1).all()


def test_a_split_does_not_depend_on_the_others_sizes():
    one, other = digits(3, 4, 5, seed=1), digits(9, 4, 7, seed=1)
    assert torch.equal(one.splits["val"].images, other.splits["val"].images)


def test_no_handwriting_is_in_two_splits():
    bunch = load_digits()
    place = {image.tobytes(): n for n, image in enumerate((bunch.images / 16).astype(np.float32))}
    assert len(place) == 1797  # no two are the same
    seen = {}
    for split in SPLITS:
        images, labels = handwriting(split)
        seen[split] = {place[image.tobytes()] for image in images}
        assert len(seen[split]) == len(images)
        assert labels.tolist() == [bunch.target[place[image.tobytes()]] for image in images]
        assert set(labels) == set(range(10))
    assert sum(len(owned) for owned in seen.values()) == len(set().union(*seen.values())) == 1797
    assert [round(len(owned) / 1797, 2) for owned in seen.values()] == [0.7, 0.1, 0.2]


def test_the_mask_is_where_the_digit_is(monkeypatch):
    """The same canvases are made with the digits in white and without them: so much is each pixel covered."""
    paint, colour = synthetic._paint, None

    def paint_digit(canvases, alpha, colours, *at):
        if alpha.shape[-1] < 24:  # fragments
            paint(canvases, alpha, colours, *at)
        elif colour is not None:
            paint(canvases, alpha, np.full_like(colours, colour), *at)

    monkeypatch.setattr(synthetic, "_NOISE", 0)
    plain = digits(1, 1, 60, seed=8).splits["test"]
    monkeypatch.setattr(synthetic, "_paint", paint_digit)
    without = digits(1, 1, 60, seed=8).splits["test"].images.double() / 255
    colour = 1
    white = digits(1, 1, 60, seed=8).splits["test"].images.double() / 255
    room = 1 - without
    channel = room.argmax(1, keepdim=True)  # the darkest
    room, change = room.gather(1, channel)[:, 0], (white - without).gather(1, channel)[:, 0]
    opacity, drawn, clear = change / room, masks(plain), room > 0.4  # of light clutter nothing is to be told
    assert clear.double().mean() > 0.9
    assert drawn[clear & (opacity > 0.265)].all()
    assert not drawn[clear & (opacity < 0.235)].any()
    for image, canvas, mask in zip(plain.images, without, drawn, strict=True):
        changed = ((image / 255 - canvas).abs() > 1 / 255).any(0)
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        assert max(rows[-1] - rows[0], columns[-1] - columns[0]) < 32  # a digit's largest side
        assert 40 < mask.sum() < 600
        assert (mask & ~changed).sum() < 0.1 * mask.sum()  # but for clutter of the digit's colour


def patches(biased, plain):
    """(N, 48, 48) bool and the index of the colour (N,), found where an image differs from its canvas."""
    changed = (biased.images != plain.images).any(1)
    places, colours = torch.zeros_like(changed), []
    for n, image in enumerate(changed):
        rows, columns = image.any(1).nonzero().flatten(), image.any(0).nonzero().flatten()
        places[n, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        shown = biased.images[n][:, places[n]].float() / 255  # (3, pixels)
        assert (shown.amax(1) == shown.amin(1)).all()
        distances = (torch.from_numpy(PALETTE) - shown[:, 0]).abs().amax(1)
        assert distances.min() < 1 / 255
        colours.append(int(distances.argmin()))
    return places, torch.tensor(colours)


def test_the_cue_is_a_patch_apart_from_the_digit(biased, plain):
    for name, canvas in {"train": "train", "val": "val", "biased": "test", "conflicting": "test"}.items():
        assert torch.equal(biased.splits[name].targets, plain.splits[canvas].targets)
        assert torch.equal(masks(biased.splits[name]), masks(plain.splits[canvas]))
        places, _ = patches(biased.splits[name], plain.splits[canvas])
        assert not (places & masks(biased.splits[name])).any()
        sides = torch.stack([places.any(2).sum(1), places.any(1).sum(1)])
        assert (sides == PATCH).float().mean() > 0.98  # the canvas may happen to be of the patch's colour
        assert sides.max() == PATCH


def test_the_cue_follows_the_class_as_often_as_rho_says(biased, plain):
    for name, canvas, chance in (
        ("train", "train", RHO + (1 - RHO) / 10),
        ("biased", "test", RHO + (1 - RHO) / 10),
        ("unbiased", "test", 0.1),
        ("conflicting", "test", 0.0),
    ):
        split = biased.splits[name]
        _, colours = patches(split, plain.splits[canvas])
        agrees = colours == split.targets
        spread = (chance * (1 - chance) / len(split)) ** 0.5
        assert abs(agrees.float().mean().item() - chance) <= 4 * spread
        assert torch.equal(split.groups, (~agrees).long())
        assert biased.group_names == ("cue agrees", "cue disagrees")
    shares = patches(biased.splits["unbiased"], plain.splits["test"])[1].bincount(minlength=10)
    assert shares.min() > 0


def test_the_tests_differ_in_the_patch_alone(biased, plain):
    places, _ = patches(biased.splits["conflicting"], plain.splits["test"])
    first = biased.splits["biased"]
    for name in ("unbiased", "conflicting"):
        split = biased.splits[name]
        assert torch.equal(split.targets, first.targets)
        assert torch.equal(masks(split), masks(first))
        differs = (split.images != first.images).any(1)
        assert not (differs & ~places).any()
        assert differs.any()
    drawn = [patches(biased.splits[name], plain.splits["test"])[1] for name in ("biased", "unbiased")]
    follows = drawn[0] == first.targets
    assert torch.equal(drawn[0][~follows], drawn[1][~follows])  # where it does not follow, it is drawn


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_rho_at_its_ends(rho):
    data = biased_digits(rho, 200, 1, 40, seed=2)
    agree = 1 - data.splits["train"].groups.float().mean().item()
    assert agree == 1 if rho else agree < 0.25
    assert data.splits["conflicting"].groups.all()
    assert data.name == f"biased_digits, rho {rho:g}"


def test_colours_are_told_apart():
    assert PALETTE.shape == (10, 3)
    apart = np.abs(PALETTE[:, None] - PALETTE[None]).max(-1)
    assert apart[~np.eye(10, dtype=bool)].min() > 0.3


@pytest.mark.parametrize("rho", [-0.1, 1.01, float("nan")])
def test_rho_must_be_a_probability(rho):
    with pytest.raises(ValueError, match=rf"^rho must be a probability, 0 to 1; got {re.escape(str(rho))}$"):
        biased_digits(rho, 1, 1, 1)
