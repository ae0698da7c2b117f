import re

import pytest
import torch

from looksharp.data.sets.synthetic import biased_digits
from looksharp.networks import SmallNet
from looksharp.suspects import find_groups, read_groups, suspects, write_suspects
from looksharp.suspects.regions import find_regions
from looksharp.suspects.trials import effect


@pytest.fixture(scope="module")
def searched():
    torch.manual_seed(0)
    data, model = biased_digits(1.0, 60, 1, 1, seed=0), SmallNet(10, width=8).eval()
    found = suspects(model, data, n=5, progress=False)
    return data, model, found, find_groups(model, data, found, tested=4, batch_size=16, progress=False)


def test_every_image_of_a_group_has_its_region(searched):
    data, model, found, tested = searched
    split = data.splits["train"]
    rows = {(int(i), data.classes[c]): int(g) for i, c, g in zip(found.index, found.label, found.cluster, strict=True)}
    seen = {(region.image, region.label): group.number for group in tested.groups for region in group.regions}
    assert seen == rows
    for group in tested.groups:
        assert [region.image for region in group.regions] == sorted(region.image for region in group.regions)
        for region in group.regions:
            image = data.pixels.normalize(split.images[region.image])[None]
            (mask,) = find_regions(model, image, split.targets[region.image][None])
            assert (region.mask ^ mask).sum() <= 2  # at the edge, where a batch's rounding decides


def test_groups_are_ordered_by_what_the_tests_say(searched):
    _, _, found, tested = searched
    effects = [effect(group.tests) for group in tested.groups]
    assert effects == sorted(effects, reverse=True)
    assert sorted(group.number for group in tested.groups) == list(found.sizes)
    assert all(max(figure.images for figure in group.tests.values()) <= 4 for group in tested.groups)


def test_the_seed_determines_the_tests_and_the_batch_does_not(searched):
    data, model, found, tested = searched
    same = find_groups(model, data, found, tested=4, batch_size=7, progress=False)
    assert [(group.number, group.tests) for group in same.groups] == [(g.number, g.tests) for g in tested.groups]


def test_what_is_written_is_read_back_and_of_this_run(searched, tmp_path):
    data, model, found, tested = searched
    written = write_suspects(found, data, tmp_path, tested=tested)
    assert {tmp_path / "groups.json", tmp_path / "index.html", tmp_path / "contact_sheet.png"} <= set(written)
    groups = read_groups(tmp_path)
    groups.check(model, data.splits["train"], data.pixels)
    assert [group.number for group in groups] == [group.number for group in tested.groups]
    for group in groups:
        assert group.reason == tested.groups[group.number].reason
        assert group.images == tested.groups[group.number].images


def test_the_page_shows_every_group_and_holds_all_it_shows(searched, tmp_path):
    data, _, found, tested = searched
    write_suspects(found, data, tmp_path, tested=tested)
    page = (tmp_path / "index.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for group in tested.groups:
        assert f'id="group-{group.number}"' in page
        assert page.count(group.reason) >= 1
    shown = sum(len(each) for each in tested.examples.values())
    assert page.count("<img ") == 6 * shown
    assert shown == sum(min(2, size) for size in found.sizes.values())


def test_a_number_of_tests_that_cannot_be(searched):
    data, model, found, _ = searched
    with pytest.raises(ValueError, match=r"^tested must be at least 1 image of each group; got 0$"):
        find_groups(model, data, found, tested=0, progress=False)
