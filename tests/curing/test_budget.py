import csv
import math

import numpy as np
import pytest
from scipy import stats

from looksharp.curing.budget import Budget, check_budget, spend, t_interval, write_budget
from looksharp.training.settings import MarksConfig, RunConfig, TrainingConfig

PLAIN = RunConfig()
CURE = RunConfig("classification+agreement", marks=MarksConfig("data"), training=TrainingConfig(epochs=3))


@pytest.mark.parametrize("values", [[0.5, 0.7], [0.91, 0.92, 0.97], [0.2] * 4])
def test_the_interval_is_scipys(values):
    mean, low, high = t_interval(values)
    assert mean == pytest.approx(np.mean(values))
    if np.std(values) > 1e-9:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((expected.low, expected.high))
    else:
        assert low == pytest.approx(high)


def test_one_seed_has_no_interval():
    mean, low, high = t_interval([0.25])
    assert mean == 0.25
    assert math.isnan(low)
    assert math.isnan(high)


def test_points_are_means_over_seeds():
    rows = {(marked, seed): {"a": marked / 10 + seed} for marked in (8, 0) for seed in (0, 1)}
    budget = Budget(rows)
    assert (budget.marked, budget.seeds, budget.measures) == ([0, 8], [0, 1], ["a"])
    assert [point.mean for point in budget.points("a")] == pytest.approx([0.5, 1.3])


def test_a_run_for_each_number_and_seed(tmp_path):
    trained, measured = [], []

    def train(config, path):
        trained.append((path.name, config))
        return config

    def measure(config):
        measured.append(config)
        return {"top1": config.training.seed / 10}

    def spent(budget, seeds):
        options = {"cure": CURE, "plain": PLAIN, "marked": 16, "out": tmp_path, "train": train, "measure": measure}
        return spend(budget, seeds, **options)

    found = spent([16, 0, 4], [5, 6])
    assert found.rows == {(marked, seed): {"top1": seed / 10} for marked in (0, 4, 16) for seed in (5, 6)}
    configs = dict(trained)
    assert list(configs) == ["0-5", "0-6", "4-5", "4-6", "16-5", "16-6"]
    assert [c.marks.marked for c in configs.values()] == [None, None, 4, 4, None, None]
    assert [c.marks.marks for c in configs.values()] == [None, None, "data", "data", "data", "data"]
    assert [c.training.seed for c in configs.values()] == [5, 6] * 3
    assert [c.training.epochs for c in configs.values()] == [10, 10, 3, 3, 3, 3]
    again = spent([0, 4, 8, 16], [5, 6])
    assert again.rows.items() >= found.rows.items()
    assert len(measured) == 8  # the six, and two with 8 marked images: what was measured is kept


def test_the_table(tmp_path):
    write_budget(tmp_path / "budget.csv", Budget({(0, 0): {"a": 0.5, "b": 0.1}, (4, 0): {"a": 0.25}}))
    with (tmp_path / "budget.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"marked": "0", "seed": "0", "a": "0.5", "b": "0.1"},
            {"marked": "4", "seed": "0", "a": "0.25", "b": ""},
        ]


def test_budgets_that_cannot_be_spent():
    check_budget([0, 2, 16], 1, 16)
    for wrong in (-1, 1, 17):
        with pytest.raises(ValueError, match=rf"^budget must be 0, or 2 to the 16 marked .* guide; got {wrong}$"):
            check_budget([0, wrong], 1, 16)
    with pytest.raises(ValueError, match=r"^budget must be different numbers; got 0, 8, 8$"):
        check_budget([0, 8, 8], 1, 16)
    with pytest.raises(ValueError, match=r"^seeds must be at least 1; got 0$"):
        check_budget([0], 0, 16)
