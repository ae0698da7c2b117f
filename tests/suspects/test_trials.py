from dataclasses import replace

import pytest
import torch
from torch import nn

from looksharp.data.split import Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.interventions.intervals import wilson_interval
from looksharp.interventions.surroundings import exchange_surroundings, object_only, surroundings_only
from looksharp.networks import SmallNet
from looksharp.suspects.groups import Figure, Group, Region
from looksharp.suspects.trials import TESTS, _elsewhere, _pairs, effect, judge, try_group

CLASSES = ("red", "plain", "other")


class RedReader(nn.Module):
    """Answers red where there is a bright red pixel anywhere, and plain elsewhere."""

    def forward(self, images):
        red = (images[:, 0] - images[:, 1]).amax((-2, -1))
        return torch.stack([red, torch.full_like(red, 1.0), torch.zeros_like(red)], 1)


def with_patches(count=20, side=24, size=6):
    """Noise, and a red patch in every second image."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(110, 140, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    for place in range(count):
        top, left = torch.randint(side - size, (2,), generator=generator).tolist()
        masks[place, top : top + size, left : left + size] = True
    targets = torch.arange(count) % 2
    for place in range(0, count, 2):
        images[place, :, masks[place]] = torch.tensor([[255], [0], [0]], dtype=torch.uint8)
    return TensorSplit(targets=targets, images=images), masks


PIXELS = Pixels((24, 24))


def group_of(split, masks, label, places):
    return Group(3, tuple(Region.of(place, CLASSES[label], masks[place]) for place in places))


def test_a_piece_that_decides_and_one_that_does_not():
    split, masks = with_patches()
    cue, examples = try_group(RedReader().eval(), split, PIXELS, CLASSES, group_of(split, masks, 0, range(0, 20, 2)))
    assert {name: (figure.share, figure.images) for name, figure in cue.tests.items()} == {
        "follows": (1, 10),
        "follows_random": (0, 10),
        "lost": (1, 10),
        "lost_random": (0, 10),
        "alone": (1, 10),
    }
    assert cue.verdict == "decides"
    assert cue.reason.startswith("The answer follows the piece: it decides 100.0% elsewhere (random pieces: 0.0%).")
    assert len(examples) == 2
    assert examples[0].title == "red, pasted onto plain"
    assert examples[0].answers["onto"] == ("plain", False)
    assert examples[0].answers["follows"] == ("red", True)
    assert examples[0].answers["lost"] == ("plain", False)
    nothing, _ = try_group(RedReader().eval(), split, PIXELS, CLASSES, group_of(split, masks, 1, range(1, 20, 2)))
    assert nothing.tests["lost"].share == 0
    assert nothing.verdict == "unclear"


@pytest.mark.parametrize(("batch_size", "several"), [(64, False), (4, False), (6, True)])
def test_figures_by_plain_loops(batch_size, several):
    torch.manual_seed(0)
    split, masks = with_patches()
    model = SmallNet(3, width=8).eval()
    if several:
        hot = torch.zeros(20, 3)
        hot[torch.arange(20), split.targets] = 1
        hot[::3, 2] = 1
        split = replace(split, targets=hot)
    group = group_of(split, masks, 0, range(0, 20, 2))
    found, _ = try_group(model, split, PIXELS, CLASSES, group, images=7, batch_size=batch_size, seed=4)
    pairs = _pairs(group, split, CLASSES, 7, torch.Generator().manual_seed(4_000_012 + group.number))
    counted = {name: [] for name in TESTS}

    @torch.no_grad()
    def red(image):
        scores = model(image[None])[0].tolist()
        return scores[0] > 0 if several else scores[0] == max(scores)

    for pair in pairs:
        own, onto = (PIXELS.normalize(split.images[place]) for place in (pair.region.image, pair.onto))
        mask, random = pair.region.mask.float()[None], pair.random.float()[None]
        if not red(onto):
            counted["follows"].append(red(exchange_surroundings(own[None], mask, onto[None])[0]))
            counted["follows_random"].append(red(exchange_surroundings(own[None], random, onto[None])[0]))
        if red(own):
            counted["lost"].append(not red(surroundings_only(own[None], mask)[0]))
            counted["lost_random"].append(not red(surroundings_only(own[None], random)[0]))
        counted["alone"].append(red(object_only(own[None], mask)[0]))
    assert found.tests.keys() == {name for name, values in counted.items() if values}
    for name, figure in found.tests.items():
        values = torch.tensor(counted[name], dtype=torch.float64)
        assert (figure.share, figure.images) == (pytest.approx(float(values.mean())), len(values))
        assert figure.interval == pytest.approx(wilson_interval(values))


def test_pieces_go_onto_images_that_do_not_show_their_class():
    split, masks = with_patches()
    group = group_of(split, masks, 0, range(0, 20, 2))
    for pair in _pairs(group, split, CLASSES, 32, torch.Generator().manual_seed(0)):
        assert split.targets[pair.onto] == 1
    alone = replace(split, targets=torch.zeros(20, dtype=torch.long))
    found, examples = try_group(RedReader().eval(), alone, PIXELS, CLASSES, group)
    assert (found.tests, examples, found.verdict) == ({}, [], "unclear")
    empty, _ = try_group(RedReader().eval(), split, PIXELS, CLASSES, Group(1, ()))
    assert (empty.tests, empty.verdict) == ({}, "unclear")


def test_a_random_piece_is_of_the_same_size_and_shape_and_elsewhere():
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(30, 40, dtype=torch.bool)
    mask[2:8, 3:12] = True
    mask[4, 5] = False
    for _ in range(5):
        moved = _elsewhere(mask, generator)
        assert moved.sum() == mask.sum()
        assert not (moved & mask).any()
        rows, columns = moved.any(1).nonzero().flatten(), moved.any(0).nonzero().flatten()
        assert torch.equal(moved[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], mask[2:8, 3:12])
    assert torch.equal(_elsewhere(torch.ones(5, 5, dtype=torch.bool), generator), torch.ones(5, 5, dtype=torch.bool))


def figures(**shares):
    return {name: Figure(share, (share - 0.1, share + 0.1), 20) for name, share in shares.items()}


@pytest.mark.parametrize(
    ("tests", "verdict", "ahead"),
    [
        (figures(follows=0.5, follows_random=0.2, lost=0.0, lost_random=0.0, alone=0.1), "decides", (0.3, 0.0)),
        (figures(follows=0.3, follows_random=0.2, lost=0.9, lost_random=0.1, alone=0.1), "needed", (0.1, 0.8)),
        (figures(follows=0.3, follows_random=0.2, lost=0.2, lost_random=0.1, alone=0.9), "unclear", (0.1, 0.1)),
        (figures(lost=0.9, lost_random=0.1, alone=0.1), "needed", (-1.0, 0.8)),
        ({}, "unclear", (-1.0, -1.0)),
    ],
)
def test_the_verdict_reads_intervals_not_shares(tests, verdict, ahead):
    word, reason = judge(tests)
    assert word == verdict
    assert "\n" not in reason
    assert effect(tests) == pytest.approx(ahead)
