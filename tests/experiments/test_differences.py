import math
from dataclasses import dataclass, field

import pytest
import torch
from scipy import stats

from looksharp.experiments.differences import compare_variants
from looksharp.experiments.statistics import bootstrap_means, holm, interval, resample_seeds


@dataclass(frozen=True)
class Evaluation:
    values: dict = field(default_factory=dict)
    per_image: dict = field(default_factory=dict)
    tables: dict = field(default_factory=dict)


@pytest.fixture
def found():
    """Three methods of 3, 2 and 1 seeds on two splits; the second is much better, the third as good."""
    generator = torch.Generator().manual_seed(1)
    chance = {"plain": 0.5, "better": 0.9, "alike": 0.5}
    seeds = {"plain": 3, "better": 2, "alike": 1}

    def evaluation(method, split):
        right = (torch.rand(split, generator=generator) < chance[method]).float()
        loss = torch.rand(split, generator=generator)
        loss[3] = torch.nan
        return Evaluation({"top1": right.mean().item(), "own": loss.nanmean().item()}, {"top1": right, "loss": loss})

    return {"last": {m: [{f"n{n}": evaluation(m, n) for n in (60, 200)} for _ in range(seeds[m])] for m in chance}}


@pytest.fixture
def entries(found):
    return compare_variants(found, resamples=500)


def pick(entries, **chosen):
    (entry,) = [e for e in entries if all(getattr(e, name) == value for name, value in chosen.items())]
    return entry


def test_an_entry_for_every_metric_of_every_method_on_every_split(entries):
    assert len(entries) == 3 * 3 * 2
    assert [e.metric for e in entries[:9]] == ["top1"] * 3 + ["own"] * 3 + ["loss"] * 3
    assert [e.method for e in entries[:3]] == ["plain", "better", "alike"]
    assert {(e.method, e.seeds) for e in entries} == {("plain", 3), ("better", 2), ("alike", 1)}


def test_means_and_deviations_are_over_seeds(entries, found):
    for method, runs in found["last"].items():
        values = [run["n60"].per_image["loss"].double().nanmean().item() for run in runs]
        entry = pick(entries, split="n60", metric="loss", method=method)
        assert entry.mean == pytest.approx(sum(values) / len(values))
        expected = stats.tstd(values) if len(values) > 1 else math.nan
        assert entry.std == pytest.approx(expected, nan_ok=True)


def test_differences_are_to_the_first_method(entries):
    for split in ("n60", "n200"):
        first = pick(entries, split=split, metric="top1", method="plain")
        assert all(math.isnan(v) for v in (first.difference, first.low, first.high, first.p_value, first.p_corrected))
        for method in ("better", "alike"):
            entry = pick(entries, split=split, metric="top1", method=method)
            assert entry.difference == pytest.approx(entry.mean - first.mean)
            assert entry.low < entry.difference < entry.high
            assert (entry.test, math.isnan(entry.p_value)) == ("sign-flip", False)


def test_what_is_significant_is_marked(entries):
    for split in ("n60", "n200"):
        better = pick(entries, split=split, metric="top1", method="better")
        assert better.significant
        assert better.low > 0
        assert not pick(entries, split=split, metric="top1", method="alike").significant
    assert not any(e.significant for e in entries if e.metric != "top1")


def test_intervals_draw_images_together_and_seeds_apart(entries, found):
    runs = found["last"]
    stacked = torch.stack([run["n60"].per_image["loss"] for method in runs for run in runs[method]], 1)
    means = bootstrap_means(stacked, 500)
    changes = resample_seeds(means[:, 3:5], 2) - resample_seeds(means[:, :3], 1)
    entry = pick(entries, split="n60", metric="loss", method="better")
    assert (entry.low, entry.high) == pytest.approx(interval(changes))


def test_several_seeds_widen_the_interval():
    """Seeds that disagree make a difference less certain than any number of images tells."""
    right = torch.ones(400)
    wide = {
        "last": {
            "a": [{"t": Evaluation(per_image={"v": right * s})} for s in (0.0, 0.1)],
            "b": [{"t": Evaluation(per_image={"v": right * 0.2})}],
        }
    }
    entry = compare_variants(wide, resamples=2000)[1]
    assert (entry.low, entry.high) == pytest.approx((0.1, 0.2))
    assert entry.significant


def test_one_seed_each_is_mcnemars_test():
    first, other = torch.zeros(30), torch.zeros(30)
    first[:3], other[2:12] = 1, 1
    runs = {m: [{"t": Evaluation(per_image={"top1": v})}] for m, v in {"a": first, "b": other}.items()}
    entry = compare_variants({"last": runs})[1]
    assert entry.p_value == pytest.approx(stats.binomtest(9, 11).pvalue)
    assert entry.p_corrected == entry.p_value


def test_all_tests_are_corrected_together(entries):
    tested = [e for e in entries if not math.isnan(e.p_value)]
    assert len(tested) == 2 * 2 * 2
    assert [e.p_corrected for e in tested] == holm([e.p_value for e in tested])


def test_a_value_without_images_has_neither_interval_nor_test(entries):
    entry = pick(entries, split="n60", metric="own", method="better")
    assert math.isfinite(entry.difference)
    assert (entry.test, entry.significant) == ("", False)
    assert all(math.isnan(value) for value in (entry.low, entry.high, entry.p_value))


def test_a_metric_that_a_method_lacks():
    runs = {"a": [{"t": Evaluation({"inside": 0.5})}], "b": [{"t": Evaluation({"top1": 1.0})}]}
    entries = compare_variants({"last": runs})
    assert math.isnan(pick(entries, metric="inside", method="b").mean)
    assert math.isnan(pick(entries, metric="top1", method="b").difference)
