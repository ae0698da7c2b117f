import math
import statistics

import numpy as np
import pytest
import torch
from scipy import stats

from looksharp.experiments.statistics import (
    bootstrap_means,
    holm,
    interval,
    paired_test,
    resample_seeds,
    sign_flip_test,
    summarize,
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_interval_of_paired_differences_is_scipys(rng):
    first = rng.normal(size=150)
    other = first + rng.normal(0.1, 0.3, size=150)
    means = bootstrap_means(torch.from_numpy(np.stack([first, other], 1)), 20_000, seed=3)
    found = interval(means[:, 1] - means[:, 0])
    expected = stats.bootstrap(
        (first, other),
        lambda a, b, axis: (b - a).mean(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=rng,
    ).confidence_interval
    assert found == pytest.approx((expected.low, expected.high), abs=0.003)
    # Of one method alone it is far wider: pairing is what narrows it.
    alone = stats.bootstrap((first,), np.mean, n_resamples=2000, rng=rng).confidence_interval
    assert alone.high - alone.low > 2 * (found[1] - found[0])


def test_columns_of_a_resample_are_of_the_same_images(rng):
    values = torch.from_numpy(rng.normal(size=(40, 1)))
    means = bootstrap_means(torch.cat([values, 2 * values + 1], 1), 50)
    torch.testing.assert_close(means[:, 1], 2 * means[:, 0] + 1)
    assert len(means[:, 0].unique()) > 40


@pytest.mark.parametrize("drawn", [1, 60, 10**9])
def test_resampled_means_are_those_of_a_loop(rng, monkeypatch, drawn):
    monkeypatch.setattr("looksharp.experiments.statistics._DRAWN", drawn)
    values = rng.normal(size=(20, 3))
    values[rng.random((20, 3)) < 0.3] = np.nan
    found = bootstrap_means(torch.from_numpy(values), 7, seed=5)
    generator = torch.Generator().manual_seed(5)
    chunk = max(drawn // 20, 1)
    draws = [torch.randint(20, (min(chunk, 7 - i), 20), generator=generator) for i in range(0, 7, chunk)]
    expected = [np.nanmean(values[images], 0) for images in torch.cat(draws).numpy()]
    np.testing.assert_allclose(found.numpy(), expected)


def test_a_resample_without_a_defined_value_has_no_interval():
    means = bootstrap_means(torch.tensor([[1.0], [math.nan]]), 100)
    assert means.isnan().any()
    assert (means[~means.isnan()] == 1).all()
    assert all(map(math.isnan, interval(means[:, 0])))


def test_seeds_are_drawn_with_replacement():
    means = torch.tensor([[0.0, 1.0, 5.0]]).expand(60_000, 3)
    drawn = resample_seeds(means, seed=1)
    values, counts = drawn.unique(return_counts=True)
    expected = {}
    for a in (0, 1, 5):
        for b in (0, 1, 5):
            for c in (0, 1, 5):
                expected[round((a + b + c) / 3, 4)] = expected.get(round((a + b + c) / 3, 4), 0) + 1 / 27
    found = {round(v, 4): n / 60_000 for v, n in zip(values.tolist(), counts.tolist(), strict=True)}
    assert found == pytest.approx(expected, abs=0.006)


def test_one_seed_is_left_as_it_is():
    means = torch.rand(9, 1)
    torch.testing.assert_close(resample_seeds(means), means[:, 0])


def test_interval_is_of_percentiles():
    assert interval(torch.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(torch.arange(101.0), level=0.9) == pytest.approx((5, 95))


@pytest.mark.parametrize(("gained", "lost", "same"), [(5, 0, 3), (12, 4, 0), (7, 7, 9), (0, 0, 4), (300, 230, 5000)])
def test_one_seed_is_mcnemars_exact_test(gained, lost, same):
    differences = [1] * gained + [-1] * lost + [0] * same
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert sign_flip_test(differences) == pytest.approx(expected, rel=1e-9, abs=1e-14)
    first = torch.tensor([[0.0] * gained + [1.0] * lost + [1.0] * same])
    other = torch.tensor([[1.0] * gained + [0.0] * lost + [1.0] * same])
    assert paired_test(first, other) == (pytest.approx(expected, rel=1e-9, abs=1e-14), "sign-flip")


def test_sign_flips_are_scipys_permutations(rng):
    for _ in range(5):
        differences = rng.integers(-4, 6, 11)
        expected = stats.permutation_test(
            (differences,),
            lambda d, axis: d.sum(axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
        ).pvalue
        assert sign_flip_test(differences.tolist()) == pytest.approx(expected)


def test_seeds_are_averaged_before_the_test(rng):
    first, other = (rng.integers(0, 2, (seeds, 9)).astype(float) for seeds in (3, 2))
    expected = stats.permutation_test(
        (other.mean(0) - first.mean(0),),
        lambda d, axis: np.round(d.sum(axis), 9),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    p_value, name = paired_test(torch.from_numpy(first), torch.from_numpy(other))
    assert name == "sign-flip"
    assert p_value == pytest.approx(expected)


def test_other_values_by_wilcoxon(rng):
    first, other = rng.random((3, 80)), rng.random((2, 80)) + 0.1
    other[0, 4] = first[1, 7] = np.nan
    keep = np.delete(np.arange(80), [4, 7])
    expected = stats.wilcoxon(other[:, keep].mean(0), first[:, keep].mean(0)).pvalue
    assert paired_test(torch.from_numpy(first), torch.from_numpy(other)) == (pytest.approx(expected), "Wilcoxon")


def test_nothing_to_test():
    values = torch.rand(1, 5)
    assert paired_test(values, values) == (1.0, "Wilcoxon")
    assert math.isnan(paired_test(values, torch.full((1, 5), math.nan))[0])


def test_p_values_under_the_null_are_no_smaller_than_they_say(rng):
    p = [sign_flip_test(rng.choice([-1, 0, 1], 40, p=[0.2, 0.6, 0.2]).tolist()) for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_holm_on_a_case_by_hand():
    # Sorted .005 .011 .02 .04, times 4 3 2 1: .02 .033 .04 .04.
    assert holm([0.011, 0.04, 0.005, 0.02]) == pytest.approx([0.033, 0.04, 0.02, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_lies_between_none_and_bonferroni(rng):
    p = rng.random(30) ** 3
    corrected = np.array(holm(p.tolist()))
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(p * 30, 1)).all()
    # Rejecting by hand: from the smallest on, as long as p <= level / (number left).
    level, rejected = 0.05, set()
    for step, place in enumerate(np.argsort(p)):
        if p[place] > level / (30 - step):
            break
        rejected.add(int(place))
    assert {int(i) for i in np.flatnonzero(corrected <= level)} == rejected


@pytest.mark.parametrize("values", [[0.5, 0.7], [0.91, 0.92, 0.97], [0.2] * 4])
def test_the_interval_of_a_mean_is_scipys(values):
    found = summarize(values)
    assert found.count == len(values)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.std == pytest.approx(statistics.stdev(values))
    if np.std(values) > 1e-9:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    else:
        assert found.low == pytest.approx(found.high)


def test_one_seed_has_no_interval_and_none_no_mean():
    found = summarize([0.25])
    assert found.mean == 0.25
    assert all(map(math.isnan, (found.std, found.low, found.high)))
    assert math.isnan(summarize([]).mean)
    assert math.isnan(summarize([0.5, math.nan]).mean)
