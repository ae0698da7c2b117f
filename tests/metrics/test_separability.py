import math

import pytest
import torch

from looksharp.metrics import ConfusedPairs, separability
from looksharp.objectives import ICASC

BLOB = torch.zeros(8, 8)
BLOB[2:4, 2:4] = 1
AWAY = torch.zeros(8, 8)
AWAY[5:7, 4:8] = 3
FLAT = torch.full((8, 8), 0.2)
NOTHING = torch.zeros(8, 8)
ABOVE = 1 / (1 + math.exp(-100 * (1 - 0.55)))  # the soft mask where a normalised map has its maximum


def measure(true, confusing, inner_true=None, inner_confusing=None):
    last = torch.stack([true, confusing])[None]
    inner = torch.stack([true if inner_true is None else inner_true, confusing])[None]
    if inner_confusing is not None:
        inner[0, 1] = inner_confusing
    found = separability(inner, last)
    assert all(values.shape == (1, 1) for values in found.values())
    return {name: values.item() for name, values in found.items()}


def test_apart_and_in_one_place_is_perfect():
    found = measure(BLOB, AWAY)
    assert found == pytest.approx({"overlap_inner": 0, "overlap_last": 0, "consistency": 1}, abs=1e-6)


def test_one_and_the_same_is_as_bad_as_can_be():
    found = measure(BLOB, 5 * BLOB, inner_true=AWAY)  # their scale does not matter
    assert found["overlap_last"] == pytest.approx(ABOVE)
    assert found["consistency"] == pytest.approx(0, abs=1e-6)


def test_uniform_attention():
    found = measure(FLAT, FLAT)
    assert found == pytest.approx({"overlap_inner": ABOVE, "overlap_last": ABOVE, "consistency": ABOVE})
    found = measure(BLOB, FLAT)  # 2 * 4 / (4 + 64): the blob's share, counted from both maps
    assert found["overlap_last"] == pytest.approx(8 / 68)
    assert measure(BLOB, AWAY, inner_true=FLAT)["consistency"] == pytest.approx(4 / 64)


def test_no_attention_is_finite():
    nothing = {"overlap_inner": 0, "overlap_last": 0, "consistency": 0}
    assert measure(NOTHING, NOTHING) == pytest.approx(nothing)
    assert measure(NOTHING, FLAT, inner_true=NOTHING) == pytest.approx(nothing)


def test_the_inner_layer_is_held_against_the_last_ones_region():
    inner = torch.zeros(16, 16)
    inner[4:8, 4:8] = 1  # the same region, twice as fine
    last = torch.stack([BLOB, AWAY])[None]
    found = separability(torch.stack([inner, torch.zeros(16, 16)])[None], last)
    # Bilinear resizing leaves 1 at the four middle positions of the region and less towards its rim.
    rim = torch.nn.functional.interpolate(BLOB[None, None], (16, 16), mode="bilinear")[0, 0]
    assert found["consistency"].item() == pytest.approx((rim * inner).sum().item() / 16, abs=1e-5)
    assert found["overlap_inner"].item() == 0


def test_every_value_is_a_share():
    torch.manual_seed(0)
    maps = [torch.rand(50, 4, size, size).pow(3) * torch.rand(50, 4, 1, 1) * 9 for size in (12, 6)]
    for values in separability(*maps).values():
        assert values.shape == (50, 3)
        assert values.min() >= 0
        assert values.max() <= 1


def test_it_is_what_icasc_trains_on():
    torch.manual_seed(0)
    model = torch.nn.Sequential()
    model.early = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, 2), torch.nn.ReLU())
    model.late = torch.nn.Sequential(torch.nn.Conv2d(5, 6, 3, 2), torch.nn.ReLU())
    model.pool = torch.nn.AdaptiveAvgPool2d(1)
    model.flatten = torch.nn.Flatten()
    model.fc = torch.nn.Linear(6, 4)
    step = ICASC(layers=("early", "late"))(model, (torch.rand(7, 3, 32, 32), torch.randint(4, (7,))))
    found = separability(step.maps["early"], step.maps["late"])
    terms = step.terms
    assert found["overlap_inner"].mean().item() == pytest.approx(terms["separation_inner"].item(), abs=1e-6)
    assert found["overlap_last"].mean().item() == pytest.approx(terms["separation_last"].item(), abs=1e-6)
    assert found["consistency"].mean().item() == pytest.approx(0.8 - terms["consistency"].item(), abs=1e-6)


# Confused pairs --------------------------------------------------------------------------------------------------


@pytest.fixture
def confusions():
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(0, 4, (60,), generator=generator)
    taken = (true + torch.randint(1, 4, (60,), generator=generator)) % 4
    return true, taken, torch.rand(60, generator=generator)


def counted(true, taken, overlap):
    """(true, taken) -> overlaps, one by one."""
    found = {}
    for key, value in zip(zip(true.tolist(), taken.tolist(), strict=True), overlap.tolist(), strict=True):
        found.setdefault(key, []).append(value)
    return found


def test_confused_pairs_one_by_one(confusions):
    metric = ConfusedPairs()
    for start in range(0, 60, 7):
        metric.update(*(part[start : start + 7] for part in confusions))
    expected, found = counted(*confusions), metric.compute()
    assert {pair[:2] for pair in found} == expected.keys()
    for pair in found:
        overlaps = expected[pair.true, pair.taken]
        assert pair.times == len(overlaps)
        assert pair.overlap == pytest.approx(sum(overlaps) / len(overlaps))
    assert [(-pair.times, pair.true, pair.taken) for pair in found] == sorted(
        (-len(overlaps), *key) for key, overlaps in expected.items()
    )
    assert sum(map(len, metric.pairs)) == len(expected) <= 12  # a row for each pair, not for each image


def test_confused_pairs_of_two_processes(confusions):
    whole, halves = ConfusedPairs(), [ConfusedPairs(), ConfusedPairs()]
    whole.update(*confusions)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    for metric, part in zip(halves, (order[:25], order[25:]), strict=True):
        metric.update(*(values[part] for values in confusions))
    halves[0].merge_state(halves[1])
    found, expected = halves[0].compute(), whole.compute()
    assert [pair[:3] for pair in found] == [pair[:3] for pair in expected]
    assert [pair.overlap for pair in found] == pytest.approx([pair.overlap for pair in expected])


def test_confused_pairs_without_attention_or_without_any():
    metric = ConfusedPairs()
    metric.update(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long))
    assert metric.compute() == []
    metric = ConfusedPairs()
    metric.update(torch.tensor([1, 1]), torch.tensor([0, 0]))
    (pair,) = metric.compute()
    assert pair[:3] == (1, 0, 2)
    assert math.isnan(pair.overlap)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric ConfusedPairs was called before:UserWarning")
def test_confused_pairs_of_no_images():
    assert ConfusedPairs().compute() == []
