"""How threads wait is chosen by what else runs, before torch loads."""

import json
import os
import subprocess
import sys

import pytest

from looksharp.cli.waiting import cores, is_busy, running


@pytest.fixture
def groups(tmp_path):
    """Writes control groups of Linux; returns the arguments of `cores`."""

    def write(own, **files):
        for name, text in files.items():
            place = tmp_path / "cgroup" / name.replace("__", "/").replace("cpu_", "cpu.")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        (tmp_path / "own").write_text(own)
        return tmp_path / "cgroup", tmp_path / "own"

    return write


@pytest.fixture
def shown(monkeypatch):
    """Makes the system show eight cores."""
    monkeypatch.setattr("looksharp.cli.waiting._shown", lambda: 8)


@pytest.mark.usefixtures("shown")
@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu_max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu_max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a__cpu_max": "300000 100000", "a__b__cpu_max": "400000 100000"}, 3),
        ("0::/a\n", {"other__cpu_max": "100000 100000"}, 8),
        ("4:cpu:/x\n", {"cpu__cpu_cfs_quota_us": "250000", "cpu__cpu_cfs_period_us": "50000"}, 5),
        ("4:cpu:/x\n", {"cpu__cpu_cfs_quota_us": "-1", "cpu__cpu_cfs_period_us": "50000"}, 8),
    ],
)
def test_cores_within_a_quota(groups, own, files, expected):
    assert cores(*groups(own, **files)) == expected


@pytest.mark.parametrize(("counts", "expected"), [([1] * 5, 0), ([3, 1, 9, 3, 3], 2), ([1, 1, 1, 7, 7], 0)])
def test_running_threads_are_the_median_of_samples(tmp_path, monkeypatch, counts, expected):
    load, left = tmp_path / "loadavg", iter(counts[1:])
    load.write_text(f"0.1 0.2 0.3 {counts[0]}/99 4321\n")
    monkeypatch.setattr(
        "looksharp.cli.waiting.time.sleep", lambda _: load.write_text(f"0.1 0.2 0.3 {next(left)}/99 4321\n")
    )
    assert running(load) == expected


@pytest.mark.usefixtures("shown")
@pytest.mark.parametrize(
    ("others", "quota", "threads", "expected"),
    [
        (0, 8, "", False),
        (1, 8, "", True),
        (2, 8, "6", False),
        (3, 8, "6,2", True),
        (0, 2, "", True),
        (0, 2, "2", False),
    ],
)
def test_busy_where_more_is_wanted_than_there_is(monkeypatch, others, quota, threads, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr("looksharp.cli.waiting.running", lambda: others)
    monkeypatch.setattr("looksharp.cli.waiting.cores", lambda: float(quota))
    assert is_busy() is expected


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the mean load of a minute is read")
def test_a_machine_on_which_others_spin_is_busy():
    spinning = [
        subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for process in spinning:
            process.stdout.readline()
        assert running() >= 1
    finally:
        for process in spinning:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("busy", "given", "expected"),
    [
        (True, {}, [None, None, "PASSIVE"]),
        (False, {}, [None, None, None]),
        (True, {"OMP_WAIT_POLICY": "ACTIVE"}, [None, None, "ACTIVE"]),
        (True, {"GOMP_SPINCOUNT": "7"}, ["7", None, None]),
        (True, {"KMP_BLOCKTIME": "9"}, [None, "9", None]),
    ],
)
def test_the_command_chooses_before_torch_loads(busy, given, expected):
    names = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")
    code = (
        "import json, os, sys; from looksharp import cli; from looksharp.cli import waiting\n"
        f"waiting.is_busy = lambda: {busy}\n"
        "cli.main(['compose', '--nothing'])\n"
        f"print(json.dumps(['torch' in sys.modules, *map(os.environ.get, {names})]))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert json.loads(done.stdout) == [False, *expected]
