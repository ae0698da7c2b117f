"""Counts that cannot be, refused before anything is read."""

import pytest

from looksharp import cli

GIVEN = {
    "evaluate": ("run",),
    "suspects": ("run",),
    "compose": ("--foregrounds", "digits", "--backgrounds", "a=b,c=d", "--out", "made"),
    "demo": (),
    "profile": ("small",),
}
WRONG = {
    ("evaluate", "batch_size"): "0",
    ("evaluate", "workers"): "-1",
    ("suspects", "batch_size"): "0",
    ("suspects", "workers"): "-1",
    ("suspects", "tested"): "0",
    ("suspects", "seed"): "-1",
    ("compose", "seed"): "-1",
    ("demo", "seed"): "-1",
    ("profile", "classes"): "1000000000000",
    ("profile", "image_size"): "1000000",
}


@pytest.mark.parametrize(("command", "flag"), WRONG)
def test_a_count_that_cannot_be(command, flag, capsys):
    value = WRONG[command, flag]
    assert cli.main([command, *GIVEN[command], f"--{flag}", value]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"looksharp: error: {flag} must be at least ")
    assert line.endswith(f"; got {value}")
