"""Say what is understood of a run or a model, and check its maps against plain autograd."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.diagnosis.settings import DoctorSettings

    parser.description = (
        f"{parser.description} It prints the installation, the layers that were found and how a map lies in them, the "
        f"head, the classes and the pixels, and ends with status 2 if something is wrong: weights or answers that are "
        f"not finite, answers that change from call to call or with the batch, colours normalised twice, or maps that "
        f"differ from those of plain autograd behind a hook by more than 1e-4 of their largest value. Without "
        f"a run or model it prints the installation alone."
    )
    add_flags(parser, DoctorSettings, positional=("subject",))


def _run(flags: Namespace) -> None:
    from looksharp.diagnosis import DoctorSettings, diagnose
    from looksharp.diagnosis.environment import environment
    from looksharp.drawing.wording import aligned

    chosen = call(DoctorSettings, flags)
    installed = environment()
    found = diagnose(chosen) if chosen.subject else None
    topics = installed if found is None else installed | found.topics
    print("\n".join(aligned(topics)))
    if found is not None and found.problems:
        raise ValueError("; ".join(found.problems))


COMMANDS.add(
    "doctor",
    Command(
        "Say what is understood of a run or a model, and check its maps against plain autograd.",
        _add_flags,
        _run,
        place=7,
    ),
)
