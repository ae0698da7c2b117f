import math
import pickle
from functools import partial

import pytest
import torch
from torchmetrics import MetricCollection

from looksharp.metrics.agreement import RankAgreement, RegionAgreement
from looksharp.metrics.boxes import MaxBoxAcc, MaxBoxAccV2
from looksharp.metrics.grouped import Grouped, GroupedMean
from looksharp.metrics.localisation import AttentionInside, MapIoU, PointingGame, pointing_game, size_groups
from looksharp.metrics.pixel_average_precision import PixelAveragePrecision

GROUPS = {"label": 3, "size": 2}
METRICS = [
    AttentionInside,
    partial(PointingGame, tolerance=1),
    MapIoU,
    MaxBoxAcc,
    MaxBoxAccV2,
    partial(PixelAveragePrecision, levels=50),
    RankAgreement,
    RegionAgreement,
]


def samples(count=23):
    """Maps, masks and groups; every fifth map is zero everywhere, and no sample has the last label."""
    torch.manual_seed(0)
    maps = torch.rand(count, 4, 5).pow(3)
    maps[::5] = 0
    masks = torch.zeros(count, 12, 10)
    for mask, (top, left, height, width) in zip(masks, torch.randint(1, 6, (count, 4)).tolist(), strict=True):
        mask[top : top + height, left : left + width] = 1
    groups = {"label": torch.randint(0, 2, (count,)), "size": size_groups(masks, (0.1,))}
    return maps, masks, groups


def fill(metric, order, size):
    maps, masks, groups = samples()
    for chosen in torch.as_tensor(order, dtype=torch.long).split(size):
        metric.update(maps[chosen], masks[chosen], **{name: found[chosen] for name, found in groups.items()})
    return metric


def same(first, second):
    assert first.groups.keys() == second.groups.keys()
    for a, b in zip([first.overall, *first.groups.values()], [second.overall, *second.groups.values()], strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, rtol=1e-12, atol=0)
    assert first.undefined == second.undefined


@pytest.mark.parametrize("build", METRICS)
def test_batches_and_their_order_do_not_matter(build):
    whole = fill(build(groups=GROUPS), range(23), 23).compute()
    assert 0 < whole.overall < 1
    same(fill(build(groups=GROUPS), torch.randperm(23), 4).compute(), whole)
    same(fill(build(groups=GROUPS), torch.randperm(23), 1).compute(), whole)


@pytest.mark.parametrize("build", METRICS)
def test_processes_do_not_matter(build):
    whole = fill(build(groups=GROUPS), range(23), 23).compute()
    merged = fill(build(groups=GROUPS), range(5), 2)
    merged.merge_state(fill(build(groups=GROUPS), range(5, 23), 7))
    same(merged.compute(), whole)

    others = [fill(build(groups=GROUPS), range(5, 23), 7), build(groups=GROUPS)]  # one process got no samples

    def gather(state, group=None):
        (name,) = [name for name in metric._defaults if getattr(metric, name) is state]
        return [state, *(getattr(other, name) for other in others)]

    metric = build(groups=GROUPS, dist_sync_fn=gather, distributed_available_fn=lambda: True)
    fill(metric, range(5), 2)
    same(metric.compute(), whole)
    before = fill(build(groups=GROUPS), range(5), 5).compute()
    metric.distributed_available_fn, metric._computed = lambda: False, None
    same(metric.compute(), before)  # after the synchronisation its own samples are still its own


@pytest.mark.parametrize("build", METRICS)
def test_a_group_is_as_if_measured_alone(build):
    whole = fill(build(groups=GROUPS), range(23), 9).compute()
    maps, masks, groups = samples()
    for name, number in GROUPS.items():
        assert whole.groups[name].shape == (number,)
        for group in range(number):
            chosen = groups[name] == group
            if not chosen.any():
                assert whole.groups[name][group].isnan()
                continue
            alone = build()
            alone.update(maps[chosen], masks[chosen])
            torch.testing.assert_close(alone.compute().overall, whole.groups[name][group])
    assert whole.groups["label"].isnan().tolist() == [False, False, True]


@pytest.mark.parametrize("build", METRICS)
def test_forward_gives_the_batch_and_keeps_the_whole(build):
    maps, masks, _ = samples()
    metric, second = build(), build()
    metric(maps[:8], masks[:8])
    found = metric(maps[8:], masks[8:])
    second.update(maps[8:], masks[8:])
    same(found, second.compute())
    whole = build()
    whole.update(maps, masks)
    same(metric.compute(), whole.compute())
    metric.reset()
    metric.update(maps[8:], masks[8:])
    same(metric.compute(), second.compute())
    assert metric.compute().groups == {}


