"""Regions kept on the disk: a search that was killed goes on, and finds what it would have found."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from looksharp.data.sets.synthetic import biased_digits
from looksharp.networks import SmallNet
from looksharp.suspects import find_groups, finding, suspects
from looksharp.suspects.kept import KeptRegions

IMAGES, BATCH, OF_A_FILE = 60, 4, 8


@pytest.fixture(scope="module")
def searched():
    """The data, a network, what it reads, and its groups, found without a break."""
    torch.manual_seed(0)
    data, model = biased_digits(1.0, IMAGES, 1, 1, seed=0), SmallNet(10, width=8).eval()
    found = suspects(model, data, n=2, progress=False)
    assert len(found.index) > 2 * OF_A_FILE + BATCH  # the third file is begun
    return data, model, found, find_groups(model, data, found, tested=2, batch_size=BATCH, progress=False)


@pytest.fixture
def search(searched, monkeypatch, tmp_path):
    """Search, keeping regions in tmp_path; it may be killed at a batch. Return images looked at, and the groups."""
    data, model, found, _ = searched
    whole = finding.find_regions
    monkeypatch.setattr(finding, "_IMAGES", OF_A_FILE)

    def go(killed_at=None, batch_size=BATCH, model=model, found=found):
        looked_at = []

        def find_regions(network, images, classes):
            if len(looked_at) == killed_at:
                raise KeyboardInterrupt
            looked_at.append(len(images))
            return whole(network, images, classes)

        monkeypatch.setattr(finding, "find_regions", find_regions)
        try:
            options = {"tested": 2, "keep": tmp_path, "batch_size": batch_size, "progress": False}
            groups = find_groups(model, data, found, **options)
        except KeyboardInterrupt:
            groups = None
        return sum(looked_at), groups

    return go


def content(found):
    """All that is said of groups."""
    return [
        [group.number, group.tests, [(each.image, each.label, list(each.runs)) for each in group.regions]]
        for group in found.groups
    ]


def test_a_killed_search_goes_on_and_finds_the_same(searched, search, tmp_path):
    *_, read, whole = searched
    assert search(killed_at=5) == (5 * BATCH, None)
    assert len(list(tmp_path.iterdir())) == 2
    looked_at, found = search()
    assert looked_at == len(read.index) - 2 * OF_A_FILE > 0
    assert content(found) == content(whole)
    assert search()[0] == 0  # all is there
    assert content(search()[1]) == content(whole)


def test_another_batch_size_goes_on_too(searched, search):
    *_, read, whole = searched
    search(killed_at=3)
    looked_at, found = search(batch_size=3)
    assert looked_at == len(read.index) - OF_A_FILE > 0
    for (_, _, ours), (_, _, theirs) in zip(sorted(content(found)), sorted(content(whole)), strict=True):
        assert [each[:2] for each in ours] == [each[:2] for each in theirs]


def test_regions_of_another_network_are_not_taken(searched, search, tmp_path):
    *_, read, _ = searched
    search()
    before = {path.name for path in tmp_path.iterdir()}
    torch.manual_seed(1)
    other = SmallNet(10, width=8).eval()
    assert search(model=other)[0] == len(read.index)
    assert not before & {path.name for path in tmp_path.iterdir()}


def test_other_classes_of_the_images_are_looked_for_anew(searched, search):
    *_, read, _ = searched
    search()
    swapped = replace(read, label=(read.label + 1) % 10)
    assert search(found=swapped)[0] == len(read.index)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", None])
def test_a_damaged_file_is_made_again(searched, search, tmp_path, damage):
    *_, whole = searched
    search()
    first, *_ = sorted(tmp_path.iterdir())
    if damage is None:
        with np.load(first) as kept:
            values = {name: kept[name] for name in kept.files if name != "lengths"}
        np.savez(first, **values)
    else:
        first.write_bytes(damage)
    looked_at, found = search()
    assert looked_at == OF_A_FILE
    assert content(found) == content(whole)


def test_images_without_a_region_are_known_too(tmp_path):
    files = KeptRegions(tmp_path, "key")
    files.write([3, 9], {})
    files.write([10], {4: [5, 2, 2], 7: [9]})
    images, regions = files.read()
    assert images == [3, 9, 10]
    assert {row: list(runs) for row, runs in regions.items()} == {4: [5, 2, 2], 7: [9]}
    assert KeptRegions(None, "key").read() == ([], {})
