"""Lists of names below a command's help, one line each."""

from __future__ import annotations

import textwrap
from argparse import ArgumentParser, HelpFormatter
from collections.abc import Sequence

__all__ = ["LineFormatter", "list_mechanisms"]


class LineFormatter(HelpFormatter):
    """Wrap each line of a description by itself, so that lists stay lists."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = [line.rstrip() for line in text.splitlines()]
        return "\n".join(
            textwrap.fill(line, width, initial_indent=indent, subsequent_indent=f"{indent}{' ' * 4}")
            if line.startswith(" ")
            else textwrap.fill(line, width, initial_indent=indent, subsequent_indent=indent)
            for line in lines
        )


def list_mechanisms(parser: ArgumentParser, given: Sequence[str], flag: str = "mechanism") -> None:
    """Add the mechanisms to a command's help, where it is asked for: naming them loads torch.

    Args:
        parser: parser of the command.
        given: all arguments.
        flag: the flag that takes their names.
    """
    if not {"-h", "--help"} & set(given):
        return
    from looksharp.attention.mechanisms import mechanism_summaries

    lines = [f"  {name}: {summary}" for name, summary in sorted(mechanism_summaries().items())]
    head = f"mechanisms, for --{flag}; settings follow a colon, as in occlusion:16 or occlusion:window=16,stride=8:"
    parser.epilog = "\n".join([head, *lines])
