import math

import pytest

from looksharp.comparison.costs import curves_of, training_costs


def _run(seconds, scores):
    rows = [
        {"epoch": i, "seconds": s, "lr": 0.1, "val_top1": v}
        for i, (s, v) in enumerate(zip(seconds, scores, strict=True))
    ]
    return curves_of(rows)


def test_curves_are_columns_of_the_history():
    history = [
        {"epoch": 0, "seconds": 2.0, "lr": 0.1, "train_loss": 1.5},
        {"epoch": 1, "seconds": 3.0, "lr": 0.05, "train_loss": 1.0, "val_top1": 0.5},
    ]
    curves = curves_of(history)
    assert curves.keys() == {"epoch", "seconds", "train_loss", "val_top1"}
    assert (curves["epoch"], curves["seconds"], curves["train_loss"]) == ([1, 2], [2, 5], [1.5, 1.0])
    assert math.isnan(curves["val_top1"][0])


def test_after_the_fastest_methods_time():
    costs = training_costs(
        {
            "fast": [_run([1, 1, 1], [0.1, 0.2, 0.3]), _run([1, 1.2, 1.1], [0.2, 0.3, 0.5])],
            "slow": [_run([2, 2, 2], [0.5, 0.7, 0.9])],
            "crawling": [_run([9, 9, 9], [0.5, 0.7, 0.9])],
        },
        "val_top1",
    )
    assert (costs["fast"].seconds, costs["fast"].seconds_std) == pytest.approx((3.15, 0.2121), abs=1e-4)
    assert (costs["fast"].epochs_then, costs["fast"].score_then) == (3, pytest.approx(0.4))
    assert (costs["slow"].epochs_then, costs["slow"].score_then) == (1, 0.5)  # 3.15 s of 2 s an epoch
    assert costs["crawling"].epochs_then == 0
    assert math.isnan(costs["crawling"].score_then)
    assert math.isnan(costs["slow"].seconds_std)


@pytest.mark.parametrize("seconds", [0.1, 0.7, 3.3])
def test_the_fastest_method_keeps_all_its_epochs(seconds):
    costs = training_costs(
        {"a": [_run([seconds] * 7, range(7))] * 3, "b": [_run([9 * seconds] * 7, range(7))]}, "val_top1"
    )
    assert (costs["a"].epochs_then, costs["a"].score_then) == (7, 6)


def test_a_run_without_a_history():
    costs = training_costs({"a": [_run([1], [0.5])], "b": [_run([], [])]}, "val_top1")
    assert math.isnan(costs["b"].seconds)
    assert costs["a"].seconds == 1
