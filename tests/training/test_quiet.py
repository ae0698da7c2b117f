"""A library call leaves the process's warnings and logging as it found them."""

import logging
import subprocess
import sys

import pytest

from looksharp.training.quiet import quiet

CHECK = """
import logging, sys, warnings

def state():
    loggers = [logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict)]
    known = {each.name: (each.level, each.disabled, each.propagate, len(each.handlers)) for each in loggers}
    return list(warnings.filters), (logging.root.level, len(logging.root.handlers)), known

def assert_as(before, what):
    after = state()
    assert after[0] == before[0], (what, set(after[0]) ^ set(before[0]))
    assert after[1] == before[1], what
    changed = {name for name in before[2] if before[2][name] != after[2].get(name)}
    assert not changed, (what, changed)

before = state()
import looksharp
assert_as(before, "import looksharp")

from looksharp import train
from looksharp.evaluation.run import evaluate_run
from looksharp.data.sets.synthetic import digits
from looksharp.training.settings import RunConfig
before = state()
data = digits(train=32, val=16, test=16)
values = {"digits": {"train": 32}, "device": "cpu", "workers": 0, "epochs": 1, "batch_size": 16}
run = train(RunConfig.from_flat(values), sys.argv[1], data=data, progress=False)
assert_as(before, "train")
evaluate_run(run.path, data=data, suites=("classification",), device="cpu", workers=0, progress=False)
assert_as(before, "evaluate")
print("as found")
"""


def test_import_train_and_evaluate_in_a_fresh_process(tmp_path):
    done = subprocess.run([sys.executable, "-c", CHECK, tmp_path / "run"], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("as found\n"), done.stderr


def test_an_exception_restores_levels():
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    with pytest.raises(KeyError), quiet():  # noqa: PT012
        assert logger.level == logging.ERROR
        raise KeyError
    assert logger.level == before
