"""Print parameters, operations and time of networks, beside their backbones."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Le

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call, given_values
from looksharp.settings import settings

__all__ = ["ProfileSettings"]


@settings
class ProfileSettings:
    """Settings of `looksharp profile`.

    Args:
        names: backbones, as in train --backbone.
        architecture: architectures to build around each of them, or all.
        classes: number of classes; if not given, 100 for cifar_*, else 1000.
        image_size: side of the images in pixels; if not given, 32 for cifar_*, else 224.
        batch_size: images per timed forward.
        repeats: number of timed forwards of each network, in turns.
        device: auto, cpu, cuda or mps.
    """

    names: list[str]
    architecture: tuple[str, ...] = ("all",)
    classes: Annotated[int, Ge(1), Le(1_000_000)] | None = None
    image_size: Annotated[int, Ge(1), Le(8192)] | None = None
    batch_size: Annotated[int, Ge(1)] = 1
    repeats: Annotated[int, Ge(1)] = 10
    device: str = "auto"


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.networks.architecture import ARCHITECTURES, BUILT_WITH

    add_flags(parser, ProfileSettings, positional=("names",))
    for name, architecture in ARCHITECTURES.items():
        add_flags(parser, architecture, below=name, without=BUILT_WITH, title=f"settings of {name}")


def _run(flags: Namespace) -> None:
    from looksharp.networks import ARCHITECTURES, build_classifier
    from looksharp.networks.profiling import profile_side_by_side
    from looksharp.training.folder import find_device

    settings = call(ProfileSettings, flags)
    below = given_values(flags)
    device = find_device(settings.device)
    asked = tuple(ARCHITECTURES) if "all" in settings.architecture else settings.architecture
    rows: list[tuple[str, ...]] = [("network", "parameters", "GFLOP", "x", "ms an image", "x")]
    for backbone in settings.names:
        networks, reasons = {}, {}
        small = backbone.startswith("cifar_")
        side, classes = settings.image_size or (32 if small else 224), settings.classes or (100 if small else 1000)
        for architecture in ("plain", *asked):
            options = below.get(architecture, {})
            multitask = bool(options.get("multitask"))
            try:
                networks[architecture] = build_classifier(
                    backbone,
                    classes,
                    image_size=(side, side),
                    architecture=architecture,
                    options=options,
                    multilabel=multitask,
                ).to(device)
            except ValueError as error:
                if architecture == "plain" or "all" not in settings.architecture:
                    raise
                reasons[architecture] = str(error)  # not every backbone takes every architecture
        found = profile_side_by_side(
            list(networks.values()), side, batch_size=settings.batch_size, repeats=settings.repeats
        )
        base = found[0]
        for architecture, each in zip(networks, found, strict=True):
            rows.append(
                (
                    backbone if architecture == "plain" else f"  + {architecture}",
                    f"{each.parameters / 1e6:.2f} M",
                    f"{each.flops / 1e9:.3f}",
                    f"{each.flops / base.flops:.2f}",
                    f"{each.seconds_per_image * 1000:.2f}",
                    f"{each.seconds_per_image / base.seconds_per_image:.2f}",
                )
            )
        rows += [(f"  + {name}", *["-"] * 5) for name in reasons]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
    print("A multiplication and the addition behind it are two operations; papers that count multiply-adds give half.")


COMMANDS.add(
    "profile",
    Command("Print parameters, operations and time of networks, beside their backbones.", _add_flags, _run, place=6),
)
