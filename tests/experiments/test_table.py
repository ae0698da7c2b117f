import csv

import numpy as np
import pytest

from looksharp.experiments.record import Record
from looksharp.experiments.table import Table


def table(rows):
    return Table(tuple(Record(variant, seed, values) for variant, seed, values in rows))


def test_means_and_differences_are_over_seeds():
    found = table(
        [
            ("plain", 0, {"top1": 0.5, "gap": 0.4}),
            ("plain", 1, {"top1": 0.7}),
            ("cure", 1, {"top1": 0.8, "gap": 0.1}),
            ("cure", 2, {"top1": 0.2, "gap": 0.3}),
        ]
    )
    assert (found.variants, found.seeds, found.measures) == (["plain", "cure"], [0, 1, 2], ["top1", "gap"])
    assert found.values("cure", "gap") == {1: 0.1, 2: 0.3}
    assert found.summary("plain", "top1").mean == pytest.approx(0.6)
    assert found.summary("plain", "top1").std == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert found.difference("cure", "top1", "plain") == pytest.approx(0.1)  # of seed 1, the one that both have
    assert found.difference("cure", "gap", "plain") is None


def test_the_markdown_names_what_changed_and_what_diverged():
    rows = [("plain", s, {"top1": v}) for s, v in enumerate((0.5, 0.7))]
    rows += [("cure", s, {"top1": v, "inside": 1.0}) for s, v in enumerate((0.6, 1.0))]
    records = [*table(rows).records, Record("steep", 0, {}, diverged="loss nan"), Record("steep", 1, {"top1": 0.1})]
    assert Table(tuple(records)).markdown(digits=1, scale=100).splitlines() == [
        "| variant | top1 | inside |",
        "|---|---|---|",
        "| plain | 60.0 ± 14.1 | - |",
        "| cure | 80.0 ± 28.3 (+20.0) | 100.0 ± 0.0 |",
        "| steep | 1 of 2 diverged | 1 of 2 diverged |",
    ]


def test_the_csv_has_a_row_for_each_trial():
    text = table([("a,b", 0, {"x": 0.5}), ("c", 3, {"y": 1.0})]).csv()
    assert list(csv.DictReader(text.splitlines())) == [
        {"variant": "a,b", "seed": "0", "x": "0.5", "y": ""},
        {"variant": "c", "seed": "3", "x": "", "y": "1.0"},
    ]
