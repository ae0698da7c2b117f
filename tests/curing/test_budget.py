import csv
from dataclasses import replace

import pytest

from looksharp.curing.budget import Budget, check_budget, plan_budget
from looksharp.experiments.record import Record
from looksharp.experiments.table import Table
from looksharp.training.settings import MarksConfig, RunConfig, TrainingConfig

PLAIN = RunConfig()
CURE = RunConfig("classification+agreement", marks=MarksConfig("data"), training=TrainingConfig(epochs=3))


def budget_of(rows):
    return Budget(Table(tuple(Record(str(marked), seed, values) for (marked, seed), values in rows.items())))


def test_points_are_means_over_seeds():
    rows = {(marked, seed): {"a": marked / 10 + seed} for marked in (8, 0) for seed in (0, 1)}
    budget = budget_of(rows)
    assert (budget.marked, budget.seeds, budget.measures) == ([0, 8], [0, 1], ["a"])
    assert [point.mean for point in budget.points("a")] == pytest.approx([0.5, 1.3])
    assert budget.rows == rows


def test_a_trial_for_each_number_and_seed(tmp_path):
    trials = plan_budget([16, 0, 4], [5, 6], CURE, PLAIN, 16, tmp_path)
    assert [(t.variant, t.seed) for t in trials] == [(n, s) for n in ("0", "4", "16") for s in (5, 6)]
    assert trials[0].folder == tmp_path / "0" / "seed-5"
    assert len({t.folder for t in trials}) == 6
    configs = [t.config for t in trials]
    assert [c.marks.marked for c in configs] == [None, None, 4, 4, None, None]
    assert [c.marks.marks for c in configs] == [None, None, "data", "data", "data", "data"]
    assert [c.training.seed for c in configs] == [5, 6] * 3
    assert [c.training.epochs for c in configs] == [10, 10, 3, 3, 3, 3]


def test_so_few_that_no_segmenter_can_learn_them_are_not_propagated(tmp_path):
    marks = replace(CURE.marks, propagate=True, propagate_without=["a.png"], marked_per_batch=0)
    trials = plan_budget([3, 4, 16], [5], replace(CURE, marks=marks), PLAIN, 16, tmp_path)
    chosen = [t.config.marks for t in trials]
    assert [each.propagate for each in chosen] == [False, True, True]
    assert [each.marked_per_batch for each in chosen] == [32, 0, 0]


def test_the_table():
    text = budget_of({(0, 0): {"a": 0.5, "b": 0.1}, (4, 0): {"a": 0.25}}).table.csv("marked")
    assert list(csv.DictReader(text.splitlines())) == [
        {"marked": "0", "seed": "0", "a": "0.5", "b": "0.1"},
        {"marked": "4", "seed": "0", "a": "0.25", "b": ""},
    ]


def test_budgets_that_cannot_be_spent():
    check_budget([0, 2, 16], 16)
    for wrong in (-1, 1, 17):
        with pytest.raises(ValueError, match=rf"^budget must be 0, or 2 to the 16 marked .* training; got {wrong}$"):
            check_budget([0, wrong], 16)
    with pytest.raises(ValueError, match=r"^budget must be different numbers; got 0, 8, 8$"):
        check_budget([0, 8, 8], 16)
