"""Write a run as a file that other programs run, maps included."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.exporting.settings import ExportSettings

    parser.description = (
        f"{parser.description} The file takes images of bytes, normalises them itself, and gives logits, the "
        f"highest-scoring classes and their maps, with no backward; its answers are compared with looksharp's before "
        f"it is kept. Format onnx needs the extra export."
    )
    add_flags(parser, ExportSettings, positional=("run",))


def _run(flags: Namespace) -> None:
    from looksharp.drawing.wording import aligned
    from looksharp.exporting.export import export_run
    from looksharp.exporting.programs import check_packages
    from looksharp.exporting.settings import ExportSettings
    from looksharp.training.folder import load_run

    chosen = call(ExportSettings, flags)
    check_packages(chosen.kind)
    found = export_run(load_run(chosen.run, chosen.checkpoint, "cpu"), chosen)
    written = {} if found.path is None else {"written": str(found.path)}
    print("\n".join(aligned(written | found.said)))


COMMANDS.add(
    "export",
    Command("Write a run as a file that other programs run, maps included.", _add_flags, _run, place=8),
)
