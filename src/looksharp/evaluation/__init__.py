"""Measure trained classifiers on splits: how well they classify, and where they look."""

from looksharp.evaluation.evaluate import evaluate
from looksharp.evaluation.result import Evaluation, read_evaluation, write_evaluation
from looksharp.evaluation.run import evaluate_run
from looksharp.evaluation.suite import SUITES

__all__ = ["SUITES", "Evaluation", "evaluate", "evaluate_run", "read_evaluation", "write_evaluation"]
