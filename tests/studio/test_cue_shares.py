"""Shares of evidence on pieces, and pieces pasted elsewhere."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from looksharp.attention.attend import attend
from looksharp.data.build import build_data
from looksharp.evaluation.fingerprint import model_fingerprint
from looksharp.studio.cue_shares import CueShares
from looksharp.studio.estimates import timed_epoch
from looksharp.studio.pieces import pasted, piece_pictures
from looksharp.studio.ticked import Ticked
from looksharp.suspects.groups import Group, Groups, Region, images_fingerprint, write_groups
from looksharp.training import load_run

PLACES = {1: [3, 8, 20], 2: [8, 40]}


@pytest.fixture(scope="module")
def opened(small_run):
    run = load_run(small_run, device="cpu")
    return run, build_data(run.config.data, run.config.training.seed)


@pytest.fixture(scope="module")
def groups(opened, tmp_path_factory):
    run, data = opened
    train = data.splits["train"]

    def piece(image, number):
        mask = torch.zeros(run.pixels.size, dtype=torch.bool)
        mask[8 * number : 8 * number + 12, 4:30] = True
        return Region.of(image, run.classes[int(train.targets[image])], mask)

    found = tuple(Group(n, tuple(piece(image, n) for image in places)) for n, places in PLACES.items())
    facts = model_fingerprint(run.model), images_fingerprint(train, run.pixels), "train", run.pixels.size, run.classes
    path = tmp_path_factory.mktemp("groups") / "groups.json"
    write_groups(path, Groups(None, *facts, found))
    return path, found


@pytest.mark.parametrize(
    ("ticked", "chosen"), [(Ticked(), (1, 2)), (Ticked(shortcut=(2,)), (2,)), (Ticked(object=(2,)), (1,))]
)
def test_shares_are_of_the_maps_on_the_pieces_that_are_ticked(opened, groups, ticked, chosen):
    run, data = opened
    path, found = groups
    shares = CueShares(lambda function, *given: function(*given)).of(run, data, path, ticked)
    until = time.monotonic() + 60
    while not (0 < shares.pieces == shares.known) and not shares.error and time.monotonic() < until:
        time.sleep(0.02)
    assert shares.error == ""
    train, expected = data.splits["train"], np.full(160, np.nan)
    for image in {image for number in chosen for image in PLACES[number]}:
        mask = torch.zeros(run.pixels.size, dtype=torch.bool)
        for group in found:
            for region in group.regions:
                if group.number in chosen and region.image == image:
                    mask |= region.mask
        (batch,) = train.loader([[image]], run.pixels)
        ((_, maps),) = attend(run.model, batch.image, batch.target).maps.items()
        large = F.interpolate(maps, mask.shape, mode="bilinear", align_corners=False)[0, 0].double()
        expected[image] = float(large[mask].sum() / large.sum())
    np.testing.assert_allclose(shares.values, expected, atol=1e-4)


def test_a_piece_is_pasted_onto_an_image_of_another_class(opened, groups):
    run, data = opened
    group = groups[1][0]
    for turn in range(3):
        own, other, made = pasted(run, data, group, turn)
        label = own.title.removeprefix("the image, class ")
        assert label in group.classes
        assert other.title.removeprefix("an image of class ") != label
        assert made.picture not in (own.picture, other.picture)
        assert made.answer.split()[0] in run.classes
    shown = piece_pictures(data, run.pixels, group)
    assert [title.rpartition(" ")[2] for title, _ in shown] == [data.splits["train"].name(i) for i in PLACES[1]]


def test_where_all_images_show_the_class_there_is_none_to_paste_onto(opened, groups):
    run, data = opened
    label = run.classes.index(groups[1][0].regions[0].label)
    train = data.splits["train"]
    same = replace(train, targets=torch.full_like(train.targets, label))
    group = replace(groups[1][0], regions=groups[1][0].regions[:1])
    with pytest.raises(ValueError, match="there is none to paste the piece onto"):
        pasted(run, replace(data, splits=data.splits | {"train": same}), group, 0)


def test_a_timed_step_leaves_the_network_as_it_was(opened):
    run, data = opened
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    assert timed_epoch(run, data) > 0
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert all(each.grad is None for each in run.model.parameters())
    assert not run.model.training
