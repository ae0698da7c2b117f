"""Pieces in images where nobody ticked any: what counts, with a segmenter that finds just what it is told to."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from looksharp.curing import reaching
from looksharp.curing import ticks as ticks_module
from looksharp.curing.budget import plan_budget
from looksharp.curing.reaching import Reached, reach
from looksharp.curing.ticks import Ticks, choose_ticks
from looksharp.data.sets.synthetic import biased_digits
from looksharp.data.split import Pixels
from looksharp.data.ticked import TickedRegion, choose_ticked
from looksharp.evaluation.fingerprint import model_fingerprint
from looksharp.marks.runs import runs_mask
from looksharp.propagation.found import packed
from looksharp.propagation.propagate import Propagated
from looksharp.suspects.groups import Group, Groups, Region, images_fingerprint, write_groups
from looksharp.training.settings import MarksConfig, RunConfig, TrainingConfig


class Reader(nn.Module):
    """Answers with the class whose number the image's first red pixel holds, or 3 where that pixel is covered."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        told = (images[:, 0, 0, 0] * 10).round().clamp(0, 9).long()
        return nn.functional.one_hot(told, 10).float() + 0 * self.unused


@pytest.fixture
def data():
    """Forty images whose first pixel tells the class, so that a piece over it holds the "object"."""
    data = biased_digits(rho=1.0, train=40, val=1, test=1)
    split, pixels = data.splits["train"], Pixels((48, 48), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    split.targets = torch.arange(40) % 10
    split.images = torch.full((40, 3, 48, 48), 250, dtype=torch.uint8)
    split.images[:, 0, 0, 0] = (split.targets * 25.5).round().byte()
    return replace(data, pixels=pixels, splits=data.splits | {"train": split})


@pytest.fixture
def run(data):
    config = RunConfig(training=TrainingConfig(seed=3, device="cpu"))
    return SimpleNamespace(model=Reader().eval(), pixels=data.pixels, config=config, classes=data.classes)


def box(top, left, side):
    mask = torch.zeros(48, 48, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def region(place, label, mask):
    return TickedRegion(place, label, Region.of(place, "", mask).runs)


@pytest.fixture
def told(monkeypatch):
    """Replace the segmenter by one that finds given masks: told(masks, sure) -> what it was asked."""
    asked = {}

    def tell(masks, sure):
        def found(split, pixels, **options):
            asked.update(options, split=split, pixels=pixels)
            own = tuple(split.marks.images)
            return Propagated(packed(masks), (48, 48), torch.tensor(sure), own, torch.tensor([0.4, 0.6, 0.8, 0.6]))

        monkeypatch.setattr(reaching, "propagate", found)
        return asked

    return tell


def test_pieces_that_are_sure_and_alike_are_found_where_none_is_ticked(run, data, told):
    ticked = [region(place, place % 10, box(20, 20, 8)) for place in (0, 1, 10, 11)]
    masks = torch.stack([box(30, 30, 8)] * 40)
    masks[12], masks[13], masks[14], masks[15] = box(30, 30, 5), box(30, 30, 6), box(30, 30, 11), box(30, 30, 12)
    sure = [1.0] * 40
    sure[16] = 0.49
    asked = told(masks, sure)
    found = reach(run, data, ticked, progress=False)
    # 25 and 144 of the median's 64 pixels are too few and too many; 36 and 121 are not.
    assert [each.image for each in found.regions] == [n for n in range(40) if n not in (0, 1, 10, 11, 12, 15, 16)]
    assert all(each.label == each.image % 10 for each in found.regions)
    assert torch.equal(torch.from_numpy(runs_mask(found.regions[0].runs, (48, 48)).copy()), masks[2])
    assert found.overlap == pytest.approx(0.6)
    learnt = asked["split"].marks
    assert learnt.images == [0, 1, 10, 11]
    assert torch.equal(learnt.of(10)[0][1].bool(), box(20, 20, 8))
    assert (asked["seed"], asked["steps"], asked["mirror"]) == (3, reaching.STEPS, False)


def test_where_no_piece_is_ticked_it_must_not_be_what_the_network_needs(run, data, told):
    """Over the pixel that is read, a piece holds the object, unless it is a ticked class's."""
    ticked = [region(place, 1, box(20, 20, 8)) for place in (1, 11, 21, 31)]
    masks = torch.stack([box(0, 0, 8) if place % 10 in (4, 5) else box(30, 30, 8) for place in range(40)])
    told(masks, [1.0] * 40)
    found = reach(run, data, ticked, progress=False)
    assert {each.label for each in found.regions} == {0, 2, 3, 6, 7, 8, 9}
    also = [*ticked, region(4, 4, box(20, 20, 8))]
    assert {each.label for each in reach(run, data, also, progress=False).regions} == {0, 2, 3, 4, 6, 7, 8, 9}


def test_a_mask_of_the_image_is_cut_to_what_the_network_sees():
    """Of 60 x 80 pixels, resized to 48 x 64, the columns 10 to 70 are seen."""
    mask = torch.zeros(1, 12, 16, dtype=torch.bool)
    mask[0, 3:6, 2:5] = True  # rows 15 to 30, columns 10 to 25 of the image
    found = Propagated(packed(mask), (12, 16), torch.ones(1), (), torch.ones(1))
    split = SimpleNamespace(in_memory=False, size=lambda place: (60, 80))
    expected = torch.zeros(48, 48, dtype=torch.bool)
    expected[12:24, 0:12] = True
    assert torch.equal(reaching._as_seen(found, 0, split, Pixels((48, 48))), expected)


@pytest.fixture
def folder(run, data, tmp_path):
    split = data.splits["train"]
    groups = [
        Group(n, tuple(Region.of(p, str(p % 10), box(20, 20, 8)) for p in places))
        for n, places in ((1, (0, 1)), (2, (10, 11)))
    ]
    facts = (model_fingerprint(run.model), images_fingerprint(split, data.pixels), "train", (48, 48), data.classes)
    write_groups(tmp_path / "groups.json", Groups(None, *facts, tuple(groups)))
    return tmp_path


def test_found_pieces_join_the_ticked_ones(run, data, folder, told, monkeypatch):
    monkeypatch.setattr(ticks_module, "refusals", lambda run, data, groups: {})
    told(torch.stack([box(30, 30, 8)] * 40), [1.0] * 40)
    ticks = choose_ticks(folder, "all", None, run, data, folder / "out")
    assert "found such a piece in 36 other training images" in ticks.note
    assert "overlaps their regions by 0.60" in ticks.note
    marks = ticks.settings(MarksConfig(cues=""))
    assert marks.shortcut == [1, 2, 0]
    pointed = choose_ticked(data, marks).splits["train"].pointed
    assert pointed.images == list(range(40))
    assert torch.equal(pointed.of(5)[0][1].bool(), box(30, 30, 8))
    # What was found is kept: the cure goes on with it, whatever a segmenter would find now.
    told(torch.stack([box(5, 5, 8)] * 40), [1.0] * 40)
    again = choose_ticks(folder, "all", None, run, data, folder / "out", propagate=True)
    assert (again.note, again.settings(marks)) == (ticks.note, marks)
    with pytest.raises(ValueError, match="holds a cure with other ticks"):
        choose_ticks(folder, "1", None, run, data, folder / "out", propagate=True)
    plainly = choose_ticks(folder, "all", None, run, data, folder / "without", propagate=False)
    assert (plainly.reached, plainly.settings(marks).shortcut) == (None, [1, 2])
    few = choose_ticks(folder, "1", None, run, data, folder / "few")  # two regions, and four are needed
    assert few.reached is None
    assert json.loads((folder / "without" / "cues.json").read_text())["groups"].keys() == {"1", "2"}


def test_a_budget_of_all_groups_has_the_found_pieces_too(tmp_path):
    ticks = Ticks(tmp_path / "cues.json", (4, 2), (), 9, None, {}, Reached((region(0, 0, box(1, 1, 4)),), 0.5))
    config = RunConfig.from_flat({"objective": "classification+cue_exchange", "cues": "cues.json", "shortcut": [4]})
    config = replace(config, marks=ticks.settings(config.marks))
    trials = plan_budget([1, 2], [0], config, config, 0, tmp_path)
    assert [trial.config.marks.shortcut for trial in trials] == [[4], [4, 2, 0]]
