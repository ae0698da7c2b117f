"""A library call leaves the process's warnings and logging as it found them."""

import logging
import subprocess
import sys
from dataclasses import replace

import pytest

from looksharp import train
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

from looksharp import cure, explain, load_run, train
from looksharp.comparison import compare
from looksharp.evaluation.run import evaluate_run
from looksharp.data.build import build_data
from looksharp.suspects import suspects, write_suspects
from looksharp.training.settings import RunConfig
import looksharp.cli

out = sys.argv[1]
values = {"data": "biased_digits", "biased_digits": {"train": 48, "val": 16, "test": 16}, "device": "cpu"}
values |= {"workers": 0, "epochs": 1, "batch_size": 16}
data = build_data(RunConfig.from_flat(values).data, 0)
before = state()
for seed in (0, 1):
    run = train(RunConfig.from_flat(values | {"seed": seed}), f"{out}/run-{seed}", data=data, progress=False)
train(RunConfig.from_flat(values | {"objective": "icasc"}), f"{out}/other", data=data, progress=False)
assert_as(before, "train")
evaluate_run(run.path, data=data, suites=("classification", "attention"), device="cpu", workers=0, progress=False)
assert_as(before, "evaluate")
written = write_suspects(suspects(run, data, n=4, progress=False), data, f"{out}/suspects")
assert_as(before, "suspects")
explain(load_run(run.path), sorted(written[-1].glob("*.png"))[:1], f"{out}/explained", progress=False)
assert_as(before, "explain")
cure(run.path, "data", f"{out}/cured", device="cpu", marked_per_batch=4, progress=False)
assert_as(before, "cure")
compare([f"{out}/run-0", f"{out}/other"], f"{out}/compared", device="cpu", resamples=100, pictures=1, progress=False)
assert_as(before, "compare")
for arguments in (f"evaluate {out}/run-0", f"suspects {out}/run-0 -n 4 --out {out}/again"):
    assert looksharp.cli.main([*arguments.split(), "--device", "cpu", "--workers", "0"]) == 0
assert_as(before, "the command")
print("as found")
"""


def test_import_and_every_use_in_a_fresh_process(tmp_path):
    done = subprocess.run([sys.executable, "-c", CHECK, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("as found\n"), done.stderr


def test_an_exception_restores_levels():
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    with pytest.raises(KeyError), quiet():  # noqa: PT012
        assert logger.level == logging.ERROR
        raise KeyError
    assert logger.level == before


def test_what_is_odd_in_the_data_is_said_before_training(few_digits, few_settings, tmp_path, capsys):
    noted = replace(few_digits, notes={"pictures of one colour in train, such as a.png": 1234})
    train(few_settings(), tmp_path / "said", data=noted)
    assert "note: pictures of one colour in train, such as a.png: 1,234\n" in capsys.readouterr().err
    train(few_settings(), tmp_path / "quiet", data=noted, progress=False)
    assert "note:" not in capsys.readouterr().err