@pytest.mark.parametrize("build", METRICS)
def test_no_samples_in_a_batch(build):
    metric = fill(build(groups=GROUPS), range(23), 9)
    none = torch.zeros(0, dtype=torch.long)
    metric.update(torch.zeros(0, 4, 5), torch.zeros(0, 12, 10), label=none, size=none)
    same(metric.compute(), fill(build(groups=GROUPS), range(23), 9).compute())
    metric = build(groups=GROUPS)
    metric.update(torch.zeros(0, 4, 5), torch.zeros(0, 12, 10), label=none, size=none)
    assert metric.compute().overall.isnan()


@pytest.mark.parametrize("build", METRICS)
def test_they_can_be_copied(build):
    metric = pickle.loads(pickle.dumps(fill(build(groups=GROUPS), range(23), 9)))
    same(metric.compute(), fill(build(groups=GROUPS), range(23), 9).compute())


def test_empty_maps_are_left_out_and_counted_where_they_are_undefined():
    counted = {type(build()).__name__: fill(build(groups=GROUPS), range(23), 9).compute() for build in METRICS}
    for name in ("AttentionInside", "PointingGame", "MapIoU", "RankAgreement", "RegionAgreement"):
        assert counted[name].undefined == 5
    for name in ("MaxBoxAcc", "MaxBoxAccV2", "PixelAveragePrecision"):
        assert counted[name].undefined == 0
    maps, masks, _ = samples()
    values = pointing_game(maps, masks, 1)
    torch.testing.assert_close(counted["PointingGame"].overall, values.double().nanmean())


def test_means_by_hand():
    metric = GroupedMean({"a": 2, "b": 3})
    metric.update(torch.tensor([1.0, 2, math.nan]), a=torch.tensor([0, 1, 1]), b=torch.tensor([2, 2, 0]))
    metric.update(torch.tensor([5.0, 6]), a=torch.tensor([1, 1]), b=torch.tensor([2, 1], dtype=torch.int16))
    found = metric.compute()
    assert found.overall == 14 / 4
    assert found.undefined == 1
    assert found.groups["a"].tolist() == [1, pytest.approx(13 / 3)]
    assert found.groups["b"].nan_to_num(-1).tolist() == [-1, 6, pytest.approx(8 / 3)]


def test_the_worst_groups_accuracy():
    torch.manual_seed(0)
    right, group = torch.rand(500) > 0.3, torch.randint(0, 4, (500,))
    metric = GroupedMean({"background": 4})
    for batch in torch.arange(500).split(64):
        metric.update(right[batch], background=group[batch])
    worst = min(right[group == g].double().mean().item() for g in range(4))
    assert metric.compute().groups["background"].min().item() == pytest.approx(worst, abs=1e-15)


def test_sums_are_exact_over_many_samples():
    metric = GroupedMean()
    for _ in range(50):
        metric.update(torch.full((1000,), 0.1))
    assert metric.compute().overall.item() == pytest.approx(torch.tensor(0.1).item(), abs=1e-13)


def test_summary_is_of_the_means():
    metric = Grouped(lambda values: values, {"g": 2}, shape=(2,), summary=lambda means: means.amax(-1))
    metric.update(torch.tensor([[1.0, 0], [0, 1], [1, 0], [math.nan, 9]]), g=torch.tensor([0, 0, 1, 1]))
    found = metric.compute()
    assert found.overall.item() == pytest.approx(2 / 3)  # the best mean, not the mean of the best
    assert found.groups["g"].tolist() == [0.5, 1]
    assert found.undefined == 1


def test_a_collection_keeps_them_apart_though_a_first_batch_is_equal():
    pair = MetricCollection({"strict": PointingGame(0), "loose": PointingGame(2)})
    attention, on, near = torch.eye(4)[[0, 0, 1]].view(3, 1, 1, 4)
    pair.update(attention, on)
    pair.update(attention, near)
    found = pair.compute()
    assert found["strict"].overall == 0.5
    assert found["loose"].overall == 1


def test_messages():
    with pytest.raises(ValueError, match="groups must be at least 2 of a grouping; got 1 of 'label': leave it out"):
        GroupedMean({"label": 1})
    metric = GroupedMean({"label": 3})
    with pytest.raises(ValueError, match="groups must be given by name for label; got none"):
        metric.update(torch.ones(2))
    with pytest.raises(ValueError, match="groups must be given by name for no grouping; got label"):
        GroupedMean().update(torch.ones(2), label=torch.ones(2))
    with pytest.raises(ValueError, match=r"label must be in 0 to 2; got -1 to 3"):
        metric.update(torch.ones(2), label=torch.tensor([-1, 3]))
    with pytest.raises(ValueError, match=r"label must be the group of each of 2 samples, .*; got torch.int64 of shape"):
        metric.update(torch.ones(2), label=torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"whole numbers; got torch.float32 of shape \(2,\)"):
        metric.update(torch.ones(2), label=torch.zeros(2))
    assert (metric.count == 0).all()  # nothing was counted by halves
