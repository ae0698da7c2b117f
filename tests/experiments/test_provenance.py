import subprocess
from importlib.metadata import version

import pytest

from looksharp.experiments.provenance import commit, hardware


def git(folder, *arguments):
    identity = ("-c", "user.name=n", "-c", "user.email=e@x")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_commit_of_a_checkout_with_a_mark_for_changes(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    found = commit(checkout / "code")
    assert len(found) == 10
    assert head.startswith(found)
    (checkout / "other.txt").write_text("not code")
    assert commit(checkout / "code") == found
    (checkout / "code" / "a.py").write_text("2")
    assert commit(checkout / "code") == found + "+"


def test_an_installed_library_has_its_version(checkout, tmp_path_factory):
    (checkout / "env" / "looksharp").mkdir(parents=True)  # below somebody else's checkout, and not part of it
    assert commit(checkout / "env" / "looksharp") == version("looksharp")
    assert commit(tmp_path_factory.mktemp("elsewhere")) == version("looksharp")


def test_hardware_names_threads_and_precision():
    assert hardware("cpu", "bf16-mixed").endswith(" threads, bf16-mixed")
