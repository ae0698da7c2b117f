"""A command from another package."""

GREET = '''
"""Say hello."""

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call


def greet(name: str, times: int = 1) -> str:
    """Greet somebody.

    Args:
        name: whom to greet.
        times: how often.
    """
    return " ".join(["hello", name] * times)


COMMANDS.add(
    "greet",
    Command(
        "Say hello.",
        lambda parser, _: add_flags(parser, greet, positional=("name",)),
        lambda flags: print(call(greet, flags)),
    ),
)
'''


def test_another_package_adds_a_command(plugin):
    looksharp = plugin(GREET)
    commands = [line.split()[0] for line in looksharp("-m", "looksharp", "--help").splitlines() if line[:4] == "    "]
    assert commands.index("greet") > commands.index("train")
    shown = looksharp("-m", "looksharp", "greet", "--help")
    assert "whom to greet." in shown
    assert "--times TIMES" in shown
    assert looksharp("-m", "looksharp", "greet", "you", "--times", "2") == "hello you hello you\n"


def test_its_flags_are_validated(plugin):
    looksharp = plugin(GREET)
    code = "from looksharp.cli import main; print(main(['greet', 'you', '--times', 'often']))"
    assert looksharp("-c", code) == "2\n"
