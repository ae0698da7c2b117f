import json
import os
import signal
import subprocess
import sys
import time

import pytest

from looksharp.studio.jobs import Jobs

WORKER = """
import sys, time
from pathlib import Path
from looksharp.studio.worker import work

def act(arguments):
    folder = Path(sys.argv[1])
    with (folder.parent.parent / "order").open("a") as file:
        file.write(folder.name + "\\n")
    print("began", *arguments, flush=True)
    while not (folder / "go").exists():
        time.sleep(0.05)
    return int((folder / "go").read_text())

sys.exit(work(Path(sys.argv[1]), act))
"""


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(tmp_path / "jobs", [sys.executable, "-c", WORKER])
    yield made
    for job in made.all():
        pid = json.loads((job.folder / "state.json").read_text()).get("pid")
        if job.is_open and pid:
            os.killpg(pid, signal.SIGKILL)
    _wait(made)


def _wait(jobs):
    for process in (*jobs._processes.values(), *jobs._leaving):
        process.wait(10)


def _until(jobs, number, status):
    end = time.monotonic() + 30
    while jobs[number].status != status:
        assert time.monotonic() < end, (jobs[number], jobs[number].log)
        time.sleep(0.05)
    return jobs[number]


def _begun(jobs, number):
    end = time.monotonic() + 30
    while "pid" not in json.loads((jobs.folder / str(number) / "state.json").read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)


def _end(jobs, number, status=0):
    part = jobs[number].folder / "part"
    part.write_text(str(status))
    part.rename(jobs[number].folder / "go")


def _plan(folder):
    return ["cure", "run", "--out", str(folder / "out")]


def test_jobs_run_one_after_the_other_and_say_how_they_ended(jobs, tmp_path):
    for title in ("first", "second", "third"):
        jobs.add(title, _plan)
        _until(jobs, len(jobs.all()), "running" if title == "first" else "waiting")
        _begun(jobs, len(jobs.all()))
    _end(jobs, 1)
    assert _until(jobs, 1, "finished").log == f"began cure run --out {jobs.folder / '1' / 'out'}"
    _until(jobs, 2, "running")
    assert jobs[3].status == "waiting"
    assert jobs[3].started is None
    _end(jobs, 2, 2)
    assert _until(jobs, 2, "failed").ended >= jobs[2].started
    _end(jobs, 3)
    _until(jobs, 3, "finished")
    assert (tmp_path / "order").read_text().split() == ["1", "2", "3"]


def test_a_job_that_waits_or_runs_is_cancelled_and_resumed_with_its_own_command(jobs, tmp_path):
    jobs.add("first", _plan)
    _until(jobs, 1, "running")
    jobs.add("second", _plan)
    assert Jobs(jobs.folder)[2].status == "waiting"  # another page knows that it has hardly begun
    _begun(jobs, 2)
    jobs.cancel(2)
    _until(jobs, 2, "cancelled")
    jobs.cancel(1)
    _until(jobs, 1, "cancelled")
    for number in (2, 1):
        with pytest.raises(ValueError, match="there is no job 9"):
            jobs.resume(9)
        jobs.resume(number)
        _until(jobs, number, "running")
        with pytest.raises(ValueError, match=f"job {number} is running"):
            jobs.resume(number)
        _end(jobs, number)
        _until(jobs, number, "finished")
    with pytest.raises(ValueError, match="job 1 is finished"):
        jobs.resume(1)
    assert (tmp_path / "order").read_text().split() == ["1", "2", "1"]
    assert jobs[1].arguments == tuple(_plan(jobs.folder / "1"))


PAGE = """
import sys, time
from pathlib import Path
from looksharp.studio.jobs import Jobs
jobs = Jobs(Path(sys.argv[1]), [sys.executable, "-c", sys.argv[2]])
for title in ("first", "second"):
    jobs.add(title, lambda folder: ["train", "--out", str(folder)])
    time.sleep(0.2)
print("added", flush=True)
time.sleep(60)
"""


def test_the_queue_goes_on_when_the_page_is_killed(jobs, tmp_path):
    page = subprocess.Popen([sys.executable, "-c", PAGE, jobs.folder, WORKER], stdout=subprocess.PIPE, text=True)
    assert page.stdout.readline() == "added\n"
    page.kill()
    page.wait()
    page.stdout.close()
    end = time.monotonic() + 30
    while not (found := [job.number for job in jobs.all() if job.status == "running"]):
        assert time.monotonic() < end
        time.sleep(0.05)
    (running,) = found
    _end(jobs, running)
    _until(jobs, running, "finished")
    _until(jobs, 3 - running, "running")
    _end(jobs, 3 - running)
    _until(jobs, 3 - running, "finished")


def test_a_job_that_is_killed_is_interrupted_and_the_next_one_begins(jobs):
    jobs.add("first", _plan)
    _until(jobs, 1, "running")
    jobs.add("second", _plan)
    os.killpg(json.loads((jobs[1].folder / "state.json").read_text())["pid"], signal.SIGKILL)
    _until(jobs, 1, "interrupted")
    _until(jobs, 2, "running")
    jobs.resume(1)
    _end(jobs, 2)
    _until(jobs, 1, "running")


def test_a_job_that_does_not_end_when_asked_is_killed_when_asked_again(tmp_path):
    deaf = WORKER.replace("print(", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(")
    jobs = Jobs(tmp_path / "jobs", [sys.executable, "-c", deaf])
    jobs.add("first", _plan)
    _until(jobs, 1, "running")
    while "began" not in jobs[1].log:
        time.sleep(0.02)
    jobs.cancel(1)
    time.sleep(0.3)
    assert jobs[1].status == "running"
    jobs.cancel(1)
    _until(jobs, 1, "cancelled")
    _wait(jobs)


def test_a_plan_that_fails_leaves_no_job(jobs):
    def plan(folder):
        (folder / "marks.json").write_text("{}")
        raise ValueError("no marks")

    with pytest.raises(ValueError, match="no marks"):
        jobs.add("first", plan)
    assert jobs.all() == []


def test_only_commands_of_the_studio_are_run(tmp_path):
    """A run folder may come from somebody else: what its jobs name is not run blindly."""
    jobs = Jobs(tmp_path / "jobs")
    jobs.add("odd", lambda folder: ["studio", "--host", "0.0.0.0"])
    job = _until(jobs, 1, "interrupted")
    assert "must name one of the commands cure, suspects, train; got ['studio']" in job.log
    _wait(jobs)


def test_the_log_shows_the_last_state_of_a_progress_bar(jobs, tmp_path):
    jobs.add("first", _plan)
    _until(jobs, 1, "running")
    (jobs[1].folder / "log").write_bytes(b"began\nepoch 0\repoch 1\repoch 2\r\n\ndone \xff\n")
    assert jobs[1].log == "began\nepoch 2\ndone \ufffd"
