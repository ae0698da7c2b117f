"""Help is written without torch, and says what it says with it."""

import json
import subprocess
import sys

import pytest

from looksharp.cli.command import COMMANDS
from looksharp.cli.parser import build_parser

ASKED = (
    *([name] for name in COMMANDS),
    ["train", "--objective", "icasc+gain+agreement:0.3", "--data=voc", "--architecture", "attend_rectify"],
)
WRITE = """
import contextlib, io, json, sys
from looksharp.cli import main
found = []
for asked in json.loads(sys.argv[1]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as shown:
        main([*asked, "--help"])
    found.append(shown.getvalue())
    assert "torch" not in sys.modules, asked
print(json.dumps(found))
"""


def run(code, *given):
    done = subprocess.run([sys.executable, "-c", code, *given], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def written_without_torch():
    return dict(zip(map(tuple, ASKED), json.loads(run(WRITE, json.dumps(ASKED))), strict=True))


@pytest.mark.parametrize("asked", ASKED, ids=" ".join)
def test_help_needs_no_torch_and_is_the_same_with_it(asked, written_without_torch):
    parser, _ = build_parser([*asked, "--help"])
    (commands,) = parser._subparsers._group_actions
    assert written_without_torch[tuple(asked)] == commands.choices[asked[0]].format_help()


def test_help_on_the_whole_needs_not_even_the_libraries_of_flags():
    code = (
        "import contextlib, sys; from looksharp.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "assert not {'torch', 'pydantic', 'yaml'} & set(sys.modules)"
    )
    assert run(code) == build_parser(["--help"])[0].format_help()


def test_after_help_everything_is_real():
    code = (
        "import contextlib, sys; from looksharp.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['train', '--help'])\n"
        "import torch; from looksharp import ICASC, attend; from looksharp.objectives import PARTS\n"
        "print(isinstance(ICASC(), torch.nn.Module), PARTS['icasc'] is ICASC, 'icasc' in PARTS)"
    )
    assert run(code).splitlines()[-1] == "True True True"


def test_an_unknown_flag_beside_help_is_one_line():
    code = "import sys; from looksharp.cli import main; print(main(['train', '--lr', '--help']))"
    assert run(code) == "2\n"
