"""Commands and imports that documents show are commands and names that there are."""

import ast
import re
import shlex
from pathlib import Path

import pytest

import looksharp
from looksharp.cli import _parsed, _with_underscores
from looksharp.cli.command import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/tutorials").glob("*.md"))]


def blocks(language):
    """(document, text) of each fenced block."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(path.name, text) for path in DOCUMENTS for text in fence.findall(path.read_text())]


def commands():
    """(document, words) of every line that calls looksharp."""
    for name, text in blocks("console") + blocks(r"\{code-cell\}"):
        for line in text.replace("\\\n", " ").splitlines():
            called = re.match(r"[!$]? ?(looksharp .*)", line)
            if called and "..." not in line:
                yield name, shlex.split(called[1], comments=True)[1:]


SHOWN = [(name, words) for name, words in commands() if not {word.strip("[]") for word in words} & {"COMMAND", "RUN"}]


def test_there_are_many():
    assert len(SHOWN) > 80
    assert {words[0] for _, words in SHOWN} >= {"train", "suspects", "cure", "adopt", "explain", "compare", "studio"}


@pytest.mark.parametrize(
    ("name", "words"), SHOWN, ids=lambda each: each if isinstance(each, str) else " ".join(each)[:60]
)
def test_a_command_that_is_shown_is_understood(name, words):
    assert _parsed([_with_underscores(word) for word in words]).command in COMMANDS


def test_every_command_stands_in_the_table():
    table = (ROOT / "docs/start.md").read_text()
    assert [each for each in COMMANDS if f"| `{each}` |" not in table] == []


@pytest.mark.parametrize(("name", "text"), blocks("python") + blocks(r"\{code-cell\}"))
def test_names_that_are_imported_are_there(name, text):
    tree = ast.parse(re.sub(r"^[!%].*$", "", text.replace("\\\n", " "), flags=re.MULTILINE))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "looksharp"]
    assert {each.name for node in imported for each in node.names} <= set(looksharp.__all__)


def test_links_between_documents_lead_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            if not re.match(r"https?:|mailto:", target):
                file, _, anchor = target.partition("#")
                found = (path.parent / file).resolve() if file else path
                assert found.exists(), (path.name, target)
                assert not anchor or anchor in anchors(found.read_text()), (path.name, target)


def anchors(text):
    """The anchors of a document's headings, as GitHub and myst make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
