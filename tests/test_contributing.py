"""The files for contributors name what there is."""

import pkgutil
import re
import tomllib
from importlib import import_module
from pathlib import Path

import yaml

import looksharp
from looksharp.registry import Registry

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def registries():
    """The name of every registry in the package, read off its files."""
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py") if path.name != "registry.py")
    return set(re.findall(rf"^([A-Z_]+): {Registry.__name__}\[", source, re.MULTILINE))


def test_each_kind_that_can_be_added_is_listed():
    assert len(registries()) >= 10
    assert {name for name in registries() if f"`{name}`" not in CONTRIBUTING} == set()


def test_every_path_is_there():
    named = set(re.findall(r"(?:src|tests|docs)/[\w/.]*\w", CONTRIBUTING))
    assert len(named) > 20
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_every_room_stands_in_the_picture():
    picture = CONTRIBUTING.split("```text")[1].split("```")[0]
    rooms = {room.name for room in pkgutil.iter_modules(looksharp.__path__)}
    assert rooms - set(re.findall(r"\w+", picture)) == set()


def test_the_citation_names_the_four_papers():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert [each["notes"].split(";")[0] for each in cited["references"]] == ["ICASC", "GAIN", "ABN", "WARN"]
    assert all(each["authors"] and each["year"] in (2018, 2019) for each in cited["references"])
    assert "version" not in cited  # it stands in pyproject.toml alone


def test_issue_forms_ask_for_the_doctor():
    forms = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")]
    asked = {form["name"]: [each["id"] for each in form["body"]] for form in forms if "name" in form}
    assert len(asked) == 2
    assert all("doctor" in ids for ids in asked.values())
    (bug,) = (form for form in forms if form.get("labels") == ["bug"])
    assert bug["body"][0]["validations"]["required"]


def test_hooks_run_what_make_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [hook["entry"].split()[0] for hook in hooks] == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]
    assert re.findall(r"\$\(BIN\)/(ruff format|ruff check|mypy)", (ROOT / "Makefile").read_text())[:3] == [
        *("ruff format", "ruff check", "mypy")
    ]


def test_the_changelog_s_newest_release_is_this_version():
    dated = re.findall(r"^## \[([\d.]+)\] - 20\d\d-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert dated[0] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_version_stands_in_one_place():
    assert looksharp.__version__ == import_module("importlib.metadata").version("looksharp")
