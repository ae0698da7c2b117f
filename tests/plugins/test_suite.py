"""A suite from another package."""

import re
from pathlib import Path

CONTRACT = Path(__file__).parents[1] / "evaluation" / "suites" / "test_contract.py"
SOURCE = """
from looksharp.evaluation.subject import Columns, Measure
from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.suite import SUITES, Shared
from looksharp.metrics.catalogue import METRICS, Metric


class Entropy(Measure):
    def __init__(self, subject, count):
        self.columns = Columns()

    def update(self, seen):
        odds = seen.logits.softmax(1)
        self.columns.add({"entropy": -(odds * odds.log()).sum(1)})

    def compute(self):
        columns = self.columns.joined()
        return Evaluation({"entropy": float(columns["entropy"].mean())}, columns)


SUITES.add("uncertainty", Shared("1 forward, shared", Entropy, reads_maps=False))
METRICS.add("entropy", Metric("Entropy of the answer", "lower", "How undecided the network is."))
"""


def test_another_package_adds_a_suite(plugin):
    python = plugin(SOURCE)
    names = python("-c", "from looksharp.evaluation import SUITES; print(*SUITES)").split()
    assert {"classification", "uncertainty"} <= set(names)
    told = " ".join(python("-m", "looksharp", "evaluate", "--help").split())
    assert "uncertainty: 1 forward, shared" in told
    report = python("-m", "pytest", "-p", "no:cacheprovider", "-v", str(CONTRACT), "-k", "uncertainty")
    assert re.search("[1-9][0-9]* passed", report)
