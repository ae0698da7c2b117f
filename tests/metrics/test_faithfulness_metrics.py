import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torchmetrics import MetricCollection

from looksharp.metrics.faithfulness import (
    AverageDrop,
    Deletion,
    Insertion,
    Road,
    average_drop,
    deletion,
    insertion,
    road,
)

GROUPS = {"label": 3, "size": 2}


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Conv2d(3, 6, 3, 2)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.features(images).relu().mean((-2, -1))) * 9


MODEL = Small().eval()
METRICS = [
    partial(Insertion, MODEL, steps=4, multilabel=True, batch_size=9),
    partial(Deletion, MODEL, steps=4, baseline="mean"),
    partial(AverageDrop, MODEL, baseline=0.1, multilabel=True),
    partial(Road, MODEL, shares=(0.3, 0.6), tolerance=1e-6, multilabel=True),
]
VALUES = [
    partial(insertion, MODEL, steps=4, multilabel=True),
    partial(deletion, MODEL, steps=4, baseline="mean"),
    lambda *inputs: torch.stack(average_drop(MODEL, *inputs, baseline=0.1, multilabel=True), 1),
    lambda *inputs: road(MODEL, *inputs, shares=(0.3, 0.6), tolerance=1e-6, multilabel=True).combined(),
]


def samples(count=13):
    """Images, maps, classes and groups; every fifth map is zero everywhere, and no sample has the last label."""
    torch.manual_seed(0)
    images, maps, classes = torch.randn(count, 3, 14, 14), torch.rand(count, 5, 6), torch.randint(0, 5, (count,))
    maps[::5] = 0
    return images, maps, classes, {name: torch.randint(0, 2, (count,)) for name in GROUPS}


def fill(metric, order, size):
    *inputs, groups = samples()
    for chosen in torch.as_tensor(order, dtype=torch.long).split(size):
        metric.update(*(each[chosen] for each in inputs), **{name: found[chosen] for name, found in groups.items()})
    return metric


def same(first, second):
    assert first.groups.keys() == second.groups.keys()
    for a, b in zip([first.overall, *first.groups.values()], [second.overall, *second.groups.values()], strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, rtol=1e-5, atol=1e-7)
    assert first.undefined == second.undefined


@pytest.mark.parametrize(("build", "values"), [*zip(METRICS, VALUES, strict=True)])
def test_they_are_means_of_the_values_that_are_defined(build, values):
    *inputs, groups = samples()
    expected = values(*inputs)
    found = fill(build(groups=GROUPS), range(13), 13).compute()
    torch.testing.assert_close(found.overall, expected.nanmean(0))
    assert found.undefined == 3
    for name, number in GROUPS.items():
        for group in range(number):
            mean = expected[groups[name] == group].nanmean(0)
            torch.testing.assert_close(found.groups[name][group], mean, equal_nan=True)
    assert found.groups["label"][2].isnan().all()


@pytest.mark.parametrize("build", METRICS)
def test_batches_their_order_and_processes_do_not_matter(build):
    whole = fill(build(groups=GROUPS), range(13), 13).compute()
    same(fill(build(groups=GROUPS), torch.randperm(13), 4).compute(), whole)
    same(fill(build(groups=GROUPS), torch.randperm(13), 1).compute(), whole)
    others = [fill(build(groups=GROUPS), range(3, 13), 7), build(groups=GROUPS)]  # one process got no samples

    def gather(state, group=None):
        (name,) = [name for name in metric._defaults if getattr(metric, name) is state]
        return [state, *(getattr(other, name) for other in others)]

    metric = build(groups=GROUPS, dist_sync_fn=gather, distributed_available_fn=lambda: True)
    same(fill(metric, range(3), 2).compute(), whole)


@pytest.mark.parametrize("build", METRICS)
def test_the_model_is_no_part_of_the_state(build):
    metric = fill(build(groups=GROUPS), range(13), 13)
    assert not list(metric.modules())[1:]
    same(pickle.loads(pickle.dumps(metric)).compute(), metric.compute())
    assert not MODEL.training


def test_a_collection_measures_them_together():
    *inputs, _ = samples()
    together = MetricCollection({"insertion": METRICS[0](), "deletion": METRICS[1](), "drop": METRICS[2]()})
    together.update(*inputs)
    found = together.compute()
    for name, build in zip(("insertion", "deletion", "drop"), METRICS, strict=False):
        alone = build()
        alone.update(*inputs)
        same(found[name], alone.compute())
