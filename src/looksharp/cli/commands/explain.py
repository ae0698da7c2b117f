"""Draw where a run looks on images, class by class."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call
from looksharp.cli.listing import list_mechanisms
from looksharp.settings import settings

__all__ = ["ExplainSettings"]


@settings
class ExplainSettings:
    """Run and images that `looksharp explain` draws maps of.

    Args:
        run: run folder.
        images: image files.
        checkpoint: weights to read, last or best.
        device: auto, cpu, cuda or mps.
        mechanism: mechanism that makes attention maps, listed below; built_in, the default where there is one, shows
            the network's own attention.
        classes: top5, or class names separated by commas.
        layer: layer to read; the last one if not given. Several need fuse.
        signed: draw evidence for a class in red, against it in blue.
        smooth: average maps over six mirrored and scaled copies of each image.
        fuse: average the maps of several layers, those named or the last two.
        out: folder for pictures and maps.
    """

    run: Path
    images: list[Path]
    checkpoint: Literal["last", "best"] = "last"
    device: str = "auto"
    mechanism: str | None = None
    classes: str = "top5"
    layer: list[str] | None = None
    signed: bool = False
    smooth: bool = False
    fuse: bool = False
    out: Path = Path("explained")


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    add_flags(parser, ExplainSettings, positional=("run", "images"))
    list_mechanisms(parser, given)


def _run(flags: Namespace) -> None:
    from looksharp.explaining.explain import Asked, explain
    from looksharp.training.folder import load_run

    chosen = call(ExplainSettings, flags)
    options = Asked(None if chosen.layer is None else tuple(chosen.layer), chosen.signed, chosen.smooth, chosen.fuse)
    options.check(chosen.mechanism)
    written = explain(
        load_run(chosen.run, chosen.checkpoint, chosen.device),
        chosen.images,
        chosen.out,
        classes=chosen.classes,
        mechanism=chosen.mechanism,
        layer=options.layers,
        signed=chosen.signed,
        smooth=chosen.smooth,
        fuse=chosen.fuse,
    )
    print("\n".join(str(path) for path in written))


COMMANDS.add("explain", Command("Draw where a run looks on images, class by class.", _add_flags, _run, place=2))
