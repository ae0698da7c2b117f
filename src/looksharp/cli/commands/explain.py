"""Draw where a run looks on images, class by class."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call
from looksharp.cli.listing import list_mechanisms

__all__ = ["show"]


def show(
    run: Path,
    images: list[Path],
    *,
    checkpoint: Literal["last", "best"] = "last",
    device: str = "auto",
    mechanism: str | None = None,
    classes: str = "top5",
    layer: str | None = None,
    signed: bool = False,
    out: Path = Path("explained"),
) -> None:
    """Draw maps of a run and print the files written.

    Args:
        run: run folder.
        images: image files.
        checkpoint: weights to read, last or best.
        device: auto, cpu, cuda or mps.
        mechanism: mechanism that makes attention maps, listed below; built_in, the default where there is one, shows
            the network's own attention.
        classes: top5, or class names separated by commas.
        layer: layer to read; the last one if not given.
        signed: draw evidence for a class in red, against it in blue.
        out: folder for pictures and maps.
    """
    from looksharp.attention.mechanisms import check_asked
    from looksharp.explaining.explain import explain
    from looksharp.training.folder import load_run

    if mechanism not in (None, "built_in"):
        check_asked(mechanism, layers=layer is not None, signed=signed)
    loaded = load_run(run, checkpoint, device)
    written = explain(loaded, images, out, classes=classes, mechanism=mechanism, layer=layer, signed=signed)
    print("\n".join(str(path) for path in written))


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    add_flags(parser, show, positional=("run", "images"))
    list_mechanisms(parser, given)


def _run(settings: Namespace) -> None:
    call(show, settings)


COMMANDS.add("explain", Command("Draw where a run looks on images, class by class.", _add_flags, _run, place=2))
