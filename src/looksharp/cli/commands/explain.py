"""Draw where a run looks on images, class by class."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call
from looksharp.cli.listing import list_mechanisms
from looksharp.settings import settings, settings_of

if TYPE_CHECKING:
    from looksharp.data.split import Split
    from looksharp.explaining.explain import Asked
    from looksharp.training.folder import Run

__all__ = ["ExplainSettings"]

_FEW = 50  # image files that are drawn in one picture


@settings
class ExplainSettings:
    """Run and images that `looksharp explain` draws maps of.

    Args:
        run: run folder.
        images: image files. Up to 50 are drawn in one picture, with the maps of each in a file. For more, for folders
            of images, or with split, maps go to Parquet files, and an interrupted run goes on.
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
        split: images is a data set or its folder, as of train, of which this split is taken.
        root: folder of that set's files.
        pictures: of many images, number to draw, on sheets of at most 50.
        shard_size: of many images, number whose maps go to one Parquet file.
        batch_size: images per forward; of several processes (torchrun), of each.
        workers: processes that read image files; of several processes, of each.
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
    split: str | None = None
    root: Path | None = None
    pictures: Annotated[int, Ge(0)] = 0
    shard_size: Annotated[int, Ge(1)] = 1000
    batch_size: Annotated[int, Ge(1)] = 64
    workers: Annotated[int, Ge(0)] = 2


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    add_flags(parser, ExplainSettings, positional=("run", "images"))
    list_mechanisms(parser, given)


def _run(flags: Namespace) -> None:
    from looksharp.explaining.explain import Asked
    from looksharp.processes.joining import joined
    from looksharp.training.folder import load_run

    chosen = call(ExplainSettings, flags)
    options = Asked(None if chosen.layer is None else tuple(chosen.layer), chosen.signed, chosen.smooth, chosen.fuse)
    options.check(chosen.mechanism)
    with joined():
        run = load_run(chosen.run, chosen.checkpoint, chosen.device)
        split = _many(chosen, run)
        if split is None:
            _explain_few(chosen, run, options)
        else:
            _explain_many(chosen, run, split)


def _many(chosen: ExplainSettings, run: Run) -> Split | None:
    """Return the split to explain; None for a few image files."""
    from looksharp.data.loose import loose_images
    from looksharp.training.data import run_data

    if chosen.split is None:
        folders = any(path.is_dir() for path in chosen.images)
        return loose_images(chosen.images) if folders or len(chosen.images) > _FEW else None
    if len(chosen.images) > 1:
        raise ValueError(f"split needs one data set or folder of one; got {len(chosen.images)}")
    data = run_data(run, str(chosen.images[0]), chosen.root)
    if chosen.split not in data.splits:
        raise ValueError(f"split {chosen.split!r} is not in {data.name}; there are {', '.join(data.splits)}")
    return data.splits[chosen.split]


def _explain_few(chosen: ExplainSettings, run: Run, options: Asked) -> None:
    from looksharp.explaining.explain import explain
    from looksharp.processes.place import is_first

    if not is_first():
        return
    written = explain(
        run,
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


def _explain_many(chosen: ExplainSettings, run: Run, split: Split) -> None:
    from looksharp.explaining.many import explain_many
    from looksharp.explaining.settings import ManySettings
    from looksharp.processes.place import is_first

    values = {name: getattr(chosen, name) for name in settings_of(ManySettings) if name != "layer"}
    layer = None if chosen.layer is None else tuple(chosen.layer)
    found = explain_many(run, split, chosen.out, ManySettings(layer=layer, **values))
    if not is_first():
        return
    for name in found.left_out[:5]:
        print(f"note: {name} cannot be read as an image", file=sys.stderr)
    if len(found.left_out) > 5:
        print(f"note: nor can {len(found.left_out) - 5:,} others", file=sys.stderr)
    pace = f"; {found.images:,} images now, {found.images / found.seconds:.3g} per second" if found.images else ""
    print(f"{chosen.out}: maps of {len(split) - len(found.left_out):,} images in {len(found.shards):,} files{pace}")
    print("".join(f"{path}\n" for path in found.pictures), end="")


COMMANDS.add(
    "explain",
    Command(
        "Draw where a run looks on images, class by class.",
        _add_flags,
        _run,
        "of many images, the same command goes on",
        place=2,
    ),
)
