"""What was measured is read back only if the same code would measure the same."""

import importlib
import sys

import pytest

from looksharp.attention.mechanisms import MECHANISMS
from looksharp.evaluation import fingerprint
from looksharp.ruler import keeping
from looksharp.ruler.keeping import kept_file


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of two rooms, of which one file may change."""
    for room in ("metrics", "cli"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "one.py").write_text("value = 1\n")
    (tmp_path / "evaluation").mkdir()
    monkeypatch.setattr(fingerprint, "__file__", str(tmp_path / "evaluation" / "fingerprint.py"))
    fingerprint.code_fingerprint.cache_clear()
    yield tmp_path
    fingerprint.code_fingerprint.cache_clear()


def test_code_that_measures_changes_the_key_and_other_code_does_not(package, tmp_path):
    def key():
        fingerprint.code_fingerprint.cache_clear()
        return kept_file(tmp_path, "grad_cam", [1])

    before = key()
    (package / "cli" / "one.py").write_text("value = 2\n")
    assert key() == before
    (package / "metrics" / "one.py").write_text("value = 2\n")
    assert key() != before
    (package / "metrics" / "one.py").write_text("value = 1\n")
    assert key() == before
    (package / "metrics" / "two.py").write_text("")
    assert key() != before


def test_the_libraries_that_compute_are_part_of_it(monkeypatch):
    before = fingerprint.code_fingerprint.__wrapped__("ruler")
    monkeypatch.setattr(fingerprint, "version", lambda name: "0.0")
    assert fingerprint.code_fingerprint.__wrapped__("ruler") != before


def test_the_file_of_a_mechanism_from_elsewhere_is_part_of_it(tmp_path, monkeypatch):
    path = tmp_path / "mechanism_elsewhere.py"
    path.write_text("def found(features, gradients):\n    return features.mean(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("mechanism_elsewhere")
    list(MECHANISMS)  # all are found
    monkeypatch.setitem(MECHANISMS._things, "from_elsewhere", module.found)
    before, own = kept_file(tmp_path, "from_elsewhere", []), kept_file(tmp_path, "grad_cam", [])
    path.write_text("def found(features, gradients):\n    return features.amax(1)\n")
    assert kept_file(tmp_path, "from_elsewhere", []) != before
    assert kept_file(tmp_path, "grad_cam", []) == own
    assert keeping._code_elsewhere("grad_cam") == keeping._code_elsewhere("rise:50") == ""
    sys.modules.pop("mechanism_elsewhere")
